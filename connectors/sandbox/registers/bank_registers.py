"""The bank's own registers of applications, contracts and consents: interface document.

Transport
    ``POST`` with a form body, one number a call; the HTTP status is always 200.
Authentication
    Fields ``appId``, ``ts`` (seconds, within 300 s of now) and ``sign`` = lower-case hex HMAC-SHA256 of app id +
    ts under the secret. Wrong: ``errcode`` 401.
``/credit/applications``, ``/credit/contracts``, ``/credit/pboc-consents``
    Request: the three fields and ``bizNo``. Answer ``{"errcode": 0, "errmsg": "ok", "result": {"list": [{...}]}}``; an
    unknown number is an empty list.

    bizNo, bankCode, startAt and endAt (milliseconds, midnight UTC+8), bizStatus (01 live, 09 ended), orgCodes
    (credit codes joined by ``|``), idNos (resident numbers joined by ``|``).
Codes
    ``errcode`` 0 ok; 400 parameter; 401 signature; 500 failure.
"""

import hashlib
import hmac
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.evidence import Entry, entries
from connectors.sandbox.formats import epoch_ms
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, answer, form_fields, is_recent


def create(population: Population, meter: Meter) -> Source:
    """The bank's registers with their fixed entries."""
    registers = entries(population)

    async def register(request: Request) -> Response:
        form = await form_fields(request)
        if not _is_signed(form):
            meter.refused += 1
            return _failed(401, "签名错误")
        number = form.get("bizNo")
        if not number:
            return _failed(400, "bizNo：不能为空")
        meter.note(request, [number])
        entry = registers[request.url.path.rpartition("/")[2]].get(number)
        rows = [] if entry is None else [_row(entry)]
        return answer({"errcode": 0, "errmsg": "ok", "result": {"list": rows}})

    routes = [
        Route(f"/credit/{name}", register, methods=["POST"])
        for name in ("applications", "contracts", "pboc-consents")
    ]
    return Source(Starlette(routes=routes), lambda: _failed(500, "系统异常"))


def _is_signed(form: dict[str, str]) -> bool:
    app, moment, sign = (form.get(field, "") for field in ("appId", "ts", "sign"))
    expected = hmac.new(secrets.BANK_SECRET.encode(), f"{app}{moment}".encode(), hashlib.sha256).hexdigest()
    return (
        app == secrets.BANK_APP
        and is_recent(moment)
        and hmac.compare_digest(expected.encode(), sign.encode())
    )


def _failed(code: int, message: str) -> Response:
    return answer({"errcode": code, "errmsg": message, "result": None})


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "bizNo": entry.number,
        "bankCode": entry.units[0],
        "startAt": epoch_ms(entry.begins),
        "endAt": epoch_ms(entry.ends),
        "bizStatus": "01" if entry.open else "09",
        "orgCodes": "|".join(entry.organisations),
        "idNos": "|".join(entry.persons),
    }
