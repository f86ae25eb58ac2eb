"""What is kept for speed is bounded, and the longest unused goes first."""

from gateway.recent import Recent, Seen


def test_the_longest_unused_goes_first() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)
    assert len(recent) == 2


def test_the_bound_holds_whatever_comes() -> None:
    recent: Recent[int, int] = Recent(10)
    for number in range(1000):
        assert recent.put(number, number) == number
        assert len(recent) <= 10
    assert [recent.get(number) for number in range(990, 1000)] == list(range(990, 1000))


def test_what_came_before_is_known_by_its_hash_as_long_as_it_is_among_the_last() -> None:
    seen = Seen(3)
    assert [seen.before(thing) for thing in ("a", ("b", 1), "a", ("b", 1), "c")] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert [seen.before(thing) for thing in ("d", "e", "f", "a")] == [False] * 4
