"""Statistics: counts for those who may have counts, no cell under the smallest, nothing to be found by subtraction."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import msgspec
import orjson
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from service import BUREAU, Client, gateway

from connectors.answers import CountAnswer, CountAsk, FaultCode, Ground
from connectors.fetch import SourceFileError, Sources
from connectors.loader import read_source
from connectors.sandbox.counting import Counting
from connectors.sandbox.facts import Degree, Penalty
from connectors.sandbox.server import Sandbox, SandboxOptions, running
from gateway.app import load_bundle
from gateway.ledger import read_rows
from policies.caller import Caller
from policies.evidence import Evidence
from policies.outcomes import Denied, Outcome
from policies.proofs import Findings
from policies.registers import Entry, Reference, Register
from policies.statistics import Allowed, Count, decide_statistics, release
from policies.table import Tables
from policies.vocabulary import Dimension, SubjectKind

BUNDLE = load_bundle("example")
TODAY = date(2026, 11, 20)
TABLE = Tables(BUNDLE).on(TODAY)
AUTHORITY = "credit-authority"
SOURCES = Path(__file__).parents[1] / "connectors" / "sources"


# --- what leaves: pure

cells = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from(["x", "y", "z"])),
    st.integers(0, 200),
    max_size=12,
)
smallest = st.integers(2, 60)


def counts(numbers: dict[tuple[str | None, ...], int]) -> list[Count]:
    return [Count(values, number) for values, number in numbers.items()]


@given(cells, smallest)
def test_no_cell_under_the_smallest_is_shown(numbers: dict[tuple[str | None, ...], int], k: int) -> None:
    released = release(counts(numbers), k)
    assert {cell.values for cell in released.cells} == {v for v, number in numbers.items() if number >= k}
    for cell in released.cells:
        assert cell.count >= k
        assert numbers[cell.values] - k < cell.count <= numbers[cell.values]


@given(cells, smallest, st.data())
def test_whatever_the_small_cells_hold_the_answer_is_the_same(
    numbers: dict[tuple[str | None, ...], int], k: int, data: st.DataObject
) -> None:
    other = {
        values: data.draw(st.integers(0, k - 1)) if number < k else number
        for values, number in numbers.items()
    }
    gone = {values: number for values, number in other.items() if number}
    assert release(counts(numbers), k) == release(counts(other), k) == release(counts(gone), k)


@given(cells, smallest)
def test_what_is_left_of_the_total_is_nothing(numbers: dict[tuple[str | None, ...], int], k: int) -> None:
    released = release(counts(numbers), k)
    assert released.total - sum(cell.count for cell in released.cells) == 0


@given(cells, smallest, st.data())
def test_one_record_more_or_less_is_seen_only_where_a_multiple_is_crossed(
    numbers: dict[tuple[str | None, ...], int], k: int, data: st.DataObject
) -> None:
    if not numbers:
        return
    values = data.draw(st.sampled_from(sorted(numbers, key=str)))
    more = numbers | {values: numbers[values] + 1}
    same = release(counts(numbers), k) == release(counts(more), k)
    assert same is bool((numbers[values] + 1) % k)


@given(cells, smallest, st.randoms())
def test_the_order_and_the_sources_of_counts_do_not_matter(
    numbers: dict[tuple[str | None, ...], int], k: int, chance: Any
) -> None:
    split = [
        part
        for values, number in numbers.items()
        for part in (Count(values, number // 2), Count(values, number - number // 2))
    ]
    chance.shuffle(split)
    assert release(split, k) == release(counts(numbers), k)


def test_a_larger_smallest_cell_shows_no_more() -> None:
    numbers = counts({("a",): 57, ("b",): 12, ("c",): 9})
    assert [(cell.values, cell.count) for cell in release(numbers, 10).cells] == [(("a",), 50), (("b",), 10)]
    assert [(cell.values, cell.count) for cell in release(numbers, 50).cells] == [(("a",), 50)]
    with pytest.raises(ValueError, match="negative"):
        release([Count(("a",), -1)], 10)


# --- who may: pure

CALLER = Caller(
    unit="11990000FAKE90047M",
    unit_name="示例省发展和改革委员会",
    type="CREDIT_AUTHORITY",
    level="PROVINCE",
    division="990000",
    purposes=frozenset(BUNDLE.purposes),
    categories=None,
    officer=None,
    identity=None,
    synthetic_only=False,
    client="c",
    token_id="t",
    expires=0,
)
STUDY = Reference(Register.STUDIES, "S-1")
APPROVED = Findings(TODAY, {STUDY: Entry(reference=STUDY, open=True, units=frozenset({CALLER.unit}))})


def decided(
    category: str = "PENALTY",
    kind: SubjectKind = SubjectKind.ORG,
    *,
    purpose: str = "STATISTICS",
    minimum: int | None = 1,
    findings: Findings = APPROVED,
    **caller: Any,
) -> Allowed | Denied:
    return decide_statistics(
        TABLE,
        msgspec.structs.replace(CALLER, **caller),
        purpose,
        kind,
        category,
        Evidence(study_number="S-1", minimum_cell=minimum),
        findings,
    )


@pytest.mark.parametrize(
    ("kind", "category", "minimum", "expected"),
    [
        (SubjectKind.ORG, "PENALTY", 1, 10),
        (SubjectKind.IND, "PENALTY", 10, 10),
        (SubjectKind.ORG, "PENALTY", 20, 20),
        (SubjectKind.ORG, "PENALTY", 25, 30),
        (SubjectKind.NP, "SERIOUS_LIST", 1, 50),
        (SubjectKind.NP, "SERIOUS_LIST", 20, 50),
        (SubjectKind.NP, "SERIOUS_LIST", 80, 100),
    ],
)
def test_the_smallest_cell_is_the_rules_or_a_multiple_of_it_for_the_study(
    kind: SubjectKind, category: str, minimum: int, expected: int
) -> None:
    allowed = decided(category, kind, minimum=minimum)
    assert isinstance(allowed, Allowed)
    assert allowed.smallest_cell == expected


@pytest.mark.parametrize("purpose", [purpose for purpose in BUNDLE.purposes if purpose != "STATISTICS"])
def test_no_other_purpose_gives_counts(purpose: str) -> None:
    for kind in (SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP, SubjectKind.GOV):
        for category in BUNDLE.categories:
            denied = decided(category, kind, purpose=purpose)
            assert isinstance(denied, Denied)
            assert denied.remedy


def code(found: Allowed | Denied) -> Outcome:
    assert isinstance(found, Denied)
    return found.code


def test_counts_are_denied_without_study_token_or_rule() -> None:
    assert code(decided(minimum=None)) is Outcome.DENY_EVIDENCE
    assert code(decided(findings=Findings(TODAY, {STUDY: None}))) is Outcome.DENY_EVIDENCE
    assert code(decided(purposes=frozenset({"AUDIT"}))) is Outcome.DENY_PURPOSE
    assert code(decided(categories=frozenset({"HONOUR"}))) is Outcome.DENY_CATEGORY
    assert code(decided("TAX_PAYMENT")) is Outcome.DENY_CATEGORY
    assert code(decided("PENALTY", SubjectKind.NP)) is Outcome.DENY_CATEGORY
    assert code(decided(type="BANK")) is Outcome.DENY_PURPOSE
    assert code(decided(synthetic_only=True)) is Outcome.DENY_PURPOSE


def test_a_rule_without_a_smallest_cell_gives_no_counts() -> None:
    rule = BUNDLE.rules["R052"]
    for obligations in ((), ("VISIBLE",), ("K10", "ONE_BY_ONE")):
        loose = msgspec.structs.replace(rule, obligations=obligations)
        bundle = msgspec.structs.replace(BUNDLE, rules={"R052": loose})
        evidence = Evidence(study_number="S-1", minimum_cell=1)
        found = decide_statistics(
            Tables(bundle).on(TODAY), CALLER, "STATISTICS", SubjectKind.ORG, "PENALTY", evidence, APPROVED
        )
        assert code(found) is Outcome.DENY_OBLIGATION


# --- over HTTP

QUERY = """query($category: Category!, $kind: SubjectKind!, $by: [StatisticsDimension!]!, $study: String, $cell: Int) {
  inquiry(purpose: STATISTICS, evidence: {studyNumber: $study, minimumCell: $cell}) { receipt { id }
    statistics(category: $category, kind: $kind, by: $by) { state reason { code message basis { citation } remedy }
      sources { id state } smallestCell total cells { values { dimension value } count } } } }"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("statistics")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def crowd(folder: Path) -> AsyncIterator[Client]:
    """A gateway over a population that is large enough to be counted."""
    async with (
        running(SandboxOptions(subjects=3000, base_port=0)) as sandbox,
        gateway(sandbox, folder) as client,
    ):
        yield client


async def ask(client: Client, caller: str = AUTHORITY, **changes: Any) -> dict[str, Any]:
    variables = {
        "category": "PENALTY",
        "kind": "ORG",
        "by": ["SEVERITY"],
        "study": "S-1",
        "cell": 1,
        **changes,
    }
    body = await client.ask(caller, QUERY, variables)
    found: dict[str, Any] = body["data"]["inquiry"]["statistics"]
    return found


def visible(sandbox: Sandbox, kind: str, column: str) -> Counter[Any]:
    """What the platform must count, from the population itself."""
    population = sandbox.population
    kinds = {subject.key: subject.kind for subject in population.subjects}
    today = population.today
    found: Counter[Any] = Counter()
    for key, penalties in population.records.penalties.items():
        for penalty in penalties:
            over = [day for day in (penalty.repaired, penalty.withdrawn) if day is not None and day <= today]
            inside = (today - penalty.conduct_ended).days <= 5 * 365
            if kinds[key] == kind and not over and inside and penalty.decided <= today:
                found[_word(penalty, column)] += 1
    return found


def _word(penalty: Penalty, column: str) -> str:
    words = {Degree.MINOR: "MINOR", Degree.GENERAL: "GENERAL", Degree.SERIOUS: "SERIOUS"}
    return words[penalty.degree] if column == "SEVERITY" else str(penalty.decided.year)


@pytest.mark.parametrize(("column", "kind"), [("SEVERITY", "ORG"), ("YEAR", "ORG"), ("SEVERITY", "IND")])
async def test_counts_are_those_of_the_visible_records_rounded_down(
    crowd: Client, column: str, kind: str
) -> None:
    found = await ask(crowd, by=[column], kind=kind)
    expected = {word: n - n % 10 for word, n in visible(crowd.sandbox, kind, column).items() if n >= 10}
    assert expected
    assert found["state"] == "HAS"
    assert found["smallestCell"] == 10
    assert found["sources"] == [{"id": "provincial-platform", "state": "HAS"}]
    shown = {cell["values"][0]["value"]: cell["count"] for cell in found["cells"]}
    assert shown == expected
    assert found["total"] == sum(expected.values())
    assert {cell["values"][0]["dimension"] for cell in found["cells"]} == {column}


async def test_several_dimensions_and_none(crowd: Client) -> None:
    found = await ask(crowd, by=["CITY", "SEVERITY"])
    assert found["cells"]
    for cell in found["cells"]:
        assert [value["dimension"] for value in cell["values"]] == ["CITY", "SEVERITY"]
        assert cell["count"] >= 10
        assert cell["count"] % 10 == 0
    (whole,) = (await ask(crowd, by=[]))["cells"]
    assert whole["values"] == []
    assert whole["count"] == sum(visible(crowd.sandbox, "ORG", "SEVERITY").values()) // 10 * 10


async def test_a_larger_cell_of_the_study_counts(crowd: Client) -> None:
    found = await ask(crowd, cell=100)
    assert found["smallestCell"] == 100
    assert all(cell["count"] % 100 == 0 for cell in found["cells"])


async def test_persons_are_counted_by_fifties(crowd: Client) -> None:
    found = await ask(crowd, category="SERIOUS_LIST", kind="NP", by=["CITY"])
    assert found["smallestCell"] == 50
    # Some dozens of 3,000 subjects are persons on the list: too few, and that looks as if there were none.
    listed = Counting(crowd.sandbox.population).groups(
        "serious-list", "3", [], crowd.sandbox.population.today
    )
    assert 0 < listed[0]["num"] < 50
    assert (found["state"], found["cells"], found["total"]) == ("NONE", [], 0)
    nobody = await ask(crowd, category="HONOUR", kind="NP", by=["YEAR"])
    assert nobody.keys() == found.keys()


async def test_every_look_is_a_row_and_no_row_of_a_subject_leaves(crowd: Client, folder: Path) -> None:
    body = await crowd.ask(
        AUTHORITY, QUERY, {"category": "HONOUR", "kind": "ORG", "by": ["CITY"], "study": "S-1", "cell": 20}
    )
    rows = [orjson.loads(row) for _, row in read_rows(folder / "ledger.sqlite")]
    row = next(row for row in rows if row["receipt"] == body["data"]["inquiry"]["receipt"]["id"])
    assert row["subjects"] == []
    (counted,) = row["counts"]
    assert counted["category"] == "HONOUR"
    assert counted["by"] == ["CITY"]
    assert (counted["outcome"], counted["rule"], counted["smallest_cell"]) == ("PERMIT", "R052", 20)
    rowsasked = (
        '{ inquiry(purpose: STATISTICS, evidence: {studyNumber: "S-1", minimumCell: 10}) {'
        ' subject(id: {creditCode: "91990100FAKE00013D"}) { ... on Organisation { honours { state reason { code } } } } } }'
    )
    asked = await crowd.ask(AUTHORITY, rowsasked)
    section = asked["data"]["inquiry"]["subject"]["honours"]
    assert section == {"state": "DENIED", "reason": {"code": "DENY_PURPOSE"}}


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"study": None}, "DENY_EVIDENCE"),
        ({"study": "S-UNKNOWN"}, "DENY_EVIDENCE"),
        ({"cell": None}, "DENY_EVIDENCE"),
        ({"category": "TAX_PAYMENT"}, "DENY_CATEGORY"),
        ({"kind": "NP"}, "DENY_CATEGORY"),
        ({"kind": "GOV"}, "DENY_SUBJECT_KIND"),
        ({"kind": "NONE"}, "DENY_SUBJECT_KIND"),
    ],
)
async def test_a_denial_says_why_and_asks_no_source(
    crowd: Client, changes: dict[str, Any], outcome: str
) -> None:
    before = await crowd.requests()
    found = await ask(crowd, **changes)
    assert found["state"] == "DENIED"
    assert found["reason"]["code"] == outcome
    assert found["reason"]["basis"]
    assert found["reason"]["remedy"]
    assert (found["cells"], found["total"], found["smallestCell"]) == ([], None, None)
    assert await crowd.requests() == before


async def test_another_purpose_gives_no_counts(crowd: Client) -> None:
    query = QUERY.replace("STATISTICS", "PUBLIC_VIEW")
    variables = {"category": "PENALTY", "kind": "ORG", "by": []}
    before = await crowd.requests()
    for caller in (BUREAU, "public", AUTHORITY):
        body = await crowd.ask(caller, query, variables)
        assert body["data"]["inquiry"]["statistics"]["reason"]["code"] == "DENY_PURPOSE"
        (denial,) = body["extensions"]["denials"]
        assert (denial["path"], denial["category"]) == (["statistics"], "PENALTY")
    rejecting = query.replace("PUBLIC_VIEW,", "PUBLIC_VIEW, onDenied: REJECT,")
    assert (await crowd.post("public", rejecting, variables)).status_code == 403
    assert await crowd.requests() == before


async def test_a_silent_source_is_unknown_and_never_a_small_number(crowd: Client) -> None:
    try:
        await crowd.fault("provincial-platform", "down")
        found = await ask(crowd)
    finally:
        await crowd.clear_faults()
    assert (found["state"], found["reason"]["code"]) == ("UNKNOWN", "UNKNOWN_SOURCE_DOWN")
    assert (found["cells"], found["total"]) == ([], None)


async def test_what_no_source_counts_is_unknown(crowd: Client) -> None:
    field = await ask(crowd, by=["FIELD"])
    assert (field["state"], field["reason"]["code"]) == ("UNKNOWN", "UNKNOWN_SOURCE_DOWN")
    licences = await ask(crowd, category="LICENCE", by=[])
    assert (licences["state"], licences["reason"]["code"]) == ("UNKNOWN", "UNKNOWN_NO_SOURCE")


@pytest.mark.parametrize(
    "by", [["CITY", "YEAR", "QUARTER", "SEVERITY"], ["CITY", "CITY"]], ids=["four", "twice"]
)
async def test_bad_dimensions_are_refused(crowd: Client, by: list[str]) -> None:
    variables = {"category": "PENALTY", "kind": "ORG", "by": by, "study": "S-1", "cell": 10}
    answer = await crowd.post(AUTHORITY, QUERY, variables)
    assert answer.status_code == 400
    error = answer.json()["errors"][0]
    assert error["extensions"]["code"] == "BAD_ARGUMENT"
    assert "statistics.by" in error["message"]


# --- the source

COUNTING = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "EXTERNAL"
url = "http://demo.invalid:1"

[envelope]
records = "data"
total = "total"

[[lookup]]
category = "PENALTY"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/penalties"
json = { key = "{subject.value}" }
fields = { record_id = "id" }

[[statistics]]
category = "PENALTY"
kinds = { ORG = "legal" }
path = "/counts"
json = { of = "{statistics.kind}", by = "{statistics.by}", on = "{statistics.day}", why = "{ground.matter}" }
dimensions = { CITY = "town", SEVERITY = "degree" }
tables = { SEVERITY = { 1 = "MINOR" } }
count = "n"
"""


class Wire(httpx.AsyncBaseTransport):
    """A source made by hand that gives one answer and remembers what it was sent."""

    def __init__(self, answer: Any) -> None:
        self.bodies: list[Any] = []
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(orjson.loads(await request.aread()))
        return httpx.Response(200, json=self._answer)


async def counted(
    folder: Path, wire: Wire, *by: Dimension, kind: SubjectKind = SubjectKind.ORG
) -> tuple[CountAnswer, ...]:
    (folder / "demo.toml").write_text(COUNTING, "utf-8")
    sources = Sources.load(folder, transport=wire)
    ask = CountAsk("PENALTY", kind, by, TODAY)
    answers = await sources.statistics(ask, ground=Ground("STATISTICS", "S-1"), deadline=5)
    await sources.aclose()
    return answers


async def test_a_source_is_told_what_to_count_in_its_own_words(tmp_path: Path) -> None:
    rows = [{"town": "甲", "degree": "1", "n": 12}, {"town": "", "degree": None, "n": 3}]
    wire = Wire({"data": rows, "total": 2})
    (answer,) = await counted(tmp_path, wire, Dimension.SEVERITY, Dimension.CITY)
    assert wire.bodies == [{"of": "legal", "by": ["degree", "town"], "on": "2026-11-20", "why": "S-1"}]
    assert answer.counts == ((("MINOR", "甲"), 12), ((None, None), 3))
    assert answer.fault is None
    assert answer.as_of is not None


async def test_a_source_that_does_not_count_so_is_not_asked(tmp_path: Path) -> None:
    wire = Wire({"data": [], "total": 0})
    (answer,) = await counted(tmp_path, wire, Dimension.QUARTER)
    assert answer.fault is not None
    assert answer.fault.code is FaultCode.DIMENSION_NOT_TAKEN
    assert await counted(tmp_path, wire, kind=SubjectKind.IND) == ()
    assert wire.bodies == []


@pytest.mark.parametrize(
    "answer",
    [
        {"data": [{"town": "甲", "n": -1}], "total": 1},
        {"data": [{"town": "甲", "n": "12"}], "total": 1},
        {"data": [{"town": "甲", "n": True}], "total": 1},
        {"data": [{"town": "甲"}], "total": 1},
        {"data": [{"town": ["甲"], "n": 12}], "total": 1},
        {"data": [{"town": "甲", "n": 12}], "total": 2},
        {"data": [{"town": str(place), "n": 12} for place in range(5001)], "total": 5001},
        {"data": 12, "total": 1},
    ],
    ids=["negative", "text", "truth", "none", "list", "not all", "too many", "no rows"],
)
async def test_counts_that_cannot_be_read_are_no_counts(tmp_path: Path, answer: Any) -> None:
    (found,) = await counted(tmp_path, Wire(answer), Dimension.CITY)
    assert found.counts == ()
    assert found.fault is not None
    assert found.fault.code is FaultCode.GARBAGE


async def test_a_word_that_the_file_does_not_know_is_no_group(tmp_path: Path) -> None:
    (found,) = await counted(
        tmp_path, Wire({"data": [{"degree": "9", "n": 12}], "total": 1}), Dimension.SEVERITY
    )
    assert found.fault is not None
    assert "9" not in found.fault.detail


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('kinds = { ORG = "1", IND = "2", GOV = "4" }', "kinds = {}", "statistics[0].kinds"),
        ('GOV = "4"', 'NP = "3"', "statistics[0].kinds"),
        ('dimensions = { CITY = "city", QUARTER', 'dimensions = { TOWN = "city", QUARTER', "statistics[0]"),
        ("tables = { SEVERITY", "tables = { FIELD", "statistics[1].tables.FIELD"),
    ],
)
def test_a_mistake_in_a_source_file_is_named(tmp_path: Path, old: str, new: str, key: str) -> None:
    text = (SOURCES / "provincial-platform.toml").read_text("utf-8")
    assert text.count(old) >= 1
    changed = tmp_path / "provincial-platform.toml"
    changed.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(SourceFileError) as caught:
        read_source(changed)
    assert key in str(caught.value)


def test_a_request_that_does_not_say_what_is_counted_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").write_text(COUNTING.replace(', on = "{statistics.day}"', ""), "utf-8")
    with pytest.raises(SourceFileError) as caught:
        Sources.load(tmp_path, transport=Wire({}))
    assert "use {statistics.day}" in str(caught.value)
