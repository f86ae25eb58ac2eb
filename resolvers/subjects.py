"""GraphQL types of credit subjects, and the inputs that name one."""

from typing import Any

import strawberry

from policies.catalogue import SECTIONS, Section
from policies.evidence import EVIDENCE_FIELDS, Evidence, Stage
from policies.vocabulary import SubjectKind
from resolvers import answers
from resolvers.records import SECTION_TYPES

KIND_TYPES = {
    SubjectKind.ORG: "Organisation",
    SubjectKind.IND: "IndividualBusiness",
    SubjectKind.NP: "NaturalPerson",
    SubjectKind.GOV: "GovernmentBody",
}
"""Which object type a subject of each kind is."""

strawberry.enum(
    Stage, description="Stage of a project in public resource trading; FINAL: of a recruitment 阶段."
)
strawberry.enum(
    SubjectKind,
    description=(
        "Kind of subject 主体类型: ORG organisation, IND individual business, NP natural person, GOV government body, "
        "NONE no subject (schema only)."
    ),
)


@strawberry.interface(
    description=(
        "A credit subject 信用主体. Its kind follows from the identifier alone; whether it exists is told by no field but "
        "the registration section's own state."
    )
)
class CreditSubject:
    """What every kind of subject has."""

    kind: SubjectKind = strawberry.field(description="Kind of the subject, from its identifier.")
    warnings: list[str] = strawberry.field(
        description="Codes of warnings about the identifier, such as ID_CHECKSUM_MISMATCH."
    )


def _section_field(section: Section) -> Any:
    def answer(root: Any) -> Any:
        return root.sections[section.name]

    return strawberry.field(
        resolver=answer,
        graphql_type=SECTION_TYPES[section.type_name],
        description=f"Category {section.category}.",
    )


def _sections(*kinds: SubjectKind) -> dict[str, Any]:
    """The section fields that all of these kinds share."""
    return {
        section.name: _section_field(section)
        for section in SECTIONS
        if all(kind in section.kinds for kind in kinds)
    }


_REGISTERED = (SubjectKind.ORG, SubjectKind.IND, SubjectKind.GOV)
_OPERATING = (SubjectKind.ORG, SubjectKind.IND)

RegisteredSubject: type = strawberry.interface(
    type("RegisteredSubject", (CreditSubject,), _sections(*_REGISTERED)),
    description="A subject that stands in an organisation register 登记主体.",
)
OperatingSubject: type = strawberry.interface(
    type("OperatingSubject", (RegisteredSubject,), _sections(*_OPERATING)),
    description="An organisation or individual business 经营主体及其他组织.",
)

_DESCRIBED = {
    SubjectKind.ORG: (OperatingSubject, "A legal person or unincorporated organisation 法人、非法人组织."),
    SubjectKind.IND: (
        OperatingSubject,
        "An individual business 个体工商户; its operator's data are masked as a person's.",
    ),
    SubjectKind.NP: (CreditSubject, "A natural person 自然人: no list, no score, one an operation."),
    SubjectKind.GOV: (RegisteredSubject, "A government body 政府机关."),
}


def _subject_type(kind: SubjectKind) -> type:
    base, description = _DESCRIBED[kind]

    def is_type_of(_cls: type, value: Any, _info: Any) -> bool:
        return isinstance(value, answers.SubjectAnswer) and value.kind is kind

    made = type(KIND_TYPES[kind], (base,), {**_sections(kind), "is_type_of": classmethod(is_type_of)})
    return strawberry.type(made, description=description)


SUBJECT_TYPES = tuple(_subject_type(kind) for kind in KIND_TYPES)


@strawberry.input(
    description="A natural person by number and name 公民身份号码和姓名; both travel in the body only."
)
class ResidentId:
    """GB 11643 number with the name as registered."""

    number: str = strawberry.field(description="Resident identity number, 18 characters, GB 11643-1999.")
    name: str = strawberry.field(description="Name as registered.")


@strawberry.input(one_of=True, description="The identifier of a subject: exactly one of these.")
class SubjectId:
    """One way to name any subject."""

    credit_code: strawberry.Maybe[str] = strawberry.field(
        description="Unified social credit code 统一社会信用代码, 18 characters, GB 32100-2015."
    )
    registration_number: strawberry.Maybe[str] = strawberry.field(
        description="Former business registration number 注册号, 15 digits, GS 15-2006."
    )
    resident: strawberry.Maybe[ResidentId] = strawberry.field(description="A natural person 自然人.")


@strawberry.input(
    one_of=True, description="The identifier of an organisation or individual business: exactly one of these."
)
class OrganisationId:
    """One way to name a subject that is no natural person."""

    credit_code: strawberry.Maybe[str] = strawberry.field(
        description="Unified social credit code 统一社会信用代码, 18 characters, GB 32100-2015."
    )
    registration_number: strawberry.Maybe[str] = strawberry.field(
        description="Former business registration number 注册号, 15 digits, GS 15-2006."
    )


def _evidence_input() -> type:
    namespace: dict[str, Any] = {
        field.name: strawberry.field(
            default=strawberry.UNSET, description=f"{field.given.english} {field.given.chinese}."
        )
        for field in EVIDENCE_FIELDS
    }
    namespace["__annotations__"] = {
        field.name: list[str] | None if field.name == "record_ids" else field.type
        for field in EVIDENCE_FIELDS
    }
    return strawberry.input(
        type("EvidenceInput", (), namespace),
        name=Evidence.__name__,
        description=(
            "What shows that the purpose is real 依据材料: which of these a question needs is said by `permissions` and "
            "by each denial."
        ),
    )


EvidenceInput: type = _evidence_input()


@strawberry.input(
    description="One subject of a list, with evidence of its own where it has some (its authorization)."
)
class SubjectRef:
    """An organisation of `subjects`."""

    id: OrganisationId = strawberry.field(description="The identifier.")
    evidence: EvidenceInput | None = strawberry.field(  # type: ignore[valid-type]
        default=None, description="Evidence of this subject, over that of the inquiry."
    )
