"""Quotas: how many distinct subjects a unit may ask about in a day of the province for a purpose.

Every subject that an inquiry names counts, also where its sections are denied or the inquiry is refused whole:
else the denials themselves could be used to probe. A subject asked about again on the day counts once. A search
by name and counts of a category name no subject and count nothing.
"""

from collections.abc import Collection, Iterable
from datetime import date, timedelta

import msgspec

from policies.bundle import Bundle
from policies.outcomes import Denied, Outcome


class Admission(msgspec.Struct, frozen=True):
    """What a quota says of some subjects: the `new` ones that it lets in, those `over` it, how many are `left`."""

    new: tuple[str, ...]
    over: frozenset[str]
    left: int


def admit(quota: int, asked: Collection[str], subjects: Iterable[str]) -> Admission:
    """Which of the subjects are within the quota, in their order; those already `asked` about on the day always are.

    A subject over the quota is not to be counted among those asked about: it would be free the next time.
    """
    unasked = [subject for subject in dict.fromkeys(subjects) if subject not in asked]
    left = max(0, quota - len(asked))
    new = tuple(unasked[:left])
    return Admission(new, frozenset(unasked[left:]), left - len(new))


def over_quota(bundle: Bundle, caller_type: str, purpose: str, left: int, today: date) -> Denied:
    """The refusal of a subject over the quota: DENY_BULK by no rule, as no rule of the table refuses it."""
    quota = bundle.quotas[caller_type, purpose]
    return Denied(
        code=Outcome.DENY_BULK,
        basis=bundle.purposes[purpose].basis,
        remedy=(
            f"The unit may ask about {quota} subjects a day for {purpose}, {left} are left today; the count starts"
            f" anew on {today + timedelta(days=1)} at 00:00 of the province (UTC+8). Subjects asked about today"
            " stay open."
        ),
    )
