"""Keys and passwords of the sandbox sources.

All of them are synthetic: they open nothing but the sandbox, and each says so by its first word.
"""

PLATFORM_RID = "sandbox-rid-gateway"
PLATFORM_SID = "sandbox-sid-credit"
PLATFORM_SECRET = "sandbox-platform-secret"  # noqa: S105

PUBLIC_SECURITY_APP = "sandbox-ga-app"
PUBLIC_SECURITY_SECRET = "sandbox-ga-secret"  # noqa: S105

HRSS_TOKEN = "sandbox-hrss-token"  # noqa: S105

NATURAL_RESOURCES_KEY = "sandbox-zrzy-key"

MARKET_REGULATION_USER = "sandbox-gateway"
MARKET_REGULATION_PASSWORD = "sandbox-scjg-password"  # noqa: S105

ECOLOGY_APPCODE = "sandbox-ecology-appcode"

HOUSING_ID = "sandbox-housing-id"
HOUSING_USER = "sandbox-gateway"
HOUSING_PASSWORD = "sandbox-housing-password"  # noqa: S105

HALL_KEY = "sandbox-hall-key"
HALL_SECRET = "sandbox-hall-secret"  # noqa: S105

TAX_APP = "sandbox-tax-app"
TAX_SECRET = "sandbox-tax-secret"  # noqa: S105

COURT_KEY = "sandbox-court-key"

MARKET_A_KEY = "sandbox-qcc-key"
MARKET_A_SECRET = "sandbox-qcc-secret"  # noqa: S105

MARKET_B_TOKEN = "sandbox-tyc-token"  # noqa: S105

ASSOCIATION_APP = "sandbox-assoc-app"
ASSOCIATION_SECRET = "sandbox-assoc-secret"  # noqa: S105

TRADING_TOKEN = "sandbox-trading-token"  # noqa: S105

REGISTERS_KEY = "sandbox-registers-key"

BANK_APP = "sandbox-bank-app"
BANK_SECRET = "sandbox-bank-secret"  # noqa: S105

CONSENT_TOKEN = "sandbox-consent-token"  # noqa: S105

CITY_PLATFORM_SECRET = "sandbox-city-platform-secret"  # noqa: S105
COUNTY_PLATFORM_SECRET = "sandbox-county-platform-secret"  # noqa: S105
ENTERPRISE_PUBLICITY_SECRET = "sandbox-enterprise-publicity-secret"  # noqa: S105
CREDIT_CHINA_SECRET = "sandbox-credit-china-secret"  # noqa: S105
CONTRACT_PERFORMANCE_SECRET = "sandbox-contract-performance-secret"  # noqa: S105
IP_OFFICE_SECRET = "sandbox-ip-office-secret"  # noqa: S105
UTILITIES_SECRET = "sandbox-utilities-secret"  # noqa: S105
PORTALS_SECRET = "sandbox-portals-secret"  # noqa: S105
FINANCING_PLATFORM_SECRET = "sandbox-financing-platform-secret"  # noqa: S105
FINANCIAL_DATABASE_SECRET = "sandbox-financial-database-secret"  # noqa: S105
CIVIL_AFFAIRS_SECRET = "sandbox-civil-affairs-secret"  # noqa: S105
STAFFING_OFFICE_SECRET = "sandbox-staffing-office-secret"  # noqa: S105
CUSTOMS_SECRET = "sandbox-customs-secret"  # noqa: S105
