"""Government affairs, commitments of the one-window hall: interface document.

Transport
    ``POST`` with a form body, one subject a call; the HTTP status is always 200.
Authentication
    Fields ``appKey``, ``requestTime`` (milliseconds, within 300 s of now) and ``sign`` = lower-case hex
    MD5(app key + secret + request time). Wrong: ``{"code": "97", "msg": "签名错误", "datas": null}``.
``/hall/commitments``
    Request: the three fields and ``tyshxydm`` (credit code) or ``sfzhm`` (resident number).
    Answer ``{"code": "00", "msg": "ok", "gxsj": "20261119220000", "datas": [{...}]}``; ``gxsj`` is the last update (UTC+8);
    no data is ``datas`` null. Days ``2025-03-01``; null or ``无`` for none. Disputes are codes joined by commas: 01
    objection, 02 appeal, 03 suit; null for none.

    ztdm (code or number asked), cnid (record), tgdw (provider), yy (disputes), gsks and gsjs (published from, until), xfsj
    (repaired), cxsj (withdrawn), cnbh (number), cnlb (ZMSX proof, SPTD approval, RQBB later papers), sxbm (matter), cnnr
    (content), cnsj (given), lxqx (due), lxqk (未到期, 已履行, 未履行), sldw (unit), sjhm.
Codes
    ``00`` ok; ``96`` parameter; ``97`` signature; ``99`` failure.
"""

import hashlib
import hmac
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.facts import Commitment, Outcome
from connectors.sandbox.formats import DASHED, Days, dispute_codes, updated
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, Table, answer, form_fields, is_recent

_day = Days(DASHED, None)
_lifecycle = Days(DASHED, "无")
_KINDS = {"PROOF": "ZMSX", "APPROVAL": "SPTD", "SUPPLEMENT": "RQBB"}
_OUTCOMES = {Outcome.PENDING: "未到期", Outcome.PERFORMED: "已履行", Outcome.BROKEN: "未履行"}


def create(population: Population, meter: Meter) -> Source:
    """The one-window hall over a population."""
    table = Table(population.records.hall_commitments, _commitment)
    updated_at = f"{updated(population.today):%Y%m%d%H%M%S}"

    async def commitments(request: Request) -> Response:
        form = await form_fields(request)
        if not _is_signed(form):
            meter.refused += 1
            return _failed("97", "签名错误")
        key = form.get("tyshxydm") or form.get("sfzhm")
        if not key:
            return _failed("96", "缺少参数：tyshxydm")
        meter.note(request, [key])
        rows = table.of([key]) or None
        return answer({"code": "00", "msg": "ok", "gxsj": updated_at, "datas": rows})

    routes = [Route("/hall/commitments", commitments, methods=["POST"])]
    return Source(Starlette(routes=routes), lambda: _failed("99", "系统异常"))


def _is_signed(form: dict[str, str]) -> bool:
    key, moment, sign = (form.get(field, "") for field in ("appKey", "requestTime", "sign"))
    expected = hashlib.md5(f"{key}{secrets.HALL_SECRET}{moment}".encode(), usedforsecurity=False).hexdigest()
    return (
        key == secrets.HALL_KEY
        and is_recent(moment, unit=1000)
        and hmac.compare_digest(expected.encode(), sign.encode())
    )


def _failed(code: str, message: str) -> Response:
    return answer({"code": code, "msg": message, "datas": None})


def _commitment(key: str, fact: Commitment) -> dict[str, Any]:
    return {
        "ztdm": key,
        "cnid": fact.number,
        "tgdw": fact.provider,
        "yy": ",".join(dispute_codes(fact.disputes)) or None,
        "gsks": _day(fact.published),
        "gsjs": _day(fact.published_until),
        "xfsj": _lifecycle(fact.repaired),
        "cxsj": _lifecycle(fact.withdrawn),
        "cnbh": fact.commitment_number,
        "cnlb": _KINDS[fact.kind],
        "sxbm": fact.matter,
        "cnnr": fact.content,
        "cnsj": _day(fact.committed),
        "lxqx": _day(fact.due),
        "lxqk": _OUTCOMES[fact.outcome],
        "sldw": fact.authority,
        "sjhm": "99000000000",
    }
