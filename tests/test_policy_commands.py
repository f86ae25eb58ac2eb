"""The commands of the rules: what they print, what they refuse, and with which exit status."""

import asyncio
import shutil
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway import record
from gateway.ledger import SqliteLedger
from gateway.policy_commands import policy
from policies.bundle_loading import load
from policies.check import check
from policies.difference import compare, text
from policies.matrix import as_csv, as_html, as_text
from policies.table import compile_table

EXAMPLE = files("policies") / "bundles" / "example"
BUNDLE = load(EXAMPLE)
DAY = date(2026, 11, 20)
TABLE = compile_table(BUNDLE, DAY)


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(policy, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def assert_refused(result: Result, *words: str, status: int = 1) -> None:
    """One clear line on standard error and nothing on standard output."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    if status == 1:
        assert result.stderr.splitlines() == [last]
    for word in words:
        assert word in last


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the example that a test may change."""
    with_files = tmp_path / "province"
    with_files.mkdir()
    for entry in EXAMPLE.iterdir():
        (with_files / entry.name).write_bytes(entry.read_bytes())
    return with_files


def edit(folder: Path, file: str, before: str, after: str) -> None:
    path = folder / file
    content = path.read_text("utf-8")
    assert before in content
    path.write_text(content.replace(before, after, 1), "utf-8")


LEVEL_OF_R055 = 'kinds = ["NP"]\ncategories = ["REG_NP"]\nlevel = "MATCH"\nconditions = ["CASE"]\nbasis = ["SH17", "CR28"]'


def widen(folder: Path) -> None:
    edit(folder, "rules.toml", LEVEL_OF_R055, LEVEL_OF_R055.replace("MATCH", "FULL"))


# --- explain ------------------------------------------------------------------------------------------------

ASKED = (
    "explain",
    "--caller",
    "MARKET_REGULATION",
    "--purpose",
    "SUPERVISION",
    "--subject-kind",
    "ORG",
    "--category",
)


def test_explain() -> None:
    yes, no = run(*ASKED, "PENALTY"), run(*ASKED, "TAX_PAYMENT")
    assert (yes.exit_code, no.exit_code) == (0, 0)
    assert "YES 允许, by rule R012" in yes.stdout
    assert "NO 不允许: DENY_CATEGORY" in no.stdout


def test_explain_on_another_day() -> None:
    assert "YES" in run(*ASKED, "PENALTY", "--day", "2022-10-01").stdout
    before = run(*ASKED, "PENALTY", "--day", "2022-09-30").stdout
    assert "NO 不允许" in before
    assert "Rule R012 is written for it (ACTIVE, valid from 2022-10-01)" in before


def test_explain_refuses_unknown_codes() -> None:
    assert_refused(run(*ASKED, "PENALTIES"), "category: 'PENALTIES' is not in the bundle; nearest: PENALTY")
    assert_refused(run(*ASKED, "PENALTY", "--subject-kind", "DOG"), "'DOG'", status=2)
    assert_refused(run(*ASKED, "PENALTY", "--day", "2026-02-30"), "2026-02-30", status=2)
    assert_refused(run("explain"), "Missing option", status=2)


# --- matrix -------------------------------------------------------------------------------------------------


def test_matrix_in_each_form() -> None:
    on_the_day = ("--day", DAY.isoformat())
    assert run("matrix", *on_the_day).stdout == as_text(TABLE, DAY) + "\n"
    bank = ("--caller", "BANK")
    assert run("matrix", *on_the_day, *bank).stdout == as_text(TABLE, DAY, "BANK") + "\n"
    assert run("matrix", *on_the_day, *bank, "--format", "html").stdout == as_html(TABLE, DAY, "BANK")
    printed = run("matrix", *on_the_day, *bank, "--format", "csv").stdout_bytes
    assert printed.decode() == as_csv(TABLE, "BANK")


def test_matrix_into_a_file(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    result = run("matrix", "--format", "csv", "--caller", "BANK", "--day", DAY.isoformat(), "--output", path)
    assert (result.exit_code, result.output) == (0, "")
    assert path.read_bytes().decode() == as_csv(TABLE, "BANK")


def test_matrix_refuses(tmp_path: Path) -> None:
    assert_refused(run("matrix", "--caller", "BANKS"), "caller: 'BANKS'", "nearest: BANK")
    assert_refused(run("matrix", "--format", "pdf"), "pdf", status=2)
    assert_refused(run("matrix", "--output", tmp_path / "no" / "list"), "No such file or directory")
    assert_refused(run("matrix", "--bundle", "atlantis"), "bundle atlantis: no such bundle or directory")


# --- diff ---------------------------------------------------------------------------------------------------


def test_diff_of_the_same() -> None:
    result = run("diff", "example", "example")
    assert (result.exit_code, result.output) == (0, "Nothing changes.\n")


def test_what_widens_must_be_approved(bundle: Path) -> None:
    widen(bundle)
    day = ("--day", DAY.isoformat())
    result = run("diff", "example", bundle, *day)
    assert result.exit_code == 1
    assert result.stdout == text(compare(BUNDLE, load(bundle), DAY)) + "\n"
    assert (
        "COURT, PROCURATORATE for JUDICIAL of natural persons: REG_NP MATCH (R055) → FULL (R055)"
        in result.stdout
    )
    assert result.stderr == "1 of them give somebody more: approve them with --approve.\n"
    approved = run("diff", "example", bundle, "--approve", *day)
    assert (approved.exit_code, approved.stdout, approved.stderr) == (0, result.stdout, "")


def test_what_narrows_needs_no_approval(bundle: Path) -> None:
    widen(bundle)
    result = run("diff", bundle, "example")
    assert result.exit_code == 0
    assert "NARROWS" in result.stdout


def test_a_bundle_with_faults_is_told_in_a_line(bundle: Path) -> None:
    edit(bundle, "rules.toml", 'id = "R001"', 'id = "R002"')
    edit(bundle, "callers.toml", 'audience = "DEPARTMENT"', 'audience = "ALIENS"')
    assert_refused(run("diff", "example", bundle), f"bundle {bundle}: callers.toml:", "ALIENS")


# --- replay -------------------------------------------------------------------------------------------------


def ledger(folder: Path, *bodies: bytes) -> Path:
    path = folder / "ledger.sqlite"

    async def write() -> None:
        opened = SqliteLedger.open(path, b"k" * 32)
        for body in bodies:
            await opened.append(body)
        await opened.aclose()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(write())
    loop.close()
    return path


ROW = (
    '{"version": %d, "catalogue": "%s", "evidence": {}, "quota": null, "withdrawals": true, "registers": [], "counts": [], "logs": [],'
    ' "time": "2026-11-20T09:00:00.000+00:00", "day": "2026-11-20", "outcome": "ANSWERED",'
    ' "caller": {"unit": "11990000FAKE000483", "unit_name": "示例局", "type": "COURT", "level": null,'
    ' "division": null, "officer": null, "client": "c", "token": "t", "purposes": ["PUBLIC_VIEW"],'
    ' "categories": null, "synthetic_only": false}, "purpose": "PUBLIC_VIEW", "on_denied": "FILTER",'
    ' "searches": [], "subjects": [{"subject": "5f", "kind": "ORG", "scheme": "credit_code",'
    ' "synthetic": true, "self": false, "warnings": [], "over_quota": false, "evidence": {}, "of": 1,'
    ' "sections": [{"category": "PENALTY", "asked": 1, "rule": "R080", "level": "PUBLIC", "fields": 1, "proven": [],'
    ' "outcome": "PERMIT"}]}]}' % (record.VERSION, record.CATALOGUE)
).encode()


def test_replay(tmp_path: Path, bundle: Path) -> None:
    path = ledger(tmp_path, ROW, record.PROBE, ROW)
    same = run("replay", "example", "--path", path)
    assert (same.exit_code, same.stdout[:38]) == (0, "Of 2 inquiries 0 would now be refused,")
    edit(
        bundle,
        "rules.toml",
        '"ENFORCE_DEFAULT", "PENALTY", "REWARD_ADMIN"',
        '"ENFORCE_DEFAULT", "REWARD_ADMIN"',
    )
    found = run("replay", bundle, "--path", path).stdout
    assert "Of 2 inquiries 2 would now be refused" in found
    assert "2 (rows 1, 3): COURT 示例局 (11990000FAKE000483) for PUBLIC_VIEW: PENALTY of ORG" in found
    newest = run("replay", bundle, "--path", path, "--limit", "2").stdout
    assert "Of 1 inquiries 1 would now be refused" in newest


def test_replay_refuses(tmp_path: Path) -> None:
    assert_refused(run("replay", "example", "--path", tmp_path / "none"), "does not exist", status=2)
    (tmp_path / "text").write_text("no database")
    assert_refused(run("replay", "example", "--path", tmp_path / "text"), "text")
    path = ledger(tmp_path, b'{"version": 99, "outcome": "ANSWERED"}')
    assert_refused(run("replay", "example", "--path", path), "row 1: is of version 99")
    assert_refused(run("replay", "example", "--path", path, "--limit", "0"), "0", status=2)


# --- check --------------------------------------------------------------------------------------------------


def test_check(bundle: Path) -> None:
    errors = [finding for finding in check(BUNDLE, DAY) if finding.severity == "ERROR"]
    result = run("check", "--day", DAY.isoformat())
    assert result.exit_code == (1 if errors else 0)
    widen(bundle)
    found = run("check", "--bundle", bundle, "--day", DAY.isoformat())
    assert found.exit_code == 1
    assert "ERROR OVER_GRANT" in found.stdout


def test_check_refuses(bundle: Path) -> None:
    shutil.rmtree(bundle)
    assert_refused(run("check", "--bundle", bundle), "no such bundle or directory")
