"""Complaints about documents and variables: by place and type, never by value."""

from typing import Any

import pytest
from graphql import (
    GraphQLScalarType,
    GraphQLSchema,
    ValueNode,
    build_schema,
    get_introspection_query,
    validate_schema,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Code, GatewayError, error_body, log_text
from gateway.limits import Limits
from gateway.operation import parse, select_operation
from gateway.validation import MAX_FAULTS, coerce_variables, validate

LIMITS = Limits()
IDENTIFIER = "91990100FAKE00013D"
AS_NAME = f"A{IDENTIFIER}"

SCHEMA_TEXT = """
    enum Purpose { LICENSING LOAN_PRECHECK LOAN_POSTMGMT }
    enum Stage { OPEN CLOSED }
    scalar CreditCode
    input Evidence { matter: String! stage: Stage amount: Int days: [Int!] nested: Evidence }
    input SubjectId @oneOf { creditCode: CreditCode resident: String }
    interface Subject { kind: String! }
    type Organisation implements Subject { kind: String! name: String sections: [Section!]! }
    type Person implements Subject { kind: String! name: String age: Int }
    type Section { state: String }
    type Inquiry { subject(id: SubjectId!): Subject subjects(of: [SubjectId!]!): [Subject!]! }
    type Query { inquiry(purpose: Purpose!, evidence: Evidence): Inquiry! count(limit: Int, share: Float): Int }
    type Mutation { object(reason: String!): Boolean }
"""


def strict_code(value: Any) -> str:
    if value != "91990100000000001X":
        raise GatewayError(Code.BAD_IDENTIFIER, field="creditCode", reason="has 18 characters")
    return str(value)


def strict_literal(node: ValueNode) -> str:
    return strict_code(getattr(node, "value", None))


def make_schema() -> GraphQLSchema:
    schema = build_schema(SCHEMA_TEXT)
    scalar = schema.type_map["CreditCode"]
    assert isinstance(scalar, GraphQLScalarType)
    scalar.coerce_input_value = strict_code
    scalar.coerce_input_literal = strict_literal
    assert validate_schema(schema) == []
    return schema


SCHEMA = make_schema()


def invalid(text: str) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        validate(SCHEMA, parse(text, LIMITS))
    return caught.value


def coerce(declared: str, used: str, variables: dict[str, Any]) -> dict[str, Any]:
    document = parse(f"query({declared}) {{ {used} }}", LIMITS)
    validate(SCHEMA, document)
    return coerce_variables(SCHEMA, select_operation(document, None), variables).coerced


def with_evidence(evidence: Any) -> dict[str, Any]:
    return coerce(
        "$evidence: Evidence", "inquiry(purpose: LICENSING, evidence: $evidence) { __typename }",
        {"evidence": evidence},
    )  # fmt: skip


def bad_evidence(evidence: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        with_evidence(evidence)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        '{ inquiry(purpose: LICENSING, evidence: {matter: "m", days: 3}) { subject(id: {resident: "r"}) { kind } } }',
        '{ inquiry(purpose: LICENSING) { subject(id: {creditCode: "91990100000000001X"}) { ... on Person { age } } } }',
        "mutation { object(reason: \"wrong\") }",
        "{ __typename }",
        get_introspection_query(descriptions=True, input_value_deprecation=True),
    ],
)  # fmt: skip
def test_valid_documents(text: str) -> None:
    validate(SCHEMA, parse(text, LIMITS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ inquiri }", "Cannot query field 'inquiri' on type 'Query'. Did you mean 'inquiry'?"),
        ('{ count(limit: "x") }', "Argument 'limit' must be of type 'Int'."),
        ("{ count(limit: 1.5) }", "Argument 'limit' must be of type 'Int'."),
        ("{ count(limit: 99999999999) }", "Argument 'limit' must be of type 'Int'."),
        ("{ count(limit: " + "9" * 5000 + ") }", "Argument 'limit' must be of type 'Int'."),
        ("{ count(limit: ABC) }", "Argument 'limit' must be of type 'Int'."),
        ("{ count(limit: [1]) }", "Argument 'limit' must be of type 'Int'."),
        ("{ count(share: true) }", "Argument 'share' must be of type 'Float'."),
        (
            "{ inquiry(purpose: LICENSING, evidence: 7) { __typename } }",
            "Argument 'evidence' must be of type 'Evidence'.",
        ),
        (
            "{ inquiry(purpose: LICENSING, evidence: {}) { __typename } }",
            "Argument 'evidence' lacks 'matter' of type 'String!'.",
        ),
        (
            '{ inquiry(purpose: LICENSING, evidence: {matter: "m", days: [1, "x"]}) { __typename } }',
            "Argument 'evidence.days[1]' must be of type 'Int!'.",
        ),
        (
            '{ inquiry(purpose: LICENSING, evidence: {matter: "m", nested: {matter: null}}) { __typename } }',
            "Argument 'evidence.nested.matter' must not be null.",
        ),
        (
            '{ inquiry(purpose: LICENSING, evidence: {matter: "m", stage: OPENED}) { __typename } }',
            "Argument 'evidence.stage' must be a value of enum 'Stage' (did you mean OPEN?).",
        ),
        (
            '{ inquiry(purpose: LICENSING, evidence: {matter: "m", stage: "OPEN"}) { __typename } }',
            "Argument 'evidence.stage' must be a value of enum 'Stage'.",
        ),
        (
            '{ inquiry(purpose: LICENSING, evidence: {matter: "m", other: 1}) { __typename } }',
            "Argument 'evidence' has a field that 'Evidence' does not have;"
            " it has 'matter', 'stage', 'amount', 'days', 'nested'.",
        ),
        (
            '{ inquiry(purpose: LICENSING) { subject(id: {resident: "a", creditCode: "91990100000000001X"}) { kind } } }',
            "Argument 'id' must give exactly one of 'creditCode', 'resident'.",
        ),
        (
            "{ inquiry(purpose: LICENSING) { subject(id: {resident: null}) { kind } } }",
            "Argument 'id.resident' must not be null.",
        ),
        ("query($v: Int = \"x\") { count(limit: $v) }", "A default value must be of type 'Int'."),
        ("{ count @include(if: 1) }", "Argument 'if' must be of type 'Boolean!'."),
        ("{ inquiry { __typename } }", "Argument 'Query.inquiry(purpose:)' of type 'Purpose!' is required, but it was not provided."),
        ("type X { a: Int } { count }", "The 'X' definition is not executable."),
        ("subscription { count }", "The subscription operation is not supported by the schema."),
    ],
)  # fmt: skip
def test_invalid_documents(text: str, message: str) -> None:
    error = invalid(text)
    assert (error.code, error.status, error.message) == (Code.VALIDATION_FAILED, 400, message)
    assert error.locations


@pytest.mark.parametrize(
    ("value", "hint"),
    [("LOAN_PRECHEK", " (did you mean LOAN_PRECHECK?)"), ("XYZ", ""), ('"LICENSING"', ""), (AS_NAME, "")],
)
def test_an_unknown_purpose_has_its_own_code(value: str, hint: str) -> None:
    error = invalid(f"{{ inquiry(purpose: {value}) {{ __typename }} }}")
    assert error.code is Code.DENY_PURPOSE_UNKNOWN
    assert error.message == f"The declared purpose is not one of the enum Purpose{hint}."
    assert error.locations == ((1, 20),)


def test_an_unknown_purpose_in_a_variable() -> None:
    for value in ("LOAN_POSTMGNT", IDENTIFIER, 7, ["LICENSING"], {"a": 1}):
        with pytest.raises(GatewayError) as caught:
            coerce("$p: Purpose!", "inquiry(purpose: $p) { __typename }", {"p": value})
        assert caught.value.code is Code.DENY_PURPOSE_UNKNOWN


def test_what_a_scalar_of_ours_says_is_kept() -> None:
    error = invalid('{ inquiry(purpose: LICENSING) { subject(id: {creditCode: "x"}) { kind } } }')
    assert (error.code, error.locations) == (Code.BAD_IDENTIFIER, ((1, 58),))
    with pytest.raises(GatewayError) as caught:
        coerce(
            "$id: SubjectId!",
            "inquiry(purpose: LICENSING) { subject(id: $id) { kind } }",
            {"id": {"creditCode": IDENTIFIER}},
        )
    assert caught.value.code is Code.BAD_IDENTIFIER


def test_several_faults_are_all_told_up_to_a_bound() -> None:
    two = invalid("{ count(limit: true, share: true) }")
    assert [fault.message for fault in two.each] == [
        "Argument 'limit' must be of type 'Int'.",
        "Argument 'share' must be of type 'Float'.",
    ]
    many = invalid("{" + " ".join(f"x{n}" for n in range(200)) + "}")
    assert len(many.each) == MAX_FAULTS


def test_fields_repeated_without_end() -> None:
    text = "{" + 'inquiry(purpose: LICENSING) { subject(id: {resident: "a"}) { kind } } ' * 130 + "}"
    assert invalid(text).code is Code.TOO_COMPLEX


def test_introspection_that_nests_lists_is_refused() -> None:
    text = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"
    assert invalid(text).message == "Maximum introspection depth exceeded"


# Variables


def test_variables_are_coerced() -> None:
    evidence = {"matter": "m", "days": 3, "nested": {"matter": "n"}}
    assert with_evidence(evidence) == {"evidence": {**evidence, "days": [3]}}
    assert coerce("$limit: Int = 5", "count(limit: $limit)", {}) == {"limit": 5}
    assert coerce("$limit: Int", "count(limit: $limit)", {"unknown": 1}) == {}


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        ("x", "Variable '$evidence' must be of type 'Evidence'."),
        ({}, "Variable '$evidence' lacks 'matter' of type 'String!'."),
        ({"matter": None}, "Variable '$evidence.matter' must not be null."),
        ({"matter": 7}, "Variable '$evidence.matter' must be of type 'String!'."),
        ({"matter": "m", "stage": "OPN"}, "Variable '$evidence.stage' must be a value of enum 'Stage' (did you mean OPEN?)."),
        ({"matter": "m", "stage": 1}, "Variable '$evidence.stage' must be a value of enum 'Stage'."),
        ({"matter": "m", "amount": 2**40}, "Variable '$evidence.amount' must be of type 'Int'."),
        ({"matter": "m", "amount": 1e300}, "Variable '$evidence.amount' must be of type 'Int'."),
        ({"matter": "m", "days": [1, None]}, "Variable '$evidence.days[1]' must not be null."),
        ({"matter": "m", "days": "x"}, "Variable '$evidence.days' must be of type '[Int!]'."),
        ({"matter": "m", "nested": {"matter": []}}, "Variable '$evidence.nested.matter' must be of type 'String!'."),
        (
            {"matter": "m", IDENTIFIER: 1},
            "Variable '$evidence' has a field that 'Evidence' does not have;"
            " it has 'matter', 'stage', 'amount', 'days', 'nested'.",
        ),
    ],
)  # fmt: skip
def test_wrong_variables(evidence: Any, message: str) -> None:
    error = bad_evidence(evidence)
    assert (error.code, error.status, error.message) == (Code.BAD_VARIABLE, 400, message)


def test_a_long_wrong_list_is_one_fault() -> None:
    error = bad_evidence({"matter": "m", "days": ["x"] * 50_000})
    assert len(error.each) == 1


def test_missing_and_null_variables() -> None:
    def refusal(variables: dict[str, Any]) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            coerce(
                "$id: SubjectId!, $p: Purpose!",
                "inquiry(purpose: $p) { subject(id: $id) { kind } }",
                variables,
            )
        return caught.value

    assert [fault.message for fault in refusal({}).each] == [
        "Variable '$id' must be given: it is of type 'SubjectId!'.",
        "Variable '$p' must be given: it is of type 'Purpose!'.",
    ]
    (null,) = refusal({"id": {"resident": "r"}, "p": None}).each
    assert null.message == "Variable '$p' must not be null."
    for wrong in ({}, {"resident": "a", "creditCode": "91990100000000001X"}):
        (one_of,) = refusal({"id": wrong, "p": "LICENSING"}).each
        assert one_of.message == "Variable '$id' must give exactly one of 'creditCode', 'resident'."
    (own,) = refusal({"id": {"creditCode": IDENTIFIER}, "p": "LICENSING"}).each
    assert own.code is Code.BAD_IDENTIFIER


@pytest.mark.parametrize("declared", ["$v: Missing", "$v: Organisation", '$v: Int = "x"'])
def test_a_document_that_was_not_validated(declared: str) -> None:
    operation = select_operation(parse(f"query({declared}) {{ count(limit: $v) }}", LIMITS), None)
    with pytest.raises(GatewayError) as caught:
        coerce_variables(SCHEMA, operation, {})
    assert caught.value.status == 400


# Whatever arrives

PLANTED = st.sampled_from([f'"{IDENTIFIER}"', f'"""{IDENTIFIER}"""', AS_NAME, f"_{IDENTIFIER}", f"[{AS_NAME}]",
                           f"{{{AS_NAME}: 1}}", f'{{creditCode: "{IDENTIFIER}"}}', f'{{matter: "{IDENTIFIER}", {AS_NAME}: 1}}',
                           "91990100000013", "null", f"${AS_NAME}"])  # fmt: skip
TEMPLATES = st.sampled_from([
    "{{ inquiry(purpose: {0}, evidence: {1}) {{ subject(id: {2}) {{ kind }} }} }}",
    "{{ inquiry(purpose: LICENSING, evidence: {{matter: {0}, stage: {1}, days: [{2}]}}) {{ __typename }} }}",
    "{{ inquiry(purpose: LICENSING) {{ subjects(of: [{0}, {1}, {2}]) {{ kind }} }} }}",
    "query($v: Evidence = {0}) {{ count(limit: {1}, share: {2}) @skip(if: {0}) }}",
    f"query {AS_NAME}(${AS_NAME}: {AS_NAME}) {{{{ {AS_NAME}: {AS_NAME}({AS_NAME}: {{0}}) @{AS_NAME} ...{AS_NAME} }}}} {{{{ b }}}}",
    f"{{{{ count {AS_NAME}: count ...on {AS_NAME} {{{{ a }}}} }}}} fragment {AS_NAME} on Query {{{{ count(limit: {{1}}) }}}}",
    f"{{{{ k: count(limit: {{0}}) k: count(limit: {{1}}) {AS_NAME}: count {AS_NAME}: count(share: {{2}}) }}}}",
])  # fmt: skip


@given(template=TEMPLATES, values=st.tuples(PLANTED, PLANTED, PLANTED))
@settings(max_examples=300)
def test_no_document_gets_an_identifier_back(template: str, values: tuple[str, str, str]) -> None:
    error = invalid(template.format(*values))
    assert error.status == 400
    assert IDENTIFIER not in error_body([error]).decode() + log_text(error)


INPUTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(IDENTIFIER),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["matter", "stage", "amount", "days", "nested", "creditCode", "resident", IDENTIFIER]), inner
        )
    ),
    max_leaves=6,
)  # fmt: skip


@given(evidence=INPUTS, subject=INPUTS, purpose=INPUTS)
@settings(max_examples=300)
def test_no_variable_gets_an_identifier_back(evidence: Any, subject: Any, purpose: Any) -> None:
    document = parse(
        "query($e: Evidence, $s: SubjectId!, $p: Purpose!)"
        "{ inquiry(purpose: $p, evidence: $e) { subject(id: $s) { kind } } }",
        LIMITS,
    )
    error = failure_of(document, {"e": evidence, "s": subject, "p": purpose})
    if error is not None:
        assert error.status == 400
        assert IDENTIFIER not in error_body([error]).decode() + log_text(error)


def failure_of(document: Any, variables: dict[str, Any]) -> GatewayError | None:
    try:
        coerce_variables(SCHEMA, select_operation(document, None), variables)
    except GatewayError as error:
        return error
    return None
