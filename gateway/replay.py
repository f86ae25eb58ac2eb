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
from gateway.quota import AskedToday, Place
from gateway.record import CATALOGUE, VERSION, EntryFacts
from policies.access_log import decide_log, references_of_log
from policies.authorization import Authorization, Consent
from policies.caller import Caller, Identity
from policies.decision import (
    Possible,
    Question,
    close,
    decide,
    decide_search,
    references_of_search,
    references_without_subject,
    rule_of_search,
    verify,
)
from policies.evidence import ARTIFACTS, Evidence
from policies.identifiers import CREDIT_CODE, RESIDENT, SubjectKey
from policies.outcomes import Denied, Outcome
from policies.proofs import CHECKS, Findings
from policies.quota import over_quota
from policies.registers import Entry, Reference, Register
from policies.statistics import Allowed, decide_statistics
from policies.table import Table, Tables
from policies.vocabulary import Level, SubjectKind

SEARCH = "search by name"
"""Stands for the category where an inquiry searched for organisations."""

LOG = "the log of all subjects"
"""Stands for the category where an inquiry looked into the log and named no subject."""


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
    the subject or of those counted, of organisations for a search, None for the log of all subjects.
    """

    position: int
    effect: Effect
    unit: str
    unit_name: str | None
    caller_type: str
    purpose: str
    kind: SubjectKind | None
    category: str
    before: str
    after: str


class Replay(msgspec.Struct, frozen=True):
    """How many inquiries were replayed, and all that differs, in the order of the ledger."""

    inquiries: int
    differences: tuple[Difference, ...]

    def count(self, *effects: Effect) -> int:
        """How many inquiries have a part with one of these effects."""
        return len({found.position for found in self.differences if found.effect in effects})


def replay(rows: Iterable[tuple[int, bytes]], tables: Tables) -> Replay:
    """Decide the rows again; `rows` are positions and bodies, as `gateway.ledger.read_rows` gives them.

    Where the bundle sets another quota than the row's, subjects are counted from the first row given, in the order
    of the ledger. Raises ReplayError for a row of another version, or one that is no row.
    """
    inquiries, asked = 0, AskedToday()
    differences: list[Difference] = []
    for position, body in rows:
        row = _read(position, body)
        if row is not None:
            inquiries += 1
            differences += _replay_row(position, row, tables.on(row.day), asked)
    return Replay(inquiries, tuple(differences))


def text(found: Replay) -> str:
    """The replay in words: first the counts, then what differs by effect, unit and purpose."""
    lines = [
        f"Of {found.inquiries} inquiries {found.count(Effect.REFUSED)} would now be refused, whole or in part;"
        f" {found.count(Effect.ALLOWED, Effect.MORE)} would be given more,"
        f" {found.count(Effect.LESS, Effect.CHANGED)} less or otherwise,"
        f" of {found.count(Effect.UNKNOWN)} it cannot be told."
    ]
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
        about = each.category if each.kind is None else f"{each.category} of {each.kind}"
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
    """`name_agrees`: whether the authorization names the subject as the question does; `to_caller`: whether the
    caller is its grantee.
    """

    issuer: str
    id: str
    issued_at: int
    not_before: int
    expires: int
    subject: str
    name_agrees: bool
    to_caller: bool
    purposes: frozenset[str]
    categories: frozenset[str]
    consent: Consent


class _ArtefactThen(msgspec.Struct, frozen=True):
    """An artefact with what it proved, or why it proved nothing; neither when it was not read."""

    sha256: str
    refused: str | None = None
    claims: _Claims | None = None


class _SectionThen(msgspec.Struct, frozen=True):
    """A section as it was decided; without a level it was denied."""

    category: str
    asked: int
    outcome: str
    rule: str | None = None
    level: Level | None = None
    fields: int = 0


class _RegisterThen(msgspec.Struct, frozen=True):
    """A number that was looked up: ENTRY, NONE or NO_ANSWER."""

    register: Register
    number: str | dict[str, Any]
    answer: str
    entry: EntryFacts | None = None


class _SubjectThen(msgspec.Struct, frozen=True):
    subject: str
    kind: SubjectKind
    scheme: str
    synthetic: bool
    evidence: dict[str, Any]
    of: int
    over_quota: bool
    sections: tuple[_SectionThen, ...]
    is_self: bool = msgspec.field(name="self")


class _SearchThen(msgspec.Struct, frozen=True):
    outcome: str
    rule: str | None = None


class _CountsThen(msgspec.Struct, frozen=True):
    category: str
    kind: SubjectKind
    outcome: str
    rule: str | None = None
    smallest_cell: int | None = None


class _LogThen(msgspec.Struct, frozen=True):
    """`subject` is the place of the subject whose log it is; its section decides."""

    subject: int | None
    outcome: str
    rule: str | None = None
    rules: tuple[str, ...] = ()


class _Row(msgspec.Struct, frozen=True):
    """`evidence` is that of the inquiry as a whole, by which searches, counts and logs are decided."""

    time: datetime
    day: date
    catalogue: str
    outcome: str
    caller: _CallerThen
    purpose: str
    evidence: dict[str, Any]
    quota: int | None
    on_denied: str
    subjects: tuple[_SubjectThen, ...]
    withdrawals: bool
    registers: tuple[_RegisterThen, ...]
    searches: tuple[_SearchThen, ...]
    counts: tuple[_CountsThen, ...]
    logs: tuple[_LogThen, ...]


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
    """What is given: by which rules; a section at its level and its fields, counts from their smallest cell."""

    rules: tuple[str, ...] = ()
    level: Level | None = None
    fields: int = 0
    smallest_cell: int | None = None


_Decision = _Given | Denied | _Unknown


class _Known(msgspec.Struct, frozen=True):
    """What registers said; where no source keeps `withdrawals`, an authorization holds without being looked up."""

    findings: Findings
    withdrawals: bool

    def tells(self, reference: Reference) -> bool:
        """Whether it is known what the register would say."""
        unkept = reference.register is Register.AUTHORIZATIONS and not self.withdrawals
        return unkept or reference in self.findings.entries


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """A section, search, count or look into the log; `then` is None where it was denied, in the words `denied`."""

    kind: SubjectKind | None
    category: str
    then: _Given | None
    denied: str
    now: _Decision


def _replay_row(position: int, row: _Row, table: Table, asked: AskedToday) -> Iterator[Difference]:
    parts = list(_parts(position, row, table, _over_quota(row, table, asked)))
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
                category=part.category,
                before=_before(row, part),
                after=_after(part.now, whole),
            )


def _over_quota(row: _Row, table: Table, asked: AskedToday) -> dict[str, Denied]:
    """By the subjects over the bundle's quota, their refusal."""
    bundle, hashes = table.bundle, [subject.subject for subject in row.subjects]
    quota = bundle.quotas.get((row.caller.type, row.purpose))
    if quota is None:
        return {}
    admission = asked.count(Place(row.day, row.caller.unit, row.purpose), quota, hashes)
    over = (
        {subject.subject for subject in row.subjects if subject.over_quota}
        if quota == row.quota
        else admission.over
    )
    refusal = over_quota(bundle, row.caller.type, row.purpose, admission.left, row.day)
    return dict.fromkeys(over, refusal)


def _parts(position: int, row: _Row, table: Table, over: Mapping[str, Denied]) -> Iterator[_Part]:
    known = _known(position, row)
    for subject in row.subjects:
        decided = _sections(position, row, subject, table, known, over.get(subject.subject))
        for section in subject.sections:
            level = section.level
            given = None if level is None else _Given(_rules(section.rule), level, section.fields)
            now = decided[section.category]
            if given and isinstance(now, _Given) and row.catalogue != CATALOGUE:
                now = _Unknown("its fields were numbered otherwise then")
            yield _Part(
                kind=subject.kind,
                category=section.category,
                then=given,
                denied=_joined(section.outcome, section.rule),
                now=now,
            )
    evidence, caller = _evidence(position, row.evidence), _caller(row.caller, None)
    for search in row.searches:
        yield _Part(
            kind=SubjectKind.ORG,
            category=SEARCH,
            then=None if _was_denied(search.outcome) else _Given(_rules(search.rule)),
            denied=_joined(search.outcome, search.rule),
            now=_search(row, table, caller, evidence, known),
        )
    for counts in row.counts:
        yield _Part(
            kind=counts.kind,
            category=f"counts of {counts.category}",
            then=None
            if _was_denied(counts.outcome)
            else _Given(_rules(counts.rule), smallest_cell=counts.smallest_cell),
            denied=_joined(counts.outcome, counts.rule),
            now=_counts(row, counts, table, caller, evidence, known),
        )
    for log in row.logs:
        if log.subject is None:
            yield _Part(
                kind=None,
                category=LOG,
                then=None if _was_denied(log.outcome) else _Given(log.rules),
                denied=_joined(log.outcome, log.rule),
                now=_log(row, table, caller, evidence, known),
            )


def _rules(rule: str | None) -> tuple[str, ...]:
    return () if rule is None else (rule,)


def _was_denied(outcome: str) -> bool:
    return outcome.startswith("DENY")


def _known(position: int, row: _Row) -> _Known:
    keys = [_key(subject).hash_input for subject in row.subjects]
    entries: dict[Reference, Entry | str | None] = {}
    for held in row.registers:
        reference = Reference(held.register, _as_text(held.number))
        entries[reference] = _entry(position, reference, held, row.caller, keys)
    return _Known(Findings(row.day, entries), row.withdrawals)


def _entry(
    position: int, reference: Reference, held: _RegisterThen, caller: _CallerThen, keys: Sequence[str]
) -> Entry | str | None:
    """What the register said, with stand-ins for all that the row does not name."""
    facts = held.entry
    if facts is None:
        return None if held.answer == "NONE" else "it gave no answer then"
    mine = frozenset({caller.unit})
    try:
        return Entry(
            reference=reference,
            open=facts.open,
            units=mine if facts.own else frozenset(),
            supervisors=mine if facts.supervised else frozenset(),
            valid_from=facts.valid_from,
            valid_until=facts.valid_until,
            stage=facts.stage,
            kind=facts.kind,
            approver=f"not {caller.officer}" if facts.second_officer else None,
            subjects=frozenset(keys[place] for place in facts.subjects),
            roles=frozenset((keys[place], role) for place, role in facts.roles),
            covers=frozenset(facts.covers),
        )
    except IndexError:
        raise ReplayError(position, "holds an entry about a subject that it does not hold") from None


_NO_PURPOSE = Denied(code=Outcome.DENY_PURPOSE, basis=(), remedy="Declare a purpose that the bundle has.")
_NOT_ASKED = _Unknown("the register was not asked then")


def _sections(
    position: int, row: _Row, subject: _SubjectThen, table: Table, known: _Known, over: Denied | None
) -> Mapping[str, _Decision]:
    key = _key(subject)
    caller = _caller(row.caller, _identity(key) if subject.is_self else None)
    question = Question(
        purpose=row.purpose,
        subject=key,
        evidence=_evidence(position, subject.evidence),
        sections={section.category: section.asked for section in subject.sections},
        subjects_in_operation=subject.of,
    )
    if row.purpose not in table.bundle.purposes:
        return dict.fromkeys(question.sections, _NO_PURPOSE)
    artefacts = _artefacts(position, row, subject, key)
    now = int(row.time.timestamp())
    return {
        category: over or _closed(table, caller, question, part, artefacts, known, now)
        if isinstance(part, Possible)
        else part
        for category, part in decide(table, caller, question).items()
    }


def _closed(
    table: Table,
    caller: Caller,
    question: Question,
    possible: Possible,
    artefacts: Mapping[str, Authorization | str],
    known: _Known,
    now: int,
) -> _Decision:
    """The decision on what is recorded; a proof that fails denies, whatever the row does not tell of others."""
    read = tuple(pair for pair in possible.open if pair[1] in artefacts)
    verified = verify(table, caller, question, msgspec.structs.replace(possible, open=read), artefacts, now)
    if isinstance(verified, Denied):
        return verified
    told = tuple(pair for pair in verified.references if known.tells(pair[1]))
    decided = close(
        table, caller, question, msgspec.structs.replace(verified, references=told), {}, now, known.findings
    )
    if isinstance(decided, Denied):
        return decided
    if read != possible.open:
        return _Unknown("the artefact was not read then")
    if told != verified.references:
        return _NOT_ASKED
    return _Given((decided.cell.rule.id,), decided.cell.level, decided.fields)


def _search(row: _Row, table: Table, caller: Caller, evidence: Evidence, known: _Known) -> _Decision:
    if row.purpose not in table.bundle.purposes:
        return _NO_PURPOSE
    denied = decide_search(table, caller, row.purpose, evidence, known.findings)
    if denied is None:
        return _Given(_rules(rule_of_search(table, caller, row.purpose)))
    references = references_of_search(table, caller, row.purpose, evidence)
    return _for_sure(denied, evidence, references, known)


def _counts(
    row: _Row, counts: _CountsThen, table: Table, caller: Caller, evidence: Evidence, known: _Known
) -> _Decision:
    if row.purpose not in table.bundle.purposes:
        return _NO_PURPOSE
    about = (row.purpose, counts.kind, counts.category, evidence)
    allowed = decide_statistics(table, caller, *about, known.findings)
    if isinstance(allowed, Allowed):
        return _Given((allowed.cell.rule.id,), smallest_cell=allowed.smallest_cell)
    return _for_sure(allowed, evidence, references_without_subject(table, caller, *about), known)


def _log(row: _Row, table: Table, caller: Caller, evidence: Evidence, known: _Known) -> _Decision:
    if row.purpose not in table.bundle.purposes:
        return _NO_PURPOSE
    cells = decide_log(table, caller, row.purpose, evidence, known.findings)
    if not isinstance(cells, Denied):
        return _Given(tuple(sorted({cell.rule.id for cell in cells})))
    return _for_sure(cells, evidence, references_of_log(table, caller, row.purpose, evidence), known)


def _for_sure(
    denied: Denied, evidence: Evidence, references: Iterable[Reference], known: _Known
) -> Denied | _Unknown:
    """The denial, unless it may only mean that a register was not asked then."""
    check = CHECKS.get(denied.condition or "")
    hanging = () if check is None else check.references(evidence)
    unasked = {reference for reference in references if not known.tells(reference)}
    return denied if unasked.isdisjoint(hanging) else _NOT_ASKED


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


_STAND_IN, _ANOTHER_NAME = "the name", "another name"


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


def _artefacts(
    position: int, row: _Row, subject: _SubjectThen, key: SubjectKey
) -> dict[str, Authorization | str]:
    """By evidence field: what each artefact that was read then proves of this subject."""
    proofs: dict[str, Authorization | str] = {}
    for name in ARTIFACTS:
        held = _artefact_then(position, subject.evidence.get(name))
        if held is not None and held.refused is not None:
            proofs[name] = held.refused
        elif held is not None and held.claims is not None:
            proofs[name] = _authorization(held.claims, row.caller, subject, key)
    return proofs


def _artefact_then(position: int, held: object) -> _ArtefactThen | None:
    try:
        return msgspec.convert(held, _ArtefactThen | None)
    except msgspec.ValidationError:
        raise ReplayError(position, "holds an artefact in another form") from None


def _authorization(
    claims: _Claims, caller: _CallerThen, subject: _SubjectThen, key: SubjectKey
) -> Authorization:
    return Authorization(
        issuer=claims.issuer,
        authorization_id=claims.id,
        issued_at=claims.issued_at,
        not_before=claims.not_before,
        expires=claims.expires,
        subject=(
            "resident" if key.scheme == RESIDENT else "credit_code",
            key.value if claims.subject == subject.subject else claims.subject,
        ),
        subject_name=key.name if claims.name_agrees else _ANOTHER_NAME,
        grantee=caller.unit if claims.to_caller else f"not {caller.unit}",
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
    return None if any(isinstance(part.now, _Unknown) for part in parts) else False


def _effect(row: _Row, part: _Part, whole: bool | None) -> Effect | None:
    before = part.then if row.outcome == "ANSWERED" else None
    if isinstance(part.now, Denied) or whole:
        return Effect.REFUSED if before else None
    if isinstance(part.now, _Unknown) or whole is None:
        return Effect.UNKNOWN
    return _step(before, part.now) if before else Effect.ALLOWED


def _step(then: _Given, now: _Given) -> Effect | None:
    more, less = bool(now.fields & ~then.fields), bool(then.fields & ~now.fields)
    if then.smallest_cell is not None and now.smallest_cell is not None:
        more, less = now.smallest_cell < then.smallest_cell, now.smallest_cell > then.smallest_cell
    # What is published is another choice of records, whatever the fields.
    published = (then.level is Level.PUBLIC) is not (now.level is Level.PUBLIC)
    if more is not less and not published:
        return Effect.MORE if more else Effect.LESS
    return Effect.CHANGED if more or then.level is not now.level else None


_WITH_THE_WHOLE = "refused with the whole inquiry"


def _before(row: _Row, part: _Part) -> str:
    if part.then is None:
        return part.denied
    return _in_words(part.then) if row.outcome == "ANSWERED" else _WITH_THE_WHOLE


def _after(now: _Decision, whole: bool | None) -> str:
    if isinstance(now, Denied):
        return _joined(now.code, now.rule, now.condition)
    if whole:
        return _WITH_THE_WHOLE
    if isinstance(now, _Unknown):
        return now.reason
    if whole is None:
        return "another part cannot be told, and the inquiry stands or falls as a whole"
    return _in_words(now)


def _in_words(given: _Given) -> str:
    cell = given.smallest_cell
    return _joined(given.level or ("allowed" if cell is None else f"in multiples of {cell}"), *given.rules)


def _joined(word: str, *places: str | None) -> str:
    named = ", ".join(place for place in places if place)
    return f"{word} ({named})" if named else word
