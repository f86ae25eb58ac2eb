"""An application on a port of its own, which can be closed and opened again."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from connectors.sandbox.faults import Fault, Wire
from connectors.sandbox.source import Meter, Source

HOST = "127.0.0.1"


class Port:
    """A port of the loopback interface, kept for one application for as long as the process runs.

    The port is held by a socket that never listens: while the application is away, callers are refused
    and nobody else is given the port. Port 0 takes any free one. Raises OSError when the port is taken.
    """

    def __init__(self, number: int) -> None:
        self._held = _bound(number)
        self.number: int = self._held.getsockname()[1]
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the application is reached."""
        return f"http://{HOST}:{self.number}"

    async def open(self, app: ASGIApp) -> None:
        """Serve an application; returns when callers can connect. Does nothing on an open port."""
        if self._server is not None:
            return
        config = uvicorn.Config(
            app,
            lifespan="off",
            http=_Protocol,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        listening = _bound(self.number)
        self._serving = asyncio.create_task(self._server.serve([listening]))
        await self._server.tried.wait()
        if not self._server.started:
            await self._serving

    async def close(self) -> None:
        """Stop listening and close every connection; does nothing on a closed port."""
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = True
        await self._serving
        self._server = self._serving = None

    def release(self) -> None:
        """Give the port back to the system."""
        self._held.close()


def _bound(port: int) -> socket.socket:
    # The protocol is named because asyncio turns off Nagle's delay (40 ms an answer) only where it is.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound


class _Protocol(HttpToolsProtocol):
    """HTTP that never logs a request, whoever listens to the access log: its paths name subjects."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False


class _Server(uvicorn.Server):
    """A server among others in one process: signals are the process's own business."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.tried = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.tried.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Outlet:
    """A source at its port, with its meter and its fault."""

    def __init__(self, source: Source, meter: Meter, port: Port) -> None:
        self.meter = meter
        self.port = port
        self._wire = Wire(source, meter)
        self._changing = asyncio.Lock()

    @property
    def fault(self) -> Fault:
        """The fault of the moment."""
        return self._wire.fault

    async def put(self, fault: Fault) -> None:
        """Replace the fault; returns when the port is closed or open as it demands."""
        async with self._changing:
            self._wire.fault = fault
            if fault.name == "down":
                await self.port.close()
            else:
                await self.port.open(self._wire)
