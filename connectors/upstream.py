"""One source at run time: its time limits and how many calls may be under way at once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import httpx

from connectors.answers import FaultCode, Ground, SourceFaultError
from connectors.envelope import Rows, open_envelope
from connectors.request import RequestTemplate
from connectors.source import SourceFile
from connectors.transport import exchange

Clock = Callable[[], datetime]


class Source:
    """One source at run time. At most `concurrency` calls are under way at once, whoever asks."""

    def __init__(
        self,
        file: SourceFile,
        url: str,
        variables: Mapping[str, str],
        transport: httpx.AsyncBaseTransport,
        clock: Clock,
    ) -> None:
        self.file = file
        self.url = url
        self.secrets = variables
        self.transport = transport
        self._clock = clock
        self._slots = asyncio.Semaphore(file.concurrency)

    async def within(self, until: float, rows: Callable[[], Awaitable[Rows]]) -> Rows:
        """What `rows` gathers, if it is there by `until` (loop time) and within the source's own time."""
        try:
            if asyncio.get_running_loop().time() >= until:
                raise TimeoutError
            async with asyncio.timeout_at(until), self._slots, asyncio.timeout(self.file.timeout_seconds):
                return await rows()
        except TimeoutError:
            raise SourceFaultError(FaultCode.TIMEOUT, "no answer in time") from None

    async def rows(
        self, template: RequestTemplate, asked: Mapping[str, Any], ground: Ground, *, idempotent: bool
    ) -> Rows:
        """The rows that one request brings; raises SourceFaultError."""
        asked_at = self._clock()
        reply = await exchange(
            self.transport,
            lambda: template.build(asked, ground, self._clock()),
            idempotent=idempotent,
            limit=self.file.max_body_bytes,
        )
        return open_envelope(reply, self.file.envelope, asked_at)
