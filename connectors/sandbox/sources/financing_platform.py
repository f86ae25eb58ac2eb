"""Financing credit service platform, provincial node: interface document.

The exchange interface of `connectors.sandbox.exchange`, with tables of `connectors.sandbox.tables`:

    ``/rzxy/utilities``  utility payments of the sharing list; needs the subject's consent
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create(population: Population, meter: Meter) -> Source:
    """The system over a population."""
    records = population.records
    shared = {
        "/rzxy/utilities": Shared(records.shared_utilities, tables.UTILITIES, consented=True),
    }
    return exchange(shared, secrets.FINANCING_PLATFORM_SECRET, population, meter)
