"""Intellectual property office: interface document.

The exchange interface of `connectors.sandbox.exchange`, with tables of `connectors.sandbox.tables`:

    ``/ipo/rights``  registered rights and their pledges
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create(population: Population, meter: Meter) -> Source:
    """The system over a population."""
    records = population.records
    shared = {
        "/ipo/rights": Shared(records.properties, tables.PROPERTIES),
    }
    return exchange(shared, secrets.IP_OFFICE_SECRET, population, meter)
