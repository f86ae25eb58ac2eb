"""The command `plan`: what it says of an operation, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fuzz_forms import CORPUS

from gateway.plan_command import plan_operation


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(plan_operation, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def explained(*arguments: str | Path) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "operation.graphql"


def test_it_says_form_sections_sources_calls_and_cost() -> None:
    found = explained(CORPUS / "sections.graphql")
    assert (found["form"], found["operation"]) == ("compiled", "query (unnamed)")
    (lookup,) = found["lookups"]
    assert (lookup["key"], lookup["field"], lookup["subjects"]) == ("subject", "subject", 1)
    sections = {section["category"]: section for section in lookup["sections"] if "ORG" in section["kinds"]}
    assert set(sections) == {"REG_ORG", "PENALTY", "ENFORCE_DEFAULT", "LICENCE"}
    assert sections["ENFORCE_DEFAULT"]["fields"] == ["listName", "listedOn", "caseNumber", "court"]
    assert "court" in sections["ENFORCE_DEFAULT"]["sources"]
    calls = {
        kind: sum(len(section["sources"]) for section in lookup["sections"] if kind in section["kinds"])
        for kind in ("ORG", "IND")
    }
    assert found["upstream_calls"] == max(calls.values()) > 0
    assert found["values"] > 50
    assert found["microseconds"] > 0


def test_it_reads_well() -> None:
    text = run(CORPUS / "sections.graphql").stdout
    assert text.startswith("query (unnamed): compiled (")
    assert "  ENFORCE_DEFAULT  ORG" in text
    assert "listName, listedOn, caseNumber, court" in text
    assert "Upstream calls: at most " in text
    assert "Cost: " in text


def test_what_runs_on_the_reference_says_why() -> None:
    found = explained(CORPUS / "introspection.graphql")
    assert found["form"] == "reference"
    assert "introspection" in found["reason"]
    assert found["values"] is None
    assert "Cost" not in run(CORPUS / "introspection.graphql").stdout


def test_every_document_of_the_corpus_is_explained() -> None:
    for path in sorted(CORPUS.glob("*.graphql")):
        text = path.read_text("utf-8")
        name = ("--operation", "Asked") if "query Asked" in text else ()
        switches = ("--variables", '{"purpose": "AUDIT", "a": true}') if "$a: Boolean!" in text else ()
        assert run(path, *name, *switches).exit_code == 0, path


def test_a_list_is_counted_when_its_variables_are_given(file: Path) -> None:
    file.write_text(
        "query($of: [SubjectRef!]!) { inquiry(purpose: AUDIT) { subjects(of: $of) { ... on Organisation { enforcement { state } } } } }"
    )
    subjects = [{"id": {"creditCode": f"{number}"}} for number in range(30)]
    one, many = explained(file), explained(file, "--variables", json.dumps({"of": subjects}))
    assert one["lookups"][0]["subjects"] == 1
    assert many["lookups"][0]["subjects"] == 30
    assert one["upstream_calls"] <= many["upstream_calls"] <= 30 * one["upstream_calls"]
    assert "30 subjects" in run(file, "--variables", json.dumps({"of": subjects})).stdout


def test_switches_decide_what_is_planned(file: Path) -> None:
    file.write_text(
        'query($s: Boolean!) { inquiry(purpose: AUDIT) { subject(id: {creditCode: "1"}) { ... on Organisation {'
        " enforcement @skip(if: $s) { state } honours { state } } } } }"
    )
    assert "$s" in refused(file)
    with_it, without = (explained(file, "--variables", f'{{"s": {value}}}') for value in ("false", "true"))
    assert [section["category"] for section in with_it["lookups"][0]["sections"]] == [
        "ENFORCE_DEFAULT",
        "HONOUR",
    ]
    assert [section["category"] for section in without["lookups"][0]["sections"]] == ["HONOUR"]


def test_search_statistics_and_log_have_calls_of_their_own() -> None:
    calls = {
        name: explained(CORPUS / f"{name}.graphql")["upstream_calls"]
        for name in ("search", "statistics", "access-log")
    }
    assert calls["search"] == 1
    assert calls["statistics"] >= 1
    assert calls["access-log"] == 0


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("{ viewer { nothing } }", (), "nothing"),
        ("{ viewer {", (), "GraphQL"),
        ("query A { viewer { unit } } query B { viewer { unit } }", (), "operationName"),
        ("query A { viewer { unit } }", ("--operation", "C"), "operation"),
        (
            "query($a: Int) { viewer { unit } permissions(purpose: AUDIT, subjectKind: ORG) { rule } }",
            (),
            "$a",
        ),
        ("{ viewer { unit } }", ("--variables", "{"), "--variables"),
        ("{ viewer { unit } }", ("--variables", "[1]"), "object"),
        (
            "query($p: Purpose!) { permissions(purpose: $p, subjectKind: ORG) { rule } }",
            ("--variables", '{"p": "X"}'),
            "Purpose",
        ),
        ("{ viewer { unit } }", ("--bundle", "no-such"), "no-such"),
    ],
)
def test_bad_input_is_one_line(file: Path, text: str, options: tuple[str, ...], words: str) -> None:
    file.write_text(text)
    assert words in refused(file, *options)


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe{")
    assert "UTF-8" in refused(file)


def test_a_file_that_is_not_there_is_a_wrong_command_line(tmp_path: Path) -> None:
    assert run(tmp_path / "none.graphql").exit_code == 2
