"""Public utilities: water, electricity, gas and heat: interface document.

The exchange interface of `connectors.sandbox.exchange`, with tables of `connectors.sandbox.tables`:

    ``/utilities/payments``  payments of each month; needs the subject's consent
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create(population: Population, meter: Meter) -> Source:
    """The system over a population."""
    records = population.records
    shared = {
        "/utilities/payments": Shared(records.utilities, tables.UTILITIES, consented=True),
    }
    return exchange(shared, secrets.UTILITIES_SECRET, population, meter)
