"""Quotas as they are kept: which subjects each unit has asked about today, by keyed hash.

One process counts in its memory, several count together in a file beside the ledger. At the start the count is taken
from the day's rows of the ledger, so that a restart resets nothing.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Protocol, TypeVar

import apsw
import msgspec

from gateway.bind import Call
from gateway.history import INQUIRY
from gateway.ledger import LedgerFailure, keyed_hash, read_rows, read_rows_back
from policies.bundle import Bundle
from policies.caller import Caller
from policies.outcomes import Denied
from policies.quota import Admission, admit, over_quota

T = TypeVar("T")

MOST_SUBJECTS = 500_000
"""Subjects that are remembered at once, of all units together; beyond them no quota lets a new one in."""


class Place(msgspec.Struct, frozen=True):
    """What is counted apart: a day of the province, a unit (its keyed hash) and a purpose."""

    day: date
    unit: str
    purpose: str


class AskedStore(Protocol):
    """Where the subjects asked about are remembered; one that replicas share makes the quota theirs together."""

    async def admit(self, place: Place, quota: int, subjects: Sequence[str]) -> Admission:
        """Let in what the quota has room for and remember it, in one step that no other inquiry gets between."""
        ...


class RestoredStore(AskedStore, Protocol):
    """A store that a start fills from the ledger."""

    def count(self, place: Place, quota: int, subjects: Sequence[str]) -> Admission:
        """As `admit`, for one who cannot wait."""
        ...

    async def aclose(self) -> None:
        """Give back what the store holds open."""
        ...


class AskedToday:
    """The store of one process. It knows one day: whatever another day brings begins anew."""

    def __init__(self, most_subjects: int = MOST_SUBJECTS) -> None:
        self._most_subjects = most_subjects
        self._day: date | None = None
        self._asked: dict[Place, set[str]] = {}
        self._held = 0

    async def admit(self, place: Place, quota: int, subjects: Sequence[str]) -> Admission:
        """Let in what the quota has room for and remember it."""
        return self.count(place, quota, subjects)

    def count(self, place: Place, quota: int, subjects: Sequence[str]) -> Admission:
        """As `admit`, for one who cannot wait."""
        if place.day != self._day:
            self._day, self._asked, self._held = place.day, {}, 0
        asked = self._asked.get(place, set())
        room = len(asked) + self._most_subjects - self._held
        admission = admit(min(quota, room), asked, subjects)
        if admission.new:
            self._asked.setdefault(place, asked).update(admission.new)
            self._held += len(admission.new)
        return admission

    async def aclose(self) -> None:
        """There is nothing to give back."""


_BUSY_MILLISECONDS = 2000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS asked(
    day TEXT NOT NULL, unit TEXT NOT NULL, purpose TEXT NOT NULL, subject TEXT NOT NULL,
    PRIMARY KEY (day, unit, purpose, subject)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS number(
    day TEXT NOT NULL, unit TEXT NOT NULL, purpose TEXT NOT NULL, asked INTEGER NOT NULL,
    PRIMARY KEY (day, unit, purpose)) STRICT, WITHOUT ROWID;
"""
_IS_ASKED = "SELECT 1 FROM asked WHERE day = ? AND unit = ? AND purpose = ? AND subject = ?"
_NUMBER = "SELECT asked FROM number WHERE day = ? AND unit = ? AND purpose = ?"
_GROWS = """
INSERT INTO number VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET asked = asked + excluded.asked
"""


class AskedTogether:
    """The store of the processes that share the file at `path`; days before the one that is counted are dropped.

    The file follows from the ledger, so it is written without waiting for the disk. A file that cannot be read or
    written raises apsw.Error: then the inquiry is not answered.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._database = apsw.Connection(str(path))
        self._database.set_busy_timeout(_BUSY_MILLISECONDS)
        self._database.pragma("journal_mode", "TRUNCATE")
        self._database.pragma("synchronous", "OFF")
        self._database.execute(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT")
        self._day: date | None = None
        # A thread of its own: another process may hold the file for a moment.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="quota")

    async def admit(self, place: Place, quota: int, subjects: Sequence[str]) -> Admission:
        """Let in what the quota has room for and remember it."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.count, place, quota, subjects)

    def count(self, place: Place, quota: int, subjects: Sequence[str]) -> Admission:
        """As `admit`, for one who cannot wait; call it from one thread at a time."""
        execute = self._database.execute
        where = (place.day.isoformat(), place.unit, place.purpose)
        execute("BEGIN IMMEDIATE")
        try:
            if place.day != self._day:
                for table in ("asked", "number"):
                    execute(f"DELETE FROM {table} WHERE day < ?", where[:1])  # noqa: S608  # names of ours
                self._day = place.day
            asked = [subject for subject in subjects if execute(_IS_ASKED, (*where, subject)).fetchone()]
            number = execute(_NUMBER, where).get or 0
            # Of those asked about before, the ones that are not in this inquiry only take room.
            admission = admit(max(0, quota - number) + len(asked), asked, subjects)
            rows = [(*where, subject) for subject in admission.new]
            self._database.executemany("INSERT INTO asked VALUES (?, ?, ?, ?)", rows)
            execute(_GROWS, (*where, len(rows)))
            execute("COMMIT")
        finally:
            if self._database.in_transaction:
                execute("ROLLBACK")
        return admission

    async def aclose(self) -> None:
        """Close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown(wait=False)


class Quotas:
    """The bundle's quotas, held against a store; `key` makes the hashes by which rows of the ledger name subjects."""

    def __init__(self, store: AskedStore, key: bytes) -> None:
        self._store = store
        self._key = key

    async def refusals(self, bundle: Bundle, caller: Caller, call: Call) -> dict[str, Denied]:
        """Count the subjects of a call; those over the quota by their hash input, each with its refusal."""
        quota = bundle.quotas.get((caller.type, call.purpose))
        if quota is None:
            return {}
        hashes = {
            question.subject.hash_input: keyed_hash(self._key, question.subject.hash_input)
            for question in call.questions
        }
        place = Place(call.today, _unit(self._key, caller.unit), call.purpose)
        admission = await self._store.admit(place, quota, list(hashes.values()))
        refusal = over_quota(bundle, caller.type, call.purpose, admission.left, call.today)
        return {subject: refusal for subject, hashed in hashes.items() if hashed in admission.over}


def _unit(key: bytes, unit: str) -> str:
    """The unit as rows name one that is a subject: the store holds no clear name of either."""
    return keyed_hash(key, f"unit:{unit}")


class _Asker(msgspec.Struct, frozen=True):
    unit: str
    unit_name: str | None
    type: str


class _About(msgspec.Struct, frozen=True):
    subject: str


class _Row(msgspec.Struct, frozen=True):
    """What the row of an inquiry tells of who asked about whom."""

    caller: _Asker
    purpose: str
    subjects: tuple[_About, ...]


class _Head(msgspec.Struct, frozen=True):
    """What every row may tell: a probe has neither time nor day, the row of an inquiry no kind."""

    time: datetime | None = None
    day: date | None = None
    kind: str = INQUIRY


_STRAGGLING = timedelta(minutes=10)
"""How much later than its own time a row may be written, clocks of other processes included."""


def restore(
    store: RestoredStore, ledger: Path, key: bytes, bundle: Bundle, today: date, zone: timezone
) -> None:
    """Count what the ledger's rows of today, a day of that zone, asked about. It reads files: call it in a thread.

    Raises LedgerFailure: the file cannot be read, or a row of today is none.
    """
    begins = datetime.combine(today, time(), zone).astimezone(UTC) - _STRAGGLING
    for position, body in read_rows(ledger, after=_last_before(ledger, begins)):
        head = _decoded(position, body, _Head)
        if head.kind != INQUIRY or head.day != today:
            continue
        row = _decoded(position, body, _Row)
        quota = bundle.quotas.get((row.caller.type, row.purpose))
        if quota is not None:
            # A subject that asks about itself has no name in the row, and its number is hashed there already.
            unit = row.caller.unit if row.caller.unit_name is None else _unit(key, row.caller.unit)
            store.count(Place(today, unit, row.purpose), quota, [about.subject for about in row.subjects])


def _last_before(ledger: Path, begins: datetime) -> int:
    """The position of the last row from before that time; 0 when there is none."""
    for position, body in read_rows_back(ledger):
        head = _decoded(position, body, _Head)
        if head.time is not None and head.time < begins:
            return position
    return 0


def _decoded(position: int, body: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The library's text may quote the row.
        raise LedgerFailure(f"row {position} of the ledger cannot be read as one of this product") from None
