"""Logs: one JSON object a line, and no identifier in any part of it."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.logs import JsonLines, RequestLines

CODE = "91990100FAKE00013D"
NUMBER = "990105199912319987"
REGISTRATION = "990100000000005"
SPELLINGS = {
    "credit code": CODE,
    "lower case": CODE.lower(),
    "resident number": NUMBER,
    "registration number": REGISTRATION,
    "full width": "".join(chr(ord(c) + 0xFEE0) for c in CODE),
    "full width number": "".join(chr(ord(c) + 0xFEE0) for c in NUMBER),
    "with spaces": "9901 0519 9912 3199 87",
    "between quotes": f"'{CODE}'",
    "in an address": f"https://source.example/subjects/{CODE}?name=x",
    "between Chinese characters": f"查询{NUMBER}的记录",
    "after an underscore": f"key_{CODE}",
}


def line(message: Any, *args: Any, fields: Any = None, exc_info: Any = None) -> dict[str, Any]:
    record = logging.LogRecord("gateway", logging.INFO, __file__, 1, message, args, exc_info)
    if fields is not None:
        record.fields = fields
    written = JsonLines().format(record)
    assert "\n" not in written
    decoded: dict[str, Any] = json.loads(written)
    return decoded


def leaks(decoded: dict[str, Any]) -> bool:
    folded = json.dumps(decoded, ensure_ascii=False).replace(" ", "").upper()
    folded = folded.translate({0xFEE0 + code: code for code in range(0x21, 0x7F)})
    return any(identifier in folded for identifier in (CODE, NUMBER, REGISTRATION))


def test_a_line_holds_time_level_logger_and_message() -> None:
    decoded = line(
        "inquiry %s answered in %d ms", "a1", 3, fields={"status": 200, "ok": True, "took": 1.5, "unit": None}
    )
    assert decoded.pop("time").endswith("+00:00")
    assert decoded == {
        "level": "INFO",
        "logger": "gateway",
        "message": "inquiry a1 answered in 3 ms",
        "status": 200,
        "ok": True,
        "took": 1.5,
        "unit": None,
    }


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_no_identifier_leaves_by_any_way(spelling: str) -> None:
    assert leaks({"x": spelling}), "the check itself has to see the spelling"
    assert not leaks(line(spelling))
    assert not leaks(line("asked about %s", spelling))
    assert not leaks(line("asked about %(who)s", {"who": spelling}))
    assert not leaks(line("asked about %s", [spelling]))
    assert not leaks(line(ValueError(spelling)))
    for fields in (
        {"subject": spelling},
        {spelling: 1},
        {"subjects": [spelling]},
        {"subjects": (spelling,)},
        {"subjects": {spelling}},
        {"by": {"subject": {"code": spelling}}},
        {"by": {spelling: 1}},
        {"error": ValueError(spelling)},
        {"bytes": spelling.encode()},
    ):
        assert not leaks(line("asked", fields=fields)), fields


def test_a_number_that_could_be_one_is_hidden() -> None:
    decoded = line(
        "asked %d",
        int(NUMBER),
        fields={"number": int(NUMBER), "negative": -int(NUMBER), "count": 12345678901234},
    )
    assert not leaks(decoded)
    assert decoded["count"] == 12345678901234


def test_an_exception_is_named_by_type_alone() -> None:
    try:
        raise ValueError(f"row of {CODE}") from KeyError(NUMBER)
    except ValueError:
        decoded = line("failed", exc_info=sys.exc_info())
    assert decoded["exception"] == "ValueError"
    assert not leaks(decoded)


def test_arguments_that_do_not_fit_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("gateway.test_logs")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.propagate = False
    try:
        logger.error("asked %d", CODE)
        logger.error("asked", CODE)
        logger.error("asked", extra={"fields": {"odd": object()}})
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    written = capsys.readouterr().err
    assert len(written.splitlines()) == 3
    assert CODE not in written
    assert "Logging error" not in written


def test_fields_cannot_pretend_to_be_the_line() -> None:
    decoded = line("true", fields={"message": "false", "level": "ERROR", "time": "0", "logger": "x"})
    assert (decoded["message"], decoded["level"], decoded["logger"]) == ("true", "INFO", "gateway")


def test_what_is_no_text_in_utf8_is_still_written() -> None:
    decoded = line("\ud800 %s", "\udfff", fields={"x": "\ud800"})
    json.dumps(decoded, ensure_ascii=False).encode("utf-8")


PROGRAM = """
import logging
from gateway.logs import configure_logs
configure_logs("DEBUG")
for name in ("httpx", "httpcore", "httpcore.http11", "strawberry.execution", "uvicorn.access"):
    logger = logging.getLogger(name)
    logger.critical("quiet 91990100FAKE00013D")
    logger.log(100, "quiet 91990100FAKE00013D")
logging.getLogger("httpcore.connection").setLevel(logging.DEBUG)
logging.getLogger("httpcore.connection").debug("quiet 91990100FAKE00013D")
logging.getLogger("gateway").debug("loud 91990100FAKE00013D")
logging.getLogger("uvicorn.error").error("loud", exc_info=ValueError("91990100FAKE00013D"))
"""


def test_quiet_loggers_stay_quiet_at_debug() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    lines = [json.loads(written) for written in done.stderr.splitlines()]
    assert done.stdout == ""
    assert [(decoded["logger"], decoded["message"]) for decoded in lines] == [
        ("gateway", "loud …"),
        ("uvicorn.error", "loud"),
    ]
    assert lines[1]["exception"] == "ValueError"


def test_the_level_counts() -> None:
    program = "import logging; from gateway.logs import configure_logs; configure_logs('WARNING'); "
    program += "logging.getLogger('gateway').info('no'); logging.getLogger('gateway').warning('yes')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert [json.loads(written)["message"] for written in done.stderr.splitlines()] == ["yes"]


class Lines(logging.Handler):
    """A handler that keeps what it would write."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.written: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(self.format(record))


@pytest.fixture
def heard() -> Iterator[tuple[logging.Logger, Lines]]:
    logger, lines = logging.getLogger("test.requests"), Lines()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(lines)
    yield logger, lines
    logger.removeHandler(lines)


async def test_requests_are_logged_in_bunches_one_line_each(heard: tuple[logging.Logger, Lines]) -> None:
    logger, lines = heard
    requests = RequestLines(logger, bunch=3, seconds=60, clock=lambda: 1_800_000_000.25)
    for status in (200, 401, 200):
        requests.add(status, 1.234)
    (bunch,) = lines.written
    assert [json.loads(line) for line in bunch.splitlines()] == [
        {
            "status": status,
            "ms": 1.23,
            "time": "2027-01-15T08:00:00.250+00:00",
            "level": "INFO",
            "logger": "test.requests",
            "message": "request",
        }
        for status in (200, 401, 200)
    ]


async def test_a_lone_request_is_logged_soon_and_the_rest_at_the_end(
    heard: tuple[logging.Logger, Lines],
) -> None:
    logger, lines = heard
    requests = RequestLines(logger, seconds=0.01)
    requests.add(200, 1.0)
    assert lines.written == []
    async with asyncio.timeout(10):
        while not lines.written:
            await asyncio.sleep(0.01)
    requests.add(503, 2.0)
    requests.flush()
    requests.flush()
    assert [json.loads(line)["status"] for line in lines.written] == [200, 503]


async def test_no_line_is_made_that_nobody_wants(heard: tuple[logging.Logger, Lines]) -> None:
    logger, lines = heard
    logger.setLevel(logging.WARNING)
    requests = RequestLines(logger, bunch=1)
    requests.add(200, 1.0)
    logger.setLevel(logging.INFO)
    requests.flush()
    assert lines.written == []
