"""From a source's values to the catalogue's: dates, amounts, codes, marks, capital as filed.

A converter takes what stands in the source's record and returns the catalogue's value. It raises
UnreadableError, which holds no text: the value itself must not end up in a message.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cache, lru_cache
from types import NoneType
from typing import Any, get_args, get_origin

from connectors.problems import SourceKeyError
from connectors.source import FieldMap, Values
from policies.catalogue import FieldOf, band_of
from policies.vocabulary import AmountBand, Mark

PROVINCE_TIME = timezone(timedelta(hours=8))

Converter = Callable[[Any], Any]


class UnreadableError(Exception):
    """A value does not have the form that the source file states."""


class Known(dict[Any, Any]):
    """What a source's words mean. A word met for the first time is read with care and remembered.

    Texts alone are remembered: 1, True and a decimal 1 are equal, and are different values.
    """

    def __init__(self, words: Mapping[str | None, Any], careful: Converter) -> None:
        super().__init__(words)
        self._words = words
        self._careful = careful

    def __missing__(self, value: Any) -> Any:
        meaning = self._careful(value)
        if type(value) is str and len(value) <= _LONGEST_REMEMBERED:
            if len(self) >= _MOST_REMEMBERED:
                self.clear()
                self.update(self._words)
            self[value] = meaning
        return meaning

    def __call__(self, value: Any) -> Any:
        """The meaning of any value."""
        try:
            return self[value]
        except TypeError:  # a list has no hash
            return self._careful(value)


_MOST_REMEMBERED = 4096
_LONGEST_REMEMBERED = 64


class PlainText:
    """A text as it stands, unless it is one of the words of `null`; anything else is read with care."""

    __slots__ = ("_careful", "null")

    def __init__(self, null: frozenset[str], careful: Converter) -> None:
        self.null = null
        self._careful = careful

    def __call__(self, value: Any) -> Any:
        """The text, or None."""
        return value if type(value) is str and value.strip() not in self.null else self._careful(value)


def converter(field: FieldOf, rule: FieldMap, values: Values, key: str) -> Converter:
    """How to read one field; raises SourceKeyError under `key` when the rule does not fit the field's type.

    Most values are plain texts, days and codes of a table, which `PlainText` and `Known` read at a glance.
    """
    careful = careful_converter(field, rule, values, key)
    if rule.constant is not None or rule.pattern is not None:
        return careful
    kind = _core(field.type)
    null = _null(rule, values)
    if kind is tuple:
        return _by_look({None: (), "": ()}, careful)
    if rule.conversion is not None or kind in (date, Decimal):
        return _remembering(_bare(rule, values, kind, key), null)
    if kind is str and rule.table is None:
        return PlainText(null, careful)
    if kind in (str, bool) or issubclass(kind, StrEnum):
        return _known(_words(rule, kind, key), null, careful)
    return careful


def careful_converter(field: FieldOf, rule: FieldMap, values: Values, key: str) -> Converter:
    """The same without any quick look: what a value means is said here."""
    kind = _core(field.type)
    if rule.constant is not None:
        return _constant(rule.constant, kind, key)
    read = _bare(rule, values, kind, key)
    if rule.pattern is not None:
        read = _through_pattern(rule.pattern, read, key)
    if kind is tuple:
        return read
    return _or_null(read, _null(rule, values))


def _bare(rule: FieldMap, values: Values, kind: type[Any], key: str) -> Converter:
    """How to read what is neither a constant nor null."""
    return _by_conversion(rule, values, kind, key) if rule.conversion else _by_type(rule, values, kind, key)


def _words(rule: FieldMap, kind: type[Any], key: str) -> Mapping[str, Any]:
    """What the source's words mean, where there are finitely many."""
    if rule.table is not None:
        return _meanings(rule.table, kind, key)
    return {member.value: member for member in kind} if issubclass(kind, StrEnum) else {}


def _known(meanings: Mapping[str, Any], null: Iterable[str], careful: Converter) -> Known:
    # A word with space around it never matches: values are compared without.
    words = {**meanings, **dict.fromkeys(null)}
    known: dict[str | None, Any] = {word: words[word] for word in words if word == word.strip()}
    known[None] = None
    return Known(known, careful)


@cache
def _remembering(read: Converter, null: frozenset[str]) -> Known:
    """For texts that come again and again, as days do. Fields that are read alike remember together."""
    return Known({None: None}, _or_null(read, null))


def _by_look(known: Mapping[Any, Any], careful: Converter) -> Converter:
    def convert(value: Any) -> Any:
        try:
            return known[value]
        except (KeyError, TypeError):  # a list has no hash
            return careful(value)

    return convert


def _core(hint: Any) -> type[Any]:
    """The type of a field without its "or nothing"; a tuple of marks is `tuple`."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    if get_origin(hint) is tuple:
        return tuple
    core: type[Any] = kinds[0] if kinds else hint
    return core


def _null(rule: FieldMap, values: Values) -> frozenset[str]:
    return frozenset(values.null if rule.null is None else rule.null)


def _or_null(read: Converter, null: frozenset[str]) -> Converter:
    def convert(value: Any) -> Any:
        if value is None or (isinstance(value, str) and value.strip() in null):
            return None
        return read(value)

    return convert


def _through_pattern(pattern: str, read: Converter, key: str) -> Converter:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SourceKeyError(f"{key}.pattern", f"{error}", "write a regular expression") from None

    def convert(value: Any) -> Any:
        found = compiled.fullmatch(text_of(value))
        if not found:
            raise UnreadableError
        return read(found[1] if compiled.groups else found[0])

    return convert


def _constant(text: str, kind: type[Any], key: str) -> Converter:
    value = _member(text, kind, f"{key}.is")
    return lambda _value: value


def _by_conversion(rule: FieldMap, values: Values, kind: type[Any], key: str) -> Converter:
    readers: dict[str, tuple[type[Any], Converter]] = {
        "band": (AmountBand, _band(rule.unit or "元")),
        "month": (str, _month(rule.formats or values.dates)),
        "capital_amount": (Decimal, _capital_amount),
        "capital_currency": (str, _capital_currency),
    }
    gives, read = readers[rule.conversion or ""]
    if gives is not kind:
        raise SourceKeyError(
            f"{key}.as", f"it gives {gives.__name__}, the field is {kind.__name__}", "remove it"
        )
    return read


def _by_type(rule: FieldMap, values: Values, kind: type[Any], key: str) -> Converter:
    if kind is tuple:
        return _marks(rule, values, key)
    if kind is date:
        endless = frozenset(values.never_ends if rule.never_ends is None else rule.never_ends)
        return _day(rule.formats or values.dates, endless)
    if kind is Decimal:
        return _amount(rule.unit or "元")
    if rule.table is not None:
        return _from_table(_meanings(rule.table, kind, key))
    if kind is str:
        return text_of
    if kind is bool:
        return _truth
    if kind is int:
        return _whole
    return _enumerated(kind)


# --- text, numbers, codes


def text_of(value: Any) -> str:
    """A text as it stands, or a number as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    raise UnreadableError


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UnreadableError
    return value


def _whole(value: Any) -> int:
    text = text_of(value).strip()
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise UnreadableError
    return int(text)


_SCALES = {"元": Decimal(1), "万元": Decimal(10_000), "亿元": Decimal(100_000_000), "分": Decimal("0.01")}
_AMOUNT = re.compile(r"-?([0-9]{1,20}|[0-9]{1,3}(,[0-9]{3}){1,6})(\.[0-9]{1,8})?")


def amount(value: Any, scale: Decimal = Decimal(1)) -> Decimal:
    """An amount in yuan, from a number or its text, in units of `scale` yuan."""
    text = text_of(value).strip()
    if not _AMOUNT.fullmatch(text):
        raise UnreadableError
    size = Decimal(text.replace(",", ""))
    return size if scale == 1 else _plain(size * scale)


@cache
def _amount(unit: str) -> Converter:
    scale = _SCALES[unit]
    return lambda value: amount(value, scale)


@cache
def _band(unit: str) -> Converter:
    scale = _SCALES[unit]
    return lambda value: band_of(amount(value, scale))


def _plain(size: Decimal) -> Decimal:
    """Without the zeros that a change of unit leaves behind."""
    bare = size.normalize()
    return bare if bare.as_tuple().exponent <= 0 else bare.quantize(Decimal(1))  # type: ignore[operator]


def _member(text: str | bool, kind: type[Any], key: str) -> Any:
    """A constant or table value as the field's type; raises SourceKeyError when it is none."""
    if isinstance(text, kind) and kind in (str, bool):
        return text
    if issubclass(kind, StrEnum):
        try:
            return kind(str(text))
        except ValueError:
            known = ", ".join(kind)
            raise SourceKeyError(key, f"it is no {kind.__name__}", f"write one of {known}") from None
    raise SourceKeyError(key, f"the field is {kind.__name__}", f"write a {kind.__name__}")


def _meanings(table: Mapping[str, str | bool], kind: type[Any], key: str) -> dict[str, Any]:
    return {code: _member(value, kind, f"{key}.table.{code}") for code, value in table.items()}


def _from_table(meanings: Mapping[str, Any]) -> Converter:
    def convert(value: Any) -> Any:
        code = text_of(value).strip()
        if code not in meanings:
            raise UnreadableError
        return meanings[code]

    return convert


def _enumerated(kind: type[Any]) -> Converter:
    def convert(value: Any) -> Any:
        try:
            return kind(text_of(value))
        except ValueError:
            raise UnreadableError from None

    return convert


def _marks(rule: FieldMap, values: Values, key: str) -> Converter:
    """Marks from a list of codes, or from a text of codes put together with `split`."""
    null = _null(rule, values)
    read = _from_table(_meanings(rule.table, Mark, key)) if rule.table is not None else _enumerated(Mark)

    def convert(value: Any) -> tuple[Mark, ...]:
        if value is None:
            return ()
        if isinstance(value, list):
            return tuple(read(code) for code in value)
        text = text_of(value).strip()
        if not text or text in null:
            return ()
        return tuple(read(code) for code in (text.split(rule.split) if rule.split else [text]))

    return convert


# --- days and instants


@cache
def _day(formats: tuple[str, ...], endless: frozenset[str]) -> Converter:
    def convert(value: Any) -> date | None:
        if isinstance(value, str) and value.strip() in endless:
            return None
        return _moment(value, formats).date()

    return convert


@cache
def _month(formats: tuple[str, ...]) -> Converter:
    def convert(value: Any) -> str:
        for form in formats:
            moment = _by_format(value, form)
            if moment is not None:
                return f"{moment:%Y-%m}" if "%m" in form else f"{moment:%Y}"
        raise UnreadableError

    return convert


def instant(value: Any, formats: tuple[str, ...]) -> datetime:
    """An instant in UTC; what has no offset is local to the province."""
    return _instant(value, formats) if type(value) is str else _moment(value, formats).astimezone(UTC)


@lru_cache(maxsize=1024)
def _instant(text: str, formats: tuple[str, ...]) -> datetime:
    return _moment(text, formats).astimezone(UTC)


def _moment(value: Any, formats: tuple[str, ...]) -> datetime:
    for form in formats:
        moment = _by_format(value, form)
        if moment is not None:
            return moment
    raise UnreadableError


_EPOCH_UNITS = {"epoch_s": 1, "epoch_ms": 1000}


def _by_format(value: Any, form: str) -> datetime | None:
    """The moment in local time, or None when the value is not of this form."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    try:
        if form in _EPOCH_UNITS:
            return datetime.fromtimestamp(int(text) / _EPOCH_UNITS[form], PROVINCE_TIME)
        if form == "iso":
            return _local(datetime.fromisoformat(text))
        if form == "http":
            return _local(parsedate_to_datetime(text))
        moment = datetime.strptime(text, form)  # noqa: DTZ007  # what has no offset is local
        # strptime takes "2025311" for the 11th of March; only what reads back the same is sure.
        return _local(moment) if moment.strftime(form) == text else None
    except (ValueError, OverflowError, OSError, TypeError):
        return None


def _local(moment: datetime) -> datetime:
    return moment.replace(tzinfo=PROVINCE_TIME) if moment.tzinfo is None else moment.astimezone(PROVINCE_TIME)


# --- capital as filed

_CURRENCIES = {
    "人民币": "CNY", "RMB": "CNY", "CNY": "CNY", "元": "CNY",
    "美元": "USD", "美金": "USD", "USD": "USD",
    "港元": "HKD", "港币": "HKD", "HKD": "HKD",
    "澳门元": "MOP", "MOP": "MOP", "新台币": "TWD", "台币": "TWD", "TWD": "TWD",
    "欧元": "EUR", "EUR": "EUR", "日元": "JPY", "JPY": "JPY", "英镑": "GBP", "GBP": "GBP",
    "韩元": "KRW", "KRW": "KRW", "新加坡元": "SGD", "SGD": "SGD", "加拿大元": "CAD", "加元": "CAD", "CAD": "CAD",
    "澳大利亚元": "AUD", "澳元": "AUD", "AUD": "AUD", "瑞士法郎": "CHF", "CHF": "CHF",
}  # fmt: skip
_MULTIPLES = {"": 1, "万": 10_000, "亿": 100_000_000}
_MONEY = "|".join(sorted(_CURRENCIES, key=len, reverse=True))
_CAPITAL = re.compile(
    rf"(?P<before>{_MONEY})?(?P<size>[0-9]{{1,15}}|[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,4}})(?P<part>\.[0-9]{{1,8}})?"
    rf"\(?(?P<multiple>万|亿)?(?P<yuan>元)?\)?\(?(?P<after>{_MONEY})?\)?"
)
_QUOTES = "\"'“”‘’`"


@lru_cache(maxsize=4096)
def capital(text: str) -> tuple[Decimal | None, str | None]:
    """Amount in units of its currency and ISO 4217 code of a registered capital as filed.

    "20(万)" is 200000 of a currency that is not named, "50万元人民币" 500000 CNY; yuan alone is CNY. What
    is not surely understood is None.
    """
    bare = "".join(unicodedata.normalize("NFKC", text).upper().split()).strip(_QUOTES)
    found = _CAPITAL.fullmatch(bare)
    if not found:
        return None, None
    named = {_CURRENCIES[word] for word in (found["before"], found["after"]) if word}
    if len(named) > 1:
        return None, None
    size = Decimal(found["size"].replace(",", "") + (found["part"] or ""))
    currency = named.pop() if named else ("CNY" if found["yuan"] else None)
    return _plain(size * _MULTIPLES[found["multiple"] or ""]), currency


def _capital_amount(value: Any) -> Decimal | None:
    return capital(text_of(value))[0]


def _capital_currency(value: Any) -> str | None:
    return capital(text_of(value))[1]
