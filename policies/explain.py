"""Why a caller gets a category for a purpose, or why not, and what would make it lawful.

The answer is that of the decision itself (`policies.decision.foresee`), put into words for a lawyer or a
developer: the rule, its conditions and what proves each, its obligations and its legal basis.
"""

import difflib
from collections.abc import Collection, Iterable, Iterator

import msgspec

from policies.bundle import (
    Basis,
    Bundle,
    CallerType,
    Category,
    Condition,
    Instrument,
    Proof,
    Purpose,
    Rule,
    Treatment,
)
from policies.caller import Caller
from policies.catalogue import SECTION_OF, FieldOf, fields_of
from policies.decision import CONSENT_OF, foresee
from policies.evidence import EVIDENCE_FIELDS, EvidenceField, camel_case
from policies.outcomes import Denied, Outcome
from policies.proofs import CHECKS
from policies.table import Cell, Table
from policies.vocabulary import Level, SubjectKind


class Term(msgspec.Struct, frozen=True):
    """A word of the vocabulary in both languages."""

    chinese: str
    english: str

    def __str__(self) -> str:
        return f"{self.english} {self.chinese}"


KINDS: dict[SubjectKind, Term] = {
    SubjectKind.ORG: Term("法人、非法人组织", "organisations"),
    SubjectKind.IND: Term("个体工商户", "individual businesses"),
    SubjectKind.NP: Term("自然人", "natural persons"),
    SubjectKind.GOV: Term("政府机关", "government bodies"),
    SubjectKind.NONE: Term("无主体", "no subject"),
}

LEVELS: dict[Level, Term] = {
    Level.SCHEMA_ONLY: Term("仅目录", "schema and catalogue only"),
    Level.MATCH: Term("身份核验", "whether the identity agrees"),
    Level.HIT: Term("是否命中", "whether there is an entry, and of what"),
    Level.AGGREGATE: Term("汇总统计", "statistics, no single record"),
    Level.PUBLIC: Term("公示内容", "the published fields of published records"),
    Level.SUMMARY: Term("摘要", "kind, date, authority and state"),
    Level.PASS_THROUGH: Term("来源直答", "the source decides what is shown, nothing is kept"),
    Level.FULL: Term("目录全部字段", "all fields of the catalogue"),
}

TREATMENTS: dict[Treatment, Term] = {
    Treatment.KEEP: Term("原样", "as it is"),
    Treatment.SURNAME: Term("仅显示姓氏", "family name and an asterisk"),
    Treatment.SURNAME_UNLESS_PUBLISHED: Term("未公示的仅显示姓氏", "family name alone unless published"),
    Treatment.DROP_UNLESS_PUBLISHED: Term("未公示的不显示", "not shown unless published"),
    Treatment.COUNTY: Term("仅显示至县级", "down to the county"),
    Treatment.DROP: Term("不显示", "not shown"),
}

_PROOFS: dict[Proof, Term] = {
    Proof.REGISTER: Term("登记核对", "register"),
    Proof.AUTHORIZATION: Term("信用主体签署的授权", "the subject's signed authorization"),
    Proof.TOKEN: Term("访问令牌", "the caller's token: the subject itself, or its agent with a mandate"),
    Proof.IDENTIFIER: Term("主体标识", "the subject's identifier"),
    Proof.CATALOGUE: Term("政策清单", "the lists of the policy bundle"),
    Proof.NONE: Term("所提交的依据", "the evidence as declared"),
}

_FIELD_OF = {field.name: field for field in EVIDENCE_FIELDS}


class UnknownCodeError(ValueError):
    """A code that the bundle does not have: names the option, the code and the nearest ones it has."""

    def __init__(self, option: str, code: str, known: Collection[str]) -> None:
        near = difflib.get_close_matches(code.strip().upper(), known, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(sorted(known))}"
        super().__init__(f"{option}: {code!a} is not in the bundle; {hint}")


def require_known(option: str, code: str, known: Collection[str]) -> None:
    """Refuse a code that is not known: `UnknownCodeError` that names the option."""
    if code not in known:
        raise UnknownCodeError(option, code, known)


class Need(msgspec.Struct, frozen=True):
    """A condition of the rule: the evidence alternatives, and whether anything can prove it at present.

    `declared`: the evidence as declared counts, no register is asked.
    """

    condition: Condition
    alternatives: tuple[tuple[EvidenceField, ...], ...]
    declared: bool
    provable: bool

    @property
    def evidence(self) -> str:
        """The alternatives in words; empty when the condition asks for no evidence."""
        return "; or ".join(
            " and ".join(f"{camel_case(field.name)} {field.given.chinese}" for field in fields)
            for fields in self.alternatives
        )


class Citation(msgspec.Struct, frozen=True):
    """A legal basis with the instrument it stands in."""

    basis: Basis
    instrument: Instrument

    def __str__(self) -> str:
        return f"{self.basis.text} {self.instrument.title} {self.instrument.chinese}"


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What table and rules say of one cell: either `cell` with its needs, or `denied`.

    `fields` are shown at the level; `masked` says how some of them are. `other_purposes` give the category to
    this caller, `other_callers` have it for this purpose; `dormant` are rules that would give it, but are
    drafts or not in force.
    """

    caller: CallerType
    purpose: Purpose
    kind: SubjectKind
    category: Category
    cell: Cell | None
    denied: Denied | None
    fields: tuple[FieldOf, ...]
    masked: dict[str, Treatment]
    needs: tuple[Need, ...]
    obligations: tuple[Condition, ...]
    basis: tuple[Citation, ...]
    other_purposes: tuple[Purpose, ...]
    other_callers: tuple[CallerType, ...]
    dormant: tuple[Rule, ...]

    @property
    def lawful(self) -> bool:
        """Whether an inquiry that brings all that the needs ask for is given the section."""
        return self.cell is not None and all(need.provable for need in self.needs)

    @property
    def in_schema(self) -> bool:
        """Whether the schema has a section in which this category can be asked for."""
        return (self.category.code, self.kind) in SECTION_OF


def explain(
    table: Table,
    *,
    caller_type: str,
    purpose: str,
    kind: SubjectKind,
    category: str,
    division: str | None = None,
) -> Explanation:
    """Explain one cell of the table to a unit of that type and division (six digits; None: of this province).

    Raises `UnknownCodeError` for a code that the bundle does not have.
    """
    bundle = table.bundle
    require_known("caller", caller_type, bundle.callers)
    require_known("purpose", purpose, bundle.purposes)
    require_known("category", category, bundle.categories)
    unit = msgspec.structs.replace(_any_unit(bundle, caller_type), division=division)
    answer = foresee(table, unit, purpose, kind, category)
    cell = answer if isinstance(answer, Cell) else None
    fields = tuple(_shown(cell)) if cell else ()
    return Explanation(
        caller=bundle.callers[caller_type],
        purpose=bundle.purposes[purpose],
        kind=kind,
        category=bundle.categories[category],
        cell=cell,
        denied=answer if isinstance(answer, Denied) else None,
        fields=fields,
        masked=_masked(bundle, fields, caller_type, kind),
        needs=tuple(need_of(bundle, code) for code in cell.rule.conditions) if cell else (),
        obligations=tuple(bundle.conditions[code] for code in cell.rule.obligations) if cell else (),
        basis=cite(bundle, _basis_of(answer)),
        other_purposes=tuple(_other_purposes(table, unit, purpose, kind, category)),
        other_callers=tuple(_other_callers(table, caller_type, purpose, kind, category)),
        dormant=tuple(_dormant(table, caller_type, purpose, kind, category)),
    )


def need_of(bundle: Bundle, code: str) -> Need:
    """A condition of the bundle as what a caller has to bring."""
    condition = bundle.conditions[code]
    return Need(
        condition=condition,
        alternatives=tuple(tuple(_FIELD_OF[name] for name in fields) for fields in condition.evidence),
        declared=condition.proof is Proof.REGISTER and code in bundle.declared_is_enough,
        provable=_provable(bundle, condition),
    )


def cite(bundle: Bundle, basis: Iterable[Basis]) -> tuple[Citation, ...]:
    """Bases with their instruments."""
    return tuple(Citation(each, bundle.instruments[each.instrument]) for each in basis)


def text(explanation: Explanation) -> str:
    """The explanation for a reader, in English with the Chinese terms."""
    return "\n".join(_lines(explanation))


def _any_unit(bundle: Bundle, caller_type: str) -> Caller:
    """A unit of that type whose token narrows nothing, so that only the rules speak."""
    return Caller(
        unit="",
        unit_name="",
        type=caller_type,
        level=None,
        division=None,
        purposes=frozenset(bundle.purposes),
        categories=None,
        officer=None,
        identity=None,
        synthetic_only=False,
        client="",
        token_id="",
        expires=0,
    )


def _basis_of(answer: Cell | Denied) -> tuple[Basis, ...]:
    return answer.rule.basis if isinstance(answer, Cell) else answer.basis


def _shown(cell: Cell) -> Iterator[FieldOf]:
    section = SECTION_OF.get((cell.category, cell.kind))
    for bit, field in enumerate(fields_of(section.record) if section else ()):
        if cell.fields >> bit & 1:
            yield field


def _masked(
    bundle: Bundle, fields: Iterable[FieldOf], caller_type: str, kind: SubjectKind
) -> dict[str, Treatment]:
    audience = bundle.callers[caller_type].audience
    masked = {}
    for field in fields:
        rule = bundle.masks.get((field.shown.mask, kind)) if field.shown.mask else None
        if rule is not None and rule.treatments[audience] is not Treatment.KEEP:
            masked[field.name] = rule.treatments[audience]
    return masked


def _provable(bundle: Bundle, condition: Condition) -> bool:
    """Whether the decision can find the condition met, given everything it asks for."""
    named = {field for fields in condition.evidence for field in fields}
    match condition.proof:
        case Proof.TOKEN | Proof.IDENTIFIER:
            return True
        case Proof.AUTHORIZATION:
            return any(CONSENT_OF.keys() >= set(fields) for fields in condition.evidence)
        case Proof.CATALOGUE:
            return bool({"instrument", "measure_id"} & named)
        case Proof.REGISTER:
            return bool(named) and condition.code in CHECKS.keys() | bundle.declared_is_enough
        case Proof.NONE:
            return bool(named)


def _other_purposes(
    table: Table, caller: Caller, purpose: str, kind: SubjectKind, category: str
) -> Iterator[Purpose]:
    for other in table.bundle.purposes.values():
        if other.code != purpose and isinstance(foresee(table, caller, other.code, kind, category), Cell):
            yield other


def _other_callers(
    table: Table, caller_type: str, purpose: str, kind: SubjectKind, category: str
) -> Iterator[CallerType]:
    for other in table.bundle.callers.values():
        caller = _any_unit(table.bundle, other.code)
        if other.code != caller_type and isinstance(foresee(table, caller, purpose, kind, category), Cell):
            yield other


def _dormant(
    table: Table, caller_type: str, purpose: str, kind: SubjectKind, category: str
) -> Iterator[Rule]:
    """Rules written for this cell that are drafts or not in force on the day of the table."""
    in_force = {cell.rule.id for cell in table.cells if isinstance(cell, Cell)}
    for rule in table.bundle.rules.values():
        here = rule.purpose == purpose and caller_type in rule.callers
        if here and category in rule.categories.get(kind, ()) and rule.id not in in_force:
            yield rule


def _lines(this: Explanation) -> Iterator[str]:
    caller, purpose, category = this.caller, this.purpose, this.category
    yield f"Who 查询主体:      {caller.code} {caller.english} {caller.chinese}"
    yield f"For 查询目的:      {purpose.code} {purpose.english} {purpose.chinese}"
    yield f"About 信用主体:    {this.kind} {KINDS[this.kind]}"
    yield f"Category 信息类别: {category.code} {category.english} {category.chinese}"
    yield ""
    if this.cell is not None:
        yield from _why_yes(this, this.cell)
    elif this.denied is not None:
        yield from _why_not(this, this.denied)
    yield from _list("Legal basis 依据", map(str, this.basis))
    if not this.in_schema:
        yield ""
        yield "The schema has no section for this category and kind of subject: no inquiry can ask for it."
    if not category.fits(this.kind):
        yield f"The catalogue has no {category.code} of {KINDS[this.kind]}."


def _why_yes(this: Explanation, cell: Cell) -> Iterator[str]:
    rule = cell.rule
    if this.lawful:
        yield f"YES 允许, by rule {rule.id}, up to the level {cell.level} ({LEVELS[cell.level]})."
    else:
        yield f"NOT AT PRESENT 目前不允许: rule {rule.id} gives it, but a condition of it cannot be proved."
    yield _sentence(this, cell)
    shown = (
        f"{camel_case(field.name)} {field.shown.chinese}{_mask_note(this, field)}" for field in this.fields
    )
    yield from _list("Fields shown 可见字段", shown)
    yield from _list(
        "Conditions 条件, all of them", (line for need in this.needs for line in _need_lines(need))
    )
    bound = (f"{obligation.code}: {obligation.english}" for obligation in this.obligations)
    yield from _list("The answer is bound by 义务", bound)


def _sentence(this: Explanation, cell: Cell) -> str:
    conditions = " and ".join(f"{need.condition.code} holds" for need in this.needs)
    return (
        f"{this.caller.english} may, for {this.purpose.code}, learn {cell.category} of {KINDS[this.kind].english}"
        f" up to {cell.level}{', when ' + conditions if conditions else ''}."
    )


def _mask_note(this: Explanation, field: FieldOf) -> str:
    treatment = this.masked.get(field.name)
    return f" (masked 脱敏: {TREATMENTS[treatment]})" if treatment else ""


def _need_lines(need: Need) -> Iterator[str]:
    condition = need.condition
    yield f"{condition.code}: {condition.english}"
    register = f": {condition.register}" if condition.proof is Proof.REGISTER and condition.register else ""
    yield f"  proved by {_PROOFS[condition.proof]}{register}"
    if need.declared:
        yield "  the evidence as declared is enough 以所申报的依据为准"
    if need.evidence:
        yield f"  evidence 依据材料: {need.evidence}"
    yield f"  {condition.remedy}"
    if not need.provable:
        yield "  nothing can prove this at present, so every inquiry is refused 目前无法核验"


def _why_not(this: Explanation, denied: Denied) -> Iterator[str]:
    by = f", by {denied.rule}" if denied.rule else ""
    yield f"NO 不允许{by}: {denied.code}. {denied.message}"
    yield from _list("What would make it lawful 合法途径", _ways(this, denied))


def _ways(this: Explanation, denied: Denied) -> Iterator[str]:
    yield denied.remedy
    if this.other_purposes:
        names = ", ".join(f"{purpose.code} {purpose.chinese}" for purpose in this.other_purposes)
        yield f"{this.caller.code} gets it for other purposes: {names}."
    if this.other_callers:
        names = ", ".join(f"{caller.code} {caller.chinese}" for caller in this.other_callers)
        yield f"For {this.purpose.code} others get it: {names}."
    for rule in this.dormant if denied.code is not Outcome.DENY_PROHIBITED else ():
        until = f" to {rule.valid_to}" if rule.valid_to else ""
        yield f"Rule {rule.id} is written for it ({rule.status}, valid from {rule.valid_from}{until}), but does not give it on this day."


def _list(title: str, lines: Iterable[str]) -> Iterator[str]:
    items = [f"  {line}" for line in lines]
    if items:
        yield ""
        yield f"{title}:"
        yield from items
