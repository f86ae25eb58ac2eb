"""GraphQL types of records and sections, made from the catalogue's record classes.

A record is described once, in `policies.catalogue`; the names, types and descriptions here follow from it.
"""

import base64
import binascii
import inspect
from datetime import datetime
from typing import Annotated, Any, get_args, get_origin

import msgspec
import strawberry
from graphql import GraphQLError

from connectors.answers import FaultCode
from policies import vocabulary
from policies.catalogue import SECTIONS, AdverseRecord, FieldOf, ListRecord, Record, Section, fields_of
from policies.vocabulary import Level, SectionState
from resolvers import answers

MAX_PAGE = 100

SHOWN_ENUMS = (
    vocabulary.Level,
    vocabulary.Mark,
    vocabulary.Severity,
    vocabulary.BasisKind,
    vocabulary.AmountBand,
    vocabulary.ArrearsKind,
    vocabulary.Performance,
    vocabulary.EvaluationKind,
    vocabulary.ContributionScheme,
    vocabulary.AdministrativeActKind,
    vocabulary.CompulsionKind,
    vocabulary.JudicialDocumentKind,
    vocabulary.FalseStatementKind,
    vocabulary.CharityKind,
    vocabulary.TitleKind,
    vocabulary.IntellectualPropertyKind,
    vocabulary.GovernmentDishonestyOrigin,
    vocabulary.BreachExcuse,
    vocabulary.UtilityKind,
    vocabulary.RightsKind,
    vocabulary.RightsStage,
    vocabulary.SectionState,
)
for _shown in SHOWN_ENUMS:
    strawberry.enum(_shown, description=inspect.getdoc(_shown))


strawberry.enum(
    FaultCode, name="SourceFault", description="Why a source gave no answer that can be used 来源故障."
)


class ArgumentError(GraphQLError):
    """An argument out of its range; names the argument and the reason, never the value."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"{argument}: {reason}")
        self.argument = argument
        self.reason = reason


@strawberry.type(
    description="A legal basis 法律依据: an example basis until the province's own article replaces it."
)
class Basis:
    """GraphQL face of `answers.Basis`."""

    citation: str = strawberry.field(description="Instrument and article, as cited.")
    title: str = strawberry.field(description="Title of the instrument.")
    chinese: str = strawberry.field(description="Chinese title of the instrument.")


@strawberry.type(description="Why an answer is as it is 理由.")
class Reason:
    """GraphQL face of `answers.Reason`."""

    code: str = strawberry.field(description="Stable code of the outcome.")
    message: str = strawberry.field(description="The outcome in a sentence.")
    basis: list[Basis] = strawberry.field(description="The legal bases that decide it.")
    remedy: str | None = strawberry.field(description="What would make it lawful, or bring the answer.")


@strawberry.type(description="A field that was asked for and is not shown 未提供字段.")
class Withheld:
    """GraphQL face of `answers.Withheld`."""

    field: str = strawberry.field(description="Name of the field on the section's records.")
    code: str = strawberry.field(
        description="PERMIT_REDUCED: beyond the granted level; PERMIT_MASKED: masked."
    )


@strawberry.type(description="How one source answered for a section 来源.")
class Source:
    """GraphQL face of `answers.SourceState`."""

    id: strawberry.ID = strawberry.field(description="Identifier of the source.")
    title: str = strawberry.field(description="Name of the source.")
    chinese: str = strawberry.field(description="Chinese name of the source.")
    state: SectionState = strawberry.field(description="HAS, NONE or UNKNOWN.")
    as_of: datetime | None = strawberry.field(description="The time for which the source answers.")
    reason: Reason | None = strawberry.field(description="Why the state is UNKNOWN.")
    fault: FaultCode | None = strawberry.field(description="The class of its failure 故障类别.")
    stale: bool = strawberry.field(
        description="Whether it failed, so that this is its last answer: as of then 过期."
    )
    instead_of: strawberry.ID | None = strawberry.field(
        description="The source that failed, in place of which this one was asked 替代来源."
    )
    latency_ms: float | None = strawberry.field(
        description="How long it takes to answer, a moving average in milliseconds; null: not asked now 响应时间."
    )


@strawberry.interface(
    name="Section",
    description=(
        "One catalogue category of a subject 信用信息类别. HAS: there are records; NONE: the sources were asked and "
        "have none; DENIED: not permitted, see the reason; UNKNOWN: a source did not answer, which is never a clean record."
    ),
)
class SectionInterface:
    """What every section says of itself."""

    state: SectionState = strawberry.field(description="HAS, NONE, DENIED or UNKNOWN.")
    level: Level | None = strawberry.field(description="Level of the answer that was granted.")
    reason: Reason | None = strawberry.field(description="Why the section is denied, unknown or incomplete.")
    sources: list[Source] = strawberry.field(
        description="The sources that were asked, each with its own state."
    )
    as_of: datetime | None = strawberry.field(
        description="The oldest time for which an asked source answers."
    )
    complete: bool = strawberry.field(
        description="False when some source did not answer: HAS is then not all."
    )
    withheld: list[Withheld] = strawberry.field(description="Fields asked for that are not shown, and why.")


@strawberry.type(description="Where a page of a connection stands 分页信息.")
class PageInfo:
    """Relay cursor connections, section PageInfo."""

    has_next_page: bool = strawberry.field(description="Whether the list goes on after this page.")
    has_previous_page: bool = strawberry.field(description="Whether the list begins before this page.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first item; null: an empty page.")
    end_cursor: str | None = strawberry.field(
        description="Cursor of the last item, for `after` of the next page; null: an empty page."
    )


First = Annotated[int, strawberry.argument(description=f"Length of the page, 1 to {MAX_PAGE}.")]
After = Annotated[
    str | None, strawberry.argument(description="Cursor of the item before the page; null: the first page.")
]


BOUND = {"bound": True}
"""Metadata of a field whose arguments were read before execution: its resolver does not look at them."""


class Page(msgspec.Struct, frozen=True):
    """A page of a list: its items, the position of the first, and the length of the whole list."""

    nodes: tuple[Any, ...]
    offset: int
    total_count: int


def page_offset(first: int, after: str | None, *, prefix: str = "") -> int:
    """The position at which the page begins; `ArgumentError` for a bad `first` or `after`."""
    if not 1 <= first <= MAX_PAGE:
        raise ArgumentError(f"{prefix}first", f"a number from 1 to {MAX_PAGE} is expected")
    if after is None:
        return 0
    try:
        kind, number = base64.b64decode(after, validate=True).decode("ascii").split(":")
        position = int(number)
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise ArgumentError(f"{prefix}after", "not a cursor of this connection") from None
    if kind != "offset" or not 0 <= position < 1_000_000:
        raise ArgumentError(f"{prefix}after", "not a cursor of this connection")
    return position + 1


def _cursor(position: int) -> str:
    return base64.b64encode(f"offset:{position}".encode()).decode()


def page_info(root: Any) -> PageInfo:
    """The PageInfo of a `Page`."""
    page: Page = root
    last = page.offset + len(page.nodes)
    return PageInfo(
        has_next_page=last < page.total_count,
        has_previous_page=page.offset > 0,
        start_cursor=_cursor(page.offset) if page.nodes else None,
        end_cursor=_cursor(last - 1) if page.nodes else None,
    )


def connection_type(node: type, name: str, what: str) -> type:
    """The Relay connection over `node`: resolved from a `Page`."""

    def edges(root: Any) -> Any:
        return [
            edge_type(node=item, cursor=_cursor(root.offset + index)) for index, item in enumerate(root.nodes)
        ]

    edge_type = strawberry.type(
        _made(
            f"{name}Edge",
            {"node": node, "cursor": str},
            node=strawberry.field(description="The item."),
            cursor=strawberry.field(description="Its place, for `after`."),
        ),
        name=f"{name}Edge",
        description=f"One of {what} and its place in the list.",
    )
    made = _made(
        f"{name}Connection",
        {"edges": list[edge_type], "nodes": list[node], "page_info": PageInfo, "total_count": int},  # type: ignore[valid-type]
        edges=strawberry.field(resolver=edges, description="The page, with cursors."),
        nodes=strawberry.field(description="The page, without cursors."),
        page_info=strawberry.field(resolver=page_info, description="Where the page stands."),
        total_count=strawberry.field(description="Length of the whole list."),
    )
    return strawberry.type(made, name=f"{name}Connection", description=f"A page of {what}.")


def _made(name: str, annotations: dict[str, Any], **namespace: Any) -> type:
    return type(name, (), {"__annotations__": annotations, **namespace})


def _graphql_type(field: FieldOf) -> Any:
    if field.name == "record_id":
        return strawberry.ID
    if get_origin(field.type) is tuple:
        return list[get_args(field.type)[0]]  # type: ignore[misc]
    return field.type


def _record_fields(record: type[Record], inherited: frozenset[str]) -> dict[str, Any]:
    fields = [field for field in fields_of(record) if field.name not in inherited]
    return {
        "__annotations__": {field.name: _graphql_type(field) for field in fields},
        **{
            field.name: strawberry.field(description=f"{field.shown.english} {field.shown.chinese}.")
            for field in fields
        },
    }


def _interface(record: type[Record], name: str, base: type | None, inherited: frozenset[str]) -> type:
    bases = (base,) if base else ()
    made = type(name, bases, _record_fields(record, inherited))
    return strawberry.interface(made, name=name, description=inspect.getdoc(record))


def _names(record: type[Record]) -> frozenset[str]:
    return frozenset(record.__struct_fields__)


CreditRecord = _interface(Record, "CreditRecord", None, frozenset())
AdverseInterface = _interface(AdverseRecord, "AdverseRecord", CreditRecord, _names(Record))
ListInterface = _interface(ListRecord, "ListRecord", CreditRecord, _names(Record))


def _record_type(section: Section) -> type:
    record = section.record
    base, parent = CreditRecord, Record
    if issubclass(record, AdverseRecord):
        base, parent = AdverseInterface, AdverseRecord
    elif issubclass(record, ListRecord):
        base, parent = ListInterface, ListRecord
    namespace = _record_fields(record, _names(parent))
    namespace["is_type_of"] = classmethod(lambda _cls, value, _info: isinstance(value, record))
    namespace["VALUES"] = (
        record  # what a compiled operation looks at first: nothing of this class is of another type
    )
    made = type(section.type_name, (base,), namespace)
    return strawberry.type(made, name=section.type_name, description=inspect.getdoc(record))


def _section_type(section: Section, record: type) -> type:
    name = f"{section.type_name}Section"

    def is_type_of(_cls: type, value: Any, _info: Any) -> bool:
        return isinstance(value, answers.SectionAnswer) and value.section is section

    namespace: dict[str, Any] = {"is_type_of": classmethod(is_type_of)}
    if section.single:

        def one(root: Any) -> Any:
            return root.records[0] if root.records else None

        namespace["record"] = strawberry.field(
            resolver=one, graphql_type=record | None, description="The record, when the state is HAS."
        )
    else:
        connection = connection_type(record, section.type_name, f"records of {section.category}")

        def page(root: Any, first: First = 50, after: After = None) -> Any:
            offset = page_offset(first, after)
            return Page(root.records[offset : offset + first], offset, len(root.records))

        namespace["records"] = strawberry.field(
            resolver=page, graphql_type=connection, description="The records, when the state is HAS."
        )
    made = type(name, (SectionInterface,), namespace)
    described = f"{inspect.getdoc(section.record)} Category {section.category}."
    return strawberry.type(made, name=name, description=described)


RECORD_TYPES: dict[str, type] = {section.type_name: _record_type(section) for section in SECTIONS}
SECTION_TYPES: dict[str, type] = {
    section.type_name: _section_type(section, RECORD_TYPES[section.type_name]) for section in SECTIONS
}
