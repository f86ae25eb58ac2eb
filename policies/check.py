"""The proof of a bundle: every cell is looked at, and whatever should not be is a finding with a counterexample.

A cell is a caller type, a purpose, a kind of subject and a category, asked in one state of authorization. The
ceiling is the openness of the category, the floor what the bundle's statutory purposes oblige; between the two
the rules are the steward's.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from enum import StrEnum

import msgspec

from policies.bundle import (
    Audience,
    Bundle,
    CeilingException,
    Condition,
    Instrument,
    Openness,
    Proof,
    RedLine,
    Rule,
    RuleStatus,
    conflicts,
)
from policies.decision import CONSENT_OF
from policies.table import Cell, Table, compile_table
from policies.vocabulary import Level, SubjectKind


class FindingKind(StrEnum):
    """What is wrong."""

    GAP = "GAP"
    """A statutory purpose lacks a category that it obliges to look up."""
    CONFLICT = "CONFLICT"
    OVER_GRANT = "OVER_GRANT"
    """A cell above the ceiling of its category's openness."""
    DEAD_RULE = "DEAD_RULE"
    EXPIRED_BASIS = "EXPIRED_BASIS"
    """Every basis of a rule or red line is out of force on the day."""
    PURPOSE_WITHOUT_EVIDENCE = "PURPOSE_WITHOUT_EVIDENCE"
    """The purpose asks for evidence, a rule of it does not."""
    PURPOSE_WITHOUT_RULE = "PURPOSE_WITHOUT_RULE"
    CATEGORY_WITHOUT_OWNER = "CATEGORY_WITHOUT_OWNER"
    CATEGORY_WITHOUT_RULE = "CATEGORY_WITHOUT_RULE"
    UNUSED_CONDITION = "UNUSED_CONDITION"
    UNUSED_GROUP = "UNUSED_GROUP"
    UNUSED_EXCEPTION = "UNUSED_EXCEPTION"
    """An exception to the ceiling that nothing needs."""


class FindingSeverity(StrEnum):
    """Whether the bundle may be used."""

    ERROR = "ERROR"
    WARNING = "WARNING"


class Finding(msgspec.Struct, frozen=True):
    """One thing that should not be: its kind, the codes it is about, and a counterexample in words."""

    kind: FindingKind
    severity: FindingSeverity
    subject: tuple[str, ...]
    counterexample: str


class Ceiling(msgspec.Struct, frozen=True):
    """The highest level that a category of this openness may be granted at, and what lifts the limit.

    `departments` and `others` hold without any condition (None: nothing); each condition of `lifted_by` lifts
    the limit altogether.
    """

    departments: Level | None
    others: Level | None
    lifted_by: frozenset[str]
    reason: str


CEILINGS: dict[Openness, Ceiling] = {
    Openness.OPEN: Ceiling(Level.FULL, Level.FULL, frozenset(), "open to all (Shanghai 2017 Art. 15)"),
    Openness.SHARED: Ceiling(
        Level.FULL,
        None,
        frozenset({"AUTH_W"}),
        "shared among departments as their duties need; others by written authorization (Shanghai 2017 Art. 17)",
    ),
    Openness.RESTRICTED: Ceiling(
        None,
        None,
        frozenset({"LAW_NAMED", "CASE", "ORDER", "RECORD_AT_ISSUE", "DUAL", "SELF_ID"}),
        "only for a named law, an open case, an order, a record at issue, two officers or the subject itself",
    ),
    Openness.CONSENT: Ceiling(
        None,
        None,
        frozenset({"AUTH_W", "AUTH_PBOC", "SELF_ID", "RECORD_AT_ISSUE"}),
        "only by the subject's consent (Credit Reporting Regulation Arts. 18, 28), or for a record at issue",
    ),
    Openness.CONSENT_SEPARATE: Ceiling(
        None,
        None,
        frozenset({"AUTH_SEP", "SELF_ID"}),
        "only by separate consent after a warning of bad effects (Credit Reporting Regulation Art. 14)",
    ),
    Openness.HIT: Ceiling(
        Level.HIT,
        Level.HIT,
        frozenset({"LAW_NAMED", "SELF_ID", "RECORD_AT_ISSUE", "DUAL"}),
        "whether the subject is listed, and no more",
    ),
    Openness.MATCH_ONLY: Ceiling(
        Level.MATCH,
        Level.MATCH,
        frozenset({"SELF_ID", "RECORD_AT_ISSUE"}),
        "whether name and number agree, and no more",
    ),
    Openness.SUBJECT: Ceiling(
        None, None, frozenset({"SELF_ID", "ORDER"}), "for the subject itself and ordered audits"
    ),
    Openness.PROHIBITED: Ceiling(None, None, frozenset(), "never"),
}
"""FOLLOWS_RECORD has no entry: it may be granted as far as some record beside it is."""

_LEVELS = tuple(Level)
AUTHORIZATIONS = frozenset({"AUTH_W", "AUTH_SEP", "AUTH_PBOC"})
"""Conditions that the subject's consent meets."""
STATES: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"AUTH_W"}),
    frozenset({"AUTH_W", "AUTH_SEP"}),
    AUTHORIZATIONS,
)
"""The states of authorization in which each cell is asked, least first."""

_STATUTORY = re.compile(r"S[0-9]+")
"""Cases in which the law obliges departments to inquire."""


def check(bundle: Bundle, day: date) -> tuple[Finding, ...]:
    """All findings about the bundle as it is in force on that day, errors first."""
    table = compile_table(bundle, day)
    granted = _granted(bundle, table)
    findings = [
        *_gaps(bundle, table),
        *_conflicts(bundle),
        *_over_grants(bundle, granted),
        *_dead_rules(bundle, granted, day),
        *_expired_bases(bundle, day),
        *_without_evidence(bundle),
        *_without_rule(bundle, day),
        *_without_owner(bundle),
        *_unused(bundle),
    ]
    return tuple(sorted(findings, key=lambda finding: finding.severity is not FindingSeverity.ERROR))


def report(findings: Iterable[Finding]) -> str:
    """The findings as text, one a line, and their numbers."""
    listed = tuple(findings)
    lines = [f"{f.severity} {f.kind} {' '.join(f.subject)}: {f.counterexample}" for f in listed]
    errors = sum(finding.severity is FindingSeverity.ERROR for finding in listed)
    return "\n".join([*lines, f"{errors} errors, {len(listed) - errors} warnings"])


def _error(kind: FindingKind, subject: Iterable[str], counterexample: str) -> Finding:
    return Finding(kind, FindingSeverity.ERROR, tuple(subject), counterexample)


def _warning(kind: FindingKind, subject: Iterable[str], counterexample: str) -> Finding:
    return Finding(kind, FindingSeverity.WARNING, tuple(subject), counterexample)


def _gaps(bundle: Bundle, table: Table) -> Iterator[Finding]:
    for purpose in bundle.purposes.values():
        if _STATUTORY.fullmatch(purpose.case) and not purpose.obliges:
            words = (
                f"the statutory case {purpose.case} obliges to inquire, but no category is named as its floor"
            )
            yield _error(FindingKind.GAP, [purpose.code], words)
        callers = [caller for caller in bundle.callers if (caller, purpose.code) in table.reach]
        for kind, category in _floor(purpose.obliges):
            if not any(kind in table.reach[caller, purpose.code] for caller in callers):
                words = f"no caller with this purpose reaches {kind}, though the floor names {category}"
                yield _error(FindingKind.GAP, [purpose.code, kind, category], words)
            lacking = [
                caller
                for caller in callers
                if kind in table.reach[caller, purpose.code]
                and not isinstance(table.cell(caller, purpose.code, kind, category), Cell)
            ]
            if lacking:
                words = (
                    f"a {lacking[0]} that must look up {category} of a {kind} for {purpose.code} is refused"
                    f"{_and_others(lacking)}"
                )
                yield _error(FindingKind.GAP, [purpose.code, kind, category], words)


def _floor(obliges: dict[SubjectKind, tuple[str, ...]]) -> Iterator[tuple[SubjectKind, str]]:
    for kind, categories in obliges.items():
        for category in categories:
            yield kind, category


def _and_others(callers: Sequence[str]) -> str:
    return f" (and {len(callers) - 1} other caller types)" if len(callers) > 1 else ""


def _conflicts(bundle: Bundle) -> Iterator[Finding]:
    for one, other, (caller, purpose, kind, category) in conflicts(bundle.rules.values()):
        first = max(one.valid_from, other.valid_from)
        words = (
            f"a {caller} asking for {purpose} about {category} of a {kind} falls under both from {first} on:"
            f" one gives {one.level}, the other {other.level}"
        )
        yield _error(FindingKind.CONFLICT, [one.id, other.id], words)


class _Granted(msgspec.Struct, frozen=True):
    """One cell as it stands in the table for all callers of an audience."""

    cell: Cell
    audience: Audience
    callers: tuple[str, ...]


def _granted(bundle: Bundle, table: Table) -> list[_Granted]:
    """Every place of the table that grants, grouped by cell and audience."""
    callers = tuple(bundle.callers)
    of_a_caller = len(table.index) // len(callers)
    found: dict[tuple[int, Audience], dict[str, None]] = {}
    for place, number in enumerate(table.index):
        if number:
            caller = callers[place // of_a_caller]
            found.setdefault((number, bundle.callers[caller].audience), {})[caller] = None
    return [
        _Granted(cell, audience, tuple(group))
        for (number, audience), group in found.items()
        if isinstance(cell := table.cells[number], Cell)
    ]


def _over_grants(bundle: Bundle, granted: Iterable[_Granted]) -> Iterator[Finding]:
    accepted = {(e.rule, category): e for e in bundle.ceiling_exceptions for category in e.categories}
    needed: set[tuple[str, str]] = set()
    beside = _levels_beside(bundle, granted)
    for grant in granted:
        found = _above_ceiling(bundle, grant, beside)
        if found is None:
            continue
        cell = grant.cell
        exception = accepted.get((cell.rule.id, cell.category))
        if exception is not None and _holds(exception, cell):
            needed.add((cell.rule.id, cell.category))
        else:
            yield _error(FindingKind.OVER_GRANT, [cell.rule.id, cell.kind, cell.category], found)
    for rule, category in sorted(accepted.keys() - needed):
        words = f"it lifts no ceiling that {rule} goes above with {category}: remove or correct it"
        yield _warning(FindingKind.UNUSED_EXCEPTION, [rule, category], words)


def _holds(exception: CeilingException, cell: Cell) -> bool:
    return _LEVELS.index(cell.level) <= _LEVELS.index(exception.level) and {
        *cell.rule.conditions,
        *cell.rule.obligations,
    }.issuperset(exception.conditions)


_Beside = dict[tuple[str, str, SubjectKind], Level]
"""By caller type, purpose and kind the highest level of a record."""


def _levels_beside(bundle: Bundle, granted: Iterable[_Granted]) -> _Beside:
    beside: _Beside = {}
    for grant in granted:
        cell = grant.cell
        if bundle.categories[cell.category].openness(cell.kind) is not Openness.FOLLOWS_RECORD:
            for caller in grant.callers:
                key = (caller, cell.rule.purpose, cell.kind)
                beside[key] = max(beside.get(key, cell.level), cell.level, key=_LEVELS.index)
    return beside


def _above_ceiling(bundle: Bundle, grant: _Granted, beside: _Beside) -> str | None:
    """A counterexample to the ceiling, in the least state of authorization that shows one."""
    cell = grant.cell
    if cell.level is Level.SCHEMA_ONLY:
        return None
    for state in STATES:
        held = set(cell.rule.conditions) - AUTHORIZATIONS | state
        if not held.issuperset(cell.rule.conditions):
            continue
        openness = bundle.categories[cell.category].openness(cell.kind)
        for caller in grant.callers:
            limit = _limit(openness, grant.audience, held, beside.get((caller, cell.rule.purpose, cell.kind)))
            if limit is None or _LEVELS.index(cell.level) > _LEVELS.index(limit):
                return (
                    f"a {caller} asking for {cell.rule.purpose} about a {cell.kind} gets {cell.category} at"
                    f" {cell.level} with {' and '.join(sorted(state)) or 'no authorization'}"
                    f"{_and_others(grant.callers)}; {_sentence(openness)}"
                )
    return None


def _limit(
    openness: Openness | None, audience: Audience, held: set[str], beside: Level | None
) -> Level | None:
    """The highest level lawful for that audience under these conditions; None: nothing is."""
    if openness is Openness.FOLLOWS_RECORD:
        return beside
    if openness is None:
        return None
    ceiling = CEILINGS[openness]
    if ceiling.lifted_by & held:
        return Level.FULL
    return ceiling.departments if audience is Audience.DEPARTMENT else ceiling.others


def _sentence(openness: Openness | None) -> str:
    if openness is None:
        return "the category has no openness for this kind of subject"
    if openness is Openness.FOLLOWS_RECORD:
        return "FOLLOWS_RECORD: no record beside it is given as far"
    return f"{openness}: {CEILINGS[openness].reason}"


def _dead_rules(bundle: Bundle, granted: Iterable[_Granted], day: date) -> Iterator[Finding]:
    alive = {grant.cell.rule.id for grant in granted}
    for rule in bundle.rules.values():
        if rule.status is RuleStatus.DRAFT:
            continue
        if rule.valid_to is not None and rule.valid_to < day:
            yield _error(FindingKind.DEAD_RULE, [rule.id], f"it ended on {rule.valid_to}")
        elif rule.grants_on(day) and rule.id not in alive:
            lines = [
                line for line in bundle.red_lines.values() if line.holds_on(day) and _shadows(line, rule)
            ]
            names = ", ".join(line.id for line in lines)
            yield _error(FindingKind.DEAD_RULE, [rule.id], f"every cell of it is forbidden by {names}")
        for code in rule.conditions:
            if not _can_be_met(bundle.conditions[code]):
                words = f"nobody can meet {code}: it names no evidence that could show it"
                yield _error(FindingKind.DEAD_RULE, [rule.id, code], words)


def _shadows(line: RedLine, rule: Rule) -> bool:
    return (
        rule.purpose in line.purposes
        and not set(rule.callers).isdisjoint(line.callers)
        and any(
            kind in line.kinds and not set(line.categories).isdisjoint(categories)
            for kind, categories in rule.categories.items()
        )
    )


def _can_be_met(condition: Condition) -> bool:
    if condition.proof in (Proof.TOKEN, Proof.IDENTIFIER):
        return True
    if condition.proof is Proof.AUTHORIZATION:
        return any(CONSENT_OF.keys() >= set(fields) for fields in condition.evidence)
    return bool(condition.evidence)


def _expired_bases(bundle: Bundle, day: date) -> Iterator[Finding]:
    entries: list[Rule | RedLine] = [rule for rule in bundle.rules.values() if rule.grants_on(day)]
    entries += [line for line in bundle.red_lines.values() if line.holds_on(day)]
    for entry in entries:
        laws = [bundle.instruments[basis.instrument] for basis in entry.basis]
        if not any(law.in_force_on(day) for law in laws):
            days = ", ".join(f"{law.code} {_validity(law)}" for law in laws)
            words = f"it decides on {day}, when none of its bases is in force: {days}"
            yield _error(FindingKind.EXPIRED_BASIS, [entry.id], words)


def _validity(law: Instrument) -> str:
    """The days of an instrument, such as "from 2022-10-01 to 2026-03-31"."""
    first = f"from {law.valid_from}" if law.valid_from else ""
    last = f"to {law.valid_to}" if law.valid_to else ""
    return " ".join(filter(None, (first, last)))


def _without_evidence(bundle: Bundle) -> Iterator[Finding]:
    for rule in bundle.rules.values():
        purpose = bundle.purposes[rule.purpose]
        if rule.conditions or purpose.evidence.casefold() == "none":
            continue
        words = (
            f"a {rule.callers[0]} gets {rule.level} for {rule.purpose} on its bare word; the purpose asks for"
            f" {purpose.evidence}"
        )
        # What is published is given without evidence under another purpose too.
        found = _warning if rule.level is Level.PUBLIC else _error
        yield found(FindingKind.PURPOSE_WITHOUT_EVIDENCE, [rule.purpose, rule.id], words)


def _without_rule(bundle: Bundle, day: date) -> Iterator[Finding]:
    rules = [
        rule
        for rule in bundle.rules.values()
        if rule.status is RuleStatus.ACTIVE and (rule.valid_to is None or day <= rule.valid_to)
    ]
    given = {category for rule in rules for categories in rule.categories.values() for category in categories}
    for purpose in bundle.purposes.keys() - {rule.purpose for rule in rules}:
        words = f"whoever declares {purpose} is refused everything"
        yield _error(FindingKind.PURPOSE_WITHOUT_RULE, [purpose], words)
    for category in bundle.categories.keys() - given:
        words = f"nobody gets {category}, not even its subject"
        yield _warning(FindingKind.CATEGORY_WITHOUT_RULE, [category], words)


def _without_owner(bundle: Bundle) -> Iterator[Finding]:
    for category in bundle.categories.values():
        if not category.source_note.strip():
            words = "nobody is named who provides it and could correct a record of it"
            yield _error(FindingKind.CATEGORY_WITHOUT_OWNER, [category.code], words)


def _unused(bundle: Bundle) -> Iterator[Finding]:
    used = {code for rule in bundle.rules.values() for code in (*rule.conditions, *rule.obligations)}
    for condition in bundle.conditions:
        if condition not in used:
            yield _warning(FindingKind.UNUSED_CONDITION, [condition], f"no rule asks for {condition}")
    for group in bundle.unused_groups:
        yield _warning(FindingKind.UNUSED_GROUP, [group], f"no rule, red line or quota names {group}")
