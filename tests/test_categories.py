"""Every category of the catalogue: a typed section for each kind it fits, sources that serve it, and answers."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from service import BANK, BUREAU, Client
from strawberry.utils.str_converters import to_camel_case

import connectors
from connectors.fetch import Ask, Ground, Sources
from connectors.loader import read_sources
from connectors.precedence import believed
from connectors.sandbox.population import CAST
from connectors.sandbox.server import Sandbox
from gateway.app import load_bundle
from policies.bundle import CategoryClass, Openness
from policies.catalogue import (
    LIFECYCLE,
    SECTION_OF,
    SECTIONS,
    AdverseListing,
    AdverseRecord,
    ListRecord,
    Record,
    Section,
    fields_at,
    fields_of,
)
from policies.identifiers import SubjectKey
from policies.vocabulary import Level, Mask, SubjectKind
from resolvers.subjects import KIND_TYPES

BUNDLE = load_bundle("example")
SOURCES = Path(connectors.__file__).parent / "sources"
FILES = read_sources(SOURCES)
LOG = "ACCESS_LOG"

CATALOGUE = {
    "REG_ORG": "ORG IND GOV | OPEN | -",
    "REG_NP": "NP | - | MATCH_ONLY",
    "LICENCE": "ORG IND NP | OPEN | SHARED",
    "ADMIN_OTHER": "ORG IND NP | SHARED | RESTRICTED",
    "REWARD_ADMIN": "ORG IND NP | OPEN | CONSENT",
    "PENALTY": "ORG IND NP | OPEN | SHARED",
    "COMPULSION": "ORG IND NP | SHARED | RESTRICTED",
    "JUDGMENT": "ORG IND NP | SHARED | RESTRICTED",
    "ENFORCE_DEFAULT": "ORG IND NP | OPEN | HIT",
    "CRIMINAL": "ORG NP | RESTRICTED | RESTRICTED",
    "ARREARS": "ORG IND NP | SHARED | RESTRICTED",
    "FALSE_STATEMENT": "ORG IND NP | SHARED | RESTRICTED",
    "ABNORMAL": "ORG IND | OPEN | -",
    "SERIOUS_LIST": "ORG IND NP | OPEN | HIT",
    "TRUST_LIST": "ORG IND NP | OPEN | CONSENT",
    "COMMITMENT": "ORG IND NP | OPEN | SHARED",
    "CONTRACT": "ORG IND GOV | SHARED | -",
    "EVALUATION": "ORG IND | SHARED | PROHIBITED",
    "HONOUR": "ORG IND NP | OPEN | CONSENT",
    "CHARITY": "ORG NP | OPEN | CONSENT",
    "TITLE": "NP | - | SHARED",
    "IP": "ORG IND NP | OPEN | CONSENT",
    "COMPLIANCE": "ORG IND | SHARED | RESTRICTED",
    "VOLUNTARY": "ORG IND NP | CONSENT | CONSENT",
    "GOV_DISHONESTY": "GOV NP | OPEN | RESTRICTED",
    "TAX_PAYMENT": "ORG IND NP | CONSENT | CONSENT_SEPARATE",
    "SI_HF_PAYMENT": "ORG IND NP | CONSENT | CONSENT_SEPARATE",
    "UTILITY": "ORG IND | CONSENT | PROHIBITED",
    "MARKET": "ORG IND NP | CONSENT | CONSENT",
    "ASSOC": "ORG IND | CONSENT | CONSENT",
    "FINANCIAL_DB": "ORG IND NP | CONSENT | CONSENT",
    "RIGHTS_STATE": "ORG IND NP GOV | FOLLOWS_RECORD | FOLLOWS_RECORD",
    "ACCESS_LOG": "ORG IND NP GOV | SUBJECT | SUBJECT",
}
"""The 33 categories of the catalogue: kinds of subject, openness for organisations and for natural persons."""

KINDS_OF = {code: entry.partition(" | ")[0] for code, entry in CATALOGUE.items()}

TABLES = {
    "REG_ORG": "registrations",
    "LICENCE": "resource_licences market_licences",
    "ADMIN_OTHER": "acts city_acts county_acts",
    "REWARD_ADMIN": "rewards city_rewards county_rewards",
    "PENALTY": "penalties",
    "COMPULSION": "compulsions",
    "JUDGMENT": "judgments",
    "ENFORCE_DEFAULT": "enforcement",
    "CRIMINAL": "crimes",
    "ARREARS": "tax_arrears insurance_arrears",
    "FALSE_STATEMENT": "false_statements",
    "ABNORMAL": "abnormal abnormal_activities abnormal_institutions",
    "SERIOUS_LIST": "serious",
    "TRUST_LIST": "incentives",
    "COMMITMENT": "commitments hall_commitments portal_commitments",
    "CONTRACT": "contracts published_contracts",
    "EVALUATION": "evaluations ecology_evaluations builder_evaluations customs_grades",
    "HONOUR": "honours",
    "CHARITY": "charity",
    "TITLE": "titles",
    "IP": "properties",
    "COMPLIANCE": "compliance city_compliance county_compliance annual_reports institution_reports customs_compliance",
    "VOLUNTARY": "voluntary",
    "GOV_DISHONESTY": "official_dishonesty",
    "TAX_PAYMENT": "tax_payments",
    "SI_HF_PAYMENT": "insurance_payments fund_payments",
    "UTILITY": "utilities shared_utilities",
    "MARKET": "market_a market_b market_a_persons",
    "ASSOC": "self_discipline",
    "RIGHTS_STATE": "rights repairs",
}
"""Tables of the sandbox that hold a category."""

OF_PERSONA = {
    "subject-portal": "clean",
    "cooperative": "cooperative",
    "individual-business": "individual",
    "government-body": "government",
    "clean-person": "clean-person",
    "natural-person": "defaulter",
}
"""Persona of the portal that asks about itself to its role in the cast."""


def test_every_category_has_a_section_for_every_kind_it_fits() -> None:
    kept = {(code, SubjectKind(kind)) for code, kinds in KINDS_OF.items() for kind in kinds.split()}
    assert len(CATALOGUE) == 33
    assert set(SECTION_OF) == kept
    assert {
        (category.code, kind) for category in BUNDLE.categories.values() for kind in category.subjects
    } == kept


@pytest.mark.parametrize("code", CATALOGUE)
def test_the_bundle_opens_a_category_as_the_catalogue_does(code: str) -> None:
    category = BUNDLE.categories[code]
    opened = [each.value if each else "-" for each in (category.open_org, category.open_person)]
    assert f"{' '.join(category.subjects)} | {' | '.join(opened)}" == CATALOGUE[code]


def test_every_category_has_a_source_for_every_kind_it_fits() -> None:
    served = {
        (lookup.category, kind) for file in FILES.values() for lookup in file.lookup for kind in lookup.kinds
    }
    # Who looked at a subject is in the gateway's own ledger.
    assert served == {place for place in SECTION_OF if place[0] != LOG}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.type_name)
def test_what_is_not_open_publishes_no_field_of_its_own(section: Section) -> None:
    category = BUNDLE.categories[section.category]
    if category.open_org is Openness.OPEN or category.openness_note:
        return
    common = {field.name for field in fields_of(Record)}
    assert {
        field.name for field in fields_of(section.record) if field.shown.published
    } - common == NOT_OF_AN_OPEN_CATEGORY.get(section.category, set())


NOT_OF_AN_OPEN_CATEGORY = {
    code: {"decided_on", "severity", "basis_kind"}
    for code in ("COMPULSION", "JUDGMENT", "CRIMINAL", "FALSE_STATEMENT")
}
"""What every adverse record has, whatever its category: no rule gives PUBLIC of these."""


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.type_name)
def test_dishonest_conduct_rests_on_a_basis(section: Section) -> None:
    adverse = BUNDLE.categories[section.category].category_class is CategoryClass.UNTRUSTWORTHY
    assert issubclass(section.record, AdverseRecord | AdverseListing) == adverse


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.type_name)
def test_levels_are_nested_and_amounts_are_masked(section: Section) -> None:
    match, hit, summary, full = (
        fields_at(section.record, level) for level in (Level.MATCH, Level.HIT, Level.SUMMARY, Level.FULL)
    )
    assert match & hit == match
    assert hit & summary == hit
    assert summary & full == summary
    assert full == (1 << len(fields_of(section.record))) - 1
    for field in fields_of(section.record):
        if field.name == "amount":
            assert (field.shown.at, field.shown.mask) == (Level.FULL, Mask.AMOUNT)
        if field.name == "amount_band":
            assert (field.shown.at, field.shown.mask) == (Level.SUMMARY, None)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.type_name)
def test_an_inquiry_limit_has_a_day_to_count_from(section: Section) -> None:
    limited = BUNDLE.categories[section.category].inquiry_months is not None
    listed = issubclass(section.record, ListRecord)
    assert not limited or listed or section.record.COUNTED_FROM
    # What decides whether a record may be shown is read whatever was asked.
    assert set(section.record.COUNTED_FROM) <= LIFECYCLE & {field.name for field in fields_of(section.record)}


def test_names_and_addresses_of_persons_are_masked() -> None:
    masks = {
        (section.type_name, field.name): field.shown.mask
        for section in SECTIONS
        for field in fields_of(section.record)
        if field.shown.mask not in (None, Mask.AMOUNT)
    }
    assert masks == {
        ("Registration", "legal_representative"): Mask.PERSON_NAME,
        ("Registration", "address"): Mask.ADDRESS,
        ("GovernmentDishonesty", "responsible_person"): Mask.PERSON_NAME,
        ("UtilityPayment", "supply_address"): Mask.ADDRESS,
    }


# --- the whole catalogue, asked through the running gateway


def document(kind: SubjectKind, categories: list[str]) -> str:
    """A subject's own inquiry of these categories: state and record numbers of each."""
    parts = []
    for category in categories:
        section = SECTION_OF[category, kind]
        records = "record { recordId }" if section.single else "records(first: 100) { nodes { recordId } }"
        parts.append(f"{to_camel_case(section.name)} {{ state reason {{ code }} complete {records} }}")
    return (
        "query Own($id: SubjectId!) { inquiry(purpose: SELF) { subject(id: $id) { ... on %s { %s } } } }"
        % (KIND_TYPES[kind], " ".join(parts))
    )


def identifier(role: str) -> dict[str, Any]:
    member = CAST[role]
    if member.kind == "NP":
        return {"resident": {"number": member.key, "name": member.name}}
    return {"creditCode": member.key}


def numbers(section: Mapping[str, Any]) -> list[str]:
    if "record" in section:
        return [section["record"]["recordId"]] if section["record"] else []
    return [node["recordId"] for node in section["records"]["nodes"]]


def filed(client: Client, category: str, role: str) -> set[str]:
    """The numbers of what the sandbox holds of one of the cast in a category."""
    records = client.sandbox.population.records
    key = CAST[role].key
    return {
        fact.number for table in TABLES[category].split() for fact in getattr(records, table).get(key, [])
    }


def allowed(kind: SubjectKind) -> list[str]:
    """What a subject's own inquiry is given: all of its categories but those with another door."""
    own = {
        category
        for rule in BUNDLE.rules.values()
        if rule.purpose == "SELF"
        for category in rule.categories.get(kind, ())
    }
    return [category for category, of in SECTION_OF if of is kind and category in own]


@pytest.mark.parametrize("persona", OF_PERSONA)
async def test_a_subject_is_given_everything_that_is_kept_of_it(client: Client, persona: str) -> None:
    role = OF_PERSONA[persona]
    kind = SubjectKind(CAST[role].kind)
    categories = allowed(kind)
    answer = await client.ask(
        "subject-portal", document(kind, categories), {"id": identifier(role)}, persona=persona
    )
    given = answer["data"]["inquiry"]["subject"]
    for category in categories:
        section = given[to_camel_case(SECTION_OF[category, kind].name)]
        assert section["complete"] is True, (category, section)
        if category in TABLES:
            expected = filed(client, category, role)
            assert set(numbers(section)) == expected, category
            assert section["state"] == ("HAS" if expected else "NONE"), category


@pytest.mark.parametrize(
    ("category", "kind"),
    [
        (category, kind)
        for category, kinds in KINDS_OF.items()
        for kind in ("ORG", "NP", "GOV")
        if kind in kinds.split() and category not in (LOG, "REG_NP", "FINANCIAL_DB")
    ],
)
def test_somebody_of_the_cast_has_every_category(client: Client, category: str, kind: str) -> None:
    roles = [role for role in (*OF_PERSONA.values(), "bidder-4") if CAST[role].kind == kind]
    assert any(filed(client, category, role) for role in roles)


async def test_a_person_is_matched_and_sees_who_looked(client: Client) -> None:
    kind, who = SubjectKind.NP, {"id": identifier("defaulter")}
    document_of_both = document(kind, ["REG_NP", LOG])
    for _ in range(2):
        answer = await client.ask("subject-portal", document_of_both, who, persona="natural-person")
    subject = answer["data"]["inquiry"]["subject"]
    assert subject["identityMatch"]["state"] == "HAS"
    assert subject["accessLog"]["state"] == "HAS"


REPORT = """query Report($id: SubjectId!, $consent: String) {
  inquiry(purpose: LOAN_PRECHECK,
          evidence: {applicationNumber: "A-1", queryReasonCode: "02", pbocConsentId: $consent}) {
    subject(id: $id) {
      ... on Organisation { financialReport { ...report } }
      ... on NaturalPerson { financialReport { ...report } }
    }
  }
}
fragment report on FinancialReportSection {
  state level reason { code }
  record { recordId reportNumber reportedOn queryReason accounts overdueAccounts statement }
}"""


@pytest.mark.parametrize("role", ["clean", "clean-person"])
async def test_the_financial_database_is_passed_through_under_its_own_consent(
    client: Client, role: str
) -> None:
    variables = {"id": identifier(role), "consent": "PB-1"}
    [report] = client.sandbox.population.records.credit_reports[CAST[role].key]
    answer = await client.ask(BANK, REPORT, variables)
    section = answer["data"]["inquiry"]["subject"]["financialReport"]
    assert (section["state"], section["level"]) == ("HAS", "PASS_THROUGH"), section
    assert section["record"] == {
        "recordId": report.number,
        "reportNumber": report.report,
        "reportedOn": report.reported.isoformat(),
        "queryReason": "02",
        "accounts": report.accounts,
        "overdueAccounts": report.overdue,
        "statement": report.statement,
    }
    before = (await client.requests())["financial-database"]
    await client.ask(BANK, REPORT, variables)
    # Never stored: each inquiry asks the centre again.
    assert (await client.requests())["financial-database"] == before + 1


async def test_without_its_consent_the_financial_database_is_not_asked(client: Client) -> None:
    before = (await client.requests())["financial-database"]
    answer = await client.ask(BANK, REPORT, {"id": identifier("clean"), "consent": None})
    section = answer["data"]["inquiry"]["subject"]["financialReport"]
    assert section["state"] == "DENIED"
    assert section["record"] is None
    assert (await client.requests())["financial-database"] == before


ENFORCEMENT = """query Enforcement($id: SubjectId!) {
  inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
    subject(id: $id) {
      ... on OperatingSubject {
        enforcement { state records { nodes { recordId basisKind caseNumber } } }
        seriousDishonesty { state records { nodes { recordId basisKind } } }
      }
    }
  }
}"""


async def test_entries_of_adverse_lists_say_on_what_they_rest(client: Client) -> None:
    answer = await client.ask(BUREAU, ENFORCEMENT, {"id": identifier("bidder-4")})
    subject = answer["data"]["inquiry"]["subject"]
    for name, category, basis in (
        ("enforcement", "ENFORCE_DEFAULT", "JUDICIAL_DOCUMENT"),
        ("seriousDishonesty", "SERIOUS_LIST", "ADMINISTRATIVE_DECISION"),
    ):
        assert set(numbers(subject[name])) == filed(client, category, "bidder-4") != set()
        assert [node["basisKind"] for node in subject[name]["records"]["nodes"]] == [basis]


@pytest.fixture(scope="module")
async def sources(sandbox: Sandbox) -> AsyncIterator[Sources]:
    sources = Sources.load(SOURCES, urls={name: sandbox.urls[name] for name in FILES})
    yield sources
    await sources.aclose()


async def told(sources: Sources, role: str, category: str) -> dict[str, dict[str, str | None]]:
    """By source, the provider of each record of a member of the cast that is believed."""
    member = CAST[role]
    subject = SubjectKey(SubjectKind(member.kind), member.scheme, member.key)
    everything = (1 << len(fields_of(SECTION_OF[category, subject.kind].record))) - 1
    ask = Ask(subject, category, everything, Ground("SELF"), may_cache=False)
    [answers] = await sources.fetch([ask], deadline=30)
    assert [answer.fault for answer in answers if answer.fault] == []
    shown = believed(answers, {name: file.precedence for name, file in FILES.items()})
    return {
        answer.source: {record.record_id: record.provider for record in answer.records} for answer in shown
    }


async def test_of_three_platforms_the_nearest_that_has_the_record_is_believed(
    sources: Sources, sandbox: Sandbox
) -> None:
    records, key = sandbox.population.records, CAST["individual"].key
    [act], [reward] = records.county_acts[key], records.county_rewards[key]
    acts = await told(sources, "individual", "ADMIN_OTHER")
    assert acts["county-platform"] == {act.number: "示例区财政局"}
    assert acts["city-platform"] == {}
    assert act.number not in acts["provincial-platform"]
    assert len(acts["provincial-platform"]) == len(records.acts[key]) - 1 > 0
    rewards = await told(sources, "individual", "REWARD_ADMIN")
    assert rewards["county-platform"] == {reward.number: "示例区科学技术局"}
    assert rewards["city-platform"] == {}


@pytest.mark.parametrize(
    ("role", "register", "provider"),
    [
        ("foundation", "civil-affairs", "虚构省民政厅"),
        ("institution", "staffing-office", "虚构省事业单位登记管理局"),
    ],
)
async def test_who_registers_a_subject_is_believed_before_the_platform(
    sources: Sources, role: str, register: str, provider: str
) -> None:
    registrations = await told(sources, role, "REG_ORG")
    assert list(registrations[register].values()) == [provider]
    assert registrations["provincial-platform"] == {}


ACTS = """query Acts($id: SubjectId!) {
  inquiry(purpose: SELF) {
    subject(id: $id) {
      ... on Organisation { administrativeActs { state } administrativeRewards { state } }
    }
  }
}"""


async def test_platforms_are_asked_for_their_own_divisions_alone(client: Client) -> None:
    before = await client.requests()
    await client.ask("subject-portal", ACTS, {"id": identifier("clean")})
    after = await client.requests()
    asked = {name: after[name] - before[name] for name in ("county-platform", "city-platform")}
    assert asked == {"county-platform": 0, "city-platform": 2}


REGISTERED = """query Registered($id: SubjectId!) {
  inquiry(purpose: PUBLIC_VIEW) {
    subject(id: $id) {
      ... on Organisation { registration { state sources { id } record { creditCode } } }
    }
  }
}"""


@pytest.mark.parametrize(
    ("role", "registers"),
    [
        ("foundation", {"civil-affairs", "provincial-platform"}),
        ("institution", {"staffing-office", "provincial-platform"}),
        ("clean", {"provincial-platform"}),
    ],
)
async def test_who_registers_a_subject_is_asked_for_it(
    client: Client, role: str, registers: set[str]
) -> None:
    answer = await client.ask("public", REGISTERED, {"id": identifier(role)})
    section = answer["data"]["inquiry"]["subject"]["registration"]
    assert section["state"] == "HAS"
    assert {source["id"] for source in section["sources"]} == registers
    assert section["record"]["creditCode"] == CAST[role].key


SUPERVISION = """query Supervision($id: SubjectId!) {
  inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
    subject(id: $id) {
      ... on OperatingSubject {
        compulsions { state records { nodes { recordId kind marks content } } withheld { field code } }
        falseStatements { state records { nodes { recordId kind } } }
        contracts { state records { nodes { recordId performance amountBand amount } } }
        compliance { state records { nodes { recordId result content } } }
      }
    }
  }
}"""


async def test_what_is_repaired_or_withdrawn_looks_absent_in_the_new_categories(client: Client) -> None:
    answer = await client.ask(BUREAU, SUPERVISION, {"id": identifier("cooperative")})
    subject = answer["data"]["inquiry"]["subject"]
    records = client.sandbox.population.records
    key = CAST["cooperative"].key
    in_force = {fact.number for fact in records.compulsions[key] if fact.repaired is None}
    assert set(numbers(subject["compulsions"])) == in_force != set()
    [node] = subject["compulsions"]["records"]["nodes"]
    assert (node["kind"], node["marks"], node["content"]) == ("MEASURE", ["UNDER_SUIT"], None)
    assert subject["compulsions"]["withheld"] == [{"field": "content", "code": "PERMIT_REDUCED"}]
    assert [node["kind"] for node in subject["falseStatements"]["records"]["nodes"]] == ["FALSE_MATERIAL"]
    [contract] = subject["contracts"]["records"]["nodes"]
    assert (contract["performance"], contract["amountBand"], contract["amount"]) == (
        "BROKEN",
        "FROM_100K_TO_1M",
        None,
    )
    assert [node["content"] for node in subject["compliance"]["records"]["nodes"]] == [
        fact.content for fact in records.compliance[key]
    ]


REPAIR = """query Repair($id: SubjectId!, $records: [String!]!) {
  inquiry(purpose: REPAIR, evidence: {repairNumber: "R-1", recordIds: $records}) {
    subject(id: $id) {
      ... on OperatingSubject {
        rightsStates {
          state reason { code }
          records { nodes { recordId kind category stage settledOn repairedOn authority outcome } }
        }
      }
    }
  }
}"""


async def test_a_repair_is_shown_where_its_record_is_at_issue(client: Client) -> None:
    [penalty] = client.sandbox.population.records.penalties[CAST["bidder-3"].key]
    assert penalty.repaired is not None
    variables = {"id": identifier("bidder-3"), "records": [penalty.number]}
    answer = await client.ask(BUREAU, REPAIR, variables)
    section = answer["data"]["inquiry"]["subject"]["rightsStates"]
    assert section["state"] == "HAS", section
    day = penalty.repaired.isoformat()
    assert section["records"]["nodes"] == [
        {
            "recordId": penalty.number,
            "kind": "REPAIR",
            "category": "PENALTY",
            "stage": "GRANTED",
            "settledOn": day,
            "repairedOn": day,
            "authority": "信用中国（虚构）",
            "outcome": "已停止公示、共享和使用（示例）",
        }
    ]


LICENSING = """query Licensing($id: SubjectId!) {
  inquiry(purpose: LICENSING, evidence: {matterCode: "M-1", caseNumber: "C-1"}) {
    subject(id: $id) {
      ... on OperatingSubject {
        administrativeActs { state reason { code } records { nodes { recordId kind decidedOn authority } } }
      }
    }
  }
}"""


async def test_acts_leave_after_five_years(client: Client) -> None:
    answer = await client.ask(BUREAU, LICENSING, {"id": identifier("cooperative")})
    nodes = answer["data"]["inquiry"]["subject"]["administrativeActs"]["records"]["nodes"]
    assert [node["kind"] for node in nodes] == ["LEVY"]
    assert len(client.sandbox.population.records.acts[CAST["cooperative"].key]) == 3


PUBLIC = """query Public($id: SubjectId!) {
  inquiry(purpose: PUBLIC_VIEW) {
    subject(id: $id) {
      ... on GovernmentBody {
        governmentDishonesty {
          state records { nodes { recordId origin excuse content responsiblePerson } } withheld { field }
        }
      }
    }
  }
}"""


async def test_dishonesty_of_a_government_body_is_public_while_it_is_not_repaired(client: Client) -> None:
    answer = await client.ask("public", PUBLIC, {"id": identifier("government")})
    section = answer["data"]["inquiry"]["subject"]["governmentDishonesty"]
    visible, repaired = client.sandbox.population.records.official_dishonesty[CAST["government"].key]
    assert numbers(section) == [visible.number]
    assert repaired.repaired is not None
    [node] = section["records"]["nodes"]
    assert (node["origin"], node["excuse"]) == ("JUDICIAL_DECISION", "PERSON_CHANGE")
    assert node["responsiblePerson"] is None
    assert section["withheld"] == [{"field": "responsiblePerson"}]


UTILITY = """query Utility($id: SubjectId!, $authorization: String) {
  inquiry(purpose: LOAN_PRECHECK,
          evidence: {applicationNumber: "A-1", queryReasonCode: "02", authorization: $authorization}) {
    subject(id: $id) {
      ... on OperatingSubject {
        utilityPayments { state reason { code }
          records(first: 1) { nodes { utility supplyAddress amountBand amount } } withheld { field code } }
      }
    }
  }
}"""


async def test_the_address_of_an_individual_business_is_masked(client: Client) -> None:
    authorization = await client.authorization(
        {"credit_code": CAST["individual"].key}, categories=("UTILITY",)
    )
    variables = {"id": identifier("individual"), "authorization": authorization}
    answer = await client.ask(BANK, UTILITY, variables)
    section = answer["data"]["inquiry"]["subject"]["utilityPayments"]
    assert section["state"] == "HAS", section
    [node] = section["records"]["nodes"]
    assert node == {
        "utility": "ELECTRICITY",
        "supplyAddress": "虚构省示例市示例区",
        "amountBand": "UNDER_10K",
        "amount": None,
    }
    assert {(entry["field"], entry["code"]) for entry in section["withheld"]} == {
        ("supplyAddress", "PERMIT_MASKED"),
        ("amount", "PERMIT_REDUCED"),
    }
