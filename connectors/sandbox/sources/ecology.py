"""Ecology and environment, credit grades of organisations: interface document.

Transport
    ``GET`` through an interface market, one organisation a call; the HTTP status is always 200.
Authentication
    Header ``Authorization: APPCODE <code>``.
``/hb/credit-grade?code=91990100FAKE00013D``
    Answer in two levels: ``{"showapi_res_code": 0, "showapi_res_error": "", "showapi_res_body": {"ret_code": 0,
    "remark": "", "updateTime": 1795096800000, "list": [{...}]}}``. No data: inner code -1, empty list.
    Days and ``updateTime`` are milliseconds since 1970 (days: midnight UTC+8), null for none.

    code, id (record), dept (provider and evaluator), marks (list of OBJECTION, APPEAL, SUIT), pubStart, pubEnd, repaired,
    withdrawn, kindCode (02 industry), schemeName, colour (1 green, 2 blue, 3 yellow, 4 red, 5 black), sector, gradedAt,
    expireAt, phone, petitions.
Codes
    Outer 0 ok, -1000 failure, -1002 code wrong; inner 0 ok, -1 no data, -2 parameter.
"""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.facts import Evaluation
from connectors.sandbox.formats import epoch_ms, updated
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer


def create(population: Population, meter: Meter) -> Source:
    """Ecology over a population."""
    table = Table(population.records.ecology_evaluations, _evaluation)
    updated_at = int(updated(population.today).timestamp()) * 1000

    async def grades(request: Request) -> Response:
        if request.headers.get("Authorization") != f"APPCODE {secrets.ECOLOGY_APPCODE}":
            meter.refused += 1
            return _outer(-1002, "APPCODE无效", {})
        key = request.query_params.get("code")
        if not key:
            return _outer(0, "", {"ret_code": -2, "remark": "缺少参数：code"})
        meter.note(request, [key])
        rows = table.of([key])
        inner = {"ret_code": 0, "remark": ""} if rows else {"ret_code": -1, "remark": "查无数据"}
        return _outer(0, "", inner | {"updateTime": updated_at, "list": rows})

    routes = [Route("/hb/credit-grade", grades, methods=["GET"])]
    return Source(Starlette(routes=routes), lambda: _outer(-1000, "系统调用错误", {}))


def _outer(code: int, error: str, body: dict[str, Any]) -> Response:
    return answer({"showapi_res_code": code, "showapi_res_error": error, "showapi_res_body": body})


def _evaluation(key: str, fact: Evaluation) -> dict[str, Any]:
    return {
        "code": key,
        "id": fact.number,
        "dept": fact.evaluator,
        "marks": list(fact.disputes),
        "pubStart": epoch_ms(fact.published),
        "pubEnd": epoch_ms(fact.published_until),
        "repaired": epoch_ms(fact.repaired),
        "withdrawn": epoch_ms(fact.withdrawn),
        "kindCode": "02",
        "schemeName": fact.scheme,
        "colour": fact.grade,
        "sector": fact.domain,
        "gradedAt": epoch_ms(fact.evaluated),
        "expireAt": epoch_ms(fact.valid_until),
        "phone": "99000000000",
        "petitions": 1,
    }
