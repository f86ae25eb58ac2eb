"""Financial credit information basic database: interface document.

The exchange interface of `connectors.sandbox.exchange`, with tables of `connectors.sandbox.tables`:

    ``/zxzx/reports``  the latest report of a subject; needs the consent kept under central bank rules
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create(population: Population, meter: Meter) -> Source:
    """The system over a population."""
    records = population.records
    shared = {
        "/zxzx/reports": Shared(records.credit_reports, tables.CREDIT_REPORTS, consented=True),
    }
    return exchange(shared, secrets.FINANCIAL_DATABASE_SECRET, population, meter)
