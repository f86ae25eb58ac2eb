"""What lasts of an answer: written under any receipt it is the answer that would have been made under it."""

from collections.abc import Callable
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import Position
from gateway.record import again, lasting
from gateway.standing import MOST_ANSWERED, Stencil, unheard_of
from resolvers.answers import Receipt

PLACES = ("id", "time", "position", "hash")


def receipt(number: int, time: datetime) -> Receipt:
    return Receipt(f"00000000-0000-4000-8000-{number:012}", time, "v", "PUBLIC_VIEW")


def position(number: int) -> Position:
    return Position(number, f"{number:064x}")


def answer_of(parts: list[str]) -> Callable[[Receipt, Position], bytes]:
    """Writes an answer in which a receipt stands wherever a part names a place."""

    def render(receipt: Receipt, position: Position) -> bytes:
        texts = {
            "id": receipt.id,
            "time": receipt.time.isoformat(),
            "position": position.position,
            "hash": position.hash,
        }
        return orjson.dumps([texts.get(part, part) for part in parts])

    return render


NUMBERS = st.integers(1, 10**12 - 1)
TIMES = st.datetimes(
    min_value=datetime(2020, 1, 1),  # noqa: DTZ001  # Hypothesis adds the zone
    timezones=st.just(UTC),
)


@given(st.lists(st.sampled_from(PLACES) | st.text(max_size=20)), NUMBERS, NUMBERS, TIMES, TIMES)
def test_what_lasts_is_what_would_be_written(
    parts: list[str], first: int, second: int, then: datetime, now: datetime
) -> None:
    render = answer_of(parts)
    stencil = Stencil.cut(
        render(receipt(first, then), position(first)), render, *unheard_of(receipt(first, then))
    )
    assert stencil is not None
    assert stencil.filled(receipt(second, now), position(second)) == render(
        receipt(second, now), position(second)
    )


def test_a_record_that_says_what_the_receipt_says_keeps_saying_it() -> None:
    """A clock that stands still gives sources and receipt one time; only the receipt's moves on."""
    then, now = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    same = receipt(7, then)
    render = answer_of([same.id, "id", then.isoformat(), "time", "7", "position", position(7).hash, "hash"])
    stencil = Stencil.cut(render(same, position(7)), render, *unheard_of(same))
    assert stencil is not None
    written = orjson.loads(stencil.filled(receipt(8, now), position(8)))
    assert written[::2] == [same.id, then.isoformat(), "7", position(7).hash]
    assert written[1::2] == [receipt(8, now).id, now.isoformat(), 8, position(8).hash]


@pytest.mark.parametrize("place", PLACES)
def test_an_answer_that_holds_a_text_of_the_mark_is_not_cut(place: str) -> None:
    then = datetime(2026, 1, 1, tzinfo=UTC)
    mark, at = receipt(3, datetime(1, 1, 1, tzinfo=UTC)), position(10**17)
    text = {"id": mark.id, "time": mark.time.isoformat(), "position": str(at.position), "hash": at.hash}[
        place
    ]
    render = answer_of(["id", text])
    assert Stencil.cut(render(receipt(1, then), position(1)), render, mark, at) is None


def test_a_long_answer_is_not_remembered() -> None:
    then = datetime(2026, 1, 1, tzinfo=UTC)
    for length, kept in ((MOST_ANSWERED - 200, True), (MOST_ANSWERED, False)):
        render = answer_of(["id", "x" * length])
        first = receipt(1, then)
        stencil = Stencil.cut(render(first, position(1)), render, *unheard_of(first))
        assert (stencil is not None) is kept


def test_a_row_lasts_but_for_its_receipt_and_time() -> None:
    first, second = (receipt(n, datetime(2026, 1, 1, 8, 30, n, 1000, tzinfo=UTC)) for n in (1, 2))
    row = again(b',"day":"2026-01-01","policy":"v"}', first)
    assert orjson.loads(row) == {
        "version": 1,
        "receipt": first.id,
        "time": "2026-01-01T08:30:01.001+00:00",
        "day": "2026-01-01",
        "policy": "v",
    }
    assert orjson.loads(again(lasting(row, first), second)) == orjson.loads(row) | {
        "receipt": second.id,
        "time": "2026-01-01T08:30:02.001+00:00",
    }
    with pytest.raises(ValueError, match="another receipt"):
        lasting(row, second)
