"""Source files: what the loader refuses, and what the files that come with the gateway bring."""

import csv
import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import connectors
from connectors.fetch import Ask, Ground, SourceFileError, Sources
from connectors.loader import read_sources
from connectors.sandbox.population import CAST
from connectors.sandbox.server import Sandbox, SandboxOptions, running
from connectors.source import LookupFile, SourceFile
from policies.catalogue import (
    SECTION_OF,
    SECTIONS,
    Arrears,
    ContributionPayment,
    EnforcementDefault,
    FinancialReport,
    IdentityMatch,
    MarketCredit,
    Penalty,
    PersonMarketCredit,
    Registration,
    RightsState,
    TaxPayment,
    UtilityPayment,
    fields_of,
)
from policies.identifiers import SubjectKey
from policies.vocabulary import ArrearsKind, Mark, Severity, SubjectKind

SOURCES = Path(connectors.__file__).parent / "sources"
EVERYTHING = (1 << 64) - 1
LOAN = Ground("LOAN_PRECHECK", matter="M-1", authorization_id="A-1")

GOOD = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "EXTERNAL"
url = "https://demo.example"

[secrets]
key = { env = "DEMO_KEY", default = "sandbox-key" }

[codes.reason]
of = "{ground.purpose}"
table = { LOAN_PRECHECK = "02" }

[auth]
steps = [{ set = "time", now = "s" }, { set = "sign", hash = "md5", of = "{secrets.key}{steps.time}" }]
headers = { X-Sign = "{steps.sign}" }

[envelope]
records = "data"
codes = [{ at = "code", ok = [0] }]

[[lookup]]
category = "PENALTY"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/penalties"
json = { code = "{subject.value}", reason = "{codes.reason}" }

[lookup.fields]
record_id = "id"
decided_on = "day"
severity = { from = "degree", table = { 1 = "MINOR" } }
"""


def load(directory: Path, text: str, **options: Any) -> Sources:
    (directory / "demo.toml").write_text(text)
    return Sources.load(directory, **options)


def refusal(directory: Path, text: str, **options: Any) -> SourceFileError:
    with pytest.raises(SourceFileError) as caught:
        load(directory, text, **options)
    return caught.value


def test_a_good_file_loads(tmp_path: Path) -> None:
    info = load(tmp_path, GOOD).titles()["demo"]
    assert (info.title, info.chinese, info.owner, info.kind, info.categories) == (
        "Demo", "演示", "COURT", "EXTERNAL", ("PENALTY",),
    )  # fmt: skip


MISTAKES = [
    # what is written, instead of what, and the key that the error names
    ('title = "Demo"', 'title = "Demo"\nsubtitle = "x"', "subtitle"),
    ('title = "Demo"\n', "", "title"),
    ('title = "Demo"', "title = 5", "title"),
    ('id = "demo"', 'id = "other"', "id"),
    ('id = "demo"', 'id = "De mo"', "id"),
    ('owner = "COURT"', 'owner = "the court"', "owner"),
    ('kind = "EXTERNAL"', 'kind = "FOREIGN"', "kind"),
    ("https://demo.example", "ftp://127.0.0.1", "url"),
    ("https://demo.example", "http://user:pass@127.0.0.1", "url"),
    ("https://demo.example", "http://127.0.0.1:99999", "url"),
    ("https://demo.example", "http://127.0.0.1/?key=1", "url"),
    ('url = "http', 'timeout_seconds = 0\nurl = "http', "timeout_seconds"),
    ('url = "http', 'concurrency = 0\nurl = "http', "concurrency"),
    ('url = "http', 'max_body_bytes = "4 MB"\nurl = "http', "max_body_bytes"),
    ("[envelope]", "[envelope]\nrecord = 1", "envelope.record"),
    ("[envelope]", '[envelope]\nhttp = { missing = "no_data" }', "envelope.http.missing"),
    ("[envelope]", '[envelope]\nhttp = { 404 = "fine" }', "envelope.http[...]"),
    ("[envelope]", '[envelope]\nupdated = { formats = ["iso"] }', "envelope.updated"),
    ('records = "data"', "", "envelope.records"),
    ('at = "code", ok = [0]', 'at = "code"', "envelope.codes[0].ok"),
    ('at = "code", ok = [0]', 'at = "code", ok = [0], okay = 1', "envelope.codes[0].okay"),
    ('category = "PENALTY"', 'category = "PENALTIES"', "lookup[0].category"),
    ('category = "PENALTY"', 'category = "REG_NP"', "lookup[0].kinds"),
    ('kinds = ["ORG"]', 'kinds = ["COMPANY"]', "lookup[0].kinds[0]"),
    ('kinds = ["ORG"]', "kinds = []", "lookup[0].kinds"),
    ('kinds = ["ORG"]', 'kinds = ["NP"]', "lookup[0].keys"),
    ('keys = ["credit_code"]', 'keys = ["passport"]', "lookup[0].keys[0]"),
    ('keys = ["credit_code"]', 'keys = ["resident"]', "lookup[0].keys"),
    ('keys = ["credit_code"]', "keys = []", "lookup[0].keys"),
    ('method = "POST"', 'method = "PUT"', "lookup[0].method"),
    ('method = "POST"', 'method = "GET"', "lookup[0].method"),
    ('method = "POST"', 'method = "POST"\nretries = 3', "lookup[0].retries"),
    ('method = "POST"', 'method = "POST"\nbatch = 1', "lookup[0].batch"),
    ('method = "POST"', 'method = "POST"\nbatch = 20', "lookup[0].subject"),
    ('method = "POST"', 'method = "POST"\nbatch = 20\nsubject = "key"', "lookup[0].json"),
    ('method = "POST"', 'method = "POST"\nsubject = { resident = "key" }', "lookup[0].subject.credit_code"),
    ('method = "POST"', 'method = "POST"\ncache_seconds = -1', "lookup[0].cache_seconds"),
    ('method = "POST"', 'method = "POST"\nform = { a = "{subject.value}" }', "lookup[0].json"),
    ('path = "/penalties"', 'path = "penalties"', "lookup[0].path"),
    ("{subject.value}", "{subject.number}", "lookup[0].json"),
    ("{subject.value}", "{subject.value", "lookup[0].json.code"),
    ("{subject.value}", "{subject}", "lookup[0].json.code"),
    ("{subject.value}", "constant", "lookup[0]"),
    ("{codes.reason}", "{codes.why}", "lookup[0].json"),
    ('of = "{ground.purpose}"', 'of = "{ground.reason}"', "codes.reason.of"),
    ('table = { LOAN_PRECHECK = "02" }', "", "codes.reason.table"),
    ('now = "s"', 'now = "s", join = ["a"]', "auth.steps[0]"),
    ('set = "time", now = "s"', 'set = "time"', "auth.steps[0]"),
    ('hash = "md5"', 'hash = "rot13"', "auth.steps[1].hash"),
    ('hash = "md5"', 'hmac = "sha256", key = "{steps.time}"', "auth.steps[1].key"),
    ('hash = "md5", of = "{secrets.key}{steps.time}"', 'hash = "md5"', "auth.steps[1].of"),
    ("{secrets.key}{steps.time}", "{secrets.key}{steps.later}", "auth.steps[1].of"),
    ('X-Sign = "{steps.sign}"', 'X-Sign = "{steps.sing}"', "auth.headers"),
    ('record_id = "id"\n', "", "lookup[0].fields.record_id"),
    ('decided_on = "day"', 'decided = "day"', "lookup[0].fields.decided"),
    ('decided_on = "day"', "decided_on = 5", "lookup[0].fields.decided_on"),
    ('from = "degree"', 'form = "degree"', "lookup[0].fields.severity.form"),
    ('1 = "MINOR"', '1 = "SMALL"', "lookup[0].fields.severity.table.1"),
    ("[[lookup]]", "[lookup]", "lookup"),
    ("[lookup.fields]", "[lookup.field]", "lookup[0].field"),
    ("[secrets]", "[secrets]\nother = 5", "secrets.other"),
    ('env = "DEMO_KEY", default', "default", "secrets.key.env"),
    ("[envelope]", "[envelope", "TOML"),
    ("[envelope]", '[search]\npath = "/s"\npage_size = 20\nfields = { name = "n", credit_code = "c" }\n[envelope]', "envelope.total"),
    ("[envelope]", '[search]\npath = "/s"\npage_size = 20\nfields = { name = "n" }\n[envelope]\ntotal = "t"', "search.fields.credit_code"),
    ("[envelope]", '[search]\npath = "/s"\npage_size = 20\nfields = { name = "n", credit_code = "c" }\n[envelope]\ntotal = "t"', "search"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "key"), MISTAKES, ids=[f"{key} {place}" for place, (_, _, key) in enumerate(MISTAKES)]
)
def test_a_mistake_refuses_the_file(tmp_path: Path, before: str, after: str, key: str) -> None:
    assert before in GOOD
    error = refusal(tmp_path, GOOD.replace(before, after, 1))
    assert (error.file, error.key) == ("demo.toml", key)
    assert error.reason
    assert error.remedy
    assert str(error) == f"demo.toml:{error.line}: {key}: {error.reason}; {error.remedy}"


def test_the_same_category_is_served_once(tmp_path: Path) -> None:
    lookup = GOOD[GOOD.index("[[lookup]]") :]
    assert refusal(tmp_path, GOOD + lookup).key == "lookup[1]"


def test_kinds_with_different_records_need_a_lookup_each(tmp_path: Path) -> None:
    text = GOOD.replace('"PENALTY"', '"MARKET"').replace('["ORG"]', '["ORG", "NP"]')
    assert (
        refusal(tmp_path, text.replace('["credit_code"]', '["credit_code", "resident"]')).key
        == "lookup[0].kinds"
    )


@pytest.mark.parametrize("place", ["query", "headers"])
def test_a_person_never_stands_in_an_address_or_header(tmp_path: Path, place: str) -> None:
    text = GOOD.replace('kinds = ["ORG"]', 'kinds = ["NP"]').replace('["credit_code"]', '["resident"]')
    assert load(tmp_path, text).titles()
    error = refusal(
        tmp_path,
        text.replace('path = "/penalties"', f'path = "/penalties"\n{place} = {{ p = "{{subject.name}}" }}'),
    )
    assert error.key == "lookup[0]"


def test_a_searched_name_never_stands_in_an_address(tmp_path: Path) -> None:
    search = (
        '[search]\npath = "/s/{search.name}"\npage_size = 20\nfields = { name = "n", credit_code = "c" }\n'
    )
    error = refusal(tmp_path, GOOD.replace("[envelope]", search + '[envelope]\ntotal = "t"'))
    assert (error.key, "address" in error.reason) == ("search", True)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").write_bytes(GOOD.encode("gbk"))
    with pytest.raises(SourceFileError, match="UTF-8"):
        Sources.load(tmp_path)


def test_one_bad_file_loads_none(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('id = "other"')
    assert refusal(tmp_path, GOOD).file == "other.toml"


def test_a_directory_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="no source file"):
        Sources.load(tmp_path)


def test_one_source_alone_offers_the_search(tmp_path: Path) -> None:
    search = '[search]\npath = "/s"\njson = { n = "{search.name}" }\npage_size = 20\nfields = { name = "n", credit_code = "c" }\n'
    text = GOOD.replace("[envelope]", search + '[envelope]\ntotal = "t"')
    (tmp_path / "twin.toml").write_text(text.replace('id = "demo"', 'id = "twin"'))
    assert refusal(tmp_path, text).key == "search"


def test_addresses_from_the_settings_are_checked(tmp_path: Path) -> None:
    assert refusal(tmp_path, GOOD, urls={"dmeo": "http://127.0.0.1"}).key == "urls.dmeo"
    assert refusal(tmp_path, GOOD, urls={"demo": "127.0.0.1:80"}).key == "url"


# --- secrets

SECRETS = [
    ('default = "sandbox-key"', 'default = "s3cr3t-of-the-court"', "secrets.key.default"),
    ("{steps.sign}", "literal", "auth.headers.X-Sign"),
    ('path = "/penalties"', 'path = "/penalties"\nheaders = { Token = "abc" }', "lookup[0].headers.Token"),
    (
        'path = "/penalties"',
        'path = "/penalties"\nquery = { appSecret = "abc" }',
        "lookup[0].query.appSecret",
    ),
    (
        'path = "/penalties"',
        'path = "/penalties"\nquery = { k = "9f86d081884c7d659a2feaa0" }',
        "lookup[0].query.k",
    ),
    ('path = "/penalties"', 'path = "/penalties/9f86d081884c7d659a2feaa0"', "lookup[0].path"),
    ("{subject.value}", "91990100FAKE00013D", "lookup[0].json.code"),
    ("{secrets.key}{steps.time}", "9f86d081884c7d659a2feaa0{steps.time}", "auth.steps[1].of"),
]


@pytest.mark.parametrize(("before", "after", "key"), SECRETS, ids=[key for _, _, key in SECRETS])
def test_a_literal_secret_is_refused_and_not_repeated(
    tmp_path: Path, before: str, after: str, key: str
) -> None:
    error = refusal(tmp_path, GOOD.replace(before, after, 1))
    assert error.key == key
    for word in ("s3cr3t", "9f86d0", "FAKE", "abc"):
        assert word not in str(error)


def test_a_secret_that_is_nowhere_refuses_the_file(tmp_path: Path) -> None:
    text = GOOD.replace(', default = "sandbox-key"', "")
    error = refusal(tmp_path, text, secrets={})
    assert (error.key, "DEMO_KEY" in error.reason) == ("secrets.key", True)
    assert load(tmp_path, text, secrets={"DEMO_KEY": "x"}).titles()


# --- the files that come with the gateway

LIFECYCLE_COLUMNS = {"public_from", "public_until", "repaired_on"}
NOT_THERE: dict[type, set[str]] = {
    # payments, market statements and the identity match are not published and cannot be repaired
    TaxPayment: LIFECYCLE_COLUMNS,
    ContributionPayment: LIFECYCLE_COLUMNS,
    MarketCredit: LIFECYCLE_COLUMNS,
    PersonMarketCredit: LIFECYCLE_COLUMNS,
    UtilityPayment: LIFECYCLE_COLUMNS,
    FinancialReport: LIFECYCLE_COLUMNS,
    RightsState: LIFECYCLE_COLUMNS - {"repaired_on"},
    IdentityMatch: LIFECYCLE_COLUMNS | {"marks", "withdrawn_on"},
}
FILES = read_sources(SOURCES)
LOOKUPS = [(file, lookup) for file in FILES.values() for lookup in file.lookup]


CREDIT = [name for name, file in FILES.items() if file.lookup]


def test_the_systems_of_the_law_are_there() -> None:
    assert CREDIT == [
        "association", "city-platform", "civil-affairs", "contract-performance", "county-platform", "court",
        "credit-china", "customs", "ecology", "enterprise-publicity", "financial-database", "financing-platform",
        "government-affairs", "housing", "hrss", "ip-office", "market-a", "market-b", "market-regulation",
        "natural-resources", "portals", "provincial-platform", "public-security", "staffing-office", "taxation",
        "utilities",
    ]  # fmt: skip
    registers = FILES.keys() - set(CREDIT)
    assert registers == {"bank-registers", "consent-service", "department-registers", "trading-platform"}
    assert {FILES[name].kind for name in registers} == {"REGISTER"}


def test_every_section_has_a_source() -> None:
    served = {(lookup.category, kind) for _, lookup in LOOKUPS for kind in lookup.kinds}
    # Who looked at a subject is in the gateway's own ledger.
    of_the_ledger = {("ACCESS_LOG", kind) for kind in SubjectKind if kind is not SubjectKind.NONE}
    assert served | of_the_ledger == set(SECTION_OF)
    assert not served & of_the_ledger


@pytest.mark.parametrize(
    ("file", "lookup"),
    LOOKUPS,
    ids=[f"{file.id} {lookup.category} {lookup.kinds[0]}" for file, lookup in LOOKUPS],
)
def test_every_field_is_mapped(file: SourceFile, lookup: LookupFile) -> None:
    record = SECTION_OF[lookup.category, lookup.kinds[0]].record
    names = {field.name for field in fields_of(record)}
    assert names - lookup.fields.keys() == NOT_THERE.get(record, set())


@pytest.mark.parametrize("path", sorted(SOURCES.glob("*.toml")), ids=lambda path: path.stem)
def test_secrets_of_the_files_are_references(path: Path) -> None:
    secrets = tomllib.loads(path.read_text())["secrets"]
    assert secrets
    for reference in secrets.values():
        assert re.fullmatch("CREDIT_SOURCE_[A-Z_]+", reference["env"])


# --- against the sandbox


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    path = tmp_path_factory.mktemp("registrations") / "registrations.csv"
    path.write_text(REGISTRATIONS, encoding="utf-8")
    async with running(SandboxOptions(subjects=300, base_port=0, registrations=path)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
async def sources(sandbox: Sandbox) -> AsyncIterator[Sources]:
    urls = {name: url for name, url in sandbox.urls.items() if name in FILES}
    sources = Sources.load(SOURCES, urls=urls)
    yield sources
    await sources.aclose()


REGISTRATIONS = '''name,credit_code,registered_on,capital,business_scope,province,city,address
虚构省示例甲有限公司,91990100FAKE00891X,2019-04-03,20(万),"示例；""引号""",虚构,示例,示例路1号
虚构省示例乙有限公司,91990100FAKE008923,2019-01-10,"1,080(万元)",示例,虚构,示例,示例路2号
示例区虚构丙店,92990105FAKE00893W,2019-02-20,N/A,示例,虚构,示例,示例路3号
'''


def subject(role: str) -> SubjectKey:
    member = CAST[role]
    kind = SubjectKind(member.kind)
    return SubjectKey(kind, member.scheme, member.key, member.name if kind is SubjectKind.NP else None)


def ask(of: SubjectKey, category: str, ground: Ground = LOAN) -> Ask:
    return Ask(of, category, EVERYTHING, ground, may_cache=False)


WHO_HAS = [
    ("clean", "REG_ORG", ["provincial-platform"]),
    ("individual", "REG_ORG", ["provincial-platform"]),
    ("government", "REG_ORG", ["provincial-platform"]),
    ("clean-person", "REG_NP", ["public-security"]),
    ("social-group", "REG_ORG", ["civil-affairs", "provincial-platform"]),
    ("institution", "REG_ORG", ["provincial-platform", "staffing-office"]),
    ("foundation", "ABNORMAL", ["civil-affairs"]),
    ("institution", "ABNORMAL", ["staffing-office"]),
    ("cooperative", "EVALUATION", ["customs", "ecology"]),
    ("foundation", "COMMITMENT", ["portals"]),
    ("individual", "ADMIN_OTHER", ["city-platform", "county-platform", "provincial-platform"]),
    ("clean", "LICENCE", ["market-regulation", "natural-resources"]),
    ("individual", "LICENCE", ["market-regulation"]),
    ("clean-person", "LICENCE", ["market-regulation"]),
    ("bidder-2", "PENALTY", ["provincial-platform"]),
    ("individual", "PENALTY", ["provincial-platform"]),
    ("defaulter", "PENALTY", ["provincial-platform"]),
    ("cooperative", "ARREARS", ["hrss", "taxation"]),
    ("cooperative", "ABNORMAL", ["market-regulation"]),
    ("individual", "ABNORMAL", ["market-regulation"]),
    ("bidder-4", "SERIOUS_LIST", ["provincial-platform"]),
    ("clean", "TRUST_LIST", ["provincial-platform"]),
    ("clean-person", "TRUST_LIST", ["provincial-platform"]),
    ("bidder-4", "ENFORCE_DEFAULT", ["court"]),
    ("defaulter", "ENFORCE_DEFAULT", ["court"]),
    ("clean", "COMMITMENT", ["government-affairs", "provincial-platform"]),
    ("individual", "COMMITMENT", ["government-affairs", "provincial-platform"]),
    ("clean-person", "COMMITMENT", ["government-affairs", "provincial-platform"]),
    ("clean", "EVALUATION", ["ecology", "housing", "provincial-platform"]),
    ("clean", "HONOUR", ["provincial-platform"]),
    ("clean-person", "HONOUR", ["provincial-platform"]),
    ("clean", "TAX_PAYMENT", ["taxation"]),
    ("clean-person", "TAX_PAYMENT", ["taxation"]),
    ("clean", "SI_HF_PAYMENT", ["housing", "hrss"]),
    ("clean-person", "SI_HF_PAYMENT", ["housing", "hrss"]),
    ("clean", "MARKET", ["market-a", "market-b"]),
    ("clean-person", "MARKET", ["market-a"]),
    ("clean", "ASSOC", ["association"]),
]


@pytest.mark.parametrize(
    ("role", "category", "having"), WHO_HAS, ids=[f"{role} {category}" for role, category, _ in WHO_HAS]
)
async def test_what_the_cast_has(sources: Sources, role: str, category: str, having: list[str]) -> None:
    of = subject(role)
    [answers] = await sources.fetch([ask(of, category)], deadline=30)
    assert [answer.source for answer in answers if answer.fault] == []
    assert [answer.source for answer in answers if answer.records] == having
    for answer in answers:
        assert answer.as_of is not None
        for record in answer.records:
            assert type(record) is SECTION_OF[category, of.kind].record


async def test_every_source_and_section_answers_for_the_whole_population(
    sources: Sources, sandbox: Sandbox
) -> None:
    """Every mapped field has a value somewhere, so that no source field is misspelt."""
    asks = []
    for of in sandbox.population.subjects:
        kind = SubjectKind(of.kind)
        scheme, name = ("resident", of.name) if kind is SubjectKind.NP else ("credit_code", None)
        categories = [section.category for section in SECTIONS if kind in section.kinds]
        asks += [ask(SubjectKey(kind, scheme, of.key, name), category) for category in categories]
    filled: dict[tuple[str, str], set[str]] = {}
    for start in range(0, len(asks), 200):
        for answers in await sources.fetch(asks[start : start + 200], deadline=30):
            for answer in answers:
                assert answer.fault is None
                for record in answer.records:
                    names = {
                        name for name in record.__struct_fields__ if getattr(record, name) not in (None, ())
                    }
                    filled.setdefault((answer.source, type(record).__name__), set()).update(names)
    lifecycle = {"marks", "public_until", "repaired_on", "withdrawn_on", "removed_on"}
    for file, lookup in LOOKUPS:
        name = SECTION_OF[lookup.category, lookup.kinds[0]].record.__name__
        assert lookup.fields.keys() - lifecycle <= filled[file.id, name], (
            file.id,
            lookup.category,
        )


async def test_facts_arrive_as_they_are(sources: Sources, sandbox: Sandbox) -> None:
    facts = {fact.number: fact for fact in sandbox.population.records.penalties[CAST["cooperative"].key]}
    [[answer]] = await sources.fetch([ask(subject("cooperative"), "PENALTY")], deadline=30)
    assert {record.record_id for record in answer.records} == facts.keys()
    for record in answer.records:
        assert isinstance(record, Penalty)
        fact = facts[record.record_id]
        assert (record.fine, record.confiscated, record.facts) == (fact.fine, fact.confiscated, fact.facts)
        assert (record.decided_on, record.conduct_ended_on) == (fact.decided, fact.conduct_ended)
        assert (record.public_from, record.withdrawn_on, record.repaired_on) == (
            fact.published,
            fact.withdrawn,
            fact.repaired,
        )
        assert record.severity == Severity(fact.degree.value)
        assert [mark.value.removeprefix("UNDER_") for mark in record.marks] == [
            dispute.value for dispute in fact.disputes
        ]


async def test_marks_repair_and_withdrawal_arrive(sources: Sources) -> None:
    roles = ("bidder-3", "bidder-5", "cooperative")
    repaired, objected, withdrawn = [
        answer.records
        for [answer] in await sources.fetch([ask(subject(role), "PENALTY") for role in roles], deadline=30)
    ]
    assert [record.repaired_on is not None for record in repaired] == [True]
    assert [record.marks for record in objected].count((Mark.UNDER_OBJECTION,)) == 1
    assert sum(record.withdrawn_on is not None for record in withdrawn) == 1


async def test_two_departments_say_what_is_owed(sources: Sources) -> None:
    [answers] = await sources.fetch([ask(subject("cooperative"), "ARREARS")], deadline=30)
    kinds = {
        answer.source: {record.kind for record in answer.records if isinstance(record, Arrears)}
        for answer in answers
    }
    assert kinds["hrss"] == {ArrearsKind.SOCIAL_INSURANCE}
    assert ArrearsKind.TAX in kinds["taxation"]


async def test_the_identity_match_says_yes_and_no(sources: Sources) -> None:
    right = subject("clean-person")
    wrong = SubjectKey(right.kind, right.scheme, right.value, "例无此人")
    answers = await sources.fetch([ask(right, "REG_NP"), ask(wrong, "REG_NP")], deadline=30)
    matched = [
        record.matched
        for [answer] in answers
        for record in answer.records
        if isinstance(record, IdentityMatch)
    ]
    assert matched == [True, False]


async def test_lists_without_an_end_have_none(sources: Sources) -> None:
    [[answer]] = await sources.fetch([ask(subject("defaulter"), "ENFORCE_DEFAULT")], deadline=30)
    [entry] = answer.records
    assert isinstance(entry, EnforcementDefault)
    assert (entry.removed_on, entry.listed_on is not None) == (None, True)


async def test_fields_of_persons_that_must_not_travel_do_not(sources: Sources) -> None:
    [[answer]] = await sources.fetch([ask(subject("clean-person"), "MARKET")], deadline=30)
    assert answer.records
    assert answer.dropped == 2 * len(answer.records)  # telephone and score of each statement
    assert not {name for record in answer.records for name in record.__struct_fields__ if "score" in name}


async def test_the_score_of_the_financial_database_does_not_travel(sources: Sources) -> None:
    for role in ("clean", "clean-person"):
        [[answer]] = await sources.fetch([ask(subject(role), "FINANCIAL_DB")], deadline=30)
        [report] = answer.records
        # Telephone, score and the columns of publication and repair, which a report has not.
        assert answer.dropped == 2 + len(LIFECYCLE_COLUMNS)
        assert not {name for name in report.__struct_fields__ if "score" in name}


async def test_a_registration_is_found_by_its_former_number(sources: Sources) -> None:
    member = CAST["clean"]
    assert member.registration_number
    former = SubjectKey(SubjectKind.ORG, "registration_number", member.registration_number)
    [registration], [penalty] = await sources.fetch(
        [ask(former, "REG_ORG"), ask(former, "PENALTY")], deadline=30
    )
    [record] = registration.records
    assert isinstance(record, Registration)
    assert record.credit_code == member.key
    assert penalty.fault is not None
    assert penalty.fault.code == "IDENTIFIER_NOT_TAKEN"


async def test_without_consent_the_sources_refuse_and_the_subject_itself_needs_none(sources: Sources) -> None:
    of = subject("clean")
    grounds = (
        Ground("LOAN_PRECHECK"),
        Ground("SELF"),
        Ground("LOAN_PRECHECK", authorization_id="A-1", reason_code="02"),
    )
    for category in ("TAX_PAYMENT", "MARKET"):
        refused, own, consented = await sources.fetch(
            [ask(of, category, ground) for ground in grounds], deadline=30
        )
        assert {answer.fault and answer.fault.code.value for answer in refused} == {"REFUSED"}
        assert [bool(answer.records) for answer in (*own, *consented)] == [True] * (len(own) + len(consented))


async def test_wrong_secrets_are_refused_by_every_source(sandbox: Sandbox) -> None:
    environment = {
        reference.env: "wrong"
        for file in FILES.values()
        for reference in file.secrets.values()
        if reference.env is not None
    }
    sources = Sources.load(SOURCES, urls={name: sandbox.urls[name] for name in FILES}, secrets=environment)
    organisation, person = subject("bidder-2"), subject("clean-person")
    asks = [ask(organisation, category) for category, kind in SECTION_OF if kind is SubjectKind.ORG]
    codes: dict[str, set[str]] = {}
    for answers in await sources.fetch([*asks, ask(person, "REG_NP")], deadline=30):
        for answer in answers:
            codes.setdefault(answer.source, set()).add(answer.fault.code.value if answer.fault else "")
    await sources.aclose()
    assert codes == {source: {"REFUSED"} for source in CREDIT}


async def test_loaded_registrations_arrive_as_filed(sources: Sources) -> None:
    rows = list(csv.DictReader(REGISTRATIONS.splitlines()))
    kinds = [SubjectKind.IND if row["credit_code"].startswith("92") else SubjectKind.ORG for row in rows]
    asks = [
        ask(SubjectKey(kind, "credit_code", row["credit_code"]), "REG_ORG")
        for kind, row in zip(kinds, rows, strict=True)
    ]
    capitals = []
    for row, [answer] in zip(rows, await sources.fetch(asks, deadline=30), strict=True):
        [record] = answer.records
        assert isinstance(record, Registration)
        for name in ("name", "credit_code", "capital", "business_scope", "province", "city", "address"):
            assert getattr(record, name) == row[name]
        assert str(record.registered_on) == row["registered_on"]
        capitals.append((str(record.capital_amount), record.capital_currency))
    assert capitals == [("200000", None), ("10800000", "CNY"), ("None", None)]


async def test_the_search_pages_through_the_hits(sources: Sources) -> None:
    async def window(first: int, offset: int) -> tuple[list[str], int]:
        found = await sources.search(
            "示例", first=first, offset=offset, ground=Ground("PUBLIC_VIEW"), deadline=30
        )
        assert found.fault is None
        assert found.source == "provincial-platform"
        return [hit.credit_code for hit in found.hits], found.total

    whole, total = await window(100, 0)
    assert len(whole) == min(total, 100)
    assert len(set(whole)) == len(whole) > 7
    for first, offset in ((3, 0), (3, 3), (3, 4), (7, 5), (2, total), (0, 0)):
        assert await window(first, offset) == (whole[offset : offset + first], total)
    assert await window(1, 10**6) == ([], total)


async def test_every_source_accepts_a_connection(sources: Sources) -> None:
    assert await sources.probe() == dict.fromkeys(FILES, True)
