"""Natural resources, licences for mining and land: interface document.

Transport
    ``GET``, one organisation a call.
Authentication
    Header ``X-Api-Key``. Wrong: HTTP 403 and ``{"Code": "40300", ...}``.
``/zrzy/v1/xkz?tyshxydm=91990100FAKE00013D``
    Answer ``{"Code": "0", "Msg": "OK", "Rows": [{...}]}``; nothing known: HTTP 404 and
    ``{"Code": "40400", "Msg": "未查询到数据", "Rows": null}``. Header ``X-Data-Time``: last update, seconds since 1970.
    Days ``2025/03/01 00:00:00`` (UTC+8); ``9999/09/09 00:00:00`` no end; the text ``null`` for null.

    tyshxydm, xkzId (record), sjtgdw (provider), zybz (disputes: list of 01 objection, 02 appeal, 03 suit), gsks and gsjs
    (published from, until), xfsj (repaired), cxsj (withdrawn), xkzh (licence), pwh (decision), xklb (KC mining, TD land,
    GH planning), xknr, pzrq (decided), yxqq and yxqz (valid from, until), fzjg (authority), zt (status), lxrdh, xfjl.
Codes
    ``0`` ok; ``40000`` parameter (HTTP 400); ``40300`` key; ``40400`` no data; ``50000`` failure (HTTP 500).
"""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.facts import Licence
from connectors.sandbox.formats import SLASHED, Days, dispute_codes, updated
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer

_day = Days(SLASHED, "null", "9999/09/09 00:00:00")
_KINDS = {"MINING": "KC", "LAND": "TD", "PLANNING": "GH"}


def create(population: Population, meter: Meter) -> Source:
    """Natural resources over a population."""
    table = Table(population.records.resource_licences, _licence)
    headers = {"X-Data-Time": str(int(updated(population.today).timestamp()))}

    async def licences(request: Request) -> Response:
        if request.headers.get("X-Api-Key") != secrets.NATURAL_RESOURCES_KEY:
            meter.refused += 1
            return _failed(403, "40300", "密钥无效")
        key = request.query_params.get("tyshxydm")
        if not key:
            return _failed(400, "40000", "缺少参数：tyshxydm")
        meter.note(request, [key])
        rows = table.of([key])
        if not rows:
            return _failed(404, "40400", "未查询到数据", headers)
        return answer({"Code": "0", "Msg": "OK", "Rows": rows}, headers=headers)

    routes = [Route("/zrzy/v1/xkz", licences, methods=["GET"])]
    return Source(Starlette(routes=routes), lambda: _failed(500, "50000", "系统异常"))


def _failed(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return answer({"Code": code, "Msg": message, "Rows": None}, status, headers)


def _licence(key: str, fact: Licence) -> dict[str, Any]:
    return {
        "tyshxydm": key,
        "xkzId": fact.number,
        "sjtgdw": fact.provider,
        "zybz": dispute_codes(fact.disputes),
        "gsks": _day(fact.published),
        "gsjs": _day(fact.published_until),
        "xfsj": _day(fact.repaired),
        "cxsj": _day(fact.withdrawn),
        "xkzh": fact.licence_number,
        "pwh": fact.document,
        "xklb": _KINDS[fact.kind],
        "xknr": fact.content,
        "pzrq": _day(fact.decided),
        "yxqq": _day(fact.valid_from),
        "yxqz": _day(fact.valid_until),
        "fzjg": fact.authority,
        "zt": fact.status,
        "lxrdh": "99000000000",
        "xfjl": "无",
    }
