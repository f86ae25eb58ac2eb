"""What the connectors cost: CPU microseconds a request, without a network and without the gateway.

    .venv/bin/python tests/bench/source_calls.py

Every request asks four sections of a subject of its own and is given ten records; the sources are the shipped
files, answered from memory. `wire` is the cost of those answers themselves and is in the figures above it.
"""

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import uvloop

import connectors
from connectors.answers import Ask, Ground
from connectors.fetch import Sources
from policies.catalogue import SECTION_OF, fields_at
from policies.identifiers import SubjectKey
from policies.vocabulary import Level, SubjectKind

FILES = Path(connectors.__file__).parent / "sources"
GROUND = Ground("PROCUREMENT", matter="P-1")
AT_ONCE = 32
ROUNDS = 60
DAY = "2026-01-05"
UNIT = "示例市市场监督管理局"

REGISTRATION = {
    "pripid": "R-1", "xxly": UNIT, "yybz": "", "gsqsrq": DAY, "gsjzrq": "2099-12-31", "xfrq": None, "cxrq": None,
    "entname": "虚构省示例二号建设有限公司", "uniscid": "@", "regno": "990100000000013", "enttype": "有限责任公司",
    "regstate": "存续（在营、开业、在册）", "lerep": "例甲", "estdate": "2015-03-04", "regcap": "500万元人民币",
    "opscope": "批发零售", "dom": "示例市示例路一号", "domprov": "虚构省", "domcity": "示例市", "regorg": UNIT,
    "tel": "1", "lerep_zjhm": "1",
}  # fmt: skip
PENALTY = {
    "SJBS": "P-1", "XXTGDW": UNIT, "YYBZ": "", "GSQSRQ": DAY, "GSJZRQ": "2027-01-05", "XFRQ": None, "CXRQ": None,
    "CF_JDRQ": DAY, "XW_ZZRQ": "2025-12-01", "SXYZCD": "2", "RDYJLB": "02", "CF_WSH": "示市监罚〔2026〕1号",
    "CF_CFLB": "罚款", "CF_CFJG": UNIT, "CF_SY": "虚假宣传", "CF_YJ": "广告法", "CF_NR": "罚款五千元",
    "CF_NR_FK": "0.5000", "CF_NR_MS": None, "XDR_DM": "@", "tel": "1",
}  # fmt: skip
DISHONESTY = {
    "record_no": "S-1", "provider": UNIT, "dispute_codes": "", "publish_from": "20260105", "publish_to": "20290105",
    "repair_date": None, "revoke_date": None, "list_name": "严重违法失信名单", "list_date": "20260105",
    "remove_date": None, "reason": "虚假宣传", "doc_no": "1", "authority": UNIT, "domain": "市场监管", "remedy": "信用修复",
    "situation_code": "2", "subject_code": "@",
}  # fmt: skip
DEFAULT = {
    "AJBS": "C-1", "TGDW": UNIT, "YYZT": "", "FBRQ": DAY, "PBRQ": "2099-12-31", "XFRQ": None, "CXRQ": None,
    "MDMC": "失信被执行人名单", "PGRQ": None, "LRSY": "有履行能力而拒不履行", "JDSH": "1", "JDFY": UNIT, "AH": "1",
    "ZXFY": UNIT, "ZXYJ": "1", "YW": "1", "LXQK": "全部未履行", "SXXW": "1", "ZJHM": "@",
}  # fmt: skip


def _texts(row: dict[str, Any], records: int) -> tuple[str, ...]:
    """The JSON of a subject's records, in parts between which its identifier goes."""
    return tuple(",".join([json.dumps(row, ensure_ascii=False)] * records).split("@"))


ANSWERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "/share/registration": ("subjects", _texts(REGISTRATION, 1), "data"),
    "/share/penalty": ("subjects", _texts(PENALTY, 4), "data"),
    "/share/serious-list": ("subjects", _texts(DISHONESTY, 2), "data"),
    "/zxgk/sxbzxr": ("zjhmList", _texts(DEFAULT, 3), "court"),
}
CATEGORIES = ("REG_ORG", "PENALTY", "SERIOUS_LIST", "ENFORCE_DEFAULT")


class Memory(httpx.AsyncBaseTransport):
    """The sources, from memory; counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        return httpx.Response(200, stream=httpx.ByteStream(answer_of(request.url.path, request.content)))


def answer_of(path: str, content: bytes) -> bytes:
    """What a source answers to a request for a batch."""
    member, parts, kind = ANSWERS[path]
    subjects = json.loads(content)[member]
    rows = ",".join(key.join(parts) for key in subjects)
    if kind == "court":
        return f'{{"code":0,"data":[{rows}]}}'.encode()
    total = rows.count("{")
    return f'{{"code":"200","data":{{"total":{total},"updateTime":"2026-11-20 10:00:00","list":[{rows}]}}}}'.encode()


def asks(number: int, *, may_cache: bool) -> list[Ask]:
    """The sections of one request about a subject of its own."""
    subject = SubjectKey(SubjectKind.ORG, "credit_code", f"91990100FAKE{number:05}D")
    return [
        Ask(
            subject,
            category,
            fields_at(SECTION_OF[category, SubjectKind.ORG].record, Level.SUMMARY),
            GROUND,
            may_cache,
        )
        for category in CATEGORIES
    ]


async def measured(request: Callable[[list[Ask]], Awaitable[object]], requests: list[list[Ask]]) -> float:
    """CPU microseconds a request, so many at once."""
    gc.collect()
    begun = time.process_time()
    for start in range(0, len(requests), AT_ONCE):
        await asyncio.gather(*(request(one) for one in requests[start : start + AT_ONCE]))
    return (time.process_time() - begun) / len(requests) * 1e6


async def main() -> None:
    """Print one line for each measurement; the best of three."""
    wire = Memory()
    sources = Sources.load(FILES, transport=wire)
    number = 0

    async def fetch(of: list[Ask]) -> object:
        return await sources.fetch(of, deadline=30)

    async def peek(of: list[Ask]) -> object:
        return sources.peek(of)

    async def nothing(of: list[Ask]) -> object:
        return of

    results: dict[str, list[float]] = {}
    for _ in range(3):
        fresh = [asks(number + place, may_cache=False) for place in range(AT_ONCE * ROUNDS)]
        number = (number + len(fresh)) % 90_000
        before = wire.calls
        results.setdefault("uncached", []).append(await measured(fetch, fresh))
        results.setdefault("calls a request", []).append((wire.calls - before) / len(fresh))
        bodies = [json.dumps({"subjects": [one[0].subject.value for one in fresh[:AT_ONCE]]}).encode()]
        bodies.append(bodies[0].replace(b"subjects", b"zjhmList"))
        begun = time.process_time()
        for _ in range(ROUNDS):
            for path in ANSWERS:
                answer_of(path, bodies[path.startswith("/zxgk")])
        results.setdefault("wire", []).append((time.process_time() - begun) / len(fresh) * 1e6)
        kept = [[one[0]] * 4 for one in (asks(place, may_cache=True) for place in range(1_000))]
        await measured(fetch, kept)
        results.setdefault("4 kept, fetch", []).append(await measured(fetch, kept))
        results.setdefault("4 kept, peek", []).append(await measured(peek, kept))
        results.setdefault("empty request", []).append(await measured(nothing, kept))
    await sources.aclose()
    for name, figures in results.items():
        print(f"{name:18}{min(figures):8.2f}")


if __name__ == "__main__":
    uvloop.run(main())
