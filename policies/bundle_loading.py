"""Loading a bundle: its files and those of the national layer, put together into one checked `Bundle`.

Every code is resolved, every group is expanded, every basis is parsed. Loading is strict: whatever the files leave
open, misspell or contradict is a `BundleError` that names file, line and remedy.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from functools import cache
from importlib.resources import files as resources
from importlib.resources.abc import Traversable
from itertools import product
from pathlib import Path
from typing import Any, cast

import msgspec

from policies.bundle import (
    Audience,
    Basis,
    Bundle,
    CategoryClass,
    CeilingException,
    Condition,
    ConditionKind,
    Instrument,
    Layer,
    MaskRule,
    Measure,
    MeasureKind,
    Period,
    Proof,
    Purpose,
    RedLine,
    Rule,
    conflicts,
)
from policies.bundle_files import (
    BundleError,
    Entries,
    Place,
    Problem,
    read_documents,
    read_entries,
    read_texts,
)
from policies.bundle_format import (
    CALLER_GROUPS,
    CALLERS,
    CATEGORIES,
    CATEGORY_GROUPS,
    CEILING_EXCEPTIONS,
    CONDITIONS,
    HEAD,
    INSTRUMENTS,
    MASKS,
    MEASURES,
    NATIONAL,
    NATIONAL_INSTRUMENTS,
    NATIONAL_RED_LINES,
    PERIODS,
    PURPOSES,
    QUOTAS,
    RED_LINES,
    RULES,
    CallerGroup,
    Head,
    Table,
    WrittenMeasure,
    WrittenPurpose,
    WrittenRedLine,
    WrittenRule,
)
from policies.evidence import Evidence
from policies.vocabulary import Mask, Severity, SubjectKind


def load(directory: Traversable | Path, national: Traversable | Path | None = None) -> Bundle:
    """The bundle of a directory with the national layer: their `*.toml` files, in UTF-8.

    `national` absent: the national layer that ships with the product. Raises BundleError, and OSError if a
    directory is unreadable.
    """
    return parse(read_texts(directory), None if national is None else read_texts(national))


def parse(files: Mapping[str, str], national: Mapping[str, str] | None = None) -> Bundle:
    """The bundle of these texts by file name, with those of the national layer (absent: the shipped one).

    Raises BundleError: with every file that is not TOML and every entry that is malformed, or else with all
    that does not fit together. Files of the national layer are named `national/...`.
    """
    layer = _shipped_national() if national is None else national
    both = {**files, **{f"{NATIONAL}{name}": text for name, text in layer.items()}}
    documents, problems = read_documents(both)
    entries = read_entries(both, documents, problems)
    return _Assembly(entries).bundle(_meaning_hash(documents))


@cache
def _shipped_national() -> Mapping[str, str]:
    return read_texts(resources("policies") / "bundles" / "national")


def _meaning_hash(documents: Mapping[str, Any]) -> str:
    """SHA-256 of the contents with sorted keys: comments, spacing and line ends do not count."""
    canonical = json.dumps(
        documents, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=date.isoformat
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


_ARTICLE = re.compile(r"(?:[0-9]+(?:-[0-9]+)?(?:\([0-9]+\))?)?")


class _Assembly:
    """The entries of all files put together; what does not fit is collected in `problems`."""

    def __init__(self, entries: Entries) -> None:
        self.problems: list[Problem] = []
        self._entries = entries
        self._used_groups: set[str] = set()
        self._national = self._unique((NATIONAL_INSTRUMENTS,), "code", self._national_instrument)
        self._instruments = self._unique((NATIONAL_INSTRUMENTS, INSTRUMENTS), "code", self._instrument)
        self._callers = self._unique((CALLERS,), "code", self._as_written)
        self._caller_groups = self._unique((CALLER_GROUPS,), "code", self._members_of_caller_group)
        self._categories = self._unique((CATEGORIES,), "code", self._as_written)
        self._category_groups = self._groups_of_categories()
        self._conditions = self._unique((CONDITIONS,), "code", self._condition)
        self._purposes = self._unique((PURPOSES,), "code", self._purpose)

    def bundle(self, meaning_hash: str) -> Bundle:
        """The bundle; raises BundleError when anything does not fit."""
        head = self._head()
        bundle = Bundle(
            name=head.name,
            title=head.title,
            chinese=head.chinese,
            province=head.province,
            version=head.version,
            note=head.note,
            declared_is_enough=frozenset(head.declared_is_enough),
            instruments=self._instruments,
            callers=self._callers,
            purposes=self._purposes,
            categories=self._categories,
            conditions=self._conditions,
            rules=self._rules(),
            measures=self._unique((MEASURES,), "code", self._measure),
            periods=self._periods(),
            masks=self._masks(),
            red_lines=self._red_lines(),
            quotas=self._quotas(),
            ceiling_exceptions=self._ceiling_exceptions(),
            hash=meaning_hash,
        )
        bundle = msgspec.structs.replace(bundle, unused_groups=self._unused_groups())
        if self.problems:
            raise BundleError(self.problems)
        return bundle

    def _complain(self, place: Place, key: str, reason: str, remedy: str) -> None:
        self.problems.append(place.problem(key, reason, remedy))

    def _entries_of(self, *tables: Table) -> list[tuple[Place, Any]]:
        return [entry for table in tables for entry in self._entries.get(table, [])]

    def _unique(
        self, tables: tuple[Table, ...], key: str, build: Callable[[Place, Any], Any]
    ) -> dict[str, Any]:
        """The entries of the tables by their key, each built; complains of a key given twice."""
        built: dict[str, Any] = {}
        first: dict[str, Place] = {}
        for place, entry in self._entries_of(*tables):
            code = getattr(entry, key)
            if code not in built:
                first[code], built[code] = place, build(place, entry)
            elif first[code].file != place.file:
                reason = f"{place.table} {code} is national: {first[code].file}, line {first[code].line(key)}"
                remedy = (
                    "remove it here, or give the provincial one another code; nothing replaces a national one"
                )
                self._complain(place, key, reason, remedy)
            else:
                reason = f"{place.table} {code} is already defined in line {first[code].line(key)}"
                self._complain(place, key, reason, "give it another code or remove one of the two")
        return built

    def _known(self, place: Place, key: str, words: Iterable[str], known: Collection[str]) -> list[str]:
        """The words that are known; complains of the others and of repetition."""
        found: list[str] = []
        for word in words:
            if word in found:
                self._complain(place, key, f"{key} names {word!a} twice", "name it once")
            elif word in known:
                found.append(word)
            else:
                near = difflib.get_close_matches(word, known, n=3)
                hint = f" (near: {', '.join(near)})" if near else ""
                self._complain(
                    place, key, f"{key}: {word!a} is not defined", f"define it or correct its spelling{hint}"
                )
        return found

    def _expanded(
        self,
        place: Place,
        key: str,
        words: Iterable[str],
        known: Collection[str],
        groups: Mapping[str, Iterable[str]],
    ) -> tuple[str, ...]:
        """The words, groups replaced by their members, each once."""
        named = self._known(place, key, words, {*known, *groups})
        self._used_groups.update(word for word in named if word in self._caller_groups)
        return tuple(dict.fromkeys(code for word in named for code in groups.get(word, (word,))))

    def _basis(self, place: Place, texts: Iterable[str]) -> tuple[Basis, ...]:
        """The bases: the longest code of an instrument that begins the text, then the article.

        What is national cites national instruments alone: no provincial code can be read into its bases.
        """
        citable = self._national if place.file.startswith(NATIONAL) else self._instruments
        bases = []
        for text in texts:
            code = max((code for code in citable if text.startswith(code)), key=len, default="")
            article = text.removeprefix(code)
            if code and _ARTICLE.fullmatch(article):
                bases.append(Basis(code, article, self._instruments[code].title))
            else:
                remedy = "write the code of an instrument and the article, as in SH28(1), SZ63-64 or SX"
                self._complain(place, "basis", f"basis: {text!a} cites no instrument it may cite", remedy)
        return tuple(bases)

    def _check_order(self, place: Place, valid_from: date | None, valid_to: date | None) -> None:
        if valid_from and valid_to and valid_to < valid_from:
            reason = f"valid_to {valid_to} is before valid_from {valid_from}"
            self._complain(place, "valid_to", reason, "correct one of the two; valid_to is the last day")

    @staticmethod
    def _as_written(_place: Place, entry: Any) -> Any:
        return entry

    def _head(self) -> Head:
        place, head = self._entries[HEAD][0]
        for code in self._known(place, "declared_is_enough", head.declared_is_enough, self._conditions):
            if self._conditions[code].proof is not Proof.REGISTER:
                reason = f"declared_is_enough: {code} is not proved by a register"
                self._complain(
                    place, "declared_is_enough", reason, "remove it: its proof is always asked for"
                )
        return cast("Head", head)

    def _instrument(self, place: Place, instrument: Instrument) -> Instrument:
        self._check_order(place, instrument.valid_from, instrument.valid_to)
        return instrument

    def _national_instrument(self, place: Place, instrument: Instrument) -> Instrument:
        if instrument.layer is not Layer.NATIONAL:
            reason = f"layer: {instrument.code} is {instrument.layer}, but stands in the national layer"
            self._complain(place, "layer", reason, "move it to a provincial bundle, or correct the layer")
        return instrument

    def _members_of_caller_group(self, place: Place, group: CallerGroup) -> list[str]:
        return self._known(place, "members", group.members, self._callers)

    def _groups_of_categories(self) -> dict[tuple[str, SubjectKind], list[str]]:
        """The categories of each group and subject kind that fit the kind."""
        groups: dict[tuple[str, SubjectKind], list[str]] = {}
        for place, group in self._entries[CATEGORY_GROUPS]:
            members = self._known(place, "members", group.members, self._categories)
            for kind in group.kinds:
                if (group.code, kind) in groups:
                    reason = f"group {group.code} is already defined for {kind}"
                    self._complain(place, "kinds", reason, "name each kind in one group of that code")
                groups[group.code, kind] = [c for c in members if self._categories[c].fits(kind)]
        return groups

    def _condition(self, place: Place, condition: Condition) -> Condition:
        for alternative in condition.evidence:
            self._known(place, "evidence", alternative, Evidence.__struct_fields__)
        return condition

    def _purpose(self, place: Place, written: WrittenPurpose) -> Purpose:
        return Purpose(
            code=written.code,
            english=written.english,
            chinese=written.chinese,
            case=written.case,
            evidence=written.evidence,
            phase=written.phase,
            basis=self._basis(place, written.basis),
            obliges={kind: self._floor(place, kind, codes) for kind, codes in written.obliges.items()},
        )

    def _floor(self, place: Place, kind: SubjectKind, codes: Iterable[str]) -> tuple[str, ...]:
        known = self._known(place, "obliges", codes, self._categories)
        for code in known:
            if not self._categories[code].fits(kind):
                reason = f"obliges: {kind} has no category {code}"
                self._complain(place, "obliges", reason, "remove it, or correct the kind")
        return tuple(known)

    def _measure(self, place: Place, written: WrittenMeasure) -> Measure:
        requires = self._known(place, "requires", written.requires, self._categories)
        incentive = written.kind is MeasureKind.INCENTIVE
        fitting = CategoryClass.EXCELLENT if incentive else CategoryClass.UNTRUSTWORTHY
        for code in requires:
            if self._categories[code].category_class is not fitting:
                reason = f"requires: {code} is no category of class {fitting}, on which a measure of kind {written.kind} rests"
                self._complain(place, "requires", reason, "name categories of that class")
        return Measure(
            code=written.code,
            english=written.english,
            chinese=written.chinese,
            kind=written.kind,
            requires=tuple(requires),
            basis=self._basis(place, written.basis),
        )

    def _red_lines(self) -> dict[str, RedLine]:
        """The red lines, national ones last."""
        lines = self._unique((NATIONAL_RED_LINES, RED_LINES), "id", self._red_line)
        national = {entry.id for _, entry in self._entries_of(NATIONAL_RED_LINES)}
        return {code: lines[code] for code in sorted(lines, key=lambda code: code in national)}

    def _red_line(self, place: Place, written: WrittenRedLine) -> RedLine:
        self._check_order(place, written.valid_from, written.valid_to)
        callers, categories, purposes = self._callers, self._categories, self._purposes
        groups = {"*": callers, **self._caller_groups}
        return RedLine(
            id=written.id,
            sentence=written.sentence,
            kinds=written.kinds,
            categories=self._drawn_over(
                place, "categories", written.categories, categories, {"*": categories}
            ),
            callers=self._drawn_over(place, "callers", written.callers, callers, groups),
            purposes=self._drawn_over(place, "purposes", written.purposes, purposes, {"*": purposes}),
            basis=self._basis(place, written.basis),
            valid_from=written.valid_from,
            valid_to=written.valid_to,
        )

    def _drawn_over(
        self,
        place: Place,
        key: str,
        words: Iterable[str],
        known: Collection[str],
        groups: Mapping[str, Iterable[str]],
    ) -> tuple[str, ...]:
        """The words, groups replaced; a national line reaches what the province has, and the rest is switched off."""
        if place.file.startswith(NATIONAL):
            words = [word for word in words if word in known or word == "*"]
        return self._expanded(place, key, words, known, groups)

    def _quotas(self) -> dict[tuple[str, str], int]:
        quotas: dict[tuple[str, str], int] = {}
        for place, quota in self._entries_of(QUOTAS):
            callers = self._expanded(place, "callers", quota.callers, self._callers, self._caller_groups)
            purposes = self._known(place, "purposes", quota.purposes, self._purposes)
            for pair in product(callers, purposes):
                if pair in quotas:
                    reason = f"{pair[0]} has a quota for {pair[1]} already"
                    self._complain(place, "callers", reason, "name each caller type once for a purpose")
                quotas[pair] = quota.subjects_per_day
        return quotas

    def _ceiling_exceptions(self) -> tuple[CeilingException, ...]:
        rules = {entry.id for _, entry in self._entries[RULES]}
        for place, exception in self._entries_of(CEILING_EXCEPTIONS):
            self._known(place, "rule", [exception.rule], rules)
            self._known(place, "categories", exception.categories, self._categories)
            self._known(place, "conditions", exception.conditions, self._conditions)
        return tuple(exception for _, exception in self._entries_of(CEILING_EXCEPTIONS))

    def _unused_groups(self) -> tuple[str, ...]:
        groups = dict.fromkeys([*self._caller_groups, *(code for code, _ in self._category_groups)])
        return tuple(code for code in groups if code not in self._used_groups)

    def _rules(self) -> dict[str, Rule]:
        rules = self._unique((RULES,), "id", self._rule)
        self._check_cells(rules)
        return rules

    def _rule(self, place: Place, written: WrittenRule) -> Rule:
        self._check_order(place, written.valid_from, written.valid_to)
        self._known(place, "kinds", written.kinds, list(SubjectKind))
        for code in self._known(place, "purpose", [written.purpose], self._purposes):
            if written.case != self._purposes[code].case:
                reason = f"case {written.case!a} is not that of {code}, {self._purposes[code].case}"
                self._complain(place, "case", reason, "correct the case or the purpose")
        named = self._known(place, "conditions", written.conditions, self._conditions)
        return Rule(
            id=written.id,
            case=written.case,
            purpose=written.purpose,
            callers=self._expanded(place, "callers", written.callers, self._callers, self._caller_groups),
            categories=self._categories_of(place, written),
            level=written.level,
            conditions=self._of_kind(ConditionKind.CONDITION, named),
            obligations=self._of_kind(ConditionKind.OBLIGATION, named),
            basis=self._basis(place, written.basis),
            valid_from=written.valid_from,
            valid_to=written.valid_to,
            status=written.status,
        )

    def _of_kind(self, kind: ConditionKind, codes: Iterable[str]) -> tuple[str, ...]:
        return tuple(code for code in codes if kind in self._conditions[code].kinds)

    def _categories_of(self, place: Place, written: WrittenRule) -> dict[SubjectKind, tuple[str, ...]]:
        """For each kind of the rule the categories that fit it; each must fit one, each kind must have one."""
        groups = {code for code, _ in self._category_groups}
        found: dict[SubjectKind, dict[str, None]] = {kind: {} for kind in written.kinds}
        known_problems = len(self.problems)
        for word in self._known(place, "categories", written.categories, {*self._categories, *groups}):
            fitting = [kind for kind in found if self._fits(word, kind)]
            if not fitting or (word in groups and len(fitting) < len(found)):
                reason = f"categories: {word} does not fit the subject kinds {', '.join(found)}"
                self._complain(place, "categories", reason, "remove it, or correct the kinds")
            for kind in fitting:
                found[kind].update(dict.fromkeys(self._category_groups.get((word, kind), (word,))))
            self._used_groups.update({word} & groups)
        bare = [kind for kind, categories in found.items() if not categories]
        if bare and len(self.problems) == known_problems:
            reason = f"kinds: no category of the rule fits {', '.join(bare)}"
            self._complain(place, "kinds", reason, "remove the kind, or name a category that it has")
        return {kind: tuple(categories) for kind, categories in found.items()}

    def _fits(self, word: str, kind: SubjectKind) -> bool:
        if word in self._categories:
            return bool(self._categories[word].fits(kind))
        return (word, kind) in self._category_groups

    def _check_cells(self, rules: Mapping[str, Rule]) -> None:
        """Two rules, drafts included, may not hold for one cell on one day."""
        places = {entry.id: place for place, entry in self._entries[RULES]}
        for one, other, cell in conflicts(rules.values()):
            self._complain(
                places[other.id],
                "id",
                f"rules {one.id} and {other.id} both decide {' '.join(cell)}",
                "take the cell out of one of them, or part their days of validity",
            )

    def _periods(self) -> tuple[Period, ...]:
        for place, period in self._entries[PERIODS]:
            self._check_order(place, period.valid_from, period.valid_to)
            least, most = period.publication_minimum_months, period.publication_maximum_months
            if least is not None and most is not None and most < least:
                reason = f"publication_maximum_months {most} is less than the minimum {least}"
                self._complain(place, "publication_maximum_months", reason, "correct one of the two")
        for severity in (*Severity, None):
            self._check_regimes(severity)
        return tuple(period for _, period in self._entries[PERIODS])

    def _check_regimes(self, severity: Severity | None) -> None:
        """The regimes of a degree must follow each other without gap or overlap, from ever to open end."""
        of_degree = [entry for entry in self._entries[PERIODS] if entry[1].severity is severity]
        of_degree.sort(key=lambda entry: entry[1].valid_from or date.min)
        degree = severity or "lists"
        remedy = "give every day one regime: the first without valid_from, the last without valid_to"
        last = self._entries[PERIODS][-1][0]
        next_start: int | None = date.min.toordinal()
        for place, period in of_degree:
            last = place
            if (period.valid_from or date.min).toordinal() != next_start:
                reason = f"the regimes of {degree} leave a gap or overlap before this one"
                self._complain(place, "valid_from", reason, remedy)
            next_start = period.valid_to.toordinal() + 1 if period.valid_to else None
        if next_start is not None:
            self._complain(last, "valid_to", f"no regime of {degree} holds in the end", remedy)

    def _masks(self) -> dict[tuple[Mask, SubjectKind], MaskRule]:
        masks: dict[tuple[Mask, SubjectKind], MaskRule] = {}
        for place, mask in self._entries[MASKS]:
            missing = [audience for audience in Audience if audience not in mask.treatments]
            if missing:
                reason = f"treatments: none for {', '.join(missing)}"
                self._complain(place, "treatments", reason, "give one for each audience")
            for kind in mask.kinds:
                if (mask.code, kind) in masks:
                    reason = f"mask {mask.code} is already defined for {kind}"
                    self._complain(place, "kinds", reason, "name each kind in one entry of that mask")
                masks[mask.code, kind] = mask
        return masks
