"""Replay: the recorded inquiries decided again with another bundle, before that bundle is put to work.

A row of the ledger holds the input of its decision. It is decided with the new bundle at the row's own time and
compared with what was decided then. No identifier is needed: a subject is the keyed hash that stands for it.
What a row does not tell is never guessed, it is reported as not to be told.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import msgspec

from gateway.history import INQUIRY
from gateway.record import VERSION
from policies.authorization import Authorization, Consent
from policies.caller import Caller, Identity
from policies.decision import Possible, Question, decide, decide_search, references_of_search, verify
from policies.evidence import ARTIFACTS, Evidence
from policies.identifiers import CREDIT_CODE, RESIDENT, SubjectKey
from policies.outcomes import Denied, Outcome
from policies.registers import Reference, Register
from policies.table import Cell, Table, Tables
from policies.vocabulary import Level, SubjectKind

SEARCH = "search by name"
"""Stands for the category where an inquiry searched for organisations."""


class ReplayError(ValueError):
    """A row that cannot be replayed: its position and the reason, never what it holds."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"row {position}: {reason}")
        self.position = position
        self.reason = reason


class Effect(StrEnum):
    """What the new bundle would have done to a part of an inquiry."""

    REFUSED = "REFUSED"
    ALLOWED = "ALLOWED"
    MORE = "MORE"
    """Given then too, with fewer fields."""
    LESS = "LESS"
    CHANGED = "CHANGED"
    """Given both times, in another way."""
    UNKNOWN = "UNKNOWN"
    """The row does not hold what the new bundle would look at."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One part of one inquiry that would be decided otherwise; `before` and `after` in words.

    `unit_name` is None for a subject that asked about itself; then `unit` is a keyed hash. `kind` is that of
    the subject, and of organisations for a search.
    """

    position: int
    effect: Effect
    unit: str
    unit_name: str | None
    caller_type: str
    purpose: str
    kind: SubjectKind
    category: str
    before: str
    after: str


class Replay(msgspec.Struct, frozen=True):
    """How many inquiries were replayed, and all that differs, in the order of the ledger.

    `overviews` counts what was not decided again: counts and looks into the log, which are about no subject.
    """

    inquiries: int
    differences: tuple[Difference, ...]
    overviews: int = 0

    def count(self, *effects: Effect) -> int:
        """How many inquiries have a part with one of these effects."""
        return len({found.position for found in self.differences if found.effect in effects})


def replay(rows: Iterable[tuple[int, bytes]], tables: Tables) -> Replay:
    """Decide the rows again; `rows` are positions and bodies, as `gateway.ledger.read_rows` gives them.

    Raises ReplayError for a row of another version, or one that is no row.
    """
    inquiries = overviews = 0
    differences: list[Difference] = []
    for position, body in rows:
        row = _read(position, body)
        if row is not None:
            inquiries += 1
            overviews += len(row.counts) + len(row.logs)
            differences += _replay_row(position, row, tables.on(row.day))
    return Replay(inquiries, tuple(differences), overviews)


def text(found: Replay) -> str:
    """The replay in words: first the counts, then what differs by effect, unit and purpose."""
    lines = [
        f"Of {found.inquiries} inquiries {found.count(Effect.REFUSED)} would now be refused, whole or in part;"
        f" {found.count(Effect.ALLOWED, Effect.MORE)} would be given more,"
        f" {found.count(Effect.LESS, Effect.CHANGED)} less or otherwise,"
        f" of {found.count(Effect.UNKNOWN)} it cannot be told."
    ]
    if found.overviews:
        lines.append(f"{found.overviews} counts and looks into the log were not decided again.")
    for effect in Effect:
        grouped = _grouped(each for each in found.differences if each.effect is effect)
        if grouped:
            lines += ["", f"{effect}:"]
            lines += [f"  {_inquiries(positions)}: {words}" for words, positions in sorted(grouped.items())]
    return "\n".join(lines)


def _grouped(differences: Iterable[Difference]) -> dict[str, list[int]]:
    grouped: dict[str, list[int]] = {}
    for each in differences:
        who = f"{each.unit_name} ({each.unit})" if each.unit_name is not None else "subjects themselves"
        about = f"{each.category} of {each.kind}"
        words = f"{each.caller_type} {who} for {each.purpose}: {about}: {each.before} → {each.after}"
        positions = grouped.setdefault(words, [])
        if each.position not in positions[-1:]:
            positions.append(each.position)
    return grouped


_POSITIONS_SHOWN = 5


def _inquiries(positions: Sequence[int]) -> str:
    shown = ", ".join(map(str, positions[:_POSITIONS_SHOWN]))
    more = " …" if len(positions) > _POSITIONS_SHOWN else ""
    return f"{len(positions)} (rows {shown}{more})" if len(positions) > 1 else f"1 (row {shown})"


# --- what a row holds ---------------------------------------------------------------------------------------


class _Head(msgspec.Struct, frozen=True):
    version: int
    outcome: str
    kind: str = INQUIRY


class _CallerThen(msgspec.Struct, frozen=True):
    unit: str
    unit_name: str | None
    type: str
    level: str | None
    division: str | None
    officer: str | None
    client: str
    token: str
    purposes: frozenset[str]
    categories: frozenset[str] | None
    synthetic_only: bool


class _Claims(msgspec.Struct, frozen=True):
    """`name_agrees`: whether the authorization names the subject as the question does; None: not recorded."""

    issuer: str
    id: str
    issued_at: int
    not_before: int
    expires: int
    subject: str
    grantee: str
    purposes: frozenset[str]
    categories: frozenset[str]
    consent: Consent
    name_agrees: bool | None = None


class _ArtefactThen(msgspec.Struct, frozen=True):
    """An artefact with what it proved, or why it proved nothing; neither when it was not read."""

    sha256: str
    refused: str | None = None
    claims: _Claims | None = None


class _ProvenThen(msgspec.Struct, frozen=True):
    condition: str
    by: str


class _SectionThen(msgspec.Struct, frozen=True):
    """A section as it was decided; without a level it was denied, by `condition` if one was not met."""

    category: str
    asked: int
    outcome: str
    rule: str | None = None
    condition: str | None = None
    level: Level | None = None
    fields: int = 0
    proven: tuple[_ProvenThen, ...] = ()


class _RegisterThen(msgspec.Struct, frozen=True):
    """A number that was looked up: ENTRY, NONE or NO_ANSWER; what the entry said is not recorded."""

    register: str
    number: str | dict[str, Any]
    answer: str


class _SubjectThen(msgspec.Struct, frozen=True):
    subject: str
    kind: SubjectKind
    scheme: str
    synthetic: bool
    evidence: dict[str, Any]
    of: int
    sections: tuple[_SectionThen, ...]
    is_self: bool = msgspec.field(name="self")


class _SearchThen(msgspec.Struct, frozen=True):
    outcome: str
    condition: str | None = None


class _Row(msgspec.Struct, frozen=True):
    """`evidence` is that of the inquiry as a whole, by which searches are decided; None: not recorded."""

    time: datetime
    day: date
    outcome: str
    caller: _CallerThen
    purpose: str
    on_denied: str
    subjects: tuple[_SubjectThen, ...]
    searches: tuple[_SearchThen, ...]
    registers: tuple[_RegisterThen, ...] = ()
    counts: tuple[msgspec.Raw, ...] = ()
    logs: tuple[msgspec.Raw, ...] = ()
    evidence: dict[str, Any] | None = None


def _read(position: int, body: bytes) -> _Row | None:
    """The row; None where it records no inquiry."""
    try:
        head = msgspec.json.decode(body, type=_Head)
        if head.version != VERSION:
            raise ReplayError(position, f"is of version {head.version}, {VERSION} is known")
        if head.outcome == "PROBE" or head.kind != INQUIRY:
            return None
        return msgspec.json.decode(body, type=_Row)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The library's text may quote the row.
        _, _, place = str(error).rpartition(" - at ")
        where = f" at {place}" if place.startswith("`$") else ""
        raise ReplayError(position, f"is no row of the ledger{where}") from None


# --- deciding again -----------------------------------------------------------------------------------------


class _Unknown(msgspec.Struct, frozen=True):
    """A decision that the row does not hold enough for."""

    reason: str


class _Given(msgspec.Struct, frozen=True):
    """A section that the new bundle gives: by which rule, at which level, which fields."""

    rule: str
    level: Level
    fields: int


_Decision = _Given | Denied | _Unknown


class _Known(msgspec.Struct, frozen=True):
    """What a row tells of the proofs of one subject.

    `answers` is by register and number. A condition in `met` was proven by its registers' entries, one in
    `unmet` was not; an authorization in `covering` was found to cover something, and not withdrawn.
    """

    answers: Mapping[tuple[str, str], str]
    met: frozenset[str]
    unmet: frozenset[str]
    covering: frozenset[str]
    withdrawn: frozenset[str]


class _Part(msgspec.Struct, frozen=True):
    """A section or search, as it was decided and as it would be."""

    kind: SubjectKind
    then: _SectionThen
    now: _Decision | None
    """None: a search that is allowed."""


def _replay_row(position: int, row: _Row, table: Table) -> Iterator[Difference]:
    parts = [*_sections(position, row, table), *_searches(position, row, table)]
    whole = _refused_whole(row, parts)
    for part in parts:
        effect = _effect(row, part, whole)
        if effect is not None:
            yield Difference(
                position=position,
                effect=effect,
                unit=row.caller.unit,
                unit_name=row.caller.unit_name,
                caller_type=row.caller.type,
                purpose=row.purpose,
                kind=part.kind,
                category=part.then.category,
                before=_before(row, part.then),
                after=_after(part.now, whole),
            )


def _sections(position: int, row: _Row, table: Table) -> Iterator[_Part]:
    for subject in row.subjects:
        key = _key(subject)
        caller = _caller(row.caller, _identity(key) if subject.is_self else None)
        question = Question(
            purpose=row.purpose,
            subject=key,
            evidence=_evidence(position, subject.evidence),
            sections={section.category: section.asked for section in subject.sections},
            subjects_in_operation=subject.of,
        )
        decided = _decided(position, row, subject, table, caller, question)
        for section in subject.sections:
            yield _Part(subject.kind, section, decided[section.category])


def _decided(
    position: int, row: _Row, subject: _SubjectThen, table: Table, caller: Caller, question: Question
) -> Mapping[str, _Decision]:
    if row.purpose not in table.bundle.purposes:
        return dict.fromkeys(question.sections, _NO_PURPOSE)
    known = _known(row, subject)
    artefacts = {
        name: _artefact(
            _artefact_then(position, subject.evidence[name]), row, subject, question.subject, known
        )
        for name in ARTIFACTS
        if name in subject.evidence
    }
    now = int(row.time.timestamp())
    return {
        category: _closed(table, caller, question, part, artefacts, known, now)
        if isinstance(part, Possible)
        else part
        for category, part in decide(table, caller, question).items()
    }


def _known(row: _Row, subject: _SubjectThen) -> _Known:
    proofs = [proof for section in subject.sections for proof in section.proven]
    denied = [section for section in subject.sections if section.level is None and section.condition]
    return _Known(
        answers={(found.register, _as_text(found.number)): found.answer for found in row.registers},
        met=frozenset(proof.condition for proof in proofs if proof.by.startswith("register ")),
        unmet=frozenset(section.condition for section in denied if section.condition),
        covering=frozenset(
            proof.by.removeprefix("authorization ")
            for proof in proofs
            if proof.by.startswith("authorization ")
        ),
        withdrawn=frozenset(
            section.condition
            for section in denied
            if section.condition and section.outcome == Outcome.DENY_NO_AUTHORISATION_REVOKED
        ),
    )


_NO_PURPOSE = Denied(code=Outcome.DENY_PURPOSE, basis=(), remedy="Declare a purpose that the bundle has.")


def _closed(
    table: Table,
    caller: Caller,
    question: Question,
    possible: Possible,
    artefacts: Mapping[str, Authorization | str | _Unknown],
    known: _Known,
    now: int,
) -> _Decision:
    mine: dict[str, Authorization | str] = {}
    for _, field in possible.open:
        artefact = artefacts[field]
        if isinstance(artefact, _Unknown):
            return artefact
        mine[field] = artefact
    verified = verify(table, caller, question, possible, mine, now)
    if isinstance(verified, Denied):
        return verified
    cell = verified.cell
    found = [_proof(cell, code, reference, known) for code, reference in verified.references]
    # A proof that surely fails denies, whatever the row does not tell of the others.
    for failure in (Denied, _Unknown):
        for each in found:
            if isinstance(each, failure):
                return each
    return _Given(cell.rule.id, cell.level, verified.asked & cell.fields)


def _proof(cell: Cell, code: str, reference: Reference, known: _Known) -> Denied | _Unknown | None:
    """Why a register does not prove the condition, as far as the row tells; None when it does."""
    answer = known.answers.get((reference.register.value, reference.number))
    if reference.register is Register.AUTHORIZATIONS:
        if reference.number in known.covering:
            return None
        if answer == "NO_ANSWER" or code in known.withdrawn:
            return _unproven(cell, code, Outcome.DENY_NO_AUTHORISATION_REVOKED)
        return (
            None if answer == "NONE" else _Unknown("whether the authorization was withdrawn is not recorded")
        )
    if answer is None:
        return _Unknown("the register was not asked then")
    if answer != "ENTRY" or code in known.unmet:
        return _unproven(cell, code, Outcome.DENY_EVIDENCE)
    return None if code in known.met else _Unknown("what the register said of the number is not recorded")


def _unproven(cell: Cell, code: str, outcome: Outcome) -> Denied:
    remedy = "Bring evidence that its register proves."
    return Denied(code=outcome, basis=cell.rule.basis, remedy=remedy, rule=cell.rule.id, condition=code)


def _searches(position: int, row: _Row, table: Table) -> Iterator[_Part]:
    for search in row.searches:
        then = _SectionThen(category=SEARCH, asked=0, outcome=search.outcome)
        yield _Part(SubjectKind.ORG, then, _search(position, row, search, table))


def _search(position: int, row: _Row, then: _SearchThen, table: Table) -> Denied | _Unknown | None:
    """The decision on a search; its proofs are recorded in no other way than by what came of it."""
    if row.purpose not in table.bundle.purposes:
        return _NO_PURPOSE
    evidence, caller = _evidence(position, row.evidence or {}), _caller(row.caller, None)
    denied = decide_search(table, caller, row.purpose, evidence)
    if denied is None or denied.condition is None:
        return denied
    condition = table.bundle.conditions[denied.condition]
    if condition.about_subject or not condition.evidence:
        return denied
    if row.evidence is None:
        return _Unknown("the evidence of the search is not recorded")
    asked = references_of_search(table, caller, row.purpose, evidence)
    if asked and then.condition != denied.condition:
        return _Unknown("what the registers said for the search is not recorded")
    return denied


def _caller(then: _CallerThen, identity: Identity | None) -> Caller:
    """The caller as recorded. It can only be decided about: there is nothing here that could be asked."""
    return Caller(
        unit=then.unit,
        unit_name=then.unit_name or "",
        type=then.type,
        level=then.level,
        division=then.division,
        purposes=then.purposes,
        categories=then.categories,
        officer=then.officer,
        identity=identity,
        synthetic_only=then.synthetic_only,
        client=then.client,
        token_id=then.token,
        expires=0,
    )


_STAND_IN = "the name"


def _key(then: _SubjectThen) -> SubjectKey:
    """A subject that is decided about as the recorded one: its keyed hash in place of the identifier."""
    division = "99" if then.synthetic else "00"
    before = "00" if then.scheme == CREDIT_CODE else ""
    name = _STAND_IN if then.scheme == RESIDENT else None
    return SubjectKey(then.kind, then.scheme, f"{before}{division}{then.subject}", name=name)


def _identity(key: SubjectKey) -> Identity:
    if key.scheme == RESIDENT:
        return Identity(resident_number=key.value, name=key.name)
    return Identity(credit_code=key.value)


def _evidence(position: int, given: Mapping[str, Any]) -> Evidence:
    """The evidence as declared; of artefacts and of an organisation's code their hash stands for the text."""
    values = {name: _as_text(value) if isinstance(value, dict) else value for name, value in given.items()}
    try:
        return msgspec.convert(values, Evidence)
    except msgspec.ValidationError:
        raise ReplayError(position, "holds evidence in another form") from None


def _as_text(value: str | dict[str, Any]) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _artefact_then(position: int, held: object) -> _ArtefactThen:
    try:
        return msgspec.convert(held, _ArtefactThen)
    except msgspec.ValidationError:
        raise ReplayError(position, "holds an artefact in another form") from None


def _artefact(
    held: _ArtefactThen, row: _Row, subject: _SubjectThen, key: SubjectKey, known: _Known
) -> Authorization | str | _Unknown:
    """What the artefact proves of this subject, as far as the row tells."""
    if held.refused is not None:
        return held.refused
    claims = held.claims
    if claims is None:
        return _Unknown("the artefact was not read then")
    if row.caller.unit_name is None:
        return _Unknown("whether the authorization names the caller is not recorded")
    mine = claims.subject == subject.subject
    if mine and key.name is not None and claims.name_agrees is None and claims.id not in known.covering:
        return _Unknown("whether the authorization names the person alike is not recorded")
    return Authorization(
        issuer=claims.issuer,
        authorization_id=claims.id,
        issued_at=claims.issued_at,
        not_before=claims.not_before,
        expires=claims.expires,
        subject=(
            "resident" if key.scheme == RESIDENT else "credit_code",
            key.value if mine else claims.subject,
        ),
        subject_name=key.name if claims.name_agrees is not False else None,
        grantee=claims.grantee,
        purposes=claims.purposes,
        categories=claims.categories,
        consent=claims.consent,
    )


# --- comparing ----------------------------------------------------------------------------------------------


def _refused_whole(row: _Row, parts: Sequence[_Part]) -> bool | None:
    """Whether the new bundle would refuse the inquiry whole; None: not to be told."""
    if row.outcome == "SUBJECT_UNDER_AGE":
        return True
    if row.on_denied != "REJECT":
        return False
    if any(isinstance(part.now, Denied) for part in parts):
        return True
    open_parts = row.counts or row.logs or any(isinstance(part.now, _Unknown) for part in parts)
    return None if open_parts else False


def _given_then(row: _Row, then: _SectionThen) -> bool:
    allowed = then.outcome == Outcome.PERMIT if then.category == SEARCH else then.level is not None
    return allowed and row.outcome == "ANSWERED"


def _effect(row: _Row, part: _Part, whole: bool | None) -> Effect | None:
    before = _given_then(row, part.then)
    if isinstance(part.now, Denied) or whole:
        return Effect.REFUSED if before else None
    if isinstance(part.now, _Unknown) or whole is None:
        return Effect.UNKNOWN
    if not before:
        return Effect.ALLOWED
    return _step(part.then, part.now) if part.now is not None else None


def _step(then: _SectionThen, now: _Given) -> Effect | None:
    more, less = bool(now.fields & ~then.fields), bool(then.fields & ~now.fields)
    # What is published is another choice of records, whatever the fields.
    published = (then.level is Level.PUBLIC) is not (now.level is Level.PUBLIC)
    if more is not less and not published:
        return Effect.MORE if more else Effect.LESS
    return Effect.CHANGED if more or then.level is not now.level else None


_WITH_THE_WHOLE = "refused with the whole inquiry"


def _before(row: _Row, then: _SectionThen) -> str:
    if then.level is None:
        allowed = _given_then(row, then)
        return "allowed" if allowed else _joined(then.outcome, then.rule)
    given = _joined(then.level, then.rule)
    return given if row.outcome == "ANSWERED" else _WITH_THE_WHOLE


def _after(now: _Decision | None, whole: bool | None) -> str:
    if isinstance(now, Denied):
        return _joined(now.code, now.rule, now.condition)
    if whole:
        return _WITH_THE_WHOLE
    if isinstance(now, _Unknown):
        return now.reason
    if whole is None:
        return "another part cannot be told, and the inquiry stands or falls as a whole"
    return _joined(now.level, now.rule) if now is not None else "allowed"


def _joined(word: str, *places: str | None) -> str:
    named = ", ".join(place for place in places if place)
    return f"{word} ({named})" if named else word
