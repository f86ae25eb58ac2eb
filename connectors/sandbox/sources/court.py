"""Court, dishonest persons subject to enforcement 失信被执行人, judgments and crimes: interface document.

Transport
    ``POST`` with a JSON body, up to 20 subjects a call.
Authentication
    HTTP Basic with the key as user and an empty password. Wrong: HTTP 401 and
    ``{"code": 401, "msg": "unauthorized", "data": null}``.
``/zxgk/sxbzxr``
    Request ``{"zjhmList": ["91990106FAKE001440"]}``, 1 to 20 credit codes or resident numbers.
    Answer ``{"code": 0, "msg": "", "data": [{...}]}``; nobody of them listed: HTTP 404 and
    ``{"code": 404, "msg": "无记录", "data": null}``. Days ``2025-03-01``, null for none. Disputes are codes joined by commas
    (01 objection, 02 appeal, 03 suit), null for none. No time of update is given.

    ZJHM (code or number), XM, AJBS (record), TGDW (provider), YYZT (disputes), FBRQ (published and entered), PBRQ (published
    until), XFRQ (repaired), CXRQ (withdrawn), MDMC (list), PGRQ (removed), LRSY (reason), JDSH (decision), JDFY (authority),
    AH (case), ZXFY (court), ZXYJ (document enforced), YW (obligation), LXQK (performance), SXXW (conduct), LXDH.
``/zxgk/cpws`` (effective judgments) and ``/zxgk/xsfz`` (crimes)
    Request and answer as above, with the columns of the exchange standard (`connectors.sandbox.exchange`,
    `connectors.sandbox.tables`); days ``9999-12-31`` have no end.
Codes
    ``code`` 0 ok; 400 malformed (HTTP 400); 401; 404 nobody listed; 413 over 20 (HTTP 400); 500 failure (HTTP 500).
"""

import base64
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import row_of
from connectors.sandbox.facts import Enforcement
from connectors.sandbox.formats import DASHED, Days, dispute_codes
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer, json_object, key_list

BATCH = 20

_day = Days(DASHED, None)
_CREDENTIALS = base64.b64encode(f"{secrets.COURT_KEY}:".encode()).decode()


def create(population: Population, meter: Meter) -> Source:
    """The court's list over a population."""
    records = population.records
    rows_at: dict[str, Table[Any]] = {
        "/zxgk/sxbzxr": Table(records.enforcement, _enforcement),
        "/zxgk/cpws": Table(records.judgments, row_of(tables.JUDGMENTS)),
        "/zxgk/xsfz": Table(records.crimes, row_of(tables.CRIMES)),
    }

    async def entries(request: Request) -> Response:
        if request.headers.get("Authorization") != f"Basic {_CREDENTIALS}":
            meter.refused += 1
            return _failed(401, 401, "unauthorized")
        keys = key_list((await json_object(request)).get("zjhmList"))
        if not keys:
            return _failed(400, 400, "zjhmList：应为非空字符串数组")
        if len(keys) > BATCH:
            return _failed(400, 413, f"zjhmList：最多{BATCH}个")
        meter.note(request, keys)
        rows = rows_at[request.url.path].of(keys)
        if not rows:
            return _failed(404, 404, "无记录")
        return answer({"code": 0, "msg": "", "data": rows})

    routes = [Route(path, entries, methods=["POST"]) for path in rows_at]
    return Source(Starlette(routes=routes), lambda: _failed(500, 500, "internal error"))


def _failed(status: int, code: int, message: str) -> Response:
    return answer({"code": code, "msg": message, "data": None}, status)


def _enforcement(key: str, fact: Enforcement) -> dict[str, Any]:
    return {
        "ZJHM": key,
        "XM": "虚构被执行人",
        "AJBS": fact.number,
        "TGDW": fact.provider,
        "YYZT": ",".join(dispute_codes(fact.disputes)) or None,
        "FBRQ": _day(fact.listed),
        "PBRQ": _day(fact.published_until),
        "XFRQ": _day(fact.repaired),
        "CXRQ": _day(fact.withdrawn),
        "MDMC": fact.list_name,
        "PGRQ": _day(fact.removed),
        "LRSY": fact.reason,
        "JDSH": fact.document,
        "JDFY": fact.authority,
        "AH": fact.case,
        "ZXFY": fact.court,
        "ZXYJ": fact.basis_document,
        "YW": fact.obligation,
        "LXQK": fact.performance,
        "SXXW": fact.conduct,
        "LXDH": "99000000000",
    }
