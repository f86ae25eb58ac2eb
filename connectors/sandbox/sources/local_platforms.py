"""City and county credit platforms: interface document.

The exchange interface of `connectors.sandbox.exchange`, with tables of `connectors.sandbox.tables`. A record of a county is
also handed up to its city and the province, under the same number:

    ``/city/acts``, ``/city/rewards``, ``/city/compliance``        the city platform
    ``/county/acts``, ``/county/rewards``, ``/county/compliance``  the county platform
"""

from connectors.sandbox import secrets, tables
from connectors.sandbox.exchange import Shared, exchange
from connectors.sandbox.population import Population
from connectors.sandbox.source import Meter, Source


def create_city(population: Population, meter: Meter) -> Source:
    """The city platform over a population."""
    records = population.records
    shared = {
        "/city/acts": Shared(records.city_acts, tables.ACTS),
        "/city/rewards": Shared(records.city_rewards, tables.REWARDS),
        "/city/compliance": Shared(records.city_compliance, tables.COMPLIANCE),
    }
    return exchange(shared, secrets.CITY_PLATFORM_SECRET, population, meter)


def create_county(population: Population, meter: Meter) -> Source:
    """The county platform over a population."""
    records = population.records
    shared = {
        "/county/acts": Shared(records.county_acts, tables.ACTS),
        "/county/rewards": Shared(records.county_rewards, tables.REWARDS),
        "/county/compliance": Shared(records.county_compliance, tables.COMPLIANCE),
    }
    return exchange(shared, secrets.COUNTY_PLATFORM_SECRET, population, meter)
