"""The sandbox: synthetic credit sources and registers of evidence over real HTTP, one process, one port for each source.

Everything listens on the loopback interface. With a base port, application number i of `NAMES` has port
base + i; with base port 0 each takes a free one.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import orjson
import uvicorn
from starlette.responses import Response

from connectors.sandbox import admin
from connectors.sandbox.faults import Fault
from connectors.sandbox.formats import PROVINCE_TIME
from connectors.sandbox.issuer import Consents, create_issuer
from connectors.sandbox.outlet import Outlet, Port
from connectors.sandbox.population import Population, populate
from connectors.sandbox.registers import (
    bank_registers,
    consent_service,
    department_registers,
    trading_platform,
)
from connectors.sandbox.registrations import load_registrations
from connectors.sandbox.source import Meter, Source, answer
from connectors.sandbox.sources import (
    association,
    civil_affairs,
    contract_performance,
    court,
    credit_china,
    customs,
    ecology,
    enterprise_publicity,
    financial_database,
    financing_platform,
    government_affairs,
    housing,
    hrss,
    ip_office,
    local_platforms,
    market_a,
    market_b,
    market_regulation,
    natural_resources,
    portals,
    provincial_platform,
    public_security,
    staffing_office,
    taxation,
    utilities,
)

_Create = Callable[[Population, Meter], Source]

_FIRST: Mapping[str, _Create] = {
    "provincial-platform": provincial_platform.create,
    "public-security": public_security.create,
    "hrss": hrss.create,
    "natural-resources": natural_resources.create,
    "market-regulation": market_regulation.create,
    "ecology": ecology.create,
    "housing": housing.create,
    "government-affairs": government_affairs.create,
    "taxation": taxation.create,
    "court": court.create,
    "market-a": market_a.create,
    "market-b": market_b.create,
    "association": association.create,
}

_LATER: Mapping[str, _Create] = {
    "city-platform": local_platforms.create_city,
    "county-platform": local_platforms.create_county,
    "enterprise-publicity": enterprise_publicity.create,
    "credit-china": credit_china.create,
    "contract-performance": contract_performance.create,
    "civil-affairs": civil_affairs.create,
    "staffing-office": staffing_office.create,
    "customs": customs.create,
    "ip-office": ip_office.create,
    "utilities": utilities.create,
    "portals": portals.create,
    "financing-platform": financing_platform.create,
    "financial-database": financial_database.create,
}

SOURCES: Mapping[str, _Create] = {**_FIRST, **_LATER}
"""The sources of credit information by id."""

REGISTERS: Mapping[str, _Create] = {
    "trading-platform": trading_platform.create,
    "department-registers": department_registers.create,
    "bank-registers": bank_registers.create,
}
"""The registers of evidence by id."""

CONSENT_SERVICE = "consent-service"
"""The register of authorizations, which shares its state with the issuer."""

# A port never moves: what came later stands at the end.
NAMES = ("admin", "issuer", *_FIRST, *REGISTERS, CONSENT_SERVICE, *_LATER)
"""Every application, in the order of the ports: admin is base + 0, issuer base + 1, and so on."""

_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """What to serve, and where; `today` is the province's own day when not given.

    Raises ValueError naming the option and the reason.
    """

    subjects: int = 2000
    seed: int = 99
    registrations: Path | None = None
    base_port: int = 8700
    today: date | None = None

    def __post_init__(self) -> None:
        if self.subjects < 0:
            raise ValueError("subjects: below 0")
        if self.base_port and not 1 <= self.base_port <= _HIGHEST_PORT - len(NAMES) + 1:
            raise ValueError(f"base_port: 0 or from 1 to {_HIGHEST_PORT - len(NAMES) + 1}")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox: where each application is reached."""

    ports: Mapping[str, int]
    urls: Mapping[str, str]
    population: Population = field(repr=False)

    @property
    def admin_url(self) -> str:
        """Where the admin interface is reached."""
        return self.urls["admin"]


@asynccontextmanager
async def running(options: SandboxOptions) -> AsyncIterator[Sandbox]:
    """Run a sandbox in the current event loop for as long as the context lasts.

    Raises `RegistrationsError` for a bad file and OSError, naming the application, for a port that is taken.
    """
    population = _population(options)
    ports = _ports(options.base_port)
    try:
        outlets = _outlets(population, ports)
        for outlet in outlets.values():
            await outlet.put(Fault("off"))
        await ports["admin"].open(admin.create(population, outlets))
        yield Sandbox(
            {name: port.number for name, port in ports.items()},
            {name: port.url for name, port in ports.items()},
            population,
        )
    finally:
        await asyncio.gather(*(port.close() for port in ports.values()))
        for port in ports.values():
            port.release()


def run(options: SandboxOptions) -> None:
    """Run a sandbox until SIGINT or SIGTERM; writes one JSON line to standard output when it is ready."""
    loop_factory = uvicorn.Config("", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(options))


async def serve(options: SandboxOptions) -> None:
    """Serve until the process is told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(options) as sandbox:
        sys.stdout.write(orjson.dumps({"ready": True, "ports": sandbox.ports}).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()


def _population(options: SandboxOptions) -> Population:
    today = options.today or datetime.now(PROVINCE_TIME).date()
    population = populate(subjects=options.subjects, seed=options.seed, today=today)
    if options.registrations is None:
        return population
    return population.with_registrations(load_registrations(options.registrations))


def _ports(base: int) -> dict[str, Port]:
    ports: dict[str, Port] = {}
    for place, name in enumerate(NAMES):
        number = base + place if base else 0
        try:
            ports[name] = Port(number)
        except OSError as error:
            for port in ports.values():
                port.release()
            raise OSError(error.errno, f"port {number} for {name}: {error.strerror}") from error
    return ports


def _outlets(population: Population, ports: Mapping[str, Port]) -> dict[str, Outlet]:
    consents = Consents()
    issuer = Source(create_issuer(base_url=ports["issuer"].url, consents=consents), _issuer_failure)
    outlets = {"issuer": Outlet(issuer, Meter(), ports["issuer"])}
    for name, create in (*SOURCES.items(), *REGISTERS.items()):
        meter = Meter()
        outlets[name] = Outlet(create(population, meter), meter, ports[name])
    meter = Meter()
    service = consent_service.create(consents, meter)
    outlets[CONSENT_SERVICE] = Outlet(service, meter, ports[CONSENT_SERVICE])
    return outlets


def _issuer_failure() -> Response:
    return answer({"error": "server_error"}, 500)
