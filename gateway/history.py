"""What the ledger holds of the past, found by receipt, by day and by subject.

The ledger itself is only ever read from its beginning. Beside it lies an index, a file that follows from the
ledger alone: whatever the ledger has gained is put into it before each look, and an index that is missing, or of
another ledger, is made anew. It holds receipts, days and keyed hashes, never an identifier.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

MOST_ROWS = 10_000
"""Rows that one look may bring."""

_BATCH = 2000
_BUSY_MILLISECONDS = 2000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry(position INTEGER PRIMARY KEY, receipt TEXT, kind TEXT, day TEXT, hash BLOB) STRICT;
CREATE INDEX IF NOT EXISTS entry_receipt ON entry(receipt);
CREATE INDEX IF NOT EXISTS entry_day ON entry(kind, day);
CREATE TABLE IF NOT EXISTS about(
    subject TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (subject, position)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS applied(
    inquiry TEXT NOT NULL, subject TEXT NOT NULL, measure TEXT NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (inquiry, subject, measure)) STRICT, WITHOUT ROWID;
"""

INQUIRY, APPLICATION = "INQUIRY", "APPLICATION"
"""Kinds of rows: a row of an inquiry names no kind of its own."""
RECORDED = "RECORDED"
"""Outcome of an application that was not refused."""

Body = dict[str, Any]
T = TypeVar("T")


class HistoryFailure(Exception):  # noqa: N818  # as LedgerFailure
    """The ledger or its index cannot be read; the text names the reason and never a row's content."""


class Past(msgspec.Struct, frozen=True):
    """Rows of inquiries, newest first; `complete` is false when there are more than one look may bring.

    `applied` holds the receipts of those on which a measure was recorded, about the subject asked for if there is one.
    """

    rows: tuple[Body, ...]
    complete: bool
    applied: frozenset[str] = frozenset()


def kind_of(body: Body) -> str | None:
    """What a row tells of: INQUIRY, APPLICATION; None for a row that is neither (a probe)."""
    if "receipt" not in body:
        return None
    return str(body.get("kind", INQUIRY))


class History:
    """Reads the ledger at `ledger` by way of the index at `index`; looks follow each other in one thread."""

    def __init__(self, ledger: Path, index: Path, *, most_rows: int = MOST_ROWS) -> None:
        self._ledger_path = ledger
        self._index_path = index
        self._most_rows = most_rows
        # A thread of its own: a long look must not take those that others wait for.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._open: tuple[apsw.Connection, apsw.Connection] | None = None

    async def inquiry(self, receipt: str) -> Body | None:
        """The row of the inquiry with this receipt. Raises HistoryFailure."""
        found = await self._look(lambda ledger, index: _inquiry(ledger, index, receipt))
        return found[0] if found else None

    async def inquiries(self, first: date, last: date, *, subject: str | None = None) -> Past:
        """The inquiries of these days (both included, the province's), or those of them about one subject.

        `subject` is its keyed hash. Raises HistoryFailure.
        """
        days = (first.isoformat(), last.isoformat())
        return await self._look(
            lambda ledger, index: _inquiries(ledger, index, days, subject, self._most_rows)
        )

    async def applied(self, inquiry: str, subject: str, measure: str) -> bool:
        """Whether this measure was already recorded on that inquiry about that subject. Raises HistoryFailure."""
        key = (inquiry, subject, measure)
        return await self._look(lambda _ledger, index: index.execute(_APPLIED, key).fetchone() is not None)

    async def aclose(self) -> None:
        """Close both files."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown(wait=False)

    async def _look(self, look: Callable[[apsw.Connection, apsw.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._looked, look)

    def _looked(self, look: Callable[[apsw.Connection, apsw.Connection], T]) -> T:
        try:
            if self._open is None:
                self._open = _opened(self._ledger_path, self._index_path)
            ledger, index = self._open
            _catch_up(ledger, index)
            return look(ledger, index)
        except (apsw.Error, OSError, msgspec.DecodeError) as error:
            self._drop()
            raise HistoryFailure(f"the ledger's past cannot be read: {type(error).__name__}") from error

    def _drop(self) -> None:
        opened, self._open = self._open, None
        for connection in opened or ():
            with contextlib.suppress(apsw.Error):
                connection.close(force=True)


def _opened(ledger_path: Path, index_path: Path) -> tuple[apsw.Connection, apsw.Connection]:
    ledger = apsw.Connection(str(ledger_path), flags=apsw.SQLITE_OPEN_READONLY)
    ledger.set_busy_timeout(_BUSY_MILLISECONDS)
    index_path.touch(mode=0o600)
    index = apsw.Connection(str(index_path))
    index.set_busy_timeout(_BUSY_MILLISECONDS)
    index.pragma("journal_mode", "WAL")
    index.pragma("synchronous", "NORMAL")  # what a crash takes is read from the ledger again
    index.execute(_SCHEMA)
    return ledger, index


_LAST = "SELECT position, hash FROM entry ORDER BY position DESC LIMIT 1"
_SAME = "SELECT 1 FROM inquiry WHERE position = ? AND hash = ?"
_NEXT = "SELECT position, body, hash FROM inquiry WHERE position > ? ORDER BY position LIMIT ?"
_FOLLOWED = "SELECT 1 FROM applied WHERE inquiry = ? AND subject = coalesce(?, subject) LIMIT 1"
_APPLIED = "SELECT 1 FROM applied WHERE inquiry = ? AND subject = ? AND measure = ?"


def _catch_up(ledger: apsw.Connection, index: apsw.Connection) -> None:
    """Put into the index what the ledger has gained; begin anew where the index is of another ledger."""
    while True:
        with _writing(index):
            last, digest = index.execute(_LAST).fetchone() or (0, b"")
            if last and ledger.execute(_SAME, (last, digest)).fetchone() is None:
                for table in ("entry", "about", "applied"):
                    index.execute(f"DELETE FROM {table}")  # noqa: S608  # names of ours
                last = 0
            rows: list[Any] = ledger.execute(_NEXT, (last, _BATCH)).fetchall()
            for position, body, hashed in rows:
                _put(index, position, msgspec.json.decode(body), hashed)
        if len(rows) < _BATCH:
            return


@contextlib.contextmanager
def _writing(index: apsw.Connection) -> Iterator[None]:
    index.execute("BEGIN IMMEDIATE")
    try:
        yield
        index.execute("COMMIT")
    finally:
        if index.in_transaction:
            index.execute("ROLLBACK")


def _put(index: apsw.Connection, position: int, body: Body, digest: bytes) -> None:
    kind = kind_of(body)
    index.execute(
        "INSERT INTO entry VALUES (?, ?, ?, ?, ?)",
        (position, body.get("receipt"), kind, body.get("day"), digest),
    )
    if kind == INQUIRY:
        named = (name for each in body["subjects"] for name in (each["subject"], each.get("known_as")))
        subjects = {(name, position) for name in named if name is not None}
        index.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", sorted(subjects))
    elif kind == APPLICATION and body["outcome"] == RECORDED:
        # Of two that were recorded at once in different processes the first one counts.
        index.execute(
            "INSERT OR IGNORE INTO applied VALUES (?, ?, ?, ?)",
            (body["inquiry"], body["subject"], body["measure"], position),
        )


def _inquiry(ledger: apsw.Connection, index: apsw.Connection, receipt: str) -> list[Body]:
    found = index.execute("SELECT position FROM entry WHERE receipt = ? AND kind = ?", (receipt, INQUIRY))
    return _bodies(ledger, [position for (position,) in found])


def _inquiries(
    ledger: apsw.Connection, index: apsw.Connection, days: tuple[str, str], subject: str | None, most: int
) -> Past:
    if subject is None:
        query = (
            "SELECT position FROM entry WHERE kind = ? AND day BETWEEN ? AND ? ORDER BY position DESC LIMIT ?"
        )
        found = index.execute(query, (INQUIRY, *days, most + 1))
    else:
        query = (
            "SELECT position FROM about JOIN entry USING (position) WHERE subject = ? AND day BETWEEN ? AND ?"
            " ORDER BY position DESC LIMIT ?"
        )
        found = index.execute(query, (subject, *days, most + 1))
    positions = [position for (position,) in found]
    rows = _bodies(ledger, positions[:most])
    receipts = (row["receipt"] for row in rows)
    applied = (each for each in receipts if index.execute(_FOLLOWED, (each, subject)).fetchone())
    return Past(tuple(rows), len(positions) <= most, frozenset(applied))


def _bodies(ledger: apsw.Connection, positions: Sequence[int]) -> list[Body]:
    query = "SELECT body FROM inquiry WHERE position = ?"
    return [
        msgspec.json.decode(body) for position in positions for (body,) in ledger.execute(query, (position,))
    ]
