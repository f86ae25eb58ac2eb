"""Industry association, self-discipline records: interface document.

Transport
    ``POST`` with a form body, one member a call; the HTTP status is always 200.
Authentication
    Fields ``appId``, ``timestamp`` (milliseconds, within 300 s of now) and ``sign`` = lower-case hex
    SHA-256(app id + secret + timestamp). Wrong: ``code`` 401.
``/member/records``
    Request: the three fields and ``creditCode``.
    Answer ``{"code": 200, "msg": "ok", "taskNo": "T0000000001", "charge": false, "data": {"asOf": "2026-11-19",
    "records": [{...}]}}``; ``asOf`` is the day of the last update; no data is an empty list. Days ``2025年03月01日``;
    ``长期`` no end; an empty text or ``无`` for null. ``remark`` joins 异议 (objection), 复议 (appeal), 诉讼 (suit) by ``、``.

    creditCode, recordNo, unit (provider), remark (disputes), showFrom, showTo, repairedOn, withdrawnOn, associationName,
    recordType (1 commendation, 2 discipline), title, decidedOn, content, memberPhone.
Codes
    ``code`` 200 ok; 400 parameter; 401 signature; 500 failure.
"""

import hashlib
import hmac
import itertools
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.facts import Dispute, SelfDiscipline
from connectors.sandbox.formats import CHINESE, Days, updated
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer, form_fields, is_recent

_day = Days(CHINESE, "无", "长期")
_lifecycle = Days(CHINESE, "", "长期")
_REMARKS = {Dispute.OBJECTION: "异议", Dispute.APPEAL: "复议", Dispute.SUIT: "诉讼"}


def create(population: Population, meter: Meter) -> Source:
    """The association over a population."""
    table = Table(population.records.self_discipline, _record)
    as_of = f"{updated(population.today):%Y-%m-%d}"
    task = itertools.count(1)

    async def records(request: Request) -> Response:
        form = await form_fields(request)
        if not _is_signed(form):
            meter.refused += 1
            return _failed(401, "签名错误")
        key = form.get("creditCode")
        if not key:
            return _failed(400, "缺少参数：creditCode")
        meter.note(request, [key])
        return answer(
            {
                "code": 200,
                "msg": "ok",
                "taskNo": f"T{next(task):010d}",
                "charge": False,
                "data": {"asOf": as_of, "records": table.of([key])},
            }
        )

    routes = [Route("/member/records", records, methods=["POST"])]
    return Source(Starlette(routes=routes), lambda: _failed(500, "系统异常"))


def _is_signed(form: dict[str, str]) -> bool:
    app, timestamp, sign = (form.get(field, "") for field in ("appId", "timestamp", "sign"))
    expected = hashlib.sha256(f"{app}{secrets.ASSOCIATION_SECRET}{timestamp}".encode()).hexdigest()
    return (
        app == secrets.ASSOCIATION_APP
        and is_recent(timestamp, unit=1000)
        and hmac.compare_digest(expected.encode(), sign.encode())
    )


def _failed(code: int, message: str) -> Response:
    return answer({"code": code, "msg": message, "data": None})


def _record(key: str, fact: SelfDiscipline) -> dict[str, Any]:
    return {
        "creditCode": key,
        "recordNo": fact.number,
        "unit": fact.provider,
        "remark": "、".join(_REMARKS[dispute] for dispute in fact.disputes),
        "showFrom": _day(fact.published),
        "showTo": _day(fact.published_until),
        "repairedOn": _lifecycle(fact.repaired),
        "withdrawnOn": _lifecycle(fact.withdrawn),
        "associationName": fact.association,
        "recordType": "1" if fact.commends else "2",
        "title": fact.title,
        "decidedOn": _day(fact.decided),
        "content": fact.content,
        "memberPhone": "99000000000",
    }
