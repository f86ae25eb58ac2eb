"""The sources in use. Others take their place while the gateway serves; what began with the old ones ends with them."""

import asyncio
import logging
from collections.abc import Callable

from connectors.fetch import Sources
from gateway.refusals import what_is_wrong

_LOG = logging.getLogger("gateway")


class LiveSources:
    """Holds the sources that `load` makes of the files, in `now`.

    `linger` is how many seconds the old ones stay open after a reload: longer than any inquiry.
    """

    def __init__(self, load: Callable[[], Sources], linger: float) -> None:
        self.now = load()
        self.refused: str | None = None
        """What is wrong with the files that were refused last; None when the last ones were taken."""
        self._load = load
        self._linger = linger
        self._following: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    def follow(self) -> None:
        """Hear from now on what other replicas are told has changed."""
        self._following = asyncio.create_task(self.now.follow())

    async def reload(self) -> None:
        """Take the files as they are now, all or none: with a mistake in any of them, the ones before stay.

        So do those, with their connections and all that they keep, where the files mean what they did.
        """
        try:
            new = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with new files, the old ones go on
            self.refused = what_is_wrong(error, "the sources")
            _LOG.error(
                "sources refused: the ones before stay",
                extra={"fields": {"reason": self.refused.split("\n")}},
            )
            return
        if new.same_as(self.now):
            self.refused = None
            await new.aclose()
            _LOG.info("sources are as they were")
            return
        new.follow_on(self.now)
        old, self.now, self.refused = self.now, new, None
        await self._stop_following()
        self.follow()
        leaving = asyncio.create_task(self._leave(old))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        _LOG.info("sources loaded", extra={"fields": {"sources": len(new.titles())}})

    async def _leave(self, old: Sources) -> None:
        try:
            await asyncio.sleep(self._linger)
        finally:
            await old.aclose()

    async def _stop_following(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def aclose(self) -> None:
        """Close those in use, and those that were."""
        await self._stop_following()
        for leaving in list(self._leaving):
            leaving.cancel()
            await asyncio.wait([leaving])
        await self.now.aclose()
