"""Civil affairs, register of social organisations: interface document.

The exchange interface of `connectors.sandbox.exchange` in XML (`connectors.sandbox.markup`), with tables of
`connectors.sandbox.tables`:

    ``/mz/registrations``  social groups, foundations and the like: credit codes that begin with 5
    ``/mz/abnormal``       social organisations with abnormal activities
    ``/mz/charity``        donations, voluntary service and brave acts
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.markup import XML
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create(population: Population, meter: Meter) -> Source:
    """The system over a population."""
    records = population.records
    shared = {
        "/mz/registrations": Shared(population.registered_by("5", "虚构省民政厅"), tables.REGISTRATIONS),
        "/mz/abnormal": Shared(records.abnormal_activities, tables.ABNORMAL),
        "/mz/charity": Shared(records.charity, tables.CHARITY),
    }
    return exchange(shared, secrets.CIVIL_AFFAIRS_SECRET, population, meter, XML)
