"""Loading the policy anew while the gateway serves.

A bundle that is good takes the place of the old one as one value; one that is bad changes nothing and is
remembered with what is wrong with it, by file and line.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from importlib.resources.abc import Traversable
from pathlib import Path

from gateway.errors import internal, log_text, safe_text
from gateway.policy import Policy
from gateway.river import River
from policies.bundle import MAX_FILE, Bundle, load

_LOG = logging.getLogger("gateway")

_SHOWN_PROBLEMS = 5


class Reload:
    """Looks after the policy of a river: one load at a time, off the event loop.

    `prepare` makes the policy of a bundle and refuses, by ValueError, a bundle that may not be used.
    `watch_seconds` is the time between two looks at the files of the directory; 0: none without being asked.
    """

    def __init__(
        self,
        river: River,
        directory: Traversable | Path,
        prepare: Callable[[Bundle], Policy],
        watch_seconds: float = 0.0,
    ) -> None:
        self.refused: str | None = None
        """What is wrong with the bundle that was refused last; None when the last one was taken."""
        self._river = river
        self._directory = directory
        self._prepare = prepare
        self._watch_seconds = watch_seconds
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Load the bundle soon; asked again during a load, once more after it."""
        self._asked.set()

    async def run(self) -> None:
        """Load when asked, and when the files have changed and stayed the same for one look; until cancelled."""
        tried = seen = ""
        while True:
            asked = await self._asked_in_time()
            files = await asyncio.to_thread(_digest, self._directory)
            # A file that differs from the last look may be half of a change that is being written.
            if asked or (files == seen and files != tried):
                await self._load()
                tried = files
            seen = files

    async def _asked_in_time(self) -> bool:
        try:
            async with asyncio.timeout(self._watch_seconds or None):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    async def _load(self) -> None:
        current = self._river.policy.bundle
        try:
            policy = await asyncio.to_thread(self._other_than, current.hash)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with a new bundle, the old one goes on
            self.refused = _what_is_wrong(error)
            _LOG.error(
                "policy refused: the one before stays", extra={"fields": {"reason": self.refused.split("\n")}}
            )
            return
        self.refused = None
        if policy is not None:
            self._river.policy = policy
            _LOG.info(
                "policy loaded",
                extra={"fields": {"policy": policy.bundle.hash[:12], "before": current.hash[:12]}},
            )

    def _other_than(self, current: str) -> Policy | None:
        """The policy of the directory as it is now; None when it means what the current one does."""
        bundle = load(self._directory)
        return None if bundle.hash == current else self._prepare(bundle)


def _what_is_wrong(error: Exception) -> str:
    """One line for each of the first problems; files are named as in the bundle, without their directories."""
    match error:
        case OSError():
            name = Path(error.filename).name if error.filename else "the bundle"
            lines = [f"{name}: cannot be read: {error.strerror or type(error).__name__}"]
        case ValueError():
            lines = str(error).splitlines()
        case _:
            lines = [log_text(internal(error))]
    more = [f"and {len(lines) - _SHOWN_PROBLEMS} more"] if len(lines) > _SHOWN_PROBLEMS else []
    return "\n".join([*map(safe_text, lines[:_SHOWN_PROBLEMS]), *more])


def _digest(directory: Traversable | Path) -> str:
    """A digest of the bundle's files; empty when they cannot be read."""
    digest = hashlib.sha256()
    try:
        for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
            # Opening a pipe would wait for ever.
            if entry.name.endswith(".toml") and entry.is_file():
                with entry.open("rb") as file:
                    content = file.read(MAX_FILE + 1)
                digest.update(f"{entry.name}\0{len(content)}\0".encode() + content)
    except OSError:
        return ""
    return digest.hexdigest()
