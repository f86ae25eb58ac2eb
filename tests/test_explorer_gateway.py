"""The explorer on the real gateway over the sandbox, in a real browser."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from browser import Browser, Page, chromium
from service import Client, gateway

from connectors.sandbox.issuer import PERSONAS as ISSUED
from connectors.sandbox.server import Sandbox
from gateway.examples import EXAMPLES, PERSONAS
from gateway.explorer.app import Example
from gateway.settings import ExplorerSettings

QUERY_EDITOR = "document.querySelector('.graphiql-query-editor .CodeMirror')?.CodeMirror"
RESPONSE = "document.querySelector('.result-window .CodeMirror')?.CodeMirror?.getValue()"
SCHEMA_IS_THERE = f"{QUERY_EDITOR}?.options?.lint?.schema?.getQueryType()?.name === 'Query'"


@pytest.fixture(scope="module")
async def demonstration(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A gateway that gives tokens for the sandbox's personas away."""
    login = ExplorerSettings(demo_issuer=sandbox.urls["issuer"])
    async with gateway(sandbox, tmp_path_factory.mktemp("explorer"), explorer=login) as client:
        yield client


@pytest.fixture(scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
async def page(browser: Browser, demonstration: Client) -> AsyncIterator[Page]:
    """The page with the developer's token and the schema; at the end it has asked nobody else."""
    page = await browser.new_page()
    await page.open(f"{demonstration.url}/explorer")
    await page.wait_for(SCHEMA_IS_THERE)
    yield page
    foreign = [asked for asked in page.requests if not asked.startswith((f"{demonstration.url}/", "data:"))]
    assert foreign == []
    assert page.complaints == []


async def holder(page: Page, name: str) -> None:
    """Wait until the page holds the token of that unit."""
    start = json.dumps(f"{name}, until")
    await page.wait_for(f"document.querySelector('#token-state').innerText.startsWith({start})")


async def answer_to(page: Page) -> dict[str, Any]:
    await page.click(".graphiql-execute-button")
    await page.wait_for(f"{RESPONSE}?.startsWith('{{')")
    answer: dict[str, Any] = json.loads(await page.evaluate(RESPONSE))
    return answer


async def run(page: Page, example: Example) -> dict[str, Any]:
    await page.click(f"[data-persona='{example.persona}']")
    await holder(page, ISSUED[PERSONAS[example.persona]].unit_name)
    await page.click(f"[data-example='{example.name}']")
    await page.wait_for(f"{QUERY_EDITOR}.getValue() === {json.dumps(example.query)}")
    return await answer_to(page)


def states(subject: dict[str, Any]) -> dict[str, str]:
    return {name: section["state"] for name, section in subject.items() if isinstance(section, dict)}


def catalogue(data: dict[str, Any]) -> None:
    assert {"REG_ORG", "PENALTY"} <= {item["code"] for item in data["catalogue"]}
    assert {"SELF", "PROCUREMENT"} <= {item["code"] for item in data["purposes"]}
    assert data["measures"]


def dry_run(data: dict[str, Any]) -> None:
    assert data["viewer"]["syntheticOnly"] is True
    rights = {permission["category"]: permission for permission in data["permissions"]}
    assert rights["REG_ORG"]["possible"] is True
    assert rights["TAX_PAYMENT"]["possible"] is False
    assert rights["TAX_PAYMENT"]["reason"]["remedy"]


def public_record(data: dict[str, Any]) -> None:
    subject = data["inquiry"]["subject"]
    assert states(subject) == {"registration": "HAS", "penalties": "HAS", "taxPayments": "DENIED"}
    assert subject["penalties"]["level"] == "PUBLIC"


def bidder_check(data: dict[str, Any]) -> None:
    clean, penalised, repaired, enforced, contested = map(states, data["inquiry"]["subjects"])
    assert clean["penalties"] == clean["enforcement"] == repaired["penalties"] == "NONE"
    assert penalised["penalties"] == enforced["enforcement"] == contested["penalties"] == "HAS"


def credit_loan(data: dict[str, Any]) -> None:
    assert states(data["inquiry"]["subject"]) == {
        "registration": "HAS",
        "penalties": "NONE",
        "taxPayments": "DENIED",
        "contributionPayments": "DENIED",
        "evaluations": "DENIED",
        "marketCredit": "DENIED",
    }


def my_company(data: dict[str, Any]) -> None:
    subject = data["inquiry"]["subject"]
    assert states(subject)["registration"] == states(subject)["taxPayments"] == "HAS"
    assert all(node["amount"] for node in subject["taxPayments"]["records"]["nodes"])


def my_own_record(data: dict[str, Any]) -> None:
    subject = data["inquiry"]["subject"]
    assert subject["identityMatch"]["record"]["matched"] is True
    assert subject["enforcement"]["state"] == "HAS"


def find_by_name(data: dict[str, Any]) -> None:
    found = data["inquiry"]["search"]
    assert found["state"] == "HAS"
    assert all("示例" in node["name"] for node in found["organisations"]["nodes"])


def inspection(data: dict[str, Any]) -> None:
    subject = data["inquiry"]["subject"]
    [compulsion] = subject["compulsions"]["records"]["nodes"]
    assert compulsion["marks"] == ["UNDER_SUIT"]
    assert [node["performance"] for node in subject["contracts"]["records"]["nodes"]] == ["BROKEN"]
    asked = {source["id"] for source in subject["compliance"]["sources"]}
    assert {"county-platform", "city-platform", "provincial-platform", "customs"} <= asked


SHOWN: dict[str, Callable[[dict[str, Any]], None]] = {
    "Catalogue": catalogue,
    "What would I get?": dry_run,
    "Public record": public_record,
    "Bidder check": bidder_check,
    "Inspection": inspection,
    "Credit loan": credit_loan,
    "My company": my_company,
    "My own record": my_own_record,
    "Find by name": find_by_name,
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
async def test_every_example_shows_what_it_promises(page: Page, example: Example) -> None:
    answer = await run(page, example)
    assert "errors" not in answer
    SHOWN[example.name](answer["data"])
    # Half a window of 1280 pixels shows the query whole.
    shown = "document.querySelector('.graphiql-query-editor .CodeMirror-scroll')"
    assert await page.evaluate(f"{shown}.scrollWidth <= {shown}.clientWidth")


async def test_each_persona_has_its_token_and_an_example(page: Page) -> None:
    buttons = "[...document.querySelectorAll('[data-persona]')].map((button) => button.dataset.persona)"
    assert await page.evaluate(buttons) == list(PERSONAS)
    for persona, issued in PERSONAS.items():
        await page.click(f"[data-persona='{persona}']")
        await holder(page, ISSUED[issued].unit_name)
        assert await page.evaluate("document.querySelectorAll('[data-example]').length") > 0


async def test_a_denial_is_told_once_with_reason_and_remedy(page: Page) -> None:
    (loan,) = (example for example in EXAMPLES if example.name == "Credit loan")
    answer = await run(page, loan)
    assert len(answer["extensions"]["denials"]) == 4
    denial = await page.text(".extensions .denial")
    assert "Denied: TAX_PAYMENT, SI_HF_PAYMENT, EVALUATION, MARKET" in denial
    assert "DENY_NO_AUTHORISATION" in denial
    assert "Obtain the subject's written authorization" in denial
    assert await page.evaluate("document.querySelectorAll('.extensions .denial').length") == 1
    receipt = await page.text(".extensions .receipt")
    assert answer["extensions"]["receipt"]["hash"] in receipt


async def test_a_token_of_ones_own_is_used_from_then_on(page: Page, demonstration: Client) -> None:
    await page.write("#token", await demonstration.token("court"))
    await page.click("#use-token")
    await holder(page, ISSUED["court"].unit_name)
    await page.wait_for(SCHEMA_IS_THERE)
    await page.evaluate(f"{QUERY_EDITOR}.setValue('{{ viewer {{ type syntheticOnly }} }}')")
    answer = await answer_to(page)
    assert answer["data"]["viewer"] == {"type": "COURT", "syntheticOnly": False}


async def test_the_purposes_are_documented_with_their_law(page: Page) -> None:
    await page.click("button[aria-label='Show Documentation Explorer']")
    link = "[...document.querySelectorAll('.graphiql-doc-explorer a')].find((a) => a.innerText === 'Purpose')"
    await page.wait_for(f"{link} && ({link}.click(), true)")
    panel = "document.querySelector('.graphiql-doc-explorer').innerText"
    await page.wait_for(f"{panel}.includes('PROCUREMENT')")
    shown = await page.evaluate(panel)
    described = shown.partition("PROCUREMENT\n")[2].strip().splitlines()[0]
    assert "Government procurement" in described
    assert "政府采购、招标投标" in described
    assert "Example basis: SH 28(2); SD 22(2)" in described
