"""The admin interface of the sandbox, for developers and tests; JSON throughout.

``GET /``                   sources, their addresses and faults
``GET /counts``             {source: {"requests", "by_path", "refused"}}
``POST /counts/reset``      forget counts and what was asked
``GET /asked/{source}``     the last 10,000 inquiries: [{"path", "subjects", "at"}]
``PUT /faults/{source}``    {"fault": "delay", "seconds": 0.5}; delay, error, garbage, truncated, down, off
``DELETE /faults``          no faults anywhere
``GET /subjects``           synthetic subjects; ``kind`` (ORG, IND, NP, GOV) and ``limit`` (1 to 1000, default 100)
``GET /cast``               the fixed subjects: role, kind, scheme, key, name, about

A wrong request is answered ``{"error": "member: reason"}`` with 400 or 404.
"""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox.faults import Fault, fault_from
from connectors.sandbox.outlet import Outlet
from connectors.sandbox.population import CAST, Population
from connectors.sandbox.source import answer, json_object

KINDS = ("ORG", "IND", "NP", "GOV")
MOST_SUBJECTS = 1000


def create(population: Population, outlets: Mapping[str, Outlet]) -> Starlette:
    """The admin application over the sources of a sandbox."""
    admin = _Admin(population, outlets)
    return Starlette(
        routes=[
            Route("/", admin.overview, methods=["GET"]),
            Route("/counts", admin.counts, methods=["GET"]),
            Route("/counts/reset", admin.reset, methods=["POST"]),
            Route("/asked/{source}", admin.asked, methods=["GET"]),
            Route("/faults/{source}", admin.put_fault, methods=["PUT"]),
            Route("/faults", admin.clear_faults, methods=["DELETE"]),
            Route("/subjects", admin.subjects, methods=["GET"]),
            Route("/cast", admin.cast, methods=["GET"]),
        ]
    )


class _Admin:
    def __init__(self, population: Population, outlets: Mapping[str, Outlet]) -> None:
        self._population = population
        self._outlets = outlets

    async def overview(self, _: Request) -> Response:
        sources = {
            name: {"url": outlet.port.url, "fault": outlet.fault.name}
            for name, outlet in self._outlets.items()
        }
        return answer({"today": self._population.today.isoformat(), "sources": sources})

    async def counts(self, _: Request) -> Response:
        return answer(
            {
                name: {
                    "requests": outlet.meter.requests,
                    "by_path": dict(outlet.meter.by_path),
                    "refused": outlet.meter.refused,
                }
                for name, outlet in self._outlets.items()
            }
        )

    async def reset(self, _: Request) -> Response:
        for outlet in self._outlets.values():
            outlet.meter.reset()
        return answer({})

    async def asked(self, request: Request) -> Response:
        outlet = self._outlets.get(request.path_params["source"])
        return self._unknown_source() if outlet is None else answer(list(outlet.meter.asked))

    async def put_fault(self, request: Request) -> Response:
        outlet = self._outlets.get(request.path_params["source"])
        if outlet is None:
            return self._unknown_source()
        try:
            fault = fault_from(await json_object(request))
        except ValueError as error:
            return _wrong(str(error))
        await outlet.put(fault)
        return answer(asdict(fault))

    async def clear_faults(self, _: Request) -> Response:
        for outlet in self._outlets.values():
            await outlet.put(Fault("off"))
        return answer({})

    async def subjects(self, request: Request) -> Response:
        kind, limit = request.query_params.get("kind", ""), request.query_params.get("limit", "100")
        if kind and kind not in KINDS:
            return _wrong(f"kind: one of {', '.join(KINDS)}")
        if len(limit) > 4 or not limit.isdecimal() or not 1 <= int(limit) <= MOST_SUBJECTS:
            return _wrong(f"limit: a whole number from 1 to {MOST_SUBJECTS}")
        chosen = (subject for subject in self._population.subjects if kind in ("", subject.kind))
        return answer([asdict(subject) for subject in islice(chosen, int(limit))])

    async def cast(self, _: Request) -> Response:
        return answer([asdict(member) for member in CAST.values()])

    def _unknown_source(self) -> Response:
        return _wrong(f"source: one of {', '.join(self._outlets)}", 404)


def _wrong(reason: str, status: int = 400) -> Response:
    return answer({"error": reason}, status)
