"""Trying a source out: what it would be sent, what it says, and what the gateway makes of it.

Nothing is kept, and nothing that is shown holds a secret or the subject's identifiers.
"""

import asyncio
import html
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, quote_plus, urlsplit

import httpx
import msgspec

from connectors.answers import FaultCode, Ground, SourceFaultError
from connectors.checks import check_url
from connectors.documents import Syntax, codec_of, read_document
from connectors.envelope import MISSING, Row, path_of, value_at
from connectors.mapping import RecordMap
from connectors.problems import SourceFileError, SourceKeyError
from connectors.request import RequestTemplate, variables_of
from connectors.sealing import stand_ins, unseal
from connectors.source import LookupFile, SourceFile
from connectors.transport import certificates
from connectors.wire import HttpWire, Wire, open_wire
from policies.catalogue import Record
from policies.identifiers import SubjectKey

_SHOWN = 20_000
"""Characters of an answer that are shown."""

_EVERYTHING = (1 << 64) - 1


class Trial(msgspec.Struct, frozen=True):
    """What asking for one category brought, as texts to be read; `is_part`: there may be pages beyond this one."""

    category: str
    request: str
    answer: str
    records: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    fault: str | None = None
    is_part: bool = False


async def try_source(
    file: SourceFile,
    subject: SubjectKey,
    *,
    category: str | None,
    ground: Ground,
    url: str,
    environment: Mapping[str, str],
) -> list[Trial]:
    """Ask a source for what it has of a subject, category by category (the first page of each).

    Raises SourceFileError for a file that cannot be used, ValueError if it serves no such category or subject.
    """
    places = [
        place
        for place, lookup in enumerate(file.lookup)
        if category in (None, lookup.category)
        and subject.kind in lookup.kinds
        and subject.scheme in lookup.keys
    ]
    if not places:
        served = ", ".join(dict.fromkeys(lookup.category for lookup in file.lookup)) or "registers alone"
        raise ValueError(f"{file.id} serves no such category of such a subject; it serves {served}")
    try:
        if file.database is None:
            check_url(url, "url")
        wire = open_wire(
            file,
            url=url,
            environment=environment,
            transport=None,
            trusted=certificates(),
            clock=lambda: datetime.now(UTC),
        )
        try:
            return [await _try(file, place, wire, url, subject, ground) for place in places]
        finally:
            await wire.aclose()
    except SourceKeyError as problem:
        raise SourceFileError(f"{file.id}.toml", problem.key, problem.reason, problem.remedy) from None


async def _try(
    file: SourceFile, place: int, wire: Wire, url: str, subject: SubjectKey, ground: Ground
) -> Trial:
    lookup, key = file.lookup[place], f"lookup[{place}]"
    question, records = wire.question(lookup, key), RecordMap(file, lookup, key)
    answers: list[str] = []
    if isinstance(wire, HttpWire):
        held = wire.secrets.current()
        wire.transport = _Listening(wire.transport, answers, _token_address(file, url), file, held)
    asked = variables_of([subject], batch=lookup.batch is not None)
    if lookup.paging is not None:
        asked |= {"page.number": 1, "page.size": lookup.paging.size}
    rows: Sequence[Row] = ()
    shown: list[str] = []
    fault = None
    try:
        async with asyncio.timeout(file.timeout_seconds):
            until = asyncio.get_running_loop().time() + file.timeout_seconds
            rows = (await question.rows(asked, ground, idempotent=False, until=until)).rows
        for row in rows:
            _check_owner(row, lookup, subject)
            shown.append(_fields_of(records.record(row, _EVERYTHING), lookup))
    except SourceFaultError as error:
        fault = str(error)
    except TimeoutError:
        fault = f"{FaultCode.TIMEOUT}: no answer in {file.timeout_seconds} s"
    finally:
        if isinstance(wire, HttpWire) and isinstance(wire.transport, _Listening):
            wire.transport = wire.transport.inner
    hidden = [*_spellings(subject), *_secrets(wire)]
    answer = answers[-1] if answers else "\n".join(str(row) for row in rows) or "none"
    return Trial(
        lookup.category,
        _request(file, lookup, key, url, subject, ground),
        _without(_spelled_out(answer), hidden)[:_SHOWN],
        tuple(_without(text, hidden) for text in shown),
        _dropped(lookup, rows),
        fault,
        lookup.paging is not None,
    )


def _fields_of(record: Record, lookup: LookupFile) -> str:
    """The fields of a record that the file maps, one a line."""
    lines = [f"  {name}: {_value(getattr(record, name))}" for name in lookup.fields]
    return "\n".join([type(record).__name__, *lines])


def _value(value: object) -> str:
    if value is None or value == ():
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _spellings(subject: SubjectKey) -> list[str]:
    """How an answer may repeat the subject: as it was asked, and as it stands in an address."""
    names = [subject.name, quote(subject.name), quote_plus(subject.name)] if subject.name else []
    return [subject.value, *names]


_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_REFERENCE = re.compile(r"&#(?:[0-9]{1,7}|x[0-9a-fA-F]{1,6});")


def _spelled_out(text: str) -> str:
    """An answer with the characters that JSON and XML escape: to be read, and so that no name is overlooked."""

    def characters(found: re.Match[str]) -> str:
        units = "".join(found[0].split("\\u"))
        return bytes.fromhex(units).decode("utf-16-be", "replace")

    return _REFERENCE.sub(lambda found: html.unescape(found[0]), _ESCAPES.sub(characters, text))


def _secrets(wire: Wire) -> list[str]:
    return list(wire.secrets.current().values()) if isinstance(wire, HttpWire) else []


_IDENTIFIER = re.compile(r"(?i)(?<![0-9A-Z])[0-9A-Z]{2}[0-9]{6}[0-9A-Z]{10}(?![0-9A-Z])")
"""Shaped like a credit code or a resident number: an answer may name others than the subject."""


def _without(text: str, hidden: Sequence[str]) -> str:
    text = _IDENTIFIER.sub("HIDDEN", text)
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, "HIDDEN") if secret else text
    return text


def _request(
    file: SourceFile, lookup: LookupFile, key: str, url: str, subject: SubjectKey, ground: Ground
) -> str:
    """The request, made anew from words in the place of subject and secrets, so that no signature gives them away."""
    if lookup.sql is not None:
        return lookup.sql.strip()
    stranger = SubjectKey(subject.kind, subject.scheme, "SUBJECT", "NAME" if subject.name else None)
    held = {f"secrets.{name}": f"SECRET-{name}" for name in file.secrets} | {"token.value": "TOKEN"}
    if file.sealing is not None:
        held |= stand_ins(file.sealing)
    asked = variables_of([stranger], batch=lookup.batch is not None)
    if lookup.paging is not None:
        asked |= {"page.number": 1, "page.size": lookup.paging.size}
    template = RequestTemplate(file, lookup, key, url=url)
    try:
        request = template.build(asked, ground, datetime.now(UTC), held)
    except SourceFaultError as error:
        return f"not shown: {error.fault.detail}"
    lines = [f"{request.method} {request.url}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines += ["", request.content.decode("utf-8", "replace")]
    if file.sealing is not None and file.sealing.request is not None:
        lines += _plain(request.content, file.sealing.request.at, "json", file, held)
    return "\n".join(lines).rstrip()


def _plain(body: bytes, at: str, syntax: Syntax, file: SourceFile, held: Mapping[str, str]) -> list[str]:
    """What is sealed in a body, under a heading; nothing where it cannot be unsealed."""
    if file.sealing is None:
        return []
    try:
        if at == ".":
            sealed = body.decode("ascii", "replace")
        else:
            sealed = value_at(read_document(body, syntax), path_of(at))
        if not isinstance(sealed, str):
            return []
        plain = unseal(file.sealing, sealed, held)
    except SourceFaultError:
        return []
    codec = codec_of(plain, "xml", "", file.envelope.charset) or "utf-8"
    return ["-- unsealed", plain.decode(codec, "replace")]


def _dropped(lookup: LookupFile, rows: Sequence[Row]) -> tuple[str, ...]:
    """The names of what the source sent and the file does not map."""
    mapped = {rule.source.split(".")[0] for rule in lookup.fields.values() if rule.source is not None}
    own = lookup.subject.values() if isinstance(lookup.subject, dict) else [lookup.subject or ""]
    mapped |= {path.split(".")[0] for path in own}
    return tuple(dict.fromkeys(name for row in rows for name in row if name not in mapped))


def _check_owner(row: Row, lookup: LookupFile, subject: SubjectKey) -> None:
    path = lookup.subject
    if isinstance(path, dict):
        path = next(at for scheme, at in path.items() if scheme == subject.scheme)
    if path is None:
        return
    owner = value_at(row, path_of(path))
    if owner is MISSING or str(owner).strip().upper() != subject.value.upper():
        raise SourceFaultError(FaultCode.WRONG_SUBJECT, "a record of a subject that was not asked for")


def _token_address(file: SourceFile, url: str) -> tuple[str, str] | None:
    if file.token is None:
        return None
    parts = urlsplit((file.token.url or url).rstrip("/") + file.token.path)
    return parts.netloc, parts.path


class _Listening(httpx.AsyncBaseTransport):
    """Passes requests on and writes down what the source answers; the answer with a token is left out."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        heard: list[str],
        but: tuple[str, str] | None,
        file: SourceFile,
        held: Mapping[str, str],
    ) -> None:
        self.inner = inner
        self._heard = heard
        self._but = but
        self._most_bytes = file.max_body_bytes
        self._charset = file.envelope.charset
        self._file = file
        self._held = held

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request."""
        response = await self.inner.handle_async_request(request)
        if (request.url.netloc.decode(), request.url.path) == self._but:
            return response
        body = b""
        async for chunk in response.stream:  # type: ignore[union-attr]
            body += chunk
            if len(body) > self._most_bytes:
                break
        await response.aclose()
        kind = response.headers.get("content-type", "")
        text = body.decode(codec_of(body, "xml", kind, self._charset) or "utf-8", "replace")
        lines = [f"HTTP {response.status_code} {kind}", text]
        if self._file.sealing is not None and self._file.sealing.answer is not None:
            syntax: Syntax = "json" if self._file.envelope.format == "json" else "xml"
            lines += _plain(body, self._file.sealing.answer.at, syntax, self._file, self._held)
        self._heard.append("\n".join(lines))
        return httpx.Response(response.status_code, headers=response.headers, content=body)
