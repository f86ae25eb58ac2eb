"""Provincial public credit platform: interface document.

Transport
    ``POST`` with a JSON body; the HTTP status is always 200.
Authentication
    Headers ``gjzwfwpt_rid`` (caller), ``gjzwfwpt_sid`` (service), ``gjzwfwpt_rtime`` (milliseconds, within 300 s
    of now) and ``gjzwfwpt_sign`` = base64(HMAC-SHA256(secret, sid + rid + rtime)).
Purpose
    Every body carries ``additional``: an object with the texts ``powerMatters`` (matter code; a caller without a
    matter states its purpose) and ``materialName``, neither empty; ``subPowerMatters``, ``sponsorName``,
    ``sponsorCode``, ``projectId`` are optional.
Request
    ``{"additional": {...}, "subjects": ["91990100FAKE00013D"]}`` with 1 to 50 credit codes or resident numbers.
    Registration also takes ``"regNos"``, 1 to 50 registration numbers of 15 digits, in place of ``subjects``.
Answer
    ``{"code": "200", "message": "成功", "data": {"total": 1, "updateTime": "2026-11-19 22:00:00", "list": [{...}]}}``;
    no data is code 200 with ``total`` 0. Texts without a time zone are UTC+8.
Codes
    ``200`` ok; ``300`` failure, try later; ``api-400`` malformed; ``api-401`` caller or signature wrong;
    ``api-403`` purpose missing; ``api-413`` over 50 keys.
Words
    ``\\N`` stands for null. ``2099-12-31`` and ``9999-09-09`` mean no end. Disputes are codes joined by commas:
    ``01`` objection, ``02`` appeal, ``03`` suit; empty: none.

``/share/registration`` (days ``2019-04-03``)
    pripid, xxly, yybz, gsqsrq, gsjzrq, xfrq, cxrq, uniscid, regno, entname, enttype, regstate, lerep, lerep_zjhm,
    estdate, regcap (text as filed), opscope, dom, domprov, domcity, regorg, tel.
``/share/search``
    ``{"additional": {...}, "name": "示例", "pageNo": 1, "pageSize": 20}``: registrations whose name contains the
    text, ordered by credit code; pages from 1, at most 50 a page. Rows: entname, uniscid, regstate, domcity.
``/share/statistics``
    ``{"additional": {...}, "table": "penalty", "subjectType": "1", "groupBy": ["city"], "onDay": "2026-11-20"}``:
    how many records of a table (registration, penalty, serious-list, commitment, honour, evaluation) are visible on
    that day (neither repaired nor withdrawn, still listed, conduct ended within five years), of subjects of a type
    (1 organisation, 2 individual business, 3 person, 4 organ), by up to three of city, domain, quarter (2026Q3),
    year, degree (1 minor, 2 general, 3 serious), state. Rows: those columns and ``num``; empty groups have no row.
``/share/penalty`` (days ``2025-03-01``)
    The columns common to penalty, commitment, honour and evaluation: XDR_DM (credit code or resident number),
    SJBS (record), XXTGDW (provider), YYBZ (disputes), GSQSRQ and GSJZRQ (published from, until), XFRQ (repaired),
    CXRQ (withdrawn), LXDH. Penalty adds CF_WSH, CF_CFLB, CF_CFJG, CF_SY, CF_YJ, CF_NR, CF_NR_FK and CF_NR_MS
    (fine, confiscated, in 万元), CF_JDRQ, XW_ZZRQ (conduct ended), SXYZCD (1 minor, 2 general, 3 serious),
    RDYJLB (01 judicial document, 02 administrative decision, 03 other), XFJL (petitions), CBR (officer).
``/share/serious-list`` (days ``20250301``)
    subject_code, record_no, provider, dispute_codes, publish_from, publish_to, repair_date, revoke_date, list_name,
    list_date, remove_date, reason, doc_no, authority, situation_code (1 health and safety, 2 fair competition,
    3 refusal of effective documents, 4 refusal of defence duty), domain, remedy, contact_phone.
``/share/incentive`` (days ``2025/03/01 00:00:00``)
    subjectCode, recordId, providerUnit, disputeCodes, publishFrom, publishTo, repairDate, revokeDate, listName,
    listedDate, removedDate, reason, documentNo, authority, validTo, contactPhone.
``/share/commitment``
    CNBH, CNLX, SXBM, CNNR, CNRQ, LXQX, LXZT (0 pending, 1 performed, 2 broken), SLDW.
``/share/honour``
    RYMC, RYJB (1 national, 2 provincial, 3 city, 4 county), SYRQ, SYJG, WSH.
``/share/evaluation``
    PJLB (01 comprehensive, 02 industry), PJJG, PJBZ, PJDJ, PJLY, PJRQ, YXQZ.
``/share/acts``, ``/share/rewards``, ``/share/compulsions``, ``/share/false-statements``, ``/share/compliance``,
``/share/official-dishonesty``, ``/share/rights``
    The columns of the exchange standard (`connectors.sandbox.exchange`, `connectors.sandbox.tables`), with its words:
    null and ``9999-12-31``.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets, tables
from connectors.sandbox.counting import COLUMNS, Counting
from connectors.sandbox.exchange import row_of
from connectors.sandbox.facts import (
    Basis,
    Commitment,
    Degree,
    Evaluation,
    Fact,
    Honour,
    Incentive,
    Outcome,
    Penalty,
    Registration,
    Serious,
)
from connectors.sandbox.formats import (
    COMPACT,
    DASHED,
    SLASHED,
    Days,
    dispute_codes,
    updated,
    wan_yuan,
)
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer, is_recent, json_object, key_list

BATCH = 50
PAGE = 50

_NULL = "\\N"
_PHONE = "99000000000"
_registered = Days(DASHED, _NULL, "9999-09-09")
_dashed = Days(DASHED, _NULL)
_compact = Days(COMPACT, _NULL, "20991231")
_slashed = Days(SLASHED, _NULL, "2099/12/31 00:00:00")

_DEGREE_CODES = {Degree.MINOR: "1", Degree.GENERAL: "2", Degree.SERIOUS: "3"}
_BASIS_CODES = {Basis.JUDICIAL: "01", Basis.ADMINISTRATIVE: "02", Basis.OTHER: "03"}
_OUTCOME_CODES = {Outcome.PENDING: "0", Outcome.PERFORMED: "1", Outcome.BROKEN: "2"}
_COMMITMENT_KINDS = {"PROOF": "证明事项告知承诺", "APPROVAL": "审批替代型承诺", "SUPPLEMENT": "容缺受理承诺"}


def create(population: Population, meter: Meter) -> Source:
    """The platform over a population."""
    platform = _Platform(population, meter)
    endpoints = {"/share/search": platform.search, "/share/statistics": platform.statistics}
    paths = [*platform.tables, *endpoints]
    routes = [Route(path, endpoints.get(path, platform.records), methods=["POST"]) for path in paths]
    return Source(Starlette(routes=routes), lambda: _failed("300", "系统繁忙，请稍后重试"))


class _Platform:
    def __init__(self, population: Population, meter: Meter) -> None:
        records = population.records
        self._meter = meter
        self._updated = f"{updated(population.today):%Y-%m-%d %H:%M:%S}"
        self._by_number = _keys_by_registration_number(records.registrations)
        self._names = _NameIndex(records.registrations)
        self._counting = Counting(population)
        self.tables: dict[str, Table[Any]] = {
            "/share/registration": Table(records.registrations, _registration),
            "/share/penalty": Table(records.penalties, _penalty),
            "/share/serious-list": Table(records.serious, _serious),
            "/share/incentive": Table(records.incentives, _incentive),
            "/share/commitment": Table(records.commitments, _commitment),
            "/share/honour": Table(records.honours, _honour),
            "/share/evaluation": Table(records.evaluations, _evaluation),
            "/share/acts": Table(records.acts, row_of(tables.ACTS)),
            "/share/rewards": Table(records.rewards, row_of(tables.REWARDS)),
            "/share/compulsions": Table(records.compulsions, row_of(tables.COMPULSIONS)),
            "/share/false-statements": Table(records.false_statements, row_of(tables.FALSE_STATEMENTS)),
            "/share/compliance": Table(records.compliance, row_of(tables.COMPLIANCE)),
            "/share/official-dishonesty": Table(
                records.official_dishonesty, row_of(tables.OFFICIAL_DISHONESTY)
            ),
            "/share/rights": Table(records.rights, row_of(tables.RIGHTS)),
        }

    async def records(self, request: Request) -> Response:
        """The rows of the asked subjects in the table at this path."""
        body = await json_object(request)
        refusal = self._refusal(request, body)
        if refusal is not None:
            return refusal
        path = request.url.path
        by_number = path == "/share/registration" and "regNos" in body
        member = "regNos" if by_number else "subjects"
        keys = key_list(body.get(member))
        if not keys:
            return _failed("api-400", f"{member}：应为非空字符串数组")
        if len(keys) > BATCH:
            return _failed("api-413", f"{member}：最多{BATCH}个")
        self._meter.note(request, keys)
        if by_number:
            keys = [self._by_number[number] for number in keys if number in self._by_number]
        rows = self.tables[path].of(keys)
        return self._page(rows, len(rows))

    async def search(self, request: Request) -> Response:
        """Registrations by a part of their name."""
        body = await json_object(request)
        refusal = self._refusal(request, body)
        if refusal is not None:
            return refusal
        name, number, size = body.get("name"), body.get("pageNo"), body.get("pageSize")
        if not isinstance(name, str) or not name:
            return _failed("api-400", "name：应为非空字符串")
        if not isinstance(number, int) or number < 1:
            return _failed("api-400", "pageNo：应为正整数")
        if not isinstance(size, int) or not 1 <= size <= PAGE:
            return _failed("api-400", f"pageSize：应为1至{PAGE}的整数")
        self._meter.note(request, [])
        found = self._names.containing(name)
        rows = [
            {
                "entname": registration.name,
                "uniscid": registration.credit_code,
                "regstate": registration.status or _NULL,
                "domcity": registration.city,
            }
            for registration in found[(number - 1) * size : number * size]
        ]
        return self._page(rows, len(found))

    async def statistics(self, request: Request) -> Response:
        """Numbers of visible records by groups."""
        body = await json_object(request)
        refusal = self._refusal(request, body)
        if refusal is not None:
            return refusal
        table, kind, columns = body.get("table"), body.get("subjectType"), body.get("groupBy")
        if not isinstance(table, str) or table not in self._counting.tables:
            return _failed("api-400", "table：无此数据表")
        if not isinstance(kind, str) or kind not in ("1", "2", "3", "4"):
            return _failed("api-400", "subjectType：应为1至4")
        if (
            not isinstance(columns, list)
            or len(columns) > 3
            or any(not isinstance(column, str) or column not in COLUMNS for column in columns)
        ):
            return _failed("api-400", "groupBy：最多3个可用列")
        try:
            day = date.fromisoformat(body.get("onDay", ""))
        except (TypeError, ValueError):
            return _failed("api-400", "onDay：应为日期")
        self._meter.note(request, [])
        rows = self._counting.groups(table, kind, columns, day)
        return self._page(rows, len(rows))

    def _page(self, rows: Sequence[Any], total: int) -> Response:
        data = {"total": total, "updateTime": self._updated, "list": rows}
        return answer({"code": "200", "message": "成功", "data": data})

    def _refusal(self, request: Request, body: dict[str, Any]) -> Response | None:
        if not _is_signed(request):
            self._meter.refused += 1
            return _failed("api-401", "签名校验失败")
        additional = body.get("additional")
        if not isinstance(additional, dict) or not all(
            isinstance(additional.get(member), str) and additional[member]
            for member in ("powerMatters", "materialName")
        ):
            self._meter.refused += 1
            return _failed("api-403", "additional：缺少 powerMatters 或 materialName")
        return None


def _is_signed(request: Request) -> bool:
    rid, sid, rtime, sign = (
        request.headers.get(f"gjzwfwpt_{name}", "") for name in ("rid", "sid", "rtime", "sign")
    )
    digest = hmac.new(secrets.PLATFORM_SECRET.encode(), f"{sid}{rid}{rtime}".encode(), hashlib.sha256)
    return (
        rid == secrets.PLATFORM_RID
        and sid == secrets.PLATFORM_SID
        and is_recent(rtime, unit=1000)
        and hmac.compare_digest(base64.b64encode(digest.digest()), sign.encode())
    )


def _failed(code: str, message: str) -> Response:
    return answer({"code": code, "message": message, "data": None})


def _keys_by_registration_number(registrations: Mapping[str, Sequence[Registration]]) -> dict[str, str]:
    return {
        registration.registration_number: key
        for key, filed in registrations.items()
        for registration in filed
        if registration.registration_number is not None
    }


class _NameIndex:
    """Registrations by every character and every two neighbours of their names, so that no search reads all."""

    def __init__(self, registrations: Mapping[str, Sequence[Registration]]) -> None:
        self._all = sorted(
            (registration for filed in registrations.values() for registration in filed),
            key=lambda registration: registration.credit_code,
        )
        self._places: dict[str, list[int]] = {}
        for place, registration in enumerate(self._all):
            for piece in {*registration.name, *_pairs(registration.name)}:
                self._places.setdefault(piece, []).append(place)

    def containing(self, part: str) -> list[Registration]:
        """Registrations whose name contains the part, ordered by credit code."""
        rarest = min((self._places.get(piece, []) for piece in _pairs(part) or [part]), key=len)
        return [self._all[place] for place in rarest if part in self._all[place].name]


def _pairs(text: str) -> list[str]:
    return [text[start : start + 2] for start in range(len(text) - 1)]


def _registration(key: str, fact: Registration) -> dict[str, Any]:
    return {
        "pripid": fact.number,
        "xxly": fact.provider,
        "yybz": ",".join(dispute_codes(fact.disputes)),
        "gsqsrq": _registered(fact.published),
        "gsjzrq": _registered(fact.published_until),
        "xfrq": _registered(fact.repaired),
        "cxrq": _registered(fact.withdrawn),
        "uniscid": key,
        "regno": fact.registration_number or _NULL,
        "entname": fact.name,
        "enttype": fact.legal_form or _NULL,
        "regstate": fact.status or _NULL,
        "lerep": fact.representative or _NULL,
        "lerep_zjhm": fact.representative_number or _NULL,
        "estdate": _registered(fact.registered),
        "regcap": fact.capital,
        "opscope": fact.business_scope,
        "dom": fact.address,
        "domprov": fact.province,
        "domcity": fact.city,
        "regorg": fact.registrar or _NULL,
        "tel": _PHONE,
    }


def _common(key: str, fact: Fact) -> dict[str, Any]:
    return {
        "XDR_DM": key,
        "SJBS": fact.number,
        "XXTGDW": fact.provider,
        "YYBZ": ",".join(dispute_codes(fact.disputes)),
        "GSQSRQ": _dashed(fact.published),
        "GSJZRQ": _dashed(fact.published_until),
        "XFRQ": _dashed(fact.repaired),
        "CXRQ": _dashed(fact.withdrawn),
        "LXDH": _PHONE,
    }


def _penalty(key: str, fact: Penalty) -> dict[str, Any]:
    return _common(key, fact) | {
        "CF_WSH": fact.document,
        "CF_CFLB": fact.kind,
        "CF_CFJG": fact.authority,
        "CF_SY": fact.facts,
        "CF_YJ": fact.legal_basis,
        "CF_NR": fact.content,
        "CF_NR_FK": wan_yuan(fact.fine),
        "CF_NR_MS": wan_yuan(fact.confiscated),
        "CF_JDRQ": _dashed(fact.decided),
        "XW_ZZRQ": _dashed(fact.conduct_ended),
        "SXYZCD": _DEGREE_CODES[fact.degree],
        "RDYJLB": _BASIS_CODES[fact.basis],
        "XFJL": "示例信访件一件",
        "CBR": "虚承办",
    }


def _serious(key: str, fact: Serious) -> dict[str, Any]:
    return {
        "subject_code": key,
        "record_no": fact.number,
        "provider": fact.provider,
        "dispute_codes": ",".join(dispute_codes(fact.disputes)),
        "publish_from": _compact(fact.published),
        "publish_to": _compact(fact.published_until),
        "repair_date": _compact(fact.repaired),
        "revoke_date": _compact(fact.withdrawn),
        "list_name": fact.list_name,
        "list_date": _compact(fact.listed),
        "remove_date": _compact(fact.removed),
        "reason": fact.reason,
        "doc_no": fact.document,
        "authority": fact.authority,
        "situation_code": str(fact.situation),
        "domain": fact.domain,
        "remedy": fact.remedy,
        "contact_phone": _PHONE,
    }


def _incentive(key: str, fact: Incentive) -> dict[str, Any]:
    return {
        "subjectCode": key,
        "recordId": fact.number,
        "providerUnit": fact.provider,
        "disputeCodes": ",".join(dispute_codes(fact.disputes)),
        "publishFrom": _slashed(fact.published),
        "publishTo": _slashed(fact.published_until),
        "repairDate": _slashed(fact.repaired),
        "revokeDate": _slashed(fact.withdrawn),
        "listName": fact.list_name,
        "listedDate": _slashed(fact.listed),
        "removedDate": _slashed(fact.removed),
        "reason": fact.reason,
        "documentNo": fact.document,
        "authority": fact.authority,
        "validTo": _slashed(fact.valid_until),
        "contactPhone": _PHONE,
    }


def _commitment(key: str, fact: Commitment) -> dict[str, Any]:
    return _common(key, fact) | {
        "CNBH": fact.commitment_number,
        "CNLX": _COMMITMENT_KINDS[fact.kind],
        "SXBM": fact.matter,
        "CNNR": fact.content,
        "CNRQ": _dashed(fact.committed),
        "LXQX": _dashed(fact.due),
        "LXZT": _OUTCOME_CODES[fact.outcome],
        "SLDW": fact.authority,
    }


def _honour(key: str, fact: Honour) -> dict[str, Any]:
    return _common(key, fact) | {
        "RYMC": fact.title,
        "RYJB": str(fact.rank),
        "SYRQ": _dashed(fact.awarded),
        "SYJG": fact.authority,
        "WSH": fact.document,
    }


def _evaluation(key: str, fact: Evaluation) -> dict[str, Any]:
    return _common(key, fact) | {
        "PJLB": "01",
        "PJJG": fact.evaluator,
        "PJBZ": fact.scheme,
        "PJDJ": fact.grade,
        "PJLY": fact.domain,
        "PJRQ": _dashed(fact.evaluated),
        "YXQZ": _dashed(fact.valid_until),
    }
