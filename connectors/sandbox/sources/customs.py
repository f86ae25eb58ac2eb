"""Customs: interface document.

The exchange interface of `connectors.sandbox.exchange` over SOAP 1.1 (`connectors.sandbox.markup`), with tables of
`connectors.sandbox.tables`:

    ``/customs/compliance``  keeping of customs law
    ``/customs/grades``      grades of enterprises (AEO)
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.markup import SOAP
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create(population: Population, meter: Meter) -> Source:
    """The system over a population."""
    records = population.records
    shared = {
        "/customs/grades": Shared(records.customs_grades, tables.EVALUATIONS),
        "/customs/compliance": Shared(records.customs_compliance, tables.COMPLIANCE),
    }
    return exchange(shared, secrets.CUSTOMS_SECRET, population, meter, SOAP)
