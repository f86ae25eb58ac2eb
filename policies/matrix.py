"""The matrix of what is given: purpose by category, and the list of inquiry matters that an office publishes.

The administration fixes and publishes the items that it will inquire (Shanghai 2017, Art. 17). Letters are
levels, M H A P S T F and x for the schema alone; "*" marks what needs an authorization, a named law or a
second officer; "·" is given to nobody in the list.
"""

import csv
import html
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import groupby
from unicodedata import east_asian_width

import msgspec

from policies.bundle import Bundle, Purpose, RedLine, Rule
from policies.explain import KINDS, LEVELS, Term, cite, need_of, require_known
from policies.table import Cell, Table
from policies.vocabulary import Level, SubjectKind

NOTHING = "·"

LETTERS: dict[Level, str] = {
    Level.SCHEMA_ONLY: "x",
    Level.MATCH: "M",
    Level.HIT: "H",
    Level.AGGREGATE: "A",
    Level.PUBLIC: "P",
    Level.SUMMARY: "S",
    Level.PASS_THROUGH: "T",
    Level.FULL: "F",
}

_LEAST_FIRST = tuple(LETTERS[level] + star for level in Level for star in ("", "*"))

_KEYS = frozenset({"authorization", "separate_consent", "pboc_consent_id", "instrument", "approval_id"})
"""Evidence that is an authorization, a named law or a second officer's approval."""


def letter(bundle: Bundle, cell: Cell) -> str:
    """The letter of a cell, starred when a condition of its rule asks for a key."""
    wanted = {
        field
        for code in cell.rule.conditions
        for fields in bundle.conditions[code].evidence
        for field in fields
    }
    return LETTERS[cell.level] + "*" * bool(wanted & _KEYS)


class Grid(msgspec.Struct, frozen=True):
    """Purposes by categories for the kinds of subjects that share it; `letters` is by (purpose, category)."""

    kinds: tuple[SubjectKind, ...]
    purposes: tuple[str, ...]
    categories: tuple[str, ...]
    letters: dict[tuple[str, str], str]


class Matter(msgspec.Struct, frozen=True):
    """What one rule gives for one purpose: to which caller types, and of which kinds which categories."""

    rule: Rule
    callers: tuple[str, ...]
    categories: dict[SubjectKind, tuple[str, ...]]


def callers_of(bundle: Bundle, caller_type: str | None) -> tuple[str, ...]:
    """The one caller type, or all. Raises `UnknownCodeError`."""
    if caller_type is None:
        return tuple(bundle.callers)
    require_known("caller", caller_type, bundle.callers)
    return (caller_type,)


def grids(table: Table, callers: Sequence[str]) -> tuple[Grid, ...]:
    """The grids of these caller types; kinds of subjects with the same grid share one.

    Where callers get different things their letters stand together, least first, as in `H/S*`.
    """
    found = [grid for kind in SubjectKind if (grid := _grid(table, kind, callers)).letters]
    merged: list[Grid] = []
    for grid in found:
        same = next((at for at, other in enumerate(merged) if other.letters == grid.letters), None)
        if same is None:
            merged.append(grid)
        else:
            merged[same] = msgspec.structs.replace(merged[same], kinds=merged[same].kinds + grid.kinds)
    return tuple(merged)


def matters(table: Table, callers: Sequence[str], purpose: str) -> tuple[Matter, ...]:
    """What the rules in force give these callers for a purpose, in the order of the rules."""
    who: dict[tuple[str, SubjectKind, str], list[str]] = {}
    for kind in SubjectKind:
        for category in table.categories:
            for caller in callers:
                cell = table.cell(caller, purpose, kind, category)
                if isinstance(cell, Cell):
                    who.setdefault((cell.rule.id, kind, category), []).append(caller)
    given: dict[tuple[str, tuple[str, ...]], dict[SubjectKind, list[str]]] = {}
    for (rule, kind, category), getting in who.items():
        given.setdefault((rule, tuple(getting)), {}).setdefault(kind, []).append(category)
    order = list(table.bundle.rules)
    return tuple(
        Matter(
            table.bundle.rules[rule],
            getting,
            {kind: tuple(categories) for kind, categories in of_kinds.items()},
        )
        for (rule, getting), of_kinds in sorted(given.items(), key=lambda item: order.index(item[0][0]))
    )


def _grid(table: Table, kind: SubjectKind, callers: Sequence[str]) -> Grid:
    letters = {}
    for purpose in table.purposes:
        for category in table.categories:
            cells = (table.cell(caller, purpose, kind, category) for caller in callers)
            marks = {letter(table.bundle, cell) for cell in cells if isinstance(cell, Cell)}
            if marks:
                letters[purpose, category] = "/".join(mark for mark in _LEAST_FIRST if mark in marks)
    return Grid(
        kinds=(kind,),
        purposes=tuple(purpose for purpose in table.purposes if any(p == purpose for p, _ in letters)),
        categories=tuple(code for code in table.categories if any(c == code for _, c in letters)),
        letters=letters,
    )


def as_text(table: Table, day: date, caller_type: str | None = None) -> str:
    """The grids as plain text; the columns are numbered, the numbers stand below."""
    bundle = table.bundle
    callers = callers_of(bundle, caller_type)
    lines = [f"{_title(bundle, caller_type)}, {day}", *_legend_lines()]
    for grid in grids(table, callers):
        lines += ["", "; ".join(f"{kind} {KINDS[kind]}" for kind in grid.kinds), *_grid_lines(bundle, grid)]
    return "\n".join(lines)


def _title(bundle: Bundle, caller_type: str | None) -> str:
    who = bundle.callers[caller_type] if caller_type else None
    return f"{bundle.title} {bundle.chinese}: " + (
        f"{who.code} {who.english} {who.chinese}" if who else "every caller 全部查询主体"
    )


def _legend() -> Iterator[tuple[str, Term]]:
    for level in Level:
        yield LETTERS[level], LEVELS[level]
    yield "*", Term("须有授权、法定依据或者复核", "needs an authorization, a named law or a second officer")
    yield NOTHING, Term("不提供", "not given")


def _legend_lines() -> list[str]:
    return [f"  {mark}  {meaning}" for mark, meaning in _legend()]


def _grid_lines(bundle: Bundle, grid: Grid) -> Iterator[str]:
    first = max(len(purpose) for purpose in grid.purposes)
    width = max(3, *(len(mark) + 1 for mark in grid.letters.values()))
    numbers = "".join(f"{number:>{width}}" for number in range(1, len(grid.categories) + 1))
    yield " " * first + numbers
    for purpose in grid.purposes:
        marks = (grid.letters.get((purpose, category), NOTHING) for category in grid.categories)
        yield f"{purpose:<{first}}" + "".join(f"{mark:>{width}}" for mark in marks)
    for number, code in enumerate(grid.categories, start=1):
        category = bundle.categories[code]
        yield f"{number:>4} {_padded(code, 16)} {_padded(category.chinese, 30)} {category.english}"


def _padded(text: str, width: int) -> str:
    """The text filled up to a width in columns; Chinese characters take two."""
    return text + " " * (width - sum(2 if east_asian_width(c) in "WF" else 1 for c in text))


_COLUMNS = (
    "caller",
    "caller_chinese",
    "purpose",
    "purpose_chinese",
    "subject_kind",
    "category",
    "category_chinese",
    "letter",
    "level",
    "rule",
    "conditions",
    "obligations",
    "basis",
)


def as_csv(table: Table, caller_type: str | None = None) -> str:
    """A line (RFC 4180) for everything that is given: caller type, purpose, kind of subject, category."""
    bundle = table.bundle
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for caller in callers_of(bundle, caller_type):
        for purpose in table.purposes:
            for kind in SubjectKind:
                for category in table.categories:
                    cell = table.cell(caller, purpose, kind, category)
                    if isinstance(cell, Cell):
                        writer.writerow(_csv_row(bundle, caller, purpose, cell))
    return out.getvalue()


def _csv_row(bundle: Bundle, caller: str, purpose: str, cell: Cell) -> tuple[str, ...]:
    rule = cell.rule
    return (
        caller,
        bundle.callers[caller].chinese,
        purpose,
        bundle.purposes[purpose].chinese,
        cell.kind.value,
        cell.category,
        bundle.categories[cell.category].chinese,
        letter(bundle, cell),
        cell.level.value,
        rule.id,
        " ".join(rule.conditions),
        " ".join(rule.obligations),
        "; ".join(basis.text for basis in rule.basis),
    )


_STYLE = """
body { font-family: "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; line-height: 1.5; color: #1a1a1a; background: #fff; }
h1, h2, h3 { line-height: 1.3; }
table { border-collapse: collapse; width: 100%; margin: 0 0 1.5rem; }
caption { text-align: left; font-weight: bold; padding: 0.5rem 0; }
th, td { border: 1px solid #767676; padding: 0.35rem 0.5rem; text-align: left; vertical-align: top; }
thead th { background: #eef1f4; }
ul { margin: 0; padding-left: 1.1rem; }
[lang="en"] { color: #454545; font-size: 0.9em; }
.scroll { overflow-x: auto; }
.grid th, .grid td { text-align: center; padding: 0.2rem 0.3rem; font-size: 0.85em; }
.grid tbody th { text-align: left; white-space: nowrap; }
.grid thead th { writing-mode: vertical-rl; }
@media print { body { margin: 0; max-width: none; font-size: 9pt; } tr, h2, caption { break-inside: avoid; break-after: auto; } h2, caption { break-after: avoid; } thead { display: table-header-group; } }
"""


def as_html(table: Table, day: date, caller_type: str | None = None) -> str:
    """A page by itself, to read, print and publish: the list of inquiry matters, purpose by purpose."""
    bundle = table.bundle
    callers = callers_of(bundle, caller_type)
    who = bundle.callers[caller_type] if caller_type else None
    chinese = f"{bundle.chinese}{who.chinese if who else ''}公共信用信息查询事项清单"
    english = f"List of inquiry matters: {bundle.title}, {who.english if who else 'every caller'}"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="zh-CN">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_escaped(chinese)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        f"<h1>{_both(Term(chinese, english))}</h1>",
        f"<p>{_both(Term(f'适用日期：{day}。版本：{bundle.version}。', f'As of {day}. Version {bundle.version}. {bundle.note}'))}</p>",
    ]
    for purpose in bundle.purposes.values():
        found = matters(table, callers, purpose.code)
        if found:
            parts += _html_purpose(bundle, purpose, found, everybody=who is None)
    parts += _html_forbidden(bundle, callers)
    parts += _html_grids(bundle, grids(table, callers))
    return "\n".join([*parts, "</main>", "</body>", "</html>", ""])


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)


def _both(term: Term) -> str:
    return f'{_escaped(term.chinese)} <span lang="en">{_escaped(term.english)}</span>'


def _head(*columns: Term) -> str:
    return (
        "<thead><tr>"
        + "".join(f'<th scope="col">{_both(column)}</th>' for column in columns)
        + "</tr></thead>"
    )


def _bullets(items: Iterable[str]) -> str:
    """A list of ready HTML items; a dash when there is none."""
    listed = "".join(f"<li>{item}</li>" for item in items)
    return f"<ul>{listed}</ul>" if listed else "—"


def _html_purpose(
    bundle: Bundle, purpose: Purpose, found: Iterable[Matter], *, everybody: bool
) -> Iterator[str]:
    heading = Term(purpose.chinese, purpose.english)
    columns = [
        Term("规则", "Rule"),
        Term("信用主体与信息类别", "Subjects and categories"),
        Term("提供程度", "Level"),
        Term("条件与依据材料", "Conditions and evidence"),
        Term("义务", "Obligations"),
        Term("法律依据", "Legal basis"),
    ]
    if everybody:
        columns.insert(1, Term("查询主体", "Who may inquire"))
    yield "<section>"
    yield f'<h2 id="{_escaped(purpose.code)}">{_both(heading)}</h2>'
    basis = "; ".join(
        f"《{each.instrument.chinese}》{each.basis.article}" for each in cite(bundle, purpose.basis)
    )
    yield f"<p>{_both(Term(f'查询依据：{basis}', f'Evidence: {purpose.evidence}.'))}</p>"
    yield "<table>"
    yield f"<caption>{_escaped(f'{purpose.chinese}（{purpose.code}）')}</caption>"
    yield _head(*columns)
    yield "<tbody>"
    for matter in found:
        yield _html_matter(bundle, matter, everybody=everybody)
    yield "</tbody>"
    yield "</table>"
    yield "</section>"


def _html_matter(bundle: Bundle, matter: Matter, *, everybody: bool) -> str:
    rule = matter.rule
    who = _escaped("、".join(bundle.callers[caller].chinese for caller in matter.callers))
    cells = [
        *([who] if everybody else []),
        _html_subjects(bundle, matter),
        f"{LETTERS[rule.level]} {_both(LEVELS[rule.level])}",
        _bullets(_html_need(bundle, code) for code in rule.conditions),
        _bullets(_both(Term(code, bundle.conditions[code].english)) for code in rule.obligations),
        _bullets(
            _both(Term(f"《{each.instrument.chinese}》{each.basis.article}", each.instrument.title))
            for each in cite(bundle, rule.basis)
        ),
    ]
    data = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{_escaped(rule.id)}</th>{data}</tr>'


def _html_subjects(bundle: Bundle, matter: Matter) -> str:
    blocks = []
    for categories, kinds in groupby(matter.categories, key=matter.categories.__getitem__):
        named = tuple(kinds)
        term = Term(
            "、".join(KINDS[kind].chinese for kind in named), ", ".join(KINDS[kind].english for kind in named)
        )
        items = (bundle.categories[code] for code in categories)
        blocks.append(_both(term) + _bullets(_both(Term(c.chinese, c.english)) for c in items))
    return "".join(f"<div>{block}</div>" for block in blocks)


def _html_need(bundle: Bundle, code: str) -> str:
    need = need_of(bundle, code)
    alternatives = " / ".join(
        " + ".join(_both(Term(field.given.chinese, field.given.english)) for field in fields)
        for fields in need.alternatives
    )
    evidence = f"：{alternatives}" if alternatives else ""
    return f"{_both(Term(code, need.condition.english))}{evidence}"


def _html_forbidden(bundle: Bundle, callers: Sequence[str]) -> Iterator[str]:
    lines: list[RedLine] = [line for line in bundle.red_lines.values() if set(line.callers) & set(callers)]
    if lines:
        yield "<section>"
        yield f"<h2>{_both(Term('禁止提供', 'Never given'))}</h2>"
        yield _bullets(_html_red_line(bundle, line) for line in lines)
        yield "</section>"


def _html_red_line(bundle: Bundle, line: RedLine) -> str:
    chinese = "、".join(
        f"{KINDS[kind].chinese}：{bundle.categories[code].chinese}"
        for kind in line.kinds
        for code in line.categories
    )
    basis = "；".join(
        f"《{each.instrument.chinese}》{each.basis.article}" for each in cite(bundle, line.basis)
    )
    return _both(Term(f"{line.id} {chinese}（{basis}）", line.sentence))


def _html_grids(bundle: Bundle, found: Iterable[Grid]) -> Iterator[str]:
    yield "<section>"
    yield f"<h2>{_both(Term('总表', 'Matrix'))}</h2>"
    yield _bullets(f"{_escaped(mark)} {_both(meaning)}" for mark, meaning in _legend())
    for grid in found:
        kinds = Term(
            "、".join(KINDS[kind].chinese for kind in grid.kinds),
            ", ".join(KINDS[kind].english for kind in grid.kinds),
        )
        yield '<div class="scroll" role="region" tabindex="0" aria-label="' + _escaped(kinds.chinese) + '">'
        yield '<table class="grid">'
        yield f"<caption>{_both(kinds)}</caption>"
        heads = "".join(
            f'<th scope="col">{_escaped(bundle.categories[c].chinese)}</th>' for c in grid.categories
        )
        yield f'<thead><tr><th scope="col">{_escaped("查询目的")}</th>{heads}</tr></thead>'
        yield "<tbody>"
        for purpose in grid.purposes:
            marks = "".join(
                f"<td>{_escaped(grid.letters.get((purpose, category), NOTHING))}</td>"
                for category in grid.categories
            )
            yield f'<tr><th scope="row">{_escaped(bundle.purposes[purpose].chinese)}</th>{marks}</tr>'
        yield "</tbody>"
        yield "</table>"
        yield "</div>"
    yield "</section>"
