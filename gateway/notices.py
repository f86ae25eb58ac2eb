"""`POST /notices/{source}`: sources tell the gateway that something of theirs has changed.

What a notice is and how it is signed: `connectors.notices`. The answer is 204 when every replica has been told; else
a JSON object whose `error` names the field and the reason.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.notices import MOST_BYTES, NoticeRefusedError, Notices

_LOG = logging.getLogger("gateway")

_BODY_SECONDS = 5.0


def notices_route(notices: Callable[[], Notices], clock: Callable[[], datetime]) -> Route:
    """The route that takes notices; `notices` gives those of the sources in use, `clock` the time in UTC."""

    async def take(request: Request) -> Response:
        source = request.path_params["source"]
        try:
            body = await _body(request)
            await notices().take(
                source,
                request.headers.get("x-notice-time", ""),
                request.headers.get("x-notice-signature", ""),
                body,
                clock(),
            )
        except NoticeRefusedError as error:
            _LOG.info("a notice was refused: %d", error.status)
            return JSONResponse({"error": error.reason}, error.status)
        _LOG.info("a notice of %s was taken", source)
        return Response(status_code=204)

    return Route("/notices/{source}", take, methods=["POST"])


async def _body(request: Request) -> bytes:
    """The body, as long as it is not too long; raises NoticeRefusedError."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise NoticeRefusedError(413, f"a notice has at most {MOST_BYTES} bytes")
    except (TimeoutError, ClientDisconnect):
        raise NoticeRefusedError(400, "the notice did not arrive in full") from None
    return bytes(body)
