"""Asks of all requests joined: like asks into one call of the source, equal asks into one flight.

A call gathers asks until it may start: at the end of the loop's tick when the source has a place free, and for as
long as it has none, up to the batch size. Nothing waits when the source is idle. A request is one `Waiting`,
woken once, however many answers it waits for; when its time is over or its caller has gone, it leaves its calls,
and a call that nobody waits for any more is cancelled.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial

from connectors.answers import Ask, FaultCode, SourceAnswer, SourceFaultError
from connectors.cache import Key

Take = Callable[[], "Sequence[Wanted]"]
Fetch = Callable[[Take, float], Awaitable[Sequence[SourceAnswer]]]
"""How a call is made: `Take` closes it and gives what is wanted once it may start; the time (of the loop) ends it.

One answer for each ask, in order; raises SourceFaultError when there is none for any of them.
"""


class UnpaidError(Exception):
    """Of a call that may start now, nobody may spend money on some asks, and somebody on the others."""

    def __init__(self, unpaid: "Sequence[Wanted]") -> None:
        super().__init__("some of a call is not paid for")
        self.unpaid = unpaid


_OF_ONE_SUBJECT = frozenset({FaultCode.ERROR, FaultCode.GARBAGE, FaultCode.WRONG_SUBJECT})
"""Faults that a single subject of a batch can cause."""

TICK = 0.01
"""Seconds by which a timer of the loop may be early."""


class Waiting:
    """One request: the answers it waits for, until a time of the loop."""

    __slots__ = ("_left", "_wanted", "_woken", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self._left = 0
        self._wanted: list[Wanted] = []
        self._woken: asyncio.Future[None] | None = None

    def __bool__(self) -> bool:
        """Whether it waits for anything."""
        return self._left > 0

    async def all(self) -> None:
        """Return when every answer is in its place, or the time is over."""
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        timer = loop.call_at(self.until, self._wake)
        try:
            await self._woken
        finally:
            timer.cancel()
            if self._left:
                for wanted in self._wanted:
                    wanted.leave(self)

    def expect(self, wanted: "Wanted") -> None:
        """One more answer is waited for."""
        self._left += 1
        self._wanted.append(wanted)

    def arrived(self) -> None:
        """One of the answers is in its place."""
        self._left -= 1
        if not self._left:
            self._wake()

    def fail(self, error: BaseException) -> None:
        """Wake with an error that no source is to blame for."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_exception(error)

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


class Wanted:
    """One ask of a call, and the places where its answer is waited for."""

    __slots__ = ("ask", "call", "key", "seats", "until")

    call: "Call"

    def __init__(self, key: Key, ask: Ask) -> None:
        self.key = key
        self.ask = ask
        self.until = 0.0
        self.seats: list[tuple[Waiting, list[SourceAnswer], int, str | Wanted]] = []
        """Who waits, where the answer is put, and who pays; or what another source could not answer, whose seats pay."""

    def payers(self) -> Iterator[str]:
        """Who pays for it, once for each seat."""
        for *_, payer in self.seats:
            if isinstance(payer, Wanted):
                yield from payer.payers()
            else:
                yield payer

    def leave(self, waiting: Waiting) -> None:
        """This request waits no longer."""
        if self.seats:
            self.seats = [seat for seat in self.seats if seat[0] is not waiting]
            if not self.seats:
                self.call.forsaken(self)


class Call:
    """One call of the source, from its first ask on."""

    __slots__ = ("_batches", "group", "spare", "taken", "task", "wanted")

    def __init__(self, batches: "Batches", group: Hashable) -> None:
        self._batches = batches
        self.group = group
        self.wanted: dict[Key, Wanted] = {}
        self.taken = False
        self.task: asyncio.Task[None] | None = None
        self.spare = 0
        """How many more calls it may be split into."""

    def take(self) -> list[Wanted]:
        """Close it: it may start now, with the asks that are still waited for."""
        if not self.taken:
            self.taken = True
            self._batches.close(self)
            # Halving finds one bad subject of n in twice log2(n) calls; a source that fails for all gets no more.
            self.spare = 2 * (len(self.wanted) - 1).bit_length()
        return list(self.wanted.values())

    def forsaken(self, wanted: Wanted) -> None:
        """Nobody waits for this ask any more: not asked if there is time, and the last one ends the call."""
        if not self.taken:
            del self.wanted[wanted.key]
            self._batches.forget(wanted)
        if not any(other.seats for other in self.wanted.values()):
            self._batches.abandon(self)


class Batches:
    """The calls of one lookup. `size`: how many subjects a call may ask for; 1: no batch, single flight alone."""

    def __init__(
        self,
        size: int,
        fetch: Fetch,
        faulty: Callable[[SourceFaultError], SourceAnswer],
        stand_in: Callable[[Ask], SourceAnswer | None] = lambda _ask: None,
    ) -> None:
        self._size = size
        self._fetch = fetch
        self._faulty = faulty
        self._stand_in = stand_in
        self._open: dict[Key, Wanted] = {}
        self._gathering: dict[Hashable, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many asks are not answered yet."""
        return len(self._open)

    def join(
        self,
        key: Key,
        group: Hashable,
        ask: Ask,
        waiting: Waiting,
        row: list[SourceAnswer],
        place: int,
        payer: str | Wanted,
    ) -> None:
        """Want the answer of `ask` at `row[place]`, at the expense of `payer`.

        `key` covers every input of the request, `group` every one but the subject.
        """
        wanted = self._open.get(key)
        if wanted is None:
            wanted = self._open[key] = Wanted(key, ask)
            self._gather(wanted, group)
        wanted.seats.append((waiting, row, place, payer))
        if waiting.until > wanted.until:  # quicker than max
            wanted.until = waiting.until
        waiting.expect(wanted)

    def _gather(self, wanted: Wanted, group: Hashable) -> None:
        """Put it into the call that still gathers such asks; a new call starts at the end of the tick."""
        call = self._gathering.get(group)
        if call is None:
            call = self._gathering[group] = Call(self, group)
            asyncio.get_running_loop().call_soon(self._start, call)
        wanted.call = call
        call.wanted[wanted.key] = wanted
        if len(call.wanted) == self._size:
            self.close(call)

    def _start(self, call: Call) -> None:
        if call.wanted:
            task = call.task = asyncio.create_task(self._run(call))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, call))

    async def _run(self, call: Call) -> None:
        until = max(wanted.until for wanted in call.wanted.values())
        await self._ask(call, call.take, until)

    async def _ask(self, call: Call, take: Callable[[], list[Wanted]], until: float) -> None:
        try:
            answers = await self._fetch(take, until)
        except SourceFaultError as error:
            await self._failed(call, take(), error, until)
            return
        except UnpaidError as found:
            # Apart, so that none of them waits for what is asked in place of the others.
            paid = [wanted for wanted in take() if wanted not in found.unpaid]
            await self._in_parts(call, (paid, found.unpaid), until)
            return
        for wanted, answer in zip(take(), answers, strict=True):
            self._answer(wanted, answer)

    async def _failed(self, call: Call, asked: list[Wanted], error: SourceFaultError, until: float) -> None:
        """Split what one bad subject may have spoilt, ask again for who had more time, and tell the others."""
        for wanted in asked:
            if not wanted.seats:
                self.forget(wanted)
        asked = [wanted for wanted in asked if wanted.seats]
        if may_be_of_one(error) and len(asked) > 1 and call.spare >= 2:
            call.spare -= 2
            middle = len(asked) // 2
            await self._in_parts(call, (asked[:middle], asked[middle:]), until)
            return
        over = error.fault.code is FaultCode.TIMEOUT and _now() >= until - TICK
        answer = self._faulty(error)
        for wanted in asked:
            if over and wanted.until > until:
                self._again(wanted)
            else:
                self._answer(wanted, self._stand_in(wanted.ask) or answer)

    async def _in_parts(self, call: Call, parts: Iterable[Sequence[Wanted]], until: float) -> None:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(self._ask(call, partial(list, part), until))

    def _again(self, wanted: Wanted) -> None:
        """Who joined a call with more time than the call had is asked for in another."""
        del wanted.call.wanted[wanted.key]
        self._gather(wanted, wanted.call.group)

    def _answer(self, wanted: Wanted, answer: SourceAnswer) -> None:
        self.forget(wanted)
        seats, wanted.seats = wanted.seats, []
        for waiting, row, place, _payer in seats:
            row[place] = answer
            waiting.arrived()

    def close(self, call: Call) -> None:
        """Let it gather no more."""
        if self._gathering.get(call.group) is call:
            del self._gathering[call.group]

    def forget(self, wanted: Wanted) -> None:
        """Let nobody join this flight any more."""
        found = self._open.pop(wanted.key, None)
        if found is not None and found is not wanted:  # a later flight for the same
            self._open[wanted.key] = found

    def abandon(self, call: Call) -> None:
        """End a call that nobody waits for."""
        self.close(call)
        for wanted in call.wanted.values():
            self.forget(wanted)
        if call.task is not None:
            call.task.cancel()

    def _ended(self, call: Call, task: asyncio.Task[None]) -> None:
        """Leave nobody waiting for a call that did not come to its end."""
        self._tasks.discard(task)
        self.close(call)
        error = None if task.cancelled() else task.exception()
        for wanted in call.wanted.values():
            if not wanted.seats:
                self.forget(wanted)
            elif error is None:
                self._answer(wanted, self._faulty(SourceFaultError(FaultCode.DOWN, "the call was given up")))
            else:
                self._fail(wanted, error)
        call.wanted = {}  # or the two would hold each other, and only the garbage collector could free them

    def _fail(self, wanted: Wanted, error: BaseException) -> None:
        self.forget(wanted)
        seats, wanted.seats = wanted.seats, []
        for waiting, *_ in seats:
            waiting.fail(error)

    async def aclose(self) -> None:
        """End every call; who still waits is told so."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def may_be_of_one(error: SourceFaultError) -> bool:
    """Whether a single subject of a batch can be the cause."""
    return error.fault.code in _OF_ONE_SUBJECT and not error.busy


def _now() -> float:
    return asyncio.get_running_loop().time()
