"""Receipts are named by random UUIDs."""

import uuid

from gateway.random_id import random_id


def test_it_is_a_uuid_of_version_4_and_no_two_are_alike() -> None:
    made = [random_id() for _ in range(2000)]
    assert len({*made}) == len(made)
    for text in made:
        read = uuid.UUID(text)
        assert (str(read), read.version, read.variant) == (text, 4, uuid.RFC_4122)


def test_every_bit_that_may_vary_does() -> None:
    ones, zeros = 0, 0
    for _ in range(2000):
        number = uuid.UUID(random_id()).int
        ones |= number
        zeros |= ~number
    fixed = (1 << 128) - 1 ^ (ones & zeros)
    # Four bits of the version, two of the variant.
    assert (fixed & (1 << 128) - 1).bit_count() == 6
