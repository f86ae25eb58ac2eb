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

from gateway.live_sources import LiveSources
from gateway.policy import Policy
from gateway.refusals import what_is_wrong
from gateway.registered import Registered, read_manifest
from gateway.river import River
from policies.bundle import Bundle
from policies.bundle_files import MAX_FILE
from policies.bundle_loading import load

_LOG = logging.getLogger("gateway")


class Reload:
    """Looks after the policy of a river: one load at a time, off the event loop.

    `prepare` makes the policy of a bundle and of the documents registered in the file `manifest`, and refuses, by
    ValueError, what may not be used.
    `sources`, made of the files in `source_files`, are loaded anew with it, each keeping what was good when what
    is new is not. `watch_seconds` is the time between two looks at the files of the directory; 0: none without being asked.
    """

    def __init__(
        self,
        river: River,
        directory: Traversable | Path,
        prepare: Callable[[Bundle, Registered], Policy],
        watch_seconds: float = 0.0,
        manifest: Path | None = None,
        sources: LiveSources | None = None,
        source_files: Path | None = None,
    ) -> None:
        self.refused: str | None = None
        """What is wrong with the bundle that was refused last; None when the last one was taken."""
        self._river = river
        self._directory = directory
        self._prepare = prepare
        self._watch_seconds = watch_seconds
        self._manifest = manifest
        self._sources = sources
        self._source_files = source_files
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Load the bundle soon; asked again during a load, once more after it."""
        self._asked.set()

    async def run(self) -> None:
        """Load when asked, and when the files have changed and stayed the same for one look; until cancelled."""
        tried = seen = ("", "")
        while True:
            asked = await self._asked_in_time()
            files = await asyncio.to_thread(self._digests)
            # A file that differs from the last look may be half of a change that is being written.
            if asked or (files == seen and files != tried):
                await self._load()
                if self._sources is not None and (asked or files[1] != tried[1]):
                    await self._sources.reload()
                tried = files
            seen = files

    def _digests(self) -> tuple[str, str]:
        """Of the policy's files, and of the sources'."""
        sources = "" if self._source_files is None else _digest(self._source_files, None)
        return _digest(self._directory, self._manifest), sources

    async def _asked_in_time(self) -> bool:
        try:
            async with asyncio.timeout(self._watch_seconds or None):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    async def _load(self) -> None:
        current, registered = self._river.policy.bundle, self._river.policy.registered
        try:
            policy = await asyncio.to_thread(self._other_than, current.hash, registered)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with a new bundle, the old one goes on
            self.refused = what_is_wrong(error, "the bundle")
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

    def _other_than(self, current: str, current_registered: Registered) -> Policy | None:
        """The policy of the files as they are now; None when it means what the current one does."""
        bundle, registered = load(self._directory), read_manifest(self._manifest)
        same = bundle.hash == current and registered == current_registered
        return None if same else self._prepare(bundle, registered)


def _digest(directory: Traversable | Path, manifest: Path | None) -> str:
    """A digest of the bundle's files and the manifest; empty when they cannot be read."""
    digest = hashlib.sha256()
    try:
        for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
            # Opening a pipe would wait for ever.
            if entry.name.endswith(".toml") and entry.is_file():
                with entry.open("rb") as file:
                    content = file.read(MAX_FILE + 1)
                digest.update(f"{entry.name}\0{len(content)}\0".encode() + content)
        if manifest is not None:
            digest.update(manifest.read_bytes())
    except OSError:
        return ""
    return digest.hexdigest()
