"""Documents of sources: bytes in JSON or XML as one tree of tables, lists and values, and back to text.

XML becomes the tree that JSON would be: an element with text alone is that text, an element with nothing is None,
any other is a table of its children; what is repeated is a list. Namespaces are dropped. Attributes without a
namespace are members named ``@name``, text beside children or attributes is ``#text``. No document type, hence
no entity; nesting and the number of elements are bounded.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

import msgspec
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from connectors.answers import FaultCode, SourceFaultError
from connectors.repeats import repeats_a_member

Syntax = Literal["json", "xml"]

MOST_DEPTH = 64
MOST_ELEMENTS = 200_000

_CODECS: Mapping[str, str] = {
    "utf-8": "utf-8-sig",
    "utf8": "utf-8-sig",
    "us-ascii": "utf-8-sig",
    # GB 18030 holds GBK, and GBK holds GB 2312; sources name the small one and send the large one.
    "gb18030": "gb18030",
    "gbk": "gb18030",
    "gb2312": "gb18030",
}
_DECLARED = re.compile(
    rb"""^(?:\xef\xbb\xbf)?<\?xml[^>]{0,100}\bencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']"""
)
_IN_HEADER = re.compile(r"""(?i);\s*charset\s*=\s*"?([A-Za-z0-9._-]{1,40})""")
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"

_json = msgspec.json.Decoder(float_hook=Decimal)


def codec_of(body: bytes, syntax: Syntax, content_type: str, charset: str | None) -> str | None:
    """How the bytes of a document become text: by `charset`, else the content type, else what XML declares, else UTF-8.

    None for a character set that is not known.
    """
    if charset is None and ";" in content_type and (found := _IN_HEADER.search(content_type)):
        charset = found[1]
    if charset is None and syntax == "xml" and (declared := _DECLARED.match(body)):
        charset = declared[1].decode()
    return _CODECS.get((charset or "utf-8").lower())


def read_document(body: bytes, syntax: Syntax, content_type: str = "", charset: str | None = None) -> Any:
    """The tree of a document; raises SourceFaultError."""
    codec = codec_of(body, syntax, content_type, charset)
    if codec is None:
        raise SourceFaultError(FaultCode.GARBAGE, "the answer has a character set that is not known")
    if syntax == "json":
        return _read_json(body, codec)
    try:
        text = body.decode(codec)
    except UnicodeDecodeError:
        raise SourceFaultError(FaultCode.GARBAGE, "the answer is not in its character set") from None
    return read_xml(text)


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _read_json(body: bytes, codec: str) -> Any:
    try:
        text = body.decode(codec).encode() if codec == "gb18030" else body.removeprefix(_BYTE_ORDER_MARK)
        tree = _json.decode(text)
        if repeats_a_member(text, tree):
            raise SourceFaultError(FaultCode.GARBAGE, "the answer names a member twice")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SourceFaultError(FaultCode.GARBAGE, "the answer is not JSON") from None
    return tree


def read_text(text: str, syntax: Syntax) -> Any:
    """The tree of a document that stands in a text; raises SourceFaultError."""
    return _read_json(text.encode(), "utf-8") if syntax == "json" else read_xml(text)


def read_xml(text: str) -> Any:
    """The tree of an XML document, its root as the only member; raises SourceFaultError."""
    parser = DefusedXMLParser(target=_Tree(), forbid_dtd=True)
    try:
        parser.feed(text.lstrip("\r\n\t "))
        return parser.close()
    except (ParseError, DefusedXmlException, UnicodeEncodeError):
        raise SourceFaultError(FaultCode.GARBAGE, "the answer is not XML") from None


class _Element:
    __slots__ = ("members", "name", "nil", "texts")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, Any] = {}
        self.texts: list[str] = []
        self.nil = False

    def value(self) -> Any:
        text = "".join(self.texts).strip()
        if self.nil:
            return None
        if self.members and text:
            self.members["#text"] = text
        return self.members or text or None


class _Repeated(list[Any]):
    """The values of a repeated element."""


class _Tree:
    """What the parser tells, put together."""

    def __init__(self) -> None:
        self._document = _Element("")
        self._open = [self._document]
        self._elements = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._elements += 1
        if len(self._open) > MOST_DEPTH or self._elements > MOST_ELEMENTS:
            raise SourceFaultError(
                FaultCode.GARBAGE, "the answer is nested too deep or has too many elements"
            )
        element = _Element(tag.rpartition("}")[2])
        for name, value in attributes.items():
            if not name.startswith("{"):
                element.members[f"@{name}"] = value
            elif name == f"{{{_INSTANCE}}}nil":
                element.nil = value in ("true", "1")
        self._open.append(element)

    def data(self, text: str) -> None:
        self._open[-1].texts.append(text)

    def end(self, _tag: str) -> None:
        element = self._open.pop()
        members, name = self._open[-1].members, element.name
        if name not in members:
            members[name] = element.value()
        elif isinstance(members[name], _Repeated):
            members[name].append(element.value())
        else:
            members[name] = _Repeated([members[name], element.value()])

    def close(self) -> Any:
        return self._document.members


# --- from a tree to XML

XML_NAME = re.compile(r"[^\W\d][\w.-]*(:[^\W\d][\w.-]*)?")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_xml(tree: Mapping[str, Any]) -> str:
    """The elements of a tree, without a declaration; raises SourceFaultError for what XML cannot carry."""
    text = "".join(_elements(name, value) for name, value in tree.items())
    if _NOT_IN_XML.search(text):
        raise SourceFaultError(FaultCode.ERROR, "the request holds a character that XML cannot carry")
    return text


def _elements(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(_elements(name, item) for item in value)
    if not isinstance(value, dict):
        return f"<{name}>{escape(_plain(value))}</{name}>"
    attributes = "".join(
        f" {member[1:]}={quoteattr(_plain(text))}" for member, text in value.items() if member.startswith("@")
    )
    inner = "".join(
        escape(_plain(member)) if child == "#text" else _elements(child, member)
        for child, member in value.items()
        if not child.startswith("@")
    )
    return f"<{name}{attributes}>{inner}</{name}>"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
"""The namespace of SOAP 1.1 (W3C Note of 8 May 2000, section 4)."""


def soap_envelope(header: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of a SOAP 1.1 message."""
    parts = {"soap:Header": header} if header else {}
    return {"soap:Envelope": {"@xmlns:soap": SOAP, **parts, "soap:Body": body}}


def soap_body(tree: Any) -> Mapping[str, Any]:
    """What a SOAP message holds: the child of its body, or its `Fault`; raises SourceFaultError."""
    envelope = tree.get("Envelope") if isinstance(tree, dict) else None
    body = envelope.get("Body") if isinstance(envelope, dict) else None
    if not isinstance(body, dict):
        raise SourceFaultError(FaultCode.GARBAGE, "the answer is no SOAP message")
    return body
