"""Market regulation, abnormal operations and licences: interface document.

Transport
    ``POST`` with a JSON body, up to 100 subjects a call.
Authentication
    HTTP Basic. Wrong: HTTP 401 and ``{"code": 401, "message": "Unauthorized", "data": null}``.
``/scjg/abnormal`` and ``/scjg/licence``
    Request ``{"keys": ["91990100FAKE00013D"]}``, 1 to 100 credit codes (licence: resident numbers too).
    Answer ``{"code": 0, "message": "ok", "sjgxsj": "2026-11-19T22:00:00+08:00", "data": [{...}]}``; ``sjgxsj`` is the last
    update; no data is an empty list. Days ``2025-03-01``; ``2099-12-31`` no end; ``\\N`` or an empty text for null.
    Disputes are codes joined by commas: 01 objection, 02 appeal, 03 suit.

    Abnormal: uniscid, abnid, xxly (provider), yyzt (disputes), gsqsrq, gsjzrq, xfrq, cxrq, mlmc (list), abntime (entered),
    remdate (removed), specause_cn (reason), decno, decorg_cn (authority), remexcpres_cn (reason of removal), redecorg_cn,
    lxdh.
    Licence: XK_XDR_DM (credit code or resident number), XK_XDR_MC, XK_ID, XK_LYDW (provider), XK_YYZT (disputes), XK_GSQ,
    XK_GSZ, XK_XFRQ, XK_CXRQ, XK_XKZH (licence), XK_WSH (decision), XK_XKLB (kind), XK_NR, XK_JDRQ (decided), XK_YXQZ and
    XK_YXQZI (valid from, until), XK_XKJG (authority), XK_ZT (1 valid, 2 expired, 3 withdrawn), XK_LXDH.
Codes
    ``code`` 0 ok; 400 malformed (HTTP 400); 401; 413 over 100 keys (HTTP 400); 500 failure (HTTP 500).
"""

import base64
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.facts import Abnormal, Licence
from connectors.sandbox.formats import DASHED, Days, dispute_codes, updated
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer, json_object, key_list

BATCH = 100

_day = Days(DASHED, "\\N")
_lifecycle = Days(DASHED, "")
_STATUS_CODES = {"有效": "1", "失效": "2", "撤销": "3"}
_CREDENTIALS = base64.b64encode(
    f"{secrets.MARKET_REGULATION_USER}:{secrets.MARKET_REGULATION_PASSWORD}".encode()
).decode()


def create(population: Population, meter: Meter) -> Source:
    """Market regulation over a population."""
    tables: dict[str, Table[Any]] = {
        "/scjg/abnormal": Table(population.records.abnormal, _abnormal),
        "/scjg/licence": Table(population.records.market_licences, _licence),
    }
    updated_at = updated(population.today).isoformat()

    async def records(request: Request) -> Response:
        if request.headers.get("Authorization") != f"Basic {_CREDENTIALS}":
            meter.refused += 1
            return _failed(401, 401, "Unauthorized")
        keys = key_list((await json_object(request)).get("keys"))
        if not keys:
            return _failed(400, 400, "keys：应为非空字符串数组")
        if len(keys) > BATCH:
            return _failed(400, 413, f"keys：最多{BATCH}个")
        meter.note(request, keys)
        rows = tables[request.url.path].of(keys)
        return answer({"code": 0, "message": "ok", "sjgxsj": updated_at, "data": rows})

    routes = [Route(path, records, methods=["POST"]) for path in tables]
    return Source(Starlette(routes=routes), lambda: _failed(500, 500, "Internal Server Error"))


def _failed(status: int, code: int, message: str) -> Response:
    return answer({"code": code, "message": message, "data": None}, status)


def _abnormal(key: str, fact: Abnormal) -> dict[str, Any]:
    return {
        "uniscid": key,
        "abnid": fact.number,
        "xxly": fact.provider,
        "yyzt": ",".join(dispute_codes(fact.disputes)),
        "gsqsrq": _lifecycle(fact.published),
        "gsjzrq": _lifecycle(fact.published_until),
        "xfrq": _lifecycle(fact.repaired),
        "cxrq": _lifecycle(fact.withdrawn),
        "mlmc": fact.list_name,
        "abntime": _day(fact.listed),
        "remdate": _day(fact.removed),
        "specause_cn": fact.reason,
        "decno": fact.document,
        "decorg_cn": fact.authority,
        "remexcpres_cn": fact.removal_reason or "\\N",
        "redecorg_cn": fact.authority if fact.removed else "\\N",
        "lxdh": "99000000000",
    }


def _licence(key: str, fact: Licence) -> dict[str, Any]:
    return {
        "XK_XDR_DM": key,
        "XK_XDR_MC": "虚构相对人",
        "XK_ID": fact.number,
        "XK_LYDW": fact.provider,
        "XK_YYZT": ",".join(dispute_codes(fact.disputes)),
        "XK_GSQ": _lifecycle(fact.published),
        "XK_GSZ": _lifecycle(fact.published_until),
        "XK_XFRQ": _lifecycle(fact.repaired),
        "XK_CXRQ": _lifecycle(fact.withdrawn),
        "XK_XKZH": fact.licence_number,
        "XK_WSH": fact.document,
        "XK_XKLB": fact.kind,
        "XK_NR": fact.content,
        "XK_JDRQ": _day(fact.decided),
        "XK_YXQZ": _day(fact.valid_from),
        "XK_YXQZI": _day(fact.valid_until),
        "XK_XKJG": fact.authority,
        "XK_ZT": _STATUS_CODES[fact.status],
        "XK_LXDH": "99000000000",
    }
