"""The command line's group `policy`: explain, matrix, diff, replay, check.

Exit status: 0 as wished; 1 when a change widens without approval, when the check finds an error, or when
something given cannot be used; 2 for a wrong command line.
"""

import re
import sys
from collections import deque
from datetime import date, datetime
from pathlib import Path

import click

from gateway import replay as replaying
from gateway.app import load_bundle, utc_now
from gateway.ledger import read_rows
from gateway.river import PROVINCE_TIME
from gateway.usage import one_line_errors
from policies import check as checking
from policies import difference, explain, matrix
from policies.bundle import Bundle
from policies.bundle_files import BundleError
from policies.table import Tables, compile_table
from policies.vocabulary import SubjectKind

_bundle_option = click.option(
    "--bundle", default="example", show_default=True, help="Name or directory of the policy bundle."
)
_day_option = click.option(
    "--day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day on which the rules are looked at; today by default.",
)


def _division(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    if given is not None and not re.fullmatch("[0-9]{6}", given):
        raise click.BadParameter("six digits are expected")
    return given


@click.group()
def policy() -> None:
    """Read, compare and check the rules."""


@policy.command("explain")
@_bundle_option
@click.option("--caller", required=True, help="Caller type, such as MARKET_REGULATION.")
@click.option("--purpose", required=True, help="Purpose, such as SUPERVISION.")
@click.option("--subject-kind", required=True, type=click.Choice(list(SubjectKind)), help="Kind of subject.")
@click.option("--category", required=True, help="Category, such as PENALTY.")
@click.option(
    "--division",
    callback=_division,
    help="Division of the unit, six digits; by default one of this province.",
)
@_day_option
def policy_explain(
    bundle: str,
    caller: str,
    purpose: str,
    subject_kind: SubjectKind,
    category: str,
    division: str | None,
    day: datetime | None,
) -> None:
    """Say why a caller gets a category for a purpose, or why not, and what would make it lawful."""
    with one_line_errors():
        table = compile_table(_loaded(bundle), _day(day))
        found = explain.explain(
            table,
            caller_type=caller,
            purpose=purpose,
            kind=SubjectKind(subject_kind),
            category=category,
            division=division,
        )
    click.echo(explain.text(found))


@policy.command("matrix")
@_bundle_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "html"]),
    default="text",
    show_default=True,
    help="Text, CSV (a line for each permission), or a page to publish as the list of inquiry matters.",
)
@click.option("--caller", help="One caller type; all by default.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write (UTF-8).")
@_day_option
def policy_matrix(
    bundle: str, form: str, caller: str | None, output: Path | None, day: datetime | None
) -> None:
    """Print who may learn what for which purpose."""
    with one_line_errors():
        today = _day(day)
        table = compile_table(_loaded(bundle), today)
        if form == "csv":
            made = matrix.as_csv(table, caller)
        elif form == "html":
            made = matrix.as_html(table, today, caller)
        else:
            made = matrix.as_text(table, today, caller) + "\n"
        if output is not None:
            # Line ends as made: those of CSV are its own.
            output.write_text(made, "utf-8", newline="")
    if output is None:
        click.echo(made, nl=False)


@policy.command("diff")
@click.argument("old")
@click.argument("new")
@click.option("--approve", is_flag=True, help="What widens is meant.")
@_day_option
def policy_diff(old: str, new: str, approve: bool, day: datetime | None) -> None:
    """Say what the bundle NEW changes against OLD; exit 1 when it widens without --approve."""
    with one_line_errors():
        changes = difference.compare(_loaded(old), _loaded(new), _day(day))
    click.echo(difference.text(changes))
    widening = difference.needing_approval(changes)
    if widening and not approve:
        click.echo(f"{len(widening)} of them give somebody more: approve them with --approve.", err=True)
        sys.exit(1)


@policy.command("replay")
@click.argument("bundle")
@click.option(
    "--path", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True, help="Ledger file."
)
@click.option("--limit", type=click.IntRange(min=1), help="Only so many of the newest rows.")
def policy_replay(bundle: str, path: Path, limit: int | None) -> None:
    """Decide the ledger's inquiries again with BUNDLE, and say which would now be refused or allowed."""
    with one_line_errors():
        tables = Tables(_loaded(bundle))
        rows = read_rows(path)
        found = replaying.replay(rows if limit is None else deque(rows, limit), tables)
    click.echo(replaying.text(found))


@policy.command("check")
@_bundle_option
@_day_option
def policy_check(bundle: str, day: datetime | None) -> None:
    """Enumerate all that the rules give and report what is wrong; exit 1 on an error."""
    with one_line_errors():
        findings = checking.check(_loaded(bundle), _day(day))
    click.echo(checking.report(findings))
    if any(finding.severity == "ERROR" for finding in findings):
        sys.exit(1)


def _day(given: datetime | None) -> date:
    return given.date() if given is not None else utc_now().astimezone(PROVINCE_TIME).date()


def _loaded(name: str) -> Bundle:
    """The bundle; its faults are told with its name, the first of them in full."""
    try:
        return load_bundle(name)
    except BundleError as error:
        others = len(error.problems) - 1
        more = f" (and {others} more)" if others else ""
        raise click.ClickException(f"bundle {name}: {error.problems[0]}{more}") from error
    except FileNotFoundError as error:
        raise click.ClickException(f"bundle {name}: no such bundle or directory") from error
