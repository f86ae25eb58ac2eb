"""An obligation that cannot be kept denies its section, raises the alarm, and leaves the rest standing."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from service import BUREAU, PENALISED, Client, serving, settings_for

from connectors.sandbox.server import Sandbox
from gateway.app import create_app
from gateway.ledger import read_rows
from policies.bundle import Treatment
from policies.catalogue import Record
from policies.obligations import FILTERS, HANDLERS, MASKED, Handlers, Hides, Setting, visible
from policies.outcomes import Outcome

QUERY = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, %s evidence: {inspectionPlanNumber: "I-1"}) {
  subject(id: $id) { ... on OperatingSubject {
    registration { state record { name legalRepresentative } }
    penalties { state level reason { code basis { citation } remedy } sources { id } withheld { field } complete asOf
      records { totalCount nodes { documentNumber } } } } } } }"""
ID = {"id": {"creditCode": PENALISED}}


@asynccontextmanager
async def gateway_with(sandbox: Sandbox, folder: Path, handlers: Handlers) -> AsyncIterator[Client]:
    app = create_app(settings_for(sandbox, folder), environment={}, handlers=handlers)
    async with serving(app) as url, httpx.AsyncClient(timeout=30, trust_env=False) as http:
        yield Client(http, url, sandbox, folder)


def fails_for_penalties(setting: Setting) -> Hides:
    """A filter with a fault in it, which quotes the record it met."""

    def fails(record: Record) -> Outcome | None:
        raise ArithmeticError(f"cannot judge {record!r}")

    return fails if setting.category.code == "PENALTY" else visible(setting)


def never_ready(setting: Setting) -> Hides:
    """A filter with a fault in it, which shows before it meets any record."""
    if setting.category.code == "PENALTY":
        raise ArithmeticError(f"cannot be made ready for {setting.caller!r}")
    return visible(setting)


BROKEN_FILTER = Handlers({**FILTERS, "VISIBLE": fails_for_penalties}, MASKED)


async def alarms(client: Client) -> int:
    answer = await client.http.get(f"{client.url}/readyz")
    assert answer.status_code == 200
    return int(answer.json()["alarms"])


def subject_of(body: dict[str, Any]) -> dict[str, Any]:
    subject: dict[str, Any] = body["data"]["inquiry"]["subject"]
    return subject


async def test_with_handlers_that_work_the_section_is_given(sandbox: Sandbox, tmp_path: Path) -> None:
    async with gateway_with(sandbox, tmp_path, HANDLERS) as client:
        subject = subject_of(await client.ask(BUREAU, QUERY % "", ID))
        assert subject["penalties"]["state"] == "HAS"
        assert await alarms(client) == 0


async def test_a_failing_handler_denies_its_section_alone(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway_with(sandbox, tmp_path, BROKEN_FILTER) as client:
        with caplog.at_level(logging.INFO, logger="gateway"):
            body = await client.ask(BUREAU, QUERY % "", ID)
        subject = subject_of(body)
        penalties = subject["penalties"]
        assert subject["registration"]["state"] == "HAS"
        assert (penalties["state"], penalties["reason"]["code"]) == ("DENIED", "DENY_OBLIGATION")
        assert penalties["reason"]["basis"]
        # Nothing of what was fetched leaves with it.
        assert penalties["records"] == {"totalCount": 0, "nodes": []}
        assert (penalties["level"], penalties["sources"], penalties["withheld"]) == (None, [], [])
        assert (penalties["complete"], penalties["asOf"]) == (False, None)
        [denial] = body["extensions"]["denials"]
        assert (denial["category"], denial["code"]) == ("PENALTY", "DENY_OBLIGATION")
        assert await alarms(client) == 1
    [alarm] = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
    assert alarm.getMessage().startswith(
        "ALARM: an obligation of PENALTY could not be discharged: ArithmeticError (test_failing_obligation.py:"
    )
    assert alarm.getMessage().endswith(" fails)")
    assert alarm.exc_info is None
    assert "cannot judge" not in caplog.text
    [row] = [orjson.loads(body) for _, body in read_rows(tmp_path / "ledger.sqlite")]
    sections = {section["category"]: section for section in row["subjects"][0]["sections"]}
    assert row["outcome"] == "ANSWERED"
    assert sections["REG_ORG"]["state"] == "HAS"
    assert sections["PENALTY"]["outcome"] == "DENY_OBLIGATION"
    assert "records" not in sections["PENALTY"]


async def test_a_handler_that_cannot_be_made_ready_denies_its_section_alone(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway_with(
        sandbox, tmp_path, Handlers({**FILTERS, "VISIBLE": never_ready}, MASKED)
    ) as client:
        subject = subject_of(await client.ask(BUREAU, QUERY % "", ID))
        assert subject["registration"]["state"] == "HAS"
        assert (subject["penalties"]["state"], subject["penalties"]["reason"]["code"]) == (
            "DENIED",
            "DENY_OBLIGATION",
        )
        assert subject["penalties"]["records"] == {"totalCount": 0, "nodes": []}
        assert await alarms(client) == 1
    assert "never_ready)" in caplog.text
    assert "cannot be made ready" not in caplog.text


async def test_who_wants_all_or_nothing_gets_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    async with gateway_with(sandbox, tmp_path, BROKEN_FILTER) as client:
        answer = await client.post(BUREAU, QUERY % "onDenied: REJECT,", ID)
        assert answer.status_code == 403
        body = answer.json()
        assert "data" not in body
        [denial] = body["errors"][0]["extensions"]["denials"]
        assert denial["code"] == "DENY_OBLIGATION"
    [row] = [orjson.loads(body) for _, body in read_rows(tmp_path / "ledger.sqlite")]
    assert row["outcome"] == "REFUSED"


def fails(_value: object) -> None:
    raise LookupError("no such surname: 例")


@pytest.mark.parametrize(
    ("handlers", "place"),
    [
        (lambda: Handlers(FILTERS, dict.fromkeys(MASKED, fails)), "LookupError"),
        # A table of masks that lacks one is no leave to show the value.
        (lambda: Handlers(FILTERS, dict[Treatment, Any]()), "KeyError"),
    ],
    ids=["failing", "missing"],
)
async def test_a_mask_that_fails_or_is_missing_denies_its_section(
    sandbox: Sandbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    handlers: Callable[[], Handlers],
    place: str,
) -> None:
    query = """query($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
      subject(id: $id) { ... on OperatingSubject {
        registration { state reason { code } record { address } } penalties { state } } } } }"""
    async with gateway_with(sandbox, tmp_path, handlers()) as client:
        subject = subject_of(await client.ask(BUREAU, query, {"id": {"creditCode": "92990105FAKE00021D"}}))
        assert subject["registration"] == {
            "state": "DENIED",
            "reason": {"code": "DENY_OBLIGATION"},
            "record": None,
        }
        assert subject["penalties"]["state"] in ("HAS", "NONE")
        assert await alarms(client) == 1
    assert place in caplog.text
    assert "surname" not in caplog.text


@pytest.mark.parametrize("code", sorted(FILTERS))
def test_a_filter_that_is_missing_stops_the_start(code: str, sandbox: Sandbox, tmp_path: Path) -> None:
    lacking = {name: handler for name, handler in FILTERS.items() if name != code}
    with pytest.raises(ValueError, match=code):
        create_app(settings_for(sandbox, tmp_path), environment={}, handlers=Handlers(lacking, MASKED))
