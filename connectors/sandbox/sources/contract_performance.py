"""Public resource trading platform, performance of contracts: interface document.

The exchange interface of `connectors.sandbox.exchange`, with tables of `connectors.sandbox.tables`:

    ``/trade/v1/contracts``  contracts that were traded on the platform
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create(population: Population, meter: Meter) -> Source:
    """The system over a population."""
    records = population.records
    shared = {
        "/trade/v1/contracts": Shared(records.contracts, tables.CONTRACTS),
    }
    return exchange(shared, secrets.CONTRACT_PERFORMANCE_SECRET, population, meter)
