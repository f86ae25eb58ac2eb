"""National enterprise credit information publicity system: interface document.

The exchange interface of `connectors.sandbox.exchange`, with tables of `connectors.sandbox.tables`:

    ``/gsxt/contracts``       contracts that enterprises publish themselves
    ``/gsxt/annual-reports``  whether annual reports were published in time
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create(population: Population, meter: Meter) -> Source:
    """The system over a population."""
    records = population.records
    shared = {
        "/gsxt/contracts": Shared(records.published_contracts, tables.CONTRACTS),
        "/gsxt/annual-reports": Shared(records.annual_reports, tables.COMPLIANCE),
    }
    return exchange(shared, secrets.ENTERPRISE_PUBLICITY_SECRET, population, meter)
