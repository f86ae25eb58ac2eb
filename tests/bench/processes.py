"""Processes of the bench: pinned to a core, and watched through /proc."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-P")
_TICK = 1 / os.sysconf("SC_CLK_TCK")


class StartError(Exception):
    """A process did not start; the text is the end of its log."""


def _cores() -> tuple[set[int], set[int]]:
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, {others[0] if others else first}


MEASURED, OTHERS = _cores()
"""The core of what is measured and the core of upstream and load; the same where there is but one."""


class Running:
    """A process that is ready, the address it serves, and what it said of itself."""

    def __init__(self, process: subprocess.Popen[bytes], ready: Mapping[str, Any]) -> None:
        self.process = process
        self.ready = ready
        self.url = str(ready["url"])

    def cpu(self) -> float:
        """CPU time used so far, in seconds, user and system, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK

    def memory(self) -> float:
        """Resident memory in MiB."""
        found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{self.process.pid}/status").read_text(), re.M)
        assert found is not None
        return int(found[1]) / 1024


@contextmanager
def started(
    command: Sequence[str], log: Path, *, core: set[int], environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """The process for as long as the block runs; it writes one JSON line with its `url` when it is ready."""
    mine = os.sched_getaffinity(0)
    with log.open("ab") as errors:
        os.sched_setaffinity(0, core)  # a child starts where its parent is, with all its threads
        try:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
                | dict(environment or {}),
            )
        finally:
            os.sched_setaffinity(0, mine)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise StartError(f"{command[-1]}: {log.read_text('utf-8', 'replace')[-2000:]}")
        yield Running(process, json.loads(line))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
