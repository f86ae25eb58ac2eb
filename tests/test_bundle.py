"""The policy bundle: the example loads and says what its data say; what counts as its meaning is hashed."""

import csv
from collections.abc import Callable
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from policies.bundle import (
    Audience,
    Basis,
    Bundle,
    CategoryClass,
    Openness,
    Proof,
    Publication,
    RuleStatus,
    Treatment,
)
from policies.bundle_files import BundleError
from policies.bundle_loading import load, parse
from policies.catalogue import SECTIONS
from policies.proofs import CHECKS
from policies.vocabulary import Level, Mask, Severity, SubjectKind

EXAMPLE = files("policies") / "bundles" / "example"
FILES = {entry.name: entry.read_text(encoding="utf-8") for entry in EXAMPLE.iterdir()}
DATA = Path(__file__).parents[2] / "shared" / "data"
ORG, IND, NP, GOV, NONE = SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP, SubjectKind.GOV, SubjectKind.NONE


@pytest.fixture(scope="module")
def example() -> Bundle:
    return load(EXAMPLE)


def changed(file: str, text: str) -> dict[str, str]:
    return FILES | {file: text}


def test_the_example_loads_whole(example: Bundle) -> None:
    assert example.name == "example"
    assert example.province == "990000"
    assert sum(caller.department for caller in example.callers.values()) == 31
    assert len(example.callers) == 31 + 12
    assert (len(example.purposes), len(example.categories), len(example.conditions)) == (25, 33, 42)
    assert (len(example.rules), len(example.measures), len(example.periods)) == (89, 19, 7)
    assert all(rule.status is RuleStatus.ACTIVE for rule in example.rules.values())


def test_a_rule_has_its_groups_expanded_and_its_basis_parsed(example: Bundle) -> None:
    rule = example.rules["R001"]
    assert len(rule.callers) == 17
    assert "GOVERNMENT_AFFAIRS" in rule.callers
    assert rule.categories[ORG] == rule.categories[IND]
    assert rule.level is Level.FULL
    assert rule.conditions == ("MATTER", "APPLICANT", "OWN_FIELD")
    assert rule.obligations == ("VISIBLE",)
    assert rule.basis[0] == Basis("SH", "28(1)", "Shanghai Social Credit Regulations")
    assert [basis.text for basis in rule.basis] == ["SH 28(1)", "SD 22(1)", "ZJ 21", "HA 61", "HN 8"]


def test_a_code_of_both_natures_is_condition_and_obligation(example: Bundle) -> None:
    rule = example.rules["R045"]
    assert rule.conditions == rule.obligations == ("RECORD_AT_ISSUE", "OWN_RECORD")


def test_bases_take_the_longest_instrument(example: Bundle) -> None:
    texts = {basis.text for rule in example.rules.values() for basis in rule.basis}
    assert {"GBF2021-52", "GBT45255", "CK125", "SZ 63-64", "SX", "PCD 12(1)", "PX 7(5)", "DESIGN"} <= texts


def test_wildcards_follow_the_kind(example: Bundle) -> None:
    own = example.rules["R077"].categories
    assert "CHARITY" in own[ORG]
    assert "CHARITY" not in own[IND]
    assert all("FINANCIAL_DB" not in categories for categories in own.values())
    assert "EVALUATION" not in example.rules["R078"].categories[NP]
    assert example.rules["R082"].categories[NONE] == tuple(example.categories)


def test_no_rule_grants_a_category_that_its_kind_does_not_have(example: Bundle) -> None:
    for rule in example.rules.values():
        for kind, categories in rule.categories.items():
            assert categories
            assert all(example.categories[category].fits(kind) for category in categories)


def test_what_the_example_means(example: Bundle) -> None:
    assert example.categories["PENALTY"].publication is Publication.SEVERITY
    assert example.categories["PENALTY"].inquiry_months == 60
    assert example.categories["REG_ORG"].inquiry_months is None
    assert example.categories["EVALUATION"].open_person is Openness.PROHIBITED
    assert example.categories["TRUST_LIST"].category_class is CategoryClass.EXCELLENT
    assert {code for code, category in example.categories.items() if category.never_stored} == {
        "TAX_PAYMENT",
        "SI_HF_PAYMENT",
        "UTILITY",
        "FINANCIAL_DB",
    }
    assert example.callers["BANK"].audience is Audience.FINANCE
    assert example.callers["COURT"].audience is Audience.DEPARTMENT
    assert example.callers["AGENT"].audience is Audience.SUBJECT
    assert example.callers["ASSOCIATION"].audience is Audience.PUBLIC
    assert example.masks[Mask.ADDRESS, IND].treatments[Audience.FINANCE] is Treatment.COUNTY
    assert (Mask.ADDRESS, ORG) not in example.masks
    assert {
        treatments[Audience.SUBJECT] for treatments in (m.treatments for m in example.masks.values())
    } == {Treatment.KEEP}


def test_every_register_is_asked_and_its_condition_has_a_check(example: Bundle) -> None:
    registers = {code for code, condition in example.conditions.items() if condition.proof is Proof.REGISTER}
    assert registers == CHECKS.keys()
    assert example.declared_is_enough == set()
    assert not registers & {"AUTH_W", "AUTH_SEP", "SELF_ID", "SYNTHETIC_DATA", "LAW_NAMED", "MEASURE"}


def test_red_lines_cover_everybody(example: Bundle) -> None:
    for line in example.red_lines.values():
        assert line.kinds == (NP,)
        assert line.callers == tuple(example.callers)
        assert line.purposes == tuple(example.purposes)
    assert {category for line in example.red_lines.values() for category in line.categories} == {
        "EVALUATION",
        "UTILITY",
    }


def test_the_sections_of_the_catalogue_are_categories_of_the_example(example: Bundle) -> None:
    for section in SECTIONS:
        assert all(example.categories[section.category].fits(kind) for kind in section.kinds)


def test_every_day_has_one_regime(example: Bundle) -> None:
    assert example.period(Severity.GENERAL, date(2026, 3, 31)).publication_maximum_months == 36
    assert example.period(Severity.GENERAL, date(2026, 4, 1)).publication_maximum_months == 12
    assert example.period(Severity.MINOR, date(2026, 4, 1)).publication_maximum_months == 3
    assert example.period(None, date(2000, 1, 1)).publication_maximum_months is None


def test_a_rule_grants_from_its_first_to_its_last_day() -> None:
    text = FILES["rules.toml"].replace(
        "valid_from = 2022-10-01\n", "valid_from = 2022-10-01\nvalid_to = 2023-09-30\n", 1
    )
    rule = parse(changed("rules.toml", text)).rules["R001"]
    first, last = date(2022, 10, 1), date(2023, 9, 30)
    assert rule.grants_on(first)
    assert rule.grants_on(last)
    assert not rule.grants_on(first - timedelta(days=1))
    assert not rule.grants_on(last + timedelta(days=1))


def test_a_draft_is_checked_but_grants_nothing() -> None:
    text = FILES["rules.toml"].replace('status = "ACTIVE"', 'status = "DRAFT"', 1)
    assert not parse(changed("rules.toml", text)).rules["R001"].grants_on(date(2026, 1, 1))
    with pytest.raises(BundleError):
        parse(changed("rules.toml", text.replace('"REG_ORG"', '"REG_ORGS"', 1)))


def test_rules_may_follow_each_other_on_one_cell() -> None:
    first, _, rest = FILES["rules.toml"].partition("\n[[rule]]\n")
    rule, _, others = rest.partition("\n[[rule]]\n")
    ended = rule.replace("valid_from = 2022-10-01", "valid_from = 2022-10-01\nvalid_to = 2023-12-31")
    successor = rule.replace('"R001"', '"R901"').replace("2022-10-01", "2024-01-01")
    text = "\n[[rule]]\n".join([first, ended, successor, others])
    assert {"R001", "R901"} <= set(parse(changed("rules.toml", text)).rules)


# The hash


def test_the_hash_ignores_comments_spacing_and_line_ends(example: Bundle) -> None:
    respelled = {
        name: "# reviewed\n" + text.replace(" = ", "  =  ").replace("\n", "\r\n")
        for name, text in FILES.items()
    }
    assert parse(respelled).hash == example.hash
    assert len(example.hash) == 64


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("bundle.toml", 'version = "1"', 'version = "2"'),
        ("instruments.toml", "2022-10-01", "2022-10-02"),
        ("callers.toml", 'english = "Education"', 'english = "Educations"'),
        ("purposes.toml", "行政许可", "行政許可"),
        ("categories.toml", 'publication_note = "long-term"', 'publication_note = "long term"'),
        ("categories.toml", "inquiry_months = 60\n", ""),
        ("conditions.toml", "Name the open case file.", "Name the case file."),
        ("rules.toml", '"MATTER", "APPLICANT"', '"APPLICANT", "MATTER"'),
        ("rules.toml", 'level = "SUMMARY"', 'level = "HIT"'),
        ("measures.toml", '"SH29(1)"', '"SH29(2)"'),
        ("periods.toml", "publication_maximum_months = 12", "publication_maximum_months = 11"),
        ("masks.toml", 'PUBLIC = "COUNTY"', 'PUBLIC = "DROP"'),
    ],
)
def test_the_hash_changes_with_any_meaning(example: Bundle, file: str, old: str, new: str) -> None:
    assert FILES[file].count(old)
    assert parse(changed(file, FILES[file].replace(old, new, 1))).hash != example.hash


# The example against the data it was made from, where they are at hand


def table(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def words(text: str) -> list[str]:
    return text.split(";")


def expansion(of: str) -> Callable[[str, str], list[str]]:
    groups = {
        (row["Group"], row["Subject kind"]): words(row["Members"])
        for row in table("groups.csv")
        if row["Of"] == of
    }
    return lambda text, kind: [code for word in words(text) for code in groups.get((word, kind), [word])]


def bases_of(entry: tuple[Basis, ...]) -> list[str]:
    return [basis.instrument + basis.article for basis in entry]


if DATA.is_dir():

    def test_the_rules_are_those_of_the_data(example: Bundle) -> None:
        rows = table("rules.csv")
        assert [row["rule_id"] for row in rows] == list(example.rules)
        callers, categories = expansion("callers"), expansion("categories")
        natures = {row["Code"]: words(row["Kind"]) for row in table("conditions.csv")}
        subjects = {row["Code"]: words(row["Subjects"]) for row in table("categories.csv")}
        for row in rows:
            rule = example.rules[row["rule_id"]]
            assert (rule.case, rule.purpose, rule.level, rule.status) == (
                row["case"],
                row["purpose"],
                row["max_level"],
                row["status"],
            )
            assert list(rule.callers) == callers(row["callers"], "")
            assert list(rule.categories) == words(row["subject_kind"])
            for kind, granted in rule.categories.items():
                named = categories(row["categories"], "ORG" if kind is IND else kind)
                assert list(granted) == [c for c in named if kind is NONE or kind in subjects[c]]
            conditions = words(row["conditions"])
            assert list(rule.conditions) == [c for c in conditions if "condition" in natures[c]]
            assert list(rule.obligations) == [c for c in conditions if "obligation" in natures[c]]
            assert bases_of(rule.basis) == words(row["legal_basis"])
            assert rule.valid_from == date.fromisoformat(row["valid_from"])
            assert rule.valid_to == (date.fromisoformat(row["valid_to"]) if row["valid_to"] else None)

    def test_callers_and_purposes_are_those_of_the_data(example: Bundle) -> None:
        departments, others = table("departments.csv"), table("callers.csv")
        assert [(c.code, c.english, c.chinese, c.department) for c in example.callers.values()] == [
            *((row["Code"], row["English"], row["Chinese"], True) for row in departments),
            *((row["Code"], row["English"], row["Chinese"], False) for row in others),
        ]
        assert [
            (p.code, p.english, p.chinese, p.case, p.evidence, p.phase, bases_of(p.basis))
            for p in example.purposes.values()
        ] == [
            (
                row["Code"],
                row["English"],
                row["Chinese"],
                row["Case"],
                row["Evidence the call must carry"],
                row["Phase"],
                words(row["Basis"]),
            )
            for row in table("purposes.csv")
        ]

    def test_categories_are_those_of_the_data(example: Bundle) -> None:
        for row, category in zip(table("categories.csv"), example.categories.values(), strict=True):
            assert (category.code, category.english, category.chinese, category.category_class) == (
                row["Code"],
                row["English"],
                row["Chinese"],
                row["Class"],
            )
            assert str(category.national or "-") == row["Nat"]
            assert (category.open_org or "", category.open_person or "") == (
                row["Open: org"],
                row["Open: person"],
            )
            assert list(category.subjects) == words(row["Subjects"])
            assert (category.publication_note, category.retention_note) == (
                row["Publication"],
                row["Inquiry limit / retention"],
            )
            assert (category.source_note, category.openness_note) == (row["Source"], row["Openness note"])
            assert (category.inquiry_months == 60) == ("5 y" in row["Inquiry limit / retention"])

    def test_conditions_instruments_and_measures_are_those_of_the_data(example: Bundle) -> None:
        assert [
            (c.code, c.english, list(c.kinds), c.register or "-") for c in example.conditions.values()
        ] == [
            (row["Code"], row["Meaning"], words(row["Kind"]), row["Register that proves it"])
            for row in table("conditions.csv")
        ]
        assert {
            (i.code, i.title, i.chinese, i.layer, str(i.valid_from or ""), i.note)
            for i in example.instruments.values()
        } == {tuple(row.values()) for row in table("instruments.csv")}
        assert [
            (m.code, m.english, m.chinese, m.kind, bases_of(m.basis)) for m in example.measures.values()
        ] == [
            (row["Code"], row["English"], row["Chinese"], row["Kind"], words(row["Basis"]))
            for row in table("measures.csv")
        ]

    def test_periods_are_those_of_the_data(example: Bundle) -> None:
        def month(value: int | None) -> str:
            return "" if value is None else str(value)

        assert [
            (
                p.regime,
                p.severity or "LISTED",
                month(p.publication_minimum_months),
                month(p.publication_maximum_months),
                month(p.inquiry_months),
                p.counts_from,
                p.note,
            )
            for p in example.periods
        ] == [tuple(row.values()) for row in table("periods.csv")]
