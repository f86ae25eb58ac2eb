"""What goes over the wire: a request as it is sent, an answer as it was read."""

import re
from collections.abc import Mapping

import httpx
import msgspec

from connectors.answers import FaultCode, SourceFaultError

_NOT_IN_HEADERS = re.compile("[\0\r\n]")
_PLAIN_TARGET = re.compile(r"/(?!/)(?:[A-Za-z0-9_~!$&()*+,;=:@/?-]|(?<!/)\.|%[0-9A-Fa-f]{2})*")
"""Targets that a reading as an address would leave as they are: no dot begins a segment of theirs."""


class Origin(msgspec.Struct, frozen=True):
    """Whom a connection reaches; `authority` is how the Host header names it (RFC 9110, 7.2)."""

    secure: bool
    host: str
    port: int
    authority: str

    @classmethod
    def of(cls, url: httpx.URL) -> "Origin":
        """The origin of an address of http or https."""
        secure = url.scheme == "https"
        port = url.port or (443 if secure else 80)
        return cls(secure, url.raw_host.decode("ascii"), port, url.netloc.decode("ascii"))

    def target(self, path_and_query: str) -> str:
        """Path and query as they are sent: percent-encoded, without segments of dots."""
        if _PLAIN_TARGET.fullmatch(path_and_query):
            return path_and_query
        return httpx.URL(f"http://{self.authority}{path_and_query}").raw_path.decode("ascii")


class Outgoing(msgspec.Struct, frozen=True):
    """A request as it is sent; Host and Content-Length are added on the way."""

    method: str
    origin: Origin
    target: str
    headers: dict[str, str]
    content: bytes | None = None

    @classmethod
    def of(cls, request: httpx.Request) -> "Outgoing":
        """What a request of httpx sends; its body must have been read."""
        headers = {name: value for name, value in request.headers.items() if name not in _ADDED}
        target = request.url.raw_path.decode("ascii")
        return cls(request.method, Origin.of(request.url), target, headers, request.content or None)

    def of_httpx(self) -> httpx.Request:
        """The same for a transport of httpx."""
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        scheme = "https" if self.origin.secure else "http"
        url = f"{scheme}://{self.origin.authority}{self.target}"
        return httpx.Request(self.method, url, headers=headers, content=self.content)

    def written(self) -> bytes:
        """The request in HTTP/1.1 (RFC 9112); raises SourceFaultError for a header that would end early."""
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        if _NOT_IN_HEADERS.search("".join(lines)):
            raise SourceFaultError(
                FaultCode.ERROR, "the request holds a character that a header cannot carry"
            )
        content = self.content or b""
        if content or self.method != "GET":
            lines.append(f"Content-Length: {len(content)}")
        head = "\r\n".join(lines)
        start = f"{self.method} {self.target} HTTP/1.1\r\nHost: {self.origin.authority}\r\n"
        return f"{start}{head}\r\n\r\n".encode() + content


_ADDED = frozenset({"host", "content-length", "transfer-encoding"})


class Reply(msgspec.Struct, frozen=True):
    """An answer of a source, read to its end; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
