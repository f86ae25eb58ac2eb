"""Registers of the departments, one interface for all: interface document.

Transport
    ``GET``, one number a call.
Authentication
    Header ``X-Api-Key``. Wrong: HTTP 401 and ``{"error": "unauthorized"}``.
``/registers/{register}?number=...``
    ``register`` is one of matters, cases, plans, programmes, awards, recruitments, practitioners, documents,
    methods, objections, repairs, organisations, audit-orders, studies, batches, approvals.
    Answer ``{"entry": {...}}``; an unknown number: HTTP 404 and ``{"error": "no entry"}``.

    number, units and supervisors (credit codes), from and to (days ``2026-10-31``), status (open, closed), stage
    (NOTICE, REVIEW, FINAL … or null), kind, approver, organisations, persons and registration_numbers (identifiers
    of those named), roles [{id, role}] (persons; in recruitments and awards the day on which they were told),
    covers (codes that the entry extends to).
"""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.evidence import Entry, entries
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source, answer


def create(population: Population, meter: Meter) -> Source:
    """The departments' registers with their fixed entries."""
    registers = entries(population)

    async def register(request: Request) -> Response:
        if request.headers.get("X-Api-Key") != secrets.REGISTERS_KEY:
            meter.refused += 1
            return answer({"error": "unauthorized"}, 401)
        number = request.query_params.get("number", "")
        meter.note(request, [number])
        entry = registers.get(request.path_params["register"], {}).get(number)
        return answer({"error": "no entry"}, 404) if entry is None else answer({"entry": _entry(entry)})

    routes = [Route("/registers/{register}", register, methods=["GET"])]
    return Source(Starlette(routes=routes), lambda: answer({"error": "failure"}, 500))


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "units": list(entry.units),
        "supervisors": list(entry.supervisors),
        "from": entry.begins.isoformat(),
        "to": entry.ends.isoformat(),
        "status": "open" if entry.open else "closed",
        "stage": entry.stage,
        "kind": entry.kind,
        "approver": entry.approver,
        "organisations": entry.organisations,
        "persons": entry.persons,
        "registration_numbers": entry.registration_numbers,
        "roles": [{"id": key, "role": role} for key, role in entry.roles],
        "covers": list(entry.covers),
    }
