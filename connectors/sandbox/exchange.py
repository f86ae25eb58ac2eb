"""The exchange interface that the newer systems of the province share; each adds its tables.

Transport
    ``POST`` with a JSON body; the HTTP status is always 200. Some systems speak another form of the same
    (`connectors.sandbox.markup`).
Authentication
    Headers ``X-Node`` (the asking node), ``X-Node-Time`` (seconds, within 300 s of now) and ``X-Node-Sign`` = lower-case
    hex HMAC-SHA256(secret, node + time). Wrong: ``status`` E401.
Request
    ``{"purpose": "LICENSING", "subjects": ["91990100FAKE00013D"]}`` with 1 to 50 credit codes or resident numbers and the
    purpose of the inquiry. Tables that need the subject's consent also take its number as ``consent``; without it they
    answer E403 to every purpose but ``SELF``.
Answer
    ``{"status": "0", "text": "ok", "sent": "2026-11-19T22:00:00+08:00", "rows": [{...}]}``; no data is no rows. Days
    ``2025-03-01``, amounts in yuan with two decimals as text, null for none, ``9999-12-31`` for no end.
Columns
    Every row: SUBJECT, RECORD_ID, PROVIDER, DISPUTES (01 objection, 02 appeal, 03 suit, joined by commas), PUBLISH_FROM,
    PUBLISH_TO, REPAIRED, WITHDRAWN, CONTACT_PHONE. A row of dishonest conduct also: DECIDED, ENDED, DEGREE (1 minor,
    2 general, 3 serious), BASIS (01 judicial document, 02 administrative decision, 03 other). Keeping of promises is
    0 pending, 1 performed, 2 broken.
Codes
    ``status`` 0 ok; E400 malformed; E401 signature; E403 no consent; E413 over 50; E500 failure.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox.facts import Adverse, Basis, Degree, Fact, Outcome
from connectors.sandbox.formats import DASHED, Days, dispute_codes, updated, yuan
from connectors.sandbox.population import Population
from connectors.sandbox.source import (
    Meter,
    Source,
    Table,
    answer,
    is_recent,
    json_object,
    json_row,
    key_list,
)

BATCH = 50
NODE = "sandbox-node-gateway"

Columns = Mapping[str, str]
"""Column of a table to the member of the fact that stands in it."""

_day = Days(DASHED, None, "9999-12-31")
_DEGREES = {Degree.MINOR: "1", Degree.GENERAL: "2", Degree.SERIOUS: "3"}
_BASES = {Basis.JUDICIAL: "01", Basis.ADMINISTRATIVE: "02", Basis.OTHER: "03"}
_OUTCOMES = {Outcome.PENDING: "0", Outcome.PERFORMED: "1", Outcome.BROKEN: "2"}


@dataclass(frozen=True, slots=True)
class Shared:
    """A table that a system shares: the facts of each subject, and its columns."""

    facts: Mapping[str, Sequence[Fact]]
    columns: Columns
    consented: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says, in whichever form; what it leaves out is empty."""

    node: str
    moment: str
    sign: str
    purpose: str
    consent: str
    subjects: list[str]


@dataclass(frozen=True, slots=True)
class Form:
    """The form in which a system exchanges: how a request is read, a row rendered and an answer written.

    `write` takes status, text, the time of the last update and the rendered rows.
    """

    read: Callable[[Request], Awaitable[Asked]]
    render: Callable[[dict[str, Any]], Any]
    write: Callable[[str, str, str | None, Sequence[Any]], Response]


async def _read_json(request: Request) -> Asked:
    body = await json_object(request)
    purpose, consent = body.get("purpose"), body.get("consent")
    return Asked(
        node=request.headers.get("X-Node", ""),
        moment=request.headers.get("X-Node-Time", ""),
        sign=request.headers.get("X-Node-Sign", ""),
        purpose=purpose if isinstance(purpose, str) else "",
        consent=consent if isinstance(consent, str) else "",
        subjects=key_list(body.get("subjects")),
    )


def _write_json(status: str, text: str, sent: str | None, rows: Sequence[Any]) -> Response:
    return answer({"status": status, "text": text, "sent": sent, "rows": rows})


JSON = Form(_read_json, json_row, _write_json)


def exchange(
    tables: Mapping[str, Shared], secret: str, population: Population, meter: Meter, form: Form = JSON
) -> Source:
    """A system with these tables by path, for callers who know the secret."""
    sent = updated(population.today).isoformat()
    rendered = {
        path: Table(shared.facts, row_of(shared.columns), form.render) for path, shared in tables.items()
    }

    def refusal(asked: Asked, shared: Shared) -> Response | None:
        if not _is_signed(asked, secret):
            meter.refused += 1
            return form.write("E401", "signature", None, ())
        if not asked.subjects or not asked.purpose:
            return form.write("E400", "subjects, purpose", None, ())
        if len(asked.subjects) > BATCH:
            return form.write("E413", "subjects", None, ())
        if shared.consented and asked.purpose != "SELF" and not asked.consent:
            meter.refused += 1
            return form.write("E403", "consent", None, ())
        return None

    async def rows(request: Request) -> Response:
        asked, path = await form.read(request), request.url.path
        refused = refusal(asked, tables[path])
        if refused is not None:
            return refused
        meter.note(request, asked.subjects)
        return form.write("0", "ok", sent, rendered[path].of(asked.subjects))

    routes = [Route(path, rows, methods=["POST"]) for path in tables]
    return Source(Starlette(routes=routes), lambda: form.write("E500", "failure", None, ()))


def _is_signed(asked: Asked, secret: str) -> bool:
    expected = hmac.new(secret.encode(), f"{asked.node}{asked.moment}".encode(), hashlib.sha256).hexdigest()
    return (
        asked.node == NODE
        and is_recent(asked.moment)
        and hmac.compare_digest(expected.encode(), asked.sign.encode())
    )


def row_of(columns: Columns) -> Callable[[str, Fact], dict[str, Any]]:
    """How a fact is written as a row with these columns besides those that every row has."""

    def row(key: str, fact: Fact) -> dict[str, Any]:
        own = {column: _written(getattr(fact, member)) for column, member in columns.items()}
        return _common(key, fact) | (_adverse(fact) if isinstance(fact, Adverse) else {}) | own

    return row


def _common(key: str, fact: Fact) -> dict[str, Any]:
    return {
        "SUBJECT": key,
        "RECORD_ID": fact.number,
        "PROVIDER": fact.provider,
        "DISPUTES": ",".join(dispute_codes(fact.disputes)),
        "PUBLISH_FROM": _day(fact.published),
        "PUBLISH_TO": _day(fact.published_until),
        "REPAIRED": _day(fact.repaired),
        "WITHDRAWN": _day(fact.withdrawn),
        "CONTACT_PHONE": "99000000000",
    }


def _adverse(fact: Adverse) -> dict[str, Any]:
    return {
        "DECIDED": _day(fact.decided),
        "ENDED": _day(fact.conduct_ended),
        "DEGREE": _DEGREES[fact.degree],
        "BASIS": _BASES[fact.basis],
    }


def _written(value: object) -> Any:
    match value:
        case date():
            return _day(value)
        case Decimal():
            return yuan(value)
        case Outcome():
            return _OUTCOMES[value]
        case _:
            return value
