"""The policy bundle: the example loads and says what its data say; every fault is refused where it stands."""

import csv
import dataclasses
from collections.abc import Callable
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from policies.bundle import (
    Audience,
    Basis,
    Bundle,
    BundleError,
    CategoryClass,
    Openness,
    Proof,
    Publication,
    RuleStatus,
    Treatment,
    load,
    parse,
)
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


# Faults


@dataclasses.dataclass(frozen=True)
class Fault:
    """One change of the example: after the text `entry`, `old` becomes `new`; then `line` has the problem."""

    file: str
    entry: str
    old: str
    new: str
    line: str
    reason: str

    def files(self) -> dict[str, str]:
        text = FILES[self.file]
        start = text.index(self.old, text.index(self.entry))
        return changed(self.file, text[:start] + self.new + text[start + len(self.old) :])

    def expected_line(self) -> int:
        """The first line of that beginning, from the header of the entry on."""
        header = FILES[self.file].rfind("\n[[", 0, FILES[self.file].index(self.entry)) + 1
        first = FILES[self.file].count("\n", 0, header)
        lines = self.files()[self.file].split("\n")
        return next(n for n, line in enumerate(lines, 1) if n > first and line.startswith(self.line))


FAULTS = {
    "unknown key": Fault(
        "rules.toml", 'id = "R012"', "level =", "lvl = 1\nlevel =", "lvl = 1", "unknown key 'lvl'"
    ),
    "unknown key of the bundle": Fault(
        "bundle.toml", "", "note =", "notes =", "notes =", "unknown key 'notes'"
    ),
    "unknown table": Fault(
        "rules.toml", "", "[[rule]]", "[[rules]]\n[[rule]]", "[[rules]]", "unknown table 'rules'"
    ),
    "missing key": Fault(
        "rules.toml",
        'id = "R012"',
        'status = "ACTIVE"\n\n[[rule]]\nid = "R013"',
        '\n[[rule]]\nid = "R013"',
        "[[rule]]",
        "the key 'status' is missing",
    ),
    "missing basis": Fault(
        "rules.toml",
        'id = "R012"',
        'basis = ["SH28(1)", "ZJ21", "PX7(5)"]',
        "basis = []",
        "basis = []",
        "basis: Expected `array` of length >= 1",
    ),
    "empty list": Fault(
        "rules.toml",
        'id = "R030"',
        'callers = ["PERSONNEL", "HRSS"]',
        "callers = []",
        "callers = []",
        "callers: Expected `array` of length >= 1",
    ),
    "wrong type": Fault(
        "categories.toml",
        'code = "PENALTY"',
        "inquiry_months = 60",
        'inquiry_months = "60"',
        'inquiry_months = "60"',
        "inquiry_months: Expected `int | null`, got `str`",
    ),
    "wrong type in a list": Fault(
        "rules.toml",
        'id = "R030"',
        '"PERSONNEL", "HRSS"]',
        '"PERSONNEL", 7]',
        'callers = ["PERSONNEL", 7]',
        "callers: Expected `str`, got `int`",
    ),
    "unknown level": Fault(
        "rules.toml",
        'id = "R012"',
        'level = "FULL"',
        'level = "ALL"',
        'level = "ALL"',
        "level: Invalid enum value 'ALL'",
    ),
    "unknown kind": Fault(
        "rules.toml",
        'id = "R012"',
        '["ORG", "IND"]',
        '["ORG", "PERSON"]',
        'kinds = ["ORG", "PERSON"]',
        "kinds: Invalid enum value 'PERSON'",
    ),
    "unknown caller": Fault(
        "rules.toml",
        'id = "R030"',
        '"HRSS"',
        '"HRS"',
        'callers = ["PERSONNEL", "HRS"]',
        "callers: 'HRS' is not defined",
    ),
    "unknown group": Fault(
        "rules.toml",
        'id = "R012"',
        '"@SUP"',
        '"@SUPER"',
        'callers = ["@SUPER"]',
        "callers: '@SUPER' is not defined",
    ),
    "lookalike letters": Fault(
        "rules.toml",
        'id = "R057"',
        '"BANK"',
        '"ВANK"',
        'callers = ["ВANK"]',
        "callers: '\\u0412ANK' is not defined",
    ),
    "lookalike letters in a code": Fault(
        "callers.toml",
        "",
        'code = "BANK"',
        'code = "ВANK"',
        'code = "ВANK"',
        "code: Expected `str` matching regex",
    ),
    "unknown purpose": Fault(
        "rules.toml",
        'id = "R012"',
        '"SUPERVISION"',
        '"INSPECTION"',
        'purpose = "INSPECTION"',
        "purpose: 'INSPECTION' is not defined",
    ),
    "case of another purpose": Fault(
        "rules.toml", 'id = "R012"', 'case = "S2"', 'case = "S3"', 'case = "S3"', "case 'S3' is not that of"
    ),
    "unknown category": Fault(
        "rules.toml",
        'id = "R089"',
        '"ACCESS_LOG"',
        '"ACCESS_LOGS"',
        'categories = ["ACCESS_LOGS"]',
        "categories: 'ACCESS_LOGS' is not defined",
    ),
    "category that does not fit the kind": Fault(
        "rules.toml",
        'id = "R089"',
        '"ACCESS_LOG"',
        '"ACCESS_LOG", "LICENCE"',
        'categories = ["ACCESS_LOG", "LICENCE"]',
        "categories: LICENCE does not fit the subject kinds GOV",
    ),
    "kind without a category": Fault(
        "rules.toml", 'id = "R004"', '["NP"]', '["NP", "GOV"]', 'kinds = ["NP", "GOV"]', "kinds: no category"
    ),
    "wildcard not defined for the kind": Fault(
        "rules.toml",
        'id = "R077"',
        '["ORG", "IND"]',
        '["ORG", "IND", "GOV"]',
        'categories = ["*S"]',
        "categories: *S does not fit the subject kinds ORG, IND, GOV",
    ),
    "unknown condition": Fault(
        "rules.toml",
        'id = "R089"',
        '["ORDER"]',
        '["ORDERS"]',
        'conditions = ["ORDERS"]',
        "conditions: 'ORDERS' is not defined",
    ),
    "condition named twice": Fault(
        "rules.toml",
        'id = "R089"',
        '["ORDER"]',
        '["ORDER", "ORDER"]',
        'conditions = ["ORDER", "ORDER"]',
        "conditions names 'ORDER' twice",
    ),
    "unknown instrument": Fault(
        "rules.toml",
        'id = "R089"',
        '"PX6(4)"',
        '"XX6(4)"',
        'basis = ["XX6(4)", "HA39"]',
        "basis: 'XX6(4)' cites no instrument",
    ),
    "no article": Fault(
        "rules.toml",
        'id = "R089"',
        '"PX6(4)"',
        '"PX6(4"',
        'basis = ["PX6(4", "HA39"]',
        "basis: 'PX6(4' cites no instrument",
    ),
    "basis of a purpose": Fault(
        "purposes.toml",
        'code = "REPAIR"',
        '"O36"',
        '"Q36"',
        'basis = ["Q36", "SH38", "HA43", "SZ79-82"]',
        "basis: 'Q36' cites",
    ),
    "basis of a measure": Fault(
        "measures.toml", 'code = "S7"', '"HA34(4)"', '"QQ1"', 'basis = ["QQ1"', "basis: 'QQ1' cites"
    ),
    "rule twice": Fault(
        "rules.toml",
        'id = "R013"',
        'id = "R013"',
        'id = "R012"',
        'id = "R012"',
        "rule R012 is already defined in line",
    ),
    "caller twice": Fault(
        "callers.toml",
        'code = "GUARANTEE"',
        'code = "GUARANTEE"',
        'code = "BANK"',
        'code = "BANK"',
        "caller BANK is already defined in line",
    ),
    "two rules on one cell": Fault(
        "rules.toml",
        'id = "R013"',
        '"CONTRACT"]',
        '"CONTRACT", "REG_ORG"]',
        'id = "R013"',
        "rules R012 and R013 both decide MARKET_REGULATION SUPERVISION ORG REG_ORG",
    ),
    "date that is none": Fault(
        "rules.toml",
        'id = "R012"',
        "2022-10-01",
        "2022-02-30",
        "valid_from = 2022-02-30",
        "not TOML: Invalid date or datetime",
    ),
    "date in quotes": Fault(
        "rules.toml",
        'id = "R012"',
        "2022-10-01",
        '"2022-10-01"',
        'valid_from = "2022-10-01"',
        "valid_from: Expected `date`, got `str`",
    ),
    "last day before the first": Fault(
        "rules.toml",
        'id = "R012"',
        "valid_from = 2022-10-01",
        "valid_from = 2022-10-01\nvalid_to = 2022-09-30",
        "valid_to = 2022-09-30",
        "valid_to 2022-09-30 is before valid_from 2022-10-01",
    ),
    "instrument that ends before it begins": Fault(
        "instruments.toml",
        'code = "SX"',
        "valid_from = 2022-10-01",
        "valid_from = 2022-10-01\nvalid_to = 2022-09-30",
        "valid_to = 2022-09-30",
        "valid_to 2022-09-30 is before valid_from 2022-10-01",
    ),
    "unknown evidence": Fault(
        "conditions.toml",
        'code = "CASE"',
        '[["case_number"]]',
        '[["case_numbers"]]',
        'evidence = [["case_numbers"]]',
        "evidence: 'case_numbers' is not defined",
    ),
    "empty alternative of evidence": Fault(
        "conditions.toml",
        'code = "CASE"',
        '[["case_number"]]',
        '[["case_number"], []]',
        'evidence = [["case_number"], []]',
        "evidence: Expected `array` of length >= 1",
    ),
    "declared is enough for a signed artefact": Fault(
        "bundle.toml",
        "",
        "declared_is_enough = []",
        'declared_is_enough = ["AUTH_W"]',
        'declared_is_enough = ["AUTH_W"',
        "declared_is_enough: AUTH_W is not proved by a register",
    ),
    "declared is enough for nothing": Fault(
        "bundle.toml",
        "",
        "declared_is_enough = []",
        'declared_is_enough = ["BATCHES"]',
        "declared_is_enough =",
        "declared_is_enough: 'BATCHES' is not defined",
    ),
    "member of a group": Fault(
        "callers.toml",
        'code = "@FUND"',
        '"SCIENCE"',
        '"SIENCE"',
        "members = [",
        "members: 'SIENCE' is not defined",
    ),
    "gap between regimes": Fault(
        "periods.toml",
        "",
        "valid_to = 2026-03-31",
        "valid_to = 2026-03-30",
        "valid_from = 2026-04-01",
        "the regimes of MINOR leave a gap or overlap",
    ),
    "no regime in the end": Fault(
        "periods.toml",
        'regime = "ANY"',
        "inquiry_months",
        "valid_to = 2030-01-01\ninquiry_months",
        "valid_to = 2030-01-01",
        "no regime of lists holds in the end",
    ),
    "maximum below the minimum": Fault(
        "periods.toml",
        'severity = "GENERAL"',
        "publication_maximum_months = 36",
        "publication_maximum_months = 2",
        "publication_maximum_months = 2",
        "publication_maximum_months 2 is less than the minimum 3",
    ),
    "mask without an audience": Fault(
        "masks.toml",
        "",
        ', PUBLIC = "DROP_UNLESS_PUBLISHED"',
        "",
        "treatments = {",
        "treatments: none for PUBLIC",
    ),
    "mask twice for a kind": Fault(
        "masks.toml",
        'code = "ADDRESS"',
        'code = "AMOUNT"\nkinds = ["ORG", "IND", "NP", "GOV"]',
        'code = "ADDRESS"\nkinds = ["NP"]',
        'kinds = ["NP"]',
        "mask ADDRESS is already defined for NP",
    ),
    "syntax": Fault(
        "rules.toml", 'id = "R012"', "case = ", "case ", 'case "S2"', "not TOML: Expected '=' after a key"
    ),
    "key twice": Fault(
        "rules.toml",
        'id = "R012"',
        'case = "S2"',
        'case = "S2"\ncase = "S2" # again',
        'case = "S2" # again',
        "not TOML: Cannot overwrite a value",
    ),
    "byte order mark": Fault(
        "rules.toml",
        "",
        "# The rules",
        "\ufeff# The rules",
        "\ufeff# The rules",
        "begins with a byte order mark",
    ),
    "table that is no list": Fault(
        "red_lines.toml",
        "",
        FILES["red_lines.toml"],
        "# nothing\nred_line = 5\n",
        "red_line = 5",
        "no entry [[red_line]]",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_refused_where_it_stands(name: str) -> None:
    fault = FAULTS[name]
    texts = fault.files()
    with pytest.raises(BundleError) as refused:
        parse(texts)
    error = refused.value
    assert error.file == fault.file
    assert fault.reason in error.reason
    assert error.remedy
    assert error.line == fault.expected_line()
    assert str(error).startswith(f"{error.file}:{error.line}: {error.reason}; {error.remedy}")


def test_the_line_is_that_of_the_entry_meant() -> None:
    texts = FAULTS["missing key"].files()
    with pytest.raises(BundleError) as refused:
        parse(texts)
    assert texts["rules.toml"].split("\n")[refused.value.line] == 'id = "R012"'


def test_a_missing_file_is_named() -> None:
    with pytest.raises(BundleError) as refused:
        parse({name: text for name, text in FILES.items() if name != "masks.toml"})
    assert (refused.value.file, refused.value.line, refused.value.reason) == (
        "masks.toml",
        1,
        "the file is missing",
    )


def test_an_entry_may_not_hide_in_another_file() -> None:
    with pytest.raises(BundleError) as refused:
        parse(changed("more_rules.toml", FILES["rules.toml"]))
    assert (refused.value.file, refused.value.reason) == ("more_rules.toml", "no file of a bundle")


def test_a_table_without_entries_is_refused() -> None:
    with pytest.raises(BundleError) as refused:
        parse(changed("rules.toml", "# no rules\n"))
    assert (refused.value.file, refused.value.reason) == ("rules.toml", "no entry [[rule]]")


def test_each_file_has_its_first_problem_reported() -> None:
    texts = dict(FILES)
    for file, old in (
        ("rules.toml", 'level = "FULL"'),
        ("callers.toml", "department = true"),
        ("masks.toml", "kinds = ["),
    ):
        texts[file] = texts[file].replace(old, "wrong = 1", 1)
    with pytest.raises(BundleError) as refused:
        parse(texts)
    assert {problem.file for problem in refused.value.problems} == {
        "rules.toml",
        "callers.toml",
        "masks.toml",
    }


def test_every_unknown_code_is_reported_at_once() -> None:
    text = FILES["rules.toml"].replace('"APPLICANT"', '"APLICANT"')
    with pytest.raises(BundleError) as refused:
        parse(changed("rules.toml", text))
    assert len(refused.value.problems) == text.count('"APLICANT"')
    assert all("near: APPLICANT" in problem.remedy for problem in refused.value.problems)


def test_a_directory_is_read_as_utf_8(tmp_path: Path, example: Bundle) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "README").write_bytes(b"\xff not part of the bundle")
    assert load(tmp_path) == example
    (tmp_path / "purposes.toml").write_bytes(b"# a\n# b\nx = '\xff'\n")
    with pytest.raises(BundleError) as refused:
        load(tmp_path)
    assert (refused.value.file, refused.value.line, refused.value.reason) == ("purposes.toml", 3, "not UTF-8")


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
