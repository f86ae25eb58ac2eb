"""What binds an answer that is given: the obligations of the rules, the level, the time filter and the masks.

Records come in as their sources returned them and leave as this caller may see them on this day. They run
after every cache, so that nothing fetched on one ground is shown on another.
"""

import calendar
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import lru_cache

import msgspec

from policies.bundle import Bundle, Category, Publication, Rule, Treatment
from policies.caller import Caller
from policies.catalogue import AdverseRecord, Commitment, FieldOf, ListRecord, Record, Section, fields_of
from policies.decision import Granted
from policies.evidence import Evidence
from policies.outcomes import Outcome
from policies.vocabulary import Level, Mask, Performance, Severity, SubjectKind


class Shaped(msgspec.Struct, frozen=True, kw_only=True):
    """The records as the caller may see them.

    `hidden` counts, by outcome, records that look absent (for the ledger alone); `withheld` maps a field
    that was asked for to the outcome that withholds it.
    """

    records: tuple[Record, ...]
    hidden: dict[str, int]
    withheld: dict[str, Outcome]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """All that an obligation may look at besides the record. Not the subject itself: what holds for one subject
    holds for all of its kind that were granted alike.
    """

    bundle: Bundle
    caller: Caller
    kind: SubjectKind
    evidence: Evidence
    granted: Granted
    category: Category
    today: date


Hides = Callable[[Record], Outcome | None]
"""Why a record is hidden; None: it is shown."""

Filter = Callable[[Setting], Hides]
"""An obligation that hides records, made ready for a setting."""


def visible(setting: Setting) -> Hides:
    """VISIBLE: only records inside publication or inquiry limit, neither repaired nor withdrawn.

    PUBLIC ends at the publication limit, other levels at the inquiry limit. A date that the limit counts
    from and the record lacks hides the record: nobody can know that it may be shown.
    """
    today = setting.today
    is_public = setting.granted.cell.level is Level.PUBLIC
    in_time = _published(setting) if is_public else _inside_inquiry_limit(setting)

    def hides(record: Record) -> Outcome | None:
        withdrawn, repaired = record.withdrawn_on, record.repaired_on
        if (withdrawn is not None and withdrawn <= today) or (repaired is not None and repaired <= today):
            return Outcome.DENY_REPAIRED
        if isinstance(record, ListRecord) and record.removed_on is not None and record.removed_on <= today:
            return Outcome.DENY_TIME
        return None if in_time(record) else Outcome.DENY_TIME

    return hides


def _published(setting: Setting) -> Callable[[Record], bool]:
    today, in_term = setting.today, _in_term(setting)

    def published(record: Record) -> bool:
        begins, ends = record.public_from, record.public_until
        if (begins is not None and begins > today) or (ends is not None and ends < today):
            return False
        return in_term(record)

    return published


def _in_term(setting: Setting) -> Callable[[Record], bool]:
    """Whether a record is inside the term for which its category is published."""
    match setting.category.publication:
        case Publication.NONE:
            return lambda _record: False
        case Publication.TERM:
            return _in_force(setting.today)
        case Publication.UNTIL_PERFORMED:
            return lambda record: (
                not (isinstance(record, Commitment) and record.performance is Performance.PERFORMED)
            )
        case Publication.SEVERITY:
            return _by_degree(setting)
        case _:
            return lambda _record: True


def _in_force(today: date) -> Callable[[Record], bool]:
    def in_force(record: Record) -> bool:
        until = getattr(record, "valid_until", None)
        return until is None or today <= until

    return in_force


def _by_degree(setting: Setting) -> Callable[[Record], bool]:
    today, bundle = setting.today, setting.bundle
    most = {degree: bundle.period(degree, today).publication_maximum_months for degree in Severity}

    def by_degree(record: Record) -> bool:
        if not isinstance(record, AdverseRecord):
            return False
        # A record whose degree is unknown is published no longer than a minor one.
        decided, months = record.decided_on, most[record.severity or Severity.MINOR]
        if decided is None or record.public_from is None or not months:
            return False
        return today <= _months_after(decided, months)

    return by_degree


def _inside_inquiry_limit(setting: Setting) -> Callable[[Record], bool]:
    today, bundle, months = setting.today, setting.bundle, setting.category.inquiry_months
    of_degree: dict[Severity, int] = {}
    if setting.category.publication is Publication.SEVERITY:
        for degree in Severity:
            limit = bundle.period(degree, today).inquiry_months
            of_degree[degree] = limit if months is None else min(months, limit)

    def inside(record: Record) -> bool:
        limit = months
        if of_degree and isinstance(record, AdverseRecord):
            limit = of_degree[record.severity or Severity.MINOR]
        if limit is None or not record.COUNTED_FROM:
            return True
        for name in record.COUNTED_FROM:
            day = getattr(record, name)
            if day is not None:
                return today <= _months_after(day, limit)
        return False

    return inside


@lru_cache(maxsize=8192)
def _months_after(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day; at most the last day there is."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    if year > date.max.year:
        # Sources write 9999-12-31 for "without end".
        return date.max
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def at_issue(setting: Setting) -> Hides:
    """RECORD_AT_ISSUE: only the records named in the objection or repair."""
    named = setting.evidence.record_ids or ()
    return lambda record: None if record.record_id in named else Outcome.DENY_EVIDENCE


def own_record(setting: Setting) -> Hides:
    """OWN_RECORD: only records that the unit provided."""
    own = (setting.caller.unit, setting.caller.unit_name)
    return lambda record: None if record.provider in own else Outcome.DENY_EVIDENCE


FILTERS: dict[str, Filter] = {"VISIBLE": visible, "RECORD_AT_ISSUE": at_issue, "OWN_RECORD": own_record}
"""Obligations that hide records."""

_COMPOUND_SURNAMES = frozenset(
    [
        "欧阳",
        "司马",
        "上官",
        "诸葛",
        "东方",
        "皇甫",
        "尉迟",
        "公孙",
        "慕容",
        "令狐",
        "司徒",
        "夏侯",
        "端木",
        "独孤",
        "南宫",
        "长孙",
        "宇文",
        "轩辕",
    ]
)
# A county's name holds none of the words for smaller places, save that some begin with 路 or 道.
_SMALLER = "街巷弄号村栋幢室苑社院"
_HAN = rf"(?:(?![{_SMALLER}])[\u3400-\u9fff])"
_NEXT = rf"(?:(?![{_SMALLER}路道])[\u3400-\u9fff])"
_COUNTY = re.compile(
    rf"(?:{_HAN}{{2,6}}?(?:省|自治区))?"
    rf"(?:{_HAN}{{2,8}}?(?:市|自治州|地区|盟)(?=.))?"
    r"(?:"
    # Quarters, works and the like (小区, 园区, 厂区; 怡和东区) are not districts.
    rf"{_HAN}{_NEXT}{{0,3}}?(?:县|(?<![小园厂校宅活舍景业库])(?<![^省市州盟区]{{2}}[东西南北])区)"
    rf"|{_HAN}{_NEXT}{{1,7}}?(?<!红)旗"
    rf"|{_HAN}{_NEXT}{{0,14}}?(?:自治[县旗]|族区|矿区)"
    rf"|{_HAN}{_NEXT}{{1,3}}?(?<!超)市(?!场)"
    r")"
)


def _surname(name: str) -> str:
    # A compound surname leaves something for the given name: 东方 alone is 东 and 方.
    compound = len(name) > 2 and name[:2] in _COMPOUND_SURNAMES
    return (name[:2] if compound else name[:1]) + "*"


def _county(address: str) -> str | None:
    found = _COUNTY.match(address)
    return found.group() if found else None


def _drop(_value: object) -> None:
    return None


MASKED: dict[Treatment, Callable[..., str | None]] = {
    Treatment.SURNAME: _surname,
    Treatment.COUNTY: _county,
    Treatment.DROP: _drop,
}
"""Treatments that change a value."""


class Handlers(msgspec.Struct, frozen=True):
    """What discharges obligations on records: the filters by obligation, the masks by treatment."""

    filters: Mapping[str, Filter]
    masks: Mapping[Treatment, Callable[..., str | None]]


HANDLERS = Handlers(FILTERS, MASKED)
"""Those of this product."""

DISCHARGED_ELSEWHERE: dict[str, str] = {
    "NO_CACHE": "connectors: nothing of the answer is kept",
    "ONE_BY_ONE": "decide: one subject an operation",
    "K10": "statistics: counts leave as multiples of the smallest cell",
    "K50": "statistics: counts leave as multiples of the smallest cell",
    "HASHED": "shape: fields that identify somebody are withheld",
}
"""Obligations with another place in the river, and that place."""


def check_all_discharged(bundle: Bundle, handlers: Handlers = HANDLERS) -> None:
    """Refuse to start with an obligation or mask that nothing discharges: `ValueError` names it."""
    for rule in bundle.rules.values():
        for code in rule.obligations:
            if not _discharged(code, rule, handlers):
                raise ValueError(
                    f"no handler discharges the obligation {code} of rule {rule.id} of the bundle {bundle.name}"
                )
    for (mask, kind), treatments in bundle.masks.items():
        if mask is Mask.AMOUNT and not _OF_AMOUNTS.issuperset(treatments.treatments.values()):
            raise ValueError(f"a treatment of texts cannot mask {mask} of {kind} in the bundle {bundle.name}")


def _discharged(code: str, rule: Rule, handlers: Handlers) -> bool:
    if code in ("K10", "K50"):
        return rule.level is Level.AGGREGATE
    return code in handlers.filters or code in DISCHARGED_ELSEWHERE


_OF_AMOUNTS = frozenset({Treatment.KEEP, Treatment.DROP, Treatment.DROP_UNLESS_PUBLISHED})


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """Which fields of a record leave, by mask and by name, what changes some of them, and what is withheld."""

    shown: int
    names: tuple[str, ...]
    masks: tuple[tuple[str, Callable[..., str | None]], ...]
    withheld: dict[str, Outcome]

    def __call__(self, record: Record) -> Record:
        """The record with these fields alone."""
        values = {name: getattr(record, name) for name in self.names}
        for name, masked in self.masks:
            if values[name] is not None:
                values[name] = masked(values[name])
        return type(record)(**values)


def shape(
    records: Sequence[Record], setting: Setting, hiding: Sequence[Hides], cut: Cut, held: int = -1
) -> Shaped:
    """Filter, cut to the granted fields, mask; marks stay on. Raises whatever a handler raises: then nothing of
    the section may leave.

    `hiding` are the filters of this setting. `held` is the mask of the fields that the records can hold at all (-1:
    any). Where nothing that was asked would have to be cut out of them, they leave as they are: no executor reads
    what was not asked.
    """
    hidden: dict[str, int] = {}
    kept: list[Record] = []
    for record in records:
        for hides in hiding:
            outcome = hides(record)
            if outcome is not None:
                hidden[outcome.value] = hidden.get(outcome.value, 0) + 1
                break
        else:
            kept.append(record)
    if cut.masks or held & setting.granted.asked & ~cut.shown:
        kept = [cut(record) for record in kept]
    return Shaped(records=tuple(kept), hidden=hidden, withheld=cut.withheld)


def filters_of(setting: Setting, handlers: Handlers = HANDLERS) -> tuple[Hides, ...]:
    """What hides records. One that has no handler anywhere is a KeyError: it is never passed over."""
    codes = (code for code in setting.granted.obligations if code not in DISCHARGED_ELSEWHERE)
    return tuple(handlers.filters[code](setting) for code in codes)


def cut_of(section: Section, setting: Setting, handlers: Handlers = HANDLERS) -> Cut:
    """What leaves of the records of a section. It follows from the bundle, the caller's type, the kind of subject
    and the grant's fields and obligations; from nothing else of the setting.
    """
    granted = setting.granted
    fields = fields_of(section.record)
    # What is reduced stands before what is masked.
    withheld = {
        field.name: Outcome.PERMIT_REDUCED
        for bit, field in enumerate(fields)
        if (granted.asked & ~granted.fields) >> bit & 1
    }
    shown = [field for bit, field in enumerate(fields) if granted.fields >> bit & 1]
    if "HASHED" in granted.obligations:
        withheld |= {field.name: Outcome.PERMIT_MASKED for field in shown if field.shown.identifies}
        shown = [field for field in shown if not field.shown.identifies]
    masks = _masks(shown, setting)
    withheld |= dict.fromkeys(masks, Outcome.PERMIT_MASKED)
    # The identifier and the marks of a record are not content: connections and marks need them.
    names = {"record_id", "marks", *(field.name for field in shown)}
    return Cut(
        shown=sum(1 << bit for bit, field in enumerate(fields) if field.name in names),
        names=tuple(field.name for field in fields if field.name in names),
        masks=tuple((name, handlers.masks[treatment]) for name, treatment in masks.items()),
        withheld=withheld,
    )


def _masks(shown: list[FieldOf], setting: Setting) -> dict[str, Treatment]:
    """The fields that are masked for this caller, and how."""
    audience = setting.bundle.callers[setting.caller.type].audience
    kind = setting.kind
    masks: dict[str, Treatment] = {}
    for field in shown:
        rule = setting.bundle.masks.get((field.shown.mask, kind)) if field.shown.mask else None
        if rule is not None:
            treatment = _settled(rule.treatments[audience], field, kind)
            if treatment is not Treatment.KEEP:
                masks[field.name] = treatment
    return masks


def _settled(treatment: Treatment, field: FieldOf, kind: SubjectKind) -> Treatment:
    # What is published of an organisation is not published of the person who runs an individual business.
    published = field.shown.published and kind in (SubjectKind.ORG, SubjectKind.GOV)
    if treatment is Treatment.SURNAME_UNLESS_PUBLISHED:
        return Treatment.KEEP if published else Treatment.SURNAME
    if treatment is Treatment.DROP_UNLESS_PUBLISHED:
        return Treatment.KEEP if published else Treatment.DROP
    return treatment
