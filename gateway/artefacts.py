"""Authorizations of subjects, as signed artefacts of trusted issuers.

An artefact is a compact JWS of type `credit-authorization+jwt` with the claims `iss`, `jti`, `iat`, `nbf`,
`exp`, `subject` (`{"credit_code": …}` or `{"resident_number": …, "name": …}`), `grantee` (the unit that may
ask), `purposes`, `categories` and `consent`: WRITTEN; SEPARATE, with `warned: true`, as separate consent counts
only after a warning of possible bad effects (Credit Reporting Regulation 2013, Art. 14); or MANDATE, when the
grantee acts for the subject, with SELF as its one purpose. Other claims are refused: they might be limits.
"""

from collections.abc import Mapping

from gateway.keysets import KeySet
from gateway.signed import Claims, StatementError, read
from policies.authorization import Authorization, Consent

_CLAIMS = (
    "iss",
    "jti",
    "iat",
    "nbf",
    "exp",
    "subject",
    "grantee",
    "purposes",
    "categories",
    "consent",
    "warned",
)


class BadArtefact(Exception):  # noqa: N818  # a refusal, not a fault
    """No authorization of a trusted issuer; `reason` names headers and claims, never values."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Artefacts:
    """Reads authorizations; `issuers` maps the name of each trusted issuer to its keys."""

    def __init__(self, issuers: Mapping[str, KeySet]) -> None:
        self._issuers = dict(issuers)

    async def read(self, token: str) -> Authorization:
        """The authorization that the artefact proves.

        Whether it is in force is not looked at: `policies.authorization.check` does that, with the time of
        the inquiry. Raises BadArtefact, or KeysUnavailableError when the issuer's keys cannot be had.
        """
        try:
            return await self._authorization(token)
        except StatementError as error:
            raise BadArtefact(error.reason) from error

    async def _authorization(self, token: str) -> Authorization:
        statement = read(token, "credit-authorization+jwt")
        claims = statement.claims
        keyset = self._issuers.get(claims.text("iss"))
        if keyset is None:
            raise claims.bad("iss", "is no trusted issuer of authorizations")
        if not await keyset.verify(statement):
            raise StatementError("the signature is not by a known key of the issuer")
        return _read_authorization(claims)


def _read_authorization(claims: Claims) -> Authorization:
    claims.allow_only(_CLAIMS)
    consent, purposes = Consent(claims.one_of("consent", tuple(Consent))), claims.codes("purposes")
    if claims.flag("warned") is not (consent is Consent.SEPARATE):
        raise claims.bad("warned", "must be true with consent SEPARATE, and only with it")
    if consent is Consent.MANDATE and purposes != {"SELF"}:
        raise claims.bad("purposes", "must be SELF alone with consent MANDATE")
    not_before, expires = claims.seconds("nbf"), claims.seconds("exp")
    if expires <= not_before:
        raise claims.bad("exp", "must be after nbf")
    scheme, identifier, name = claims.subject("subject")
    return Authorization(
        issuer=claims.text("iss"),
        authorization_id=claims.text("jti"),
        issued_at=claims.seconds("iat"),
        not_before=not_before,
        expires=expires,
        subject=(scheme, identifier),
        subject_name=name,
        grantee=claims.text("grantee"),
        purposes=purposes,
        categories=claims.codes("categories"),
        consent=consent,
    )
