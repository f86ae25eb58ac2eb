"""The ledger row of an inquiry: the whole input of its decision, and what came of it.

A row can be replayed against another bundle. It holds no identifier of a subject and no artefact: keyed
hashes and digests stand for them.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import date
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.bind import Applying, BoundLookup, Call, CountQuestion, LogQuestion, NameSearch
from gateway.gather import Subjects
from gateway.history import APPLICATION
from gateway.judge import Judgement
from gateway.ledger import keyed_hash
from gateway.overview import Overviews, denial_of_log
from gateway.recent import Recent
from gateway.shape import ShapedSection, ShapedSubject, outcome_of
from policies.access_log import CATEGORY
from policies.authorization import Authorization
from policies.caller import Caller
from policies.catalogue import SECTIONS, fields_of
from policies.decision import Decided, Granted, Question, is_self
from policies.evidence import ARTIFACTS, Evidence
from policies.identifiers import REGISTRATION_NUMBER, SubjectKey
from policies.outcomes import Denied
from policies.registers import Entry, Register
from policies.statistics import Allowed
from policies.vocabulary import SubjectKind
from resolvers.answers import ApplicationReceipt, LogResult, Receipt, SearchResult, StatisticsResult
from resolvers.schema import OnDenied

MOST_ENCODED = 8_000
"""Parts of rows that are kept encoded."""

VERSION = 1
"""Version of the row's form; readers of older rows go by it."""

CATALOGUE = hashlib.sha256(
    msgspec.json.encode(
        [(section.category, [field.name for field in fields_of(section.record)]) for section in SECTIONS]
    )
).hexdigest()[:16]
"""The order of the record fields, by which the bits of `asked` and `fields` in a row count, as a short digest."""


class EntryFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an entry of a register said that can bear on the inquiry, and no more of it.

    `own` and `supervised`: whether the caller's unit is among its units, its supervisors; `second_officer`:
    whether an officer other than the caller's has approved. `subjects` are places in the row's subjects;
    `roles` pair one with the role, or the day of its notice, that was declared for it. `covers` holds only
    what the evidence names.
    """

    open: bool = False
    own: bool = False
    supervised: bool = False
    second_officer: bool = False
    valid_from: date | None = None
    valid_until: date | None = None
    stage: str | None = None
    kind: str | None = None
    subjects: tuple[int, ...] = ()
    roles: tuple[tuple[int, str], ...] = ()
    covers: tuple[str, ...] = ()


PROBE = msgspec.json.encode({"version": VERSION, "outcome": "PROBE"})
"""Not an inquiry: the row with which a ledger that failed shows that it writes again."""


class _SubjectRow(msgspec.Struct, kw_only=True):
    """One subject of a row: a keyed hash, what was asked about it on which evidence, and what came of it."""

    subject: str
    known_as: str | None
    kind: SubjectKind
    scheme: str
    synthetic: bool
    is_caller: bool = msgspec.field(name="self")
    over_quota: bool
    warnings: tuple[str, ...]
    evidence: object
    of: int
    sections: object


class _Row(msgspec.Struct, kw_only=True):
    """A row, in the order of its members; parts that are known already are raw JSON."""

    version: int
    receipt: str
    time: str
    day: date
    policy: str
    catalogue: str
    outcome: str
    caller: msgspec.Raw
    purpose: str
    evidence: msgspec.Raw
    quota: int | None
    on_denied: OnDenied
    document: str
    subjects: list[_SubjectRow]
    withdrawals: bool
    registers: list[dict[str, Any]]
    searches: list[dict[str, Any]]
    counts: list[dict[str, Any]]
    logs: list[dict[str, Any]]


def lasting(row: bytes, receipt: Receipt) -> bytes:
    """Of the row of an inquiry what would stand in it again, were the same asked on the same day under another receipt.

    ValueError for a row that does not begin with its receipt.
    """
    passing = _passing(receipt)
    if not row.startswith(passing):
        raise ValueError("the row is of another receipt, or of another form")
    return row[len(passing) :]


def again(lasting: bytes, receipt: Receipt) -> bytes:
    """The row of an inquiry that is answered again under this receipt."""
    return _passing(receipt) + lasting


def _passing(receipt: Receipt) -> bytes:
    """The first members of a row, up to its day."""
    time = receipt.time.isoformat(timespec="milliseconds")
    return f'{{"version":{VERSION},"receipt":"{receipt.id}","time":"{time}"'.encode()


class Rows:
    """Writes the rows of inquiries. What is the same in one row after another is encoded once: the caller, the
    decisions and the kept sections, each known by its identity.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._encoded: Recent[tuple[object, ...], tuple[object, msgspec.Raw]] = Recent(MOST_ENCODED)

    def row(
        self,
        *,
        receipt: Receipt,
        call: Call,
        caller: Caller,
        document: str,
        judgement: Judgement,
        subjects: Subjects,
        searches: Mapping[str, SearchResult],
        overviews: Overviews = MappingProxyType({}),
        outcome: str,
    ) -> bytes:
        """The row as JSON. `document` is the keyed hash of the query's text. `subjects`, `searches` and `overviews` are empty
        for a refused inquiry; `outcome` is ANSWERED or the refusal's code.
        """
        key = self._key
        return msgspec.json.encode(
            _Row(
                version=VERSION,
                receipt=receipt.id,
                time=receipt.time.isoformat(timespec="milliseconds"),
                day=call.today,
                policy=receipt.policy_version,
                catalogue=CATALOGUE,
                outcome=outcome,
                caller=self._once(caller, lambda: _caller(caller, key)),
                purpose=call.purpose,
                evidence=self._evidence(call.evidence),
                quota=judgement.quota,
                on_denied=call.on_denied,
                document=document,
                subjects=[
                    self._subject(question, decided, subjects[index] if subjects else None, judgement, caller)
                    for index, (question, decided) in enumerate(
                        zip(call.questions, judgement.decisions, strict=True)
                    )
                ],
                withdrawals=judgement.withdrawals,
                registers=list(_registers(judgement, call, caller, key)) if judgement.registers else [],
                searches=[
                    _search(
                        lookup.search,
                        judgement,
                        judgement.searches[lookup.plan.key],
                        searches.get(lookup.plan.key),
                        key,
                    )
                    for lookup in call.lookups
                    if lookup.search is not None
                ],
                counts=[
                    _counts(lookup.counts, judgement.counts[lookup.plan.key], overviews.get(lookup.plan.key))
                    for lookup in call.lookups
                    if lookup.counts is not None
                ],
                logs=[
                    _log(lookup, lookup.log, call, judgement, overviews.get(lookup.plan.key))
                    for lookup in call.lookups
                    if lookup.log is not None
                ],
            )
        )

    def _once(self, of: object, body: Callable[[], object], *what: object) -> msgspec.Raw:
        """A part of the row that follows from one object, and from `what` where the object alone does not tell."""
        key = (id(of), *what)
        known = self._encoded.get(key)
        if known is None:
            known = self._encoded.put(key, (of, msgspec.Raw(msgspec.json.encode(body()))))
        return known[1]

    def _evidence(self, evidence: Evidence) -> msgspec.Raw:
        return self._once(evidence, lambda: _evidence(evidence, self._key))

    def _subject(
        self,
        question: Question,
        decided: Decided,
        shaped: ShapedSubject | None,
        judgement: Judgement,
        caller: Caller,
    ) -> _SubjectRow:
        sections = shaped.sections if shaped else _NONE

        def entries() -> list[msgspec.Raw]:
            return [
                self._section(category, question.sections[category], decision, sections.get(category))
                for category, decision in decided.items()
            ]

        subject, hash_input = question.subject, question.subject.hash_input
        evidence: object = self._evidence(question.evidence)
        if judgement.artefacts:
            evidence = _proven_evidence(question, judgement.artefacts, caller, self._key)
        return _SubjectRow(
            subject=keyed_hash(self._key, hash_input),
            known_as=_known_as(sections, self._key) if subject.scheme == REGISTRATION_NUMBER else None,
            kind=subject.kind,
            scheme=subject.scheme,
            synthetic=subject.synthetic,
            is_caller=is_self(caller, subject),
            over_quota=hash_input in judgement.over_quota,
            warnings=subject.warnings,
            evidence=evidence,
            of=question.subjects_in_operation,
            sections=self._once(shaped, entries) if shaped and shaped.kept else entries(),
        )

    def _section(
        self, category: str, asked: int, decision: Granted | Denied, shaped: ShapedSection | None
    ) -> msgspec.Raw:
        if isinstance(decision, Denied):
            return self._once(decision, lambda: _denied(category, asked, decision), category, asked)

        def entry() -> dict[str, Any]:
            return _granted(category, asked, decision) | _given(shaped)

        if shaped is None or shaped.hidden or len(shaped.answer.sources) != 1:
            return msgspec.Raw(msgspec.json.encode(entry()))
        # Most grants come to the same few things.
        answer, (source,) = shaped.answer, shaped.answer.sources
        came_of_it = (outcome_of(shaped), answer.state, len(answer.records), source.id, source.state)
        return self._once(decision, entry, category, asked, *came_of_it)


_NONE: Mapping[str, ShapedSection] = MappingProxyType({})


def _registers(judgement: Judgement, call: Call, caller: Caller, key: bytes) -> Iterator[dict[str, Any]]:
    """The numbers that were looked up, and what their registers said of them."""
    # The subjects of a list mostly share one object of evidence.
    texts = {id(question.evidence): question.evidence for question in call.questions}
    named_by = {key: _texts(evidence) for key, evidence in texts.items()}
    subjects = [(question.subject.hash_input, named_by[id(question.evidence)]) for question in call.questions]
    named = _texts(call.evidence).union(*(texts for _, texts in subjects))
    for reference, found in judgement.registers.items():
        number: Any = reference.number
        if reference.register is Register.ORGANISATIONS:
            number = {"subject": keyed_hash(key, f"credit_code:{number}")}
        looked_up = {"register": reference.register.value, "number": number}
        if isinstance(found, Entry):
            yield looked_up | {"answer": "ENTRY", "entry": _facts(found, subjects, named, caller)}
        else:
            yield looked_up | {"answer": "NONE" if found is None else "NO_ANSWER"}


def _facts(
    entry: Entry, subjects: Sequence[tuple[str, Set[str]]], named: Set[str], caller: Caller
) -> EntryFacts:
    """`subjects` are those of the inquiry with what their evidence names, `named` is what all of it names."""
    if entry.reference.register is Register.AUTHORIZATIONS:
        # All else is in the artefact itself.
        return EntryFacts(open=entry.open)
    return EntryFacts(
        open=entry.open,
        own=caller.unit in entry.units,
        supervised=caller.unit in entry.supervisors,
        second_officer=entry.approver not in (None, caller.officer),
        valid_from=entry.valid_from,
        valid_until=entry.valid_until,
        stage=entry.stage,
        kind=entry.kind,
        subjects=tuple(place for place, (subject, _) in enumerate(subjects) if subject in entry.subjects),
        roles=tuple(
            (place, text)
            for place, (subject, texts) in enumerate(subjects)
            for text in sorted(texts)
            if (subject, text) in entry.roles
        ),
        covers=tuple(sorted(entry.covers & named)),
    )


def _texts(evidence: Evidence) -> set[str]:
    """What the evidence names, each value as a register writes it; no artefact, and no subject."""
    texts: set[str] = set(evidence.record_ids or ())
    for name, value in msgspec.structs.asdict(evidence).items():
        if isinstance(value, date):
            texts.add(value.isoformat())
        elif isinstance(value, str) and name not in (*ARTIFACTS, "organisation_code"):
            texts.add(value)
    return texts


def _caller(caller: Caller, key: bytes) -> dict[str, Any]:
    # A subject that asks about itself is its own unit: its number and its name are those of a subject.
    own = caller.identity is not None
    return {
        "unit": keyed_hash(key, f"unit:{caller.unit}") if own else caller.unit,
        "unit_name": None if own else caller.unit_name,
        "type": caller.type,
        "level": caller.level,
        "division": caller.division,
        "officer": caller.officer,
        "client": caller.client,
        "token": caller.token_id,
        "purposes": sorted(caller.purposes),
        "categories": None if caller.categories is None else sorted(caller.categories),
        "synthetic_only": caller.synthetic_only,
    }


def _known_as(sections: Mapping[str, ShapedSection], key: bytes) -> str | None:
    """The subject by its credit code, so that its log shows who looked it up by another identifier."""
    known = (section.known_as for section in sections.values() if section.known_as is not None)
    return next((keyed_hash(key, subject.hash_input) for subject in known), None)


def _evidence(evidence: Evidence, key: bytes) -> dict[str, Any]:
    """The evidence as declared; of artefacts their digests."""
    given = {name: value for name, value in msgspec.structs.asdict(evidence).items() if value is not None}
    for name in ARTIFACTS:
        if name in given:
            text: str = given[name]
            given[name] = {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    if "organisation_code" in given:
        given["organisation_code"] = {"subject": keyed_hash(key, f"credit_code:{given['organisation_code']}")}
    return given


def _proven_evidence(
    question: Question, artefacts: Mapping[str, Authorization | str], caller: Caller, key: bytes
) -> dict[str, Any]:
    """The evidence of one subject, with what each artefact that was read proves of it."""
    given = _evidence(question.evidence, key)
    for name in ARTIFACTS:
        read = artefacts.get(getattr(question.evidence, name) or "")
        if read is not None:
            given[name] |= _proof(read, question.subject, caller, key)
    return given


def _proof(artefact: Authorization | str, subject: SubjectKey, caller: Caller, key: bytes) -> dict[str, Any]:
    """What an artefact proves of a subject, without identifiers; or why it proves nothing."""
    if isinstance(artefact, str):
        return {"refused": artefact}
    scheme, identifier = artefact.subject
    claims = {
        "issuer": artefact.issuer,
        "id": artefact.authorization_id,
        "issued_at": artefact.issued_at,
        "not_before": artefact.not_before,
        "expires": artefact.expires,
        "subject": keyed_hash(key, f"{scheme}:{identifier}"),
        "name_agrees": artefact.subject_name == subject.name,
        # A grantee may be a person: only whether it is the caller counts.
        "to_caller": artefact.grantee == caller.unit,
        "purposes": sorted(artefact.purposes),
        "categories": sorted(artefact.categories),
        "consent": artefact.consent.value,
    }
    return {"claims": claims}


def _denied(category: str, asked: int, denied: Denied) -> dict[str, Any]:
    return {
        "category": category,
        "asked": asked,
        "outcome": denied.code.value,
        "rule": denied.rule,
        "condition": denied.condition,
    }


def _granted(category: str, asked: int, granted: Granted) -> dict[str, Any]:
    return {
        "category": category,
        "asked": asked,
        "rule": granted.cell.rule.id,
        "level": granted.cell.level.value,
        "fields": granted.fields,
        "proven": [{"condition": proven.condition, "by": proven.by} for proven in granted.proven],
    }


def _given(shaped: ShapedSection | None) -> dict[str, Any]:
    """What came of a grant: the second half of its section's entry."""
    if shaped is None:
        return {"outcome": "NOT_FETCHED"}
    return {
        "outcome": outcome_of(shaped),
        "state": shaped.answer.state,
        "records": len(shaped.answer.records),
        "hidden": shaped.hidden,
        "sources": {source.id: source.state for source in shaped.answer.sources},
    }


def _search(
    search: NameSearch, judgement: Judgement, denied: Denied | None, result: SearchResult | None, key: bytes
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": keyed_hash(key, f"name:{search.name}"),
        "first": search.first,
        "offset": search.offset,
    }
    if denied is not None:
        return entry | {"outcome": denied.code.value, "rule": denied.rule, "condition": denied.condition}
    entry["rule"] = judgement.search_rule
    if result is None:
        return entry | {"outcome": "NOT_FETCHED"}
    return entry | {"outcome": "PERMIT", "state": result.state.value, "hits": len(result.hits)}


def _counts(
    question: CountQuestion, allowed: Allowed | Denied, result: StatisticsResult | LogResult | None
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "category": question.category,
        "kind": question.kind.value,
        "by": [dimension.value for dimension in question.by],
    }
    if isinstance(allowed, Denied):
        return entry | {"outcome": allowed.code.value, "rule": allowed.rule, "condition": allowed.condition}
    entry |= {"rule": allowed.cell.rule.id, "smallest_cell": allowed.smallest_cell}
    return entry | _overview(result)


def _log(
    lookup: BoundLookup,
    question: LogQuestion,
    call: Call,
    judgement: Judgement,
    result: StatisticsResult | LogResult | None,
) -> dict[str, Any]:
    """A part of the log; where it is that of a subject, its place in the row's subjects, whose section decides it."""
    entry: dict[str, Any] = {
        "category": CATEGORY,
        "from": question.first_day.isoformat(),
        "until": question.last_day.isoformat(),
        "by": [dimension.value for dimension in question.by],
        "subject": call.questions.index(lookup.questions[0]) if lookup.questions else None,
    }
    denied = denial_of_log(lookup, call, judgement)
    if denied is not None:
        return entry | {"outcome": denied.code.value, "rule": denied.rule, "condition": denied.condition}
    cells = judgement.logs.get(lookup.plan.key, ())
    if not isinstance(cells, Denied):
        entry["rules"] = sorted({cell.rule.id for cell in cells})
    return entry | _overview(result)


def _overview(result: StatisticsResult | LogResult | None) -> dict[str, Any]:
    if result is None:
        return {"outcome": "NOT_FETCHED"}
    return {"outcome": "PERMIT", "state": result.state.value, "cells": len(result.cells)}


def application_row(
    *,
    receipt: ApplicationReceipt,
    applying: Applying,
    subject_hash: str,
    caller: Caller,
    today: date,
    outcome: str,
    key: bytes,
) -> bytes:
    """The row of an application as JSON, of a kind of its own; `outcome` is RECORDED or the refusal's code."""
    body = {
        "version": VERSION,
        "kind": APPLICATION,
        "receipt": receipt.id,
        "time": receipt.time.isoformat(timespec="milliseconds"),
        "day": today.isoformat(),
        "policy": receipt.policy_version,
        "outcome": outcome,
        "caller": _caller(caller, key),
        "inquiry": applying.inquiry,
        "subject": subject_hash,
        "subject_kind": applying.subject.kind.value,
        "synthetic": applying.subject.synthetic,
        "measure": applying.measure,
        "category": applying.category,
        "decision": applying.decision,
    }
    return msgspec.json.encode(body)
