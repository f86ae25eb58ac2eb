"""The explorer: its files, its pinning, its answers over HTTP, and the page in a real browser."""

import asyncio
import base64
import contextlib
import json
import re
import socket
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import strawberry
import uvicorn
from browser import Browser, Page, chromium
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.explorer import assets
from gateway.explorer.app import Example, LoginHints, explorer_routes

# --- a gateway in miniature ---------------------------------------------------------------------------------


@strawberry.type(description="One declared purpose and what it permits.")
class Inquiry:
    purpose: str
    subject: str


@strawberry.type
class Query:
    @strawberry.field(description="The only door to a subject.")
    def inquiry(self, purpose: str, credit_code: str) -> Inquiry:
        return Inquiry(purpose=purpose, subject=f"subject of {len(credit_code)} characters")


SCHEMA = strawberry.Schema(Query)
CODE = "91990100FAKE00013D"
INQUIRY = """query Check($code: String!) {
  inquiry(purpose: "AWARD", creditCode: $code) {
    purpose
    subject
  }
}"""
EXAMPLES = (
    Example(
        "Bidder check",
        "department",
        INQUIRY,
        {"code": CODE},
        "Is this bidder on a list of dishonest subjects?",
    ),
    Example(
        "Loan lookup",
        "bank",
        INQUIRY.replace("AWARD", "LOAN_PRECHECK"),
        {"code": CODE},
        "With authorisation.",
    ),
    Example("Who looked", "subject", INQUIRY.replace("AWARD", "SELF"), {"code": CODE}, "All about oneself."),
    Example("Schema", "developer", "{ __typename }", {}, "What the schema says of itself."),
    Example("Not there", "developer", "{ nothing }", {}, "What an error looks like."),
)
PERSONAS = ("department", "bank", "subject", "developer")
RECEIPT = {"id": "01J8Z3", "policy": "bundle 4f1c", "position": 17}
DENIAL = {"section": "taxPayments", "code": "DENY_NO_RULE", "basis": "example basis", "remedy": "none"}


class Gateway:
    """Answers whoever brings a known token, and remembers with what it was asked."""

    def __init__(self, login: LoginHints | None = None, examples: tuple[Example, ...] = EXAMPLES) -> None:
        self.operations: list[dict[str, object]] = []
        self.bearers: list[str] = []
        self.asked_tokens: list[str] = []
        self.held_back: dict[str, asyncio.Event] = {}
        self.app = Starlette(
            routes=[
                Route("/graphql", self.graphql, methods=["POST"]),
                Route("/explorer/token", self.token),
                *explorer_routes(examples, login),
            ]
        )

    async def graphql(self, request: Request) -> Response:
        bearer = request.headers["authorization"].removeprefix("Bearer ")
        self.bearers.append(bearer)
        if not bearer.startswith("good"):
            refusal = {"message": "This token is not valid.", "extensions": {"code": "UNAUTHENTICATED"}}
            return JSONResponse({"errors": [refusal]}, 401, {"www-authenticate": "Bearer"})
        operation = await request.json()
        self.operations.append(operation)
        done = await SCHEMA.execute(operation["query"], operation.get("variables"))
        answer: dict[str, object] = {"data": done.data}
        if done.errors:
            answer["errors"] = [error.formatted for error in done.errors]
        elif "inquiry" in (done.data or {}):
            answer["extensions"] = {"receipt": RECEIPT, "denials": [DENIAL]}
        return JSONResponse(answer)

    async def token(self, request: Request) -> Response:
        persona = request.query_params["persona"]
        self.asked_tokens.append(persona)
        if persona in self.held_back:
            await self.held_back[persona].wait()
        if persona not in PERSONAS:
            return JSONResponse({"error": "temporarily_unavailable"}, 503)
        return JSONResponse({"access_token": token_of(persona)}, headers={"cache-control": "no-store"})


@contextlib.asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    settings = uvicorn.Config(gateway.app, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(settings)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


def unsigned(claims: object) -> str:
    """Claims in the form of a JWT that nobody signed."""
    payload = base64.urlsafe_b64encode(json.dumps(claims, ensure_ascii=False).encode()).decode().rstrip("=")
    return f"e30.{payload}.x"


def token_of(persona: str) -> str:
    return unsigned({"unit": persona}).replace("e30", "good", 1)


def client_of(gateway: Gateway) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(gateway.app), base_url="http://gateway.test")


# --- files and pinning --------------------------------------------------------------------------------------


def test_the_lock_file_pins_every_package_and_names_no_registry() -> None:
    lock = json.loads(Path(assets.__file__).with_name("package-lock.json").read_bytes())
    packages = {path: package for path, package in lock["packages"].items() if path}
    assert all("resolved" not in package for package in packages.values())
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    versions = {
        name: packages[f"node_modules/{name}"]["version"] for name in ("graphiql", "react", "react-dom")
    }
    assert versions["graphiql"].startswith("3.")
    assert versions["react"] == versions["react-dom"]
    assert versions["react"].startswith("18.")


def test_the_assets_are_complete_and_match_the_lock_file() -> None:
    assert assets.missing() == []
    assert assets.ensure(npm=["/no/such/npm"]) is False
    licences = (assets.FOLDER / assets.LICENCES).read_text("utf-8")
    assert "graphiql 3." in licences
    assert "react-dom 18." in licences
    assert licences.count("Permission is hereby granted") > 50


NPM = """
import json, pathlib, sys
asked = sys.argv[1:]
assert asked[0] == "ci" and "--ignore-scripts" in asked, asked
lock = json.loads(pathlib.Path("package-lock.json").read_bytes())
for path in lock["packages"]:
    pathlib.Path(path).mkdir(parents=True, exist_ok=True)
for path in {files!r}:
    file = pathlib.Path("node_modules", path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("code();\\n//# sourceMappingURL=code.js.map\\n")
"""


def npm_with(*files: str) -> list[str]:
    return [sys.executable, "-c", NPM.format(files=files)]


def test_assets_are_copied_once_and_again_when_one_is_lost(tmp_path: Path) -> None:
    npm = npm_with(*assets.FILES.values())
    assert assets.ensure(tmp_path / "assets", npm) is True
    assert assets.missing(tmp_path / "assets") == []
    assert (tmp_path / "assets" / "graphiql.min.js").read_text() == "code();\n"
    assert assets.ensure(tmp_path / "assets", ["/no/such/npm"]) is False
    (tmp_path / "assets" / "graphiql.min.js").unlink()
    assert assets.missing(tmp_path / "assets") == ["graphiql.min.js"]
    assert assets.ensure(tmp_path / "assets", npm) is True
    assert assets.missing(tmp_path / "assets") == []


def test_a_stamp_of_another_lock_file_is_not_believed(tmp_path: Path) -> None:
    assets.ensure(tmp_path, npm_with(*assets.FILES.values()))
    (tmp_path / "lock.sha256").write_text("0" * 64)
    assert assets.ensure(tmp_path, npm_with(*assets.FILES.values())) is True


@pytest.mark.parametrize(
    ("npm", "reason"),
    [
        (
            [sys.executable, "-c", "import sys; sys.exit('E404 no such package')"],
            "status 1:\nE404 no such package",
        ),
        (["/no/such/npm"], "npm could not be run: .*No such file"),
        (npm_with("graphiql/graphiql.min.js"), "these files are absent: .*react/umd/react.production.min.js"),
    ],
)
def test_a_failing_npm_is_reported_and_leaves_nothing_that_looks_complete(
    tmp_path: Path, npm: list[str], reason: str
) -> None:
    with pytest.raises(assets.AssetsError, match=reason):
        assets.ensure(tmp_path / "assets", npm)
    assert assets.missing(tmp_path / "assets") == [*assets.FILES, assets.LICENCES]


# --- over HTTP ----------------------------------------------------------------------------------------------


async def test_every_file_that_the_page_names_is_served_for_good() -> None:
    async with client_of(Gateway()) as client:
        page = await client.get("/explorer")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-cache"
        named = re.findall(r'"(explorer/[^"]+)"', page.text)
        assert {address.partition("?")[0] for address in named} == {
            f"explorer/{name}" for name in ("explorer.js", "explorer.css", "examples.json", *assets.FILES)
        }
        kinds = {
            ".js": "text/javascript; charset=utf-8",
            ".css": "text/css; charset=utf-8",
            ".json": "application/json",
        }
        for address in named:
            file = await client.get(f"/{address}")
            assert file.status_code == 200
            assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert file.headers["content-type"] == kinds[Path(file.url.path).suffix]


async def test_a_file_is_not_sent_twice_and_not_kept_under_another_version() -> None:
    async with client_of(Gateway()) as client:
        first = await client.get("/explorer/explorer.js?v=0000")
        assert first.headers["cache-control"] == "no-cache"
        tag = first.headers["etag"]
        for held in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await client.get("/explorer/explorer.js", headers={"if-none-match": held})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
        other = await client.get("/explorer/explorer.js", headers={"if-none-match": '"other"'})
        assert other.status_code == 200


async def test_every_answer_forbids_what_the_page_does_not_need() -> None:
    async with client_of(Gateway()) as client:
        for path in (
            "/explorer",
            "/explorer/explorer.js",
            "/explorer/examples.json",
            "/explorer/LICENCES.txt",
        ):
            headers = (await client.get(path)).headers
            policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["connect-src"] == "'self'"
            assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"


async def test_examples_travel_as_json_with_the_hints_for_login() -> None:
    async with client_of(Gateway(LoginHints(PERSONAS))) as client:
        offer = (await client.get("/explorer/examples.json")).json()
    assert offer["login"] == {"personas": list(PERSONAS), "first": "developer"}
    assert offer["examples"][0] == {
        "name": "Bidder check",
        "persona": "department",
        "query": INQUIRY,
        "variables": {"code": CODE},
        "explanation": "Is this bidder on a list of dishonest subjects?",
    }
    async with client_of(Gateway()) as client:
        assert (await client.get("/explorer/examples.json")).json()["login"] is None


async def test_only_reading_is_possible_and_nothing_beside_the_files() -> None:
    async with client_of(Gateway()) as client:
        assert (await client.post("/explorer")).status_code == 405
        for path in (
            "/explorer/app.py",
            "/explorer/package.json",
            "/explorer/..%2fapp.py",
            "/explorer/lock.sha256",
        ):
            assert (await client.get(path)).status_code == 404


async def test_without_its_files_the_explorer_says_what_is_missing(tmp_path: Path) -> None:
    app = Starlette(routes=explorer_routes(EXAMPLES, folder=tmp_path))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway.test"
    ) as client:
        answer = await client.get("/explorer")
    assert answer.status_code == 503
    assert "graphiql.min.js" in answer.text
    assert "python -m gateway.explorer.assets" in answer.text


def test_login_must_start_with_a_persona_that_it_offers() -> None:
    with pytest.raises(ValueError, match=r"login\.first: 'developer' is not among"):
        explorer_routes(EXAMPLES, LoginHints(("bank",)))


# --- in the browser -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


QUERY_EDITOR = "document.querySelector('.graphiql-query-editor .CodeMirror')?.CodeMirror"
VARIABLES_EDITOR = "document.querySelector('.graphiql-editor-tool .CodeMirror')?.CodeMirror"
RESPONSE = "document.querySelector('.result-window .CodeMirror')?.CodeMirror?.getValue()"
SCHEMA_IS_THERE = f"{QUERY_EDITOR}?.options?.lint?.schema?.getQueryType()?.name === 'Query'"


def assert_at_home(page: Page, address: str) -> None:
    """Nothing was asked of anybody else, and nothing went wrong on the way."""
    foreign = [asked for asked in page.requests if not asked.startswith((f"{address}/", "data:"))]
    assert foreign == []
    assert page.complaints == []


async def test_with_a_login_the_developer_sees_the_schema_at_once(browser: Browser, tmp_path: Path) -> None:
    gateway = Gateway(LoginHints(PERSONAS))
    async with serving(gateway) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        await page.wait_for(SCHEMA_IS_THERE)
        assert gateway.asked_tokens == ["developer"]
        assert set(gateway.bearers) == {token_of("developer")}
        await page.click("button[aria-label='Show Documentation Explorer']")
        assert "Query" in await page.text(".graphiql-doc-explorer")
        await page.click(".graphiql-doc-explorer-content a.graphiql-doc-explorer-type-name")
        await page.wait_for(
            "document.querySelector('.graphiql-doc-explorer').innerText.includes('only door')"
        )
        assert_at_home(page, address)


async def test_a_login_that_fails_is_said(browser: Browser) -> None:
    gateway = Gateway(LoginHints((*PERSONAS, "nobody")))
    async with serving(gateway) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        await page.wait_for(SCHEMA_IS_THERE)
        await page.click("[data-persona='nobody']")
        assert "gave no token for nobody (status 503)" in await page.text("#notice")
        await page.click("[data-persona='subject']")
        await page.wait_for("document.querySelector('#token-state').innerText === 'subject'")
        assert await page.evaluate("document.querySelector('#notice')") is None


async def test_the_persona_chosen_last_wins_however_late_a_token_comes(browser: Browser) -> None:
    gateway = Gateway(LoginHints(PERSONAS))
    bank = gateway.held_back["bank"] = asyncio.Event()
    async with serving(gateway) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        await page.wait_for(SCHEMA_IS_THERE)
        await page.click("[data-persona='bank']")
        await page.click("[data-persona='subject']")
        await page.wait_for("document.querySelector('#token-state').innerText === 'subject'")
        bank.set()
        await page.wait_for(
            "performance.getEntriesByType('resource').some((entry) => entry.name.endsWith('persona=bank'))"
        )
        assert await page.text("#token-state") == "subject"
        await page.click(".graphiql-execute-button")
        await page.wait_for(f"{RESPONSE}?.includes('subject of 18 characters')")
        assert gateway.bearers[-1] == token_of("subject")


async def test_an_example_runs_and_shows_answer_receipt_and_denial(browser: Browser) -> None:
    gateway = Gateway(LoginHints(PERSONAS))
    async with serving(gateway) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        await page.wait_for(SCHEMA_IS_THERE)
        await page.click("[data-persona='bank']")
        await page.wait_for(f"{QUERY_EDITOR}.getValue().includes('LOAN_PRECHECK')")
        await page.wait_for("document.querySelector('#token-state').innerText === 'bank'")
        await page.click(".graphiql-execute-button")
        await page.wait_for(f"{RESPONSE}?.includes('subject of 18 characters')")
        assert gateway.operations[-1]["variables"] == {"code": CODE}
        assert gateway.bearers[-1] == token_of("bank")
        receipt = await page.text(".extensions .receipt")
        assert "01J8Z3" in receipt
        assert "17" in receipt
        assert "DENY_NO_RULE" in await page.text(".extensions .denial")
        assert_at_home(page, address)


async def test_the_same_example_can_be_loaded_again_after_an_edit(browser: Browser) -> None:
    async with serving(Gateway(LoginHints(PERSONAS))) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        await page.wait_for(SCHEMA_IS_THERE)
        for _ in range(2):
            await page.click("[data-example='Not there']")
            await page.wait_for(f"{QUERY_EDITOR}.getValue() === '{{ nothing }}'")
            await page.evaluate(f"{QUERY_EDITOR}.setValue('{{ __typename }}')")


async def test_a_reload_keeps_the_work_of_the_tab(browser: Browser) -> None:
    async with serving(Gateway(LoginHints(PERSONAS))) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        await page.wait_for(SCHEMA_IS_THERE)
        await page.evaluate(f"{QUERY_EDITOR}.setValue('query Mine {{ __typename }}')")
        await page.wait_for("sessionStorage.getItem('graphiql:tabState')?.includes('Mine')")
        await page.open(f"{address}/explorer")
        await page.wait_for(f"{QUERY_EDITOR}?.getValue().includes('query Mine')")
        assert await page.evaluate("document.querySelector('.choice[aria-pressed=true]')") is None
        assert await page.evaluate("localStorage.length") == 0


async def test_an_error_is_shown_as_the_gateway_gave_it(browser: Browser) -> None:
    async with serving(Gateway(LoginHints(PERSONAS))) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        await page.wait_for(SCHEMA_IS_THERE)
        await page.click("[data-example='Not there']")
        await page.wait_for(f"{QUERY_EDITOR}.getValue() === '{{ nothing }}'")
        await page.click(".graphiql-execute-button")
        shown = json.loads(await page.wait_for(RESPONSE))
        assert "nothing" in shown["errors"][0]["message"]
        assert await page.evaluate("document.querySelector('.extensions')") is None


async def test_without_a_token_the_page_says_so_and_asks_nothing(browser: Browser) -> None:
    gateway = Gateway()
    async with serving(gateway) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        assert "No token yet" in await page.text("#notice")
        await page.wait_for(f"{QUERY_EDITOR}?.getValue().includes('AWARD')")
        await page.wait_for(f"{VARIABLES_EDITOR}?.getValue().includes('{CODE}')")
        assert await page.evaluate("document.querySelector('.graphiql-spinner')") is None
        await page.click(".graphiql-execute-button")
        await page.wait_for(f"{RESPONSE}?.includes('No token yet')")
        assert gateway.bearers == gateway.asked_tokens == []
        assert_at_home(page, address)


async def test_a_pasted_token_opens_the_schema_and_stays_in_the_tab_alone(browser: Browser) -> None:
    gateway = Gateway()
    async with serving(gateway) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        await page.wait_for("document.querySelector('#token')?.type === 'password'")
        await page.write("#token", "Bearer good-pasted")
        await page.click("#use-token")
        await page.wait_for(SCHEMA_IS_THERE)
        assert set(gateway.bearers) == {"good-pasted"}
        assert await page.evaluate("document.querySelector('#notice')") is None
        await page.open(f"{address}/explorer")
        await page.wait_for(SCHEMA_IS_THERE)
        assert await page.evaluate("localStorage.length") == 0
        assert await page.evaluate("document.cookie") == ""
        assert await page.evaluate("document.querySelector('#token').value") == ""
        assert not any("good-pasted" in asked for asked in page.requests)
        await page.click("#clear-token")
        assert "No token yet" in await page.text("#notice")
        assert "good-pasted" not in await page.evaluate("JSON.stringify(sessionStorage)")
        assert_at_home(page, address)


async def test_a_refused_token_shows_the_refusal(browser: Browser) -> None:
    async with serving(Gateway()) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        await page.write("#token", "bad")
        await page.click("#use-token")
        await page.wait_for(f"{RESPONSE}?.includes('UNAUTHENTICATED')")
        assert page.statuses[f"{address}/graphql"] == 401


@pytest.mark.parametrize(
    ("claims", "shown"),
    [
        ({"unit_name": "First Bank 第一银行", "exp": 4_102_444_800}, "First Bank 第一银行, until"),
        ({"unit": "first-bank"}, "first-bank"),
        (
            {"unit_name": "First Bank", "exp": int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())},
            "Token expired",
        ),
        ([], "Token set"),
    ],
)
async def test_the_page_tells_whose_token_it_holds(browser: Browser, claims: object, shown: str) -> None:
    async with serving(Gateway()) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        await page.write("#token", unsigned(claims))
        await page.click("#use-token")
        await page.wait_for(
            f"document.querySelector('#token-state').innerText.startsWith({json.dumps(shown)})"
        )


async def test_what_an_example_or_a_claim_says_is_text_and_never_markup(browser: Browser) -> None:
    bad = "<img src=x onerror=document.title='owned'>"
    gateway = Gateway(examples=(Example(bad, "developer", "{ __typename }", {}, bad),))
    async with serving(gateway) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        assert bad in await page.text(".choice")
        await page.write("#token", unsigned({"unit_name": bad}))
        await page.click("#use-token")
        await page.wait_for(f"document.querySelector('#token-state').innerText === {json.dumps(bad)}")
        assert await page.evaluate("document.querySelector('img[src=x]')") is None
        assert await page.evaluate("document.title") == "Credit gateway: explorer"


async def test_the_dialogs_of_the_editor_work_under_the_content_policy(browser: Browser) -> None:
    async with serving(Gateway(LoginHints(PERSONAS))) as address:
        page = await browser.new_page()
        await page.open(f"{address}/explorer")
        await page.wait_for(SCHEMA_IS_THERE)
        for label in ("Open settings dialog", "Open short keys dialog"):
            await page.click(f"button[aria-label='{label}']")
            await page.click(".graphiql-dialog-close, .graphiql-dialog-header button")
            await page.wait_for("document.querySelector('.graphiql-dialog') === null")
        assert_at_home(page, address)


async def test_the_page_fits_a_small_screen(browser: Browser) -> None:
    async with serving(Gateway(LoginHints(PERSONAS))) as address:
        page = await browser.new_page(1280, 800)
        await page.open(f"{address}/explorer")
        await page.wait_for(SCHEMA_IS_THERE)
        for side, size in (("scrollWidth", 1280), ("scrollHeight", 800)):
            assert await page.evaluate(f"document.documentElement.{side}") <= size
        assert await page.evaluate("document.querySelector('main').getBoundingClientRect().height") > 600
