"""The command line's group `sources`, against files and against the sandbox."""

import asyncio
import json
import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import jsonschema
import pytest
from click.testing import CliRunner, Result
from service import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import connectors
from connectors.loader import read_sources
from connectors.problems import SourceFileError
from connectors.sandbox.population import CAST
from connectors.sandbox.server import Sandbox
from connectors.source_schema import PLACE, schema_text, source_schema
from gateway.source_commands import sources
from policies.catalogue import SECTION_OF, SECTIONS, Section, fields_of

SOURCES = Path(connectors.__file__).parent / "sources"
FILES = read_sources(SOURCES)
GOOD = (SOURCES / "court.toml").read_text("utf-8")


def _references(text: str) -> str:
    """The text as XML may write it."""
    return "".join(f"&#x{ord(character):x};" for character in text)


def run(*arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(sources, arguments, env=environment)


# --- check


def test_the_files_that_come_with_the_gateway_have_no_mistake() -> None:
    result = run("check", str(SOURCES))
    assert (result.exit_code, result.stderr) == (0, "")
    assert set(result.stdout.splitlines()) == {f"{name}.toml: OK" for name in FILES}


def test_every_mistake_is_a_line_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "court.toml"
    lines = GOOD.splitlines()
    timeout = lines.index('kind = "EXTERNAL"') + 1
    lines.insert(timeout, "timeout_seconds = 0")
    lookup = lines.index("[[lookup]]")
    lines.insert(lookup + 1, "cache_seconds = -1")
    path.write_text("\n".join(lines), "utf-8")
    result = run("check", str(path))
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"court.toml:{timeout + 1}: timeout_seconds: it is not positive; write seconds, such as 2.0",
        f"court.toml:{lookup + 2}: lookup[0].cache_seconds: it is negative; write 0 to keep nothing",
        "2 mistakes",
    ]


def test_mistakes_of_templates_and_maps_are_found_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "court.toml"
    path.write_text(GOOD.replace("[lookup.fields]", "[lookup.fields]\nnothing = 'x'", 1), "utf-8")
    result = run("check", str(path), environment={})
    assert result.exit_code == 1
    assert "court.toml:" in result.stderr
    assert "lookup[0].fields.nothing" in result.stderr


def test_a_copy_under_another_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "tribunal.toml").write_text(GOOD, "utf-8")
    result = run("check", str(tmp_path))
    assert result.exit_code == 1
    assert "id: it differs from the file's name; write id = 'tribunal' or rename the file" in result.stderr


NO_STAND_IN = (
    "fallback: that source can stand in for none of the lookups; "
    "name one that serves such a category, for the same kinds and keys"
)


@pytest.mark.parametrize(
    ("source", "name", "more", "mistake"),
    [
        ("court", "court", 'fallback = "tribunal"', "fallback: there is no such source; write the id of another file"),
        ("court", "court", 'fallback = "taxation"', NO_STAND_IN),
        ("utilities", "utilities", 'fallback = "department-registers"', NO_STAND_IN),
        ("trading-platform", "zone-platform", "", "register[0].names: projects is served twice; keep one of them"),
        ("provincial-platform", "registry", "", "search: provincial-platform offers it, too; keep one [search]"),
    ],
)  # fmt: skip
def test_files_that_do_not_go_together_are_told(
    source: str, name: str, more: str, mistake: str, tmp_path: Path
) -> None:
    directory = shutil.copytree(SOURCES, tmp_path / "sources")
    text = (SOURCES / f"{source}.toml").read_text("utf-8")
    text = text.replace(f'id = "{source}"', f'id = "{name}"', 1).replace("[secrets]", f"{more}\n[secrets]", 1)
    (directory / f"{name}.toml").write_text(text, "utf-8")
    result = run("check", str(directory))
    assert result.exit_code == 1, result.output
    first = result.stderr.splitlines()[0]
    assert (first.split(":")[0], first.partition(": ")[2]) == (f"{name}.toml", mistake)
    with pytest.raises(SourceFileError) as refused:
        read_sources(directory)
    assert str(refused.value) == first


def test_a_fallback_serves_all_kinds_of_a_category_that_it_stands_in_for(tmp_path: Path) -> None:
    directory = shutil.copytree(SOURCES, tmp_path / "sources")
    court = directory / "court.toml"
    court.write_text(GOOD.replace("[secrets]", 'fallback = "spare"\n[secrets]', 1), "utf-8")
    spare = directory / "spare.toml"
    text = GOOD.replace('id = "court"', 'id = "spare"', 1)
    spare.write_text(text, "utf-8")
    assert run("check", str(directory)).exit_code == 0
    text = re.sub(r"(?m)^kinds = .*$", 'kinds = ["ORG"]', text)
    spare.write_text(re.sub(r"(?m)^keys = .*$", 'keys = ["credit_code"]', text), "utf-8")
    result = run("check", str(directory))
    assert (result.exit_code, NO_STAND_IN in result.stderr) == (1, True), result.output


@pytest.mark.parametrize(
    ("source", "dates"),
    [
        ("provincial-platform", "conduct_ended_on or decided_on"),
        ("government-affairs", "due_on or committed_on"),
        ("county-platform", "decided_on"),
    ],
)
def test_records_that_hardly_anybody_will_see_are_a_warning_and_no_mistake(
    source: str, dates: str, tmp_path: Path
) -> None:
    text = (SOURCES / f"{source}.toml").read_text("utf-8")
    records = [SECTION_OF[lookup.category, lookup.kinds[0]].record for lookup in FILES[source].lookup]
    hidden = [place for place, record in enumerate(records) if record.COUNTED_FROM]
    path = tmp_path / f"{source}.toml"
    path.write_text(re.sub(r"(?m)^(conduct_ended|decided|due|committed)_on = .*$", "", text), "utf-8")
    result = run("check", str(path))
    assert (result.exit_code, result.stdout) == (0, f"{source}.toml: OK\n")
    told = result.stderr.splitlines()
    assert [line.split(": ")[2] for line in told] == [f"lookup[{place}].fields" for place in hidden]
    for line in told:
        assert re.match(rf"warning: {source}\.toml:\d+: ", line)
        assert "its records are hidden from all whom that limit binds; map " in line
    assert any(line.endswith(f"; map {dates}") for line in told)
    assert read_sources(tmp_path).keys() == {source}
    # One of the dates is enough.
    path.write_text(re.sub(r"(?m)^(conduct_ended|due)_on = .*$", "", text), "utf-8")
    assert run("check", str(path)).stderr == ""


def test_an_empty_directory_and_a_missing_file_are_told(tmp_path: Path) -> None:
    assert "no source file" in run("check", str(tmp_path)).stderr
    assert run("check", str(tmp_path / "none.toml")).exit_code == 2


# --- schema


def test_the_schema_that_is_checked_in_is_current() -> None:
    assert PLACE.read_text("utf-8") == schema_text()
    assert run("schema").stdout == schema_text()


def test_the_files_that_come_with_the_gateway_fit_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(source_schema())
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    for name in FILES:
        validator.validate(tomllib.loads((SOURCES / f"{name}.toml").read_text("utf-8")))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('kind = "EXTERNAL"', 'kind = "FOREIGN"'),
        ('kind = "EXTERNAL"', 'kind = "EXTERNAL"\nunknown = 1'),
        ("[lookup.fields]", "[lookup.fields]\nfacts = 5"),
        ("[lookup.fields]", "[lookup.fields]\nfacts = { form = 'x' }"),
    ],
)
def test_the_schema_finds_mistakes(before: str, after: str) -> None:
    assert before in GOOD
    changed: Any = tomllib.loads(GOOD.replace(before, after, 1))
    assert not jsonschema.Draft202012Validator(source_schema()).is_valid(changed)


def test_every_table_of_the_schema_says_what_it_is() -> None:
    for name, part in source_schema()["$defs"].items():
        if part.get("type") == "object":
            assert part.get("description"), name


# --- fields


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.type_name)
def test_every_field_of_a_category_is_named(section: Section) -> None:
    result = run("fields", section.category)
    assert result.exit_code == 0, result.output
    _, _, shown = result.stdout.partition(f"{section.type_name} of ")
    lines = [line.split()[0] for line in shown.splitlines()[1 : len(fields_of(section.record)) + 1]]
    assert lines == [field.name for field in fields_of(section.record)]


def test_what_a_field_holds_is_said() -> None:
    lines = {
        line.split()[0]: line.rpartition(": ")[2] for line in run("fields", "PENALTY").stdout.splitlines()
    }
    held = {"facts": "text", "fine": "number", "decided_on": "day", "severity": "MINOR | GENERAL | SERIOUS"}
    assert {name: lines[name] for name in held} == held


def test_a_category_that_is_not_there_is_told() -> None:
    result = run("fields", "LICENSE")
    assert (result.exit_code, "LICENCE, " in result.stderr) == (1, True)


# --- list and try, against the sandbox


@pytest.fixture
def settings(sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    return {name: url for name, url in sandbox.urls.items() if name in FILES}


async def against(settings: Mapping[str, str], tmp_path: Path, *arguments: str) -> Result:
    """The command with the addresses of the sandbox; in a thread, because it runs a loop of its own."""
    directory = tmp_path / "sources"
    directory.mkdir(exist_ok=True)
    for name, file in FILES.items():
        text = (SOURCES / f"{name}.toml").read_text("utf-8")
        if name in settings:
            text = text.replace(f'url = "{file.url}"', f'url = "{settings[name]}"', 1)
        (directory / f"{name}.toml").write_text(text, "utf-8")
    return await asyncio.to_thread(run, *arguments, "--directory", str(directory))


async def test_the_list_says_who_is_up(settings: dict[str, str], tmp_path: Path) -> None:
    result = await against(settings, tmp_path, "list")
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert lines.keys() == FILES.keys()
    assert all(line.split()[1] == "up" for line in lines.values())
    assert "ENFORCE_DEFAULT" in lines["court"]
    down = await against({**settings, "court": "http://127.0.0.1:1"}, tmp_path, "list")
    assert down.exit_code == 1
    assert [line.split()[0] for line in down.stdout.splitlines() if line.split()[1] == "DOWN"] == ["court"]


async def test_a_source_is_tried_with_a_synthetic_subject(settings: dict[str, str], tmp_path: Path) -> None:
    member = CAST["clean"]
    result = await against(settings, tmp_path, "try", "market-a", "--subject", member.key)
    assert result.exit_code == 0, result.output
    for text in (
        "== MARKET",
        "keyword=SUBJECT",
        "SECRET-key",
        "-- answer\nHTTP 200",
        "MarketCredit\n  record_id: ",
        "dropped: ",
    ):
        assert text in result.stdout
    for text in (member.key, "sandbox-qcc-key", "sandbox-qcc-secret"):
        assert text not in result.output


async def test_a_person_is_hidden_too(settings: dict[str, str], tmp_path: Path) -> None:
    member = CAST["clean-person"]
    assert member.name
    result = await against(
        settings, tmp_path, "try", "market-a", "--subject", member.key, "--name", member.name, "--authorization", "A-1"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for text in ("score", "telephone", "phone"):
        assert text not in result.stdout.partition("-- records")[2].partition("-- dropped")[0].lower()
    assert member.key not in result.output
    assert member.name not in result.output


@pytest.mark.parametrize(
    "spell", [json.dumps, quote, quote_plus, "".join, _references], ids=lambda spell: spell.__name__
)
async def test_no_spelling_of_a_name_is_shown(spell: Callable[[str], str], tmp_path: Path) -> None:
    member = CAST["clean-person"]
    assert member.name
    said = f'{{"Status": "500", "Message": "{spell(member.name).strip(chr(34))} {member.key.lower()}"}}'

    async def answer(_request: Request) -> Response:
        return Response(said, media_type="application/json")

    async with serving(Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])) as url:
        result = await asyncio.to_thread(
            run, "try", "market-a", "--subject", member.key, "--name", member.name, "--authorization", "A-1", "--url", url
        )  # fmt: skip
    assert result.exit_code == 1
    assert '"Message": "HIDDEN HIDDEN"' in result.stdout


async def test_a_refusal_is_told_and_exits_1(settings: dict[str, str], tmp_path: Path) -> None:
    result = await against(
        settings, tmp_path, "try", "market-a", "--subject", CAST["clean"].key, "--purpose", "AWARD"
    )
    assert result.exit_code == 1
    assert "-- fault: REFUSED" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("court", "--subject", "91110000100000000X"), "division 99"),
        (("court", "--subject", "9199"), "--subject"),
        (("nobody", "--subject", "91990100FAKE00013D"), "no source of this id; known: association"),
        (("court", "--subject", "91990100FAKE00013D", "--category", "MARKET"), "serves no such category"),
    ],
)
def test_what_cannot_be_tried_is_told(arguments: tuple[str, ...], message: str) -> None:
    result = run("try", *arguments)
    assert (result.exit_code, message in result.stderr) == (1, True), result.output
    assert "Traceback" not in result.output
