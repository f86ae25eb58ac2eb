"""GraphQL types of what is about no one subject: counts of records, and the log of inquiries."""

import inspect
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any

import strawberry

from policies.vocabulary import Dimension, SectionState, SubjectKind
from resolvers.records import After, First, Page, Reason, Source, connection_type, page_offset

MOST_DIMENSIONS = 3
"""By how many dimensions at most counts are broken down."""


class LogDimension(StrEnum):
    """What the log of inquiries may be counted by."""

    UNIT = "UNIT"
    """Unit that asked 查询单位."""
    PURPOSE = "PURPOSE"
    """Declared purpose 查询目的."""
    OUTCOME = "OUTCOME"
    """Outcome of each section, or the refusal of the inquiry 结果."""
    CATEGORY = "CATEGORY"
    """Category of each section 信息类别."""
    DAY = "DAY"
    """Day in the province 日期."""


strawberry.enum(Dimension, name="StatisticsDimension", description=inspect.getdoc(Dimension))
strawberry.enum(LogDimension, name="AccessLogDimension", description=inspect.getdoc(LogDimension))


@strawberry.type(description="One value that the records of a cell share 分组值.")
class StatisticsValue:
    """GraphQL face of `answers.GroupValue` of a statistic."""

    dimension: Dimension = strawberry.field(description="What is broken down by.")
    value: str | None = strawberry.field(description="The value; null: the source has none.")


@strawberry.type(description="A cell of a statistic 统计单元.")
class StatisticsCell:
    """GraphQL face of `answers.StatisticsCell`."""

    values: list[StatisticsValue] = strawberry.field(description="The values, in the order asked.")
    count: int = strawberry.field(
        description="Number of records, rounded down to a multiple of the smallest cell."
    )


@strawberry.type(
    description=(
        "Counts of records 统计: no row ever. Each count is rounded down to a multiple of the smallest cell, so that a "
        "smaller one is not there at all, as an empty one; the total is that of the cells shown, so that nothing can be "
        "found by taking cells from it. Only records that are visible on the day of the inquiry are counted: the source "
        "is told that day and leaves out what is expired, repaired or withdrawn, because counts cannot be filtered afterwards."
    )
)
class Statistics:
    """GraphQL face of `answers.StatisticsResult`."""

    state: SectionState = strawberry.field(
        description="HAS, NONE (no cell large enough), DENIED or UNKNOWN (a source did not count)."
    )
    reason: Reason | None = strawberry.field(description="Why it is denied or unknown.")
    sources: list[Source] = strawberry.field(description="The sources that were asked.")
    smallest_cell: int | None = strawberry.field(description="Smallest cell 最小单元; null: denied.")
    total: int | None = strawberry.field(
        description="Total of the cells shown, not of all records; null: denied or unknown."
    )
    cells: list[StatisticsCell] = strawberry.field(description="The cells, largest first.")


@strawberry.type(description="One value that the inquiries of a cell share 分组值.")
class AccessLogValue:
    """GraphQL face of `answers.GroupValue` of the log."""

    dimension: LogDimension = strawberry.field(description="What is counted by.")
    value: str | None = strawberry.field(description="The value; null: the inquiry has none.")


@strawberry.type(description="Numbers of inquiries, and of the sections they asked for 查询统计.")
class AccessLogCell:
    """GraphQL face of `answers.LogCell`."""

    values: list[AccessLogValue] = strawberry.field(
        description="The values, in the order asked; of the whole log none."
    )
    inquiries: int = strawberry.field(description="Inquiries 查询次数.")
    refused: int = strawberry.field(description="Inquiries that were refused whole 整体拒绝次数.")
    sections: int = strawberry.field(
        description="Decisions in them: sections of subjects, searches, counts and looks into the log 决定项数."
    )
    denied: int = strawberry.field(description="Decisions that denied 拒绝项数.")
    applied: int = strawberry.field(
        description="Inquiries that a measure was recorded on afterwards 后续应用次数."
    )
    denial_rate: float | None = strawberry.field(
        description="Share of the decisions that denied, from 0 to 1; null: none was made 拒绝率."
    )


@strawberry.type(
    description="An inquiry as the ledger holds it 查询记录: subjects are keyed hashes, never identifiers."
)
class LoggedInquiry:
    """GraphQL face of `answers.LoggedInquiry`."""

    receipt: strawberry.ID = strawberry.field(description="Identifier of the inquiry.")
    time: datetime = strawberry.field(description="Time of the inquiry.")
    unit: str = strawberry.field(
        description="Unit that asked; of a subject that asked about itself a keyed hash."
    )
    unit_name: str | None = strawberry.field(description="Name of the unit; null: a subject.")
    caller_type: str = strawberry.field(description="Caller type of the unit.")
    purpose: str = strawberry.field(description="Declared purpose.")
    outcome: str = strawberry.field(description="ANSWERED, or the code of the refusal.")
    rules: list[str] = strawberry.field(description="The rules that decided.")
    denials: list[str] = strawberry.field(description="Codes of the denials in it.")
    subjects: list[str] = strawberry.field(description="Keyed hashes of its subjects 主体哈希.")
    applied: bool = strawberry.field(
        description="Whether a measure was recorded on it afterwards 是否已有后续应用."
    )


def _page_of_rows(root: Any, first: First = 50, after: After = None) -> Any:
    offset = page_offset(first, after)
    return Page(root.rows[offset : offset + first], offset, len(root.rows))


LoggedInquiryConnection = connection_type(LoggedInquiry, "LoggedInquiry", "inquiries of the ledger")


@strawberry.type(
    description=(
        "The log of inquiries 查询记录, for audit: numbers, denial rates and rows of the days asked, over the whole "
        "ledger or about one named subject. Reading it is an inquiry itself, with its own row."
    )
)
class AccessLog:
    """GraphQL face of `answers.LogResult`."""

    state: SectionState = strawberry.field(description="HAS, NONE, DENIED or UNKNOWN.")
    reason: Reason | None = strawberry.field(description="Why it is denied or unknown.")
    whole: AccessLogCell | None = strawberry.field(
        description="The numbers of all its inquiries; null: denied."
    )
    cells: list[AccessLogCell] = strawberry.field(description="The numbers by what was asked, most first.")

    records = strawberry.field(
        resolver=_page_of_rows,
        graphql_type=LoggedInquiryConnection,
        description="The inquiries themselves, newest first.",
    )


StatisticsKind = Annotated[SubjectKind, strawberry.argument(description="The kind of subject 主体类型.")]
StatisticsBy = Annotated[
    list[Dimension],
    strawberry.argument(
        description=f"What to break down by, at most {MOST_DIMENSIONS}; empty: one number 统计维度."
    ),
]
LogFrom = Annotated[date, strawberry.argument(name="from", description="First day, the province's 起始日期.")]
LogUntil = Annotated[date, strawberry.argument(description="Last day, included 截止日期.")]
LogBy = Annotated[
    list[LogDimension] | None,
    strawberry.argument(description=f"What to count by, at most {MOST_DIMENSIONS} 统计维度."),
]


@strawberry.type(
    description="Proof that a measure taken was recorded 应用回执; the ledger position is in extensions.receipt."
)
class ApplicationReceipt:
    """GraphQL face of `answers.ApplicationReceipt`."""

    id: strawberry.ID = strawberry.field(description="Identifier of the record in the ledger.")
    time: datetime = strawberry.field(description="Time of the record.")
    inquiry: strawberry.ID = strawberry.field(description="The inquiry that the measure rests on.")
    measure: strawberry.ID = strawberry.field(description="The measure of the list 措施.")
    policy_version: str = strawberry.field(description="Hash of the policy bundle that decided.")
