"""Real registrations, looked up by code through the running gateway, equal the file they came from."""

import csv
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from service import BUREAU, Client, gateway

from connectors.sandbox.server import SandboxOptions, running

REAL = Path(__file__).parents[2] / "shared" / "data" / "registrations-shanxi-2019.csv"
COLUMNS = ("name", "credit_code", "registered_on", "capital", "business_scope", "province", "city", "address")
PAGE = 50

QUERY = """query($of: [SubjectRef!]!) {
  inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-REGISTERED"}) { subjects(of: $of) {
    ... on RegisteredSubject { registration { state sources { id } record {
      name creditCode registeredOn capital capitalAmount capitalCurrency businessScope province city address } } } } } }"""


def _synthetic(path: Path) -> Path:
    """A file of the same shape, with the odd values of real ones, for where the real one is not at hand."""
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    capitals = ("20(万)", "50万元人民币", "3(万元)", "N/A", "100万人民币", '"', "12.5(万元)")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(1000):
            body = f"91990100FAKE{number:05d}"
            total = sum(alphabet.index(c) * 3**i for i, c in enumerate(body))
            code = body + alphabet[-total % 31]
            day = date(2019, 1, 1) + timedelta(days=number % 365)
            scope = f"示例经营范围{number}；（依法须经批准的项目，经相关部门批准后方可开展经营活动）**,;"
            writer.writerow(
                (
                    f"虚构{number}有限公司",
                    code,
                    day,
                    capitals[number % 7],
                    scope,
                    "虚构",
                    "示例",
                    f"示例市{number}号",
                )
            )
    return path


@pytest.fixture(scope="module")
def registrations(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    path = REAL if REAL.exists() else _synthetic(tmp_path_factory.mktemp("registrations") / "synthetic.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return path, list(csv.DictReader(file))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def province(
    registrations: tuple[Path, list[dict[str, str]]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    options = SandboxOptions(subjects=50, registrations=registrations[0], base_port=0)
    async with running(options) as sandbox, gateway(sandbox, tmp_path_factory.mktemp("g")) as client:
        yield client


async def test_every_registration_equals_the_file(
    province: Client, registrations: tuple[Path, list[dict[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, rows = registrations
    with capsys.disabled():
        print(
            f"\nregistrations from {'the real file' if path == REAL else 'a synthetic file of the same shape'}"
        )
    assert len(rows) == 1000
    for start in range(0, len(rows), PAGE):
        page = rows[start : start + PAGE]
        of = [{"id": {"creditCode": row["credit_code"]}} for row in page]
        body = await province.ask(BUREAU, QUERY, {"of": of})
        for row, subject in zip(page, body["data"]["inquiry"]["subjects"], strict=True):
            registration = subject["registration"]
            assert registration["state"] == "HAS"
            _equal(registration["record"], row)


def _equal(record: dict[str, Any], row: dict[str, str]) -> None:
    assert {
        "name": record["name"],
        "credit_code": record["creditCode"],
        "registered_on": record["registeredOn"],
        "capital": record["capital"],
        "business_scope": record["businessScope"],
        "province": record["province"],
        "city": record["city"],
        "address": record["address"],
    } == {column: row[column] for column in COLUMNS}
    if "万" in row["capital"]:
        assert float(record["capitalAmount"]) > 0
        # "20(万)" names no currency, and none is guessed.
        named = "元" in row["capital"] or "人民币" in row["capital"]
        assert record["capitalCurrency"] == ("CNY" if named else None)
    elif row["capital"] == "N/A":
        assert record["capitalAmount"] is None


async def test_real_registrations_are_found_by_name(
    province: Client, registrations: tuple[Path, list[dict[str, str]]]
) -> None:
    row = registrations[1][0]
    query = """query($name: String!) { inquiry(purpose: PUBLIC_VIEW) { search(name: $name) {
      organisations { nodes { name creditCode } } } } }"""
    body = await province.ask("public", query, {"name": row["name"]})
    nodes = body["data"]["inquiry"]["search"]["organisations"]["nodes"]
    assert {"name": row["name"], "creditCode": row["credit_code"]} in nodes
    developer = await province.ask("developer", query, {"name": row["name"]})
    codes = [n["creditCode"] for n in developer["data"]["inquiry"]["search"]["organisations"]["nodes"]]
    assert all(code[2:4] == "99" for code in codes)
