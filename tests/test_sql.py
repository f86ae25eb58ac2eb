"""Sources that are a view of a database: SQLite and PostgreSQL, read only, bounded, with bound parameters alone."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
from postgres_server import PASSWORD, postgres_server

from connectors.answers import SourceAnswer
from connectors.fetch import Ask, Ground, SourceFileError, Sources
from policies.catalogue import Penalty
from policies.identifiers import SubjectKey
from policies.vocabulary import SubjectKind

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
CODES = ("91990100FAKE00013D", "93990105FAKE0003X2", "92990105FAKE00021D")
EVERYTHING = (1 << 64) - 1

FILE = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "COURT"
kind = "INDUSTRY"
timeout_seconds = 1.0
concurrency = 3

[secrets]
address = { env = "DEMO_DATABASE", next = { env = "DEMO_DATABASE_NEXT" } }

[database]
url = "address"
most_rows = 4

[[lookup]]
category = "PENALTY"
kinds = ["ORG"]
keys = ["credit_code"]
batch = 20
subject = "uscc"
sql = '''
SELECT uscc, no, fine, decided, facts, degree FROM penalties WHERE uscc IN (:subjects) ORDER BY no
'''

[lookup.fields]
record_id = "no"
fine = "fine"
decided_on = "decided"
facts = "facts"
severity = { from = "degree", table = { 1 = "MINOR", 2 = "GENERAL" } }
"""
TABLE = "CREATE TABLE penalties (uscc TEXT, no TEXT, fine NUMERIC, decided DATE, facts TEXT, degree INTEGER)"
ROWS: list[tuple[Any, ...]] = [
    (CODES[0], "1", "1200.50", "2025-03-04", "走私", 1),
    (CODES[0], "2", None, None, "'; DROP TABLE penalties; --", 2),
    (CODES[1], "3", "7", "2024-01-01", None, 1),
]


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "view.sqlite") as database:
        database.execute(TABLE)
        database.executemany("INSERT INTO penalties VALUES (?, ?, ?, ?, ?, ?)", ROWS)
    database.close()
    return f"sqlite:///{tmp_path}/view.sqlite"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as address:
        yield address


@pytest_asyncio.fixture(scope="module")
async def postgresql(server: str) -> str:
    connection = await asyncpg.connect(server)
    await connection.execute(TABLE)
    await connection.executemany(
        "INSERT INTO penalties VALUES ($1, $2, $3, $4, $5, $6)",
        [
            (
                code,
                no,
                Decimal(fine) if fine else None,
                date.fromisoformat(day) if day else None,
                facts,
                degree,
            )
            for code, no, fine, day, facts, degree in ROWS
        ],
    )
    await connection.close()
    return server


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


def open_sources(directory: Path, text: str, address: str, **more: str) -> Sources:
    (directory / "demo.toml").write_text(text, encoding="utf-8")
    return Sources.load(directory, secrets={"DEMO_DATABASE": address, **more}, clock=lambda: NOW)


def ask(code: str, ground: Ground = Ground("CASE")) -> Ask:  # noqa: B008  # a frozen value
    kind = SubjectKind.IND if code.startswith("92") else SubjectKind.ORG
    return Ask(SubjectKey(kind, "credit_code", code), "PENALTY", EVERYTHING, ground, may_cache=False)


async def answers(sources: Sources, *asks: Ask) -> list[SourceAnswer]:
    try:
        return [answer for [answer] in await sources.fetch(asks, deadline=30)]
    finally:
        await sources.aclose()


def code(answer: SourceAnswer) -> str | None:
    return answer.fault.code.value if answer.fault else None


async def test_rows_are_records_of_whoever_they_are(tmp_path: Path, address: str) -> None:
    first, second, none = await answers(
        open_sources(tmp_path, FILE, address), ask(CODES[0]), ask(CODES[1]), ask("91990105FAKE00128U")
    )
    assert [code(answer) for answer in (first, second, none)] == [None, None, None]
    one, two = first.records
    assert isinstance(one, Penalty)
    assert isinstance(two, Penalty)
    assert (one.record_id, one.fine, one.decided_on, one.facts, one.severity) == (
        "1", Decimal("1200.50"), date(2025, 3, 4), "走私", "MINOR",
    )  # fmt: skip
    assert (two.fine, two.decided_on, two.facts) == (None, None, "'; DROP TABLE penalties; --")
    assert [record.record_id for record in second.records] == ["3"]
    assert (none.records, none.as_of) == ((), NOW)


async def test_a_subject_and_a_ground_are_bound_never_spliced(tmp_path: Path, address: str) -> None:
    text = FILE.replace("IN (:subjects)", "= :subject AND facts = :matter").replace("batch = 20\n", "")
    for matter, expected in (("走私", ["1"]), ("'; DROP TABLE penalties; --", ["2"]), ("x' OR 'a' = 'a", [])):
        [found] = await answers(open_sources(tmp_path, text, address), ask(CODES[0], Ground("CASE", matter)))
        assert [record.record_id for record in found.records] == expected


async def test_many_subjects_are_one_statement(
    tmp_path: Path, sqlite: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sqlalchemy.engine")
    found = await answers(open_sources(tmp_path, FILE, sqlite), *(ask(text) for text in CODES[:2]))
    assert [len(answer.records) for answer in found] == [2, 1]
    assert len([record for record in caplog.records if "SELECT uscc" in record.getMessage()]) == 1
    assert "FAKE" not in caplog.text


async def test_too_many_rows_are_garbage(tmp_path: Path, address: str) -> None:
    text = FILE.replace("most_rows = 4", "most_rows = 1")
    found = await answers(open_sources(tmp_path, text, address), ask(CODES[0]))
    assert [code(answer) for answer in found] == ["GARBAGE"]


async def test_a_row_of_another_subject_is_no_answer(tmp_path: Path, address: str) -> None:
    text = FILE.replace("uscc IN (:subjects)", "uscc IN (:subjects) OR no = '3'")
    assert [
        code(answer) for answer in await answers(open_sources(tmp_path, text, address), ask(CODES[0]))
    ] == ["WRONG_SUBJECT"]


WRITING = {
    "sqlite": "WITH a AS (SELECT 1) DELETE FROM penalties WHERE uscc IN (:subjects) RETURNING uscc, no",
    "postgresql": "WITH a AS (DELETE FROM penalties WHERE uscc IN (:subjects) RETURNING *) SELECT * FROM a",
}


async def test_nothing_can_be_written(tmp_path: Path, address: str) -> None:
    kind = address.partition(":")[0]
    before = FILE.index("sql = '''")
    text = FILE[:before] + f'sql = "{WRITING[kind]}"\n' + FILE[FILE.index("[lookup.fields]") :]
    [found] = await answers(open_sources(tmp_path, text, address), ask(CODES[0]))
    assert code(found) == "ERROR"
    [still] = await answers(open_sources(tmp_path, FILE, address), ask(CODES[0]))
    assert len(still.records) == 2


SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS no FROM n WHERE i < 0 AND i NOT IN (:subjects)",
    "postgresql": "SELECT pg_sleep(60)::text AS no, 'x' AS uscc WHERE 'x' NOT IN (:subjects)",
}


async def test_a_slow_statement_ends_and_its_connection_serves_again(tmp_path: Path, address: str) -> None:
    kind = address.partition(":")[0]
    before = FILE.index("sql = '''")
    slow = FILE[:before] + f'sql = "{SLOW[kind]}"\n' + FILE[FILE.index("[lookup.fields]") :]
    second = FILE[FILE.index("[[lookup]]") :].replace('"PENALTY"', '"COMPULSION"')
    second = second[: second.index("[lookup.fields]")] + '[lookup.fields]\nrecord_id = "no"\n'
    text = slow.replace("concurrency = 3", "concurrency = 1").replace("= 1.0", "= 0.3") + second
    sources = open_sources(tmp_path, text, address)
    quick = Ask(ask(CODES[0]).subject, "COMPULSION", 1, Ground("CASE"), may_cache=False)
    [[first]] = await sources.fetch([ask(CODES[0])], deadline=30)
    for _ in range(50):
        [[second_answer]] = await sources.fetch([quick], deadline=30)
        if second_answer.fault is None:
            break
        await asyncio.sleep(0.1)
    await sources.aclose()
    assert code(first) == "TIMEOUT"
    assert len(second_answer.records) == 2


async def test_a_database_that_is_not_there_is_down_and_not_made(tmp_path: Path) -> None:
    sources = open_sources(tmp_path, FILE, f"sqlite:///{tmp_path}/none.sqlite")
    assert await sources.probe() == {"demo": False}
    [found] = await answers(sources, ask(CODES[0]))
    assert code(found) == "DOWN"
    assert not (tmp_path / "none.sqlite").exists()
    [found] = await answers(
        open_sources(tmp_path, FILE, f"postgresql://postgres:{PASSWORD}@127.0.0.1:1/postgres"), ask(CODES[0])
    )
    assert code(found) == "DOWN"


async def test_a_database_that_answers_is_up(tmp_path: Path, address: str) -> None:
    sources = open_sources(tmp_path, FILE, address)
    assert await sources.probe() == {"demo": True}
    await sources.aclose()


async def test_a_refused_password_has_a_successor(tmp_path: Path, postgresql: str) -> None:
    wrong = postgresql.replace(PASSWORD, "sandbox-of-yesterday")
    [refused] = await answers(open_sources(tmp_path, FILE, wrong), ask(CODES[0]))
    assert code(refused) == "REFUSED"
    [found] = await answers(open_sources(tmp_path, FILE, wrong, DEMO_DATABASE_NEXT=postgresql), ask(CODES[0]))
    assert (code(found), len(found.records)) == (None, 2)


async def test_faults_and_logs_hold_neither_address_nor_subject(
    tmp_path: Path, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert len((await answers(open_sources(tmp_path, FILE, address), ask(CODES[0])))[0].records) == 2
    text = FILE.replace("FROM penalties", "FROM no_such_table")
    [found] = await answers(open_sources(tmp_path, text, address), ask(CODES[0]))
    assert found.fault is not None
    assert (found.fault.code, found.fault.detail) == ("ERROR", "the database reports a failure")
    assert "demo" in caplog.text
    for word in ("FAKE", PASSWORD, "no_such_table", "走私"):
        assert word not in caplog.text


MISTAKES = [
    ("SELECT uscc", "DELETE uscc", "lookup[0].sql"),
    ("ORDER BY no", "; SELECT 1", "lookup[0].sql"),
    ("IN (:subjects)", "IN ({subjects.value})", "lookup[0].sql"),
    ("IN (:subjects)", "= 'x'", "lookup[0].sql"),
    ("IN (:subjects)", "= :subject", "lookup[0].sql"),
    ("IN (:subjects)", "IN (:subjects) AND a = :name", "lookup[0].sql"),
    ("batch = 20\n", "", "lookup[0].sql"),
    ("batch = 20", 'batch = 20\npath = "/a"', "lookup[0].path"),
    ("batch = 20", 'batch = 20\nmethod = "GET"', "lookup[0].method"),
    ("batch = 20", "batch = 20\npaging = { size = 5 }", "lookup[0].paging"),
    ("[database]", '[envelope]\n[database]', "envelope.records"),
    ('kind = "INDUSTRY"', 'kind = "INDUSTRY"\nurl = "https://demo.example"', "url"),
    ('url = "address"', 'url = "addresses"', "database.url"),
    ('url = "address"', 'url = "sqlite:////tmp/x"', "database.url"),
    ("most_rows = 4", "most_rows = 0", "database.most_rows"),
    ("[database]\nurl = \"address\"\nmost_rows = 4", 'url = "x"', "secrets.url"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "key"), MISTAKES, ids=[f"{key} {place}" for place, (_, _, key) in enumerate(MISTAKES)]
)
def test_mistakes_of_database_files(tmp_path: Path, sqlite: str, before: str, after: str, key: str) -> None:
    assert before in FILE
    with pytest.raises(SourceFileError) as caught:
        open_sources(tmp_path, FILE.replace(before, after, 1), sqlite)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "text", ["mysql://u:hunter2@db.example/x", "hunter2", "postgresql+psycopg2://u:hunter2@h/d"]
)
def test_an_address_that_cannot_be_used_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceFileError) as caught:
        open_sources(tmp_path, FILE, text)
    assert (caught.value.key, "hunter2" in str(caught.value)) == ("database.url", False)
