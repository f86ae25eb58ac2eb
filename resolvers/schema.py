"""The schema: built from a policy bundle, whose purposes are the `Purpose` enum.

Resolvers read what the river has prepared (`Context`); none of them decides, fetches or waits.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum, StrEnum
from typing import Annotated

import msgspec
import strawberry
from strawberry.types import Info
from strawberry.utils.str_converters import to_camel_case

from policies.bundle import Bundle, CategoryClass, Condition, MeasureKind, Openness
from policies.caller import Caller
from policies.catalogue import SECTION_OF
from policies.vocabulary import Level, SectionState, SubjectKind
from resolvers import answers
from resolvers.overview import (
    AccessLog,
    ApplicationReceipt,
    LogBy,
    LogFrom,
    LogUntil,
    Statistics,
    StatisticsBy,
    StatisticsKind,
)
from resolvers.records import (
    BOUND,
    RECORD_TYPES,
    SECTION_TYPES,
    After,
    Basis,
    First,
    Page,
    Reason,
    Source,
    connection_type,
)
from resolvers.subjects import (
    KIND_TYPES,
    SUBJECT_TYPES,
    CreditSubject,
    EvidenceInput,
    OrganisationId,
    RegisteredSubject,
    SubjectId,
    SubjectRef,
)

for _shown in (CategoryClass, MeasureKind, Openness):
    strawberry.enum(_shown, description=_shown.__doc__)


class OnDenied(StrEnum):
    """What becomes of an inquiry of which a part is denied."""

    FILTER = "FILTER"
    REJECT = "REJECT"


strawberry.enum(
    OnDenied,
    description=(
        "What becomes of an inquiry of which a part is denied: FILTER answers the rest, REJECT refuses it whole, before "
        "anything is fetched."
    ),
)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """All that a resolver may see: who asks, what was finished (inquiry or application), and the dry run of decisions."""

    caller: Caller
    inquiry: answers.InquiryAnswer | None
    permissions: Callable[[str, SubjectKind], Sequence[answers.PermissionAnswer]]
    application: answers.ApplicationReceipt | None = None


@strawberry.type(
    description="Proof that an inquiry was recorded 查询回执; the ledger position is in extensions.receipt."
)
class Receipt:
    """GraphQL face of `answers.Receipt`."""

    id: strawberry.ID = strawberry.field(description="Identifier of the inquiry in the ledger.")
    time: datetime = strawberry.field(description="Time of the decision.")
    policy_version: str = strawberry.field(description="Hash of the policy bundle that decided.")
    purpose: str = strawberry.field(description="Code of the declared purpose.")


@strawberry.type(
    description="An organisation found by name: the published part of its registration 检索结果."
)
class OrganisationHit:
    """GraphQL face of `answers.OrganisationHit`."""

    name: str = strawberry.field(description="Registered name 名称.")
    credit_code: str = strawberry.field(description="Unified social credit code 统一社会信用代码.")
    status: str | None = strawberry.field(description="Registration status, as filed 登记状态.")
    city: str | None = strawberry.field(description="City of registration 市.")


OrganisationConnection = connection_type(OrganisationHit, "OrganisationHit", "organisations found by name")


@strawberry.type(
    description="Organisations found by name; the state tells none from denied and unknown 检索."
)
class OrganisationHits:
    """GraphQL face of `answers.SearchResult`."""

    state: SectionState = strawberry.field(description="HAS, NONE, DENIED or UNKNOWN.")
    reason: Reason | None = strawberry.field(description="Why the search is denied or unknown.")
    source: Source | None = strawberry.field(description="The source that was asked.")

    @strawberry.field(graphql_type=OrganisationConnection, description="The page that was asked for.")
    def organisations(root: strawberry.Parent[answers.SearchResult]) -> Page:
        """The hits as a connection."""
        return Page(root.hits, root.offset, root.total)


@strawberry.type(description="A category of the public credit catalogue 公共信用信息目录.")
class CatalogueItem:
    """GraphQL face of `policies.bundle.Category`."""

    code: strawberry.ID = strawberry.field(description="Code of the category.")
    english: str = strawberry.field(description="English name.")
    chinese: str = strawberry.field(description="Chinese name.")
    category_class: CategoryClass = strawberry.field(
        name="class", description="Basic, excellent or untrustworthy 类别属性."
    )
    open_org: Openness | None = strawberry.field(description="Openness for organisations 组织公开属性.")
    open_person: Openness | None = strawberry.field(
        description="Openness for natural persons 自然人公开属性."
    )
    subjects: list[SubjectKind] = strawberry.field(description="Subject kinds that have it.")
    publication: str = strawberry.field(description="Publication period 公示期限.")
    retention: str = strawberry.field(description="Inquiry limit and retention 查询期限.")
    field: str | None = strawberry.field(description="The field of a subject that shows it.")


@strawberry.type(description="A measure of the list of incentives and punishments 奖惩措施.")
class Measure:
    """GraphQL face of `policies.bundle.Measure`."""

    code: strawberry.ID = strawberry.field(description="Code of the measure.")
    english: str = strawberry.field(description="English name.")
    chinese: str = strawberry.field(description="Chinese name.")
    kind: MeasureKind = strawberry.field(description="Incentive, discipline, or for serious dishonesty.")
    basis: list[Basis] = strawberry.field(description="Legal bases.")


@strawberry.type(description="A condition that a rule demands 条件.")
class Need:
    """GraphQL face of `policies.bundle.Condition`."""

    code: str = strawberry.field(description="Code of the condition.")
    english: str = strawberry.field(description="What must hold.")
    register: str = strawberry.field(description="What proves it.")

    @strawberry.field(
        graphql_type=list[list[str]],
        description="Alternatives of fields of `Evidence` that must all be given; empty: none.",
    )
    def evidence(root: strawberry.Parent[Condition]) -> list[list[str]]:
        """The alternatives, in the schema's names."""
        return [[to_camel_case(name) for name in fields] for fields in root.evidence]


@strawberry.type(description="What you would get of a category for a purpose, and why not 权限说明.")
class Permission:
    """GraphQL face of `answers.PermissionAnswer`."""

    category: str = strawberry.field(description="Code of the category.")
    possible: bool = strawberry.field(
        description="Whether the rules could give it to you, on the evidence below."
    )
    level: Level | None = strawberry.field(description="The level of the answer.")
    needs: list[Need] = strawberry.field(description="What must be shown for it.")
    reason: Reason | None = strawberry.field(description="Why not.")
    basis: list[Basis] = strawberry.field(description="Legal bases of the rule.")
    rule: str | None = strawberry.field(description="The rule that decides.")
    fields: list[str] = strawberry.field(description="The fields of its records that would be shown.")


@strawberry.type(description="Who the token says you are, and what it allows 当前调用方.")
class Viewer:
    """GraphQL face of `policies.caller.Caller`."""

    unit: str = strawberry.field(description="Unit that asks.")
    unit_name: str = strawberry.field(description="Name of the unit.")
    type: str = strawberry.field(description="Caller type of the policy bundle.")
    level: str | None = strawberry.field(description="PROVINCE, CITY or COUNTY.")
    division: str | None = strawberry.field(description="Division code, GB/T 2260.")
    officer: str | None = strawberry.field(description="Officer at the unit, if the token names one.")
    synthetic_only: bool = strawberry.field(description="Whether only synthetic subjects may be asked about.")

    @strawberry.field(
        graphql_type=list[str], description="Codes of the purposes that the token allows 允许的查询目的."
    )
    def purposes(root: strawberry.Parent[Caller]) -> list[str]:
        """The purposes, in alphabetical order."""
        return sorted(root.purposes)

    @strawberry.field(
        graphql_type=list[str] | None,
        description="Codes of the categories that the token is narrowed to; null: not narrowed 限定的信息类别.",
    )
    def categories(root: strawberry.Parent[Caller]) -> list[str] | None:
        """The categories, in alphabetical order."""
        return None if root.categories is None else sorted(root.categories)


def build_schema(bundle: Bundle) -> strawberry.Schema:
    """The schema of a bundle; rebuilt when a reload changes the purposes."""
    category = _category_enum(bundle)
    schema = strawberry.Schema(
        query=_query_type(bundle, _purpose_enum(bundle), category),
        mutation=_mutation_type(category),
        types=(*SUBJECT_TYPES, *SECTION_TYPES.values(), *RECORD_TYPES.values()),
    )
    _describe_sections(schema, bundle)
    _declare_one_of(schema)
    return schema


def _declare_one_of(schema: strawberry.Schema) -> None:
    """Let graphql-core refuse a wrong one-of input by its place; Strawberry's own check raises when it is read."""
    for name in (SubjectId.__name__, OrganisationId.__name__):
        schema._schema.type_map[name].is_one_of = True  # type: ignore[attr-defined]


def _describe_sections(schema: strawberry.Schema, bundle: Bundle) -> None:
    """Sections are described by the names that the bundle gives their categories, wherever they stand."""
    types = schema._schema.type_map
    interfaces = ("RegisteredSubject", "OperatingSubject")
    for (code, kind), section in SECTION_OF.items():
        category = bundle.categories.get(code)
        if category is None:
            continue
        text = f"{category.english} {category.chinese}. Category {code}."
        types[f"{section.type_name}Section"].description = text
        for name in (KIND_TYPES[kind], *interfaces):
            field = types[name].fields.get(to_camel_case(section.name))  # type: ignore[attr-defined]
            if field is not None:
                field.description = text


def _purpose_enum(bundle: Bundle) -> type[Enum]:
    members = {
        purpose.code: strawberry.enum_value(
            purpose.code,
            description=(
                f"{purpose.english} {purpose.chinese}. Evidence: {purpose.evidence}. "
                f"Example basis: {'; '.join(basis.text for basis in purpose.basis)}."
            ),
        )
        for purpose in bundle.purposes.values()
    }
    purposes: type[Enum] = Enum("Purpose", members)  # type: ignore[misc]  # mypy wants literal members
    return strawberry.enum(
        purposes,
        description=f"What an inquiry may be for 查询目的, by the bundle {bundle.title} {bundle.chinese}.",
    )


def _category_enum(bundle: Bundle) -> type[Enum]:
    members = {
        category.code: strawberry.enum_value(
            category.code, description=f"{category.english} {category.chinese}."
        )
        for category in bundle.categories.values()
    }
    categories: type[Enum] = Enum("Category", members)  # type: ignore[misc]  # mypy wants literal members
    return strawberry.enum(
        categories,
        description=f"A category of the catalogue 信用信息类别, by the bundle {bundle.title} {bundle.chinese}.",
    )


def _mutation_type(category_enum: type[Enum]) -> type:
    @strawberry.type(
        description="What a department does with what it was given 应用: recorded before it is answered."
    )
    class Mutation:
        @strawberry.field(
            graphql_type=ApplicationReceipt,
            metadata=BOUND,
            description=(
                "Record a measure that the unit takes 记录措施应用: one of the list, on what its own inquiry gave about that "
                "subject, not beyond the degree of the records. Refused otherwise, with the article; recorded either way."
            ),
        )
        def record_application(
            info: Info[Context, None],
            inquiry: Annotated[
                strawberry.ID, strawberry.argument(description="Receipt of the inquiry 查询回执.")
            ],
            subject: Annotated[
                SubjectId, strawberry.argument(description="The subject of the measure 主体.")
            ],
            measure: Annotated[strawberry.ID, strawberry.argument(description="Measure of the list 措施.")],
            category: Annotated[
                category_enum,  # type: ignore[valid-type]
                strawberry.argument(description="The category whose records the measure rests on 依据类别."),
            ],
            decision: Annotated[
                str, strawberry.argument(description="Number of the decision document 决定文书号.")
            ],
        ) -> answers.ApplicationReceipt | None:
            return info.context.application

    return Mutation


def _query_type(bundle: Bundle, purpose_enum: type[Enum], category_enum: type[Enum]) -> type:
    """The root: the parts that follow from the bundle are closed over, the rest is read from the context."""
    purpose = Annotated[
        purpose_enum,  # type: ignore[valid-type]
        strawberry.argument(description="The declared purpose 查询目的."),
    ]

    @strawberry.type(description="A purpose that may be declared 查询目的.")
    class PurposeDefinition:
        code: purpose_enum = strawberry.field(description="The enum value.")  # type: ignore[valid-type]
        english: str = strawberry.field(description="English name.")
        chinese: str = strawberry.field(description="Chinese name.")
        case: str = strawberry.field(description="Statutory case or other ground.")
        evidence: str = strawberry.field(description="What a call must carry, in words; the rules decide.")
        basis: list[Basis] = strawberry.field(description="Legal bases.")
        allowed: bool = strawberry.field(description="Whether your token allows it.")

    @strawberry.type(description="One inquiry: a purpose, its evidence, and what it found 一次查询.")
    class Inquiry:
        receipt: Receipt = strawberry.field(description="Proof that the inquiry was recorded.")

        @strawberry.field(
            graphql_type=CreditSubject,
            metadata=BOUND,
            description="One subject. Never null: its sections tell.",
        )
        def subject(
            root: strawberry.Parent[answers.InquiryAnswer],
            info: Info[Context, None],
            id: Annotated[SubjectId, strawberry.argument(description="The subject's identifier.")],
        ) -> answers.SubjectAnswer | None:
            return root.lookups[str(info.path.key)].subject

        @strawberry.field(
            graphql_type=list[RegisteredSubject],  # type: ignore[valid-type]  # no list holds natural persons
            metadata=BOUND,
            description="Several organisations, each with evidence of its own where it has some. No natural persons.",
        )
        def subjects(
            root: strawberry.Parent[answers.InquiryAnswer],
            info: Info[Context, None],
            of: Annotated[
                list[SubjectRef],
                strawberry.argument(description="The subjects; the answer keeps their order."),
            ],
        ) -> Sequence[answers.SubjectAnswer] | None:
            return root.lookups[str(info.path.key)].subjects

        @strawberry.field(
            graphql_type=OrganisationHits,
            metadata=BOUND,
            description="Organisations by name: the published part of their registration. No sections, no persons.",
        )
        def search(
            root: strawberry.Parent[answers.InquiryAnswer],
            info: Info[Context, None],
            name: Annotated[str, strawberry.argument(description="Registered name 名称, or a part of it.")],
            first: First = 20,
            after: After = None,
        ) -> answers.SearchResult | None:
            return root.lookups[str(info.path.key)].search

        @strawberry.field(
            graphql_type=Statistics,
            metadata=BOUND,
            description="Counts of a category, for purposes that answer with statistics only 统计.",
        )
        def statistics(
            root: strawberry.Parent[answers.InquiryAnswer],
            info: Info[Context, None],
            category: Annotated[
                category_enum,  # type: ignore[valid-type]
                strawberry.argument(description="What is counted 信息类别."),
            ],
            kind: StatisticsKind,
            by: StatisticsBy,
        ) -> answers.StatisticsResult | None:
            return root.lookups[str(info.path.key)].statistics

        @strawberry.field(
            graphql_type=AccessLog,
            metadata=BOUND,
            description=(
                "The log of inquiries 查询记录, for audit: of all subjects, which stay hashed, or of the one that is named "
                "(under an order that is proven for it)."
            ),
        )
        def access_log(
            root: strawberry.Parent[answers.InquiryAnswer],
            info: Info[Context, None],
            from_: LogFrom,
            until: LogUntil,
            by: LogBy = None,
            subject: Annotated[
                SubjectId | None, strawberry.argument(description="Only inquiries about this subject 主体.")
            ] = None,
        ) -> answers.LogResult | None:
            return root.lookups[str(info.path.key)].log

    catalogue_items = [
        CatalogueItem(
            code=strawberry.ID(category.code),
            english=category.english,
            chinese=category.chinese,
            category_class=category.category_class,
            open_org=category.open_org,
            open_person=category.open_person,
            subjects=list(category.subjects),
            publication=category.publication_note,
            retention=category.retention_note,
            field=next(
                (
                    to_camel_case(section.name)
                    for (code, _), section in SECTION_OF.items()
                    if code == category.code
                ),
                None,
            ),
        )
        for category in bundle.categories.values()
    ]
    measure_items = [
        Measure(
            code=strawberry.ID(measure.code),
            english=measure.english,
            chinese=measure.chinese,
            kind=measure.kind,
            basis=answers.cited(bundle, measure.basis),  # type: ignore[arg-type]
        )
        for measure in bundle.measures.values()
    ]

    @strawberry.type(
        description="Credit information 信用信息: one door to a subject, and what the law and the bundle say of it."
    )
    class Query:
        @strawberry.field(
            graphql_type=Inquiry,
            metadata=BOUND,
            description=(
                "The only door to a subject: one inquiry an operation, with one declared purpose and its evidence. "
                "It is recorded before it is answered."
            ),
        )
        def inquiry(
            info: Info[Context, None],
            purpose: purpose,
            evidence: Annotated[
                EvidenceInput | None,  # type: ignore[valid-type]
                strawberry.argument(description="What shows that the purpose is real 依据材料."),
            ] = None,
            on_denied: Annotated[
                OnDenied, strawberry.argument(description="What becomes of the rest when a part is denied.")
            ] = OnDenied.FILTER,
        ) -> answers.InquiryAnswer | None:
            return info.context.inquiry

        @strawberry.field(description="The catalogue of public credit information 公共信用信息目录.")
        def catalogue() -> list[CatalogueItem]:
            return catalogue_items

        @strawberry.field(description="The purposes that the bundle knows 查询目的.")
        def purposes(info: Info[Context, None]) -> list[PurposeDefinition]:
            return [
                PurposeDefinition(
                    code=purpose_enum(purpose.code),
                    english=purpose.english,
                    chinese=purpose.chinese,
                    case=purpose.case,
                    evidence=purpose.evidence,
                    basis=answers.cited(bundle, purpose.basis),  # type: ignore[arg-type]
                    allowed=purpose.code in info.context.caller.purposes,
                )
                for purpose in bundle.purposes.values()
            ]

        @strawberry.field(description="The list of incentives and punishments 奖惩措施清单.")
        def measures() -> list[Measure]:
            return measure_items

        @strawberry.field(
            graphql_type=list[Permission],
            description="Dry run: what you would get for a purpose, category by category, and why not.",
        )
        def permissions(
            info: Info[Context, None],
            purpose: purpose,
            subject_kind: Annotated[
                SubjectKind, strawberry.argument(description="The kind of subject 主体类型.")
            ],
        ) -> Sequence[answers.PermissionAnswer]:
            return info.context.permissions(purpose.value, subject_kind)  # type: ignore[attr-defined]

        @strawberry.field(graphql_type=Viewer, description="Who the token says you are.")
        def viewer(info: Info[Context, None]) -> Caller:
            return info.context.caller

    return Query
