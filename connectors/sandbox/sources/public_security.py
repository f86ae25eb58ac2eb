"""Public security, match service for persons: interface document.

Transport
    ``POST`` with a form body.
Authentication
    Headers ``X-Auth-AppId``, ``X-Auth-Timestamp`` (seconds, within 300 s of now) and ``X-Auth-Sign`` = lower-case
    hex HMAC-SHA256(secret, app id + timestamp). Wrong: HTTP 401 and ``{"result": 0, "msg": "验签失败", "body": null}``.
``/rkk/hc``, one person a call
    Request ``xm`` (name), ``gmsfhm`` (resident number), ``cxsy`` (reason of the inquiry, not empty).
    Answer ``{"result": 1, "msg": "成功", "body": {"lsh": "GA0000000001", "hcjg": "1", "hcsj": "20261120093000",
    "hcdw": "虚构省公安厅"}}``: serial number of the check, ``1`` name and number agree or ``0`` they do not, when
    (UTC+8), by whom. A number that nobody has answers ``0`` too; nothing else is ever told.
Codes
    ``result`` 1 ok, 0 failed (HTTP 200); a fault of the service is HTTP 500. No time of update is given.
"""

import hashlib
import hmac
import itertools
from datetime import datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.formats import PROVINCE_TIME
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, answer, form_fields, is_recent


def create(population: Population, meter: Meter) -> Source:
    """The match service over a population."""
    names = {subject.key: subject.name for subject in population.subjects if subject.kind == "NP"}
    serial = itertools.count(1)

    async def match(request: Request) -> Response:
        if not _is_signed(request):
            meter.refused += 1
            return _failed("验签失败", 401)
        form = await form_fields(request)
        missing = [field for field in ("xm", "gmsfhm", "cxsy") if not form.get(field)]
        if missing:
            return _failed(f"缺少参数：{missing[0]}")
        meter.note(request, [form["gmsfhm"]])
        agrees = names.get(form["gmsfhm"]) == form["xm"]
        body = {
            "lsh": f"GA{next(serial):010d}",
            "hcjg": "1" if agrees else "0",
            "hcsj": f"{datetime.now(PROVINCE_TIME):%Y%m%d%H%M%S}",
            "hcdw": "虚构省公安厅",
        }
        return answer({"result": 1, "msg": "成功", "body": body})

    return Source(
        Starlette(routes=[Route("/rkk/hc", match, methods=["POST"])]), lambda: _failed("服务异常", 500)
    )


def _is_signed(request: Request) -> bool:
    app, timestamp, sign = (
        request.headers.get(f"X-Auth-{name}", "") for name in ("AppId", "Timestamp", "Sign")
    )
    expected = hmac.new(
        secrets.PUBLIC_SECURITY_SECRET.encode(), f"{app}{timestamp}".encode(), hashlib.sha256
    ).hexdigest()
    return (
        app == secrets.PUBLIC_SECURITY_APP
        and is_recent(timestamp)
        and hmac.compare_digest(expected.encode(), sign.encode())
    )


def _failed(message: str, status: int = 200) -> Response:
    return answer({"result": 0, "msg": message, "body": None}, status)
