"""Plan and variables become a call; everything that a caller may write wrong is named, and never repeated."""

import base64
from datetime import UTC, date, datetime
from typing import Any

import pytest

from gateway.app import load_bundle
from gateway.bind import Call, NameSearch, bind
from gateway.errors import Code, GatewayError, error_body, log_text
from gateway.limits import Limits
from gateway.operation import coerce_variables
from gateway.plan import Documents
from policies.evidence import Stage
from policies.identifiers import ID_CHECKSUM_MISMATCH
from policies.vocabulary import SubjectKind
from resolvers.schema import OnDenied, build_schema

SCHEMA = build_schema(load_bundle("example"))._schema
DOCUMENTS = Documents(SCHEMA, Limits())
NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)
TODAY = date(2026, 11, 20)

ORGANISATION = "91990100FAKE00013D"
OTHER = "91990105FAKE00128U"
INDIVIDUAL = "92990105FAKE00021D"
GOVERNMENT = "11990000FAKE000483"
PERSON = {"number": "990105199912319987", "name": "例失信"}
REGISTRATION = "990100000000005"
ARTEFACT = "eyJh.eyJi.c2ln"


def call(text: str, variables: dict[str, Any] | None = None, *, max_subjects: int = 5) -> Call:
    bound = maybe_call(text, variables, max_subjects=max_subjects)
    assert bound is not None
    return bound


def maybe_call(text: str, variables: dict[str, Any] | None = None, *, max_subjects: int = 5) -> Call | None:
    prepared = DOCUMENTS.get(text, None)
    values = coerce_variables(SCHEMA, prepared.operation, variables or {})
    plan = prepared.plan(values.coerced)
    return bind(prepared, plan, values, max_subjects=max_subjects, now=NOW, today=TODAY)


def refused(
    text: str, variables: dict[str, Any] | None = None, *, never: tuple[str, ...] = ()
) -> GatewayError:
    """The one failure of a call; nothing that it shows or logs holds any of `never`."""
    with pytest.raises(GatewayError) as caught:
        call(text, variables)
    fault = caught.value
    shown = error_body([fault]).decode() + log_text(fault) + repr(fault) + str(fault.__cause__)
    assert not [value for value in never if value in shown]
    return fault


def inquiry(body: str, arguments: str = "purpose: LICENSING", head: str = "query") -> str:
    return f"{head} {{ inquiry({arguments}) {{ {body} }} }}"


SUBJECT = "query($id: SubjectId!) { inquiry(purpose: LICENSING) { subject(id: $id) { kind } } }"
BIDDERS = "query($of: [SubjectRef!]!) { inquiry(purpose: LICENSING) { bidders: subjects(of: $of) { kind } } }"


def bidders(*codes: str) -> dict[str, Any]:
    return {"of": [{"id": {"creditCode": code}} for code in codes]}


# --- what a sound call holds


@pytest.mark.parametrize(
    ("identifier", "kind", "scheme", "value"),
    [
        ({"creditCode": ORGANISATION}, SubjectKind.ORG, "credit_code", ORGANISATION),
        ({"creditCode": INDIVIDUAL}, SubjectKind.IND, "credit_code", INDIVIDUAL),
        ({"creditCode": GOVERNMENT}, SubjectKind.GOV, "credit_code", GOVERNMENT),
        ({"creditCode": " 9199 0100 fake 0001 3d "}, SubjectKind.ORG, "credit_code", ORGANISATION),
        ({"creditCode": "９１９９０１００FAKE00013D"}, SubjectKind.ORG, "credit_code", ORGANISATION),
        ({"resident": PERSON}, SubjectKind.NP, "resident", PERSON["number"]),
        ({"registrationNumber": REGISTRATION}, SubjectKind.ORG, "registration_number", REGISTRATION),
    ],
)  # fmt: skip
def test_every_scheme_names_its_subject(
    identifier: dict[str, Any], kind: SubjectKind, scheme: str, value: str
) -> None:
    (question,) = call(SUBJECT, {"id": identifier}).questions
    assert (question.subject.kind, question.subject.scheme, question.subject.value) == (kind, scheme, value)
    assert question.subject.warnings == ()
    assert question.purpose == "LICENSING"


def test_a_call_holds_purpose_evidence_and_times() -> None:
    text = inquiry(
        f'subject(id: {{creditCode: "{ORGANISATION}"}}) {{ ... on Organisation {{ penalties {{ state }} }} }}',
        'purpose: PROCUREMENT, evidence: {projectNumber: "P-1", stage: REVIEW, recordIds: ["a", "b"], '
        'notifiedOn: "2026-11-20", minimumCell: 3, caseNumber: null}, onDenied: REJECT',
    )
    made = call(text)
    (question,) = made.questions
    assert (made.purpose, made.on_denied, made.now, made.today) == (
        "PROCUREMENT",
        OnDenied.REJECT,
        NOW,
        TODAY,
    )
    assert made.evidence == question.evidence
    assert made.evidence.project_number == "P-1"
    assert made.evidence.stage is Stage.REVIEW
    assert made.evidence.record_ids == ("a", "b")
    assert made.evidence.notified_on == TODAY
    assert made.evidence.minimum_cell == 3
    assert made.evidence.case_number is None
    assert question.sections == {"PENALTY": 0}


def test_each_kind_is_asked_its_own_sections() -> None:
    text = inquiry(
        f'a: subject(id: {{creditCode: "{ORGANISATION}"}}) {{ ...S }} '
        f'b: subject(id: {{creditCode: "{GOVERNMENT}"}}) {{ ...S }}'
    )
    text += (
        "fragment S on CreditSubject { ... on Organisation { penalties { state } } "
        "... on GovernmentBody { registration { record { name } } } }"
    )
    one, two = call(text).questions
    assert set(one.sections) == {"PENALTY"}
    assert set(two.sections) == {"REG_ORG"}
    assert two.sections["REG_ORG"].bit_count() == 1


def test_no_inquiry_is_no_call() -> None:
    assert maybe_call("{ viewer { unit } }") is None


def test_what_was_not_given_is_filtered_by_default() -> None:
    assert call(SUBJECT, {"id": {"creditCode": ORGANISATION}}).on_denied is OnDenied.FILTER


def test_a_wrong_check_digit_of_a_credit_code_is_a_warning() -> None:
    (question,) = call(SUBJECT, {"id": {"creditCode": ORGANISATION[:-1] + "E"}}).questions
    assert question.subject.warnings == (ID_CHECKSUM_MISMATCH,)


def test_evidence_of_a_subject_goes_over_that_of_the_inquiry() -> None:
    text = inquiry(
        "subjects(of: $of) { kind }",
        'purpose: PROCUREMENT, evidence: {projectNumber: "P-1", role: "bidder"}',
        "query($of: [SubjectRef!]!)",
    )
    of = bidders(ORGANISATION, OTHER)["of"]
    of[0]["evidence"] = {"authorization": ARTEFACT, "projectNumber": "P-2", "role": None}
    one, two = call(text, {"of": of}).questions
    assert (one.evidence.authorization, one.evidence.project_number, one.evidence.role) == (
        ARTEFACT,
        "P-2",
        "bidder",
    )
    assert (two.evidence.authorization, two.evidence.project_number, two.evidence.role) == (
        None,
        "P-1",
        "bidder",
    )


def test_distinct_subjects_are_counted_over_the_whole_operation() -> None:
    spelled = ORGANISATION.lower()
    text = BIDDERS.replace("bidders:", f'a: subject(id: {{creditCode: "{spelled}"}}) {{ kind }} bidders:')
    questions = call(text, bidders(ORGANISATION, OTHER)).questions
    assert [question.subjects_in_operation for question in questions] == [2, 2, 2]


def test_questions_follow_the_document() -> None:
    text = BIDDERS.replace("bidders:", f'a: subject(id: {{creditCode: "{INDIVIDUAL}"}}) {{ kind }} bidders:')
    made = call(text, bidders(OTHER, ORGANISATION))
    assert [question.subject.value for question in made.questions] == [INDIVIDUAL, OTHER, ORGANISATION]
    assert [lookup.plan.key for lookup in made.lookups] == ["a", "bidders"]


# --- identifiers


@pytest.mark.parametrize(
    ("identifier", "field", "reason"),
    [
        ({"creditCode": ORGANISATION[:-1]}, "subject.id.creditCode", "must have 18 characters, has 17"),
        ({"creditCode": ""}, "subject.id.creditCode", "must have 18 characters, has 0"),
        ({"creditCode": "91A90100FAKE00013D"}, "subject.id.creditCode", "character 3 must be a digit"),
        ({"creditCode": "91990100FAKE0O013D"}, "subject.id.creditCode", "character 14"),
        ({"registrationNumber": REGISTRATION[:-1] + "3"}, "subject.id.registrationNumber", "check digit (character 15)"),
        ({"registrationNumber": "99010000000000X"}, "subject.id.registrationNumber", "character 15 must be a digit"),
        (
            {"resident": PERSON | {"number": "990105199912319980"}},
            "subject.id.resident.number",
            "check digit (character 18)",
        ),
        (
            {"resident": PERSON | {"number": "990105199913319987"}},
            "subject.id.resident.number",
            "characters 7 to 14 are not a date",
        ),
        ({"resident": PERSON | {"number": "990105991231998"}}, "subject.id.resident.number", "15 characters"),
        ({"resident": PERSON | {"name": "例"}}, "subject.id.resident.name", "must have 2 to 50 characters"),
        ({"resident": PERSON | {"name": "例3信"}}, "subject.id.resident.name", "character 2 is a digit"),
    ],
)  # fmt: skip
def test_a_wrong_identifier_is_named_and_not_repeated(
    identifier: dict[str, Any], field: str, reason: str
) -> None:
    given = next(iter(identifier.values()))
    values = tuple(given.values()) if isinstance(given, dict) else (given,)
    fault = refused(SUBJECT, {"id": identifier}, never=tuple(value for value in values if len(value) > 1))
    assert fault.code is Code.BAD_IDENTIFIER
    assert f"'{field}'" in fault.message
    assert reason in fault.message


def test_a_wrong_identifier_of_a_list_is_named_by_response_key_and_place() -> None:
    codes = [ORGANISATION, OTHER, INDIVIDUAL, "91990100FAKE0001I"]
    fault = refused(BIDDERS, bidders(*codes), never=tuple(codes))
    assert "'bidders.of[3].id.creditCode'" in fault.message


def test_a_wrong_identifier_under_an_alias_is_named_by_the_alias() -> None:
    text = inquiry(
        f'a: subject(id: {{creditCode: "{ORGANISATION}"}}) {{ kind }} b: subject(id: {{creditCode: "91"}}) {{ kind }}'
    )
    assert "'b.id.creditCode'" in refused(text).message


@pytest.mark.parametrize(
    ("text", "variables", "code"),
    [
        (SUBJECT, {"id": {}}, Code.BAD_VARIABLE),
        (SUBJECT, {"id": None}, Code.BAD_VARIABLE),
        (SUBJECT, {}, Code.BAD_VARIABLE),
        (SUBJECT, {"id": {"creditCode": None}}, Code.BAD_VARIABLE),
        (SUBJECT, {"id": {"creditCode": ORGANISATION, "registrationNumber": REGISTRATION}}, Code.BAD_VARIABLE),
        (SUBJECT, {"id": {"creditCode": ORGANISATION, "registrationNumber": None}}, Code.BAD_VARIABLE),
        (SUBJECT, {"id": {"creditCode": 91990100}}, Code.BAD_VARIABLE),
        (SUBJECT, {"id": {"creditCode": [ORGANISATION]}}, Code.BAD_VARIABLE),
        (SUBJECT, {"id": {"passport": ORGANISATION}}, Code.BAD_VARIABLE),
        (SUBJECT, {"id": {"resident": {"number": PERSON["number"]}}}, Code.BAD_VARIABLE),
        (SUBJECT, {"id": ORGANISATION}, Code.BAD_VARIABLE),
        (BIDDERS, {"of": [{"id": {"resident": PERSON}}]}, Code.BAD_VARIABLE),
        (BIDDERS, {"of": [{"id": {"creditCode": ORGANISATION}}, None]}, Code.BAD_VARIABLE),
        (inquiry("subject(id: {}) { kind }"), {}, Code.VALIDATION_FAILED),
        (inquiry("subject(id: null) { kind }"), {}, Code.VALIDATION_FAILED),
        (inquiry("subject { kind }"), {}, Code.VALIDATION_FAILED),
        (inquiry("subject(id: {creditCode: null}) { kind }"), {}, Code.VALIDATION_FAILED),
        (inquiry(f'subject(id: {{creditCode: "{ORGANISATION}", registrationNumber: "{REGISTRATION}"}}) {{ kind }}'), {}, Code.VALIDATION_FAILED),
        (inquiry(f'subject(id: {{creditCode: "{ORGANISATION}", registrationNumber: null}}) {{ kind }}'), {}, Code.VALIDATION_FAILED),
        (inquiry("subject(id: {creditCode: $c}) { kind }", head="query($c: String)"), {"c": None}, Code.BAD_ARGUMENT),
        (inquiry("subject(id: {creditCode: $c}) { kind }", head="query($c: String)"), {}, Code.BAD_ARGUMENT),
        (inquiry("subject(id: {creditCode: $c}) { kind }", head="query($c: String!)"), {"c": None}, Code.BAD_VARIABLE),
    ],
)  # fmt: skip
def test_not_exactly_one_identifier_is_refused(text: str, variables: dict[str, Any], code: Code) -> None:
    fault = refused(
        text, variables, never=(ORGANISATION, REGISTRATION, PERSON["number"], PERSON["name"], "91990100")
    )
    assert {each.code for each in fault.each} == {code}
    assert "id" in fault.message or "$" in fault.message or "subject" in fault.message


# --- purpose


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        (inquiry("receipt { id }", "purpose: CURIOSITY"), {}),
        (inquiry("receipt { id }", 'purpose: "LICENSING"'), {}),
        (inquiry("receipt { id }", "purpose: 7"), {}),
        (inquiry("receipt { id }", "purpose: $p", "query($p: Purpose!)"), {"p": "CURIOSITY"}),
        (inquiry("receipt { id }", "purpose: $p", "query($p: Purpose!)"), {"p": "licensing"}),
        (inquiry("receipt { id }", "purpose: $p", "query($p: Purpose!)"), {"p": ["LICENSING"]}),
        (inquiry("receipt { id }", "purpose: $p", "query($p: Purpose = CURIOSITY)"), {}),
    ],
)
def test_an_unknown_purpose_has_a_code_of_its_own(text: str, variables: dict[str, Any]) -> None:
    fault = refused(text, variables, never=("CURIOSITY",))
    assert fault.code is Code.DENY_PURPOSE_UNKNOWN
    assert "Purpose" in fault.message


@pytest.mark.parametrize(
    ("text", "variables", "code", "says"),
    [
        ("{ inquiry { receipt { id } } }", {}, Code.VALIDATION_FAILED, "purpose"),
        (inquiry("receipt { id }", "purpose: null"), {}, Code.VALIDATION_FAILED, "purpose"),
        (inquiry("receipt { id }", "purpose: $p", "query($p: Purpose!)"), {}, Code.BAD_VARIABLE, "$p"),
        (inquiry("receipt { id }", "purpose: $p", "query($p: Purpose!)"), {"p": None}, Code.BAD_VARIABLE, "$p"),
        (inquiry("receipt { id }", "purpose: $p", "query($p: Purpose = AUDIT)"), {"p": None}, Code.BAD_ARGUMENT, "inquiry.purpose"),
        (inquiry("receipt { id }", "purpose: AUDIT, onDenied: $d", "query($d: OnDenied)"), {"d": None}, Code.BAD_ARGUMENT, "inquiry.onDenied"),
        (inquiry("receipt { id }", "purpose: AUDIT, onDenied: DENY"), {}, Code.VALIDATION_FAILED, "onDenied"),
    ],
)  # fmt: skip
def test_a_missing_purpose_is_named(text: str, variables: dict[str, Any], code: Code, says: str) -> None:
    fault = refused(text, variables)
    assert fault.code is code
    assert says in fault.message


def test_a_purpose_by_default_of_a_variable() -> None:
    assert call(inquiry("receipt { id }", "purpose: $p", "query($p: Purpose = AUDIT)")).purpose == "AUDIT"


# --- evidence


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("caseNumber", "", "1 to 64"),
        ("caseNumber", "x" * 65, "1 to 64"),
        ("caseNumber", "two words", "1 to 64"),
        ("caseNumber", PERSON["number"], "looks like the identifier"),
        ("matterCode", "事项", "1 to 64"),
        ("noticeForm", "<b>", "1 to 64"),
        ("recordIds", [], "from 1 to 100"),
        ("recordIds", ["a"] * 101, "from 1 to 100"),
        ("recordIds", ["a", "b c"], "1 to 64"),
        ("authorization", "not-a-jws", "compact JWS"),
        ("authorization", "a.b." + "c" * 8192, "longer than 8192"),
        ("separateConsent", "a.b", "compact JWS"),
        ("mandate", "a..c", "compact JWS"),
        ("queryReasonCode", "1", "two digits"),
        ("notifiedOn", "2026-11-21", "in the future"),
        ("minimumCell", 0, "positive"),
        ("measureId", "abc", "a capital letter"),
        ("organisationCode", "91990100", "must have 18 characters"),
    ],
)
def test_evidence_in_a_wrong_form_is_named(field: str, value: Any, reason: str) -> None:
    text = inquiry(
        "subjects(of: $of) { kind }",
        "purpose: LICENSING, evidence: $e",
        "query($e: Evidence, $of: [SubjectRef!]!)",
    )
    secret = (value,) if isinstance(value, str) and len(value) > 3 else ()
    fault = refused(text, {"e": {field: value}, "of": []}, never=secret)
    assert fault.code is Code.BAD_EVIDENCE
    assert f"'evidence.{field}'" in fault.message
    assert reason in fault.message
    of = bidders(ORGANISATION, OTHER)["of"]
    of[1]["evidence"] = {field: value}
    fault = refused(text, {"e": None, "of": of}, never=(*secret, ORGANISATION, OTHER))
    assert f"'subjects.of[1].evidence.{field}'" in fault.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stage", "LATER"),
        ("stage", 1),
        ("notifiedOn", "yesterday"),
        ("notifiedOn", "2026-02-30"),
        ("notifiedOn", 20261120),
        ("minimumCell", "three"),
        ("minimumCell", 1.5),
        ("minimumCell", 2**31),
        ("caseNumber", 12345),
        ("recordIds", [["a"]]),
        ("recordIds", [None]),
        ("creditCode", ORGANISATION),
    ],
)
def test_evidence_of_a_wrong_type_is_named(field: str, value: Any) -> None:
    text = inquiry("receipt { id }", "purpose: LICENSING, evidence: $e", "query($e: Evidence)")
    fault = refused(
        text,
        {"e": {field: value}},
        never=("LATER", "yesterday", "2026-02-30", "three", "12345", ORGANISATION),
    )
    assert fault.code is Code.BAD_VARIABLE
    assert "$e" in fault.message
    assert field in fault.message or field == "creditCode"


# --- how many


def test_subjects_are_counted_with_aliases_lists_and_searches() -> None:
    one = f'subject(id: {{creditCode: "{ORGANISATION}"}}) {{ kind }}'
    head = "query($of: [SubjectRef!]!)"
    body = f'a: {one} b: {one} c: subjects(of: $of) {{ kind }} search(name: "示例") {{ state }}'
    assert len(call(inquiry(body, head=head), bidders(OTHER, OTHER)).questions) == 4
    fault = refused(inquiry(body, head=head), bidders(OTHER, OTHER, OTHER))
    assert fault.code is Code.TOO_MANY_SUBJECTS
    assert "5" in fault.message


def test_too_many_subjects_are_refused_before_they_are_read() -> None:
    fault = refused(BIDDERS, bidders(*["wrong"] * 6))
    assert fault.code is Code.TOO_MANY_SUBJECTS


def test_a_merged_subject_counts_once() -> None:
    one = f'subject(id: {{creditCode: "{ORGANISATION}"}}) {{ kind }}'
    assert len(call(inquiry(" ".join([one] * 6))).questions) == 1


def test_one_natural_person_an_operation() -> None:
    person = "subject(id: {resident: $p}) { kind }"
    other = PERSON | {"number": _another_number()}
    head = "query($p: ResidentId!, $q: ResidentId!)"
    for second in (PERSON, PERSON | {"name": "例守信"}, other):
        text = inquiry(f"a: {person} b: {person.replace('$p', '$q')}", head=head)
        fault = refused(text, {"p": PERSON, "q": second}, never=(PERSON["number"], PERSON["name"]))
        assert fault.code is Code.ONE_PERSON_PER_OPERATION


def _another_number() -> str:
    body = "99010519991231996"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]


def test_a_person_and_organisations_may_be_asked_together() -> None:
    text = BIDDERS.replace("($of", "($p: ResidentId!, $of").replace(
        "bidders:", "subject(id: {resident: $p}) { kind } bidders:"
    )
    assert len(call(text, bidders(ORGANISATION) | {"p": PERSON}).questions) == 2


# --- search and pages


def test_a_search_is_bound() -> None:
    cursor = base64.b64encode(b"offset:19").decode()
    text = inquiry(
        'hits: search(name: "  示例   贸易 ", first: 5, after: $after) { state }',
        head="query($after: String)",
    )
    (lookup,) = call(text, {"after": cursor}).lookups
    assert lookup.search == NameSearch("示例 贸易", 5, 20)
    assert lookup.questions == ()
    (lookup,) = call(text).lookups
    assert lookup.search == NameSearch("示例 贸易", 5, 0)
    assert "示例" not in repr(lookup)


SEARCH = inquiry(
    "hits: search(name: $name, first: $first, after: $after) { state }",
    head="query($name: String!, $first: Int = 20, $after: String)",
)


@pytest.mark.parametrize(
    ("variables", "field", "reason"),
    [
        ({"name": "示"}, "hits.name", "2 to 100"),
        ({"name": "   示   "}, "hits.name", "2 to 100"),
        ({"name": "示" * 101}, "hits.name", "2 to 100"),
        ({"name": "示例\u0000"}, "hits.name", "printable"),
        ({"name": "示例\u202e贸易"}, "hits.name", "printable"),
        ({"name": ORGANISATION}, "hits.name", "holds an identifier"),
        ({"name": "9199 0100 fake 0001 3d"}, "hits.name", "holds an identifier"),
        ({"name": f"张三{PERSON['number']}"}, "hits.name", "holds an identifier"),
        ({"first": 0}, "hits.first", "1 to 100"),
        ({"first": -1}, "hits.first", "1 to 100"),
        ({"first": 101}, "hits.first", "1 to 100"),
        ({"first": None}, "hits.first", "null"),
        ({"after": ""}, "hits.after", "not a cursor"),
        ({"after": "游标"}, "hits.after", "not a cursor"),
        ({"after": "!!!!"}, "hits.after", "not a cursor"),
        ({"after": base64.b64encode(b"offset:-1").decode()}, "hits.after", "not a cursor"),
        ({"after": base64.b64encode(b"offset:1:1").decode()}, "hits.after", "not a cursor"),
        ({"after": base64.b64encode(b"page:1").decode()}, "hits.after", "not a cursor"),
        ({"after": base64.b64encode(b"offset:1000000").decode()}, "hits.after", "not a cursor"),
        ({"after": base64.b64encode(b"offset:" + b"9" * 5000).decode()}, "hits.after", "not a cursor"),
        ({"after": base64.b64encode("offset:１".encode()).decode()}, "hits.after", "not a cursor"),
    ],
)  # fmt: skip
def test_a_wrong_search_is_named(variables: dict[str, Any], field: str, reason: str) -> None:
    given = variables.get("name", "")
    fault = refused(SEARCH, {"name": "示例"} | variables, never=(given,) if len(given) > 2 else ())
    assert fault.code is Code.BAD_ARGUMENT
    assert f"'{field}'" in fault.message
    assert reason in fault.message


PAGE = inquiry(
    f'a: subject(id: {{creditCode: "{ORGANISATION}"}}) {{ ... on Organisation {{ p: penalties {{ '
    "r: records(first: $first, after: $after) { totalCount } } } "
    "... on NaturalPerson { p: penalties { r: records(first: 0) { totalCount } } } }",
    head="query($first: Int = 50, $after: String)",
)


@pytest.mark.parametrize(
    ("variables", "field"),
    [
        ({"first": 0}, "a.p.r.first"),
        ({"first": 101}, "a.p.r.first"),
        ({"first": None}, "a.p.r.first"),
        ({"after": "x"}, "a.p.r.after"),
    ],
)
def test_a_wrong_page_of_a_section_is_refused_before_anything_is_fetched(
    variables: dict[str, Any], field: str
) -> None:
    fault = refused(PAGE, variables)
    assert fault.code is Code.BAD_ARGUMENT
    assert f"'{field}'" in fault.message


def test_a_page_of_another_kind_of_subject_does_not_count() -> None:
    assert len(call(PAGE).questions) == 1


@pytest.mark.parametrize("first", ["2147483648", '"5"', "1.5", "null", "[1]"])
def test_a_wrong_literal_is_refused(first: str) -> None:
    fault = refused(inquiry(f'search(name: "示例", first: {first}) {{ state }}'))
    assert {each.code for each in fault.each} == {Code.VALIDATION_FAILED}
    assert "first" in fault.message
