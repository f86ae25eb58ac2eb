"""Who asks, as the verified token says it."""

import msgspec


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The verified identifiers of a credit subject that asks about itself.

    Either an organisation (`credit_code`) or a natural person (`resident_number` with `name`).
    """

    credit_code: str | None = None
    resident_number: str | None = None
    name: str | None = None

    def __repr__(self) -> str:
        # The default text would carry the identifiers into logs and tracebacks.
        return f"Identity({'resident' if self.credit_code is None else 'credit_code'})"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The unit that asks and the limits of its token; nothing in it widens what the rules allow.

    `unit` is the unit's unified social credit code, or the issuer's own name for a unit without one. `type`
    is a caller type of the bundle (MARKET_REGULATION, BANK, SUBJECT …), `level` PROVINCE, CITY or COUNTY,
    `division` six digits of GB/T 2260. `categories` None: the token does not narrow categories.
    `officer` names the person at the unit, if the unit says so. `identity` is set for a subject that asks
    about itself. `synthetic_only` confines the token to subjects of division 99. `expires` is in seconds
    since 1970 UTC.
    """

    unit: str
    unit_name: str
    type: str
    level: str | None
    division: str | None
    purposes: frozenset[str]
    categories: frozenset[str] | None
    officer: str | None
    identity: Identity | None
    synthetic_only: bool
    client: str
    token_id: str
    expires: int
