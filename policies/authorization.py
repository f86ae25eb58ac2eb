"""A subject's authorization, and whether it covers one section of an inquiry.

Written authorization for information that is not open: Shanghai 2017 Art. 17. Consent that names the purpose,
beyond which the user may not go: Credit Reporting Regulation 2013 Arts. 18, 20. Separate consent after a
warning of bad effects (personal income, deposits, insurance, tax …): the same, Art. 14. The artefact's
signature and issuer are verified where it is read; here it is compared with what is asked, at the time of
the inquiry, so that a recorded decision can be replayed.
"""

from enum import StrEnum
from typing import Literal

import msgspec

SubjectScheme = Literal["credit_code", "resident"]
"""How an authorization names its subject; the words are those of the gateway's subject keys."""

Denial = Literal["DENY_NO_AUTHORISATION", "DENY_NO_AUTHORISATION_EXPIRED", "DENY_NO_AUTHORISATION_SCOPE"]
"""None of the kind that counts, one outside its period, or one for another grantee, subject, purpose or
category."""


class Consent(StrEnum):
    """What kind of consent the subject gave; none stands in for another."""

    WRITTEN = "WRITTEN"
    """Written authorization."""
    SEPARATE = "SEPARATE"
    """Separate consent after a warning of possible bad effects."""
    MANDATE = "MANDATE"
    """The grantee acts for the subject, in the subject's own inquiry."""


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """What a subject granted, to whom and until when; a fact read from a signed artefact.

    `subject` is the scheme and the identifier; `subject_name` the name given with a resident number.
    `grantee` is the unit that may ask. Times are seconds since 1970 UTC: the authorization holds from
    `not_before` on and no longer at `expires`.
    """

    issuer: str
    authorization_id: str
    issued_at: int
    not_before: int
    expires: int
    subject: tuple[SubjectScheme, str]
    subject_name: str | None
    grantee: str
    purposes: frozenset[str]
    categories: frozenset[str]
    consent: Consent

    def __repr__(self) -> str:
        # The default text would carry the subject into logs and tracebacks.
        return f"Authorization({self.consent}, {self.subject[0]})"


def check(
    authorization: Authorization,
    *,
    consent: str,
    grantee: str,
    subject_key: tuple[str, str],
    purpose: str,
    category: str,
    now: int,
) -> Denial | None:
    """Why the authorization does not cover the question; None when it does.

    `consent` is the kind that the rule demands, `subject_key` scheme and identifier as in
    `Authorization.subject`, `now` seconds since 1970 UTC. Another kind of consent is none at all; of an
    authorization that covers something else, nothing is told of its period.
    """
    if authorization.consent != consent:
        return "DENY_NO_AUTHORISATION"
    if (
        authorization.grantee != grantee
        or authorization.subject != subject_key
        or purpose not in authorization.purposes
        or category not in authorization.categories
    ):
        return "DENY_NO_AUTHORISATION_SCOPE"
    if not authorization.not_before <= now < authorization.expires:
        return "DENY_NO_AUTHORISATION_EXPIRED"
    return None
