"""A source's answer opened: what the HTTP status and the source's own codes mean, and where its records are.

No data is not an error. What cannot be read is a fault of the source, never an empty answer.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, get_args

import msgspec

from connectors.answers import FaultCode, SourceFaultError
from connectors.conversions import UnreadableError, instant
from connectors.documents import read_document, read_text, soap_body
from connectors.message import Reply
from connectors.sealing import unseal
from connectors.source import CodeLevel, Envelope, Inside, Meaning, SealedAnswer, Sealing

Row = Mapping[str, Any]


MISSING = object()
"""What stands at a path that the answer does not have."""


@lru_cache(maxsize=1024)
def path_of(text: str) -> tuple[str, ...]:
    """A dotted path of a source file, as names; none for a dot alone, which is the whole."""
    return () if text == "." else tuple(text.split("."))


def value_at(value: Any, path: tuple[str, ...]) -> Any:
    """What stands at a path, or MISSING."""
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


_LONGEST_CURSOR = 2000


class Rows(msgspec.Struct, frozen=True):
    """The source's own records; `total` is how many there are in all, where the source says so.

    `body` is the whole answer that they came in.
    """

    rows: Sequence[Row]
    total: int | None
    as_of: datetime | None
    body: Any = None

    def next_page(self, path: str) -> str | None:
        """What asks for the next page, or None for the last; raises SourceFaultError."""
        cursor = value_at(self.body, path_of(path))
        if cursor is MISSING or cursor is None or cursor == "":
            return None
        if (
            isinstance(cursor, bool)
            or not isinstance(cursor, str | int)
            or len(str(cursor)) > _LONGEST_CURSOR
        ):
            raise SourceFaultError(FaultCode.GARBAGE, f"no cursor at {path}")
        return str(cursor)


def open_envelope(
    reply: Reply,
    envelope: Envelope,
    asked_at: datetime,
    sealing: Sealing | None = None,
    held: Mapping[str, str] | None = None,
) -> Rows:
    """The records of an answer, or none where the source says "no data"; raises SourceFaultError.

    What is sealed in it is unsealed with the secrets in `held`.
    """
    # A SOAP fault comes with the status 500 (SOAP 1.1, 6.2): what it means, it says itself.
    if not (envelope.format == "soap" and reply.status == _SOAP_FAULT):
        meaning = _status_meaning(reply.status, envelope)
        if meaning == "no_data":
            return Rows((), 0, asked_at)
    if sealing is None or sealing.answer is None:
        body = _body(reply, envelope)
    else:
        body = _unsealed(reply, envelope, sealing, sealing.answer, held or {})
    if envelope.inside is not None:
        _open(body, envelope.inside)
    if envelope.format == "soap" and "Fault" in body:
        _fault_meaning(body["Fault"], envelope)
        return Rows((), 0, asked_at)
    as_of = _as_of(reply, body, envelope, asked_at)
    for level in envelope.codes:
        if _code_meaning(body, level) == "no_data":
            return Rows((), 0, as_of)
    path = path_of(envelope.records)
    found = value_at(body, path)
    if found is None and envelope.null_records:
        return Rows((), 0, as_of)
    if envelope.format != "json" and found is MISSING and value_at(body, path[:-1]) is None:
        # An element without any child says that there is nothing; one with other children says nothing.
        return Rows((), 0, as_of)
    rows = [found] if isinstance(found, dict) else found
    if not isinstance(rows, list) or not {*map(type, rows)} <= {dict}:
        raise SourceFaultError(FaultCode.GARBAGE, f"no records at {envelope.records}")
    return Rows(rows, _total(body, envelope), as_of, body)


def _status_meaning(status: int, envelope: Envelope) -> Meaning:
    meaning: Meaning | None = envelope.http.get(str(status))
    if meaning is None and status in (401, 403):
        meaning = "refused"
    if meaning is None and status in (429, 502, 503, 504):
        meaning = "busy"
    if meaning is None and 200 <= status < 300:
        meaning = "ok"
    return _usable(meaning, f"HTTP status {status}")


def _code_meaning(body: Any, level: CodeLevel) -> Meaning:
    code = value_at(body, path_of(level.at))
    if isinstance(code, bool) or not isinstance(code, str | int):
        raise SourceFaultError(FaultCode.GARBAGE, f"no code at {level.at}")
    for meaning in get_args(Meaning):
        if code in getattr(level, meaning):
            return _usable(meaning, f"{level.at} {code}")
    message = value_at(body, path_of(level.message)) if level.message else None
    # An unknown code is the source's own text and may hold anything, so it is not repeated.
    return _usable(level.messages.get(message) if isinstance(message, str) else None, f"code at {level.at}")


def _usable(meaning: Meaning | None, what: str) -> Meaning:
    if meaning == "refused":
        raise SourceFaultError(FaultCode.REFUSED, f"the source refuses: {what}")
    if meaning == "busy":
        raise SourceFaultError(FaultCode.ERROR, f"the source is busy: {what}", busy=True)
    if meaning == "quota":
        raise SourceFaultError(FaultCode.QUOTA, f"the source says that its calls are used up: {what}")
    if meaning is None:
        raise SourceFaultError(FaultCode.ERROR, f"the source reports a failure: {what}")
    return meaning


_SOAP_FAULT = 500


def _body(reply: Reply, envelope: Envelope) -> Any:
    """The answer as one tree; raises SourceFaultError."""
    content_type = reply.headers.get("content-type", "")
    if envelope.format == "json":
        body = read_document(reply.body, "json", content_type, envelope.charset)
    else:
        body = read_document(reply.body, "xml", content_type, envelope.charset)
    return soap_body(body) if envelope.format == "soap" else body


def _unsealed(
    reply: Reply, envelope: Envelope, sealing: Sealing, answer: SealedAnswer, held: Mapping[str, str]
) -> Any:
    """The answer as one tree, with what is sealed in it as the document that it is."""
    if answer.at == ".":
        plain = unseal(sealing, reply.body.decode("ascii", "replace"), held)
        return _body(msgspec.structs.replace(reply, body=plain), envelope)
    body = _body(reply, envelope)
    *way, last = path_of(answer.at)
    holder = value_at(body, tuple(way))
    sealed = holder.get(last) if isinstance(holder, dict) else None
    if sealed is None or sealed == "":
        return body
    if not isinstance(sealed, str):
        raise SourceFaultError(FaultCode.GARBAGE, f"what stands at {answer.at} is not sealed")
    plain = unseal(sealing, sealed, held)
    holder[last] = read_document(plain, answer.format, charset=envelope.charset)
    return body


def _open(body: Any, inside: Inside) -> None:
    """Put the document in a text of the answer in the place of the text; an answer without it stays as it is."""
    *way, last = path_of(inside.at)
    holder = value_at(body, tuple(way))
    text = holder.get(last) if isinstance(holder, dict) else None
    if isinstance(text, str):
        holder[last] = read_text(text, inside.format)


def _fault_meaning(fault: Any, envelope: Envelope) -> None:
    """Return if a SOAP fault says "no data"; raises SourceFaultError for every other."""
    code = value_at(fault, path_of(envelope.fault_at))
    name = code.rpartition(":")[2] if isinstance(code, str) else ""
    if _usable(envelope.faults.get(name), "SOAP fault") != "no_data":
        raise SourceFaultError(FaultCode.GARBAGE, "a SOAP fault that is no failure")


def _total(body: Any, envelope: Envelope) -> int | None:
    if envelope.total is None:
        return None
    total = value_at(body, path_of(envelope.total))
    if isinstance(total, str) and total.isascii() and total.isdigit() and len(total) < 10:
        return int(total)
    if isinstance(total, bool) or not isinstance(total, int) or total < 0:
        raise SourceFaultError(FaultCode.GARBAGE, f"no number of records at {envelope.total}")
    return total


def _as_of(reply: Reply, body: Any, envelope: Envelope, asked_at: datetime) -> datetime | None:
    updated = envelope.updated
    if updated is None:
        return asked_at
    stated = (
        reply.headers.get(updated.header.lower())
        if updated.header
        else value_at(body, path_of(updated.at or ""))
    )
    if stated is None or stated is MISSING:
        return asked_at
    try:
        return instant(stated, updated.formats)
    except UnreadableError:
        return None
