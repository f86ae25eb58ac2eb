"""How sources write days, instants, amounts and disputes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Final

from connectors.sandbox.facts import ENDLESS, Dispute

PROVINCE_TIME: Final = timezone(timedelta(hours=8))

COMPACT = "{0:%Y%m%d}"
DASHED = "{0:%Y-%m-%d}"
SLASHED = "{0:%Y/%m/%d} 00:00:00"
CHINESE = "{0.year}年{0.month:02}月{0.day:02}日"


@dataclass(frozen=True, slots=True)
class Days:
    """How a source writes days: a format, its word for none, and its word for a day that never comes."""

    pattern: str
    null: str | None
    endless: str = "2099-12-31"

    def __call__(self, day: date | None) -> str | None:
        """The day as the source writes it."""
        if day is None:
            return self.null
        return self.endless if day == ENDLESS else self.pattern.format(day)


def epoch_ms(day: date | None) -> int | None:
    """Midnight of the day in the province, in milliseconds since 1970."""
    if day is None:
        return None
    return int(datetime.combine(day, time(), PROVINCE_TIME).timestamp()) * 1000


def updated(today: date) -> datetime:
    """When the sources last took in new data: ten in the evening of the day before."""
    return datetime.combine(today - timedelta(days=1), time(22), PROVINCE_TIME)


def http_date(instant: datetime) -> str:
    """An instant as HTTP headers write it (RFC 9110, 5.6.7)."""
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    utc = instant.astimezone(UTC)
    return f"{days[utc.weekday()]}, {utc.day:02} {months[utc.month - 1]} {utc:%Y %H:%M:%S} GMT"


def yuan(amount: Decimal) -> str:
    """An amount in yuan, two decimals."""
    return f"{amount:.2f}"


def wan_yuan(amount: Decimal) -> str:
    """An amount in ten thousand yuan 万元, four decimals."""
    return f"{amount / 10_000:.4f}"


_DISPUTE_CODES = {Dispute.OBJECTION: "01", Dispute.APPEAL: "02", Dispute.SUIT: "03"}


def dispute_codes(disputes: Iterable[Dispute]) -> list[str]:
    """Disputes as two-digit codes: 01 objection, 02 appeal, 03 suit."""
    return [_DISPUTE_CODES[dispute] for dispute in disputes]
