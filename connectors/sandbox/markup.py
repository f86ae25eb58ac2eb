"""Older forms of the exchange interface: XML, SOAP 1.1, and JSON in GBK.

XML (``POST``, ``application/xml``)
    ``<query node="..." time="..." sign="..."><purpose>..</purpose><consent>..</consent><subject>..</subject>...</query>``,
    answered by ``<answer><head status="0" text="ok" sent="..."/><rows><row><SUBJECT>..</SUBJECT>...</row></rows></answer>``.
SOAP 1.1 (``POST``, ``text/xml``, header ``SOAPAction: "urn:exchange:query"``)
    The header of the envelope holds ``<node>`` with the attributes ``id``, ``time`` and ``sign``; its body
    ``<query xmlns="urn:exchange">`` with the members of the XML form. The answer's body is ``<queryResponse>`` with ``head``
    and ``rows`` as above. Any refusal and failure is HTTP 500 with a fault: ``Client.Authentication`` (E401, E403),
    ``Client`` (E400, E413), ``Server`` (E500).
GBK
    The JSON form, its texts in GBK; no header says so.

In XML an empty element stands for null, ``true`` and ``false`` for yes and no. No part of a document may be an entity.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

import orjson
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring
from starlette.requests import Request
from starlette.responses import Response

from connectors.sandbox.exchange import JSON, Asked, Form

_FAULTS = {"E401": "Client.Authentication", "E403": "Client.Authentication", "E500": "Server"}


def _texts(within: Element | None, name: str) -> list[str]:
    """The texts of the elements of that name, whatever their namespace."""
    found: Iterator[Element] = iter(()) if within is None else within.iter()
    return [element.text or "" for element in found if _local(element) == name]


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


async def _root(request: Request) -> Element | None:
    try:
        root: Element = fromstring(await request.body())
    except (ParseError, DefusedXmlException, ValueError):
        return None
    return root


def _asked(root: Element | None, signer: Element | None, node: str) -> Asked:
    """What the elements say; `node` names the attribute with the asking node."""
    signed = {} if signer is None else signer.attrib
    return Asked(
        node=signed.get(node, ""),
        moment=signed.get("time", ""),
        sign=signed.get("sign", ""),
        purpose=next(iter(_texts(root, "purpose")), ""),
        consent=next(iter(_texts(root, "consent")), ""),
        subjects=[text for text in _texts(root, "subject") if text],
    )


def _row(row: dict[str, Any]) -> str:
    cells = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in row.items())
    return f"<row>{cells}</row>"


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else escape(str(value))


def _content(status: str, text: str, sent: str | None, rows: Sequence[Any]) -> str:
    return f'<head status="{status}" text="{text}" sent="{sent or ""}"/><rows>{"".join(rows)}</rows>'


def _document(content: str, media_type: str, status: int = 200) -> Response:
    return Response(
        f'<?xml version="1.0" encoding="UTF-8"?>{content}'.encode(), status, media_type=media_type
    )


async def _read_xml(request: Request) -> Asked:
    root = await _root(request)
    return _asked(root, root, "node")


def _write_xml(status: str, text: str, sent: str | None, rows: Sequence[Any]) -> Response:
    return _document(f"<answer>{_content(status, text, sent, rows)}</answer>", "application/xml")


async def _read_soap(request: Request) -> Asked:
    root = await _root(request)
    signers = [] if root is None else [element for element in root.iter() if _local(element) == "node"]
    return _asked(root, next(iter(signers), None), "id")


def _write_soap(status: str, text: str, sent: str | None, rows: Sequence[Any]) -> Response:
    if status == "0":
        content = f'<queryResponse xmlns="urn:exchange">{_content(status, text, sent, rows)}</queryResponse>'
    else:
        code = f"s:{_FAULTS.get(status, 'Client')}"
        content = f"<s:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring></s:Fault>"
    envelope = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body></s:Envelope>'
    )
    return _document(envelope.format(content), "text/xml", 200 if status == "0" else 500)


def _write_gbk(status: str, text: str, sent: str | None, rows: Sequence[Any]) -> Response:
    content = orjson.dumps({"status": status, "text": text, "sent": sent, "rows": rows})
    return Response(content.decode().encode("gbk"), media_type="application/json")


XML = Form(_read_xml, _row, _write_xml)
SOAP = Form(_read_soap, _row, _write_soap)
GBK = Form(JSON.read, JSON.render, _write_gbk)
