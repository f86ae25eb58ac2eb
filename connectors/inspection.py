"""Looking a source file over without any source: every mistake that would keep the gateway from loading it, and what
is doubtful about a file that has none.
"""

from collections.abc import Iterator
from pathlib import Path

from connectors.checks import mistakes_between, warnings_of_source
from connectors.loader import file_error, read_source
from connectors.mapping import RecordMap
from connectors.problems import SourceFileError, SourceKeyError
from connectors.registers import EntryMap
from connectors.request import Asking, RequestTemplate
from connectors.source import LookupFile, RegisterFile, SourceFile


def mistakes_in(path: Path) -> list[SourceFileError]:
    """The mistakes of a file in the order of their lines; none if it can be loaded where its secrets are set."""
    try:
        source = read_source(path)
        mistakes = list(_mistakes_of_parts(source))
        if source.id != path.stem:
            mistakes.append(
                SourceKeyError(
                    "id", "it differs from the file's name", f"write id = {path.stem!r} or rename the file"
                )
            )
        if mistakes:
            raise file_error(path, *mistakes)
    except SourceFileError as error:
        return sorted((error, *error.others), key=lambda mistake: mistake.line or 0)
    return []


def warnings_in(path: Path) -> list[SourceFileError]:
    """What is doubtful about a file without a mistake, in the order of its lines; it is loaded all the same."""
    warnings = [file_error(path, doubt) for doubt in warnings_of_source(read_source(path))]
    return sorted(warnings, key=lambda warning: warning.line or 0)


def mistakes_between_files(directory: Path) -> list[SourceFileError]:
    """How the files of a directory, each without a mistake, do not go together."""
    files = {path.stem: read_source(path) for path in sorted(directory.glob("*.toml"))}
    return [file_error(directory / f"{name}.toml", mistake) for name, mistake in mistakes_between(files)]


def _mistakes_of_parts(source: SourceFile) -> Iterator[SourceKeyError]:
    """The first mistake of each part whose templates or field map cannot work."""
    parts: list[tuple[str, Asking | None]] = [
        *((f"lookup[{place}]", lookup) for place, lookup in enumerate(source.lookup)),
        *((f"register[{place}]", register) for place, register in enumerate(source.register)),
        *((f"statistics[{place}]", statistics) for place, statistics in enumerate(source.statistics)),
        ("search", source.search),
        ("token", source.token),
    ]
    for key, part in parts:
        if part is None:
            continue
        try:
            _compile(source, part, key)
        except SourceKeyError as mistake:
            yield mistake


def _compile(source: SourceFile, part: Asking, key: str) -> None:
    if source.database is None:
        RequestTemplate(source, part, key, url=source.url)
    else:
        # SQLAlchemy costs a start a fifth of a second, so it is loaded for who has a database.
        from connectors.sql import statement_of

        statement_of(part, key)
    if isinstance(part, LookupFile):
        RecordMap(source, part, key)
    if isinstance(part, RegisterFile):
        EntryMap(source, part, key)
