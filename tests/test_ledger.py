import asyncio
import fcntl
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import apsw
import pytest
from recording_vfs import RecordingVfs, ahead_of_sync

import gateway.ledger
from gateway.ledger import (
    WAITING_LIMIT,
    LedgerFailure,
    Position,
    SqliteLedger,
    Verification,
    keyed_hash,
    load_or_create_key,
    read_rows,
    verify,
)

KEY = bytes(range(32))
OTHER_KEY = bytes(32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def layer() -> Iterator[RecordingVfs]:
    layer = RecordingVfs("ledger", row="row-[0-9]+;")
    yield layer
    layer.unregister()


@asynccontextmanager
async def opened(path: Path, layer: RecordingVfs | None = None) -> AsyncIterator[SqliteLedger]:
    ledger = SqliteLedger.open(path, KEY, vfs=layer.name if layer else None)
    try:
        yield ledger
    finally:
        await ledger.aclose()


async def filled(path: Path, rows: int = 8) -> list[Position]:
    async with opened(path) as ledger:
        return [await ledger.append(b"row-%d;" % number) for number in range(1, rows + 1)]


@pytest.mark.parametrize(
    ("seconds", "rows", "gathered"),
    [(60.0, 64, [9]), (60.0, 3, [3, 3, 3]), (0.0, 64, [1] * 9)],
    ids=["while they follow each other", "not too many", "not for long"],
)
async def test_appends_of_turns_that_follow_each_other_are_written_together(
    path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, rows: int, gathered: list[int]
) -> None:
    monkeypatch.setattr(gateway.ledger, "GATHER_SECONDS", seconds)
    monkeypatch.setattr(gateway.ledger, "GATHER_ROWS", rows)
    async with opened(path) as ledger:
        handed_over, hand_over = list[int](), ledger._hand_over

        def recorded() -> None:
            handed_over.append(len(ledger._gathered))
            hand_over()

        monkeypatch.setattr(ledger, "_hand_over", recorded)
        appends = []
        for number in range(9):
            appends.append(asyncio.ensure_future(ledger.append(b"row-%d;" % number)))
            await asyncio.sleep(0)
        places = await asyncio.gather(*appends)
        monkeypatch.undo()
    assert handed_over == gathered
    assert [place.position for place in places] == list(range(1, 10))
    assert verify(path, KEY).rows == 9


def edit(path: Path, *statements: str) -> None:
    """Change the file as somebody with write access would: guards first, then the rows."""
    database = apsw.Connection(str(path))
    triggers = database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:
        database.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        database.execute(statement)
    database.close()


@contextmanager
def writer_blocked(path: Path) -> Iterator[None]:
    """Hold the write lock of the file, so that appends pile up behind it."""
    database = apsw.Connection(str(path))
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        database.execute("ROLLBACK")
        database.close()


async def test_rows_come_back_in_order_and_the_chain_holds(path: Path) -> None:
    positions = await filled(path, 3)

    assert [place.position for place in positions] == [1, 2, 3]
    assert list(read_rows(path)) == [(1, b"row-1;"), (2, b"row-2;"), (3, b"row-3;")]
    assert list(read_rows(path, after=2)) == [(3, b"row-3;")]
    assert verify(path, KEY) == Verification(rows=3, finding=None)
    assert verify(path, KEY).ok


async def test_the_hash_is_the_documented_one(path: Path) -> None:
    from hashlib import sha256

    start = sha256(b"credit-gateway ledger 1\n" + bytes(32)).digest()
    first = sha256(start + (1).to_bytes(8, "big") + b"row-1;").digest()
    second = sha256(first + (2).to_bytes(8, "big") + b"row-2;").hexdigest()

    assert await filled(path, 2) == [Position(1, first.hex()), Position(2, second)]


async def test_reopening_continues_the_chain(path: Path) -> None:
    last = (await filled(path, 3))[-1]
    async with opened(path) as ledger:
        assert ledger.head() == last
        assert (await ledger.append(b"")).position == 4
        assert ledger.head().position == 4
    assert verify(path, KEY) == Verification(rows=4, finding=None)


async def test_an_empty_ledger_verifies(path: Path) -> None:
    async with opened(path) as ledger:
        assert ledger.head().position == 0
        assert verify(path, KEY) == Verification(rows=0, finding=None)


def test_the_file_is_its_owners_alone(path: Path) -> None:
    asyncio.run(filled(path, 1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("statements", "rows", "finding"),
    [
        (["UPDATE inquiry SET body = X'00' WHERE position = 4"], 3, "row 4 was changed"),
        (["UPDATE inquiry SET hash = zeroblob(32) WHERE position = 4"], 3, "row 4 was changed"),
        (["UPDATE inquiry SET body = X'00' WHERE position = 8"], 7, "row 8 was changed"),
        (["DELETE FROM inquiry WHERE position = 1"], 0, "row 1 is missing"),
        (["DELETE FROM inquiry WHERE position = 4"], 3, "row 4 is missing"),
        (["DELETE FROM inquiry WHERE position IN (4, 5)"], 3, "rows 4 to 5 are missing"),
        (["DELETE FROM inquiry WHERE position = 8"], 7, "row 8 is missing: the head stands at row 8"),
        (["DELETE FROM inquiry"], 0, "rows 1 to 8 are missing: the head stands at row 8"),
        (["INSERT INTO inquiry VALUES (0, X'00', zeroblob(32))"], 0, "row 0 does not belong"),
        (["UPDATE inquiry SET position = -position"], 0, "row -8 does not belong"),
        (
            [
                "UPDATE inquiry SET position = -3 WHERE position = 3",
                "UPDATE inquiry SET position = 3 WHERE position = 6",
                "UPDATE inquiry SET position = 6 WHERE position = -3",
            ],
            2,
            "row 3 is out of order: it holds what belongs at position 6",
        ),
        (
            [
                "UPDATE inquiry SET position = -3 WHERE position = 3",
                "UPDATE inquiry SET position = 3 WHERE position = 4",
                "UPDATE inquiry SET position = 4 WHERE position = -3",
            ],
            2,
            "row 3 is out of order: it holds what belongs at position 4",
        ),
        (
            ["UPDATE inquiry SET body = (SELECT body FROM inquiry WHERE position = 7) WHERE position = 2"],
            1,
            "row 2 is out of order: it holds what belongs at position 7",
        ),
        (["UPDATE head SET position = 7"], 8, "the head does not match: it stands at row 7"),
        (["UPDATE head SET position = 9"], 8, "row 9 is missing: the head stands at row 9"),
        (["UPDATE head SET hash = zeroblob(32)"], 8, "the head does not match: it holds another hash"),
        (
            ["UPDATE head SET mac = zeroblob(32)"],
            8,
            "the head does not match: it was not sealed with this key",
        ),
        (["DELETE FROM head"], 8, "the head is missing"),
        (
            [
                "CREATE TABLE loose(position, hash, mac)",
                "INSERT INTO loose VALUES ('x', NULL, 1)",
                "DROP TABLE head",
                "ALTER TABLE loose RENAME TO head",
            ],
            8,
            "the head is missing",
        ),
        (
            [
                "CREATE TABLE loose(position, body, hash)",
                "INSERT INTO loose SELECT position, iif(position = 5, NULL, body), hash FROM inquiry",
                "DROP TABLE inquiry",
                "ALTER TABLE loose RENAME TO inquiry",
            ],
            4,
            "row 5 was changed",
        ),
    ],
)
async def test_verify_finds_what_was_done_to_the_file(
    path: Path, statements: list[str], rows: int, finding: str
) -> None:
    await filled(path)
    edit(path, *statements)

    found = verify(path, KEY)

    assert not found.ok
    assert found.rows == rows
    assert found.finding is not None
    assert found.finding.startswith(finding)


async def test_dropping_the_guards_alone_is_no_finding(path: Path) -> None:
    await filled(path)
    edit(path)
    assert verify(path, KEY).ok


CUT_TAIL_AND_HEAD = (
    "DELETE FROM inquiry WHERE position > 6",
    "UPDATE head SET (position, hash) = (SELECT position, hash FROM inquiry WHERE position = 6)",
)


async def test_a_tail_cut_together_with_the_head_is_found_by_key_or_receipt(path: Path) -> None:
    cut = (await filled(path))[-1]
    edit(path, *CUT_TAIL_AND_HEAD)

    assert verify(path, KEY) == Verification(6, "the head does not match: it was not sealed with this key")
    assert verify(path, None).ok
    assert verify(path, None, receipt=(cut.position, cut.hash)) == Verification(
        6, "row 8 of the receipt is missing"
    )


async def test_a_receipt_is_held_against_its_row(path: Path) -> None:
    positions = await filled(path)
    for place in positions:
        assert verify(path, KEY, receipt=(place.position, place.hash)).ok

    assert verify(path, KEY, receipt=(3, positions[3].hash)) == Verification(
        2, "row 3 is not the one the receipt was given for"
    )


@pytest.mark.parametrize(
    ("receipt", "reason"),
    [((0, "0" * 64), "position"), ((1, "0" * 63), "hash"), ((1, "A" * 64), "hash"), ((1, "g" * 64), "hash")],
)
async def test_what_cannot_be_a_receipt_is_refused(path: Path, receipt: tuple[int, str], reason: str) -> None:
    await filled(path, 1)
    with pytest.raises(ValueError, match=f"receipt: {reason} must be"):
        verify(path, KEY, receipt=receipt)


async def test_verify_needs_the_same_key(path: Path) -> None:
    await filled(path)
    assert verify(path, OTHER_KEY).finding == "the head does not match: it was not sealed with this key"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE inquiry SET body = X'00' WHERE position = 2",
        "DELETE FROM inquiry WHERE position = 8",
        "INSERT INTO inquiry VALUES (10, X'00', X'00')",
        "INSERT OR REPLACE INTO inquiry VALUES (8, X'00', X'00')",
        "UPDATE head SET position = 7",
        "INSERT OR REPLACE INTO head VALUES (1, 0, X'00', X'00')",
        "DELETE FROM head",
    ],
)
async def test_the_tables_refuse_everything_but_appending(path: Path, statement: str) -> None:
    await filled(path)
    database = apsw.Connection(str(path))
    with pytest.raises(apsw.ConstraintError):
        database.execute(statement)
    database.close()
    assert verify(path, KEY).ok


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (CUT_TAIL_AND_HEAD, "not sealed with this key"),
        (["DELETE FROM inquiry WHERE position = 8"], "row 8 is missing"),
        (["UPDATE inquiry SET hash = zeroblob(32) WHERE position = 8"], "holds another hash"),
        (["DELETE FROM head"], "the head is missing"),
        (["PRAGMA user_version = 2"], "no ledger of format 1"),
    ],
)
async def test_a_tampered_end_is_never_built_upon(path: Path, statements: list[str], reason: str) -> None:
    await filled(path)
    edit(path, *statements)
    with pytest.raises(LedgerFailure, match=reason):
        SqliteLedger.open(path, KEY)


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["DELETE FROM inquiry WHERE position > 1"], "row 2 is missing"),
        (["UPDATE head SET mac = zeroblob(32)"], "not sealed with this key"),
    ],
)
async def test_tampering_under_a_running_ledger_stops_it(
    path: Path, statements: list[str], reason: str
) -> None:
    async with opened(path) as ledger:
        await ledger.append(b"row-1;")
        await ledger.append(b"row-2;")
        edit(path, *statements)
        with pytest.raises(LedgerFailure, match=reason):
            await ledger.append(b"row-3;")
        assert not ledger.healthy
        with writer_blocked(path):
            pass  # the failed transaction left no lock behind


async def test_an_older_end_put_back_under_a_running_ledger_stops_it(path: Path) -> None:
    async with opened(path) as ledger:
        await ledger.append(b"row-1;")
        database = apsw.Connection(str(path))
        mac = database.execute("SELECT hex(mac) FROM head").get
        await ledger.append(b"row-2;")
        edit(
            path,
            "DELETE FROM inquiry WHERE position = 2",
            "UPDATE head SET (position, hash) = (SELECT position, hash FROM inquiry)",
            f"UPDATE head SET mac = X'{mac}'",
        )
        database.close()
        assert verify(path, KEY).ok  # the older end was sealed with the key
        with pytest.raises(LedgerFailure, match="went back from row 2 to row 1"):
            await ledger.append(b"row-3;")


async def test_concurrent_appends_share_a_transaction_and_a_sync(path: Path, layer: RecordingVfs) -> None:
    async with opened(path, layer) as ledger:
        await ledger.append(b"row-0;")
        layer.events.clear()
        with writer_blocked(path):
            appends = [asyncio.ensure_future(ledger.append(b"row-%d;" % number)) for number in range(1, 201)]
            await asyncio.sleep(0)
        positions = await asyncio.gather(*appends)
        events = list(layer.events)

    assert [place.position for place in positions] == list(range(2, 202))
    # All were waiting when the lock was let go; the writer may have taken the first few alone.
    assert 1 <= events.count(("sync", "wal")) <= 2
    assert verify(path, KEY).rows == 201


async def test_it_counts_rows_transactions_and_failures(path: Path, layer: RecordingVfs) -> None:
    async with opened(path, layer) as ledger:
        await asyncio.gather(*(ledger.append(b"row-%d;" % number) for number in range(5)))
        await ledger.append(b"row-6;")
        assert (ledger.rows, ledger.batches, ledger.failures) == (6, 2, 0)
        layer.write_error = apsw.FullError("disk full")
        with pytest.raises(LedgerFailure):
            await ledger.append(b"row-7;")
        layer.write_error = None
        assert (ledger.rows, ledger.batches, ledger.failures) == (6, 2, 1)


async def test_a_lone_append_does_not_wait_for_company(path: Path, layer: RecordingVfs) -> None:
    async with opened(path, layer) as ledger:
        for number in range(3):
            await ledger.append(b"row-%d;" % number)
        syncs_before = layer.events.count(("sync", "wal"))
        await ledger.append(b"row-9;")
        assert layer.events.count(("sync", "wal")) == syncs_before + 1


async def append_and_record(ledger: SqliteLedger, layer: RecordingVfs, rows: int) -> None:
    async def one(number: int) -> None:
        row = f"row-{number};"
        await ledger.append(row.encode() + bytes(number % 7 * 900))
        layer.record(("answered", row))

    await asyncio.gather(*(one(number) for number in range(rows)))


async def test_a_row_is_synced_before_its_append_returns(path: Path, layer: RecordingVfs) -> None:
    async with opened(path, layer) as ledger:
        for _ in range(5):
            await append_and_record(ledger, layer, 1)
        layer.events.clear()
        await append_and_record(ledger, layer, 300)
        events = list(layer.events)

    assert sum(event[0] == "answered" for event in events) == 300
    assert ahead_of_sync(events, "answered") == []


async def test_the_recording_layer_notices_a_missing_sync(path: Path, layer: RecordingVfs) -> None:
    async with opened(path, layer) as ledger:
        await append_and_record(ledger, layer, 1)
        layer.events.clear()
        layer.swallows_syncs = True
        await append_and_record(ledger, layer, 20)
        events = list(layer.events)

    assert sorted(ahead_of_sync(events, "answered")) == sorted(f"row-{number};" for number in range(20))


def test_an_answer_between_write_and_sync_is_ahead() -> None:
    write, sync = ("write", "wal", "row-1;"), ("sync", "wal")
    assert ahead_of_sync([write, ("answered", "row-1;"), sync], "answered") == ["row-1;"]
    assert ahead_of_sync([sync, write, ("answered", "row-1;")], "answered") == ["row-1;"]
    assert ahead_of_sync([write, ("sync", "db"), ("answered", "row-1;")], "answered") == ["row-1;"]
    assert ahead_of_sync([write, sync, ("answered", "row-1;")], "answered") == []


@pytest.mark.parametrize(
    "error", [apsw.FullError("disk full"), apsw.IOError("broken"), apsw.ReadOnlyError("ro")]
)
async def test_a_failed_write_fails_its_whole_batch_and_heals(
    path: Path, layer: RecordingVfs, error: apsw.Error
) -> None:
    body = b"91990000MA0000000X"
    async with opened(path, layer) as ledger:
        await ledger.append(b"row-1;")
        layer.write_error = error
        failures = await asyncio.gather(*(ledger.append(body) for _ in range(50)), return_exceptions=True)
        assert not ledger.healthy
        assert all(isinstance(failure, LedgerFailure) for failure in failures)
        assert all(body.decode() not in str(failure) for failure in failures)
        assert [type(error).__name__ in str(failure) for failure in failures] == [True] * 50
        assert list(read_rows(path)) == [(1, b"row-1;")]

        layer.write_error = None
        assert (await ledger.append(b"row-2;")).position == 2
        assert ledger.healthy
    assert verify(path, KEY) == Verification(rows=2, finding=None)


async def test_closing_with_a_broken_disk_still_ends(path: Path, layer: RecordingVfs) -> None:
    async with opened(path, layer) as ledger:
        await ledger.append(b"row-1;")
        layer.write_error = apsw.FullError("disk full")
    layer.write_error = None
    assert verify(path, KEY).rows == 1


async def test_a_file_that_may_not_be_written_cannot_be_opened(path: Path, layer: RecordingVfs) -> None:
    await filled(path)
    layer.read_only = True
    with pytest.raises(
        LedgerFailure, match=f"^the ledger {re.escape(str(path))} cannot be opened: its file is read-only$"
    ):
        SqliteLedger.open(path, KEY, vfs=layer.name)


async def test_a_closed_ledger_refuses(path: Path) -> None:
    ledger = SqliteLedger.open(path, KEY)
    assert ledger.healthy
    await ledger.aclose()
    await ledger.aclose()
    assert not ledger.healthy
    with pytest.raises(LedgerFailure, match="is closed"):
        await ledger.append(b"row-1;")


async def test_closing_finishes_what_waits(path: Path) -> None:
    ledger = SqliteLedger.open(path, KEY)
    with writer_blocked(path):
        appends = [asyncio.ensure_future(ledger.append(b"row")) for _ in range(20)]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(ledger.aclose())
        await asyncio.sleep(0)
    assert [place.position for place in await asyncio.gather(*appends)] == list(range(1, 21))
    await closing
    assert verify(path, KEY).rows == 20


def _delete(path: Path) -> None:
    path.unlink()


def _replace(path: Path) -> None:
    path.rename(path.with_suffix(".old"))
    path.touch()


@pytest.mark.parametrize("remove", [_delete, _replace])
async def test_a_file_taken_away_is_a_failure(path: Path, remove: Callable[[Path], None]) -> None:
    async with opened(path) as ledger:
        await ledger.append(b"row-1;")
        remove(path)
        with pytest.raises(LedgerFailure, match=r"No such file|was replaced"):
            await ledger.append(b"row-2;")
        assert not ledger.healthy


async def test_too_many_waiting_appends_are_refused(path: Path) -> None:
    async with opened(path) as ledger:
        with writer_blocked(path):
            appends = [asyncio.ensure_future(ledger.append(b"row")) for _ in range(WAITING_LIMIT)]
            await asyncio.sleep(0)
            with pytest.raises(LedgerFailure, match=f"{WAITING_LIMIT} appends wait"):
                await ledger.append(b"one more")
        await asyncio.gather(*appends)
        assert (await ledger.append(b"later")).position == WAITING_LIMIT + 1


async def test_a_lock_held_too_long_by_another_fails_the_append(path: Path) -> None:
    async with opened(path) as ledger:
        with writer_blocked(path), pytest.raises(LedgerFailure, match="cannot write: BusyError"):
            await ledger.append(b"row-1;")
        assert (await ledger.append(b"row-2;")).position == 1
        assert ledger.healthy


async def test_a_cancelled_caller_does_not_break_its_batch(path: Path) -> None:
    async with opened(path) as ledger:
        with writer_blocked(path):
            appends = [asyncio.ensure_future(ledger.append(b"row-%d;" % number)) for number in range(1, 6)]
            await asyncio.sleep(0)
            appends[2].cancel()
            await asyncio.sleep(0)
        places = await asyncio.gather(*appends, return_exceptions=True)
        assert isinstance(places[2], asyncio.CancelledError)
        rows = dict(read_rows(path))
        for number in (1, 2, 4, 5):
            place = places[number - 1]
            assert isinstance(place, Position)
            assert rows[place.position] == b"row-%d;" % number
        await ledger.append(b"row-6;")
    assert verify(path, KEY).ok


async def test_a_ledger_serves_one_loop(path: Path) -> None:
    def elsewhere(append: Callable[[bytes], Awaitable[Position]]) -> None:
        async def call() -> None:
            with pytest.raises(RuntimeError, match="another event loop"):
                await append(b"row-2;")

        asyncio.run(call())

    async with opened(path) as ledger:
        await ledger.append(b"row-1;")
        await asyncio.to_thread(elsewhere, ledger.append)


async def test_verify_works_beside_a_running_ledger(path: Path) -> None:
    stop = threading.Event()

    async def keep_appending(ledger: SqliteLedger) -> int:
        count = 0
        while not stop.is_set():
            await asyncio.gather(*(ledger.append(b"row") for _ in range(8)))
            count += 8
        return count

    async with opened(path) as ledger:
        appending = asyncio.ensure_future(keep_appending(ledger))
        found = [await asyncio.to_thread(verify, path, KEY) for _ in range(10)]
        stop.set()
        written = await appending
        assert all(verification.ok for verification in found)
        assert [verification.rows for verification in found] == sorted(v.rows for v in found)
        assert verify(path, KEY) == Verification(rows=written, finding=None)


PRINTING_APPENDER = """
import asyncio, itertools, sys
from pathlib import Path
from gateway.ledger import SqliteLedger

async def main(path, appends):
    ledger = SqliteLedger.open(path, bytes(range(32)))
    print("open", flush=True)
    sys.stdin.readline()
    left = iter(range(appends)) if appends else itertools.count()

    async def one_after_another():
        for number in left:
            place = await ledger.append(b"row-%d" % number)
            print(place.position, place.hash, flush=True)

    await asyncio.gather(*(one_after_another() for _ in range(8)))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def start_appender(path: Path, appends: int) -> subprocess.Popen[str]:
    """A process that opens the ledger, says so, and once it is told appends (0: without end).

    It prints each place when it is durable, and never closes its ledger.
    """
    command = [sys.executable, "-c", PRINTING_APPENDER, str(path), str(appends)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def let_append(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def wait_until_open(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"


def printed_places(output: str) -> list[tuple[int, str]]:
    whole_lines = output[: output.rfind("\n") + 1].splitlines()
    return [(int(position), digest) for position, digest in (line.split() for line in whole_lines)]


def test_kill_9_loses_no_finished_append(path: Path) -> None:
    with start_appender(path, 0) as process:
        wait_until_open(process)
        let_append(process)
        assert process.stdout is not None
        output = "".join(process.stdout.readline() for _ in range(300))
        process.send_signal(signal.SIGKILL)
        output += process.stdout.read()
    assert process.returncode == -signal.SIGKILL

    places = printed_places(output)
    assert len(places) >= 300
    found = verify(path, KEY, receipt=max(places))
    assert found.ok, found.finding
    assert found.rows >= max(places)[0]
    database = apsw.Connection(str(path))
    hashes = {
        position: digest.hex() for position, digest in database.execute("SELECT position, hash FROM inquiry")
    }
    database.close()
    assert all(hashes[position] == digest for position, digest in places)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_create_and_extend_one_chain(path: Path, processes: int) -> None:
    appenders = [start_appender(path, 400) for _ in range(processes)]
    for appender in appenders:
        wait_until_open(appender)
    for appender in appenders:
        let_append(appender)
    outputs = [appender.communicate()[0] for appender in appenders]

    assert [appender.returncode for appender in appenders] == [0] * processes
    places = [place for output in outputs for place in printed_places(output)]
    rows = 400 * processes
    assert sorted(position for position, _ in places) == list(range(1, rows + 1))
    assert verify(path, KEY, receipt=max(places)) == Verification(rows=rows, finding=None)


async def test_opening_waits_while_another_process_creates(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        opening = asyncio.ensure_future(asyncio.to_thread(SqliteLedger.open, path, KEY))
        await asyncio.wait([opening], timeout=0.5)
        assert not opening.done()
    finally:
        os.close(descriptor)
    await (await opening).aclose()


@pytest.mark.parametrize("read", [lambda path: verify(path, KEY), lambda path: list(read_rows(path))])
def test_what_is_no_ledger_cannot_be_read(path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(LedgerFailure, match="cannot be read: CantOpenError"):
        read(path)
    assert not path.exists()
    path.write_bytes(b"not a database at all, but long enough to be looked at " * 20)
    with pytest.raises(LedgerFailure, match="cannot be read: NotADBError"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(LedgerFailure, match="no ledger of format 1"):
        read(path)


def test_what_is_no_ledger_cannot_be_opened(path: Path) -> None:
    with pytest.raises(LedgerFailure, match="cannot be opened: No such file or directory"):
        SqliteLedger.open(path / "deeper", KEY)
    with pytest.raises(LedgerFailure, match="key is 31 bytes long"):
        SqliteLedger.open(path, KEY[:31])
    database = apsw.Connection(str(path))
    database.execute("CREATE TABLE something(else_)")
    database.close()
    with pytest.raises(LedgerFailure, match="no ledger of format 1"):
        SqliteLedger.open(path, KEY)


def test_keyed_hashes_of_identifiers() -> None:
    first = keyed_hash(KEY, "91990000MA0000000X")

    assert re.fullmatch("[0-9a-f]{64}", first)
    assert keyed_hash(KEY, "91990000MA0000000X") == first
    assert keyed_hash(KEY, "91990000MA0000001X") != first
    assert keyed_hash(OTHER_KEY, "91990000MA0000000X") != first
    assert keyed_hash(KEY, "张三") != keyed_hash(KEY, "张叁")
    with pytest.raises(ValueError, match="identifier: is empty"):
        keyed_hash(KEY, "")


def test_the_key_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(load_or_create_key, [path] * 16))

    assert len(keys) == 1
    assert keys == {path.read_bytes()}
    assert [len(key) for key in keys] == [32]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert load_or_create_key(tmp_path / "other.key") not in keys


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620, 0o601])
def test_a_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ledger.key"
    load_or_create_key(path)
    path.chmod(mode)
    with pytest.raises(LedgerFailure, match=rf"open to others \(mode {mode:04o}\)"):
        load_or_create_key(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is 0 bytes long"), (b"k" * 31, "is 31 bytes long"), (b"k" * 33, "is longer")],
)
def test_a_key_of_another_length_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "ledger.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(LedgerFailure, match=f"{reason}, it must be 32 bytes"):
        load_or_create_key(path)


def test_a_key_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerFailure, match="cannot be read or created: Is a directory"):
        load_or_create_key(tmp_path)
    with pytest.raises(LedgerFailure, match="cannot be read or created: No such file or directory"):
        load_or_create_key(tmp_path / "absent" / "ledger.key")
