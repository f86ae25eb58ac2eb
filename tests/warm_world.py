"""Questions of many callers, and gateways to ask them of, which share all but what they have answered."""

import asyncio
import base64
import itertools
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import orjson
from issuing import Key, ec_key, serving_jwks, sign
from service import (
    BANK_UNIT,
    CLEAN,
    CONTESTED,
    DEFAULTER,
    ENFORCED,
    INDIVIDUAL,
    PENALISED,
    REPAIRED,
    Client,
    Clock,
    serving,
    settings_for,
)
from test_reload import RULES, Directory

from connectors.sandbox.server import Sandbox
from gateway.app import INSTALLED_SOURCES, Gateway, create_app
from gateway.authenticate import LONGEST_LIFE
from gateway.endpoint import GraphQLEndpoint
from gateway.ledger import read_rows
from gateway.reload import Reload
from gateway.settings import IdentitySettings, LedgerSettings, PolicySettings, Visibility

ISSUER = "https://identity.example"

SECTIONS = """
  registration { state level withheld { field code } reason { code remedy }
    record { name creditCode status legalRepresentative address } }
  penalties { state level complete withheld { field code } reason { code remedy } sources { id state }
    records(first: $first) { totalCount
      nodes @include(if: $more) { documentNumber kind authority facts fine marks repairedOn recordId } } }
  taxPayments { state level withheld { field code } reason { code remedy basis { citation } }
    records(first: $first) { totalCount nodes { period taxKind amount amountBand } } }
  enforcement { state level withheld { field code } reason { code } records { nodes { caseNumber court performance } } }
  evaluations { state level withheld { field code } reason { code } records { nodes { evaluator scheme grade } } }
"""
HEAD = """$purpose: Purpose!, $evidence: Evidence, $first: Int! = 2, $more: Boolean! = true,
  $onDenied: OnDenied! = FILTER"""
ONE = f"""query Look($id: SubjectId!, {HEAD}) {{
  inquiry(purpose: $purpose, evidence: $evidence, onDenied: $onDenied) {{ subject(id: $id) {{ kind warnings
    ... on OperatingSubject {{ {SECTIONS} }}
    ... on NaturalPerson {{ enforcement {{ state level reason {{ code remedy }} records {{ nodes {{ caseNumber }} }} }}
      taxPayments {{ state level reason {{ code remedy }} records(first: $first) {{ totalCount }} }} }} }} }} }}"""
LIST = f"""query Look($of: [SubjectRef!]!, {HEAD}) {{
  inquiry(purpose: $purpose, evidence: $evidence, onDenied: $onDenied) {{ subjects(of: $of) {{
    ... on OperatingSubject {{ {SECTIONS} }} }} }} }}"""
ALIASES = f"""query Look($id: SubjectId!, $other: SubjectId!, {HEAD}) {{
  inquiry(purpose: $purpose, evidence: $evidence, onDenied: $onDenied) {{
    little: subject(id: $id) {{ ... on OperatingSubject {{ penalties {{ state withheld {{ field }}
      records {{ nodes {{ kind }} }} }} }} }}
    much: subject(id: $id) {{ ... on OperatingSubject {{ {SECTIONS} }} }}
    other: subject(id: $other) {{ ... on OperatingSubject {{ {SECTIONS} }} }} }} }}"""
# One text, two operations of unequal reach.
TWO = """query Little($id: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) { subject(id: $id) {
    ... on OperatingSubject { penalties { state level records { nodes { kind } } } } } } }
  query Much($id: SubjectId!) { inquiry(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"}) {
    subject(id: $id) { ... on OperatingSubject { penalties { state level records { nodes { kind facts fine } } } } } } }"""
# The name of an operation is no part of what it says, and the text of another one is not its own.
LITTLE_NAMED_MUCH = TWO.replace("query Much", "query Other").replace("query Little", "query Much")
SEEN = """query Look { viewer { unit unitName type purposes }
  permissions(purpose: SUPERVISION, subjectKind: ORG) { category possible level fields reason { code } }
  evidence: __type(name: "Evidence") { inputFields { name } }
  purposes: __type(name: "Purpose") { enumValues { name } }
  penalty: __type(name: "Penalty") { fields { name } } }"""
LISTED = """query Look($id: SubjectId!, $purpose: Purpose!, $evidence: Evidence) {
  inquiry(purpose: $purpose, evidence: $evidence) {
    subject(id: $id) { ... on OperatingSubject { seriousDishonesty { state reason { code } } } } } }"""
APPLY = """mutation Look($id: SubjectId!, $inquiry: ID!) {
  recordApplication(inquiry: $inquiry, subject: $id, measure: "S4", category: SERIOUS_LIST, decision: "虚市监措〔2026〕1号") {
    measure policyVersion } }"""

NOTHING = "00000000-0000-4000-8000-000000000000"

BUREAU_PURPOSES = ("SUPERVISION", "PROCUREMENT", "REPAIR", "PUBLIC_VIEW", "LIST_DESIGNATION")
BUREAU = {
    "unit": "11990105FAKE90012G",
    "unit_name": "示例区市场监督管理局",
    "caller_type": "MARKET_REGULATION",
    "level": "COUNTY",
    "division": "990105",
    "officer": "officer-0001",
    "purposes": BUREAU_PURPOSES,
}
BANK = {
    "unit": BANK_UNIT,
    "unit_name": "示例第一银行",
    "caller_type": "BANK",
    "division": "990100",
    "purposes": ("LOAN_PRECHECK", "PUBLIC_VIEW"),
}
CALLERS: Mapping[str, Mapping[str, Any]] = {
    "bureau": BUREAU,
    "its-other-officer": BUREAU | {"officer": "officer-0002"},
    "its-public-token": BUREAU | {"purposes": ("PUBLIC_VIEW",)},
    "its-narrow-token": BUREAU | {"categories": ("REG_ORG",)},
    "its-synthetic-token": BUREAU | {"synthetic_only": True},
    "other-bureau": BUREAU | {"unit": "11990106FAKE90018K", "unit_name": "示例另一区市场监督管理局"},
    "foreign-bureau": BUREAU | {"division": "110105"},
    "bank": BANK,
    "other-bank": BANK | {"unit": "91990100FAKE90099X", "unit_name": "示例第二银行"},
    "public": {
        "unit": "public",
        "unit_name": "社会公众",
        "caller_type": "PUBLIC",
        "purposes": ("PUBLIC_VIEW",),
    },
    "penalised": {
        "unit": PENALISED,
        "unit_name": "本人",
        "caller_type": "SUBJECT",
        "purposes": ("SELF", "PUBLIC_VIEW"),
        "subject": {"credit_code": PENALISED},
    },
    "clean": {
        "unit": CLEAN,
        "unit_name": "本人",
        "caller_type": "SUBJECT",
        "purposes": ("SELF", "PUBLIC_VIEW"),
        "subject": {"credit_code": CLEAN},
    },
    "defaulter": {
        "unit": "natural-person",
        "unit_name": "本人",
        "caller_type": "SUBJECT",
        "purposes": ("SELF", "PUBLIC_VIEW"),
        "subject": {"resident_number": DEFAULTER["number"], "name": DEFAULTER["name"]},
    },
}

PLAN = {"inspectionPlanNumber": "I-1"}
LOAN = {"applicationNumber": "A-1", "queryReasonCode": "02"}


@dataclass(frozen=True)
class Step:
    """One question: who asks what, by which text, on which day after today and under which policy.

    `token_day` is the day on which the token was issued, where it is not that of the question. A text in the variables
    that begins with @ stands for the authorization of that name. `then` is a text that is sent after it, about the same
    subject, with the receipt of the first.
    """

    who: str
    text: str
    variables: Mapping[str, Any] = field(hash=False)
    operation: str = "Look"
    day: int = 0
    token_day: int | None = None
    policy: str = "first"
    then: str | None = None


def by_code(code: str) -> dict[str, str]:
    return {"creditCode": code}


def asks(purpose: str, evidence: Mapping[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
    return {"purpose": purpose, "evidence": evidence, **variables}


def _steps() -> dict[str, Step]:
    steps: dict[str, Step] = {}
    grounds: tuple[tuple[str, str, Mapping[str, Any] | None], ...] = (
        ("bureau", "SUPERVISION", PLAN),
        ("bureau", "SUPERVISION", None),
        ("bureau", "SUPERVISION", {"inspectionPlanNumber": "I-ELSEWHERE"}),
        ("bureau", "PUBLIC_VIEW", None),
        ("its-public-token", "SUPERVISION", PLAN),
        ("its-narrow-token", "SUPERVISION", PLAN),
        ("its-synthetic-token", "SUPERVISION", PLAN),
        ("other-bureau", "SUPERVISION", PLAN),
        ("foreign-bureau", "SUPERVISION", PLAN),
        ("its-other-officer", "SUPERVISION", PLAN),
        ("public", "PUBLIC_VIEW", None),
        ("penalised", "SELF", None),
        ("clean", "SELF", None),
        ("bank", "LOAN_PRECHECK", LOAN),
        ("bank", "LOAN_PRECHECK", LOAN | {"authorization": "@penalised"}),
        ("bank", "LOAN_PRECHECK", LOAN | {"authorization": "@tax-alone"}),
        ("bank", "LOAN_PRECHECK", LOAN | {"authorization": "@withdrawn"}),
        ("bank", "LOAN_PRECHECK", LOAN | {"authorization": "@clean"}),
        ("other-bank", "LOAN_PRECHECK", LOAN | {"authorization": "@penalised"}),
    )
    for number, (who, purpose, evidence) in enumerate(grounds):
        steps[f"{number} {who} {purpose} one"] = Step(
            who, ONE, asks(purpose, evidence, id=by_code(PENALISED))
        )
    bureau, bank = ("bureau", "SUPERVISION", PLAN), ("bank", "LOAN_PRECHECK", LOAN)
    public, own = ("public", "PUBLIC_VIEW", None), ("penalised", "SELF", None)
    for who, purpose, evidence in (bureau, bank, public, own):
        of = [{"id": by_code(code)} for code in (PENALISED, REPAIRED, CONTESTED)]
        of[0] |= {"evidence": {"authorization": "@penalised"}} if who == "bank" else {}
        steps[f"{who} list"] = Step(who, LIST, asks(purpose, evidence, of=of))
        both = asks(purpose, evidence, id=by_code(PENALISED), other=by_code(CONTESTED))
        steps[f"{who} aliases"] = Step(who, ALIASES, both)
        steps[f"{who} individual"] = Step(who, ONE, asks(purpose, evidence, id=by_code(INDIVIDUAL)))
        steps[f"{who} sees"] = Step(who, SEEN, {})
        steps[f"{who} years later"] = Step(
            who, ONE, asks(purpose, evidence, id=by_code(PENALISED)), day=5 * 365
        )
    about = asks("SUPERVISION", PLAN, id=by_code(PENALISED))
    repair = {"repairNumber": "R-1", "recordIds": ["X-1"]}
    steps |= {
        "two, little": Step("bureau", TWO, {"id": by_code(PENALISED)}, "Little"),
        "two, much": Step("bureau", TWO, {"id": by_code(PENALISED)}, "Much"),
        "two, much of the public": Step("public", TWO, {"id": by_code(PENALISED)}, "Much"),
        "a person": Step("bureau", ONE, asks("SUPERVISION", PLAN, id={"resident": DEFAULTER})),
        "the name of the other": Step("bureau", LITTLE_NAMED_MUCH, {"id": by_code(PENALISED)}, "Much"),
        "little of much": Step("bureau", ONE, about | {"more": False, "first": 1}),
        "own, the first of each": Step("penalised", ONE, asks("SELF", None, id=by_code(PENALISED), first=1)),
        "own, without what is counted": Step(
            "penalised", ONE, asks("SELF", None, id=by_code(PENALISED), more=False)
        ),
        "two pages in one": Step("bureau", ONE, about | {"id": by_code(CONTESTED)}),
        "the first of two pages": Step("bureau", ONE, about | {"id": by_code(CONTESTED), "first": 1}),
        "rejected": Step("bureau", ONE, about | {"onDenied": "REJECT"}),
        "another record at issue": Step("bureau", ONE, asks("REPAIR", repair, id=by_code(REPAIRED))),
        "the record at issue": Step(
            "bureau", ONE, asks("REPAIR", repair | {"recordIds": ["@record"]}, id=by_code(REPAIRED))
        ),
        "the plan is over": Step("bureau", ONE, about, day=400),
        "an old token": Step("bureau", ONE, about, day=2, token_day=0),
        "today's token": Step("bureau", ONE, about, day=1),
        "consent is over": Step(
            "bank",
            ONE,
            asks("LOAN_PRECHECK", LOAN | {"authorization": "@penalised"}, id=by_code(PENALISED)),
            day=60,
        ),
        "own record of the person": Step("defaulter", ONE, asks("SELF", None, id={"resident": DEFAULTER})),
        "another name": Step(
            "defaulter", ONE, asks("SELF", None, id={"resident": DEFAULTER | {"name": "例他人"}})
        ),
        "narrow token sees": Step("its-narrow-token", SEEN, {}),
        "public token sees": Step("its-public-token", SEEN, {}),
        "a measure on nothing": Step("bureau", APPLY, {"id": by_code(ENFORCED), "inquiry": NOTHING}),
        "a measure on what was given": Step(
            "bureau", LISTED, asks("SUPERVISION", PLAN, id=by_code(ENFORCED)), then=APPLY
        ),
        "a measure on what was denied": Step(
            "public", LISTED, asks("PUBLIC_VIEW", None, id=by_code(ENFORCED)), then=APPLY
        ),
        "second: public": Step(
            "public", ONE, asks("PUBLIC_VIEW", None, id=by_code(PENALISED)), policy="second"
        ),
        "second: bureau": Step("bureau", ONE, about, policy="second"),
        "second: sees": Step("public", SEEN, {}, policy="second"),
    }
    return steps


STEPS = _steps()

_RECEIPT = re.compile(rb'"receipt":\{"id":"([0-9a-f-]{36})"[^}]*\}')
_INCIDENT = re.compile(rb'"incident":"[^"]*"')


@dataclass(frozen=True)
class Answer:
    """What came of a question: status, body without its receipt, and the row of the ledger without it."""

    status: int
    body: bytes
    row: Any


@dataclass
class World:
    """What all gateways share: the sandbox, the issuer of tokens, the authorizations and the time."""

    sandbox: Sandbox
    folder: Path
    key: Key
    identity: IdentitySettings
    start: datetime
    texts: Mapping[str, str]
    tokens: dict[tuple[str, int], str] = field(default_factory=dict)
    cold: dict[str, Answer] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def token(self, who: str, day: int) -> str:
        if (who, day) not in self.tokens:
            issued = int((self.start + timedelta(days=day)).timestamp())
            claims = dict(CALLERS[who])
            details = {"type": "credit_inquiry", "purposes": list(claims.pop("purposes"))}
            if "categories" in claims:
                details["categories"] = list(claims.pop("categories"))
            claims |= {
                "iss": ISSUER,
                "aud": "credit-gateway",
                "sub": who,
                "client_id": who,
                "jti": f"{who}-{day}",
                "iat": issued,
                "exp": issued + LONGEST_LIFE,
                "authorization_details": [details],
            }
            self.tokens[who, day] = sign(claims, self.key)
        return self.tokens[who, day]

    def variables(self, value: Any) -> Any:
        """The variables with every text that stands for another in its place."""
        match value:
            case dict():
                return {name: self.variables(each) for name, each in value.items()}
            case list():
                return [self.variables(each) for each in value]
            case str() if value.startswith("@"):
                return self.texts[value[1:]]
        return value

    def bundle(self, folder: Path) -> Directory:
        """A directory of bundles; in the second one the public sees hits alone, and supervision a summary."""
        directory = Directory(folder)
        rules = directory.second[RULES].decode()
        (full,) = re.findall(r'id = "R012".*?level = "FULL"', rules, re.DOTALL)
        summary = rules.replace(full, full.replace('level = "FULL"', 'level = "SUMMARY"'))
        directory.second[RULES] = summary.encode()
        return directory

    @asynccontextmanager
    async def gateway(
        self, policy: str = "first", transport: httpx.AsyncBaseTransport | None = None
    ) -> AsyncIterator["Warm"]:
        folder = self.folder / str(next(self.numbers))
        folder.mkdir()
        directory = self.bundle(folder / "province")
        if policy == "second":
            directory.put_unread(directory.second)
        settings = settings_for(
            self.sandbox,
            folder,
            identity=self.identity,
            policy=PolicySettings(
                bundle=str(directory.path), check_on_load=False, visibility=Visibility.CALLER
            ),
            ledger=LedgerSettings(
                path=str(folder / "ledger.sqlite"), key_file=str(self.folder / "ledger.key")
            ),
        )
        # A busy machine makes no source late.
        patient = msgspec.structs.replace(
            settings.sources, deadline=20.0, directory=str(self.folder / "sources")
        )
        settings = msgspec.structs.replace(settings, sources=patient)
        clock = Clock(self.start)
        app = create_app(settings, environment={}, clock=clock, transport=transport)
        assert isinstance(app, Gateway)
        async with serving(app) as url, httpx.AsyncClient(timeout=30, trust_env=False) as http:
            client = Client(http, url, self.sandbox, folder)
            yield Warm(self, client, clock, directory, app.state.reload, app.graphql, policy)

    async def cold_answer(self, name: str) -> Answer:
        """What a gateway says to the question when it was asked nothing before."""
        if name not in self.cold:
            async with self.gateway(STEPS[name].policy) as gateway:
                self.cold[name] = await gateway.answer(STEPS[name])
        return self.cold[name]


@dataclass
class Warm:
    """A gateway that has answered whatever it was asked so far."""

    world: World
    client: Client
    clock: Clock
    directory: Directory
    reload: Reload
    endpoint: GraphQLEndpoint
    policy: str = "first"

    @property
    def stood(self) -> int:
        """How many answers stood so far."""
        return self.reload._river._counts.by_form.get("standing", 0)

    async def answer(self, step: Step) -> Answer:
        self.clock.now = self.world.start + timedelta(days=step.day)
        if step.policy != self.policy:
            await self._take(step.policy)
        return await self.ask(step)

    async def ask(self, step: Step) -> Answer:
        """The answer on the day and by the policy that are."""
        receipt, answer = await self._send(step, step.text, self.world.variables(step.variables))
        if step.then is None:
            return answer
        variables = {"id": step.variables["id"], "inquiry": receipt}
        _, then = await self._send(step, step.then, variables)
        return Answer(then.status, answer.body + then.body, [answer.row, then.row])

    async def _send(self, step: Step, text: str, variables: Any) -> tuple[str | None, Answer]:
        token = self.world.token(step.who, step.day if step.token_day is None else step.token_day)
        answer = await self.client.http.post(
            f"{self.client.url}/graphql",
            json={"query": text, "operationName": step.operation, "variables": variables},
            headers={"authorization": f"Bearer {token}"},
        )
        receipt = next((found.decode() for found in _RECEIPT.findall(answer.content)), None)
        row = None
        if receipt is not None:
            rows = (orjson.loads(body) for _, body in read_rows(self.client.folder / "ledger.sqlite"))
            (found,) = (row for row in rows if row["receipt"] == receipt)
            row = {name: value for name, value in found.items() if name not in ("receipt", "inquiry")}
        body = _INCIDENT.sub(b"", _RECEIPT.sub(b'"receipt":0', answer.content))
        return receipt, Answer(answer.status_code, body, row)

    async def _take(self, policy: str) -> None:
        wanted = self.directory.put(getattr(self.directory, policy))
        self.reload.ask()
        async with asyncio.timeout(60):
            while self.reload._river.policy.bundle.hash != wanted:
                await asyncio.sleep(0.01)
        self.policy = policy


@asynccontextmanager
async def world_over(sandbox: Sandbox, folder: Path) -> AsyncIterator[World]:
    """A world whose gateways keep every answer, so that all of them can be warm."""
    key = ec_key("warm-world")
    _all_kept(folder / "sources")
    (penalty,) = sandbox.population.records.penalties[REPAIRED]
    async with serving_jwks(key) as tokens, httpx.AsyncClient(trust_env=False) as http:
        consents = Client(http, "", sandbox, folder)

        async def consent(code: str, *categories: str) -> str:
            return await consents.authorization({"credit_code": code}, categories=categories)

        everything = ("TAX_PAYMENT", "SI_HF_PAYMENT", "MARKET", "EVALUATION")
        texts = {
            "penalised": await consent(PENALISED, *everything),
            "tax-alone": await consent(PENALISED, "TAX_PAYMENT"),
            "withdrawn": await consent(PENALISED, *everything),
            "clean": await consent(CLEAN, *everything),
            "record": penalty.number,
        }
        await _withdraw(http, sandbox, texts["withdrawn"])
        identity = IdentitySettings(issuer=ISSUER, audience="credit-gateway", jwks_url=tokens.url)
        yield World(sandbox, folder, key, identity, datetime.now(UTC), texts)


def _all_kept(folder: Path) -> None:
    """The source files of the product, changed so that every answer may be kept."""
    folder.mkdir()
    for file in INSTALLED_SOURCES.glob("*.toml"):
        lookups = re.split(r"^(?=\[\[)", file.read_text(), flags=re.MULTILINE)
        for place, lookup in enumerate(lookups):
            if lookup.startswith("[[lookup]]") and "cache_seconds" not in lookup:
                lookups[place] = lookup.replace("[[lookup]]", "[[lookup]]\ncache_seconds = 600", 1)
        (folder / file.name).write_text("".join(lookups))


async def _withdraw(http: httpx.AsyncClient, sandbox: Sandbox, authorization: str) -> None:
    claims = authorization.split(".")[1]
    number = orjson.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["jti"]
    answer = await http.post(f"{sandbox.urls['issuer']}/authorizations/{number}/withdraw")
    assert answer.status_code == 200
