"""Running the gateway: one process, or several that share one listening socket.

Several workers are made by fork, before anything is opened; each then opens its own connections to ledger and
sources, keeps its own caches, and has its part of what the sources allow. The first process only watches them: it
starts one anew that ended, and passes on what it is told: SIGTERM and SIGINT stop all of them, SIGHUP makes all load
the policy anew. A worker whose watching process is gone stops, too.
"""

import asyncio
import contextlib
import gc
import json
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import click
import msgspec
import uvicorn

from gateway import river
from gateway.app import create_app
from gateway.logs import configure_logs
from gateway.protocol import LeanProtocol
from gateway.settings import Settings, SettingsError
from gateway.usage import one_line_errors

_LOG = logging.getLogger("gateway")

_RESTART_SECONDS: Final = 1.0
"""How long the place of a worker that ended stays empty: one that cannot start must not try all the time."""
_BACKLOG: Final = 2048
_COLLECT: Final = (10_000, 10, 20)
"""When the garbage collector looks at young, older and old objects; at Python's own (700, 10, 10) it takes a twentieth
of the time of a request."""


def serve(settings: Settings) -> None:
    """Serve until told to stop.

    One JSON line on standard output says when all workers are ready, the address, and whether the hot path is compiled.
    Raises SettingsError where the address cannot be listened on, and what `create_app` raises.
    """
    configure_logs(settings.log.level)
    listener = _listen(settings.server.host, settings.server.port, "server")
    workers = settings.server.workers or len(os.sched_getaffinity(0))
    settings = msgspec.structs.replace(
        settings, server=msgspec.structs.replace(settings.server, workers=workers)
    )
    if workers == 1:
        _work(settings, listener, 0, lambda: _say_ready(listener))
    else:
        listener.listen(_BACKLOG)
        _Watch(settings, listener, workers).run()


def _listen(host: str, port: int, section: str) -> socket.socket:
    """A socket at an address of the settings, taken before anything is opened."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise SettingsError(f"{section}: cannot listen at {host}, port {port}: {error.strerror}") from error
    return listener


def _say_ready(listener: socket.socket) -> None:
    """Tell whoever started the service that it is reached, where, and whether its hot path is machine code."""
    compiled = not str(river.__file__).endswith(".py")
    print(json.dumps({"ready": True, "url": _url(listener), "compiled": compiled}))  # noqa: T201
    sys.stdout.flush()


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _work(
    settings: Settings,
    listener: socket.socket,
    worker: int,
    when_ready: Callable[[], None],
    lifeline: int | None = None,
) -> None:
    """Serve in this process, as the worker of that number from 0 on.

    `lifeline` is the reading end of a pipe that ends with the watching process.
    """
    scraped = None
    if settings.metrics.enabled:
        port = settings.metrics.port and settings.metrics.port + worker
        scraped = _listen(settings.metrics.host, port, "metrics")
    app = create_app(settings)
    # What is there now stays: the collector need not look at it again, and what a request makes, its references free.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    server = _Server(
        _config(
            app,
            http=LeanProtocol,
            # Logs hold no addresses, so nobody needs those that a proxy names.
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(settings.server.drain),
        ),
        scraped,
        when_ready,
        lifeline,
    )
    # uvicorn passes a signal on when it has stopped: to be told to stop is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    server.run(sockets=[listener])


def _config(app: Any, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        ws="none",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        **options,
    )


class _Scraped(uvicorn.Server):
    """The server of the metrics: it leaves the signals to the one of the gateway."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Server(uvicorn.Server):
    """The server of the gateway: it says when it is ready, and passes SIGHUP on to the reload of the policy."""

    def __init__(
        self,
        config: uvicorn.Config,
        scraped: socket.socket | None,
        when_ready: Callable[[], None],
        lifeline: int | None,
    ) -> None:
        super().__init__(config)
        self._state = config.app.state  # type: ignore[union-attr]  # the application, not its address
        self._scraped_at = scraped
        self._scraped: tuple[uvicorn.Server, asyncio.Task[None]] | None = None
        self._when_ready = when_ready
        self._lifeline = lifeline

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:
            return
        loop = asyncio.get_running_loop()
        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGHUP, self._state.reload.ask)
        if self._lifeline is not None:
            loop.add_reader(self._lifeline, self._end, self._lifeline)
        if self._scraped_at is not None:
            metrics = _Scraped(_config(self._state.metrics, http="httptools", lifespan="off"))
            self._scraped = metrics, asyncio.create_task(metrics.serve([self._scraped_at]))
            _LOG.info("metrics served", extra={"fields": {"url": f"{_url(self._scraped_at)}/metrics"}})
        self._when_ready()

    def _end(self, lifeline: int) -> None:
        asyncio.get_running_loop().remove_reader(lifeline)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._scraped is not None:
            server, serving = self._scraped
            server.should_exit = True
            await serving
        await super().shutdown(sockets)


class _Watch:
    """The watching process: its children by process id, each with its number."""

    def __init__(self, settings: Settings, listener: socket.socket, workers: int) -> None:
        self._settings = settings
        self._listener = listener
        self._workers = workers
        self._alive: dict[int, int] = {}
        self._told = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
        # Ends with this process, however that ends.
        self._lifeline, self._held = os.pipe()

    def run(self) -> None:
        """Start all workers and watch them until told to stop; SystemExit is 1 where one could not be started."""
        # Signals wait until they are asked for, so that none comes in the middle of something.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._told)
        for worker in range(self._workers):
            if not self._start(worker):
                self._stop()
                sys.exit(1)
        _say_ready(self._listener)
        while (told := signal.sigwait(self._told)) not in (signal.SIGTERM, signal.SIGINT):
            if told == signal.SIGHUP:
                self._tell(signal.SIGHUP)
            else:
                self._replace_the_dead()
        self._stop()

    def _start(self, worker: int) -> bool:
        """Whether a new worker became ready; one that did not has said why."""
        says, hears = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(says)
            os.close(self._held)
            self._child(worker, hears)
        os.close(hears)
        self._alive[process] = worker
        ready = os.read(says, 1)
        os.close(says)
        return bool(ready)

    def _child(self, worker: int, hears: int) -> None:
        """Be a worker, and end as one."""
        status = 1
        try:
            # What comes before the server listens to signals: stop at once, and there is nothing to load anew.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: os._exit(0))
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._told)
            with one_line_errors():
                _work(self._settings, self._listener, worker, lambda: _ready(hears), self._lifeline)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except click.ClickException as error:
            error.show()
        except Exception:  # noqa: BLE001  # the last thing that this process can do is to say why
            _LOG.exception("worker failed")
        finally:
            logging.shutdown()
            sys.stderr.flush()
            os._exit(status)

    def _replace_the_dead(self) -> None:
        for worker in self._gone():
            _LOG.error("worker ended: another takes its place", extra={"fields": {"worker": worker}})
            time.sleep(_RESTART_SECONDS)
            self._start(worker)

    def _gone(self) -> list[int]:
        """The numbers of the workers that ended since the last look."""
        gone = []
        for process, worker in list(self._alive.items()):
            if os.waitpid(process, os.WNOHANG)[0]:
                del self._alive[process]
                gone.append(worker)
        return gone

    def _tell(self, number: signal.Signals) -> None:
        for process in self._alive:
            os.kill(process, number)

    def _stop(self) -> None:
        self._tell(signal.SIGTERM)
        for process in self._alive:
            os.waitpid(process, 0)


def _ready(hears: int) -> None:
    os.write(hears, b"1")
    os.close(hears)
