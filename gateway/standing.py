"""Inquiries whose answer stands: the same bytes from the same caller, about which nothing has changed.

Everything that such an answer follows from is compared by identity, never by likeness: the caller as its verified
token says it, the policy and the day it is read on, the sources and the very answers that are kept of them. Where all
of that is as it was, nothing is decided, asked or shaped anew. The inquiry is recorded under a receipt of its own, as
every other.

No answer stands that hangs on more than that: on an artefact or a register, which are proven for each inquiry anew; on
a search, a count or the log; or on what no source left to be kept. A quota changes nothing: it counts a subject once a day.
"""

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Final, Self
from weakref import ref

import msgspec
from strawberry import Schema

from connectors.fetch import Held, Sources
from gateway.bind import Call
from gateway.gather import Subjects
from gateway.judge import Judgement
from gateway.ledger import Position
from gateway.policy import Policy
from gateway.random_id import random_id
from gateway.recent import Recent, Seen
from policies.caller import Caller
from resolvers.answers import Receipt

MOST_BYTES: Final = 8_192
"""The longest request whose answer is remembered."""

MOST_ANSWERED: Final = 16_384
"""The longest answer that is remembered, in bytes."""


class Stencil(msgspec.Struct, frozen=True):
    """The bytes of an answer, open where its receipt and its place in the ledger stand.

    `parts` are text, or the number of what is put there: see `_texts`.
    """

    parts: tuple[bytes | int, ...]

    @classmethod
    def cut(
        cls, answered: bytes, render: Callable[[Receipt, Position], bytes], mark: Receipt, at: Position
    ) -> Self | None:
        """The stencil of what was `answered`, which `render` writes under any receipt.

        It is written once more under a receipt that nobody has heard of: where that stands, a receipt stands. None
        where the answer holds a text of it, or is longer than is remembered.
        """
        marks = _texts(mark, at)
        if len(answered) > MOST_ANSWERED or any(text in answered for text in marks):
            return None
        parts: list[bytes | int] = [render(mark, at)]
        for number, text in enumerate(marks):
            parts = [piece for part in parts for piece in _divided(part, text, number)]
        return cls(tuple(parts))

    def filled(self, receipt: Receipt, position: Position) -> bytes:
        """The answer under this receipt."""
        texts = _texts(receipt, position)
        return b"".join([texts[part] if type(part) is int else part for part in self.parts])  # type: ignore[misc]


def _divided(part: bytes | int, mark: bytes, number: int) -> Iterator[bytes | int]:
    """A part with the number in place of each mark in it."""
    if isinstance(part, int):
        yield part
        return
    first, *others = part.split(mark)
    yield first
    for other in others:
        yield number
        yield other


def unheard_of(receipt: Receipt) -> tuple[Receipt, Position]:
    """A receipt like this one, and its place in the ledger, of which every text is made up."""
    made_up, time, position = _made_up()
    return Receipt(made_up, time, receipt.policy_version, receipt.purpose), position


@cache
def _made_up() -> tuple[str, datetime, Position]:
    """Texts that no source and no client can know: they are drawn once, and never leave the process."""
    days, microseconds = secrets.randbelow(300_000), secrets.randbelow(86_400_000_000)
    time = datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=days, microseconds=microseconds)
    position = Position(10**17 + secrets.randbelow(10**17), secrets.token_hex(32))
    return random_id(), time, position


def _texts(receipt: Receipt, position: Position) -> tuple[bytes, bytes, bytes, bytes]:
    """What differs between answers that are alike, as it is written in them."""
    time = receipt.time.isoformat()
    return receipt.id.encode(), time.encode(), b"%d" % position.position, position.hash.encode()


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An inquiry: who asked, what its sources keep, what lasts of its row in the ledger and of its answer."""

    caller: Caller
    held: Held
    purpose: str
    row: bytes
    answer: Stencil


class Standings:
    """The last `size` inquiries whose answers may stand, all under one policy, the same sources, on one day: whatever
    comes under another lets all of them fall, so that nothing of an old policy is held.
    """

    def __init__(self, size: int = 4_000) -> None:
        self._recent: Recent[bytes, Standing] = Recent(size)
        self._came = Seen(4 * size)
        # Known by what belongs to it alone, and not held: an old policy goes when the last inquiry under it is over.
        self._under: tuple[ref[Schema], ref[Sources], date] | None = None

    def __len__(self) -> int:
        return len(self._recent)

    def comes_again(self, body: bytes, policy: Policy, sources: Sources, today: date) -> bool:
        """Whether this request, answered under these, came before: one that comes once costs more than it saves."""
        self._stand_under(policy, sources, today)
        return 0 < len(body) <= MOST_BYTES and self._came.before(body)

    def remember(self, body: bytes, standing: Standing) -> None:
        """Keep an inquiry by the request that `comes_again`, in place of one that another caller sent alike."""
        self._recent.put(body, standing)

    def __contains__(self, body: bytes) -> bool:
        """Whether some caller's inquiry came in this request."""
        return len(body) <= MOST_BYTES and body in self._recent

    def _stand_under(self, policy: Policy, sources: Sources, today: date) -> None:
        under = self._under
        if under is None or under[0]() is not policy.schema or under[1]() is not sources or under[2] != today:
            self._under = ref(policy.schema), ref(sources), today
            self._recent.forget_all()

    def find(
        self, caller: Caller, body: bytes, policy: Policy, sources: Sources, today: date
    ) -> Standing | None:
        """The inquiry of this request, if its answer is what it was; None: nobody knows."""
        self._stand_under(policy, sources, today)
        standing = self._recent.get(body)
        if standing is None or standing.caller is not caller or not sources.holds(standing.held):
            return None
        return standing


def held_for(call: Call, judgement: Judgement, subjects: Subjects, sources: Sources) -> Held | None:
    """What is kept of the sources that these subjects were shaped from; None unless it is all of it, and kept still."""
    if not judgement.final or not all(subject.answers for subject in subjects):
        return None
    asks = [
        ready.ask(question.subject)
        for question, subject in zip(call.questions, subjects, strict=True)
        for ready in subject.granted
    ]
    held = sources.held(asks)
    answers = [answer for subject in subjects for answer in subject.answers]
    if held is None or len(held) != len(answers):
        return None
    return held if all(kept.answer is answer for kept, answer in zip(held, answers, strict=True)) else None
