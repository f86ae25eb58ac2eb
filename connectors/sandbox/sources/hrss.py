"""Human resources and social security: interface document.

Transport
    ``POST`` with a JSON body, one subject a call; the HTTP status is always 200.
Authentication
    Header ``Authorization: Bearer <token>``.
``/api/hrss/v1/payments``, ``/api/hrss/v1/arrears`` and ``/api/hrss/v1/titles``
    Request ``{"idType": "01", "idNo": "91990100FAKE00013D", "page": 1, "rows": 50}``; ``idType`` 01 credit code,
    02 resident number; pages from 1, at most 50 rows.
    Answer ``{"errcode": 0, "errmsg": "ok", "result": {"total": 12, "list": [{...}]}}``; no data is ``total`` 0.
    Days are milliseconds (midnight UTC+8) or null. ``flags`` lists OBJECTION, APPEAL, SUIT. The time of the last
    update is the header ``Last-Modified``.

    Payments: idNo, sn, provider, flags, cancelledOn, insType (SI), period ``2025-03``, persons, paidAmount (yuan, text),
    state, operatorMobile.
    Arrears: idNo, sn, provider, flags, publishFrom, publishTo, repairedOn, cancelledOn, noticeDate, endedOn, degree
    (轻微, 一般, 严重), basisType (司法文书, 行政决定, 其他文书), arrearType (SI), period, owedAmount (yuan, text), agency,
    operatorMobile.
    Titles: idNo, sn, provider, flags, publishFrom, publishTo, repairedOn, cancelledOn, titleType (职称, 职业资格), titleName,
    titleLevel, speciality, certNo, issuedOn, validTo, issuer, state, operatorMobile.
Codes
    ``errcode`` 0 ok; 10001 token; 10002 parameter; 10004 too many rows; 500 failure.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.facts import ENDLESS, Arrears, Basis, Contribution, Degree, Fact, Title
from connectors.sandbox.formats import epoch_ms, http_date, updated, yuan
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer, json_object

ROWS = 50

_STATES = {"NORMAL": "正常缴费", "DEFERRED": "缓缴", "STOPPED": "暂停缴费"}
_DEGREES = {Degree.MINOR: "轻微", Degree.GENERAL: "一般", Degree.SERIOUS: "严重"}
_BASES = {Basis.JUDICIAL: "司法文书", Basis.ADMINISTRATIVE: "行政决定", Basis.OTHER: "其他文书"}


def create(population: Population, meter: Meter) -> Source:
    """Human resources and social security over a population."""
    headers = {"Last-Modified": http_date(updated(population.today))}
    tables: dict[str, Table[Any]] = {
        "/api/hrss/v1/payments": Table(population.records.insurance_payments, _payment),
        "/api/hrss/v1/arrears": Table(population.records.insurance_arrears, _arrears),
        "/api/hrss/v1/titles": Table(population.records.titles, _title),
    }
    routes = [
        Route(path, _endpoint(table, meter, headers), methods=["POST"]) for path, table in tables.items()
    ]
    return Source(Starlette(routes=routes), lambda: _failed(500, "系统错误"))


def _endpoint(
    table: Table[Any], meter: Meter, headers: dict[str, str]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if request.headers.get("Authorization") != f"Bearer {secrets.HRSS_TOKEN}":
            meter.refused += 1
            return _failed(10001, "token无效")
        body = await json_object(request)
        key, page, rows = body.get("idNo"), body.get("page"), body.get("rows")
        if body.get("idType") not in {"01", "02"} or not isinstance(key, str) or not key:
            return _failed(10002, "idType、idNo：参数错误")
        if not isinstance(page, int) or not isinstance(rows, int) or page < 1 or rows < 1:
            return _failed(10002, "page、rows：应为正整数")
        if rows > ROWS:
            return _failed(10004, f"rows：最多{ROWS}")
        meter.note(request, [key])
        found = table.of([key])
        result = {"total": len(found), "list": found[(page - 1) * rows : page * rows]}
        return answer({"errcode": 0, "errmsg": "ok", "result": result}, headers=headers)

    return endpoint


def _failed(code: int, message: str) -> Response:
    return answer({"errcode": code, "errmsg": message, "result": None})


def _common(key: str, fact: Fact) -> dict[str, Any]:
    return {
        "idNo": key,
        "sn": fact.number,
        "provider": fact.provider,
        "flags": list(fact.disputes),
        "cancelledOn": epoch_ms(fact.withdrawn),
        "operatorMobile": "99000000000",
    }


def _payment(key: str, fact: Contribution) -> dict[str, Any]:
    return _common(key, fact) | {
        "insType": "SI",
        "period": f"{fact.period:%Y-%m}",
        "persons": fact.headcount,
        "paidAmount": yuan(fact.amount),
        "state": _STATES[fact.status],
    }


def _arrears(key: str, fact: Arrears) -> dict[str, Any]:
    return _common(key, fact) | {
        "publishFrom": epoch_ms(fact.published),
        "publishTo": epoch_ms(fact.published_until),
        "repairedOn": epoch_ms(fact.repaired),
        "noticeDate": epoch_ms(fact.decided),
        "endedOn": epoch_ms(fact.conduct_ended),
        "degree": _DEGREES[fact.degree],
        "basisType": _BASES[fact.basis],
        "arrearType": "SI",
        "period": fact.period,
        "owedAmount": yuan(fact.amount),
        "agency": fact.authority,
    }


def _title(key: str, fact: Title) -> dict[str, Any]:
    return _common(key, fact) | {
        "publishFrom": epoch_ms(fact.published),
        "publishTo": _end(fact.published_until),
        "repairedOn": epoch_ms(fact.repaired),
        "titleType": fact.kind,
        "titleName": fact.title,
        "titleLevel": fact.level,
        "speciality": fact.subject_field,
        "certNo": fact.certificate,
        "issuedOn": epoch_ms(fact.awarded),
        "validTo": _end(fact.valid_until),
        "issuer": fact.authority,
        "state": fact.status,
    }


def _end(day: date | None) -> int | None:
    return None if day == ENDLESS else epoch_ms(day)
