"""The schema: complete descriptions, no list and no score of persons, and the catalogue shown as it is."""

import re
from collections.abc import Iterator
from pathlib import Path

import graphql
import msgspec
import pytest
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLNamedType,
    get_introspection_query,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_enum_type,
    is_input_object_type,
    is_interface_type,
    is_list_type,
    is_object_type,
    is_scalar_type,
)
from strawberry.utils.str_converters import to_camel_case

from gateway.app import load_bundle
from policies.catalogue import SECTION_OF, SECTIONS, AdverseRecord, ListRecord, Record, Section, fields_of
from policies.evidence import EVIDENCE_FIELDS
from policies.vocabulary import SubjectKind
from resolvers.schema import build_schema
from resolvers.subjects import KIND_TYPES

BUNDLE = load_bundle("example")
PRINTED = build_schema(BUNDLE).as_str() + "\n"
SCHEMA = build_schema(BUNDLE)._schema
GOLDEN = Path(__file__).parent / "golden" / "schema.graphql"
CHINESE = re.compile(r"[\u4e00-\u9fff]")
OWN = [
    kind for name, kind in SCHEMA.type_map.items() if not name.startswith("__") and not is_scalar_type(kind)
]


def fields(name: str) -> dict[str, GraphQLField]:
    found: dict[str, GraphQLField] = SCHEMA.type_map[name].fields  # type: ignore[attr-defined]
    return found


def fields_of_kind(kind: GraphQLNamedType) -> dict[str, GraphQLField | GraphQLInputField]:
    return {} if is_enum_type(kind) else kind.fields  # type: ignore[attr-defined]


def reachable(start: str) -> set[str]:
    """The types that an answer about `start` may hold, interfaces with all that implement them."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        kind = SCHEMA.type_map[name]
        if name in found or is_scalar_type(kind) or is_enum_type(kind):
            continue
        found.add(name)
        waiting += [get_named_type(field.type).name for field in fields(name).values()]
        if is_abstract_type(kind):
            waiting += [inner.name for inner in SCHEMA.get_possible_types(kind)]
    return found


def lists() -> Iterator[tuple[str, str]]:
    """Every list field: its coordinate, and the name of what it lists."""
    for kind in OWN:
        if is_object_type(kind) or is_interface_type(kind):
            for name, field in kind.fields.items():
                if is_list_type(get_nullable_type(field.type)):
                    yield f"{kind.name}.{name}", get_named_type(field.type).name


def test_the_schema_is_valid() -> None:
    assert graphql.validate_schema(SCHEMA) == []
    parsed = graphql.build_schema(PRINTED)
    assert graphql.validate_schema(parsed) == []
    assert set(parsed.type_map) >= {kind.name for kind in OWN}


def test_the_schema_is_the_one_in_the_golden_file() -> None:
    # After a wanted change: credit-gateway schema > tests/golden/schema.graphql
    assert GOLDEN.read_text("utf-8") == PRINTED


def test_introspection_in_full_works() -> None:
    result = graphql.graphql_sync(SCHEMA, get_introspection_query(input_value_deprecation=True, one_of=True))
    assert result.errors is None
    assert result.data is not None
    named = {kind["name"]: kind for kind in result.data["__schema"]["types"]}
    assert named["SubjectId"]["isOneOf"] is True
    assert len(named["Purpose"]["enumValues"]) == len(BUNDLE.purposes)


@pytest.mark.parametrize("name", ["SubjectId", "OrganisationId"])
def test_identifiers_are_one_of_inputs(name: str) -> None:
    assert SCHEMA.type_map[name].is_one_of  # type: ignore[attr-defined]
    assert f"input {name} @oneOf" in PRINTED


def test_everything_is_described() -> None:
    missing = []
    for kind in OWN:
        if not kind.description:
            missing.append(kind.name)
        for name, field in fields_of_kind(kind).items():
            if not field.description:
                missing.append(f"{kind.name}.{name}")
            arguments: dict[str, GraphQLArgument] = getattr(field, "args", {})
            missing += [
                f"{kind.name}.{name}({a}:)" for a, given in arguments.items() if not given.description
            ]
    assert missing == []


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.type_name)
def test_record_fields_are_those_of_the_catalogue(section: Section) -> None:
    record, name = section.record, section.type_name
    shown = {to_camel_case(field.name): field.shown for field in fields_of(record)}
    assert set(fields(name)) == set(shown)
    for field, described in shown.items():
        text = fields(name)[field].description or ""
        assert described.chinese in text
        assert described.english in text
        assert CHINESE.search(text)


@pytest.mark.parametrize("kind", KIND_TYPES)
def test_sections_of_a_kind_are_those_of_the_catalogue(kind: SubjectKind) -> None:
    sections = {to_camel_case(section.name): section for (_, k), section in SECTION_OF.items() if k is kind}
    shown = set(fields(KIND_TYPES[kind])) - {"kind", "warnings"}
    assert shown == set(sections)
    for name, section in sections.items():
        field = fields(KIND_TYPES[kind])[name]
        assert get_named_type(field.type).name == f"{section.type_name}Section"
        category = BUNDLE.categories[section.category]
        assert category.fits(kind)
        for text in (
            field.description or "",
            SCHEMA.type_map[f"{section.type_name}Section"].description or "",
        ):
            assert category.chinese in text
            assert category.english in text


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.type_name)
def test_a_section_holds_one_record_or_a_connection(section: Section) -> None:
    name = section.type_name
    own = set(fields(f"{name}Section")) - set(fields("Section"))
    assert own == ({"record"} if section.single else {"records"})
    assert [i.name for i in SCHEMA.type_map[f"{name}Section"].interfaces] == ["Section"]  # type: ignore[attr-defined]


def test_subject_interfaces_are_implemented() -> None:
    implemented = {
        name: {interface.name for interface in SCHEMA.type_map[name].interfaces}  # type: ignore[attr-defined]
        for name in KIND_TYPES.values()
    }
    assert implemented == {
        "Organisation": {"OperatingSubject", "RegisteredSubject", "CreditSubject"},
        "IndividualBusiness": {"OperatingSubject", "RegisteredSubject", "CreditSubject"},
        "NaturalPerson": {"CreditSubject"},
        "GovernmentBody": {"RegisteredSubject", "CreditSubject"},
    }
    shared = set(fields("Organisation")) & set(fields("IndividualBusiness"))
    assert set(fields("OperatingSubject")) == shared
    assert set(fields("RegisteredSubject")) == shared & set(fields("GovernmentBody"))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.type_name)
def test_record_interfaces_follow_the_record_classes(section: Section) -> None:
    record = section.record
    expected = {"CreditRecord"}
    expected |= {"AdverseRecord"} if issubclass(record, AdverseRecord) else set()
    expected |= {"ListRecord"} if issubclass(record, ListRecord) else set()
    kind = SCHEMA.type_map[section.type_name]
    assert {interface.name for interface in kind.interfaces} == expected  # type: ignore[attr-defined]
    for name, base in (
        ("CreditRecord", Record),
        ("AdverseRecord", AdverseRecord),
        ("ListRecord", ListRecord),
    ):
        assert set(fields(name)) == {to_camel_case(field.name) for field in fields_of(base)}


def test_no_list_reaches_a_natural_person() -> None:
    found = dict(lists())
    assert found["Inquiry.subjects"] == "RegisteredSubject"
    assert [place for place, listed in found.items() if "NaturalPerson" in reachable(listed)] == []


def test_the_walk_would_see_a_list_of_persons() -> None:
    assert "NaturalPerson" in reachable("CreditSubject")
    assert "NaturalPerson" in reachable("Query")


def test_no_path_leads_from_a_subject_to_a_subject() -> None:
    for name in KIND_TYPES.values():
        assert reachable(name) & {*KIND_TYPES.values(), "CreditSubject"} == {name}


SCORE = re.compile(
    r"score|scoring|rating|\brated?\b|grade|grading|rank of the (person|subject)|credit level|points",
    re.IGNORECASE,
)
SCORE_CHINESE = re.compile(r"评分|评级|等级|分数|得分|积分|信用分")


def scores(start: str) -> list[str]:
    return [
        f"{name}.{field}"
        for name in sorted(reachable(start))
        for field, given in fields(name).items()
        if SCORE.search(re.sub(r"(?<!^)(?=[A-Z])", " ", field))
        or SCORE.search(given.description or "")
        or SCORE_CHINESE.search(given.description or "")
    ]


def test_a_natural_person_has_no_score() -> None:
    assert scores("NaturalPerson") == []


def test_the_search_for_scores_finds_those_of_organisations() -> None:
    assert {"Evaluation.grade", "MarketCredit.rating"} <= set(scores("Organisation"))


def test_purposes_are_those_of_the_bundle() -> None:
    values = SCHEMA.type_map["Purpose"].values  # type: ignore[attr-defined]
    assert list(values) == list(BUNDLE.purposes)
    for code, purpose in BUNDLE.purposes.items():
        text = values[code].description
        assert purpose.english in text
        assert purpose.chinese in text
        assert purpose.evidence in text
        for basis in purpose.basis:
            assert basis.text in text


def test_evidence_is_that_of_the_policies() -> None:
    given = SCHEMA.type_map["Evidence"].fields  # type: ignore[attr-defined]
    assert set(given) == {to_camel_case(field.name) for field in EVIDENCE_FIELDS}
    for field in EVIDENCE_FIELDS:
        text = given[to_camel_case(field.name)].description
        assert field.given.chinese in text
        assert field.given.english in text


def test_inputs_name_persons_in_one_place_only() -> None:
    holders = {
        kind.name
        for kind in OWN
        if is_input_object_type(kind)
        and any(get_named_type(field.type).name == "ResidentId" for field in kind.fields.values())
    }
    assert holders == {"SubjectId"}


def test_the_root_has_the_doors_that_it_should() -> None:
    assert set(fields("Query")) == {"inquiry", "catalogue", "purposes", "measures", "permissions", "viewer"}
    assert set(fields("Mutation")) == {"recordApplication"}
    assert SCHEMA.subscription_type is None


def test_a_subject_hangs_from_an_inquiry_alone() -> None:
    doors = {
        f"{kind.name}.{name}"
        for kind in OWN
        if is_object_type(kind)
        for name, field in kind.fields.items()
        if get_named_type(field.type).name
        in {"CreditSubject", "RegisteredSubject", "OperatingSubject", *KIND_TYPES.values()}
    }
    assert doors == {"Inquiry.subject", "Inquiry.subjects"}
    assert [
        f"{k.name}.{n}"
        for k in OWN
        if is_object_type(k)
        for n, f in k.fields.items()
        if get_named_type(f.type).name == "Inquiry"
    ] == ["Query.inquiry"]
    assert str(fields("Query")["inquiry"].args["purpose"].type) == "Purpose!"


def test_a_bundle_without_a_category_still_makes_a_schema() -> None:
    fewer = {code: category for code, category in BUNDLE.categories.items() if code != "HONOUR"}
    smaller = build_schema(msgspec.structs.replace(BUNDLE, categories=fewer))
    assert "honours" in smaller.as_str()
