"""The load: keep-alive connections that send prepared requests and read the answers, at ten microseconds each.

In the closed loop every connection asks again as soon as it is answered; in the open one requests leave at a fixed
rate, whether the earlier ones are answered or not, and a latency counts from the moment at which it was due.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import msgspec

from .world import Question, same

KEPT_EVERY = 200
"""Of so many answers one is kept whole and compared with what the upstream holds."""


class Prepared(msgspec.Struct, frozen=True):
    """A question and the bytes that ask it."""

    question: Question
    request: bytes


class Measured(msgspec.Struct, frozen=True):
    """What a run saw: latencies in seconds, sorted; wrong answers; how long it took, in seconds."""

    latencies: list[float]
    wrong: int
    seconds: float
    compared: int

    def percentile(self, share: float) -> float:
        """The latency, in seconds, that this share of all requests did not exceed."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


def prepare(questions: Sequence[Question], url: str, token: str) -> list[Prepared]:
    """The questions as bytes for the server at `url`."""
    host = urlsplit(url).netloc
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: "
    ).encode()
    return [Prepared(each, b"%b%d\r\n\r\n%b" % (head, len(each.body), each.body)) for each in questions]


def right(question: Question, status: int, body: bytes) -> bool:
    """Whether a whole answer is right: without errors, and every record as the upstream holds it."""
    if status != 200:
        return False
    answer = msgspec.json.decode(body)
    return "errors" not in answer and same(answer["data"], question.data)


async def closed(
    url: str, prepared: Sequence[Prepared], *, connections: int, seconds: float, most: int | None = None
) -> Measured:
    """Ask in turn until the time is over or `most` requests were sent, on so many connections."""
    return await _Closed(prepared, seconds, most).run(url, connections)


async def opened(
    url: str, prepared: Sequence[Prepared], *, rate: float, seconds: float, most: int | None = None
) -> Measured:
    """Ask at `rate` requests a second."""
    number = int(rate * seconds) if most is None else most
    return await _Open(prepared, rate, number).run(url, 32)


class _Run(ABC):
    """What the connections of a run share."""

    def __init__(self, prepared: Sequence[Prepared]) -> None:
        self.prepared = prepared
        self.sent = 0
        self.latencies: list[float] = []
        self.wrong = 0
        self.kept: list[tuple[Question, int, bytes]] = []
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, url: str, connections: int) -> Measured:
        loop = asyncio.get_running_loop()
        host, _, port = urlsplit(url).netloc.rpartition(":")
        opened = [
            await loop.create_connection(lambda: Connection(self), host, int(port))
            for _ in range(connections)
        ]
        begun = perf_counter()
        self.start([connection for _, connection in opened])
        await self.finished
        took = perf_counter() - begun
        for transport, _ in opened:
            transport.abort()
        wrong = sum(not right(*kept) for kept in self.kept)
        return Measured(sorted(self.latencies), self.wrong + wrong, took, len(self.kept))

    @abstractmethod
    def start(self, connections: Sequence["Connection"]) -> None:
        """Send the first questions."""

    @abstractmethod
    def answered(self, connection: "Connection") -> None:
        """One connection has its answer."""

    def next(self) -> Prepared:
        """The next question in turn."""
        found = self.prepared[self.sent % len(self.prepared)]
        self.sent += 1
        return found

    def take(self, question: Question, due: float, status: int, body: bytes) -> None:
        """Note an answer; what tells a wrong one cheaply is looked at in each."""
        self.latencies.append(perf_counter() - due)
        if status != 200 or body.count(b'"HAS"') != question.sections or b'"errors"' in body:
            self.wrong += 1
        elif len(self.latencies) % KEPT_EVERY == 1:
            self.kept.append((question, status, body))

    def lost(self) -> None:
        """End: a connection was lost in the run."""
        if not self.finished.done():
            self.finished.set_exception(ConnectionError("the server closed a connection of the load"))


class _Closed(_Run):
    def __init__(self, prepared: Sequence[Prepared], seconds: float, most: int | None) -> None:
        super().__init__(prepared)
        self._seconds = seconds
        self._most = most
        self._busy = 0

    def start(self, connections: Sequence["Connection"]) -> None:
        self._until = perf_counter() + self._seconds
        self._busy = len(connections)
        for connection in connections:
            self._ask(connection)

    def answered(self, connection: "Connection") -> None:
        self._ask(connection)

    def _ask(self, connection: "Connection") -> None:
        now = perf_counter()
        if now < self._until and (self._most is None or self.sent < self._most):
            connection.ask(self.next(), now)
            return
        self._busy -= 1
        if not self._busy:
            self.finished.set_result(None)


class _Open(_Run):
    def __init__(self, prepared: Sequence[Prepared], rate: float, number: int) -> None:
        super().__init__(prepared)
        self._rate = rate
        self._number = number
        self._waiting: deque[tuple[Prepared, float]] = deque()

    def start(self, connections: Sequence["Connection"]) -> None:
        self._idle = list(connections)
        loop, begun = asyncio.get_running_loop(), perf_counter()
        for number in range(self._number):
            after = number / self._rate
            loop.call_later(after, self._due, begun + after)

    def _due(self, due: float) -> None:
        self._waiting.append((self.next(), due))
        if self._idle:
            self._idle.pop().ask(*self._waiting.popleft())

    def answered(self, connection: "Connection") -> None:
        if self._waiting:
            connection.ask(*self._waiting.popleft())
        else:
            self._idle.append(connection)
        if len(self.latencies) == self._number:
            self.finished.set_result(None)


class Connection(asyncio.Protocol):
    """A keep-alive connection: one request out, its answer in."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = b""
        self._end = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.lost()

    def ask(self, prepared: Prepared, due: float) -> None:
        """Send a request; its latency counts from `due`."""
        self._question = prepared.question
        self._due = due
        self._transport.write(prepared.request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._end:
            head = self._buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            self._body = head + 4
            self._end = self._body + _content_length(self._buffer[:head])
        if len(self._buffer) < self._end:
            return
        status, body = int(self._buffer[9:12]), self._buffer[self._body : self._end]
        self._buffer, self._end = b"", 0
        self._run.take(self._question, self._due, status, body)
        self._run.answered(self)


def _content_length(head: bytes) -> int:
    place = head.find(b"content-length: ")
    if place < 0:
        place = head.lower().index(b"content-length: ")
    return int(head[place + 16 : place + 28].split(b"\r", 1)[0])
