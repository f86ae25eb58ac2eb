"""The ledger row of an inquiry: the whole input of its decision, and what came of it.

A row can be replayed against another bundle. It holds no identifier of a subject and no artefact: keyed
hashes and digests stand for them.
"""

import hashlib
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.bind import Applying, Call, CountQuestion, LogQuestion, NameSearch
from gateway.gather import Sections
from gateway.history import APPLICATION
from gateway.judge import Judgement
from gateway.ledger import keyed_hash
from gateway.overview import Overviews, denial_of_log
from gateway.shape import ShapedSection, outcome_of
from policies.access_log import CATEGORY
from policies.authorization import Authorization
from policies.caller import Caller
from policies.decision import Decided, Granted, Question
from policies.evidence import ARTIFACTS, Evidence
from policies.outcomes import Denied
from policies.registers import Entry, Reference, Register
from policies.statistics import Allowed
from resolvers.answers import ApplicationReceipt, LogResult, Receipt, SearchResult, StatisticsResult

VERSION = 1
"""Version of the row's form; readers of older rows go by it."""

PROBE = msgspec.json.encode({"version": VERSION, "outcome": "PROBE"})
"""Not an inquiry: the row with which a ledger that failed shows that it writes again."""


def row(
    *,
    receipt: Receipt,
    call: Call,
    caller: Caller,
    document: str,
    judgement: Judgement,
    sections: Sections,
    searches: Mapping[str, SearchResult],
    overviews: Overviews = MappingProxyType({}),
    outcome: str,
    key: bytes,
) -> bytes:
    """The row as JSON. `sections`, `searches` and `overviews` are empty for a refused inquiry; `outcome` is ANSWERED or the
    refusal's code. `key` makes the keyed hashes.
    """
    body = {
        "version": VERSION,
        "receipt": receipt.id,
        "time": receipt.time.isoformat(timespec="milliseconds"),
        "day": call.today.isoformat(),
        "policy": receipt.policy_version,
        "outcome": outcome,
        "caller": _caller(caller, key),
        "purpose": call.purpose,
        "on_denied": call.on_denied.value,
        # Keyed: a document may hold an identifier, and of a known query a bare digest would give it away.
        "document": keyed_hash(key, f"document:{document}"),
        "subjects": [
            _subject(question, decided, sections[index] if sections else {}, judgement, caller, key)
            for index, (question, decided) in enumerate(zip(call.questions, judgement.decisions, strict=True))
        ],
        "registers": [_register(reference, found, key) for reference, found in judgement.registers.items()],
        "searches": [
            _search(lookup.search, judgement.searches[lookup.plan.key], searches.get(lookup.plan.key), key)
            for lookup in call.lookups
            if lookup.search is not None
        ],
        "counts": [
            _counts(lookup.counts, judgement.counts[lookup.plan.key], overviews.get(lookup.plan.key))
            for lookup in call.lookups
            if lookup.counts is not None
        ],
        "logs": [
            _log(lookup.log, denial_of_log(lookup, call, judgement), overviews.get(lookup.plan.key))
            for lookup in call.lookups
            if lookup.log is not None
        ],
    }
    return msgspec.json.encode(body)


def _register(reference: Reference, found: Entry | str | None, key: bytes) -> dict[str, Any]:
    """A number that was looked up, and whether its register held it."""
    number: Any = reference.number
    if reference.register is Register.ORGANISATIONS:
        number = {"subject": keyed_hash(key, f"credit_code:{number}")}
    answer = "ENTRY" if isinstance(found, Entry) else "NONE" if found is None else "NO_ANSWER"
    return {"register": reference.register.value, "number": number, "answer": answer}


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


def _subject(
    question: Question,
    decided: Decided,
    sections: Mapping[str, ShapedSection],
    judgement: Judgement,
    caller: Caller,
    key: bytes,
) -> dict[str, Any]:
    subject = question.subject
    return {
        "subject": keyed_hash(key, subject.hash_input),
        "kind": subject.kind.value,
        "scheme": subject.scheme,
        "synthetic": subject.synthetic,
        "self": caller.identity is not None and subject.value in _own_identifiers(caller),
        "warnings": list(subject.warnings),
        "evidence": _evidence(question.evidence, judgement.artefacts, key),
        "of": question.subjects_in_operation,
        "sections": [
            _section(category, question.sections[category], decision, sections.get(category))
            for category, decision in decided.items()
        ],
    }


def _own_identifiers(caller: Caller) -> tuple[str | None, ...]:
    identity = caller.identity
    return (identity.credit_code, identity.resident_number) if identity else ()


def _evidence(evidence: Evidence, artefacts: Mapping[str, Authorization | str], key: bytes) -> dict[str, Any]:
    given = {name: value for name, value in msgspec.structs.asdict(evidence).items() if value is not None}
    for name in ARTIFACTS:
        if name in given:
            given[name] = _artefact(given[name], artefacts.get(given[name]), key)
    if "organisation_code" in given:
        given["organisation_code"] = {"subject": keyed_hash(key, f"credit_code:{given['organisation_code']}")}
    return given


def _artefact(text: str, artefact: Authorization | str | None, key: bytes) -> dict[str, Any]:
    """An artefact without its subject's identifier; `claims` are what its decision rested on."""
    held: dict[str, Any] = {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    if isinstance(artefact, str):
        held["refused"] = artefact
    elif artefact is not None:
        scheme, identifier = artefact.subject
        held["claims"] = {
            "issuer": artefact.issuer,
            "id": artefact.authorization_id,
            "issued_at": artefact.issued_at,
            "not_before": artefact.not_before,
            "expires": artefact.expires,
            "subject": keyed_hash(key, f"{scheme}:{identifier}"),
            "grantee": artefact.grantee,
            "purposes": sorted(artefact.purposes),
            "categories": sorted(artefact.categories),
            "consent": artefact.consent.value,
        }
    return held


def _section(
    category: str, asked: int, decision: Granted | Denied, shaped: ShapedSection | None
) -> dict[str, Any]:
    entry: dict[str, Any] = {"category": category, "asked": asked}
    if isinstance(decision, Denied):
        return entry | {
            "outcome": decision.code.value,
            "rule": decision.rule,
            "condition": decision.condition,
        }
    entry |= {
        "rule": decision.cell.rule.id,
        "level": decision.cell.level.value,
        "fields": decision.fields,
        "proven": [{"condition": proven.condition, "by": proven.by} for proven in decision.proven],
    }
    if shaped is None:
        return entry | {"outcome": "NOT_FETCHED"}
    return entry | {
        "outcome": outcome_of(shaped).value,
        "state": shaped.answer.state.value,
        "records": len(shaped.answer.records),
        "hidden": dict(shaped.hidden),
        "sources": {source.id: source.state.value for source in shaped.answer.sources},
    }


def _search(
    search: NameSearch, denied: Denied | None, result: SearchResult | None, key: bytes
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": keyed_hash(key, f"name:{search.name}"),
        "first": search.first,
        "offset": search.offset,
    }
    if denied is not None:
        return entry | {"outcome": denied.code.value, "rule": denied.rule, "condition": denied.condition}
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
    question: LogQuestion, denied: Denied | None, result: StatisticsResult | LogResult | None
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "category": CATEGORY,
        "from": question.first_day.isoformat(),
        "until": question.last_day.isoformat(),
        "by": [dimension.value for dimension in question.by],
    }
    if denied is not None:
        return entry | {"outcome": denied.code.value, "rule": denied.rule, "condition": denied.condition}
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
