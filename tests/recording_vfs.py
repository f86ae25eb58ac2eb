"""A SQLite file layer that records what reaches the disk, in order, and can be told to misbehave.

Put it under a ledger (`SqliteLedger.open(path, key, vfs=layer.name)`), add events of your own with `record`, then ask
`ahead_of_sync` which rows were answered before they were durable.
"""

import itertools
import re
from collections.abc import Iterable

import apsw

Event = tuple[str, ...]
Buffer = bytes | bytearray | memoryview

_KINDS = {
    apsw.SQLITE_OPEN_WAL: "wal",
    apsw.SQLITE_OPEN_MAIN_DB: "db",
    apsw.SQLITE_OPEN_MAIN_JOURNAL: "journal",
}
_serial = itertools.count()


class RecordingVfs(apsw.VFS):
    """Events: ("write", file, *rows), ("sync", file) once it has ended, and those added with `record`.

    `file` is wal, db, journal or other. `rows` are the matches of `row` in the bytes written: SQLite writes whole
    pages, so a page names the rows it held before as well, and a row is named reliably where the match lies within
    the first 400 bytes of its body (the rest of a long body may be cut at a page's end). `events` grows from the
    writer's thread and the test's; appending to a list is atomic.
    """

    def __init__(self, name: str, *, row: str | None = None, base: str = "") -> None:
        self.name = f"{name}-{next(_serial)}"
        self.events: list[Event] = []
        self.row = re.compile(row.encode()) if row is not None else None
        self.swallows_syncs = False
        """Pretend to sync, and do not record it: the order that SQLite's synchronous=OFF would leave."""
        self.write_error: apsw.Error | None = None
        """Raised by every write, as a full or broken disk would."""
        self.read_only = False
        """Open databases for reading only, as SQLite does where the file may not be written."""
        self._base = base
        super().__init__(self.name, base)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if self.read_only and flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            flags[0] = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY
        return _RecordingFile(self, self._base, name, flags)

    def record(self, event: Event) -> None:
        self.events.append(event)

    def rows_in(self, data: Buffer) -> list[str]:
        return [] if self.row is None else [match.decode() for match in self.row.findall(data)]


class _RecordingFile(apsw.VFSFile):
    def __init__(
        self, layer: RecordingVfs, base: str, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        self.layer = layer
        self.kind = next((word for flag, word in _KINDS.items() if flags[0] & flag), "other")
        super().__init__(base, name, flags)

    def xWrite(self, data: Buffer, offset: int) -> None:  # noqa: N802
        if self.layer.write_error is not None:
            raise self.layer.write_error
        super().xWrite(data, offset)
        self.layer.record(("write", self.kind, *self.layer.rows_in(data)))

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self.layer.swallows_syncs:
            return
        super().xSync(flags)
        self.layer.record(("sync", self.kind))


def ahead_of_sync(events: Iterable[Event], answered: str) -> list[str]:
    """The rows whose `(answered, row)` event came before a WAL sync that followed the row's first write."""
    written: set[str] = set()
    durable: set[str] = set()
    ahead = []
    for event in events:
        match event:
            case ("write", "wal", *rows):
                written.update(rows)
            case ("sync", "wal"):
                durable |= written
            case (kind, row) if kind == answered and row not in durable:
                ahead.append(row)
            case _:
                continue
    return ahead
