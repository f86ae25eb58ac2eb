"""Taxation, payments and arrears: interface document.

Transport
    ``POST`` with a JSON body, up to 30 taxpayers a call; the HTTP status is always 200.
Authentication
    Members ``appId``, ``timestamp`` (seconds, text, within 300 s of now) and ``sign`` = upper-case hex
    MD5(app id + timestamp + secret). Wrong: ``resCode`` 9401.
``/swj/nsxx`` (payments)
    Request ``{..., "sqlx": "1", "sqbh": "number of the authorisation", "nsrsbh": ["91990100FAKE00013D"]}``. ``sqlx`` 1: the
    taxpayer has authorised the inquiry, ``sqbh`` must be given; 0: the taxpayer's own inquiry. Otherwise 9403.
    Rows: nsrsbh, sph (record), swjg (provider), yyzt (disputes), zfrq (withdrawn), sssq (month ``202503``), zsxm (10101 value
    added tax, 10104 enterprise income tax, 10106 individual income tax), sjje (yuan, text; negative: refund), rkrq (paid),
    bsrdh.
``/swj/qsxx`` (arrears)
    Request ``{..., "nsrsbh": [...]}``. Rows: nsrsbh, qsid (record), swjg (provider), yyzt, ggrq and ggjzrq (published from,
    until), xfrq (repaired), zfrq (withdrawn), rdrq (decided), zzrq (conduct ended), yzcd (1 minor, 2 general, 3 serious), yjlb
    (01 judicial document, 02 administrative decision, 03 other), qjlx (SS tax, FS fee, JJ government fund), sssq (``202503``),
    qsje (yuan, text), zgswjg (authority), frdh.
Answer
    ``{"resCode": "0000", "resMsg": "成功", "resData": {"gxsj": "2026/11/19 22:00:00", "items": [{...}]}}``; ``gxsj`` is the last
    update (UTC+8). Days ``20250301``; an empty text or the text ``null`` for null. Disputes are codes joined by commas.
Codes
    ``0000`` ok; ``9001`` no data; ``9400`` malformed; ``9401`` signature; ``9403`` no authorisation; ``9413`` over 30;
    ``9999`` failure.
"""

import hashlib
import hmac
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.facts import Arrears, Basis, Degree, TaxPayment
from connectors.sandbox.formats import COMPACT, Days, dispute_codes, updated, yuan
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer, is_recent, json_object, key_list

BATCH = 30

_PAYMENTS, _ARREARS = "/swj/nsxx", "/swj/qsxx"
_day = Days(COMPACT, "null", "99991231")
_lifecycle = Days(COMPACT, "", "99991231")
_TAXES = {"VAT": "10101", "CIT": "10104", "IIT": "10106"}
_DUES = {"TAX": "SS", "FEE": "FS", "FUND": "JJ"}
_DEGREES = {Degree.MINOR: "1", Degree.GENERAL: "2", Degree.SERIOUS: "3"}
_BASES = {Basis.JUDICIAL: "01", Basis.ADMINISTRATIVE: "02", Basis.OTHER: "03"}


def create(population: Population, meter: Meter) -> Source:
    """Taxation over a population."""
    tables: dict[str, Table[Any]] = {
        _PAYMENTS: Table(population.records.tax_payments, _payment),
        _ARREARS: Table(population.records.tax_arrears, _arrears),
    }
    updated_at = f"{updated(population.today):%Y/%m/%d %H:%M:%S}"

    async def records(request: Request) -> Response:
        body = await json_object(request)
        path = request.url.path
        if not _is_signed(body):
            meter.refused += 1
            return _failed("9401", "验签失败")
        if path == _PAYMENTS and not _has_consent(body):
            meter.refused += 1
            return _failed("9403", "未取得纳税人授权")
        keys = key_list(body.get("nsrsbh"))
        if not keys:
            return _failed("9400", "nsrsbh：应为非空字符串数组")
        if len(keys) > BATCH:
            return _failed("9413", f"nsrsbh：最多{BATCH}个")
        meter.note(request, keys)
        rows = tables[path].of(keys)
        if not rows:
            return _failed("9001", "未查询到数据")
        return answer({"resCode": "0000", "resMsg": "成功", "resData": {"gxsj": updated_at, "items": rows}})

    routes = [Route(path, records, methods=["POST"]) for path in tables]
    return Source(Starlette(routes=routes), lambda: _failed("9999", "系统异常"))


def _is_signed(body: dict[str, Any]) -> bool:
    app, timestamp, sign = (str(body.get(member, "")) for member in ("appId", "timestamp", "sign"))
    expected = (
        hashlib.md5(f"{app}{timestamp}{secrets.TAX_SECRET}".encode(), usedforsecurity=False)
        .hexdigest()
        .upper()
    )
    return (
        app == secrets.TAX_APP
        and is_recent(timestamp)
        and hmac.compare_digest(expected.encode(), sign.encode())
    )


def _has_consent(body: dict[str, Any]) -> bool:
    number = body.get("sqbh")
    return body.get("sqlx") == "0" or (body.get("sqlx") == "1" and isinstance(number, str) and bool(number))


def _failed(code: str, message: str) -> Response:
    return answer({"resCode": code, "resMsg": message, "resData": None})


def _payment(key: str, fact: TaxPayment) -> dict[str, Any]:
    return {
        "nsrsbh": key,
        "sph": fact.number,
        "swjg": fact.provider,
        "yyzt": ",".join(dispute_codes(fact.disputes)),
        "zfrq": _lifecycle(fact.withdrawn),
        "sssq": f"{fact.period:%Y%m}",
        "zsxm": _TAXES[fact.kind],
        "sjje": yuan(fact.amount),
        "rkrq": _day(fact.paid),
        "bsrdh": "99000000000",
    }


def _arrears(key: str, fact: Arrears) -> dict[str, Any]:
    return {
        "nsrsbh": key,
        "qsid": fact.number,
        "swjg": fact.provider,
        "yyzt": ",".join(dispute_codes(fact.disputes)),
        "ggrq": _day(fact.published),
        "ggjzrq": _day(fact.published_until),
        "xfrq": _lifecycle(fact.repaired),
        "zfrq": _lifecycle(fact.withdrawn),
        "rdrq": _day(fact.decided),
        "zzrq": _day(fact.conduct_ended),
        "yzcd": _DEGREES[fact.degree],
        "yjlb": _BASES[fact.basis],
        "qjlx": _DUES[fact.kind],
        "sssq": fact.period.replace("-", ""),
        "qsje": yuan(fact.amount),
        "zgswjg": fact.authority,
        "frdh": "99000000000",
    }
