"""The sandbox sources, asked over real sockets."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import orjson
import pytest

from connectors.sandbox import secrets
from connectors.sandbox.exchange import NODE
from connectors.sandbox.facts import Records
from connectors.sandbox.faults import fault_from
from connectors.sandbox.identifiers import credit_code, registration_number, resident_number
from connectors.sandbox.population import CAST, populate
from connectors.sandbox.registrations import COLUMNS, RegistrationsError, load_registrations
from connectors.sandbox.server import NAMES, SOURCES, Sandbox, SandboxOptions, running

TODAY = date(2026, 11, 20)
CLEAN = CAST["clean"].key
PERSON = CAST["clean-person"].key
ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    filed = tmp_path_factory.mktemp("filed") / "filed.csv"
    filed.write_text(registrations_csv(), encoding="utf-8")
    options = SandboxOptions(subjects=120, base_port=0, today=TODAY, registrations=filed)
    async with running(options) as started:
        yield started


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.post(f"{sandbox.admin_url}/counts/reset")
        yield client
        await client.delete(f"{sandbox.admin_url}/faults")


# Requests, signed as each interface document says.


def seconds() -> str:
    return str(int(time.time()))


def milliseconds() -> str:
    return str(int(time.time() * 1000))


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def platform(
    path: str, body: dict[str, Any], *, rtime: str | None = None, additional: object = None
) -> httpx.Request:
    moment = rtime or milliseconds()
    plain = f"{secrets.PLATFORM_SID}{secrets.PLATFORM_RID}{moment}"
    digest = hmac.new(secrets.PLATFORM_SECRET.encode(), plain.encode(), "sha256").digest()
    headers = {
        "gjzwfwpt_rid": secrets.PLATFORM_RID,
        "gjzwfwpt_sid": secrets.PLATFORM_SID,
        "gjzwfwpt_rtime": moment,
        "gjzwfwpt_sign": base64.b64encode(digest).decode(),
    }
    purpose = (
        {"powerMatters": "000131002000", "materialName": "LICENSING"} if additional is None else additional
    )
    return httpx.Request("POST", path, headers=headers, json={"additional": purpose, **body})


def public_security(key: str, name: str) -> httpx.Request:
    moment = seconds()
    sign = hmac.new(
        secrets.PUBLIC_SECURITY_SECRET.encode(), f"{secrets.PUBLIC_SECURITY_APP}{moment}".encode(), "sha256"
    ).hexdigest()
    headers = {
        "X-Auth-AppId": secrets.PUBLIC_SECURITY_APP,
        "X-Auth-Timestamp": moment,
        "X-Auth-Sign": sign,
    }
    return httpx.Request(
        "POST", "/rkk/hc", headers=headers, data={"xm": name, "gmsfhm": key, "cxsy": "LICENSING"}
    )


def hrss(path: str, key: str, *, kind: str = "01", rows: int = 50, page: int = 1) -> httpx.Request:
    return httpx.Request(
        "POST",
        path,
        headers={"Authorization": f"Bearer {secrets.HRSS_TOKEN}"},
        json={"idType": kind, "idNo": key, "page": page, "rows": rows},
    )


def natural_resources(key: str) -> httpx.Request:
    return httpx.Request(
        "GET",
        "/zrzy/v1/xkz",
        params={"tyshxydm": key},
        headers={"X-Api-Key": secrets.NATURAL_RESOURCES_KEY},
    )


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def market_regulation(path: str, keys: list[str]) -> httpx.Request:
    headers = basic(secrets.MARKET_REGULATION_USER, secrets.MARKET_REGULATION_PASSWORD)
    return httpx.Request("POST", path, headers=headers, json={"keys": keys})


def ecology(key: str) -> httpx.Request:
    headers = {"Authorization": f"APPCODE {secrets.ECOLOGY_APPCODE}"}
    return httpx.Request("GET", "/hb/credit-grade", params={"code": key}, headers=headers)


def housing(path: str, **subject: str) -> httpx.Request:
    login = {
        "accessid": secrets.HOUSING_ID,
        "username": secrets.HOUSING_USER,
        "pwd": secrets.HOUSING_PASSWORD,
    }
    return httpx.Request("POST", path, json={**login, **subject})


def hall(**subject: str) -> httpx.Request:
    moment = milliseconds()
    form = {
        "appKey": secrets.HALL_KEY,
        "requestTime": moment,
        "sign": md5(f"{secrets.HALL_KEY}{secrets.HALL_SECRET}{moment}"),
    }
    return httpx.Request("POST", "/hall/commitments", data={**form, **subject})


def taxation(path: str, keys: list[str], **consent: str) -> httpx.Request:
    moment = seconds()
    login = {
        "appId": secrets.TAX_APP,
        "timestamp": moment,
        "sign": md5(f"{secrets.TAX_APP}{moment}{secrets.TAX_SECRET}").upper(),
    }
    return httpx.Request("POST", path, json={**login, **consent, "nsrsbh": keys})


def court(keys: list[str]) -> httpx.Request:
    return httpx.Request(
        "POST", "/zxgk/sxbzxr", headers=basic(secrets.COURT_KEY, ""), json={"zjhmList": keys}
    )


def court_rows(path: str, keys: list[str]) -> httpx.Request:
    return httpx.Request("POST", path, headers=basic(secrets.COURT_KEY, ""), json={"zjhmList": keys})


def market_a_headers() -> dict[str, str]:
    moment = seconds()
    token = md5(f"{secrets.MARKET_A_KEY}{moment}{secrets.MARKET_A_SECRET}").upper()
    return {"Timespan": moment, "Token": token}


def market_a(key: str, **query: str) -> httpx.Request:
    params = {"key": secrets.MARKET_A_KEY, "keyword": key, **query}
    return httpx.Request("GET", "/ECICredit/GetProfile", params=params, headers=market_a_headers())


def market_a_person(key: str, name: str, **members: str) -> httpx.Request:
    return httpx.Request(
        "POST",
        "/PersonCredit/GetFacts",
        params={"key": secrets.MARKET_A_KEY},
        headers=market_a_headers(),
        json={"name": name, "idNumber": key, **members},
    )


def market_b(key: str, **query: str) -> httpx.Request:
    headers = {"Authorization": secrets.MARKET_B_TOKEN}
    return httpx.Request("GET", "/services/open/credit", params={"keyword": key, **query}, headers=headers)


def association(key: str) -> httpx.Request:
    moment = milliseconds()
    sign = hashlib.sha256(
        f"{secrets.ASSOCIATION_APP}{secrets.ASSOCIATION_SECRET}{moment}".encode()
    ).hexdigest()
    form = {"appId": secrets.ASSOCIATION_APP, "timestamp": moment, "sign": sign, "creditCode": key}
    return httpx.Request("POST", "/member/records", data=form)


def exchange(source: str, path: str, keys: list[str], **members: str) -> httpx.Request:
    moment = seconds()
    secret = getattr(secrets, f"{source.upper().replace('-', '_')}_SECRET")
    sign = hmac.new(secret.encode(), f"{NODE}{moment}".encode(), "sha256").hexdigest()
    headers = {"X-Node": NODE, "X-Node-Time": moment, "X-Node-Sign": sign}
    body = {"purpose": "LICENSING", "subjects": keys} | members
    return httpx.Request("POST", path, headers=headers, json=body)


def signature(source: str) -> tuple[str, str, str]:
    """Node, time and sign of the exchange interface."""
    headers = exchange(source, "/", []).headers
    return headers["X-Node"], headers["X-Node-Time"], headers["X-Node-Sign"]


def xml(source: str, path: str, keys: list[str], *, purpose: str = "LICENSING") -> httpx.Request:
    node, moment, sign = signature(source)
    subjects = "".join(f"<subject>{key}</subject>" for key in keys)
    body = (
        f'<query node="{node}" time="{moment}" sign="{sign}"><purpose>{purpose}</purpose>{subjects}</query>'
    )
    return httpx.Request("POST", path, headers={"Content-Type": "application/xml"}, content=body.encode())


def soap(source: str, path: str, keys: list[str], *, sign: str | None = None) -> httpx.Request:
    node, moment, right = signature(source)
    subjects = "".join(f"<e:subject>{key}</e:subject>" for key in keys)
    body = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:e="urn:exchange">'
        f'<s:Header><node id="{node}" time="{moment}" sign="{sign or right}"/></s:Header>'
        f"<s:Body><e:query><e:purpose>LICENSING</e:purpose>{subjects}</e:query></s:Body></s:Envelope>"
    )
    headers = {"Content-Type": "text/xml", "SOAPAction": '"urn:exchange:query"'}
    return httpx.Request("POST", path, headers=headers, content=body.encode())


CONSENT = {"sqlx": "1", "sqbh": "AUTH-1"}
LOAN = {"reasonCode": "02", "authorizationId": "AUTH-1"}


async def send(
    http: httpx.AsyncClient, sandbox: Sandbox, source: str, request: httpx.Request
) -> httpx.Response:
    """Send a request with a path for its address to a source."""
    url = httpx.URL(sandbox.urls[source]).join(request.url)
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
    return await http.request(request.method, url, headers=headers, content=request.content)


def content_of(response: httpx.Response) -> Any:
    """The answer as JSON; GBK and XML read as such, an XML document as its rows and what stands beside them."""
    if "xml" not in response.headers["content-type"]:
        try:
            return response.json()
        except UnicodeDecodeError:
            return orjson.loads(response.content.decode("gbk"))
    root = ElementTree.fromstring(response.content)
    local = {element.tag.rpartition("}")[2]: element for element in root.iter()}
    rows = [
        {cell.tag.rpartition("}")[2]: cell.text for cell in row}
        for row in root.iter()
        if row.tag.endswith("row")
    ]
    head = local["head"].attrib if "head" in local else {}
    return {"rows": rows, **head, "fault": local["faultcode"].text if "faultcode" in local else None}


def at(path: str) -> Callable[[httpx.Response], Any]:
    """What lies at a dotted path of an answer."""

    def read(response: httpx.Response) -> Any:
        value = content_of(response)
        for step in path.split("."):
            value = value[step]
        return value

    return read


ANSWERS: list[tuple[str, Callable[[], httpx.Request], str, dict[str, object]]] = [
    (
        "provincial-platform",
        lambda: platform("/share/registration", {"subjects": [CLEAN]}),
        "data.list",
        {"uniscid": CLEAN, "regcap": "500万元人民币", "gsjzrq": "9999-09-09", "yybz": "", "xfrq": "\\N"},
    ),
    (
        "provincial-platform",
        lambda: platform("/share/registration", {"regNos": ["990100000000013"]}),
        "data.list",
        {"uniscid": CLEAN, "regno": "990100000000013"},
    ),
    (
        "provincial-platform",
        lambda: platform("/share/penalty", {"subjects": [CAST["bidder-5"].key]}),
        "data.list",
        {
            "XDR_DM": CAST["bidder-5"].key,
            "YYBZ": "01",
            "CF_NR_FK": "0.5000",
            "SXYZCD": "2",
            "CF_JDRQ": "2026-08-12",
            "RDYJLB": "02",
        },
    ),
    (
        "provincial-platform",
        lambda: platform("/share/penalty", {"subjects": [CAST["defaulter"].key]}),
        "data.list",
        {"XDR_DM": CAST["defaulter"].key},
    ),
    (
        "provincial-platform",
        lambda: platform("/share/serious-list", {"subjects": [CAST["bidder-4"].key]}),
        "data.list",
        {"subject_code": CAST["bidder-4"].key, "situation_code": "2", "list_date": "20260623"},
    ),
    (
        "provincial-platform",
        lambda: platform("/share/incentive", {"subjects": [CLEAN]}),
        "data.list",
        {"subjectCode": CLEAN, "listedDate": "2026/01/24 00:00:00", "removedDate": "\\N"},
    ),
    (
        "provincial-platform",
        lambda: platform("/share/commitment", {"subjects": [CAST["individual"].key]}),
        "data.list",
        {"LXZT": "2", "CNLX": "审批替代型承诺"},
    ),
    (
        "provincial-platform",
        lambda: platform("/share/honour", {"subjects": [CAST["foundation"].key]}),
        "data.list",
        {"RYJB": "1", "GSJZRQ": "2099-12-31"},
    ),
    (
        "provincial-platform",
        lambda: platform("/share/evaluation", {"subjects": [CLEAN]}),
        "data.list",
        {"PJLB": "01", "PJDJ": "A"},
    ),
    (
        "hrss",
        lambda: hrss("/api/hrss/v1/payments", CLEAN),
        "result.list",
        {"idNo": CLEAN, "period": "2026-10", "persons": 25, "paidAmount": "33912.50", "insType": "SI"},
    ),
    (
        "hrss",
        lambda: hrss("/api/hrss/v1/arrears", CAST["cooperative"].key),
        "result.list",
        {"owedAmount": "9800.00", "degree": "一般", "noticeDate": 1_788_624_000_000, "cancelledOn": None},
    ),
    (
        "natural-resources",
        lambda: natural_resources(CLEAN),
        "Rows",
        {"tyshxydm": CLEAN, "xklb": "TD", "yxqz": "9999/09/09 00:00:00", "cxsj": "null", "zybz": []},
    ),
    (
        "market-regulation",
        lambda: market_regulation("/scjg/abnormal", [CAST["cooperative"].key]),
        "data",
        {"uniscid": CAST["cooperative"].key, "remdate": "\\N", "xfrq": ""},
    ),
    (
        "market-regulation",
        lambda: market_regulation("/scjg/licence", [PERSON]),
        "data",
        {"XK_XDR_DM": PERSON, "XK_XKLB": "健康证明", "XK_ZT": "1"},
    ),
    ("ecology", lambda: ecology(CLEAN), "showapi_res_body.list", {"code": CLEAN, "colour": "1"}),
    (
        "housing",
        lambda: housing("/zjt/gjj", uniscId=CLEAN),
        "data",
        {"dwdm": CLEAN, "jcny": "202610", "jcje_wy": "2.4000", "jcrs": "25", "jclb": "HF"},
    ),
    ("housing", lambda: housing("/zjt/gjj", zjhm=PERSON), "data", {"dwdm": PERSON, "jcrs": "1"}),
    (
        "housing",
        lambda: housing("/zjt/getEnterpriseGrade", uniscId=CLEAN),
        "data",
        {"uniscId": CLEAN, "grade": "AAA", "pjrq": "20260822"},
    ),
    (
        "government-affairs",
        lambda: hall(tyshxydm=CAST["private-non-enterprise"].key),
        "datas",
        {"lxqk": "未履行", "cnlb": "ZMSX", "yy": None},
    ),
    ("government-affairs", lambda: hall(sfzhm=PERSON), "datas", {"lxqk": "已履行", "cnlb": "RQBB"}),
    (
        "taxation",
        lambda: taxation("/swj/nsxx", [CAST["private-non-enterprise"].key], **CONSENT),
        "resData.items",
        {"sjje": "-1500.00", "sssq": "202610", "zsxm": "10101"},
    ),
    (
        "taxation",
        lambda: taxation("/swj/qsxx", [CAST["cooperative"].key]),
        "resData.items",
        {"qsje": "23456.78", "qjlx": "SS", "rdrq": "20260901", "sssq": "202607"},
    ),
    (
        "court",
        lambda: court([CAST["defaulter"].key, CLEAN]),
        "data",
        {"ZJHM": CAST["defaulter"].key, "FBRQ": "2026-07-23", "PGRQ": None},
    ),
    (
        "market-a",
        lambda: market_a(CAST["foundation"].key, **LOAN),
        "Result",
        {"CreditCode": CAST["foundation"].key, "Disputes": ["OBJECTION", "SUIT"], "Rating": "A"},
    ),
    (
        "market-a",
        lambda: market_a_person(PERSON, CAST["clean-person"].name, **LOAN),
        "Result",
        {"StatedDate": "2026-09-21", "PersonalScore": 780},
    ),
    (
        "market-b",
        lambda: market_b(CLEAN, useFor="consent", authorizationId="AUTH-1"),
        "result.items",
        {"creditCode": CLEAN, "gradeText": "低风险", "gradeTime": 1_792_512_000_000},
    ),
    (
        "association",
        lambda: association(CLEAN),
        "data.records",
        {"creditCode": CLEAN, "recordType": "1", "showTo": "长期", "repairedOn": ""},
    ),
    (
        "provincial-platform",
        lambda: platform("/share/acts", {"subjects": [CAST["cooperative"].key]}),
        "data.list",
        {"ACT_KIND": "行政征收", "ACT_DATE": "2026-04-24", "AMOUNT": "12000.00", "DISPUTES": "02"},
    ),
    (
        "provincial-platform",
        lambda: platform("/share/rights", {"subjects": [CAST["bidder-5"].key]}),
        "data.list",
        {"KIND": "异议", "CATEGORY": "PENALTY", "STAGE": "办理中", "REPAIRED": None, "SETTLED_ON": None},
    ),
    (
        "court",
        lambda: court_rows("/zxgk/cpws", [CAST["bidder-4"].key]),
        "data",
        {"KIND": "判决书", "PERFORMANCE": "2", "DISPUTES": "01", "BASIS": "01"},
    ),
    (
        "court",
        lambda: court_rows("/zxgk/xsfz", [CAST["defaulter"].key]),
        "data",
        {"TERM_ENDS": "2027-02-28", "DEGREE": "3"},
    ),
    (
        "hrss",
        lambda: hrss("/api/hrss/v1/titles", PERSON, kind="02"),
        "result.list",
        {"titleType": "职称", "validTo": None, "state": "有效"},
    ),
    (
        "city-platform",
        lambda: exchange("city-platform", "/city/acts", [CLEAN]),
        "rows",
        {"SUBJECT": CLEAN, "ACT_KIND": "行政确认", "PUBLISH_TO": "2027-10-06"},
    ),
    (
        "county-platform",
        lambda: exchange("county-platform", "/county/rewards", [CAST["individual"].key]),
        "rows",
        {"SUBJECT": CAST["individual"].key, "PUBLISH_TO": "9999-12-31"},
    ),
    (
        "enterprise-publicity",
        lambda: exchange("enterprise-publicity", "/gsxt/contracts", [CLEAN]),
        "rows",
        {"PERFORMANCE": "0", "SIGNED_ON": "2026-10-11"},
    ),
    (
        "credit-china",
        lambda: exchange("credit-china", "/creditchina/repairs", [CAST["bidder-3"].key]),
        "rows",
        {"KIND": "信用修复", "STAGE": "同意", "REPAIRED": "2026-10-31"},
    ),
    (
        "contract-performance",
        lambda: exchange("contract-performance", "/trade/v1/contracts", [CAST["government"].key]),
        "rows",
        {"ROLE": "采购人", "AMOUNT": "480000.00"},
    ),
    (
        "civil-affairs",
        lambda: xml("civil-affairs", "/mz/charity", [PERSON]),
        "rows",
        {"KIND": "志愿服务", "HOURS": "36", "REPAIRED": None},
    ),
    (
        "staffing-office",
        lambda: exchange("staffing-office", "/sydw/annual-reports", [CAST["institution"].key]),
        "rows",
        {"RESULT": "遵守", "DOMAIN": "年度报告公示"},
    ),
    (
        "customs",
        lambda: soap("customs", "/customs/compliance", [CLEAN]),
        "rows",
        {"RESULT": "遵守", "DOMAIN": "海关监管"},
    ),
    (
        "ip-office",
        lambda: exchange("ip-office", "/ipo/rights", [CLEAN]),
        "rows",
        {"KIND": "商标", "PLEDGED": False, "PLEDGE_NO": None},
    ),
    (
        "utilities",
        lambda: exchange("utilities", "/utilities/payments", [CLEAN], consent="AUTH-1"),
        "rows",
        {"KIND": "电力", "PERIOD": "2026-10", "AMOUNT": "1834.20"},
    ),
    (
        "portals",
        lambda: exchange("portals", "/portal/declarations", [PERSON]),
        "rows",
        {"DECLARED_OPEN": False},
    ),
    (
        "financing-platform",
        lambda: exchange("financing-platform", "/rzxy/utilities", [CLEAN], purpose="SELF"),
        "rows",
        {"KIND": "燃气", "PERIOD": "2026-10"},
    ),
    (
        "financial-database",
        lambda: exchange("financial-database", "/zxzx/reports", [CLEAN], consent="PB-1"),
        "rows",
        {"ACCOUNTS": 4, "OVERDUE": 0, "REASON": "02", "SCORE": 612},
    ),
]


@pytest.mark.parametrize(("source", "request_for", "place", "expected"), ANSWERS)
async def test_a_source_answers_for_the_cast(
    sandbox: Sandbox,
    http: httpx.AsyncClient,
    source: str,
    request_for: Callable[[], httpx.Request],
    place: str,
    expected: dict[str, object],
) -> None:
    response = await send(http, sandbox, source, request_for())
    assert response.status_code == 200
    first = at(place)(response)[0]
    assert {column: first[column] for column in expected} == expected


SOMEBODY_ELSE = "91990100F9999999XX"

NO_DATA: list[tuple[str, Callable[[], httpx.Request], int, str, object]] = [
    (
        "provincial-platform",
        lambda: platform("/share/penalty", {"subjects": [SOMEBODY_ELSE]}),
        200,
        "data.list",
        [],
    ),
    ("hrss", lambda: hrss("/api/hrss/v1/payments", SOMEBODY_ELSE), 200, "result.total", 0),
    ("natural-resources", lambda: natural_resources(SOMEBODY_ELSE), 404, "Code", "40400"),
    ("market-regulation", lambda: market_regulation("/scjg/abnormal", [SOMEBODY_ELSE]), 200, "data", []),
    ("ecology", lambda: ecology(SOMEBODY_ELSE), 200, "showapi_res_body.ret_code", -1),
    ("housing", lambda: housing("/zjt/gjj", uniscId=SOMEBODY_ELSE), 200, "data", None),
    ("government-affairs", lambda: hall(tyshxydm=SOMEBODY_ELSE), 200, "datas", None),
    ("taxation", lambda: taxation("/swj/nsxx", [SOMEBODY_ELSE], **CONSENT), 200, "resCode", "9001"),
    ("court", lambda: court([SOMEBODY_ELSE]), 404, "code", 404),
    ("market-a", lambda: market_a(SOMEBODY_ELSE, **LOAN), 200, "Status", "201"),
    (
        "market-b",
        lambda: market_b(SOMEBODY_ELSE, useFor="consent", authorizationId="AUTH-1"),
        200,
        "error_code",
        300000,
    ),
    ("association", lambda: association(SOMEBODY_ELSE), 200, "data.records", []),
    ("ip-office", lambda: exchange("ip-office", "/ipo/rights", [SOMEBODY_ELSE]), 200, "rows", []),
    ("civil-affairs", lambda: xml("civil-affairs", "/mz/charity", [SOMEBODY_ELSE]), 200, "rows", []),
    ("customs", lambda: soap("customs", "/customs/compliance", [SOMEBODY_ELSE]), 200, "rows", []),
]


@pytest.mark.parametrize(("source", "request_for", "status", "place", "expected"), NO_DATA)
async def test_a_source_has_its_own_way_to_say_no_data(
    sandbox: Sandbox,
    http: httpx.AsyncClient,
    source: str,
    request_for: Callable[[], httpx.Request],
    status: int,
    place: str,
    expected: object,
) -> None:
    response = await send(http, sandbox, source, request_for())
    assert response.status_code == status
    assert at(place)(response) == expected


@pytest.mark.parametrize(
    ("name", "agrees"), [(CAST["clean-person"].name, "1"), ("例他人", "0")], ids=["agree", "differ"]
)
async def test_public_security_only_matches(
    sandbox: Sandbox, http: httpx.AsyncClient, name: str, agrees: str
) -> None:
    body = at("body")(await send(http, sandbox, "public-security", public_security(PERSON, name)))
    assert body["hcjg"] == agrees
    assert set(body) == {"lsh", "hcjg", "hcsj", "hcdw"}


async def test_texts_of_the_staffing_office_are_gbk_and_nothing_says_so(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    request = exchange("staffing-office", "/sydw/annual-reports", [CAST["institution"].key])
    response = await send(http, sandbox, "staffing-office", request)
    assert response.headers["content-type"] == "application/json"
    with pytest.raises(UnicodeDecodeError):
        response.content.decode()
    assert "遵守" in response.content.decode("gbk")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "E401"),
        (b"<query", "E401"),
        (b'<!DOCTYPE q [<!ENTITY e "x">]><query>&e;</query>', "E401"),
        ("<query/>".encode("utf-16"), "E401"),
    ],
)
async def test_what_is_no_xml_is_refused(
    sandbox: Sandbox, http: httpx.AsyncClient, body: bytes, expected: str
) -> None:
    request = httpx.Request("POST", "/mz/charity", content=body)
    assert at("status")(await send(http, sandbox, "civil-affairs", request)) == expected


async def test_an_xml_query_without_subjects_or_purpose_is_malformed(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    for request in (
        xml("civil-affairs", "/mz/charity", []),
        xml("civil-affairs", "/mz/charity", [CLEAN], purpose=""),
    ):
        assert at("status")(await send(http, sandbox, "civil-affairs", request)) == "E400"
    refused = await send(http, sandbox, "customs", soap("customs", "/customs/compliance", []))
    assert (refused.status_code, at("fault")(refused)) == (500, "s:Client")


async def test_public_security_does_not_tell_who_exists(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    unknown = at("body")(
        await send(http, sandbox, "public-security", public_security("990105199001010000", "例无人"))
    )
    assert unknown["hcjg"] == "0"


REFUSED: list[tuple[str, str, str, int, str, object]] = [
    ("provincial-platform", "POST", "/share/penalty", 200, "code", "api-401"),
    ("public-security", "POST", "/rkk/hc", 401, "result", 0),
    ("hrss", "POST", "/api/hrss/v1/payments", 200, "errcode", 10001),
    ("natural-resources", "GET", "/zrzy/v1/xkz", 403, "Code", "40300"),
    ("market-regulation", "POST", "/scjg/licence", 401, "code", 401),
    ("ecology", "GET", "/hb/credit-grade", 200, "showapi_res_code", -1002),
    ("housing", "POST", "/zjt/gjj", 200, "result", 0),
    ("government-affairs", "POST", "/hall/commitments", 200, "code", "97"),
    ("taxation", "POST", "/swj/nsxx", 200, "resCode", "9401"),
    ("court", "POST", "/zxgk/sxbzxr", 401, "code", 401),
    ("market-a", "GET", "/ECICredit/GetProfile", 200, "Status", "101"),
    ("market-a", "POST", "/PersonCredit/GetFacts", 200, "Status", "101"),
    ("market-b", "GET", "/services/open/credit", 200, "error_code", 300002),
    ("association", "POST", "/member/records", 200, "code", 401),
    ("county-platform", "POST", "/county/acts", 200, "status", "E401"),
    ("civil-affairs", "POST", "/mz/charity", 200, "status", "E401"),
    ("staffing-office", "POST", "/sydw/annual-reports", 200, "status", "E401"),
    ("customs", "POST", "/customs/compliance", 500, "fault", "s:Client.Authentication"),
]


@pytest.mark.parametrize(("source", "method", "path", "status", "place", "expected"), REFUSED)
async def test_a_caller_without_authentication_is_refused_and_counted(
    sandbox: Sandbox,
    http: httpx.AsyncClient,
    source: str,
    method: str,
    path: str,
    status: int,
    place: str,
    expected: object,
) -> None:
    response = await http.request(method, sandbox.urls[source] + path)
    assert response.status_code == status
    assert at(place)(response) == expected
    counts = (await http.get(f"{sandbox.admin_url}/counts")).json()[source]
    assert counts == {"requests": 1, "by_path": {path: 1}, "refused": 1}
    assert (await http.get(f"{sandbox.admin_url}/asked/{source}")).json() == []


def spoiled(request: httpx.Request, header: str, value: str) -> httpx.Request:
    kept = [(name, text) for name, text in request.headers.raw if name.decode() != header]
    request.headers = httpx.Headers([*kept, (header.encode(), value.encode())])
    return request


COUNTED = {"table": "penalty", "subjectType": "1", "groupBy": ["city"], "onDay": "2026-11-20"}


@pytest.mark.parametrize(
    ("request_for", "expected"),
    [
        (lambda: spoiled(platform("/share/penalty", {}), "gjzwfwpt_sign", "AAAA"), "api-401"),
        (lambda: spoiled(platform("/share/penalty", {}), "gjzwfwpt_sign", "é"), "api-401"),
        (lambda: platform("/share/penalty", {"subjects": [CLEAN]}, rtime="1000000000000"), "api-401"),
        (lambda: platform("/share/penalty", {"subjects": [CLEAN]}, rtime="9" * 5000), "api-401"),
        (lambda: platform("/share/penalty", {"subjects": [CLEAN]}, additional={}), "api-403"),
        (
            lambda: platform("/share/penalty", {"subjects": [CLEAN]}, additional={"powerMatters": "1"}),
            "api-403",
        ),
        (lambda: platform("/share/penalty", {"subjects": [CLEAN]}, additional="LICENSING"), "api-403"),
        (lambda: platform("/share/penalty", {"subjects": []}), "api-400"),
        (lambda: platform("/share/penalty", {"subjects": [1]}), "api-400"),
        (lambda: platform("/share/penalty", {"regNos": ["990100000000013"]}), "api-400"),
        (lambda: platform("/share/penalty", {"subjects": [CLEAN] * 51}), "api-413"),
        (lambda: platform("/share/search", {"name": "", "pageNo": 1, "pageSize": 20}), "api-400"),
        (lambda: platform("/share/search", {"name": "示例", "pageNo": 0, "pageSize": 20}), "api-400"),
        (lambda: platform("/share/search", {"name": "示例", "pageNo": 1, "pageSize": 51}), "api-400"),
        *(
            (lambda wrong=wrong: platform("/share/statistics", {**COUNTED, **wrong}), "api-400")
            for wrong in (
                {"table": "tax"},
                {"table": ["penalty"]},
                {"subjectType": "5"},
                {"groupBy": "city"},
                {"groupBy": [["city"]]},
                {"groupBy": ["name"]},
                {"groupBy": ["city", "year", "quarter", "degree"]},
                {"onDay": "20.11.2026"},
                {"onDay": None},
            )
        ),
        (lambda: platform("/share/statistics", COUNTED, additional={}), "api-403"),
    ],
)
async def test_the_platform_says_what_is_wrong(
    sandbox: Sandbox, http: httpx.AsyncClient, request_for: Callable[[], httpx.Request], expected: str
) -> None:
    response = await send(http, sandbox, "provincial-platform", request_for())
    assert response.status_code == 200
    assert response.json()["code"] == expected
    assert response.json()["data"] is None


@pytest.mark.parametrize(
    ("source", "request_for", "place", "expected"),
    [
        ("taxation", lambda: taxation("/swj/nsxx", [CLEAN]), "resCode", "9403"),
        ("taxation", lambda: taxation("/swj/nsxx", [CLEAN], sqlx="1", sqbh=""), "resCode", "9403"),
        ("taxation", lambda: taxation("/swj/nsxx", [CLEAN], sqlx="0"), "resCode", "0000"),
        ("market-a", lambda: market_a(CLEAN, authorizationId="AUTH-1"), "Status", "108"),
        ("market-a", lambda: market_a(CLEAN, reasonCode="99", authorizationId="AUTH-1"), "Status", "108"),
        ("market-a", lambda: market_a(CLEAN, reasonCode="02"), "Status", "109"),
        ("market-a", lambda: market_a(CLEAN, reasonCode="00"), "Status", "200"),
        ("market-a", lambda: market_a_person(PERSON, "例守信", reasonCode="02"), "Status", "109"),
        ("market-a", lambda: market_a_person(PERSON, "例他人", **LOAN), "Status", "201"),
        ("market-b", lambda: market_b(CLEAN, useFor="consent"), "error_code", 300005),
        ("market-b", lambda: market_b(CLEAN), "error_code", 300008),
        ("market-b", lambda: market_b(CLEAN, useFor="self"), "error_code", 0),
        ("utilities", lambda: exchange("utilities", "/utilities/payments", [CLEAN]), "status", "E403"),
        (
            "utilities",
            lambda: exchange("utilities", "/utilities/payments", [CLEAN], purpose="SELF"),
            "status",
            "0",
        ),
        (
            "utilities",
            lambda: exchange("utilities", "/utilities/payments", [CLEAN], purpose=""),
            "status",
            "E400",
        ),
        (
            "financial-database",
            lambda: exchange("financial-database", "/zxzx/reports", [CLEAN]),
            "status",
            "E403",
        ),
    ],
)
async def test_consent_and_reason_are_demanded(
    sandbox: Sandbox,
    http: httpx.AsyncClient,
    source: str,
    request_for: Callable[[], httpx.Request],
    place: str,
    expected: object,
) -> None:
    assert at(place)(await send(http, sandbox, source, request_for())) == expected


FIRMS = [CAST["bidder-4"].key, *(f"91990100F{number:07d}XX" for number in range(200))]


@pytest.mark.parametrize(
    ("source", "request_for", "limit", "place", "good", "too_many"),
    [
        (
            "provincial-platform",
            lambda n: platform("/share/serious-list", {"subjects": FIRMS[:n]}),
            50,
            "code",
            "200",
            "api-413",
        ),
        ("market-regulation", lambda n: market_regulation("/scjg/licence", FIRMS[:n]), 100, "code", 0, 413),
        (
            "taxation",
            lambda n: taxation("/swj/nsxx", FIRMS[:n], **CONSENT),
            30,
            "resCode",
            "0000",
            "9413",
        ),
        ("court", lambda n: court(FIRMS[:n]), 20, "code", 0, 413),
        (
            "portals",
            lambda n: exchange("portals", "/portal/declarations", FIRMS[:n]),
            50,
            "status",
            "0",
            "E413",
        ),
    ],
)
async def test_batches_end_where_the_interface_says(
    sandbox: Sandbox,
    http: httpx.AsyncClient,
    source: str,
    request_for: Callable[[int], httpx.Request],
    limit: int,
    place: str,
    good: object,
    too_many: object,
) -> None:
    assert at(place)(await send(http, sandbox, source, request_for(limit))) == good
    assert at(place)(await send(http, sandbox, source, request_for(limit + 1))) == too_many


async def test_a_batch_returns_each_subject_under_its_own_key(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    keys = [CAST[role].key for role in ("bidder-2", "clean", "bidder-5", "defaulter", "bidder-2")]
    request = platform("/share/penalty", {"subjects": keys})
    data = at("data")(await send(http, sandbox, "provincial-platform", request))
    assert [row["XDR_DM"] for row in data["list"]] == [keys[0], *[keys[2]] * 3, keys[3]]
    assert data["total"] == 5


async def test_social_insurance_is_paged(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    path = "/api/hrss/v1/payments"
    pages = [
        at("result")(await send(http, sandbox, "hrss", hrss(path, CLEAN, rows=5, page=page)))
        for page in (1, 2, 3)
    ]
    assert [len(page["list"]) for page in pages] == [5, 5, 2]
    assert {page["total"] for page in pages} == {12}
    assert len({row["sn"] for page in pages for row in page["list"]}) == 12
    assert at("errcode")(await send(http, sandbox, "hrss", hrss(path, CLEAN, rows=51))) == 10004


UPDATED = "2026-11-19T22:00:00+08:00"


async def test_sources_state_when_their_data_was_updated(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    async def ask(source: str, request: httpx.Request) -> httpx.Response:
        return await send(http, sandbox, source, request)

    moment = 1_795_096_800
    penalty = await ask("provincial-platform", platform("/share/penalty", {"subjects": [CLEAN]}))
    assert at("data.updateTime")(penalty) == "2026-11-19 22:00:00"
    payments = await ask("hrss", hrss("/api/hrss/v1/payments", CLEAN))
    assert payments.headers["Last-Modified"] == "Thu, 19 Nov 2026 14:00:00 GMT"
    assert (await ask("natural-resources", natural_resources(CLEAN))).headers["X-Data-Time"] == str(moment)
    assert (
        at("sjgxsj")(await ask("market-regulation", market_regulation("/scjg/abnormal", [CLEAN]))) == UPDATED
    )
    assert at("showapi_res_body.updateTime")(await ask("ecology", ecology(CLEAN))) == moment * 1000
    assert at("gxsj")(await ask("government-affairs", hall(tyshxydm=CLEAN))) == "20261119220000"
    tax = await ask("taxation", taxation("/swj/nsxx", [CLEAN], **CONSENT))
    assert at("resData.gxsj")(tax) == "2026/11/19 22:00:00"
    rating = await ask("market-a", market_a(CLEAN, **LOAN))
    assert rating.headers["Last-Modified"] == "Thu, 19 Nov 2026 14:00:00 GMT"
    risk = await ask("market-b", market_b(CLEAN, useFor="self"))
    assert at("result.updateTime")(risk) == moment * 1000
    assert at("data.asOf")(await ask("association", association(CLEAN))) == "2026-11-19"


async def test_what_a_gateway_must_filter_is_all_there(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    roles = ("bidder-3", "bidder-5", "cooperative")
    request = platform("/share/penalty", {"subjects": [CAST[role].key for role in roles]})
    rows = at("data.list")(await send(http, sandbox, "provincial-platform", request))
    by_role = {role: [row for row in rows if row["XDR_DM"] == CAST[role].key] for role in roles}
    assert [row["XFRQ"] for row in by_role["bidder-3"]] == ["2026-10-31"]
    disputed, expired, old = by_role["bidder-5"]
    assert disputed["YYBZ"] == "01"
    assert expired["GSJZRQ"] < "2026-11-20" < f"{int(expired['XW_ZZRQ'][:4]) + 5}{expired['XW_ZZRQ'][4:]}"
    assert f"{int(old['XW_ZZRQ'][:4]) + 5}{old['XW_ZZRQ'][4:]}" < "2026-11-20"
    assert [row["CXRQ"] for row in by_role["cooperative"]] == ["\\N", "2026-08-22"]
    assert all({"LXDH", "XFJL", "CBR"} <= set(row) for row in rows)


# Search and registrations from a file.


def registrations_csv() -> str:
    """Two registrations of the shape that real files have; the first code's check digit is wrong."""
    return (
        ",".join(COLUMNS)
        + "\n"
        + '甲县虚构种养有限公司,91990321FAKE70007X,2019-04-03,20(万),"种植业:中药材;""示例""**",山西,太原,甲县乙路-A02\n'
        + "乙县虚构贸易有限公司,91990321FAKE80008X,2019-05-06,N/A,日用百货 的销售；,山西,长治, 乙县丙路１号\n"
    )


async def test_registrations_from_a_file_are_served_as_filed(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    request = platform("/share/registration", {"subjects": ["91990321FAKE70007X", "91990321FAKE80008X"]})
    first, second = at("data.list")(await send(http, sandbox, "provincial-platform", request))
    assert first["entname"] == "甲县虚构种养有限公司"
    assert first["opscope"] == '种植业:中药材;"示例"**'
    assert (first["regcap"], first["estdate"], first["domprov"], first["domcity"]) == (
        "20(万)",
        "2019-04-03",
        "山西",
        "太原",
    )
    assert (first["regno"], first["lerep"], first["gsjzrq"], first["yybz"]) == ("\\N", "\\N", "\\N", "")
    assert (second["regcap"], second["dom"], second["opscope"]) == (
        "N/A",
        " 乙县丙路１号",
        "日用百货 的销售；",
    )


async def test_search_finds_parts_of_names(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    async def search(name: str, page: int = 1, size: int = 50) -> dict[str, Any]:
        request = platform("/share/search", {"name": name, "pageNo": page, "pageSize": size})
        data: dict[str, Any] = at("data")(await send(http, sandbox, "provincial-platform", request))
        return data

    assert await search("虚构种养") == {
        "total": 1,
        "updateTime": "2026-11-19 22:00:00",
        "list": [
            {
                "entname": "甲县虚构种养有限公司",
                "uniscid": "91990321FAKE70007X",
                "regstate": "\\N",
                "domcity": "太原",
            }
        ],
    }
    assert (await search("没有这样的名称"))["total"] == 0
    assert (await search("养"))["list"][0]["uniscid"] == "91990321FAKE70007X"
    every = sorted(
        (filed.credit_code, filed.name)
        for filings in sandbox.population.records.registrations.values()
        for filed in filings
        if "示例" in filed.name
    )
    assert len(every) > 10
    pages = [await search("示例", page, 10) for page in range(1, len(every) // 10 + 2)]
    found = [(row["uniscid"], row["entname"]) for page in pages for row in page["list"]]
    assert found == every
    assert {page["total"] for page in pages} == {len(every)}
    assert (await search("例示"))["total"] == sum("例示" in name for _, name in every)


async def test_loaded_registrations_are_not_listed_as_synthetic(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    subjects = (await http.get(f"{sandbox.admin_url}/subjects?limit=1000")).json()
    assert len(subjects) == 120
    assert not {"91990321FAKE70007X", "91990321FAKE80008X"} & {subject["key"] for subject in subjects}


LINE = "虚构公司,91990321FAKE70007X,2019-04-03,20(万),示例,山西,太原,甲路"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "line 1: missing column name"),
        ("name,credit_code\n", "line 1: missing column registered_on"),
        (f"{','.join(COLUMNS)}\n{LINE},more\n", "line 2: 9 cells, the header has 8"),
        (f"{','.join(COLUMNS)}\n{LINE}\n{LINE}\n", "line 3, column credit_code: already in line 2"),
        (
            f"{','.join(COLUMNS)}\n{LINE.replace('2019-04-03', '2019')}",
            "line 2, column registered_on: not a date",
        ),
        (
            f"{','.join(COLUMNS)}\n{LINE.replace('FAKE', 'FAIE')}",
            "line 2, column credit_code: not a credit code of 18 characters",
        ),
        (f"{','.join(COLUMNS)}\n{LINE.removeprefix('虚构公司')}", "line 2, column name: empty"),
    ],
)
def test_a_bad_file_of_registrations_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "filed.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RegistrationsError) as caught:
        load_registrations(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
    assert "FAKE" not in str(caught.value)


def test_a_file_that_is_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "filed.csv"
    with pytest.raises(RegistrationsError, match="cannot be read"):
        load_registrations(path)
    path.write_bytes(b"name\xff\xfe")
    with pytest.raises(RegistrationsError, match="not UTF-8"):
        load_registrations(path)
    path.write_text(f"{','.join(COLUMNS)}\n{'x' * 200_000}{LINE}\n", encoding="utf-8")
    with pytest.raises(RegistrationsError, match="not CSV"):
        load_registrations(path)


# The population.


def histories(subjects: int, seed: int, today: date = TODAY) -> tuple[object, ...]:
    population = populate(subjects=subjects, seed=seed, today=today)
    return population.subjects, *(getattr(population.records, table.name) for table in fields(Records))


def test_the_same_seed_gives_the_same_population() -> None:
    assert histories(400, 7) == histories(400, 7)
    assert histories(400, 7)[0] != histories(400, 8)[0]


async def test_the_same_seed_gives_the_same_population_in_another_process() -> None:
    program = (
        "import hashlib; from datetime import date; from connectors.sandbox.population import populate;"
        "p = populate(subjects=300, seed=5, today=date(2026, 11, 20));"
        "print(hashlib.sha256(repr(p).encode()).hexdigest())"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        digests.add(output)
    assert len(digests) == 1


def test_the_cast_is_the_same_under_every_seed() -> None:
    first, second = (populate(subjects=200, seed=seed, today=TODAY) for seed in (1, 2))
    keys = [member.key for member in CAST.values()]
    assert [subject.key for subject in first.subjects[: len(keys)]] == keys
    for table in fields(Records):
        one, other = getattr(first.records, table.name), getattr(second.records, table.name)
        assert [one.get(key) for key in keys] == [other.get(key) for key in keys]


def test_the_population_ages_with_the_calendar() -> None:
    key = CAST["bidder-2"].key
    decided = [
        populate(subjects=0, seed=1, today=today).records.penalties[key][0].decided
        for today in (TODAY, TODAY + timedelta(days=10))
    ]
    assert decided[1] - decided[0] == timedelta(days=10)


def test_the_population_has_all_kinds_and_every_table_has_records() -> None:
    population = populate(subjects=2000, seed=99, today=TODAY)
    kinds = [subject.kind for subject in population.subjects]
    assert len(kinds) == 2000
    shares = {kind: kinds.count(kind) / len(kinds) for kind in ("ORG", "IND", "GOV", "NP")}
    assert 0.57 < shares["ORG"] < 0.67
    assert 0.11 < shares["IND"] < 0.19
    assert 0.015 < shares["GOV"] < 0.05
    assert 0.16 < shares["NP"] < 0.25
    assert len({subject.key for subject in population.subjects}) == 2000
    for table in fields(Records):
        assert len(getattr(population.records, table.name)) > 10, table.name
    born = [int(subject.key[6:10]) for subject in population.subjects if subject.kind == "NP"]
    assert 2 <= sum(year > TODAY.year - 18 for year in born) < 40
    known = {subject.key for subject in population.subjects}
    for table in fields(Records):
        assert set(getattr(population.records, table.name)) <= known


def test_government_bodies_have_what_is_kept_of_them_and_nothing_else() -> None:
    population = populate(subjects=1000, seed=3, today=TODAY)
    bodies = {subject.key for subject in population.subjects if subject.kind == "GOV"}
    assert bodies
    kept = {"registrations", "contracts", "official_dishonesty", "repairs"}
    for table in fields(Records):
        found = bodies & set(getattr(population.records, table.name))
        assert bool(found) == (table.name in kept), table.name
    assert bodies <= set(population.records.registrations)


def check_value(code: str) -> int:
    weights = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
    total = sum(ALPHABET.index(character) * weight for character, weight in zip(code, weights, strict=False))
    return (31 - total % 31) % 31


def resident_check(number: str) -> str:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(number, weights, strict=False))
    return "10X98765432"[total % 11]


def test_every_identifier_is_of_division_99_with_a_right_check_digit() -> None:
    population = populate(subjects=1500, seed=99, today=TODAY)
    wrong = []
    for subject in population.subjects:
        if subject.kind == "NP":
            assert re.fullmatch(r"99\d{15}[\dX]", subject.key)
            assert subject.key[17] == resident_check(subject.key)
        else:
            assert re.fullmatch(rf"[159][123]99\d{{4}}[{ALPHABET}]{{10}}", subject.key)
            if ALPHABET[check_value(subject.key)] != subject.key[17]:
                wrong.append(subject.key)
    assert wrong == [CAST["bad-check-digit"].key]


@pytest.mark.parametrize(
    ("kind", "division", "body", "code"),
    [
        ("91", "990100", "FAKE0001", "91990100FAKE00013D"),
        ("92", "990105", "FAKE0002", "92990105FAKE00021D"),
        ("93", "990105", "FAKE0003", "93990105FAKE0003X2"),
        ("11", "990000", "FAKE0004", "11990000FAKE000483"),
        ("12", "990100", "FAKE0005", "12990100FAKE000560"),
        ("51", "990000", "FAKE0006", "51990000FAKE00064L"),
        ("52", "990100", "FAKE0007", "52990100FAKE00072H"),
        ("53", "990000", "FAKE0008", "53990000FAKE000804"),
    ],
)
def test_credit_codes_have_their_published_check_digits(
    kind: str, division: str, body: str, code: str
) -> None:
    assert credit_code(kind, division, body) == code


def test_resident_and_registration_numbers_have_their_check_digits() -> None:
    assert resident_number("11010519491231002") == "11010519491231002X"
    assert resident_number("99010519991231998") == CAST["defaulter"].key
    # The worked example of ISO 7064 MOD 11,10 for the digits 0794.
    assert registration_number("0794") == "07945"


def test_the_cast_carries_what_its_description_promises() -> None:
    population = populate(subjects=0, seed=1, today=TODAY)
    records = population.records
    assert len(population.subjects) == len(CAST)
    clean = {table.name for table in fields(Records) if CLEAN in getattr(records, table.name)}
    adverse = {"penalties", "serious", "insurance_arrears", "abnormal", "tax_arrears", "enforcement"}
    adverse |= {"compulsions", "false_statements", "judgments", "crimes", "rights", "repairs"}
    of_others = {"market_a_persons", "titles", "official_dishonesty", "institution_reports"}
    of_others |= {"abnormal_activities", "abnormal_institutions", "portal_commitments", "customs_grades"}
    of_the_district = {"county_acts", "county_rewards", "county_compliance"}
    everything = {table.name for table in fields(Records)}
    assert clean == everything - adverse - of_others - of_the_district
    individual = CAST["individual"].key
    [handed_up] = {fact.number for fact in records.county_acts[individual]}
    for higher in (records.city_acts, records.acts):
        assert handed_up in {fact.number for fact in higher[individual]}
    [repair] = records.repairs[CAST["bidder-3"].key]
    [repaired] = records.penalties[CAST["bidder-3"].key]
    assert (repair.number, repair.repaired) == (repaired.number, repaired.repaired)
    terms = [fact.term_ends for fact in records.crimes[CAST["cooperative"].key]]
    assert [term < TODAY - timedelta(days=5 * 366) for term in terms] == [True, False]
    assert [fact.repaired is None for fact in records.official_dishonesty[CAST["government"].key]] == [
        True,
        False,
    ]
    assert [fact.repaired for fact in records.penalties[CAST["bidder-3"].key]] == [TODAY - timedelta(days=20)]
    assert {fact.degree for facts in records.penalties.values() for fact in facts} == {
        "MINOR",
        "GENERAL",
        "SERIOUS",
    }
    assert {fact.outcome for facts in records.commitments.values() for fact in facts} == {
        "PENDING",
        "PERFORMED",
        "BROKEN",
    }
    assert any(fact.removed for fact in records.serious[CAST["cooperative"].key])
    assert any(fact.valid_until < TODAY for fact in records.market_licences[CAST["individual"].key])
    assert CAST["minor"].key[6:14] == "20150601"


# Faults, counts and the admin interface.

ONE_OF_EACH: dict[str, Callable[[], httpx.Request]] = {
    "public-security": lambda: public_security(PERSON, "例守信"),
    **{source: request_for for source, request_for, _, _ in reversed(ANSWERS)},
}

EXCHANGING = list(SOURCES)[list(SOURCES).index("city-platform") :]

FAILURES: dict[str, tuple[int, str, object]] = {
    "provincial-platform": (200, "code", "300"),
    "public-security": (500, "result", 0),
    "hrss": (200, "errcode", 500),
    "natural-resources": (500, "Code", "50000"),
    "market-regulation": (500, "code", 500),
    "ecology": (200, "showapi_res_code", -1000),
    "housing": (200, "result", 0),
    "government-affairs": (200, "code", "99"),
    "taxation": (200, "resCode", "9999"),
    "court": (500, "code", 500),
    "market-a": (200, "Status", "199"),
    "market-b": (200, "error_code", 300001),
    "association": (200, "code", 500),
    **dict.fromkeys(EXCHANGING, (200, "status", "E500")),
    "customs": (500, "fault", "s:Server"),
}


async def put_fault(
    http: httpx.AsyncClient, sandbox: Sandbox, source: str, **fault: object
) -> httpx.Response:
    return await http.put(f"{sandbox.admin_url}/faults/{source}", json=fault)


@pytest.mark.parametrize("source", SOURCES)
async def test_faults_break_a_source_and_leave_it_whole(
    sandbox: Sandbox, http: httpx.AsyncClient, source: str
) -> None:
    request_for = ONE_OF_EACH[source]
    whole = await send(http, sandbox, source, request_for())

    await put_fault(http, sandbox, source, fault="error")
    failed = await send(http, sandbox, source, request_for())
    status, place, expected = FAILURES[source]
    assert (failed.status_code, at(place)(failed)) == (status, expected)

    await put_fault(http, sandbox, source, fault="garbage")
    garbage = await send(http, sandbox, source, request_for())
    assert garbage.status_code == 200
    assert garbage.text.startswith("<!DOCTYPE html>")

    await put_fault(http, sandbox, source, fault="truncated")
    truncated = await send(http, sandbox, source, request_for())
    assert truncated.headers["content-type"] == "application/json"
    assert 0 < len(truncated.content) < len(whole.content)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(truncated.content)

    await put_fault(http, sandbox, source, fault="off")
    again = await send(http, sandbox, source, request_for())
    assert again.status_code == whole.status_code
    assert len(again.content) == len(whole.content)

    counts = (await http.get(f"{sandbox.admin_url}/counts")).json()[source]
    assert counts["requests"] == 5
    assert len((await http.get(f"{sandbox.admin_url}/asked/{source}")).json()) == 5


async def test_a_delay_holds_the_answer_back(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    await put_fault(http, sandbox, "court", fault="delay", seconds=3600)
    with pytest.raises(httpx.ReadTimeout):
        await http.request(
            "POST",
            f"{sandbox.urls['court']}/zxgk/sxbzxr",
            headers=basic(secrets.COURT_KEY, ""),
            json={"zjhmList": [CLEAN]},
            timeout=0.2,
        )
    asked = (await http.get(f"{sandbox.admin_url}/asked/court")).json()
    assert [inquiry["subjects"] for inquiry in asked] == [[CLEAN]]
    await put_fault(http, sandbox, "court", fault="delay", seconds=0.01)
    response = await send(http, sandbox, "court", court([CAST["bidder-4"].key]))
    assert at("data")(response)[0]["ZJHM"] == CAST["bidder-4"].key


async def test_down_closes_the_port_and_off_opens_the_same_one(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    address = ("127.0.0.1", sandbox.ports["ecology"])
    assert (await send(http, sandbox, "ecology", ecology(CLEAN))).status_code == 200
    await put_fault(http, sandbox, "ecology", fault="down")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    with pytest.raises(httpx.TransportError):
        await send(http, sandbox, "ecology", ecology(CLEAN))
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(address)
    assert (await send(http, sandbox, "court", court([CAST["bidder-4"].key]))).status_code == 200
    overview = (await http.get(sandbox.admin_url)).json()["sources"]
    assert {name: source["fault"] for name, source in overview.items() if source["fault"] != "off"} == {
        "ecology": "down"
    }
    await http.delete(f"{sandbox.admin_url}/faults")
    assert (await send(http, sandbox, "ecology", ecology(CLEAN))).status_code == 200
    counts = (await http.get(f"{sandbox.admin_url}/counts")).json()["ecology"]
    assert counts["requests"] == 2


async def test_down_does_not_wait_for_a_delayed_answer(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    await put_fault(http, sandbox, "court", fault="delay", seconds=3600)
    waiting = asyncio.create_task(send(http, sandbox, "court", court([CLEAN])))
    for _ in range(1000):
        if (await http.get(f"{sandbox.admin_url}/asked/court")).json():
            break
        await asyncio.sleep(0.01)
    await put_fault(http, sandbox, "court", fault="down")
    with contextlib.suppress(httpx.TransportError):
        await waiting
    assert waiting.done()
    await put_fault(http, sandbox, "court", fault="off")
    assert (await send(http, sandbox, "court", court([CLEAN]))).status_code == 404


@pytest.mark.parametrize(
    ("source", "wish", "status", "complaint"),
    [
        ("nobody", {"fault": "down"}, 404, "source: one of"),
        ("admin", {"fault": "down"}, 404, "source: one of"),
        ("court", {"fault": "flood"}, 400, "fault: one of"),
        ("court", {}, 400, "fault: one of"),
        ("court", {"fault": ["down"]}, 400, "fault: one of"),
        ("court", {"fault": "delay"}, 400, "seconds: above 0"),
        ("court", {"fault": "down", "seconds": 1}, 400, "seconds: above 0"),
        ("court", {"fault": "delay", "seconds": -1}, 400, "seconds: a number"),
        ("court", {"fault": "delay", "seconds": "1"}, 400, "seconds: a number"),
        ("court", {"fault": "delay", "seconds": 1e9}, 400, "seconds: a number"),
    ],
)
async def test_a_wrong_fault_is_refused(
    sandbox: Sandbox,
    http: httpx.AsyncClient,
    source: str,
    wish: dict[str, object],
    status: int,
    complaint: str,
) -> None:
    response = await put_fault(http, sandbox, source, **wish)
    assert response.status_code == status
    assert response.json()["error"].startswith(complaint)
    overview = (await http.get(sandbox.admin_url)).json()["sources"]
    assert {described["fault"] for described in overview.values()} == {"off"}


def test_a_fault_of_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="seconds: a number"):
        fault_from({"fault": "delay", "seconds": float("nan")})


async def test_what_was_asked_is_counted_and_listed(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    keys = [CLEAN, CAST["bidder-2"].key]
    await send(http, sandbox, "provincial-platform", platform("/share/penalty", {"subjects": keys}))
    await send(http, sandbox, "provincial-platform", platform("/share/penalty", {"subjects": [PERSON]}))
    await send(http, sandbox, "provincial-platform", platform("/share/honour", {"subjects": [CLEAN]}))
    await http.get(f"{sandbox.urls['provincial-platform']}/nowhere/{CLEAN}")
    counts = (await http.get(f"{sandbox.admin_url}/counts")).json()
    assert counts["provincial-platform"] == {
        "requests": 4,
        "by_path": {"/share/penalty": 2, "/share/honour": 1, "other": 1},
        "refused": 0,
    }
    assert set(counts) == set(NAMES) - {"admin"}
    assert all(counted["requests"] == 0 for name, counted in counts.items() if name != "provincial-platform")
    asked = (await http.get(f"{sandbox.admin_url}/asked/provincial-platform")).json()
    assert [(inquiry["path"], inquiry["subjects"]) for inquiry in asked] == [
        ("/share/penalty", keys),
        ("/share/penalty", [PERSON]),
        ("/share/honour", [CLEAN]),
    ]
    await http.post(f"{sandbox.admin_url}/counts/reset")
    counts = (await http.get(f"{sandbox.admin_url}/counts")).json()
    assert counts["provincial-platform"] == {"requests": 0, "by_path": {}, "refused": 0}
    assert (await http.get(f"{sandbox.admin_url}/asked/provincial-platform")).json() == []


async def test_nothing_that_was_asked_gets_into_a_log(
    sandbox: Sandbox, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await send(http, sandbox, "court", court([PERSON]))
    await send(http, sandbox, "public-security", public_security(PERSON, CAST["clean-person"].name))
    await send(http, sandbox, "ecology", ecology(CLEAN))
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    for record in ours:
        assert not {PERSON, CLEAN, CAST["clean-person"].name} & set(re.split(r"[\W_]+", record.getMessage()))
    assert (await http.get(f"{sandbox.admin_url}/counts")).json()["ecology"]["requests"] == 1


async def test_the_admin_interface_lists_subjects_and_cast(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    bodies = (await http.get(f"{sandbox.admin_url}/subjects?kind=GOV")).json()
    assert bodies[0] == {
        "kind": "GOV",
        "key": CAST["government"].key,
        "name": CAST["government"].name,
    }
    assert {body["kind"] for body in bodies} == {"GOV"}
    assert len((await http.get(f"{sandbox.admin_url}/subjects?limit=3")).json()) == 3
    cast = (await http.get(f"{sandbox.admin_url}/cast")).json()
    assert [member["role"] for member in cast] == list(CAST)
    for query in ("kind=CAT", "limit=0", "limit=1001", "limit=x", "limit=" + "9" * 5000):
        response = await http.get(f"{sandbox.admin_url}/subjects?{query}")
        assert response.status_code == 400
        assert response.json()["error"].startswith(query.split("=")[0])


async def test_the_overview_names_every_source_and_its_address(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    overview = (await http.get(sandbox.admin_url)).json()
    assert overview["today"] == "2026-11-20"
    assert {name: source["url"] for name, source in overview["sources"].items()} == {
        name: sandbox.urls[name] for name in NAMES if name != "admin"
    }


# The process.


async def test_the_process_says_when_it_is_ready_and_stops_on_a_signal() -> None:
    program = "from connectors.sandbox.server import SandboxOptions, run; run(SandboxOptions(subjects=30, base_port=0))"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    ready = orjson.loads(await process.stdout.readline())
    assert ready["ready"] is True
    assert list(ready["ports"]) == list(NAMES)
    async with httpx.AsyncClient(trust_env=False) as http:
        base = f"http://127.0.0.1:{ready['ports']['court']}"
        response = await http.post(
            f"{base}/zxgk/sxbzxr", headers=basic(secrets.COURT_KEY, ""), json={"zjhmList": [PERSON]}
        )
        assert response.status_code == 404
        process.send_signal(signal.SIGTERM)
        output, errors = await process.communicate()
    assert (process.returncode, output, errors) == (0, b"", b"")


def test_applications_have_their_documented_order() -> None:
    assert NAMES == (
        "admin",
        "issuer",
        "provincial-platform",
        "public-security",
        "hrss",
        "natural-resources",
        "market-regulation",
        "ecology",
        "housing",
        "government-affairs",
        "taxation",
        "court",
        "market-a",
        "market-b",
        "association",
        "trading-platform",
        "department-registers",
        "bank-registers",
        "consent-service",
        "city-platform",
        "county-platform",
        "enterprise-publicity",
        "credit-china",
        "contract-performance",
        "civil-affairs",
        "staffing-office",
        "customs",
        "ip-office",
        "utilities",
        "portals",
        "financing-platform",
        "financial-database",
    )


async def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"port {number} for admin"):
            async with running(SandboxOptions(subjects=0, base_port=number)):
                pass


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"subjects": -1}, "subjects: below 0"),
        ({"base_port": -1}, "base_port"),
        ({"base_port": 65530}, "base_port"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SandboxOptions(**options)  # type: ignore[arg-type]
