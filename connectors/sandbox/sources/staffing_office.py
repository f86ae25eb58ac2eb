"""Staffing office, register of public institutions: interface document.

The exchange interface of `connectors.sandbox.exchange` in JSON with GBK texts (`connectors.sandbox.markup`), with tables of
`connectors.sandbox.tables`:

    ``/sydw/registrations``   public institutions: credit codes that begin with 12
    ``/sydw/abnormal``        public institutions with abnormal states
    ``/sydw/annual-reports``  whether institutions published their annual reports
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.markup import GBK
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create(population: Population, meter: Meter) -> Source:
    """The system over a population."""
    records = population.records
    shared = {
        "/sydw/registrations": Shared(
            population.registered_by("12", "虚构省事业单位登记管理局"), tables.REGISTRATIONS
        ),
        "/sydw/abnormal": Shared(records.abnormal_institutions, tables.ABNORMAL),
        "/sydw/annual-reports": Shared(records.institution_reports, tables.COMPLIANCE),
    }
    return exchange(shared, secrets.STAFFING_OFFICE_SECRET, population, meter, GBK)
