"""The commands for sources as an integrator types them: in a shell of its own, with the files alone."""

import json
from pathlib import Path

import pytest
from raw_sources import INSTALLED, SourceFiles
from service import CLEAN
from test_cli import Done, config_of, run

from connectors.sandbox.server import Sandbox

URL = "http://127.0.0.1:1"


@pytest.fixture
def files(tmp_path: Path) -> SourceFiles:
    files = SourceFiles(tmp_path / "sources")
    files.put("books", URL)
    return files


def said(done: Done, *words: str) -> None:
    """A refusal with these words in one line of it, and nothing of the machine."""
    assert done.status == 1, done
    assert "Traceback" not in done.err
    assert any(all(word in line for word in words) for line in done.err.splitlines()), done.err


async def test_good_files_are_said_to_be_good(files: SourceFiles) -> None:
    done = await run("sources", "check", files.path / "books.toml")
    assert done == (0, "books.toml: OK\n", "")
    done = await run("sources", "check", files.path)
    assert (done.status, done.err) == (0, "")
    assert len(done.out.splitlines()) == len(list(files.path.glob("*.toml")))
    assert (await run("sources", "check", INSTALLED)).status == 0


REFUSED = {
    "a literal secret": (
        "[envelope]",
        '[auth]\nheaders = { X-Key = "9f8e7d6c5b4a39281706f5e4d3c2b1a0" }\n[envelope]',
        ("books.toml:13: auth.headers.X-Key: ", 'write { env = "NAME" }'),
        "9f8e7d6c5b4a39281706f5e4d3c2b1a0",
    ),
    "an identifier": ("# ", f"# {CLEAN}\n", (), CLEAN),
    "an identifier in a request": (
        '"{subject.value}"',
        '"990105199912319987"',
        ("books.toml:", "it looks like"),
        "990105199912319987",
    ),
    "a private address": (
        "sandbox = true\nurl = ",
        'url = "https://10.1.2.3/api"\n#',
        ("books.toml:7: url: ", "private"),
        "10.1.2.3",
    ),
    "a wrong key": (
        "subject = ",
        "subjects = ",
        ("books.toml:23: lookup[0].subjects: ", "known here: "),
        None,
    ),
    "no TOML": ("[envelope]", "[envelope", ("books.toml:12: TOML: ", "correct the syntax"), None),
    "too deep": ("[envelope]", f"deep = {'[' * 3000}{']' * 3000}\n[envelope]", ("books.toml: TOML: ",), None),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_mistake_is_told_with_its_place_and_remedy(files: SourceFiles, what: str) -> None:
    before, after, words, secret = REFUSED[what]
    text = files.read("books") + "# \n"
    assert before in text
    files.write("books", text.replace(before, after, 1))
    done = await run("sources", "check", files.path)
    said(done, *words)
    assert "department-registers.toml: OK" in done.out, "the other files are checked too"
    assert done.err.splitlines()[-1].endswith(("1 mistake", "mistakes"))
    assert secret is None or secret not in done.out + done.err
    refused = await run("sources", "list", "--directory", files.path)
    assert (refused.status, refused.out) == (1, "")
    assert "Traceback" not in refused.err


async def test_the_schema_is_that_of_the_package(tmp_path: Path) -> None:
    done = await run("sources", "schema")
    assert done.status == 0
    assert done.out == (INSTALLED.parent / "source.schema.json").read_text("utf-8")
    assert json.loads(done.out)["$schema"].startswith("https://json-schema.org/")


async def test_sources_are_listed_and_tried_with_the_settings(sandbox: Sandbox, tmp_path: Path) -> None:
    config = config_of(sandbox, tmp_path)
    listed = await run("sources", "list", "--config", config)
    assert listed.status == 0, listed
    assert {line.split()[1] for line in listed.out.splitlines()} == {"up"}
    tried = await run("sources", "try", "court", "--subject", CLEAN, "--config", config)
    assert tried.status == 0, tried
    for text in ("== ENFORCE_DEFAULT", "-- request", "-- answer", "-- records", "-- dropped: "):
        assert text in tried.out
    assert CLEAN not in tried.out + tried.err
    down = await run("sources", "list", "--directory", INSTALLED, "--config", config)
    assert down.status == 0, down


async def test_a_source_that_is_down_is_said_to_be(files: SourceFiles) -> None:
    done = await run("sources", "list", "--directory", files.path)
    assert done.status == 1
    assert [line.split()[1] for line in done.out.splitlines() if line.startswith("books")] == ["DOWN"]
    tried = await run("sources", "try", "books", "--subject", CLEAN, "--directory", files.path)
    assert tried.status == 1
    assert "-- fault: DOWN" in tried.out
    assert CLEAN not in tried.out + tried.err


@pytest.mark.parametrize(
    "arguments", [("check",), ("check", "nowhere.toml"), ("try", "books"), ("list", "--directory", "nowhere")]
)
async def test_a_wrong_command_line_is_said(arguments: tuple[str, ...]) -> None:
    done = await run("sources", *arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[-1].startswith("Error: ")
