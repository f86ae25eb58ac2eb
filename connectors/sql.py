"""Sources that are a view of a database: one SELECT for each lookup, with bound parameters alone.

The database is asked to read only, and to give up a statement after the source's time; nothing is ever put into
the text of a statement.
"""

import asyncio
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from connectors.answers import FaultCode, Ground, SourceFaultError
from connectors.credentials import Held, Secrets
from connectors.envelope import Rows
from connectors.problems import SourceKeyError
from connectors.request import Asking
from connectors.source import LookupFile, SourceFile

_GROUND = frozenset(Ground.__struct_fields__)
_QUERY = re.compile(r"(?is)\s*(select|with)\b")
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_STEPS_BETWEEN_LOOKS = 10_000
"""Instructions that SQLite runs before it looks at the time."""


class Statement:
    """The SELECT of a lookup. `ground` names the parts of a ground that the source is told."""

    def __init__(self, lookup: LookupFile, key: str) -> None:
        """Raises SourceKeyError."""
        text = lookup.sql or ""
        if not _QUERY.match(text) or ";" in text:
            raise SourceKeyError(f"{key}.sql", "it is not one SELECT", "write SELECT … without ;")
        if "{" in text:
            raise SourceKeyError(f"{key}.sql", "nothing is put into SQL", "use a parameter such as :subject")
        # SQLAlchemy puts the brackets around a list itself.
        self.clause = sa.text(re.sub(r"\(\s*:subjects\s*\)", ":subjects", text))
        names = frozenset(self.clause._bindparams)
        subject = "subjects" if lookup.batch else "subject"
        if subject not in names:
            raise SourceKeyError(f"{key}.sql", "it does not name the subject", f"use :{subject}")
        for unknown in sorted(names - _GROUND - {subject}):
            raise SourceKeyError(
                f"{key}.sql", f"there is no :{unknown}", f"known: {', '.join(sorted(_GROUND | {subject}))}"
            )
        if lookup.batch:
            self.clause = self.clause.bindparams(sa.bindparam("subjects", expanding=True))
        self.ground = names & _GROUND
        self._subject = subject

    def parameters(self, asked: Mapping[str, Any], ground: Ground) -> dict[str, Any]:
        """The values that are bound."""
        values: dict[str, Any] = {name: getattr(ground, name) for name in self.ground}
        values[self._subject] = asked[f"{self._subject}.value"]
        return values


def statement_of(request: Asking, key: str) -> Statement:
    """The statement of one part of a file; raises SourceKeyError."""
    if not isinstance(request, LookupFile):
        raise SourceKeyError(key, "a database serves lookups alone", "remove it")
    return Statement(request, key)


def open_engine(text: str, *, connections: int, seconds: float) -> AsyncEngine:
    """The engine of a database address; raises SourceKeyError without repeating it."""
    try:
        url = sa.make_url(text)
        driver = _DRIVERS[url.drivername]
    except (ArgumentError, KeyError, ValueError):
        raise SourceKeyError(
            "database.url",
            "the secret holds no address of a known database",
            "write sqlite:/// or postgresql://",
        ) from None
    url = url.set(drivername=driver)
    if driver.startswith("postgresql"):
        settings = {"default_transaction_read_only": "on", "statement_timeout": str(int(seconds * 1000))}
        return create_async_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={"server_settings": settings, "timeout": seconds},
        )
    # A file that is not there is not made, and none is ever written.
    url = url.set(database=f"file:{quote(url.database or '')}", query={"mode": "ro", "uri": "true"})
    engine = create_async_engine(url, pool_size=connections, max_overflow=0, hide_parameters=True)
    _limit_sqlite(engine, seconds)
    return engine


def _limit_sqlite(engine: AsyncEngine, seconds: float) -> None:
    @sa.event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: Any, record: ConnectionPoolEntry) -> None:
        def is_over() -> bool:
            return bool(time.monotonic() > record.info.get("until", 0.0))

        connection.run_async(lambda driver: driver.set_progress_handler(is_over, _STEPS_BETWEEN_LOOKS))

    @sa.event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _begin(connection: sa.Connection, *_statement: Any) -> None:
        connection.info["until"] = time.monotonic() + seconds


async def _select(
    engine: AsyncEngine, statement: Statement, values: Mapping[str, Any], most_rows: int
) -> Sequence[Mapping[str, Any]]:
    """The rows of a statement, with the values that JSON would have; raises SourceFaultError."""
    try:
        async with engine.connect() as connection:
            result = await connection.stream(statement.clause, values)
            rows = (await result.fetchmany(most_rows + 1))[: most_rows + 1]
            await result.close()
            names = tuple(result.keys())
    except DBAPIError as error:
        raise _fault(error.orig) from None
    except (asyncpg.PostgresError, sqlite3.Error) as error:
        # SQLAlchemy passes on what a driver raises while rows are fetched.
        raise _fault(error) from None
    except (SQLAlchemyError, asyncpg.InterfaceError, OSError):
        # Errors of the libraries carry addresses and statements, so they end here.
        raise SourceFaultError(FaultCode.DOWN, "no connection to the database") from None
    if len(rows) > most_rows:
        raise SourceFaultError(FaultCode.GARBAGE, f"more than {most_rows} rows")
    return [{name: _plain(value) for name, value in zip(names, row, strict=True)} for row in rows]


def _silence_logs() -> None:
    """Keep the libraries from logging parameters and rows: they hold identifiers."""
    for name in ("sqlalchemy", "aiosqlite"):
        logging.getLogger(name).setLevel(logging.WARNING)


async def _accepts(engine: AsyncEngine) -> bool:
    """Whether the database answers; no table is looked at."""
    try:
        async with asyncio.timeout(1.0), engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
    except (SQLAlchemyError, OSError):  # TimeoutError is one
        return False
    return True


_CLASSES: Mapping[str, tuple[FaultCode, str]] = {
    # SQLSTATE classes (PostgreSQL, appendix A): 28 and 42501 are refusals, 57014 is a statement given up, 08 and 57 are the server's own end.
    "28": (FaultCode.REFUSED, "the database refuses the gateway"),
    "42501": (FaultCode.REFUSED, "the database refuses the gateway"),
    "57014": (FaultCode.TIMEOUT, "no answer in time"),
    "08": (FaultCode.DOWN, "no connection to the database"),
    "53": (FaultCode.DOWN, "no connection to the database"),
    "57": (FaultCode.DOWN, "no connection to the database"),
}


def _fault(error: BaseException | None) -> SourceFaultError:
    state = getattr(error, "sqlstate", None) or ""
    for length in (5, 2):
        if state[:length] in _CLASSES:
            return SourceFaultError(*_CLASSES[state[:length]])
    match getattr(error, "sqlite_errorname", ""):
        case "SQLITE_INTERRUPT":
            return SourceFaultError(FaultCode.TIMEOUT, "no answer in time")
        case "SQLITE_CANTOPEN":
            return SourceFaultError(FaultCode.DOWN, "no connection to the database")
    return SourceFaultError(FaultCode.ERROR, "the database reports a failure")


def _plain(value: Any) -> Any:
    """A value of a column as JSON would have it."""
    match value:
        case None | bool() | int() | str() | Decimal():
            return value
        case float():
            return Decimal(repr(value))
        case datetime() | date() | time_of_day():
            return value.isoformat()
        case UUID():
            return str(value)
        case timedelta():
            return Decimal(repr(value.total_seconds()))
        case list() | tuple():
            return [_plain(item) for item in value]
    raise SourceFaultError(FaultCode.GARBAGE, "a column holds what is no text, number or day")


_MOST_ENGINES = 2
"""Engines of the secrets of today and of the next."""


class DatabaseWire:
    """A source that is a view of a database."""

    def __init__(self, file: SourceFile, secrets: Secrets, clock: Callable[[], datetime]) -> None:
        """Raises SourceKeyError for an address that cannot be used."""
        if file.database is None:
            raise TypeError("the source is no database")
        _silence_logs()
        self.secrets = secrets
        self.clock = clock
        self.most_rows = file.database.most_rows
        self._file = file
        self._address = f"secrets.{file.database.url}"
        self._engines = {address: self._opened(address) for address in [secrets.current()[self._address]]}

    def _opened(self, address: str) -> AsyncEngine:
        return open_engine(address, connections=self._file.concurrency, seconds=self._file.timeout_seconds)

    async def engine(self, held: Held) -> AsyncEngine:
        """The engine of the address that these secrets hold; raises SourceFaultError."""
        address = held[self._address]
        if address not in self._engines:
            try:
                self._engines[address] = self._opened(address)
            except SourceKeyError:
                raise SourceFaultError(FaultCode.DOWN, "the address of the database cannot be used") from None
            while len(self._engines) > _MOST_ENGINES:
                await self._engines.pop(next(iter(self._engines))).dispose()
        return self._engines[address]

    def question(self, request: Asking, key: str) -> "DatabaseQuestion":
        """What one lookup asks; raises SourceKeyError."""
        return DatabaseQuestion(self, statement_of(request, key))

    async def accepts(self) -> bool:
        """Whether the database answers; no table is looked at."""
        try:
            return await _accepts(await self.engine(self.secrets.current()))
        except SourceFaultError:
            return False

    async def aclose(self) -> None:
        """Close every connection."""
        for engine in self._engines.values():
            await engine.dispose()


class DatabaseQuestion:
    """A statement and the database that it is put to."""

    def __init__(self, wire: DatabaseWire, statement: Statement) -> None:
        self._wire = wire
        self._statement = statement
        self.ground = statement.ground

    async def rows(self, asked: Mapping[str, Any], ground: Ground, **_asking: object) -> Rows:
        """The rows of one statement; raises SourceFaultError. How it is asked counts for requests alone."""
        asked_at = self._wire.clock()
        values = self._statement.parameters(asked, ground)

        async def call(held: Held) -> Rows:
            engine = await self._wire.engine(held)
            found = await _select(engine, self._statement, values, self._wire.most_rows)
            return Rows(found, None, asked_at)

        return await self._wire.secrets.tried(call)
