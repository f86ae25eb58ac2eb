"""Credit portals: what subjects say of themselves: interface document.

The exchange interface of `connectors.sandbox.exchange`, with tables of `connectors.sandbox.tables`:

    ``/portal/declarations``  voluntary declarations
    ``/portal/commitments``   commitments of the subjects' own accord
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create(population: Population, meter: Meter) -> Source:
    """The system over a population."""
    records = population.records
    shared = {
        "/portal/commitments": Shared(records.portal_commitments, tables.COMMITMENTS),
        "/portal/declarations": Shared(records.voluntary, tables.VOLUNTARY),
    }
    return exchange(shared, secrets.PORTALS_SECRET, population, meter)
