"""Formats of sources: XML, SOAP 1.1, forms and GBK, asked and answered by files alone."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs
from xml.etree import ElementTree

import httpx
import pytest

from connectors.answers import SourceAnswer, SourceFaultError
from connectors.documents import MOST_DEPTH, MOST_ELEMENTS, read_document, read_xml, write_xml
from connectors.fetch import Ask, Ground, SourceFileError, Sources
from policies.catalogue import Penalty
from policies.identifiers import SubjectKey
from policies.vocabulary import SubjectKind

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
ORGANISATION = SubjectKey(SubjectKind.ORG, "credit_code", "91990100FAKE00013D")
CASE = Ground("CASE", "M&<1>")
EVERYTHING = (1 << 64) - 1

HEAD = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "CUSTOMS"
kind = "EXTERNAL"
url = "https://demo.example"

[secrets]
unit = { env = "DEMO_UNIT", default = "sandbox-unit" }
"""
LOOKUP = """
[[lookup]]
category = "PENALTY"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/penalties"
subject = "code"
fields = { record_id = "no", facts = "facts", authority = "by.#text", marks = { from = "mark", optional = true, table = { a = "UNDER_OBJECTION", b = "UNDER_SUIT" } } }
"""
XML = (
    HEAD
    + """
[envelope]
format = "xml"
records = "answer.rows.row"
codes = [{ at = "answer.@code", ok = ["0"], no_data = ["9"], refused = ["7"] }]
"""
    + LOOKUP
    + """
[lookup.xml.query]
"@xmlns" = "urn:example"
unit = { "@kind" = "customs", "#text" = "{secrets.unit}" }
code = ["{subject.credit_code}"]
matter = "{ground.matter}"
"""
)
ROWS = """<answer xmlns="urn:example" code="0"><rows>
<row><no>1</no><code>91990100FAKE00013D</code><facts><![CDATA[走私 <一般>]]></facts><by lang="zh">海关</by></row>
<row><no>2</no><code>91990100FAKE00013D</code><facts/><mark>a</mark><mark>b</mark></row>
</rows></answer>"""

Answer = Callable[[httpx.Request], httpx.Response]


def open_sources(directory: Path, text: str, answer: Answer) -> Sources:
    (directory / "demo.toml").write_text(text, encoding="utf-8")
    return Sources.load(directory, transport=httpx.MockTransport(answer), clock=lambda: NOW)


async def one(directory: Path, text: str, answer: Answer, ground: Ground = CASE) -> SourceAnswer:
    sources = open_sources(directory, text, answer)
    [[found]] = await sources.fetch(
        [Ask(ORGANISATION, "PENALTY", EVERYTHING, ground, may_cache=False)], deadline=30
    )
    await sources.aclose()
    return found


def says(body: str | bytes, status: int = 200, content_type: str = "text/xml") -> Answer:
    return lambda _request: httpx.Response(status, content=body, headers={"Content-Type": content_type})


def code(answer: SourceAnswer) -> str | None:
    return answer.fault.code.value if answer.fault else None


async def test_xml_is_asked_and_read_like_json(tmp_path: Path) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, text=ROWS)

    found = await one(tmp_path, XML, answer)
    assert code(found) is None
    first, second = found.records
    assert isinstance(first, Penalty)
    assert isinstance(second, Penalty)
    assert (first.record_id, first.facts, first.authority) == ("1", "走私 <一般>", "海关")
    assert (second.facts, [mark.value for mark in second.marks]) == (None, ["UNDER_OBJECTION", "UNDER_SUIT"])
    [request] = seen
    assert request.headers["content-type"] == "application/xml; charset=UTF-8"
    asked = ElementTree.fromstring(request.content)
    spaced = "{urn:example}"
    assert [child.tag for child in asked] == [f"{spaced}unit", f"{spaced}code", f"{spaced}matter"]
    assert (asked[0].attrib, asked[0].text) == ({"kind": "customs"}, "sandbox-unit")
    assert (asked[1].text, asked[2].text) == (ORGANISATION.value, "M&<1>")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('<answer code="0"><rows/></answer>', None),
        ('<answer code="9"/>', None),
        ('<answer code="7"/>', "REFUSED"),
        ('<answer code="3"/>', "ERROR"),
        ('<answer code="0"/>', "GARBAGE"),
        ('<answer code="0"><rows><entry/></rows></answer>', "GARBAGE"),
        ('<answer code="0"><rows>none</rows></answer>', "GARBAGE"),
        ("<html><body>blocked</body></html>", "GARBAGE"),
        ("<answer><rows>", "GARBAGE"),
        ('<answer code="0"><rows><row><no>1</no><code>91990100FAKE00048X</code></row></rows></answer>', "WRONG_SUBJECT"),
        ('<!DOCTYPE answer [<!ENTITY e "x">]><answer code="0"><rows/></answer>', "GARBAGE"),
        ('<!DOCTYPE answer SYSTEM "http://127.0.0.1:1/x.dtd"><answer code="0"><rows/></answer>', "GARBAGE"),
        ('<?xml version="1.0" encoding="EBCDIC-CP-US"?><answer code="0"><rows/></answer>', "GARBAGE"),
    ],
)  # fmt: skip
async def test_what_xml_says_and_what_is_no_answer(tmp_path: Path, body: str, expected: str | None) -> None:
    found = await one(tmp_path, XML, says(body))
    assert (code(found), found.records) == (expected, ())


@pytest.mark.parametrize(
    ("encoding", "declared", "content_type", "in_file"),
    [
        ("gbk", "GBK", "text/xml", None),
        ("gb18030", None, "text/xml; charset=GB18030", None),
        ("gb18030", "ISO-8859-1", "text/xml; charset=GBK", None),
        ("gbk", None, "text/xml; charset=iso-8859-1", "GBK"),
        ("utf-8-sig", "UTF-8", "text/xml", None),
    ],
)
async def test_the_character_set_is_found(
    tmp_path: Path, encoding: str, declared: str | None, content_type: str, in_file: str | None
) -> None:
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    text = XML.replace("[envelope]", f'[envelope]\ncharset = "{in_file}"') if in_file else XML
    found = await one(tmp_path, text, says((head + ROWS).encode(encoding), content_type=content_type))
    assert isinstance(found.records[0], Penalty)
    assert found.records[0].authority == "海关"


async def test_text_in_another_character_set_is_garbage(tmp_path: Path) -> None:
    assert code(await one(tmp_path, XML, says(ROWS.encode("gbk")))) == "GARBAGE"


JSON_IN_GBK = (
    HEAD.replace("https://demo.example", 'https://demo.example"\ncharset = "GBK')
    + '[envelope]\nrecords = "rows"\n'
    + LOOKUP
    + 'form = { code = "{subject.credit_code}", name = "海关{ground.matter}" }\n'
)


async def test_forms_and_json_in_gbk(tmp_path: Path) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        rows = [{"no": "1", "code": ORGANISATION.value, "facts": "走私"}]
        body = json.dumps({"rows": rows}, ensure_ascii=False).encode("gbk")
        return httpx.Response(200, content=body, headers={"Content-Type": "application/json; charset=gb2312"})

    found = await one(tmp_path, JSON_IN_GBK, answer)
    assert isinstance(found.records[0], Penalty)
    assert found.records[0].facts == "走私"
    [request] = seen
    assert parse_qs(request.content.decode(), encoding="gbk")["name"] == ["海关M&<1>"]
    assert request.headers["content-type"] == "application/x-www-form-urlencoded; charset=GBK"


async def test_what_the_character_set_cannot_hold_is_not_sent(tmp_path: Path) -> None:
    found = await one(tmp_path, JSON_IN_GBK, says(b"{}"), Ground("CASE", "🦀"))
    assert code(found) == "ERROR"


async def test_what_xml_cannot_hold_is_not_sent(tmp_path: Path) -> None:
    assert code(await one(tmp_path, XML, says(ROWS), Ground("CASE", "a\x00b"))) == "ERROR"


# --- SOAP 1.1

SOAP = (
    HEAD
    + """
[auth]
steps = [{ set = "time", now = "ms" }]
soap_header = { "t:tongtechheader" = { "@xmlns:t" = "urn:head", unit = "{secrets.unit}", time = "{steps.time}" } }

[envelope]
format = "soap"
records = "queryResponse.return.row"
total = "queryResponse.return.total"
faults = { NotFound = "no_data", "Client.Authentication" = "refused", "Server.Busy" = "busy" }
"""
    + LOOKUP
    + """
[lookup.soap]
action = "urn:query"
body = { "q:query" = { "@xmlns:q" = "urn:example", code = "{subject.credit_code}", size = 20 } }
"""
)


def message(inner: str) -> str:
    return (
        '<?xml version="1.0"?><S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><S:Header/><S:Body>'
        f"{inner}</S:Body></S:Envelope>"
    )


async def test_soap_is_asked_and_read(tmp_path: Path) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(
            200,
            text=message(
                '<n:queryResponse xmlns:n="urn:example"><return><total>1</total><row xsi:type="n:row"><no>1</no>'
                f'<code>{ORGANISATION.value}</code><facts xsi:nil="true"/></row></return></n:queryResponse>'
            ),
        )

    found = await one(tmp_path, SOAP, answer)
    assert (code(found), len(found.records)) == (None, 1)
    [request] = seen
    assert request.headers["soapaction"] == '"urn:query"'
    assert request.headers["content-type"] == "text/xml; charset=UTF-8"
    envelope = ElementTree.fromstring(request.content)
    namespace = "{http://schemas.xmlsoap.org/soap/envelope/}"
    assert [part.tag for part in envelope] == [f"{namespace}Header", f"{namespace}Body"]
    assert envelope.findtext(f"{namespace}Header/{{urn:head}}tongtechheader/unit") == "sandbox-unit"
    assert envelope.findtext(f"{namespace}Body/{{urn:example}}query/size") == "20"


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (message("<S:Fault><faultcode>S:NotFound</faultcode></S:Fault>"), 500, None),
        (message("<S:Fault><faultcode>S:Client.Authentication</faultcode></S:Fault>"), 500, "REFUSED"),
        (message("<S:Fault><faultcode>S:Client.Authentication</faultcode></S:Fault>"), 200, "REFUSED"),
        (message("<S:Fault><faultcode>S:Server.Busy</faultcode></S:Fault>"), 500, "ERROR"),
        (message("<S:Fault><faultcode>S:Server</faultcode></S:Fault>"), 500, "ERROR"),
        (message("<S:Fault/>"), 500, "ERROR"),
        (message(""), 200, "GARBAGE"),
        ("<html/>", 500, "GARBAGE"),
        ("<html/>", 200, "GARBAGE"),
        ("<html/>", 503, "ERROR"),
    ],
)
async def test_what_a_soap_fault_means(tmp_path: Path, body: str, status: int, expected: str | None) -> None:
    found = await one(tmp_path, SOAP, says(body, status))
    assert (code(found), found.records) == (expected, ())


async def test_a_fault_may_say_its_code_in_its_detail(tmp_path: Path) -> None:
    text = SOAP.replace("faults =", 'fault_at = "detail.error.code"\nfaults =')
    body = message(
        "<S:Fault><faultcode>S:Server</faultcode><detail><error><code>NotFound</code></error></detail></S:Fault>"
    )
    assert code(await one(tmp_path, text, says(body, 500))) is None


# --- documents in texts

PACKAGE = (
    SOAP.replace('records = "queryResponse.return.row"', 'records = "queryResponse.return.PACKAGE.ROWS.ROW"')
    .replace('total = "queryResponse.return.total"', 'inside = { at = "queryResponse.return", format = "xml" }')
    .replace('size = 20', 'package = "{parts.package}", extra = "{parts.extra}"')
    + """
[lookup.parts.package.xml.PACKAGE]
HEAD = { UNIT = "{secrets.unit}" }
CODE = "{subject.credit_code}"

[lookup.parts.extra.json]
powerMatters = "{ground.matter}"
"""
)  # fmt: skip


async def test_a_package_travels_inside_a_text_both_ways(tmp_path: Path) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        package = {"PACKAGE": {"ROWS": {"ROW": {"no": 1, "code": ORGANISATION.value, "facts": "a<b"}}}}
        return httpx.Response(200, text=message(write_xml({"queryResponse": {"return": write_xml(package)}})))

    found = await one(tmp_path, PACKAGE, answer, Ground("CASE", 'M"},{"'))
    assert isinstance(found.records[0], Penalty)
    assert found.records[0].facts == "a<b"
    body = read_xml(seen[0].content.decode())["Envelope"]["Body"]["query"]
    assert read_xml(body["package"]) == {
        "PACKAGE": {"HEAD": {"UNIT": "sandbox-unit"}, "CODE": ORGANISATION.value}
    }
    assert json.loads(body["extra"]) == {"powerMatters": 'M"},{"'}


# --- pages

PAGES = (
    HEAD
    + """
[envelope]
records = "rows"
total = "total"
"""
    + LOOKUP
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("number", ["1", "2", "3"]), ("index", ["0", "1", "2"]), ("offset", ["0", "2", "4"])],
)
async def test_pages_by_number(tmp_path: Path, name: str, expected: list[str]) -> None:
    seen: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        place = 2 * len(seen) - 1
        rows = [{"no": str(number), "code": ORGANISATION.value} for number in (place, place + 1)]
        return httpx.Response(200, json={"rows": rows, "total": 6})

    text = f'{PAGES}paging = {{ size = 2 }}\njson = {{ c = "{{subject.value}}", p = "{{page.{name}}}", s = "{{page.size}}" }}\n'
    found = await one(tmp_path, text, answer)
    assert [record.record_id for record in found.records] == ["1", "2", "3", "4", "5", "6"]
    assert [str(body["p"]) for body in seen] == expected
    assert {str(body["s"]) for body in seen} == {"2"}


CURSOR = PAGES.replace('total = "total"', "") + (
    'paging = { size = 2, most = 3, cursor = "meta.next" }\n'
    'json = { c = "{subject.value}", after = "{page.cursor}" }\n'
)


@pytest.mark.parametrize("last", [None, "", "absent"])
async def test_pages_by_cursor(tmp_path: Path, last: str | None) -> None:
    seen: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        meta = {"next": f"c&{len(seen)}" if len(seen) < 3 else last}
        if meta["next"] == "absent":
            meta = {}
        return httpx.Response(
            200, json={"rows": [{"no": str(len(seen)), "code": ORGANISATION.value}], "meta": meta}
        )

    found = await one(tmp_path, CURSOR, answer)
    assert [record.record_id for record in found.records] == ["1", "2", "3"]
    assert [body.get("after") for body in seen] == [None, "c&1", "c&2"]


@pytest.mark.parametrize("cursor", ["always", ["x"], True, "x" * 3000])
async def test_a_cursor_without_end_or_sense_is_garbage(tmp_path: Path, cursor: object) -> None:
    body = json.dumps({"rows": [{"no": "1", "code": ORGANISATION.value}], "meta": {"next": cursor}})
    assert code(await one(tmp_path, CURSOR, says(body))) == "GARBAGE"


# --- bounds and mistakes


def test_xml_is_bounded() -> None:
    deep = "<a>" * MOST_DEPTH + "</a>" * MOST_DEPTH
    assert read_xml(deep)
    for text in (f"<a>{deep}</a>", "<a>" + "<b/>" * MOST_ELEMENTS + "</a>"):
        with pytest.raises(SourceFaultError, match="nested too deep"):
            read_xml(text)


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf" + b'{"a": 1}', b'{"a": 1}'], ids=["with mark", "without"])
def test_json_with_a_byte_order_mark(body: bytes) -> None:
    assert read_document(body, "json") == {"a": 1}


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ("[lookup.xml.query]", "[lookup.xml]\nother = {}\n[lookup.xml.query]", "lookup[0].xml"),
        ('matter = "', '"mat ter" = "', "lookup[0].xml.query.mat ter"),
        ('"@kind" = "customs"', '"@kind" = ["customs"]', "lookup[0].xml.query.unit.@kind"),
        ("{ground.matter}", "{ground.matters}", "lookup[0].xml"),
        ('method = "POST"', 'method = "GET"', "lookup[0].method"),
        ("[lookup.xml.query]", '[lookup.soap]\nbody = { a = "b" }\n[lookup.xml.query]', "lookup[0].soap"),
        ("[lookup.xml.query]", "[lookup.soap]\nbody = { }\n[lookup.other]", "lookup[0].other"),
        ("[envelope]", '[auth]\nsoap_header = { a = "{secrets.unit}" }\n[envelope]', "lookup[0].soap"),
        ("[envelope]", '[envelope]\ncharset = "BIG5"', "envelope.charset"),
        ('ok = ["0"]', "ok = [0]", "envelope.codes[0].ok"),
        ("[envelope]", '[envelope]\nfaults = { a = "busy" }', "envelope.faults"),
        ("[lookup.xml.query]", "[lookup.parts.a]\n[lookup.xml.query]", "lookup[0].parts.a"),
    ],
)
def test_mistakes_of_xml_files(tmp_path: Path, before: str, after: str, key: str) -> None:
    assert before in XML
    with pytest.raises(SourceFileError) as caught:
        open_sources(tmp_path, XML.replace(before, after, 1), says(""))
    assert caught.value.key == key


def test_a_person_in_a_part_stands_in_no_address(tmp_path: Path) -> None:
    text = (
        PACKAGE.replace('["ORG"]', '["NP"]').replace('["credit_code"]', '["resident"]')
        .replace("{subject.credit_code}", "{subject.resident}")
    )  # fmt: skip
    open_sources(tmp_path, text, says(""))
    with pytest.raises(SourceFileError, match="address or header"):
        open_sources(
            tmp_path,
            text.replace("[lookup.soap]", '[lookup.query]\np = "{parts.package}"\n[lookup.soap]'),
            says(""),
        )
