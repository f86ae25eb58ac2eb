"""Market provider B, risk of organisations: interface document.

Transport
    ``GET``, one organisation a call; the HTTP status is always 200.
Authentication
    Header ``Authorization: <token>``, without a scheme. Wrong: ``error_code`` 300002.
``/services/open/credit?keyword=91990100FAKE00013D&authorizationId=...&useFor=consent``
    ``useFor``: ``consent`` (``authorizationId`` is required) or ``self``, the subject's own inquiry.
    Answer ``{"error_code": 0, "reason": "ok", "result": {"total": 1, "updateTime": 1795096800000, "items": [{...}]}}``.
    Days and ``updateTime`` are milliseconds since 1970 (days: midnight UTC+8), null for none.

    creditCode, id (record), source (provider), disputeFlags (list of OBJECTION, APPEAL, SUIT), withdrawTime, infoType,
    gradeText, gradeTime, methodDoc, summary, phoneList, score.
Codes
    ``error_code`` 0 ok; 300000 no data; 300001 failure; 300002 token; 300005 no right; 300008 parameter.
"""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.facts import MarketStatement
from connectors.sandbox.formats import epoch_ms, updated
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer


def create(population: Population, meter: Meter) -> Source:
    """Market provider B over a population."""
    table = Table(population.records.market_b, _statement)
    updated_at = int(updated(population.today).timestamp()) * 1000

    async def credit(request: Request) -> Response:
        if request.headers.get("Authorization") != secrets.MARKET_B_TOKEN:
            meter.refused += 1
            return _failed(300002, "账号失效")
        key, use = request.query_params.get("keyword"), request.query_params.get("useFor")
        if not key or use not in {"consent", "self"}:
            return _failed(300008, "缺少必要参数")
        if use == "consent" and not request.query_params.get("authorizationId"):
            meter.refused += 1
            return _failed(300005, "无权限访问此接口")
        meter.note(request, [key])
        rows = table.of([key])
        if not rows:
            return _failed(300000, "无数据")
        result = {"total": len(rows), "updateTime": updated_at, "items": rows}
        return answer({"error_code": 0, "reason": "ok", "result": result})

    routes = [Route("/services/open/credit", credit, methods=["GET"])]
    return Source(Starlette(routes=routes), lambda: _failed(300001, "请求失败"))


def _failed(code: int, reason: str) -> Response:
    return answer({"error_code": code, "reason": reason, "result": None})


def _statement(key: str, fact: MarketStatement) -> dict[str, Any]:
    return {
        "creditCode": key,
        "id": fact.number,
        "source": fact.provider,
        "disputeFlags": list(fact.disputes),
        "withdrawTime": epoch_ms(fact.withdrawn),
        "infoType": fact.kind,
        "gradeText": fact.rating,
        "gradeTime": epoch_ms(fact.stated),
        "methodDoc": fact.method,
        "summary": fact.statement,
        "phoneList": ["99000000000"],
        "score": 61,
    }
