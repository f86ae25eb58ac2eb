"""What a new bundle changes, in words: who gets more, who gets less.

Both bundles are compared cell by cell, on a day and on every later day on which a rule or law begins or ends,
so that what comes into force later is seen now. What is shown of a record besides the cells (conditions,
masks, periods, declared evidence, lists, quotas) is compared as well. A change that is partly more and partly less
CHANGES; whoever approves treats it as one that widens.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from itertools import product
from typing import TypeVar

import msgspec

from policies.bundle import (
    Bundle,
    Category,
    Condition,
    Instrument,
    Period,
    Publication,
    RedLine,
    Rule,
    Treatment,
)
from policies.explain import KINDS
from policies.table import Cell, Table, compile_table
from policies.vocabulary import Level, Mask, Severity, SubjectKind


class Effect(StrEnum):
    """What a change does to what callers get."""

    WIDENS = "WIDENS"
    CHANGES = "CHANGES"
    """Partly more, partly less, or not to be compared."""
    NARROWS = "NARROWS"


class Change(msgspec.Struct, frozen=True):
    """One difference in a sentence."""

    effect: Effect
    sentence: str


def compare(old: Bundle, new: Bundle, day: date) -> tuple[Change, ...]:
    """All that the new bundle changes from that day on; what widens comes first."""
    days = _days(old, new, day)
    tables = [(compile_table(old, each), compile_table(new, each)) for each in days]
    changes = [
        *_cells(old, new, tables, days),
        *_conditions(old, new),
        *_declared(old, new),
        *_laws(tables, days),
        *_measures(old, new),
        *_masks(old, new),
        *_periods(old, new, days),
        *_categories(old, new),
        *_quotas(old, new),
    ]
    return tuple(sorted(changes, key=lambda change: list(Effect).index(change.effect)))


def needing_approval(changes: Iterable[Change]) -> tuple[Change, ...]:
    """The changes by which somebody gets more."""
    return tuple(change for change in changes if change.effect is not Effect.NARROWS)


def text(changes: Sequence[Change]) -> str:
    """The changes, a line each."""
    if not changes:
        return "Nothing changes."
    counts = ", ".join(
        f"{sum(change.effect is effect for change in changes)} {effect.lower()}" for effect in Effect
    )
    lines = [f"{change.effect:<8}{change.sentence}" for change in changes]
    return "\n".join([f"{len(changes)} differences: {counts}.", *lines])


def _effect(*, more: bool, less: bool) -> Effect | None:
    if more and less:
        return Effect.CHANGES
    if more:
        return Effect.WIDENS
    return Effect.NARROWS if less else None


# --- days ---------------------------------------------------------------------------------------------------


def _days(old: Bundle, new: Bundle, day: date) -> list[date]:
    """The day, and every later one on which something begins or has ended."""
    days = {day}
    for bundle in (old, new):
        entries: list[Rule | RedLine | Instrument | Period] = [
            *bundle.rules.values(),
            *bundle.red_lines.values(),
            *bundle.instruments.values(),
            *bundle.periods,
        ]
        for entry in entries:
            if entry.valid_from is not None:
                days.add(entry.valid_from)
            if entry.valid_to is not None and entry.valid_to < date.max:
                days.add(entry.valid_to + timedelta(days=1))
    return sorted(each for each in days if each >= day)


_Span = tuple[int, int]
"""First and last position in the list of days, both included."""

_Key = TypeVar("_Key", bound=Hashable)


def _spans(found: Iterable[Iterable[_Key]]) -> dict[_Key, list[_Span]]:
    """For each key the unbroken runs of positions at which it was found."""
    spans: dict[_Key, list[_Span]] = {}
    for position, keys in enumerate(found):
        for key in keys:
            runs = spans.setdefault(key, [])
            if runs and runs[-1][1] == position - 1:
                runs[-1] = (runs[-1][0], position)
            else:
                runs.append((position, position))
    return spans


def _when(days: Sequence[date], span: _Span) -> str:
    first, last = span
    begins = f"from {days[first]}" if first > 0 else ""
    ends = f"to {days[last + 1] - timedelta(days=1)}" if last + 1 < len(days) else ""
    words = " ".join(filter(None, (begins, ends)))
    return f"{words}: " if words else ""


# --- cells --------------------------------------------------------------------------------------------------

_Answer = Cell | RedLine | None


class _Step(msgspec.Struct, frozen=True):
    """From one answer to another."""

    effect: Effect
    words: str


def _cells(
    old: Bundle, new: Bundle, tables: Sequence[tuple[Table, Table]], days: Sequence[date]
) -> Iterator[Change]:
    """One sentence for each rule, however many callers, kinds of subjects and categories it concerns."""
    groups: dict[tuple[str, _Step, tuple[str, ...], _Span], dict[SubjectKind, list[str]]] = {}
    spans = _spans(_steps(before, after) for before, after in tables)
    for (purpose, kind, category, step, callers), runs in spans.items():
        for span in runs:
            of_kinds = groups.setdefault((purpose, step, callers, span), {})
            of_kinds.setdefault(kind, []).append(category)
    purposes: dict[tuple[_Step, tuple[str, ...], _Span, tuple[SubjectKind, ...], tuple[str, ...]], list[str]]
    purposes = {}
    for (purpose, step, callers, span), of_kinds in groups.items():
        for kinds, categories in _together(of_kinds):
            purposes.setdefault((step, callers, span, kinds, categories), []).append(purpose)
    every = len(old.purposes.keys() | new.purposes.keys())
    for (step, callers, span, kinds, categories), named in purposes.items():
        what = "every purpose" if len(named) == every > 1 else ", ".join(named)
        whom = ", ".join(KINDS[kind].english for kind in kinds)
        cells = f"{_who(old, new, callers)} for {what} of {whom}: {', '.join(categories)}"
        yield Change(step.effect, f"{_when(days, span)}{cells} {step.words}")


def _together(
    of_kinds: Mapping[SubjectKind, Iterable[str]],
) -> Iterator[tuple[tuple[SubjectKind, ...], tuple[str, ...]]]:
    """Kinds of subjects with the same categories, together."""
    same: dict[tuple[str, ...], list[SubjectKind]] = {}
    for kind, categories in of_kinds.items():
        same.setdefault(tuple(categories), []).append(kind)
    for categories, kinds in same.items():
        yield tuple(kinds), categories


def _steps(before: Table, after: Table) -> Iterator[tuple[str, SubjectKind, str, _Step, tuple[str, ...]]]:
    """For each purpose, kind and category the steps that differ, with the callers that make each."""
    known: dict[tuple[int, int], _Step | None] = {}
    callers = _both(before.callers, after.callers)
    cells = product(
        _both(before.purposes, after.purposes), SubjectKind, _both(before.categories, after.categories)
    )
    for purpose, kind, category in cells:
        making: dict[_Step, list[str]] = {}
        kept = all(purpose in table.purposes and category in table.categories for table in (before, after))
        for caller in callers:
            was = before.cell(caller, purpose, kind, category)
            now = after.cell(caller, purpose, kind, category)
            if was is None and now is None:
                continue
            # A red line that ends with its caller, purpose or category opens nothing.
            gives = isinstance(was, Cell) or isinstance(now, Cell)
            if not gives and not (kept and caller in before.callers and caller in after.callers):
                continue
            pair = (id(was), id(now))
            if pair not in known:
                known[pair] = _step(was, now)
            step = known[pair]
            if step is not None:
                making.setdefault(step, []).append(caller)
        for step, who in making.items():
            yield purpose, kind, category, step, tuple(who)


def _both(one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*one, *other]))


def _step(was: _Answer, now: _Answer) -> _Step | None:
    words = f"{_named(was)} → {_named(now)}"
    if isinstance(was, Cell) and isinstance(now, Cell):
        return _step_of_cells(was, now, words)
    if isinstance(was, Cell):
        return _Step(Effect.NARROWS, words)
    if isinstance(now, Cell):
        return _Step(Effect.WIDENS, words)
    # Neither gives anything; but without its red line the cell is open to the next rule.
    effect = _effect(more=was is not None and now is None, less=was is None and now is not None)
    return _Step(effect, words) if effect else None


def _named(answer: _Answer) -> str:
    if isinstance(answer, Cell):
        return f"{answer.level} ({answer.rule.id})"
    return f"forbidden ({answer.id})" if answer else "nothing"


def _step_of_cells(was: Cell, now: Cell, words: str) -> _Step | None:
    details = [
        *(f"without the condition {code}" for code in was.rule.conditions if code not in now.rule.conditions),
        *(f"without the obligation {c}" for c in was.rule.obligations if c not in now.rule.obligations),
    ]
    more = bool(details) or _shows_beyond(now, was)
    added = [
        *(f"with the condition {code}" for code in now.rule.conditions if code not in was.rule.conditions),
        *(f"with the obligation {c}" for c in now.rule.obligations if c not in was.rule.obligations),
    ]
    less = bool(added) or _shows_beyond(was, now)
    effect = _effect(more=more, less=less)
    return _Step(effect, ", ".join([words, *details, *added])) if effect else None


_CHAIN = (Level.MATCH, Level.HIT, Level.SUMMARY, Level.FULL)


def _shows_beyond(one: Cell, other: Cell) -> bool:
    """Whether one cell shows something that the other does not."""
    if one.level is other.level:
        return bool(one.fields & ~other.fields)
    if one.level in _CHAIN and other.level in _CHAIN:
        return _CHAIN.index(one.level) > _CHAIN.index(other.level)
    if one.level is Level.PUBLIC and other.level in _CHAIN:
        # Without a section nobody can say which fields are published: then all that is not FULL may lack some.
        return other.level is not Level.FULL and (not one.fields or bool(one.fields & ~other.fields))
    # Of records that are not published PUBLIC shows nothing; other shapes of answer cannot be compared.
    return True


def _who(old: Bundle, new: Bundle, callers: Sequence[str]) -> str:
    known = {**old.callers, **new.callers}
    if len(callers) == len(known) > 1:
        return "every caller"
    departments = {code for code, caller in known.items() if caller.department}
    if len(departments) > 1 and departments == set(callers):
        return "every department"
    listed = ", ".join(callers)
    return listed if len(callers) < 5 else f"{len(callers)} callers ({listed})"


# --- conditions, laws and lists -----------------------------------------------------------------------------


def _conditions(old: Bundle, new: Bundle) -> Iterator[Change]:
    """Conditions that keep their code and ask for something else."""
    for code, was in old.conditions.items():
        now = new.conditions.get(code)
        if now is not None:
            yield from _condition(was, now)


def _condition(was: Condition, now: Condition) -> Iterator[Change]:
    if was.proof is not now.proof:
        words = f"condition {was.code}: proved by {now.proof} instead of {was.proof}"
        yield Change(Effect.CHANGES, words)
    if was.about_subject is not now.about_subject:
        effect = Effect.WIDENS if was.about_subject else Effect.NARROWS
        met = "can" if was.about_subject else "cannot"
        yield Change(effect, f"condition {was.code}: a search by name {met} meet it")
    effect_of_evidence = _effect(
        more=_suffices_newly(now.evidence, was.evidence), less=_suffices_newly(was.evidence, now.evidence)
    )
    if effect_of_evidence:
        words = f"condition {was.code}: evidence {_alternatives(was)} → {_alternatives(now)}"
        yield Change(effect_of_evidence, words)


def _suffices_newly(here: Iterable[Sequence[str]], there: Sequence[Sequence[str]]) -> bool:
    """Whether some evidence is enough here that is not enough there."""
    return any(not any(set(fields) <= set(enough) for fields in there) for enough in here)


def _alternatives(condition: Condition) -> str:
    return " or ".join(" and ".join(fields) for fields in condition.evidence) or "none"


def _declared(old: Bundle, new: Bundle) -> Iterator[Change]:
    for code in sorted(old.conditions.keys() & new.conditions.keys()):
        was, now = code in old.declared_is_enough, code in new.declared_is_enough
        if now and not was:
            yield Change(
                Effect.WIDENS, f"condition {code}: declared evidence is enough, no register is asked"
            )
        if was and not now:
            yield Change(Effect.NARROWS, f"condition {code}: its register is asked, to declare is not enough")


def _laws(tables: Sequence[tuple[Table, Table]], days: Sequence[date]) -> Iterator[Change]:
    """Instruments that may, or may no longer, be named as the law that makes a fact relevant."""
    added = _spans(sorted(after.laws - before.laws) for before, after in tables)
    for law, span in ((law, span) for law, spans in added.items() for span in spans):
        yield Change(Effect.WIDENS, f"{_when(days, span)}instrument {law} may be named as the law")
    gone = _spans(sorted(before.laws - after.laws) for before, after in tables)
    for law, span in ((law, span) for law, spans in gone.items() for span in spans):
        yield Change(Effect.NARROWS, f"{_when(days, span)}instrument {law} may not be named as the law")


def _measures(old: Bundle, new: Bundle) -> Iterator[Change]:
    for code in sorted(new.measures.keys() - old.measures.keys()):
        yield Change(Effect.WIDENS, f"measure {code} is on the list: {new.measures[code].english}")
    for code in sorted(old.measures.keys() - new.measures.keys()):
        yield Change(Effect.NARROWS, f"measure {code} is off the list: {old.measures[code].english}")


# --- masks, periods, categories -----------------------------------------------------------------------------

_SHOWN: dict[Treatment, tuple[int, int]] = {
    Treatment.DROP: (0, 0),
    Treatment.COUNTY: (1, 1),
    Treatment.SURNAME: (1, 1),
    Treatment.DROP_UNLESS_PUBLISHED: (2, 0),
    Treatment.SURNAME_UNLESS_PUBLISHED: (2, 1),
    Treatment.KEEP: (2, 2),
}
"""How much is left of a published value and of one that is not: nothing, a part, all."""


def _masks(old: Bundle, new: Bundle) -> Iterator[Change]:
    """Masked fields by caller, since a caller may also move to another audience."""
    callers = [code for code in old.callers if code in new.callers]
    groups: dict[tuple[Mask, Treatment, Treatment, tuple[str, ...]], list[SubjectKind]] = {}
    for mask, kind in product(Mask, SubjectKind):
        steps: dict[tuple[Treatment, Treatment], list[str]] = {}
        for caller in callers:
            was, now = _treatment(old, mask, kind, caller), _treatment(new, mask, kind, caller)
            if was is not now:
                steps.setdefault((was, now), []).append(caller)
        for (was, now), who in steps.items():
            groups.setdefault((mask, was, now, tuple(who)), []).append(kind)
    for (mask, was, now, callers_concerned), kinds in groups.items():
        whom = ", ".join(KINDS[kind].english for kind in kinds)
        sentence = f"mask {mask} of {whom} for {_who(old, new, callers_concerned)}: {was} → {now}"
        yield Change(_effect_of_masks(was, now), sentence)


def _treatment(bundle: Bundle, mask: Mask, kind: SubjectKind, caller: str) -> Treatment:
    rule = bundle.masks.get((mask, kind))
    return rule.treatments[bundle.callers[caller].audience] if rule else Treatment.KEEP


def _effect_of_masks(was: Treatment, now: Treatment) -> Effect:
    pairs = list(zip(_SHOWN[was], _SHOWN[now], strict=True))
    effect = _effect(more=any(n > w for w, n in pairs), less=any(n < w for w, n in pairs))
    # A county and a surname are parts of different things.
    return effect or Effect.CHANGES


def _periods(old: Bundle, new: Bundle, days: Sequence[date]) -> Iterator[Change]:
    """How long records of a degree are published and answered, regime by regime."""
    for severity in (*Severity, None):
        of_days = [(old.period(severity, day), new.period(severity, day)) for day in days]
        spans = _spans([_period_step(*pair)] for pair in of_days)
        for step, span in ((step, span) for step, runs in spans.items() if step for span in runs):
            about = f"records of degree {severity}" if severity else "entries of lists"
            yield Change(step.effect, f"{_when(days, span)}{about}: {step.words}")


def _period_step(was: Period, now: Period) -> _Step | None:
    limits: tuple[tuple[str, Callable[[Period], int | None]], ...] = (
        ("published at least", lambda period: period.publication_minimum_months),
        ("published at most", lambda period: period.publication_maximum_months),
        ("answered for", lambda period: period.inquiry_months),
    )
    words, more, less = [], False, False
    for name, limit in limits:
        before, after = limit(was), limit(now)
        if before != after:
            words.append(f"{name} {_months(before)} → {_months(after)}")
            more, less = more or _beyond(after, before), less or _beyond(before, after)
    if was.counts_from != now.counts_from:
        words.append(f"counted from {was.counts_from} → {now.counts_from}")
        more = less = True
    effect = _effect(more=more, less=less)
    return _Step(effect, ", ".join(words)) if effect else None


def _months(months: int | None) -> str:
    return "without limit" if months is None else f"{months} months"


def _beyond(one: int | None, other: int | None) -> bool:
    """Whether one limit lies beyond the other; None is without limit."""
    return other is not None and (one is None or one > other)


def _categories(old: Bundle, new: Bundle) -> Iterator[Change]:
    for code, was in old.categories.items():
        now = new.categories.get(code)
        if now is not None:
            yield from _category(was, now)


def _category(was: Category, now: Category) -> Iterator[Change]:
    if was.publication is not now.publication:
        effect = (
            Effect.WIDENS
            if was.publication is Publication.NONE
            else Effect.NARROWS
            if now.publication is Publication.NONE
            else Effect.CHANGES
        )
        yield Change(effect, f"category {was.code}: published {was.publication} → {now.publication}")
    if was.inquiry_months != now.inquiry_months:
        effect = Effect.WIDENS if _beyond(now.inquiry_months, was.inquiry_months) else Effect.NARROWS
        words = f"answered for {_months(was.inquiry_months)} → {_months(now.inquiry_months)}"
        yield Change(effect, f"category {was.code}: {words}")
    if was.never_stored is not now.never_stored:
        effect = Effect.WIDENS if was.never_stored else Effect.NARROWS
        stored = "may be stored" if was.never_stored else "is never stored"
        yield Change(effect, f"category {was.code}: {stored}")


def _quotas(old: Bundle, new: Bundle) -> Iterator[Change]:
    """Distinct subjects a day, for the callers and purposes that both bundles have."""
    groups: dict[tuple[str, int | None, int | None], list[str]] = {}
    for purpose, caller in product(old.purposes, old.callers):
        if purpose in new.purposes and caller in new.callers:
            was, now = old.quotas.get((caller, purpose)), new.quotas.get((caller, purpose))
            if was != now:
                groups.setdefault((purpose, was, now), []).append(caller)
    for (purpose, was, now), callers in groups.items():
        effect = Effect.WIDENS if _beyond(now, was) else Effect.NARROWS
        words = f"{_subjects(was)} → {_subjects(now)}"
        yield Change(effect, f"quota of {_who(old, new, callers)} for {purpose}: {words}")


def _subjects(quota: int | None) -> str:
    return "none" if quota is None else f"{quota} subjects a day"
