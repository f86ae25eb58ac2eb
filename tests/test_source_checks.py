"""What may stand in no source file, where a mistake stands, and that all of them are told."""

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_source_files import GOOD, SOURCES, load, refusal

from connectors.answers import Ask, Ground
from connectors.lines import line_of
from policies.identifiers import SubjectKey
from policies.vocabulary import SubjectKind

# --- addresses


@pytest.mark.parametrize(
    "host",
    [
        "10.1.2.3", "172.16.0.1", "192.168.1.1", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "169.254.1.1",
        "100.64.0.1", "0.0.0.0", "[::1]", "[fd00::1]", "[fe80::1]", "localhost", "db.internal", "LOCALHOST.",
    ],
)  # fmt: skip
def test_a_private_address_stands_in_no_file(tmp_path: Path, host: str) -> None:
    error = refusal(tmp_path, GOOD.replace("demo.example", host))
    assert (error.key, error.reason) == ("url", "it is a private address")
    assert host not in error.remedy


@pytest.mark.parametrize("place", ["title", "chinese"])
def test_a_private_address_stands_in_no_text_either(tmp_path: Path, place: str) -> None:
    error = refusal(tmp_path, GOOD.replace(f'{place} = "', f'{place} = "10.0.0.1 '))
    assert (error.key, "10.0.0.1" in str(error)) == (place, False)


def test_a_file_of_the_sandbox_speaks_to_this_machine_alone(tmp_path: Path) -> None:
    marked = GOOD.replace('kind = "EXTERNAL"', 'kind = "EXTERNAL"\nsandbox = true')
    for host in ("127.0.0.1:1", "localhost:1", "[::1]:1"):
        assert load(tmp_path, marked.replace("https://demo.example", f"http://{host}")).titles()
    for host in ("demo.example", "10.0.0.1"):
        assert refusal(tmp_path, marked.replace("demo.example", host)).key == "url"


def test_addresses_of_an_own_network_come_from_the_settings(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD, urls={"demo": "http://10.0.0.1:8080"}).titles()


# --- identifiers


@pytest.mark.parametrize(
    "identifier", ["91990100FAKE00013D", "990105199912319987", "９１９９０１００ＦＡＫＥ０００１３Ｄ"]
)
@pytest.mark.parametrize(
    ("place", "line"), [('# see {}\nid = "demo"', 0), ('id = "demo" # {}', 0), ('id = "demo"\n# {}', 1)]
)
def test_an_identifier_stands_in_no_file_not_even_in_a_comment(
    tmp_path: Path, identifier: str, place: str, line: int
) -> None:
    error = refusal(tmp_path, GOOD.replace('id = "demo"', place.format(identifier), 1))
    assert "identifier of a subject" in error.reason
    assert identifier not in str(error)
    assert error.line == GOOD.splitlines().index('id = "demo"') + 1 + line


# --- the footing


@pytest.mark.parametrize(
    ("about", "asked"),
    [
        ("valid_from = 2026-11-20\nvalid_until = 2026-11-20", 1),
        ("valid_from = 2026-11-21", 0),
        ("valid_until = 2026-11-19", 0),
        ('layer = "PROVINCIAL"\ncontract = "HT-2026-000123456789"\nversion = "3"\napproved_by = "Office"', 1),
    ],
)
async def test_outside_of_its_days_a_source_is_not_asked(tmp_path: Path, about: str, asked: int) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"code": 0, "data": []})

    late = datetime(2026, 11, 20, 15, 59, tzinfo=UTC)  # a minute before midnight in the province
    text = GOOD.replace("[envelope]", f"[about]\n{about}\n[envelope]")
    sources = load(tmp_path, text, transport=httpx.MockTransport(answer), clock=lambda: late)
    subject = SubjectKey(SubjectKind.ORG, "credit_code", "91990100FAKE00013D")
    [[found]] = await sources.fetch(
        [Ask(subject, "PENALTY", 1, Ground("CASE"), may_cache=False)], deadline=30
    )
    assert (len(seen), found.fault is None) == (asked, bool(asked))
    await sources.aclose()


def test_days_that_never_come_are_refused(tmp_path: Path) -> None:
    about = "[about]\nvalid_from = 2026-11-21\nvalid_until = 2026-11-20\n[envelope]"
    assert refusal(tmp_path, GOOD.replace("[envelope]", about)).key == "about.valid_until"


# --- all mistakes, with their lines


def test_all_mistakes_of_a_file_are_told(tmp_path: Path) -> None:
    text = GOOD.replace('owner = "COURT"', 'owner = "the court"').replace(
        'path = "/penalties"', 'path = "/penalties"\ncache_seconds = -1'
    )
    error = refusal(tmp_path, text)
    assert [error.key, *(other.key for other in error.others)] == ["owner", "lookup[0].cache_seconds"]
    lines = text.splitlines()
    assert [error.line, *(other.line for other in error.others)] == [
        lines.index('owner = "the court"') + 1, lines.index("cache_seconds = -1") + 1,
    ]  # fmt: skip


def test_all_values_of_a_wrong_type_are_told(tmp_path: Path) -> None:
    text = GOOD.replace("ok = [0]", "ok = 0").replace('"POST"', '"PUT"').replace('now = "s"', "now = 1")
    error = refusal(tmp_path, text)
    assert [error.key, *(other.key for other in error.others)] == [
        "auth.steps[0].now", "envelope.codes[0].ok", "lookup[0].method",
    ]  # fmt: skip


def test_a_mistake_of_syntax_has_its_line(tmp_path: Path) -> None:
    text = GOOD.replace('owner = "COURT"', "owner = COURT")
    error = refusal(tmp_path, text)
    assert (error.key, error.line) == ("TOML", text.splitlines().index("owner = COURT") + 1)


def test_a_mistake_that_is_found_while_loading_has_its_line(tmp_path: Path) -> None:
    text = GOOD.replace("{codes.reason}", "{codes.why}")
    error = refusal(tmp_path, text)
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "{codes.why}" in line)
    assert (error.key, error.line) == ("lookup[0].json", line)


LINES = '''# a comment = [1]
title = "a # b"
[auth]
steps = [
    { set = "a", now = "s" }, # the first ]
    { set = "b", of = """x
] } y""" },
]
headers.X-Sign = "{steps.a}"
"quoted.key" = 'z'

[[lookup]]
json = { a = 1, b = { c = [1, 2] } }
[lookup.fields]
x = 5
[[lookup]] # the second
fields.y = 2020-01-01
[lookup.json]
d = [ [1],
  [2] ]
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("title", 2), ("auth", 3), ("auth.steps", 4), ("auth.steps[0]", 5), ("auth.steps[0].now", 5), ("auth.steps[1]", 6),
        ("auth.steps[1].of", 6), ("auth.headers.X-Sign", 9), ("auth.quoted.key", 10), ("lookup[0]", 12),
        ("lookup[0].json.b.c[1]", 13), ("lookup[0].fields.x", 15), ("lookup[1]", 16), ("lookup[1].fields.y", 17),
        ("lookup[1].json.d[1]", 20), ("lookup[1].path", 16), ("lookup[0].fields.none", 14), ("envelope.records", 1),
    ],
)  # fmt: skip
def test_where_a_key_stands(key: str, line: int) -> None:
    assert tomllib.loads(LINES)
    assert line_of(LINES, key) == line


@pytest.mark.parametrize("path", sorted(SOURCES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_value_of_the_files_that_come_with_the_gateway_is_found(path: Path) -> None:
    text = path.read_text("utf-8")
    for key, value in _values(tomllib.loads(text), ""):
        line = text.splitlines()[line_of(text, key) - 1].replace('\\"', '"').lower()
        assert isinstance(value, float) or str(value).lower() in line or "'''" in line, key


def _values(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _values(value, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from _values(value, f"{key}[{place}]")
    else:
        yield key, node
