"""Public resource trading platform, projects: interface document.

Transport
    ``POST`` with a JSON body, one project a call; the HTTP status is always 200.
Authentication
    Header ``X-Access-Token``. Wrong: ``code`` 4001.
``/trade/v1/project``
    Request ``{"projectNo": "P-1"}``. Answer ``{"code": "0000", "msg": "ok", "data": {...}}``; ``data`` is null for an
    unknown number.

    projectNo, purchasers (credit codes), supervisors (credit codes joined by commas), noticeDate and awardDate
    (``20261031``), status (进行中, 终止), phase (公告, 投标, 评审, 中标), bidders [{unifiedCode, unifiedName}], persons
    [{idNumber, post}].
Codes
    ``0000`` ok; ``4000`` parameter; ``4001`` token; ``9999`` failure.
"""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.evidence import Entry, entries
from connectors.sandbox.formats import COMPACT
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, answer, json_object

_PHASES = {"NOTICE": "公告", "BIDDING": "投标", "REVIEW": "评审", "AWARD": "中标"}


def create(population: Population, meter: Meter) -> Source:
    """The platform with the fixed projects."""
    projects = entries(population)["projects"]

    async def project(request: Request) -> Response:
        if request.headers.get("X-Access-Token") != secrets.TRADING_TOKEN:
            meter.refused += 1
            return _failed("4001", "令牌无效")
        number = (await json_object(request)).get("projectNo")
        if not isinstance(number, str) or not number:
            return _failed("4000", "projectNo：不能为空")
        meter.note(request, [number])
        data = _project(projects[number]) if number in projects else None
        return answer({"code": "0000", "msg": "ok", "data": data})

    routes = [Route("/trade/v1/project", project, methods=["POST"])]
    return Source(Starlette(routes=routes), lambda: _failed("9999", "系统异常"))


def _failed(code: str, message: str) -> Response:
    return answer({"code": code, "msg": message, "data": None})


def _project(entry: Entry) -> dict[str, Any]:
    return {
        "projectNo": entry.number,
        "purchasers": list(entry.units),
        "supervisors": ",".join(entry.supervisors),
        "noticeDate": COMPACT.format(entry.begins),
        "awardDate": COMPACT.format(entry.ends),
        "status": "进行中" if entry.open else "终止",
        "phase": _PHASES[entry.stage or ""],
        "bidders": [{"unifiedCode": code, "unifiedName": "虚构投标人"} for code in entry.organisations],
        "persons": [{"idNumber": key, "post": role} for key, role in entry.roles],
    }
