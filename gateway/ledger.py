"""The ledger: an inquiry is durable here, in a chain that shows tampering, before its answer leaves.

One SQLite file. `inquiry` holds the rows and only grows; `head` holds one row, the place of the last inquiry under a
keyed seal, so that a cut tail is found as surely as a changed row:

    hash(0) = SHA-256("credit-gateway ledger 1\\n" || 32 zero bytes)
    hash(n) = SHA-256(hash(n-1) || n || body(n))            n: 8 bytes, big-endian
    mac     = HMAC-SHA256(key, n || hash(n))                n: the last row

What this cannot show: a change by somebody who holds the key, and a whole older copy of the file put back while no
gateway was running. The receipts given out with the answers show both (`verify` with a receipt).
"""

import asyncio
import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import queue
import secrets
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import apsw
import msgspec

_LOG = logging.getLogger("gateway")

KEY_BYTES = 32
WAITING_LIMIT = 4096
"""Appends that may wait at once; one more is refused."""
GATHER_ROWS = 64
GATHER_SECONDS = 0.003
"""How many appends wait for more, and how long, while every turn of the loop brings some."""
BUSY_MILLISECONDS = 2000
"""How long a transaction waits for another process that writes to the same file."""
_BUSY_NAP = 0.0005

_FORMAT = 1
_START = hashlib.sha256(b"credit-gateway ledger 1\n" + bytes(32)).digest()
_SCHEMA = """
CREATE TABLE inquiry(position INTEGER PRIMARY KEY, body BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE head(
    one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL, hash BLOB NOT NULL, mac BLOB NOT NULL) STRICT;
CREATE TRIGGER inquiry_follows BEFORE INSERT ON inquiry
    WHEN NEW.position <> (SELECT coalesce(max(position), 0) + 1 FROM inquiry)
    BEGIN SELECT RAISE(ABORT, 'a row follows the last one'); END;
CREATE TRIGGER inquiry_stays BEFORE UPDATE ON inquiry BEGIN SELECT RAISE(ABORT, 'rows never change'); END;
CREATE TRIGGER inquiry_is_kept BEFORE DELETE ON inquiry BEGIN SELECT RAISE(ABORT, 'rows are never deleted'); END;
CREATE TRIGGER head_is_one BEFORE INSERT ON head WHEN EXISTS (SELECT 1 FROM head)
    BEGIN SELECT RAISE(ABORT, 'there is one head'); END;
CREATE TRIGGER head_advances BEFORE UPDATE ON head WHEN NEW.position <= OLD.position
    BEGIN SELECT RAISE(ABORT, 'the head only advances'); END;
CREATE TRIGGER head_is_kept BEFORE DELETE ON head BEGIN SELECT RAISE(ABORT, 'the head is never deleted'); END;
PRAGMA user_version = 1;
"""
# Casts, so that a file whose tables were replaced by looser ones still yields the types that are compared.
_ROWS = """
SELECT CAST(position AS INTEGER), CAST(coalesce(body, '') AS BLOB), CAST(coalesce(hash, '') AS BLOB)
FROM inquiry WHERE position > ? ORDER BY position
"""
_ROWS_BACK = """
SELECT CAST(position AS INTEGER), CAST(coalesce(body, '') AS BLOB) FROM inquiry ORDER BY position DESC
"""
_LAST = """
SELECT CAST(position AS INTEGER), CAST(coalesce(hash, '') AS BLOB) FROM inquiry ORDER BY position DESC LIMIT 1
"""
_HEAD = """
SELECT CAST(position AS INTEGER), CAST(hash AS BLOB), CAST(mac AS BLOB)
FROM head WHERE position NOTNULL AND hash NOTNULL AND mac NOTNULL
"""
_BEFORE_ALL = -(2**63)


class LedgerFailure(Exception):  # noqa: N818  # the word of the gateway's error table
    """The ledger cannot be opened, read or written; the text names the reason and never a row's content."""


class Position(msgspec.Struct, frozen=True):
    """Place of a row: `position` counts from 1 (0: no row yet); `hash` is its chain hash, 64 hex digits."""

    position: int
    hash: str


class Verification(msgspec.Struct, frozen=True):
    """What `verify` saw: how many rows held, from the first on, and the first finding in words if there is one."""

    rows: int
    finding: str | None

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return self.finding is None


class Ledger(Protocol):
    """What the gateway asks of a ledger."""

    async def append(self, body: bytes) -> Position:
        """Write one row; return only when it is durable. Raises LedgerFailure: then no answer may leave."""
        ...

    def append_then(self, body: bytes, tell: "Tell") -> None:
        """As `append`, for one who does not wait: `tell` is called when it is durable, or with why it is not."""
        ...

    async def aclose(self) -> None:
        """Finish the appends that wait, then close."""
        ...


Tell = Callable[[Position | LedgerFailure], None]
"""Hears where a row is, or why it is not in the file."""

_Append = tuple[bytes, Tell]
"""A row's body, and who hears of its place."""


class _Link(NamedTuple):
    """A place in the chain, as the file and the seal know it."""

    position: int
    hash: bytes


class SqliteLedger:
    """A ledger in one SQLite file, for one event loop; several processes may append to the same file.

    One thread writes. It takes whatever waits, writes it in one transaction and one sync, and tells all that waited;
    when nothing waits, the next append starts at once. A transaction that fails fails all its appends, and none of
    their rows is in the file unless the disk failed in the very commit: a row without an answer is possible, an
    answer without a row is not. A cancelled append may still be written.
    """

    def __init__(self, database: apsw.Connection, path: Path, key: bytes, last: _Link) -> None:
        self._database = database
        self._path = path
        self._file = _file_identity(path)
        self._key = key
        self._last = last
        self._gathered: list[_Append] = []
        self._handed_over: queue.SimpleQueue[list[_Append] | None] = queue.SimpleQueue()
        self._waiting = 0
        self.rows = self.batches = self.failures = 0
        """Rows written, the transactions they took, and transactions that failed, since this process opened the file."""
        self._closed = False
        self._failed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        # A daemon, so that a process that never closes its ledger can still end: a commit is whole or absent.
        self._writer = threading.Thread(target=self._write_until_closed, name="ledger", daemon=True)
        self._writer.start()

    @classmethod
    def open(cls, path: Path, key: bytes, *, vfs: str | None = None) -> Self:
        """Open the ledger at `path`, or create it (mode 0600); `vfs` names a registered SQLite file layer.

        Raises LedgerFailure: the file cannot be written, is no ledger, or does not end where its sealed head says.
        """
        if len(key) != KEY_BYTES:
            raise LedgerFailure(f"the ledger key is {len(key)} bytes long, it must be {KEY_BYTES}")
        with contextlib.ExitStack() as on_failure:
            try:
                with _alone_in(path.parent):
                    path.touch(mode=0o600)
                    database = apsw.Connection(str(path), vfs=vfs)
                    on_failure.callback(database.close, force=True)
                    last = _prepare(database, key)
                ledger = cls(database, path, key, last)
            except (apsw.Error, OSError, LedgerFailure) as error:
                raise LedgerFailure(f"the ledger {path} cannot be opened: {_reason(error)}") from error
            on_failure.pop_all()
        return ledger

    @property
    def healthy(self) -> bool:
        """False once closed, and from a failed write until a later append succeeds: each append tries anew."""
        return not (self._closed or self._failed)

    def head(self) -> Position:
        """The last row that this process wrote, or found when it opened the file."""
        return Position(self._last.position, self._last.hash.hex())

    async def append(self, body: bytes) -> Position:
        """Write one row; return when it is durable.

        Raises LedgerFailure: closed, too many appends wait, or the write failed. RuntimeError: another event loop
        than that of the first append.
        """
        done: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        self.append_then(body, partial(_settle, done))
        return await done

    def append_then(self, body: bytes, tell: Tell) -> None:
        """As `append`, and call `tell` in the loop when it is durable or the write failed; raises what else `append` does."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if loop is not self._loop:
            raise RuntimeError("this ledger serves another event loop")
        if self._closed:
            raise LedgerFailure("the ledger is closed")
        if self._waiting >= WAITING_LIMIT:
            raise LedgerFailure(f"{WAITING_LIMIT} appends wait for the ledger already")
        self._waiting += 1
        if not self._gathered:
            loop.call_soon(self._hand_over_in_time, loop, loop.time() + GATHER_SECONDS, 0)
        self._gathered.append((body, tell))

    def _hand_over_in_time(self, loop: asyncio.AbstractEventLoop, until: float, before: int) -> None:
        """Wake the writer once for all that is appended in turns of the loop that follow each other.

        A turn without an append is the last: when nothing else is under way, nothing waits.
        """
        appended = len(self._gathered)
        if before < appended < GATHER_ROWS and loop.time() < until:
            loop.call_soon(self._hand_over_in_time, loop, until, appended)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._handed_over.put(gathered)

    async def aclose(self) -> None:
        """Finish the appends that wait, then close the file; later appends fail."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._handed_over.put(None)
        await asyncio.to_thread(self._writer.join)

    def _write_until_closed(self) -> None:
        closing = False
        while not closing:
            taken = [self._handed_over.get()]
            while not self._handed_over.empty():
                taken.append(self._handed_over.get())
            closing = taken[-1] is None  # nothing is put after it
            batch = [append for gathered in taken if gathered is not None for append in gathered]
            if batch:
                self._write_and_tell(batch)
        # Closing moves the log into the file; where that fails the rows stay durable in the log, for the next opening.
        with contextlib.suppress(apsw.Error):
            self._database.close()

    def _write_and_tell(self, batch: list[_Append]) -> None:
        outcome: Sequence[Position | LedgerFailure]
        try:
            outcome = self._write([body for body, _ in batch])
            self._failed = False
        except Exception as error:  # noqa: BLE001  # whatever went wrong, those who wait must hear of it
            reason = f"the ledger cannot write: {_reason(error)}"
            outcome = [LedgerFailure(reason) for _ in batch]
            self._failed = True
        # A loop that was closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._tell, batch, outcome)

    def _tell(self, batch: list[_Append], outcome: Sequence[Position | LedgerFailure]) -> None:
        self._waiting -= len(batch)
        if isinstance(outcome[0], LedgerFailure):
            self.failures += 1
        else:
            self.batches += 1
            self.rows += len(batch)
        for (_, tell), place in zip(batch, outcome, strict=True):
            try:
                tell(place)
            except Exception:  # noqa: BLE001  # one who cannot hear it keeps it from nobody else
                _LOG.exception("an answer was lost after its row was written")

    def _write(self, bodies: Sequence[bytes]) -> list[Position]:
        """Append all bodies in one durable transaction, after the last row of whichever process wrote it."""
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        try:
            last = _sealed_end(self._database, self._key)
            if last.position < self._last.position:
                raise LedgerFailure(
                    f"the file went back from row {self._last.position} to row {last.position}"
                )
            rows = []
            for body in bodies:
                last = _Link(last.position + 1, _chain(last.hash, last.position + 1, body))
                rows.append((last.position, body, last.hash))
            self._database.executemany("INSERT INTO inquiry VALUES (?, ?, ?)", rows)
            execute("UPDATE head SET position = ?, hash = ?, mac = ?", (*last, _mac(self._key, last)))
            execute("COMMIT")
        finally:
            if self._database.in_transaction:
                execute("ROLLBACK")
        # After the commit: what counts is that the rows are now where the next reader looks for them.
        if _file_identity(self._path) != self._file:
            raise LedgerFailure("the file was replaced while it was open")
        self._last = last
        return [Position(position, digest.hex()) for position, _, digest in rows]


def _settle(done: asyncio.Future[Position], place: Position | LedgerFailure) -> None:
    """Wake who waits for a place, unless it was cancelled."""
    if done.done():
        return
    if isinstance(place, LedgerFailure):
        done.set_exception(place)
    else:
        done.set_result(place)


def keyed_hash(key: bytes, identifier: str) -> str:
    """HMAC-SHA256 of a subject's identifier, 64 hex digits: how rows name a subject.

    Equal text gives equal hashes, so pass the canonical spelling. Raises ValueError if the identifier is empty.
    """
    if not identifier:
        raise ValueError("identifier: is empty")
    hashed = _begun(key).copy()
    hashed.update(identifier.encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()


@lru_cache(maxsize=8)
def _begun(key: bytes) -> hmac.HMAC:
    """What all hashes of identifiers begin with: apart from the head's, which start with the zero bytes of a position."""
    return hmac.new(key, b"subject\0", "sha256")


def load_or_create_key(path: Path) -> bytes:
    """Read the ledger's key, 32 bytes; at the first start create it from the system's random source, mode 0600.

    Raises LedgerFailure: unreadable, not 32 bytes, or open to others than its owner and group.
    """
    try:
        if not path.exists():
            _create_key(path)
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise LedgerFailure(f"the ledger key {path} cannot be read or created: {_reason(error)}") from error
    if mode & 0o027:
        raise LedgerFailure(
            f"the ledger key {path} is open to others (mode {mode & 0o777:04o}): chmod 600 it"
        )
    if len(key) != KEY_BYTES:
        length = "longer" if len(key) > KEY_BYTES else f"{len(key)} bytes long"
        raise LedgerFailure(f"the ledger key {path} is {length}, it must be {KEY_BYTES} bytes")
    return key


def verify(path: Path, key: bytes | None, *, receipt: tuple[int, str] | None = None) -> Verification:
    """Check the whole chain of the ledger at `path`, read-only; a gateway may be appending meanwhile.

    Without `key` the head's seal is not checked: then a cut tail goes unseen if the head was cut to match. `receipt`
    is the position and hash that came with an answer. Raises LedgerFailure if the file cannot be read as a ledger,
    ValueError for a receipt that cannot be one.
    """
    if receipt is not None:
        _require_receipt(*receipt)
    last = _Link(0, _START)
    with _reading(path) as database:
        for position, body, digest in database.execute(_ROWS, (_BEFORE_ALL,)):
            expected = last.position + 1
            if position != expected:
                return Verification(last.position, _gap(expected, position))
            if digest != _chain(last.hash, position, body):
                return Verification(last.position, _misfit(database, _Link(position, digest), body))
            if receipt is not None and receipt[0] == position and receipt[1] != digest.hex():
                return Verification(last.position, f"row {position} is not the one the receipt was given for")
            last = _Link(position, digest)
        finding = _head_finding(database, last, key)
    if finding is None and receipt is not None and receipt[0] > last.position:
        finding = f"row {receipt[0]} of the receipt is missing"
    return Verification(last.position, finding)


def read_rows(path: Path, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (position, body) of the rows after a position, in order, as of one moment; checks no hash.

    Raises LedgerFailure if the file cannot be read as a ledger.
    """
    with _reading(path) as database:
        for position, body, _ in database.execute(_ROWS, (after,)):
            yield position, body


def read_rows_back(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (position, body) of the rows, the newest first, as of one moment; checks no hash.

    Raises LedgerFailure if the file cannot be read as a ledger.
    """
    with _reading(path) as database:
        yield from database.execute(_ROWS_BACK)


def _prepare(database: apsw.Connection, key: bytes) -> _Link:
    """Set the connection up for durable writing, create the tables if the file is empty, return the last row."""
    # SQLite falls back to reading in silence, and begins an immediate transaction even then.
    if database.readonly("main"):
        raise LedgerFailure("its file is read-only")
    database.set_busy_handler(_wait_a_little)
    mode = database.pragma("journal_mode", "WAL")
    if mode != "wal":
        raise LedgerFailure(f"its file system allows journal mode {mode} only, WAL is needed")
    database.pragma("synchronous", "FULL")
    database.pragma("fullfsync", "ON")  # where a plain fsync leaves data in the disk's own cache
    database.execute("BEGIN IMMEDIATE")
    if database.execute("SELECT count(*) FROM sqlite_schema").get == 0:
        database.execute(_SCHEMA)
        start = _Link(0, _START)
        database.execute("INSERT INTO head VALUES (1, ?, ?, ?)", (*start, _mac(key, start)))
    _require_format(database)
    last = _sealed_end(database, key)
    database.execute("COMMIT")
    return last


def _wait_a_little(waited_before: int) -> bool:
    """Wait for another process that writes; false: long enough.

    SQLite's own busy timeout sleeps up to 100 ms at a time, where a transaction takes less than one.
    """
    time.sleep(_BUSY_NAP)
    return waited_before * _BUSY_NAP * 1000 < BUSY_MILLISECONDS


def _require_format(database: apsw.Connection) -> None:
    version = database.pragma("user_version")
    if version != _FORMAT:
        raise LedgerFailure(f"it is no ledger of format {_FORMAT} (user_version is {version})")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[apsw.Connection]:
    """A read-only connection that sees the file as of one moment."""
    database = None
    try:
        database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        database.set_busy_timeout(BUSY_MILLISECONDS)
        database.execute("BEGIN")
        _require_format(database)
        yield database
    except (apsw.Error, LedgerFailure) as error:
        raise LedgerFailure(f"the ledger {path} cannot be read: {_reason(error)}") from error
    finally:
        if database is not None:
            database.close()


def _sealed_end(database: apsw.Connection, key: bytes) -> _Link:
    """The last row; raises LedgerFailure if the head does not vouch for it, lest a new seal cover tampering."""
    row = database.execute(_LAST).fetchone()
    last = _Link(0, _START) if row is None else _Link(*row)
    finding = _head_finding(database, last, key)
    if finding is not None:
        raise LedgerFailure(finding)
    return last


def _head_finding(database: apsw.Connection, last: _Link, key: bytes | None) -> str | None:
    row = database.execute(_HEAD).fetchone()
    if row is None:
        return "the head is missing"
    position, digest, mac = row
    if position > last.position:
        return f"{_rows(last.position + 1, position)} missing: the head stands at row {position}"
    if position < last.position:
        return f"the head does not match: it stands at row {position}, the last row is {last.position}"
    if digest != last.hash:
        return f"the head does not match: it holds another hash than row {position}"
    if key is not None and not hmac.compare_digest(mac, _mac(key, last)):
        return "the head does not match: it was not sealed with this key"
    return None


def _gap(expected: int, found: int) -> str:
    if found < expected:
        return f"row {found} does not belong: positions count from 1"
    return f"{_rows(expected, found - 1)} missing"


def _rows(first: int, last: int) -> str:
    return f"row {first} is" if first == last else f"rows {first} to {last} are"


def _misfit(database: apsw.Connection, link: _Link, body: bytes) -> str:
    """Say why a row does not follow the one before: it stands in another's place, or it was changed."""
    previous = _START
    for position, _, digest in database.execute(_ROWS, (0,)):
        # Two neighbours that changed places hold each other's predecessor, hence the second candidate.
        for before in (previous, digest):
            if _chain(before, position, body) in (digest, link.hash):
                return f"row {link.position} is out of order: it holds what belongs at position {position}"
        previous = digest
    return f"row {link.position} was changed: body and hash do not follow from the row before"


def _require_receipt(position: int, digest: str) -> None:
    if position < 1:
        raise ValueError("receipt: position must be 1 or more")
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise ValueError("receipt: hash must be 64 lower-case hex digits")


def _chain(previous: bytes, position: int, body: bytes) -> bytes:
    return hashlib.sha256(previous + struct.pack(">q", position) + body).digest()


def _mac(key: bytes, link: _Link) -> bytes:
    return hmac.digest(key, struct.pack(">q", link.position) + link.hash, "sha256")


def _create_key(path: Path) -> None:
    """Write a new key beside `path`, then name it so: no crash leaves half a key, and the first of two processes wins."""
    descriptor, unnamed = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with _alone_in(path.parent), contextlib.suppress(FileExistsError):
            os.link(unnamed, path)
    finally:
        Path(unnamed).unlink()


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Keep other processes from creating the same file meanwhile; then make the new names survive a power cut.

    SQLite does not wait its turn when two connections switch one new file to WAL: one would fail.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _reason(error: Exception) -> str:
    if isinstance(error, LedgerFailure):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"{type(error).__name__}: {error}"
