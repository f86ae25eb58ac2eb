"""Faults of a policy bundle: each is refused where it stands, with a reason and a remedy."""

import dataclasses
from importlib.resources import files
from pathlib import Path

import pytest

from policies.bundle_files import BundleError
from policies.bundle_loading import load, parse

EXAMPLE = files("policies") / "bundles" / "example"
FILES = {entry.name: entry.read_text(encoding="utf-8") for entry in EXAMPLE.iterdir()}


def changed(file: str, text: str) -> dict[str, str]:
    return FILES | {file: text}


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


def test_a_directory_is_read_as_utf_8(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "README").write_bytes(b"\xff not part of the bundle")
    assert load(tmp_path) == load(EXAMPLE)
    (tmp_path / "purposes.toml").write_bytes(b"# a\n# b\nx = '\xff'\n")
    with pytest.raises(BundleError) as refused:
        load(tmp_path)
    assert (refused.value.file, refused.value.line, refused.value.reason) == ("purposes.toml", 3, "not UTF-8")
