"""The command line's group `sources`: check, try, list, fields, schema.

Exit status: 0 as wished; 1 when a file has a mistake, a source gives no answer that can be used, or something
given cannot be used; 2 for a wrong command line.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from importlib.resources import as_file, files
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import click

from connectors.answers import Ground
from connectors.fetch import Sources
from connectors.inspection import mistakes_between_files, mistakes_in, warnings_in
from connectors.loader import read_sources
from connectors.problems import SourceFileError
from connectors.source_schema import schema_text
from connectors.trial import Trial, try_source
from gateway.app import utc_now
from gateway.settings import load_settings
from gateway.usage import one_line_errors
from policies import identifiers
from policies.catalogue import SECTIONS, fields_of
from policies.identifiers import SubjectKey

_config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Settings file that names the directory of the sources and their addresses.",
)
_directory_option = click.option(
    "--directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Directory of source files; those that come with the gateway by default.",
)


@click.group()
def sources() -> None:
    """Check, try and list the sources."""


@sources.command("check")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def sources_check(paths: Sequence[Path]) -> None:
    """Look source files over (or all of a directory, and how they go together); exit 1 when one has a mistake.

    Each mistake is a line: file, line, key, reason and remedy; so is a warning, which begins with that word and is no
    reason to fail. Secrets need not be set, and no source is asked.
    """
    mistakes: list[SourceFileError] = []
    for path in [file for given in paths for file in _files_of(given)]:
        found = mistakes_in(path)
        mistakes += found
        if not found:
            click.echo(f"{path.name}: OK")
            for warning in warnings_in(path):
                click.echo(f"warning: {warning}", err=True)
    if not mistakes:
        mistakes = [each for path in paths if path.is_dir() for each in mistakes_between_files(path)]
    for mistake in mistakes:
        click.echo(str(mistake), err=True)
    if mistakes:
        click.echo(f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}", err=True)
        sys.exit(1)


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(path.glob("*.toml"))
    if not found:
        raise click.ClickException(f"{path}: the directory holds no source file")
    return found


@sources.command("list")
@_config_option
@_directory_option
def sources_list(config: Path | None, directory: Path | None) -> None:
    """Name every source with its categories, and say which take a connection; exit 1 when one does not."""
    with one_line_errors():
        place, urls = _place(config, directory)
        up = asyncio.run(_list(place, urls))
    if not all(up.values()):
        sys.exit(1)


async def _list(place: Path, urls: dict[str, str]) -> dict[str, bool]:
    loaded = Sources.load(place, urls=urls, secrets=os.environ)
    try:
        up = dict(await loaded.probe())
    finally:
        await loaded.aclose()
    for source, info in loaded.titles().items():
        state = "up" if up[source] else "DOWN"
        categories = " ".join(info.categories) or "(registers of evidence)"
        click.echo(f"{source:24} {state:5} {info.kind:11} {info.title} {info.chinese}: {categories}")
    return up


@sources.command("schema")
def sources_schema() -> None:
    """Print the JSON Schema of source files, for editors."""
    click.echo(schema_text(), nl=False)


@sources.command("fields")
@click.argument("category")
def sources_fields(category: str) -> None:
    """Name the fields of CATEGORY's records, which [lookup.fields] maps, with what each holds."""
    sections = [section for section in SECTIONS if section.category == category]
    if not sections:
        known = ", ".join(dict.fromkeys(section.category for section in SECTIONS))
        raise click.ClickException(f"there is no such category; known: {known}")
    for section in sections:
        click.echo(f"{section.type_name} of {', '.join(section.kinds)}")
        for field in fields_of(section.record):
            click.echo(f"  {field.name:22} {field.shown.english} {field.shown.chinese}: {_words(field.type)}")


_WORDS: Mapping[type, str] = {
    str: "text",
    int: "number",
    Decimal: "number",
    bool: "true or false",
    date: "day",
    datetime: "time",
}


def _words(python_type: Any) -> str:
    """What a field of the type holds."""
    if get_origin(python_type) is tuple:
        return f"list: {_words(get_args(python_type)[0])}"
    found = next((part for part in get_args(python_type) if part is not NoneType), python_type)
    return _WORDS.get(found) or " | ".join(found)


@sources.command("try")
@click.argument("source")
@click.option("--subject", required=True, help="Credit code, or resident number with --name.")
@click.option("--name", help="Name of the person.")
@click.option(
    "--category", help="Category, such as PENALTY; by default all that the source has of the subject."
)
@click.option("--purpose", default="SELF", show_default=True, help="Purpose that the source is told.")
@click.option("--matter", help="Matter number that the source is told.")
@click.option("--authorization", help="Id of the authorization that the source is told.")
@click.option("--url", help="Base address to ask in place of the file's.")
@click.option("--real-subject", is_flag=True, help="The subject may be one that is not of division 99.")
@_config_option
@_directory_option
def sources_try(
    source: str,
    subject: str,
    name: str | None,
    category: str | None,
    purpose: str,
    matter: str | None,
    authorization: str | None,
    url: str | None,
    real_subject: bool,
    config: Path | None,
    directory: Path | None,
) -> None:
    """Ask SOURCE about one subject and print request, raw answer, records and what was dropped.

    Secrets and the subject's identifiers are hidden. Whoever asks about a real subject needs a ground in law: nothing of
    it is recorded here.
    """
    with one_line_errors():
        key = _subject(subject, name)
        if not key.synthetic and not real_subject:
            raise ValueError("--subject: it is not of division 99: a real subject needs --real-subject")
        place, urls = _place(config, directory)
        known = read_sources(place)
        if source not in known:
            raise ValueError(f"there is no source of this id; known: {', '.join(known)}")
        trials = asyncio.run(
            try_source(
                known[source],
                key,
                category=category,
                ground=Ground(purpose, matter, authorization),
                url=url or urls.get(source, known[source].url),
                environment=os.environ,
            )
        )
    for trial in trials:
        _print(trial)
    if any(trial.fault is not None for trial in trials):
        sys.exit(1)


def _subject(text: str, name: str | None) -> SubjectKey:
    if name is not None:
        return identifiers.resident(text, name, today=utc_now().date(), field="--subject")
    if len(text.strip()) == 15:
        return identifiers.registration_number(text, field="--subject")
    return identifiers.credit_code(text, field="--subject")


def _print(trial: Trial) -> None:
    click.echo(f"== {trial.category}")
    for title, text in (("request", trial.request), ("answer", trial.answer)):
        click.echo(f"-- {title}")
        click.echo(text)
    click.echo("-- records of the first page" if trial.is_part else "-- records")
    for record in trial.records:
        click.echo(record)
    click.echo(f"-- dropped: {', '.join(trial.dropped) or 'nothing'}")
    if trial.fault is not None:
        click.echo(f"-- fault: {trial.fault}")


def _place(config: Path | None, directory: Path | None) -> tuple[Path, dict[str, str]]:
    """Where the source files lie, and which addresses the settings put in place of theirs."""
    settings = load_settings(config, os.environ).sources if config is not None else None
    urls = dict(settings.urls) if settings is not None else {}
    if directory is not None:
        return directory, urls
    if settings is not None and settings.directory:
        return Path(settings.directory), urls
    with as_file(files("connectors") / "sources") as installed:
        return installed, urls
