"""What sources do, as a caller of the running gateway sees it: sections with their sources, over real sockets."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from raw_sources import (
    LICENCE,
    PENALTY,
    Books,
    SourceFiles,
    facts,
    gateway_over,
    record,
    source,
)
from redis_server import redis_server
from service import BANK, BUREAU, CLEAN, DEFAULTER, Client
from test_categories import REPORT
from test_faults import AUTHORITY, FAULTS, _context, running, silence, write
from test_live_sources import until_told

from connectors.sandbox.population import CAST
from connectors.sandbox.server import Sandbox
from gateway.settings import SharedCacheSettings

CACHED = "cache_seconds = 600"


@pytest.fixture
async def books() -> AsyncIterator[Books]:
    async with Books().listening() as books:
        yield books


@pytest.fixture
async def neighbour() -> AsyncIterator[Books]:
    async with Books().listening() as books:
        yield books


@pytest.fixture
def files(tmp_path: Path, neighbour: Books) -> SourceFiles:
    files = SourceFiles(tmp_path / "sources")
    files.put("neighbour", neighbour.url, "LICENCE")
    return files


def assert_partial(sections: Mapping[str, Any]) -> None:
    """The broken source's section is unknown, its neighbour's is given."""
    assert (sections["penalties"]["state"], sections["penalties"]["complete"]) == ("UNKNOWN", False)
    assert sections["penalties"]["reason"]["code"] == "UNKNOWN_SOURCE_DOWN"
    assert (sections["licences"]["state"], sections["licences"]["complete"]) == ("HAS", True)


async def test_a_section_says_who_answered_when_and_how_fast(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, lookup=CACHED)
    async with gateway_over(sandbox, tmp_path, files) as running:
        said = source(await running.penalties())
        again = source(await running.penalties())
    assert (said["state"], said["fault"], said["stale"], said["insteadOf"]) == ("HAS", None, False, None)
    assert said["latencyMs"] > 0
    assert said["asOf"] is not None
    assert again == {**said, "latencyMs": None}, "kept: the source was not asked"


# --- a source that is down


async def test_a_dead_source_is_left_alone_and_the_rest_is_answered(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, tables="[breaker]\nfailures = 3\nseconds = 600")
    books.dead = True
    async with gateway_over(sandbox, tmp_path, files) as running:
        for _ in range(3):
            sections = await running.sections()
            assert_partial(sections)
            said = source(sections["penalties"])
            assert (said["state"], said["fault"], said["latencyMs"]) == ("UNKNOWN", "DOWN", None)
            assert said["reason"]["code"] == "UNKNOWN_SOURCE_DOWN"
        connections = books.connections
        assert 3 <= connections <= 6
        for _ in range(10):
            assert_partial(await running.sections())
        assert books.connections == connections, "nothing is sent to a source that failed before"
        figures = await running.figures()
    for line in (
        'credit_gateway_source_breaker{source="books",state="OPEN"} 1.0',
        'credit_gateway_source_breaker{source="neighbour",state="CLOSED"} 1.0',
        'credit_gateway_source_calls_spared_total{source="books"} 10.0',
        'credit_gateway_source_faults_total{fault="DOWN",source="books"} 3.0',
        'credit_gateway_source_seconds_count{source="neighbour"} 13.0',
    ):
        assert line in figures.splitlines()
    assert CLEAN not in figures


async def test_a_source_that_is_back_is_found_by_one_call(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, tables="[breaker]\nfailures = 2\nseconds = 0.2")
    books.dead = True
    async with gateway_over(sandbox, tmp_path, files) as running:
        for _ in range(2):
            assert_partial(await running.sections())
        books.dead = False
        assert books.asked == 0
        await until_told(running, "first")
        assert books.asked == 1
        assert 'breaker{source="books",state="CLOSED"} 1.0' in await running.figures()


async def test_a_source_that_says_nothing_costs_its_own_section_alone(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put(
        "books", books.url, top="timeout_seconds = 0.3", tables="[breaker]\nfailures = 2\nseconds = 600"
    )
    books.go_on.clear()
    async with gateway_over(sandbox, tmp_path, files) as running:
        for _ in range(5):
            sections = await running.sections()
            assert_partial(sections)
        assert books.asked == 2
        assert source(sections["penalties"])["fault"] == "DOWN"


async def test_every_fault_has_its_name_in_the_answer_and_spoils_nothing_else(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, caplog: pytest.LogCaptureFixture
) -> None:
    """One source for each way to break, all of them asked for the same section."""
    caplog.set_level(logging.DEBUG)
    expected = {}
    async with AsyncExitStack() as stack:
        for number, (script, fault) in enumerate(FAULTS.values()):
            server = await stack.enter_async_context(running(script))
            name = f"broken-{number}"
            mapped = f"{PENALTY.replace(', kind', ', repaired_on')}".replace('"kind"', '"repaired"')
            write(files.path, name, "PENALTY", mapped, f"http://127.0.0.1:{server.port}")
            expected[name] = fault
        stranger = await stack.enter_async_context(running(silence, _context(AUTHORITY, "credit.example")))
        write(files.path, "stranger", "PENALTY", PENALTY, f"https://127.0.0.1:{stranger.port}")
        expected["stranger"] = "DOWN"
        app = await stack.enter_async_context(gateway_over(sandbox, tmp_path, files, deadline=30))
        sections = await app.sections()
        figures = await app.figures()
    assert_partial(sections)
    assert {each["id"]: each["fault"] for each in sections["penalties"]["sources"]} == expected
    assert {each["state"] for each in sections["penalties"]["sources"]} == {"UNKNOWN"}
    assert sections["penalties"]["records"]["nodes"] == []
    logged = caplog.text + repr([entry.__dict__ for entry in caplog.records])
    for text in (CLEAN, "正文内容不得外泄"):
        assert text not in logged
        assert text not in figures
        assert text not in str(sections["penalties"])


# --- what stands in, and what is kept


async def test_the_last_answer_stands_in_and_says_so(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, lookup="cache_seconds = 0.01\nstale_if_error_seconds = 600")
    async with gateway_over(sandbox, tmp_path, files) as running:
        before = await running.penalties()
        books.dead = True
        await asyncio.sleep(0.02)
        after = await running.penalties()
        said = source(after)
        assert facts(after) == facts(before) == ["first"]
        assert (said["state"], said["stale"]) == ("HAS", True)
        assert said["asOf"] == source(before)["asOf"] == after["asOf"]
        books.dead, books.rows = False, [record(facts="changed")]
        fresh = await running.penalties()
        assert (facts(fresh), source(fresh)["stale"]) == (["changed"], False)


async def test_another_source_is_asked_instead_and_named(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    async with Books([record(facts="spare")]).listening() as spare:
        files.put("books", books.url, top='fallback = "spare"')
        files.put("spare", spare.url)
        async with gateway_over(sandbox, tmp_path, files) as running:
            assert facts(await running.penalties()) == ["first"]
            assert spare.asked == 0
            books.dead = True
            penalties = await running.penalties()
        [said] = penalties["sources"]
        assert facts(penalties) == ["spare"]
        assert (said["id"], said["insteadOf"], said["state"]) == ("spare", "books", "HAS")


@pytest.mark.parametrize(
    ("lookup", "asked"),
    [("cache_seconds = 600", 1), ("cache_seconds = 600\nnegative_cache_seconds = 0", 2), ("", 2)],
)
async def test_that_there_is_nothing_is_kept_for_its_own_time(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books, lookup: str, asked: int
) -> None:
    books.rows = []
    files.put("books", books.url, lookup=lookup)
    async with gateway_over(sandbox, tmp_path, files) as running:
        for _ in range(2):
            penalties = await running.penalties()
            assert (penalties["state"], penalties["complete"]) == ("NONE", True)
    assert books.asked == asked


async def test_a_used_up_quota_is_said_and_survives_new_files(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books, neighbour: Books
) -> None:
    files.put("books", books.url, tables="[rate]\nper_day = 2")
    async with gateway_over(sandbox, tmp_path, files) as running:
        for _ in range(2):
            assert facts(await running.penalties()) == ["first"]
        sections = await running.sections()
        assert_partial(sections)
        assert source(sections["penalties"])["fault"] == "QUOTA"
        neighbour.rows = [record(facts="other")]
        files.put("neighbour", neighbour.url, "LICENCE", fields='content = "doc"')
        running.app.state.reload.ask()
        async with asyncio.timeout(30):
            while (sections := await running.sections())["licences"]["records"]["nodes"][0][
                "content"
            ] != "D-1":
                await asyncio.sleep(0.02)
        assert source(sections["penalties"])["fault"] == "QUOTA"
    assert books.asked == 2


async def test_the_rate_of_a_source_is_kept(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, tables="[rate]\nper_second = 0.01")
    async with gateway_over(sandbox, tmp_path, files) as running:
        assert facts(await running.penalties()) == ["first"]
        sections = await running.sections()
        assert_partial(sections)
        assert source(sections["penalties"])["fault"] == "TIMEOUT"
    assert books.asked == 1


# --- never kept

OWN = """query($id: SubjectId!) { inquiry(purpose: SELF) { subject(id: $id) {
  ... on NaturalPerson { penalties { state records { nodes { facts } } } } } } }"""


async def kept_in(url: str) -> dict[bytes, bytes]:
    client = redis.asyncio.Redis.from_url(url)
    names = [name async for name in client.scan_iter()]
    await client.aclose()
    return dict.fromkeys(names, b"")


async def shared(folder: Path, url: str) -> SharedCacheSettings:
    secret = folder / "shared.key"
    secret.write_bytes(os.urandom(32))
    return SharedCacheSettings(url=url, secret_file=str(secret))


async def test_what_concerns_a_person_is_kept_nowhere(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, lookup=CACHED + "\nstale_if_error_seconds = 600")
    with redis_server(tmp_path) as server:
        cache = await shared(tmp_path, server.url)
        async with gateway_over(sandbox, tmp_path, files, shared=cache) as running:
            for number in range(1, 4):
                body = await running.client.ask(
                    "subject-portal", OWN, {"id": {"resident": DEFAULTER}}, persona="natural-person"
                )
                section = body["data"]["inquiry"]["subject"]["penalties"]
                assert (section["state"], facts(section)) == ("HAS", ["first"])
                assert books.asked == number
            books.dead = True
            body = await running.client.ask(
                "subject-portal", OWN, {"id": {"resident": DEFAULTER}}, persona="natural-person"
            )
            assert body["data"]["inquiry"]["subject"]["penalties"]["state"] == "UNKNOWN"
            assert await kept_in(server.url) == {}
            assert running.app.state.reload._river._shaper._subjects._values == {}


REPORT_FIELDS = 'report_number = "doc", statement = "facts"'


async def test_the_financial_database_is_kept_nowhere_and_asked_under_its_own_consent(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put(
        "books",
        books.url,
        "FINANCIAL_DB",
        fields=REPORT_FIELDS,
        lookup=CACHED + "\nstale_if_error_seconds = 600",
    )
    with redis_server(tmp_path) as server:
        cache = await shared(tmp_path, server.url)
        async with gateway_over(sandbox, tmp_path, files, shared=cache) as running:

            async def report(consent: str | None) -> dict[str, Any]:
                variables = {"id": {"creditCode": CLEAN}, "consent": consent}
                body = await running.client.ask(BANK, REPORT, variables)
                section: dict[str, Any] = body["data"]["inquiry"]["subject"]["financialReport"]
                return section

            assert (await report(None))["state"] == "DENIED"
            assert books.asked == 0
            for number in range(1, 3):
                section = await report("PB-1")
                assert (section["state"], section["level"]) == ("HAS", "PASS_THROUGH")
                assert section["record"]["statement"] == "first"
                assert books.asked == number
            books.dead = True
            assert (await report("PB-1"))["state"] == "UNKNOWN"
            assert await kept_in(server.url) == {}
            assert running.app.state.reload._river._shaper._subjects._values == {}
    ledger = (tmp_path / "ledger.sqlite").read_bytes()
    for text in ("D-1", "first"):
        assert f'"{text}"'.encode() not in ledger


TAX = """query($id: SubjectId!, $authorization: String) {
  inquiry(purpose: LOAN_PRECHECK,
          evidence: {applicationNumber: "A-1", queryReasonCode: "02", authorization: $authorization}) {
    subject(id: $id) { ... on OperatingSubject { taxPayments { state reason { code } } } }
  }
}"""


async def test_what_a_rule_forbids_to_keep_is_not_kept(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    files.put("books", books.url, "TAX_PAYMENT", fields='paid_on = "day"', lookup=CACHED)
    with redis_server(tmp_path) as server:
        cache = await shared(tmp_path, server.url)
        async with gateway_over(sandbox, tmp_path, files, shared=cache) as running:
            authorization = await running.client.authorization({"credit_code": CLEAN})
            for number in range(1, 3):
                variables = {"id": {"creditCode": CLEAN}, "authorization": authorization}
                body = await running.client.ask(BANK, TAX, variables)
                assert body["data"]["inquiry"]["subject"]["taxPayments"]["state"] == "HAS"
                assert books.asked == number
            assert await kept_in(server.url) == {}


# --- truth


async def test_a_record_of_several_sources_is_shown_once_of_the_nearest(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    far, near = (
        [record(facts="far"), record(id="R-9", facts="only far", doc="D-9")],
        [record(facts="near", id="R-7")],
    )
    async with Books(far).listening() as province, Books(near).listening() as county:
        files.put("province", province.url, top="precedence = 40")
        files.put("county", county.url, top="precedence = 20")
        files.put("city", books.url, top="precedence = 30")
        async with gateway_over(sandbox, tmp_path, files) as running:
            penalties = await running.penalties()
            assert sorted(facts(penalties)) == ["near", "only far"]
            assert {name: source(penalties, name)["state"] for name in ("county", "city", "province")} == {
                "county": "HAS",
                "city": "HAS",
                "province": "HAS",
            }
            county.dead = True
            penalties = await running.penalties()
            assert sorted(facts(penalties)) == ["first", "only far"]
            assert (penalties["state"], penalties["complete"]) == ("HAS", False)
            assert source(penalties, "county")["fault"] == "DOWN"


ACTS = """query($id: SubjectId!) { inquiry(purpose: SELF) { subject(id: $id) {
  ... on IndividualBusiness { administrativeActs {
    state complete sources { id state } records(first: 100) { nodes { recordId provider } } } } } } }"""


async def test_three_platforms_of_the_sandbox_tell_one_act_once(client: Client) -> None:
    key = CAST["individual"].key
    records = client.sandbox.population.records
    [act] = records.county_acts[key]
    assert act.number in {each.number for each in records.acts[key]}
    answer = await client.ask(
        "subject-portal", ACTS, {"id": {"creditCode": key}}, persona="individual-business"
    )
    section = answer["data"]["inquiry"]["subject"]["administrativeActs"]
    nodes = section["records"]["nodes"]
    assert [node["provider"] for node in nodes if node["recordId"] == act.number] == ["示例区财政局"]
    assert {each["id"] for each in section["sources"]} == {
        "county-platform",
        "city-platform",
        "provincial-platform",
    }
    assert section["complete"] is True


async def test_a_record_without_a_basis_is_left_out_and_counted(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    books.rows = [record(basis="01"), record(id="R-2", doc="D-2", facts="hearsay", basis=None)]
    books.rows.append(record(id="R-3", doc="D-3", facts="rumour", basis="99"))
    based = PENALTY.replace(
        '{ is = "ADMINISTRATIVE_DECISION" }', '{ from = "basis", table = { 01 = "JUDICIAL_DOCUMENT" } }'
    )
    files.put("books", books.url, fields=based)
    caplog.set_level(logging.DEBUG)
    async with gateway_over(sandbox, tmp_path, files) as running:
        penalties = await running.penalties()
        assert facts(penalties) == ["first"]
        assert "credit_gateway_records_without_basis_total 2.0" in (await running.figures()).splitlines()
        books.rows = books.rows[1:]
        penalties = await running.penalties()
        assert (penalties["state"], facts(penalties)) == ("NONE", [])
    told = [entry.__dict__["fields"] for entry in caplog.records if "without a basis" in entry.getMessage()]
    assert told[0] == {"source": "books", "records": 2}
    for text in ("hearsay", "rumour", CLEAN):
        assert text not in caplog.text
        assert text not in repr([entry.__dict__ for entry in caplog.records])


async def test_what_no_file_maps_is_seen_nowhere(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    books.rows = [
        record(score=987654, phone="13900009876", religion="所信何教", fingerprint={"hand": "指纹甲乙"})
    ]
    files.put("books", books.url)
    caplog.set_level(logging.DEBUG)
    async with gateway_over(sandbox, tmp_path, files) as running:
        response = await running.sections()
        figures = await running.figures()
        assert facts(response["penalties"]) == ["first"]
    everything = str(response) + figures + caplog.text + repr([entry.__dict__ for entry in caplog.records])
    for text in ("987654", "13900009876", "所信何教", "指纹甲乙"):
        assert text not in everything
    assert "指纹甲乙".encode() not in (tmp_path / "ledger.sqlite").read_bytes()


VALUES = """
[values]
dates = ["%Y/%m/%d"]
null = ["\\\\N", "无"]
never_ends = ["9999/09/09"]
"""


async def test_the_words_of_a_source_become_ours(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    books.rows = [record(day="2026/01/02", until="9999/09/09", facts="\\N", doc="无", fine="1.5", kind="01")]
    table = PENALTY.replace('kind = "kind"', 'kind = { from = "kind", table = { 01 = "警告" } }').replace(
        'fine = "fine"', 'fine = { from = "fine", unit = "万元" }'
    )
    files.put("books", books.url, tables=VALUES, fields=table)
    async with gateway_over(sandbox, tmp_path, files) as running:
        [node] = (await running.penalties())["records"]["nodes"]
    assert float(node.pop("fine")) == 15_000
    assert node == {
        "recordId": "R-1",
        "facts": None,
        "documentNumber": None,
        "decidedOn": "2026-01-02",
        "publicUntil": None,
        "kind": "警告",
    }


async def test_a_record_whose_time_is_over_looks_absent_whatever_the_source_says(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    books.rows = [
        record(day="2015-01-02"),
        record(id="R-2", doc="D-2", repaired="2026-02-01"),
        record(id="R-3", doc="D-3", withdrawn="2026-02-01"),
    ]
    fields = f'{PENALTY}, repaired_on = {{ from = "repaired", optional = true }}, withdrawn_on = {{ from = "withdrawn", optional = true }}'
    files.put("books", books.url, fields=fields)
    async with gateway_over(sandbox, tmp_path, files) as running:
        penalties = await running.penalties()
    assert (penalties["state"], facts(penalties), penalties["complete"]) == ("NONE", [], True)


async def test_gbk_is_read(sandbox: Sandbox, tmp_path: Path, files: SourceFiles) -> None:
    async def gbk(_server: Any, writer: asyncio.StreamWriter) -> None:
        body = ('{"data": [{"id": "R-1", "key": "%s", "facts": "违法事实"}]}' % CLEAN).encode("gbk")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async with running(gbk) as server:
        files.put("licences", f"http://127.0.0.1:{server.port}", "LICENCE", fields=LICENCE)
        text = files.read("licences").replace("[envelope]", '[envelope]\ncharset = "GBK"')
        files.write("licences", text)
        (files.path / "neighbour.toml").unlink()
        async with gateway_over(sandbox, tmp_path, files) as app:
            licences = (await app.sections())["licences"]
    assert [node["content"] for node in licences["records"]["nodes"]] == ["违法事实"]


async def test_a_section_without_source_says_so(sandbox: Sandbox, tmp_path: Path, files: SourceFiles) -> None:
    async with gateway_over(sandbox, tmp_path, files) as app:
        penalties = await app.penalties()
    assert (penalties["state"], penalties["reason"]["code"]) == ("UNKNOWN", "UNKNOWN_NO_SOURCE")


NO_NUMBERS = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
  subject(id: $id) { ... on OperatingSubject { penalties { state records { nodes { facts } } } } } } }"""


async def test_which_records_are_the_same_does_not_depend_on_what_is_asked(
    sandbox: Sandbox, tmp_path: Path, files: SourceFiles, books: Books
) -> None:
    fields = f'{PENALTY}, repaired_on = {{ from = "repaired", optional = true }}'
    far = [record(id="R-8", facts="far"), record(id="R-9", doc="D-9", facts="far, and repaired elsewhere")]
    async with Books(far).listening() as province:
        books.rows = [record(facts="near"), record(id="R-2", doc="D-9", repaired="2026-03-01")]
        files.put("province", province.url, top="precedence = 40", fields=fields)
        files.put("county", books.url, top="precedence = 20", fields=fields)
        async with gateway_over(sandbox, tmp_path, files) as app:
            body = await app.client.ask(BUREAU, NO_NUMBERS, {"id": {"creditCode": CLEAN}})
    section = body["data"]["inquiry"]["subject"]["penalties"]
    assert (section["state"], facts(section)) == ("HAS", ["near"])
