"""The national layer: read with every bundle, and nothing of it can be removed, redefined or read otherwise."""

import os
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest

from policies.bundle import Bundle, Layer
from policies.bundle_files import MAX_FILE, BundleError, Problem
from policies.bundle_loading import load, parse
from policies.check import FindingKind, check
from policies.table import Cell, compile_table
from policies.vocabulary import SubjectKind

BUNDLES = files("policies") / "bundles"
EXAMPLE, SMALL, NATIONAL = (
    {entry.name: entry.read_text(encoding="utf-8") for entry in (BUNDLES / name).iterdir()}
    for name in ("example", "small-province", "national")
)
TODAY = date(2026, 11, 20)


def problems(files: dict[str, str], national: dict[str, str] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(BundleError) as refused:
        parse(files, national)
    return refused.value.problems


def added(file: str, text: str, files: dict[str, str] = EXAMPLE) -> dict[str, str]:
    return files | {file: files.get(file, "") + text}


LINE = """
[[red_line]]
id = "{id}"
sentence = "Nothing."
kinds = ["NP"]
categories = ["TITLE"]
callers = ["*"]
purposes = ["*"]
basis = ["{basis}"]
"""


@pytest.mark.parametrize("name", ["example", "small-province"])
def test_every_bundle_has_the_national_instruments_and_red_lines(name: str) -> None:
    bundle = load(BUNDLES / name)
    assert bundle == load(BUNDLES / name, BUNDLES / "national")
    assert {"RL01", "RL02"} <= bundle.red_lines.keys()
    assert list(bundle.red_lines)[-2:] == ["RL01", "RL02"]
    assert bundle.instruments["PIPL"].layer is Layer.NATIONAL
    for code in ("RL01", "RL02"):
        line = bundle.red_lines[code]
        assert (line.callers, line.purposes) == (tuple(bundle.callers), tuple(bundle.purposes))
        assert {bundle.instruments[b.instrument].layer for b in line.basis} == {Layer.NATIONAL}


def test_a_red_line_reaches_no_further_than_the_categories_that_are_switched_on() -> None:
    small = load(BUNDLES / "small-province")
    assert small.red_lines["RL01"].categories == ("EVALUATION",)
    assert "UTILITY" not in small.categories
    assert small.red_lines["RL02"].categories == ()


def test_the_hash_covers_the_national_layer() -> None:
    shipped = parse(SMALL)
    sentence = NATIONAL | {
        "red_lines.toml": NATIONAL["red_lines.toml"].replace("no duty needs", "no duty wants")
    }
    comment = NATIONAL | {"red_lines.toml": "# reviewed\n" + NATIONAL["red_lines.toml"]}
    assert parse(SMALL, NATIONAL).hash == parse(SMALL, comment).hash == shipped.hash
    assert parse(SMALL, sentence).hash != shipped.hash


def test_a_national_red_line_cannot_be_redefined() -> None:
    text = LINE.format(id="RL01", basis="XP1")
    (problem,) = problems(added("red_lines.toml", text, SMALL))
    assert (problem.file, problem.line) == ("red_lines.toml", 3)
    assert problem.reason == f"red_line RL01 is national: national/red_lines.toml, line {_line_of('RL01')}"
    assert problem.remedy.startswith("remove it here")


def _line_of(code: str) -> int:
    return NATIONAL["red_lines.toml"].split("\n").index(f'id = "{code}"') + 1


def test_a_national_instrument_cannot_be_redefined() -> None:
    text = '\n[[instrument]]\ncode = "PIPL"\ntitle = "Ours"\nchinese = "我省"\nlayer = "PROVINCIAL"\n'
    (problem,) = problems(added("instruments.toml", text))
    assert problem.file == "instruments.toml"
    assert problem.line == added("instruments.toml", text)["instruments.toml"].count("\n") - 3
    assert problem.reason.startswith("instrument PIPL is national: national/instruments.toml, line ")


def test_a_provincial_code_cannot_be_read_into_a_national_basis() -> None:
    """PIPL34 is article 34 of PIPL, even where a province names an instrument PIPL3."""
    text = '\n[[instrument]]\ncode = "PIPL3"\ntitle = "Ours"\nchinese = "我省"\nlayer = "PROVINCIAL"\n'
    line = parse(added("instruments.toml", text)).red_lines["RL02"]
    assert [(basis.instrument, basis.article) for basis in line.basis] == [("PIPL", "34")]


def test_a_national_red_line_cites_national_instruments() -> None:
    national = NATIONAL | {"red_lines.toml": NATIONAL["red_lines.toml"].replace('"PIPL34"', '"SH34"')}
    (problem,) = problems(EXAMPLE, national)
    assert (problem.file, problem.reason) == (
        "national/red_lines.toml",
        "basis: 'SH34' cites no instrument it may cite",
    )


def test_the_national_layer_holds_national_instruments_alone() -> None:
    text = NATIONAL["instruments.toml"].replace('layer = "NATIONAL"', 'layer = "PROVINCIAL"', 1)
    (problem,) = problems(EXAMPLE, NATIONAL | {"instruments.toml": text})
    assert (problem.file, problem.line) == (
        "national/instruments.toml",
        text.split("\n").index('layer = "PROVINCIAL"') + 1,
    )
    assert "stands in the national layer" in problem.reason


@pytest.mark.parametrize("file", ["instruments.toml", "red_lines.toml"])
def test_the_national_layer_cannot_be_left_out(file: str, tmp_path: Path) -> None:
    left = {name: text for name, text in NATIONAL.items() if name != file}
    (problem,) = problems(SMALL, left)
    assert (problem.file, problem.reason) == (f"national/{file}", "the file is missing")
    assert problem.remedy == "a bundle has the files national/instruments.toml, national/red_lines.toml"
    with pytest.raises(BundleError):
        load(BUNDLES / "small-province", tmp_path)


def test_an_empty_national_layer_is_refused() -> None:
    (problem,) = problems(SMALL, NATIONAL | {"red_lines.toml": "# none\n"})
    assert (problem.file, problem.reason) == ("national/red_lines.toml", "no entry [[red_line]]")


def test_a_file_of_a_bundle_cannot_pass_for_a_national_one() -> None:
    """Whatever a bundle calls its files, the national layer is that of the loader."""
    forged = {"national/red_lines.toml": LINE.format(id="RL01", basis="PIPL1")}
    assert parse(SMALL | forged) == parse(SMALL)


def test_a_province_may_add_red_lines_with_days() -> None:
    text = LINE.format(id="XL01", basis="XP1") + "valid_from = 2026-01-01\nvalid_to = 2026-12-31\n"
    line = parse(added("red_lines.toml", text.replace("TITLE", "HONOUR"), SMALL)).red_lines["XL01"]
    days = (date(2025, 12, 31), date(2026, 1, 1), date(2026, 12, 31), date(2027, 1, 1))
    assert [line.holds_on(day) for day in days] == [False, True, True, False]
    assert parse(SMALL).red_lines["RL01"].holds_on(date.min)


def test_a_red_line_that_ends_before_it_begins_is_refused() -> None:
    text = LINE.format(id="XL01", basis="XP1") + "valid_from = 2026-01-01\nvalid_to = 2025-12-31\n"
    (problem,) = problems(added("red_lines.toml", text.replace("TITLE", "HONOUR"), SMALL))
    assert problem.reason == "valid_to 2025-12-31 is before valid_from 2026-01-01"


def test_a_provincial_red_line_needs_a_basis_and_counts_in_the_hash() -> None:
    text = LINE.replace("TITLE", "HONOUR")
    (problem,) = problems(added("red_lines.toml", text.format(id="XL01", basis="QQ1"), SMALL))
    assert (problem.line, problem.reason) == (9, "basis: 'QQ1' cites no instrument it may cite")
    of_persons = parse(added("red_lines.toml", text.format(id="XL01", basis="XP1"), SMALL))
    of_bodies = parse(
        added("red_lines.toml", text.format(id="XL01", basis="XP1").replace("NP", "GOV"), SMALL)
    )
    assert len({of_persons.hash, of_bodies.hash, parse(SMALL).hash}) == 3


def test_a_provincial_red_line_names_what_the_bundle_has() -> None:
    """A national line skips what is switched off; in a provincial one it is a slip."""
    (problem,) = problems(added("red_lines.toml", LINE.format(id="XL01", basis="XP1"), SMALL))
    assert problem.reason == "categories: 'TITLE' is not defined"


# The floor, the quotas and the exceptions to the ceiling, as data


def change(bundle: dict[str, str], file: str, old: str, new: str) -> dict[str, str]:
    assert old in bundle[file]
    return bundle | {file: bundle[file].replace(old, new, 1)}


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("purposes.toml", 'ORG = ["REG_ORG"', 'ORG = ["REG_ORGS"', "obliges: 'REG_ORGS' is not defined"),
        ("purposes.toml", 'ORG = ["REG_ORG"', 'ORG = ["REG_NP"', "obliges: ORG has no category REG_NP"),
        ("quotas.toml", '"@LENDERS"', '"@LENDER"', "callers: '@LENDER' is not defined"),
        ("quotas.toml", '"LOAN_PRECHECK"', '"LOAN"', "purposes: 'LOAN' is not defined"),
        ("quotas.toml", "= 200", "= 0", "subjects_per_day: Expected `int` >= 1"),
        (
            "quotas.toml",
            "subjects_per_day = 200",
            'subjects_per_day = 200\n\n[[quota]]\ncallers = ["BANK"]\npurposes = ["LOAN_PRECHECK"]\nsubjects_per_day = 5',
            "BANK has a quota for LOAN_PRECHECK already",
        ),
        ("bundle.toml", 'rule = "P017"', 'rule = "P170"', "rule: 'P170' is not defined"),
        ("bundle.toml", '["ARREARS"]', '["ARREAR"]', "categories: 'ARREAR' is not defined"),
        ("bundle.toml", 'conditions = ["SELF_ID"]', 'conditions = ["SELF"]', "conditions: 'SELF' is not defined"),
        ("bundle.toml", 'level = "FULL"', 'level = "ALL"', "level: Invalid enum value 'ALL'"),
        ("bundle.toml", "reason =", "because =", "unknown key 'because'"),
    ],
)  # fmt: skip
def test_faults_of_the_data_are_refused_where_they_stand(file: str, old: str, new: str, reason: str) -> None:
    texts = change(SMALL, file, old, new)
    (problem,) = problems(texts)
    assert problem.file == file
    assert problem.reason.startswith(reason)
    assert problem.remedy
    line = texts[file].split("\n")[problem.line - 1]
    assert line
    assert not line.startswith("#")


def test_a_bundle_without_quotas_or_red_lines_of_its_own_loads() -> None:
    bundle = parse({name: text for name, text in SMALL.items() if name != "quotas.toml"})
    assert bundle.quotas == {}
    assert "red_lines.toml" not in SMALL


def test_groups_that_nothing_names_are_kept_as_such() -> None:
    """The "*" of a red line is every one, and no use of a group that has that name."""
    callers = '\n[[group]]\ncode = "@IDLE"\nenglish = "nobody asks"\nmembers = ["BANK"]\n'
    categories = '\n[[group]]\ncode = "*"\nenglish = "idle"\nkinds = ["ORG"]\nmembers = ["REG_ORG"]\n'
    bundle = parse(added("categories.toml", categories, added("callers.toml", callers, SMALL)))
    assert bundle.unused_groups == ("@IDLE", "*")
    idle = [f.subject for f in check(bundle, TODAY) if f.kind is FindingKind.UNUSED_GROUP]
    assert idle == [("@IDLE",), ("*",)]


# Files that attack the reader


def written(folder: Path, **changed: bytes) -> Path:
    for name, text in SMALL.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, content in changed.items():
        (folder / f"{name}.toml").write_bytes(content)
    return folder


def refusal(folder: Path) -> Problem:
    with pytest.raises(BundleError) as refused:
        load(folder)
    (problem,) = refused.value.problems
    return problem


RULES = SMALL["rules.toml"].encode()


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"\xef\xbb\xbf" + RULES, 1, "begins with a byte order mark"),
        (RULES.decode().encode("utf-16"), 1, "not UTF-8"),
        (RULES.replace(b'id = "P001"', b'id = "P001\xff"'), 5, "not UTF-8"),
        (RULES.replace(b'id = "P001"', b'id = "P001"\nid = "P001"'), 6, "not TOML: Cannot overwrite a value"),
        (RULES.replace(b'"P001"', '"Р001"'.encode()), 5, "id: Expected `str` matching regex"),
        (RULES.replace(b'"COURT"]', '"СOURT"]'.encode(), 1), RULES[: RULES.index(b'"COURT"]')].count(b"\n") + 1, "callers: '\\u0421OURT' is not defined"),
        (RULES.replace(b'"P001"', '"P\u200b001"'.encode()), 5, "holds the invisible character U+200B"),
        (RULES.replace(b"[[rule]]", "# \u202e\n[[rule]]".encode(), 1), 4, "holds the invisible character U+202E"),
        (RULES.replace(b"[[rule]]", b"\x00[[rule]]", 1), 4, "not TOML: "),
        (RULES.replace(b"\n", b"\r"), 1, "not TOML: "),
        (b"x = " + b"[" * 100_000, 1, "not TOML: nested too deeply"),
        (b"x = " + b"9" * 10_000, 1, "not TOML: "),
        (RULES + b"#" * MAX_FILE, 1, "larger than 4 MiB"),
    ],
    ids=[
        "byte order mark", "UTF-16", "not UTF-8", "key twice", "Cyrillic id", "Cyrillic caller", "zero width",
        "right to left", "NUL", "lone CR", "deep", "long number", "huge",
    ],
)  # fmt: skip
def test_a_hostile_file_is_refused(content: bytes, line: int, reason: str, tmp_path: Path) -> None:
    problem = refusal(written(tmp_path, rules=content))
    assert problem.file == "rules.toml"
    assert problem.reason.startswith(reason)
    assert problem.line == line
    assert problem.remedy


def test_line_ends_and_tabs_are_harmless(tmp_path: Path) -> None:
    plain: Bundle = parse(SMALL)
    windows = RULES.replace(b"\n", b"\r\n").replace(b" = ", b"\t=\t")
    assert load(written(tmp_path, rules=windows)) == plain


def test_a_link_out_of_the_bundle_is_refused(tmp_path: Path) -> None:
    bundle, elsewhere = tmp_path / "bundle", tmp_path / "rules.toml"
    bundle.mkdir()
    written(bundle)
    (bundle / "rules.toml").rename(elsewhere)
    (bundle / "rules.toml").symlink_to(elsewhere)
    problem = refusal(bundle)
    assert (problem.file, problem.reason) == ("rules.toml", "links to a file outside the bundle")
    assert problem.remedy


def test_a_link_inside_the_bundle_is_read(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "..data").mkdir()
    (tmp_path / "rules.toml").rename(tmp_path / "..data" / "rules.toml")
    (tmp_path / "rules.toml").symlink_to(Path("..data") / "rules.toml")
    assert load(tmp_path) == parse(SMALL)


def test_a_pipe_or_directory_is_no_file(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "rules.toml").unlink()
    os.mkfifo(tmp_path / "rules.toml")
    assert refusal(tmp_path).reason == "no plain file"
    (tmp_path / "rules.toml").unlink()
    (tmp_path / "rules.toml").mkdir()
    assert refusal(tmp_path).reason == "no plain file"


def test_links_that_lead_nowhere_are_no_files(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "rules.toml").unlink()
    for target in ("rules.toml", "missing.txt"):
        (tmp_path / "rules.toml").symlink_to(tmp_path / target)
        assert refusal(tmp_path).reason == "no plain file"
        (tmp_path / "rules.toml").unlink()


def test_every_hostile_file_is_named_at_once(tmp_path: Path) -> None:
    written(tmp_path, rules=b"\xff", callers=b"\xff")
    with pytest.raises(BundleError) as refused:
        load(tmp_path)
    assert [problem.file for problem in refused.value.problems] == ["callers.toml", "rules.toml"]


def test_a_renamed_category_gets_nothing_from_a_source() -> None:
    """A province cannot step over a red line by another code: a section hangs on the code of the catalogue."""
    texts = {name: text.replace('"EVALUATION"', '"EVALUATION-2"') for name, text in SMALL.items()}
    bundle = parse(texts)
    assert bundle.red_lines["RL01"].categories == ()
    cell = compile_table(bundle, TODAY).cell("MARKET_OFFICE", "SUPERVISION", SubjectKind.ORG, "EVALUATION-2")
    assert isinstance(cell, Cell)
    assert cell.fields == 0
