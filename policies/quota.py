"""Quotas: how many distinct subjects a unit may ask about in a day for a purpose."""

from policies.bundle import Bundle


def remaining(bundle: Bundle, caller_type: str, purpose: str, asked_today: int) -> int | None:
    """How many further subjects the unit may ask about today; None: there is no quota.

    `asked_today` counts the distinct subjects that the unit has asked about for that purpose on the day, those
    it was refused included; a subject asked about again counts once.
    """
    quota = bundle.quotas.get((caller_type, purpose))
    return None if quota is None else max(0, quota - asked_today)
