"""What rows of the ledger say of inquiries: to the subject they were about, and to audit."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from connectors.answers import Fault, FaultCode, SourceAnswer, SourceInfo
from gateway.history import Body, History, HistoryFailure, Past
from gateway.ledger import keyed_hash
from policies.access_log import CATEGORY
from policies.catalogue import AccessLogEntry
from policies.identifiers import SubjectKey
from policies.vocabulary import SectionState
from resolvers.answers import GroupValue, LogCell, LoggedInquiry, LogResult, Reason
from resolvers.overview import LogDimension

LEDGER = "ledger"
LEDGER_INFO = SourceInfo("The gateway's own ledger", "网关查询台账", "GATEWAY", "PLATFORM", (CATEGORY,))
LOG_TITLES = {LEDGER: LEDGER_INFO}
"""The ledger as the source of one category."""

_MATTERS = (
    "matter_code",
    "case_number",
    "project_number",
    "inspection_plan_number",
    "programme_number",
    "application_number",
    "contract_id",
    "audit_order_number",
)


class AccessLog:
    """The ledger as a source: what it holds of one subject, or of some days."""

    def __init__(self, history: History, key: bytes) -> None:
        self._history = history
        self._key = key

    def hash_of(self, subject: SubjectKey) -> str:
        """The subject as rows name it."""
        return keyed_hash(self._key, subject.hash_input)

    async def answer(
        self, subject: SubjectKey, now: datetime, today: date, deadline: float
    ) -> list[SourceAnswer]:
        """The inquiries about a subject until now, newest first; a second answer says that there are more."""
        wanted = self.hash_of(subject)
        past = await self.inquiries(date.min, today, wanted, deadline)
        if past is None:
            return [SourceAnswer(LEDGER, fault=Fault(FaultCode.DOWN, "the past cannot be read"))]
        records = tuple(_entry(row, wanted) for row in past.rows)
        answers = [SourceAnswer(LEDGER, records, now)]
        if not past.complete:
            answers.append(
                SourceAnswer(LEDGER, fault=Fault(FaultCode.ERROR, "more inquiries than one look brings"))
            )
        return answers

    async def inquiries(self, first: date, last: date, subject: str | None, deadline: float) -> Past | None:
        """The rows of these days, about one subject if its hash is given; None: they cannot be read in time."""
        try:
            async with asyncio.timeout(deadline):
                return await self._history.inquiries(first, last, subject=subject)
        except (HistoryFailure, TimeoutError):
            return None


def _entry(row: Body, wanted: str) -> AccessLogEntry:
    """A row as its subject reads it; an inquiry that asked for it twice is one."""
    about = [subject for subject in row["subjects"] if _is_about(subject, wanted)]
    sections = [section for subject in about for section in subject["sections"]]
    evidence: Mapping[str, Any] = about[0]["evidence"]
    return AccessLogEntry(
        record_id=row["receipt"],
        inquired_at=datetime.fromisoformat(row["time"]),
        unit=row["caller"]["unit"],
        unit_name=row["caller"]["unit_name"],
        caller_type=row["caller"]["type"],
        by_subject=any(subject["self"] for subject in about),
        purpose=row["purpose"],
        matter=next((evidence[name] for name in _MATTERS if name in evidence), None),
        outcome=row["outcome"],
        given=_categories(sections, "PERMIT"),
        denied=_categories(sections, "DENY"),
        rules=_each(section.get("rule") for section in sections),
    )


def _is_about(about: Body, subject: str | None) -> bool:
    """Whether part of a row is about this subject, under whichever of its identifiers; None: any."""
    return subject in (None, about["subject"], about.get("known_as"))


def _categories(sections: Sequence[Body], outcome: str) -> tuple[str, ...]:
    return _each(section["category"] for section in sections if section["outcome"].startswith(outcome))


def _each(words: Iterator[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word is not None))


class _Decision(msgspec.Struct, frozen=True):
    """One decision in a row: about a section, a search, counts or a look into the log."""

    category: str
    outcome: str
    rule: str | None


def _decisions(row: Body, subject: str | None) -> Iterator[_Decision]:
    """The decisions of a row, or those of them about one subject."""
    for about in row["subjects"]:
        if _is_about(about, subject):
            for section in about["sections"]:
                yield _Decision(section["category"], section["outcome"], section.get("rule"))
    if subject is None:
        for search in row["searches"]:
            yield _Decision("REG_ORG", search["outcome"], search.get("rule"))
        for each in (*row.get("counts", ()), *row.get("logs", ())):
            yield _Decision(each["category"], each["outcome"], each.get("rule"))


def log_result(
    past: Past | None, by: Sequence[LogDimension], *, subject: str | None, synthetic_only: bool
) -> LogResult:
    """The log as audit reads it: whole numbers, numbers by groups, rows; only what is about `subject` where it is given."""
    if past is None:
        reason = Reason("UNKNOWN_SOURCE_DOWN", "The ledger's past cannot be read.", (), "Ask again later.")
        return LogResult(state=SectionState.UNKNOWN, reason=reason)
    if not past.complete:
        reason = Reason(
            "UNKNOWN_TOO_MANY", "There are more inquiries than one look can count.", (), "Ask for fewer days."
        )
        return LogResult(state=SectionState.UNKNOWN, reason=reason)
    rows = [row for row in past.rows if not synthetic_only or _synthetic(row)]
    return LogResult(
        state=SectionState.HAS if rows else SectionState.NONE,
        whole=next(
            iter(_cells(rows, (), subject, past.applied)),
            LogCell(values=(), inquiries=0, refused=0, sections=0, denied=0, applied=0),
        ),
        cells=_cells(rows, by, subject, past.applied) if by else (),
        rows=tuple(_logged(row, subject, row["receipt"] in past.applied) for row in rows),
    )


def _synthetic(row: Body) -> bool:
    return all(subject["synthetic"] for subject in row["subjects"])


def _cells(
    rows: Sequence[Body], by: Sequence[LogDimension], subject: str | None, followed: frozenset[str]
) -> tuple[LogCell, ...]:
    inquiries: Counter[tuple[str | None, ...]] = Counter()
    refused: Counter[tuple[str | None, ...]] = Counter()
    sections: Counter[tuple[str | None, ...]] = Counter()
    denied: Counter[tuple[str | None, ...]] = Counter()
    applied: Counter[tuple[str | None, ...]] = Counter()
    for row in rows:
        touched: set[tuple[str | None, ...]] = set()
        for decision in _decisions(row, subject):
            group = tuple(_value(row, decision, dimension) for dimension in by)
            touched.add(group)
            sections[group] += 1
            denied[group] += decision.outcome.startswith("DENY")
        # An inquiry that decided nothing, because it asked for no section, is one all the same.
        for group in touched or {tuple(_value(row, None, dimension) for dimension in by)}:
            inquiries[group] += 1
            refused[group] += row["outcome"] != "ANSWERED"
            applied[group] += row["receipt"] in followed
    return tuple(
        LogCell(
            values=tuple(GroupValue(dimension, value) for dimension, value in zip(by, group, strict=True)),
            inquiries=number,
            refused=refused[group],
            sections=sections[group],
            denied=denied[group],
            applied=applied[group],
        )
        for group, number in sorted(
            inquiries.items(), key=lambda cell: (-cell[1], [v or "" for v in cell[0]])
        )
    )


def _value(row: Body, decision: _Decision | None, dimension: LogDimension) -> str | None:
    match dimension:
        case LogDimension.UNIT:
            return str(row["caller"]["unit"])
        case LogDimension.PURPOSE:
            return str(row["purpose"])
        case LogDimension.DAY:
            return str(row["day"])
        case LogDimension.CATEGORY:
            return decision.category if decision else None
        case LogDimension.OUTCOME:
            return decision.outcome if decision else None


def _logged(row: Body, subject: str | None, applied: bool) -> LoggedInquiry:
    decisions = list(_decisions(row, subject))
    # Of other subjects of the same inquiry the log of one tells nothing.
    subjects = [about["subject"] for about in row["subjects"] if _is_about(about, subject)]
    return LoggedInquiry(
        receipt=row["receipt"],
        time=datetime.fromisoformat(row["time"]),
        unit=row["caller"]["unit"],
        unit_name=row["caller"]["unit_name"],
        caller_type=row["caller"]["type"],
        purpose=row["purpose"],
        outcome=row["outcome"],
        rules=_each(decision.rule for decision in decisions),
        denials=_each(d.outcome for d in decisions if d.outcome.startswith("DENY")),
        subjects=_each(iter(subjects)),
        applied=applied,
    )
