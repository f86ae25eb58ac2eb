"""Market provider A, credit of organisations and facts on persons: interface document.

Transport
    ``GET`` for organisations, ``POST`` with a JSON body for persons, one subject a call; the HTTP status is always 200.
Authentication
    Query ``key``; headers ``Timespan`` (seconds, within 300 s of now) and ``Token`` = upper-case hex
    MD5(key + timespan + secret). Wrong: ``Status`` 101.
Reason
    ``reasonCode``, two digits, is required: 00 the subject's own inquiry, 01 post-loan management, 02 loan approval, 08
    guarantor review, 09 judicial inquiry, 20 pre-guarantee, 21 post-guarantee, 22 representative and executives, 23
    customer admission, 24 financing approval, 25 credit review, 26 limit approval. ``authorizationId`` is required for all
    but 00 and 09.
``GET /ECICredit/GetProfile?key=...&keyword=91990100FAKE00013D&reasonCode=02&authorizationId=...``
    Rows: CreditCode, Id (record), Provider, Disputes (list of OBJECTION, APPEAL, SUIT), WithdrawnDate, InfoType, Rating,
    RatedDate, MethodUrl, Content, ContactPhone, RiskScore.
``POST /PersonCredit/GetFacts?key=...``
    Request ``{"name", "idNumber", "reasonCode", "authorizationId"}``; the name must agree with the number.
    Rows: Id, Provider, Disputes, WithdrawnDate, InfoType, StatedDate, Content, Mobile, PersonalScore.
Answer
    ``{"Status": "200", "Message": "查询成功", "Paging": {"PageSize": 20, "PageIndex": 1, "TotalRecords": 1}, "Result": [{...}]}``.
    Days ``2025-03-01``, an empty text for null. The last update is the header ``Last-Modified``.
Codes
    ``200`` ok; ``201`` no data; ``101`` key or token; ``107`` parameter; ``108`` reason; ``109`` authorisation; ``199``
    failure.
"""

import hashlib
import hmac
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.facts import MarketStatement, PersonStatement
from connectors.sandbox.formats import DASHED, Days, http_date, updated
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer, is_recent, json_object

REASONS = frozenset({"00", "01", "02", "08", "09", "20", "21", "22", "23", "24", "25", "26"})

_WITHOUT_AUTHORISATION = frozenset({"00", "09"})
_PAGE = 20
_day = Days(DASHED, "")


def create(population: Population, meter: Meter) -> Source:
    """Market provider A over a population."""
    provider = _Provider(population, meter)
    routes = [
        Route("/ECICredit/GetProfile", provider.profile, methods=["GET"]),
        Route("/PersonCredit/GetFacts", provider.facts, methods=["POST"]),
    ]
    return Source(Starlette(routes=routes), lambda: _failed("199", "系统错误"))


class _Provider:
    def __init__(self, population: Population, meter: Meter) -> None:
        self._meter = meter
        self._headers = {"Last-Modified": http_date(updated(population.today))}
        self._names = {subject.key: subject.name for subject in population.subjects if subject.kind == "NP"}
        self._profiles = Table(population.records.market_a, _profile)
        self._facts = Table(population.records.market_a_persons, _fact)

    async def profile(self, request: Request) -> Response:
        """Ratings of an organisation."""
        query = dict(request.query_params)
        refusal = self._refusal(request, query)
        if refusal is not None:
            return refusal
        key = query.get("keyword")
        if not key:
            return _failed("107", "缺少参数：keyword")
        self._meter.note(request, [key])
        return self._result(self._profiles.of([key]))

    async def facts(self, request: Request) -> Response:
        """Facts on a person."""
        body = await json_object(request)
        refusal = self._refusal(request, body)
        if refusal is not None:
            return refusal
        key, name = body.get("idNumber"), body.get("name")
        if not isinstance(key, str) or not isinstance(name, str) or not key or not name:
            return _failed("107", "缺少参数：name、idNumber")
        self._meter.note(request, [key])
        return self._result(self._facts.of([key]) if self._names.get(key) == name else [])

    def _refusal(self, request: Request, asked: dict[str, Any]) -> Response | None:
        failed = _refused(request, asked)
        if failed is None:
            return None
        self._meter.refused += 1
        return _failed(*failed)

    def _result(self, rows: list[Any]) -> Response:
        if not rows:
            return _failed("201", "查询无结果")
        paging = {"PageSize": _PAGE, "PageIndex": 1, "TotalRecords": len(rows)}
        content = {"Status": "200", "Message": "查询成功", "Paging": paging, "Result": rows}
        return answer(content, headers=self._headers)


def _refused(request: Request, asked: dict[str, Any]) -> tuple[str, str] | None:
    if not _is_signed(request):
        return "101", "key或Token无效"
    reason, authorisation = asked.get("reasonCode"), asked.get("authorizationId")
    if reason not in REASONS:
        return "108", "reasonCode：缺少或无效"
    if reason not in _WITHOUT_AUTHORISATION and not (isinstance(authorisation, str) and authorisation):
        return "109", "authorizationId：缺少授权"
    return None


def _is_signed(request: Request) -> bool:
    key = request.query_params.get("key", "")
    timespan, token = request.headers.get("Timespan", ""), request.headers.get("Token", "")
    expected = (
        hashlib.md5(f"{key}{timespan}{secrets.MARKET_A_SECRET}".encode(), usedforsecurity=False)
        .hexdigest()
        .upper()
    )
    return (
        key == secrets.MARKET_A_KEY
        and is_recent(timespan)
        and hmac.compare_digest(expected.encode(), token.encode())
    )


def _failed(status: str, message: str) -> Response:
    return answer({"Status": status, "Message": message, "Paging": None, "Result": None})


def _profile(key: str, fact: MarketStatement) -> dict[str, Any]:
    return {
        "CreditCode": key,
        "Id": fact.number,
        "Provider": fact.provider,
        "Disputes": list(fact.disputes),
        "WithdrawnDate": _day(fact.withdrawn),
        "InfoType": fact.kind,
        "Rating": fact.rating or "",
        "RatedDate": _day(fact.stated),
        "MethodUrl": fact.method,
        "Content": fact.statement,
        "ContactPhone": "99000000000",
        "RiskScore": 55,
    }


def _fact(key: str, fact: PersonStatement) -> dict[str, Any]:
    del key
    return {
        "Id": fact.number,
        "Provider": fact.provider,
        "Disputes": list(fact.disputes),
        "WithdrawnDate": _day(fact.withdrawn),
        "InfoType": fact.kind,
        "StatedDate": _day(fact.stated),
        "Content": fact.statement,
        "Mobile": "99000000000",
        "PersonalScore": fact.score,
    }
