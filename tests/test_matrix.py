"""The matrix: what is printed is what the rules give, and the page can be published."""

import csv
import io
from datetime import date
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from policies.bundle import Bundle
from policies.bundle_loading import load
from policies.explain import UnknownCodeError
from policies.matrix import LETTERS, as_csv, as_html, as_text, callers_of, grids, matters
from policies.table import Cell, Table, compile_table
from policies.vocabulary import Level, SubjectKind

BUNDLE = load(files("policies") / "bundles" / "example")
TODAY = date(2026, 11, 20)
TABLE = compile_table(BUNDLE, TODAY)
GOLDEN = Path(__file__).parent / "golden"
ORG, IND, NP = SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP


def changed(**parts: Any) -> Table:
    return compile_table(msgspec.structs.replace(BUNDLE, **parts), TODAY)


def golden(name: str) -> str:
    """Written once and read by a person; a change of the rules is a change of these files."""
    return (GOLDEN / name).read_text("utf-8")


def test_the_text_is_the_one_that_was_read() -> None:
    assert as_text(TABLE, TODAY) + "\n" == golden("inquiry_matters.txt")


def test_the_page_is_the_one_that_was_read() -> None:
    assert as_html(TABLE, TODAY, "BANK") == golden("inquiry_matters_bank.html")


def test_the_csv_is_the_one_that_was_read() -> None:
    assert as_csv(TABLE, "BANK").splitlines() == golden("inquiry_matters_bank.csv").splitlines()


# The keys as the rules name them; the letters find them by the evidence that they ask for.
KEYS = {"AUTH_W", "AUTH_SEP", "AUTH_PBOC", "LAW_NAMED", "DUAL"}


def marks_by_hand(bundle: Bundle, kind: SubjectKind) -> dict[tuple[str, str], str]:
    """The letters straight from the rules: the example has no two for one purpose, kind and category."""
    forbidden = {
        category
        for line in bundle.red_lines.values()
        if kind in line.kinds and set(line.callers) == set(bundle.callers)
        for category in line.categories
    }
    return {
        (rule.purpose, category): LETTERS[rule.level] + "*" * bool(KEYS & set(rule.conditions))
        for rule in bundle.rules.values()
        for category in rule.categories.get(kind, ())
        if category not in forbidden
    }


def test_letters_are_the_rules() -> None:
    found = {kind: grid for grid in grids(TABLE, callers_of(BUNDLE, None)) for kind in grid.kinds}
    assert set(found) == set(SubjectKind)
    for kind, grid in found.items():
        assert grid.letters == marks_by_hand(BUNDLE, kind)
        assert {purpose for purpose, _ in grid.letters} == set(grid.purposes)
        assert {category for _, category in grid.letters} == set(grid.categories)


def test_every_level_has_a_letter_of_its_own() -> None:
    assert set(LETTERS) == set(Level)
    assert len(set(LETTERS.values())) == len(Level)


def test_callers_that_get_different_things_show_all_letters() -> None:
    rule = BUNDLE.rules["R012"]
    mine = msgspec.structs.replace(
        rule,
        id="R900",
        callers=("COURT",),
        categories={ORG: ("PENALTY",)},
        level=Level.HIT,
        conditions=("AUTH_W",),
    )
    table = changed(rules=BUNDLE.rules | {"R900": mine})
    marks = {
        kind: grid.letters["SUPERVISION", "PENALTY"]
        for grid in grids(table, callers_of(BUNDLE, None))
        for kind in grid.kinds
        if kind in (ORG, IND)
    }
    assert marks == {ORG: "H*/F", IND: "F"}
    # With the courts' rule the kinds differ by it, and each text line still has one mark for each category.
    assert "H*/F" in as_text(table, TODAY)


def test_one_caller_sees_its_own_alone() -> None:
    court = as_text(TABLE, TODAY, "COURT")
    assert "JUDICIAL" in court
    assert "LICENSING" not in court
    assert {row["caller"] for row in rows(as_csv(TABLE, "COURT"))} == {"COURT"}


def test_an_unknown_caller_is_refused() -> None:
    message = "caller: 'COURTS' is not in the bundle; nearest: COURT"
    with pytest.raises(UnknownCodeError, match=message):
        as_text(TABLE, TODAY, "COURTS")
    with pytest.raises(UnknownCodeError, match=message):
        as_csv(TABLE, "COURTS")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_csv_has_a_line_for_every_cell() -> None:
    found = rows(as_csv(TABLE))
    cells = {
        (caller, purpose, kind.value, category)
        for caller in BUNDLE.callers
        for purpose in BUNDLE.purposes
        for kind in SubjectKind
        for category in BUNDLE.categories
        if isinstance(TABLE.cell(caller, purpose, kind, category), Cell)
    }
    assert len(found) == len(cells)
    assert {(r["caller"], r["purpose"], r["subject_kind"], r["category"]) for r in found} == cells
    one = next(r for r in found if r["rule"] == "R062" and r["category"] == "TAX_PAYMENT")
    assert (one["letter"], one["level"], one["conditions"]) == (
        "S*",
        "SUMMARY",
        "APPLICATION AUTH_W AUTH_SEP",
    )
    assert (one["category_chinese"], one["basis"]) == ("纳税信息（银税互动）", "CR 14; CR 18; PIPL 29")


NASTY = "<script>alert(\"1\")</script> & 'x', 1"


def renamed() -> Table:
    callers = BUNDLE.callers | {"BANK": msgspec.structs.replace(BUNDLE.callers["BANK"], chinese=NASTY)}
    categories = BUNDLE.categories | {
        code: msgspec.structs.replace(category, chinese=NASTY, english=NASTY)
        for code, category in BUNDLE.categories.items()
    }
    conditions = BUNDLE.conditions | {
        code: msgspec.structs.replace(condition, english=NASTY)
        for code, condition in BUNDLE.conditions.items()
    }
    instruments = BUNDLE.instruments | {
        code: msgspec.structs.replace(law, chinese=NASTY, title=NASTY)
        for code, law in BUNDLE.instruments.items()
    }
    return changed(
        callers=callers,
        categories=categories,
        conditions=conditions,
        instruments=instruments,
        title=NASTY,
        chinese=NASTY,
        note=NASTY,
    )


def test_the_csv_keeps_any_text() -> None:
    found = rows(as_csv(renamed(), "BANK"))
    assert {row["caller_chinese"] for row in found} == {NASTY}
    assert len(found) == len(rows(as_csv(TABLE, "BANK")))


class Page(HTMLParser):
    """What a reader's software meets in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


@pytest.mark.parametrize("caller", [None, "BANK", "MARKET_REGULATION"])
def test_the_page_is_sound_and_stands_alone(caller: str | None) -> None:
    page = Page(as_html(TABLE, TODAY, caller))
    assert page.open == []
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert not [attrs for _, attrs in page.tags if {"src", "href", "onclick"} & attrs.keys()]
    assert "url(" not in as_html(TABLE, TODAY, caller)
    assert dict(page.tags)["html"] == {"lang": "zh-CN"}
    # Assistive software needs the head of every column and row, and a caption.
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    assert tags.count("table") == tags.count("caption") == tags.count("thead")
    assert tags.count("h1") == tags.count("title") == tags.count("main") == 1
    named = [attrs["id"] for tag, attrs in page.tags if "id" in attrs]
    assert len(named) == len(set(named))


def test_the_page_says_who_what_when_and_by_which_law() -> None:
    text = Page(as_html(TABLE, TODAY, "BANK")).text
    for words in (
        "示例省银行业金融机构公共信用信息查询事项清单",
        "贷前审查、贷款审批",
        "纳税信息（银税互动）",
        "单独同意书",
        "《征信业管理条例》14",
        "2026-11-20",
        "Example bases, not legal advice",
        "禁止提供",
    ):
        assert words in text
    assert "行政许可、资质审核、行政确认" not in text
    everybody = Page(as_html(TABLE, TODAY)).text
    assert "查询主体" in everybody
    assert all(purpose.chinese in everybody for purpose in BUNDLE.purposes.values())


def test_names_are_texts_and_never_markup() -> None:
    for caller in (None, "BANK"):
        text = as_html(renamed(), TODAY, caller)
        page = Page(text)
        assert page.open == []
        assert "script" not in {tag for tag, _ in page.tags}
        assert NASTY in page.text


def test_matters_follow_the_table_and_not_the_words_of_the_rule() -> None:
    line = msgspec.structs.replace(
        BUNDLE.red_lines["RL01"], id="RL09", kinds=(ORG,), categories=("PENALTY",), callers=("HOUSING",)
    )
    table = changed(red_lines=BUNDLE.red_lines | {"RL09": line})
    found = [
        matter
        for matter in matters(table, callers_of(BUNDLE, None), "SUPERVISION")
        if matter.rule.id == "R012"
    ]
    with_penalty = {m.callers: m.categories for m in found if "PENALTY" in m.categories.get(ORG, ())}
    ((callers, categories),) = with_penalty.items()
    assert "HOUSING" not in callers
    assert categories == {ORG: ("PENALTY",)}
    assert matters(table, ("HOUSING",), "LICENSING")
    assert matters(table, ("BANK",), "LICENSING") == ()
