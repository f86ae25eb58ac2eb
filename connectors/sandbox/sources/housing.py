"""Housing, fund contributions and grades of builders: interface document.

Transport
    ``POST`` with a JSON body, one subject a call; the HTTP status is always 200.
Authentication
    Members ``accessid``, ``username`` and ``pwd`` of the body. Wrong:
    ``{"result": 0, "msg": "用户认证失败", "data": null}``.
``/zjt/gjj``
    Request ``{"accessid", "username", "pwd", "uniscId": "91990100FAKE00013D"}``, or ``zjhm`` (resident number) in place of
    ``uniscId``. Rows: dwdm (code or number asked), jcid (record), glzx (provider), yybj (disputes), cxrq (withdrawn), jclb
    (HF), jcny (month ``202503``), jcrs (persons, text), jcje_wy (amount in 万元, text), jczt (1 normal, 2 deferred,
    3 stopped), jbrsj.
``/zjt/getEnterpriseGrade``
    Request ``{"accessid", "username", "pwd", "uniscId"}``. Rows: uniscId, gradeId (record), pjdw (provider and evaluator),
    yybj, gsq and gsz (published from, until), xfrq (repaired), cxrq (withdrawn), pjlx (HY industry), pjbz (scheme), grade,
    hyly (field), pjrq (evaluated), yxqz (valid until), lxdh.
Answer
    ``{"result": 1, "msg": "", "data": [{...}]}``; no data is ``data`` null; failure is ``result`` 0. Days ``20250301``;
    ``99990909`` no end; an empty text or ``无`` for null. Disputes are codes joined by ``|``: 01 objection, 02 appeal,
    03 suit. No time of update is given.
"""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.facts import Contribution, Evaluation
from connectors.sandbox.formats import COMPACT, Days, dispute_codes, wan_yuan
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer, json_object

_day = Days(COMPACT, "", "99990909")
_lifecycle = Days(COMPACT, "无", "99990909")
_STATUS_CODES = {"NORMAL": "1", "DEFERRED": "2", "STOPPED": "3"}
_LOGIN = {
    "accessid": secrets.HOUSING_ID,
    "username": secrets.HOUSING_USER,
    "pwd": secrets.HOUSING_PASSWORD,
}


def create(population: Population, meter: Meter) -> Source:
    """Housing over a population."""
    tables: dict[str, Table[Any]] = {
        "/zjt/gjj": Table(population.records.fund_payments, _contribution),
        "/zjt/getEnterpriseGrade": Table(population.records.builder_evaluations, _evaluation),
    }

    async def records(request: Request) -> Response:
        body = await json_object(request)
        if any(body.get(member) != secret for member, secret in _LOGIN.items()):
            meter.refused += 1
            return _failed("用户认证失败")
        path = request.url.path
        key = body.get("uniscId") or (body.get("zjhm") if path == "/zjt/gjj" else None)
        if not isinstance(key, str):
            return _failed("缺少参数：uniscId")
        meter.note(request, [key])
        return answer({"result": 1, "msg": "", "data": tables[path].of([key]) or None})

    routes = [Route(path, records, methods=["POST"]) for path in tables]
    return Source(Starlette(routes=routes), lambda: _failed("系统异常"))


def _failed(message: str) -> Response:
    return answer({"result": 0, "msg": message, "data": None})


def _contribution(key: str, fact: Contribution) -> dict[str, Any]:
    return {
        "dwdm": key,
        "jcid": fact.number,
        "glzx": fact.provider,
        "yybj": "|".join(dispute_codes(fact.disputes)),
        "cxrq": _day(fact.withdrawn),
        "jclb": "HF",
        "jcny": f"{fact.period:%Y%m}",
        "jcrs": str(fact.headcount),
        "jcje_wy": wan_yuan(fact.amount),
        "jczt": _STATUS_CODES[fact.status],
        "jbrsj": "99000000000",
    }


def _evaluation(key: str, fact: Evaluation) -> dict[str, Any]:
    return {
        "uniscId": key,
        "gradeId": fact.number,
        "pjdw": fact.evaluator,
        "yybj": "|".join(dispute_codes(fact.disputes)),
        "gsq": _day(fact.published),
        "gsz": _day(fact.published_until),
        "xfrq": _lifecycle(fact.repaired),
        "cxrq": _lifecycle(fact.withdrawn),
        "pjlx": "HY",
        "pjbz": fact.scheme,
        "grade": fact.grade,
        "hyly": fact.domain,
        "pjrq": _day(fact.evaluated),
        "yxqz": _day(fact.valid_until),
        "lxdh": "99000000000",
    }
