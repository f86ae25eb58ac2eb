"""Faults that a source can be given while it runs."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from connectors.sandbox.source import Meter, Source

FAULTS = ("delay", "error", "garbage", "truncated", "down", "off")
"""Answer late; fail in the source's own way; a block page; JSON that breaks off; port closed; none."""

LONGEST_DELAY = 3600

_BLOCK_PAGE = (
    "<!DOCTYPE html><html><head><title>访问被拦截</title></head><body>您的访问过于频繁</body></html>"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault; `seconds` is the delay and 0 for the others."""

    name: str
    seconds: float = 0


def fault_from(wish: Mapping[str, Any]) -> Fault:
    """The fault that a JSON object asks for; raises ValueError naming the member and the reason."""
    name, seconds = wish.get("fault"), wish.get("seconds", 0)
    if name not in FAULTS:
        raise ValueError(f"fault: one of {', '.join(FAULTS)}")
    if (
        not isinstance(seconds, int | float)
        or not math.isfinite(seconds)
        or not 0 <= seconds <= LONGEST_DELAY
    ):
        raise ValueError(f"seconds: a number from 0 to {LONGEST_DELAY}")
    if (name == "delay") != (seconds > 0):
        raise ValueError("seconds: above 0 for delay, absent otherwise")
    return Fault(name, seconds)


class Wire:
    """A source as its callers meet it: every request counted, every answer subject to the fault of the moment.

    A request reaches the source whatever the fault, so that what was asked is always known.
    """

    def __init__(self, source: Source, meter: Meter) -> None:
        self.fault = Fault("off")
        self._source = source
        self._meter = meter
        self._paths = {route.path for route in source.app.routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        self._meter.requests += 1
        self._meter.by_path[path if path in self._paths else "other"] += 1
        fault = self.fault
        if fault.name == "off":
            await self._source.app(scope, receive, send)
            return
        response = await _collected(self._source, scope, receive)
        await asyncio.sleep(fault.seconds)
        await self._broken(fault, response)(scope, receive, send)

    def _broken(self, fault: Fault, response: Response) -> Response:
        if fault.name == "error":
            return self._source.failure()
        if fault.name == "garbage":
            return HTMLResponse(_BLOCK_PAGE)
        if fault.name == "truncated":
            body = bytes(response.body)
            return Response(body[: len(body) // 2], response.status_code, media_type="application/json")
        return response


async def _collected(source: Source, scope: Scope, receive: Receive) -> Response:
    status, headers, body = 500, [], bytearray()

    async def collect(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], message["headers"]
        else:
            body.extend(message["body"])

    await source.app(scope, receive, collect)
    response = Response(bytes(body), status)
    response.raw_headers = headers
    return response
