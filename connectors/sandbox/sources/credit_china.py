"""Credit China, the one window for credit repair: interface document.

The exchange interface of `connectors.sandbox.exchange`, with tables of `connectors.sandbox.tables`:

    ``/creditchina/repairs``  applications for credit repair, and what became of them
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create(population: Population, meter: Meter) -> Source:
    """The system over a population."""
    records = population.records
    shared = {
        "/creditchina/repairs": Shared(records.repairs, tables.RIGHTS),
    }
    return exchange(shared, secrets.CREDIT_CHINA_SECRET, population, meter)
