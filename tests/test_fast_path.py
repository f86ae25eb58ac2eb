"""A warm gateway answers as a cold one: nothing that is kept for speed carries an answer, a decision or a row of the
ledger from one question to another.

Every question is asked of a gateway that has answered nothing before, once; then of gateways that have answered all
the others, in several orders and at the same time. Bytes and ledger rows must be equal, the receipt aside.
"""

import asyncio
import base64
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import orjson
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from issuing import Key, ec_key, serving_app, serving_jwks, sign
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
    serving,
    settings_for,
)
from test_reload import RULES, Directory

from connectors.sandbox.server import Sandbox
from gateway.app import INSTALLED_SOURCES, Gateway, create_app, utc_now
from gateway.authenticate import LONGEST_LIFE
from gateway.endpoint import GraphQLEndpoint, Reply
from gateway.ledger import read_rows
from gateway.live_sources import LiveSources
from gateway.reload import Reload
from gateway.river import PROVINCE_TIME
from gateway.settings import (
    IdentitySettings,
    LedgerSettings,
    PolicySettings,
    SourceSettings,
    Visibility,
)

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


def _of(code: str) -> dict[str, str]:
    return {"creditCode": code}


def _asks(purpose: str, evidence: Mapping[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
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
        steps[f"{number} {who} {purpose} one"] = Step(who, ONE, _asks(purpose, evidence, id=_of(PENALISED)))
    bureau, bank = ("bureau", "SUPERVISION", PLAN), ("bank", "LOAN_PRECHECK", LOAN)
    public, own = ("public", "PUBLIC_VIEW", None), ("penalised", "SELF", None)
    for who, purpose, evidence in (bureau, bank, public, own):
        of = [{"id": _of(code)} for code in (PENALISED, REPAIRED, CONTESTED)]
        of[0] |= {"evidence": {"authorization": "@penalised"}} if who == "bank" else {}
        steps[f"{who} list"] = Step(who, LIST, _asks(purpose, evidence, of=of))
        both = _asks(purpose, evidence, id=_of(PENALISED), other=_of(CONTESTED))
        steps[f"{who} aliases"] = Step(who, ALIASES, both)
        steps[f"{who} individual"] = Step(who, ONE, _asks(purpose, evidence, id=_of(INDIVIDUAL)))
        steps[f"{who} sees"] = Step(who, SEEN, {})
        steps[f"{who} years later"] = Step(who, ONE, _asks(purpose, evidence, id=_of(PENALISED)), day=5 * 365)
    about = _asks("SUPERVISION", PLAN, id=_of(PENALISED))
    repair = {"repairNumber": "R-1", "recordIds": ["X-1"]}
    steps |= {
        "two, little": Step("bureau", TWO, {"id": _of(PENALISED)}, "Little"),
        "two, much": Step("bureau", TWO, {"id": _of(PENALISED)}, "Much"),
        "two, much of the public": Step("public", TWO, {"id": _of(PENALISED)}, "Much"),
        "a person": Step("bureau", ONE, _asks("SUPERVISION", PLAN, id={"resident": DEFAULTER})),
        "the name of the other": Step("bureau", LITTLE_NAMED_MUCH, {"id": _of(PENALISED)}, "Much"),
        "little of much": Step("bureau", ONE, about | {"more": False, "first": 1}),
        "own, the first of each": Step("penalised", ONE, _asks("SELF", None, id=_of(PENALISED), first=1)),
        "own, without what is counted": Step(
            "penalised", ONE, _asks("SELF", None, id=_of(PENALISED), more=False)
        ),
        "two pages in one": Step("bureau", ONE, about | {"id": _of(CONTESTED)}),
        "the first of two pages": Step("bureau", ONE, about | {"id": _of(CONTESTED), "first": 1}),
        "rejected": Step("bureau", ONE, about | {"onDenied": "REJECT"}),
        "another record at issue": Step("bureau", ONE, _asks("REPAIR", repair, id=_of(REPAIRED))),
        "the record at issue": Step(
            "bureau", ONE, _asks("REPAIR", repair | {"recordIds": ["@record"]}, id=_of(REPAIRED))
        ),
        "the plan is over": Step("bureau", ONE, about, day=400),
        "an old token": Step("bureau", ONE, about, day=2, token_day=0),
        "today's token": Step("bureau", ONE, about, day=1),
        "consent is over": Step(
            "bank",
            ONE,
            _asks("LOAN_PRECHECK", LOAN | {"authorization": "@penalised"}, id=_of(PENALISED)),
            day=60,
        ),
        "own record of the person": Step("defaulter", ONE, _asks("SELF", None, id={"resident": DEFAULTER})),
        "another name": Step(
            "defaulter", ONE, _asks("SELF", None, id={"resident": DEFAULTER | {"name": "例他人"}})
        ),
        "narrow token sees": Step("its-narrow-token", SEEN, {}),
        "public token sees": Step("its-public-token", SEEN, {}),
        "a measure on nothing": Step("bureau", APPLY, {"id": _of(ENFORCED), "inquiry": NOTHING}),
        "a measure on what was given": Step(
            "bureau", LISTED, _asks("SUPERVISION", PLAN, id=_of(ENFORCED)), then=APPLY
        ),
        "a measure on what was denied": Step(
            "public", LISTED, _asks("PUBLIC_VIEW", None, id=_of(ENFORCED)), then=APPLY
        ),
        "second: public": Step("public", ONE, _asks("PUBLIC_VIEW", None, id=_of(PENALISED)), policy="second"),
        "second: bureau": Step("bureau", ONE, about, policy="second"),
        "second: sees": Step("public", SEEN, {}, policy="second"),
    }
    return steps


STEPS = _steps()
FIRST = [name for name, step in STEPS.items() if step.policy == "first"]
SECOND = [name for name, step in STEPS.items() if step.policy == "second"]

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
        time = Time(self.start)
        app = create_app(settings, environment={}, clock=time, transport=transport)
        assert isinstance(app, Gateway)
        async with serving(app) as url, httpx.AsyncClient(timeout=30, trust_env=False) as http:
            client = Client(http, url, self.sandbox, folder)
            yield Warm(self, client, time, directory, app.state.reload, app.graphql, policy)

    async def cold_answer(self, name: str) -> Answer:
        """What a gateway says to the question when it was asked nothing before."""
        if name not in self.cold:
            async with self.gateway(STEPS[name].policy) as gateway:
                self.cold[name] = await gateway.answer(STEPS[name])
        return self.cold[name]


class Time:
    """The clock of one gateway."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Warm:
    """A gateway that has answered whatever it was asked so far."""

    world: World
    client: Client
    time: Time
    directory: Directory
    reload: Reload
    endpoint: GraphQLEndpoint
    policy: str = "first"

    @property
    def stood(self) -> int:
        """How many answers stood so far."""
        return self.reload._river._counts.by_form.get("standing", 0)

    async def answer(self, step: Step) -> Answer:
        self.time.now = self.world.start + timedelta(days=step.day)
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

    async def agrees(self, names: Sequence[str]) -> None:
        """Ask one after another; each answer is that of a cold gateway."""
        for number, name in enumerate(names):
            cold = await self.world.cold_answer(name)
            assert await self.answer(STEPS[name]) == cold, (name, "after", names[:number])


@pytest_asyncio.fixture(scope="module")
async def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    key = ec_key("fast-path")
    folder = tmp_path_factory.mktemp("fast-path")
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


# --- 1. caches leak no purpose


async def test_the_questions_differ_in_what_they_get(world: World) -> None:
    """Only questions that get unequal answers can show a leak."""
    answers = {name: await world.cold_answer(name) for name in STEPS}
    states = Counter(
        state for answer in answers.values() for state in re.findall(rb'"state":"(\w+)"', answer.body)
    )
    assert min(states[state] for state in (b"HAS", b"NONE", b"DENIED")) > 20
    about = [name for name in STEPS if name.endswith(" one")]
    assert len({answers[name].body for name in about}) > 8
    assert {answer.status for answer in answers.values()} >= {200, 401}
    assert all(answers[name].row is not None for name in about)


async def test_a_warm_gateway_answers_as_a_cold_one(world: World) -> None:
    async with world.gateway() as warm:
        await warm.agrees([*FIRST, *FIRST, *_TODAY, *_TODAY, *SECOND, *FIRST, *SECOND, *SECOND, *SECOND])
        # It is warm indeed: subjects that were shaped once came again, and so did whole answers.
        assert len(warm.reload._river._shaper._subjects) > len(FIRST) // 4
        assert warm.stood >= 4


async def test_so_it_does_in_the_reverse_order(world: World) -> None:
    async with world.gateway("second") as warm:
        await warm.agrees([*SECOND[::-1], *FIRST[::-1], *FIRST[::-1], *FIRST[::-1]])


_TODAY = [name for name in FIRST if STEPS[name].day == 0]


async def test_so_it_does_when_all_ask_at_once(world: World) -> None:
    """Asks of unequal callers share calls, flights and the ledger's commits: each still gets its own."""
    cold = [await world.cold_answer(name) for name in _TODAY]
    async with world.gateway() as warm:
        for names in (_TODAY, _TODAY[::-1], _TODAY, _TODAY):
            found = await asyncio.gather(*(warm.ask(STEPS[name]) for name in names))
            assert dict(zip(names, found, strict=True)) == dict(zip(_TODAY, cold, strict=True))


@example_settings(max_examples=12, deadline=None)
@given(
    st.lists(st.sampled_from(FIRST), min_size=5, max_size=30),
    st.lists(st.sampled_from(SECOND), max_size=5),
    st.lists(st.sampled_from(FIRST), max_size=20),
)
async def test_so_it_does_after_any_questions(
    world: World, before: list[str], between: list[str], after: list[str]
) -> None:
    async with world.gateway() as warm:
        await warm.agrees([*before, *between, *after])


# --- an answer that stands, and what makes it fall


def _standing_step(who: str = "bureau", purpose: str = "PUBLIC_VIEW", **variables: Any) -> Step:
    return Step(who, ONE, _asks(purpose, None, id=_of(PENALISED)) | variables)


async def _make_stand(warm: Warm, step: Step) -> Answer:
    """Ask until the answer stands: first from the sources, then from what is kept, then at once."""
    for _ in range(2):
        answer = await warm.answer(step)
    stood = warm.stood
    again = await warm.answer(step)
    assert warm.stood == stood + 1
    assert again == answer
    return again


async def test_an_answer_that_stands_is_recorded_under_a_receipt_of_its_own(world: World) -> None:
    step = _standing_step()
    async with world.gateway() as warm:
        await _make_stand(warm, step)
        path = warm.client.folder / "ledger.sqlite"
        *_, before, last = (orjson.loads(body) for _, body in read_rows(path))
    assert before["receipt"] != last["receipt"]
    assert before["time"] <= last["time"]
    for row in (before, last):
        del row["receipt"], row["time"]
    assert list(before.items()) == list(last.items())


@pytest.mark.parametrize(
    "step",
    [
        _standing_step("public"),
        _standing_step("its-public-token"),  # another token of the same unit
        _standing_step("its-narrow-token"),
        _standing_step("other-bureau"),
        _standing_step("foreign-bureau"),
        _standing_step(purpose="SUPERVISION"),
        _standing_step(first=1),
        _standing_step(more=False),
        _standing_step(onDenied="REJECT"),
        _standing_step(id=_of(CLEAN)),
        _standing_step(id=_of(CONTESTED)),
    ],
)
async def test_it_stands_for_nothing_but_the_same_request_of_the_same_caller(
    world: World, step: Step
) -> None:
    async with world.gateway() as warm:
        cold = await warm.answer(step)
    async with world.gateway() as warm:
        await _make_stand(warm, _standing_step())
        stood = warm.stood
        assert await warm.answer(step) == cold
        assert warm.stood == stood


async def test_the_next_day_makes_it_fall(world: World) -> None:
    step = _standing_step()
    async with world.gateway() as warm:
        await _make_stand(warm, step)
        stood = warm.stood
        # By the very same token, which lasts a moment longer.
        assert (await warm.answer(replace(step, day=1, token_day=0))).status == 200
        assert warm.stood == stood


async def test_another_policy_makes_it_fall(world: World) -> None:
    step = _standing_step()
    async with world.gateway("second") as other:
        under_second = await other.answer(replace(step, policy="second"))
    async with world.gateway() as warm:
        await _make_stand(warm, step)
        stood = warm.stood
        assert await warm.answer(replace(step, policy="second")) == under_second
        assert warm.stood == stood
        # Nothing of the old policy is held any longer.
        standings = warm.reload._river._standings
        assert standings._under is not None
        assert standings._under[0]() is warm.reload._river.policy.schema
        assert len(standings) == 0


async def test_what_its_sources_no_longer_keep_makes_it_fall(world: World) -> None:
    async with world.gateway() as warm:
        step = _standing_step()
        await _make_stand(warm, step)
        stood = warm.stood
        memory = warm.reload._river._sources.now._store.memory
        memory.forget(memory.held()[0])
        await warm.answer(step)
        assert warm.stood == stood
        await _make_stand(warm, step)


async def test_other_sources_make_it_fall(world: World) -> None:
    async with world.gateway() as warm:
        step = _standing_step()
        await _make_stand(warm, step)
        stood = warm.stood
        sources = warm.reload._river._sources
        before = sources.now
        sources.now = sources._load()
        try:
            await warm.answer(step)
        finally:
            await before.aclose()
        assert warm.stood == stood


@pytest.mark.parametrize(
    "name",
    [
        "0 bureau SUPERVISION one",
        "14 bank LOAN_PRECHECK one",
        "own record of the person",
    ],
)
async def test_what_is_proven_or_kept_nowhere_never_stands(world: World, name: str) -> None:
    async with world.gateway() as warm:
        await warm.agrees([name] * 4)
        assert warm.stood == 0


async def test_one_within_a_quota_stands_and_uses_up_no_more_of_it(world: World) -> None:
    async with world.gateway() as warm:
        step = _standing_step("public")
        await _make_stand(warm, step)
        quotas = warm.reload._river._quotas
        (asked,) = quotas._store._asked.values()  # type: ignore[attr-defined]
        assert len(asked) == 1
        await warm.answer(step)
        assert len(asked) == 1


async def test_an_answer_that_cannot_be_recorded_does_not_leave(world: World) -> None:
    async with world.gateway() as warm:
        step = _standing_step()
        await _make_stand(warm, step)
        stood = warm.stood
        await warm.reload._river._ledger.aclose()
        token = world.token(step.who, 0)
        answer = await warm.client.http.post(
            f"{warm.client.url}/graphql",
            json={"query": step.text, "operationName": "Look", "variables": step.variables},
            headers={"authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 503
        assert answer.json()["errors"][0]["extensions"]["code"] == "LEDGER_UNAVAILABLE"
        assert "data" not in answer.json()
        assert warm.stood == stood


# --- 2. callers that share a call share nothing else

REGISTRY = """
id = "demo"
title = "Demo"
chinese = "演示"
owner = "MARKET_REGULATION"
kind = "EXTERNAL"
url = "http://127.0.0.1:1"
sandbox = true
timeout_seconds = 20
concurrency = 1

[envelope]
records = "data"

[[lookup]]
category = "REG_ORG"
kinds = ["ORG"]
keys = ["credit_code"]
method = "POST"
path = "/registrations"
json = { keys = "{subjects.value}" }
subject = "key"
batch = 10
idempotent = true
fields = { record_id = "key", name = "name", credit_code = "key" }
"""
TOLD = REGISTRY.replace('"{subjects.value}"', '"{subjects.value}", why = "{ground.matter}"')
NAME = """query Look($id: SubjectId!, $purpose: Purpose!, $evidence: Evidence) {
  inquiry(purpose: $purpose, evidence: $evidence) { subject(id: $id) {
  ... on Organisation { registration { state reason { code } record { name } } } } } }"""


def numbered(number: int) -> str:
    return f"91990100FAKE{number:05}D"


class Registry:
    """A source on a real socket that answers a call when it is let through."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.spoils: str | None = None
        """The subject with which a call fails."""
        self.mistakes: str | None = None
        """The subject in whose place it answers for a stranger."""
        self.until = "2099-12-30"
        self._passes = asyncio.Semaphore(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        content, more = b"", True
        while more:
            message = await receive()
            content, more = content + message.get("body", b""), message.get("more_body", False)
        asked = orjson.loads(content)
        self.calls.append(asked)
        await self._passes.acquire()
        keys = ["91990100FAKE77777D" if key == self.mistakes else key for key in asked["keys"]]
        status = 500 if self.spoils in keys else 200
        rows = [{"key": key, "name": f"name of {key}", "until": self.until} for key in keys]
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": orjson.dumps({"data": rows})})

    def let_through(self, calls: int = 100) -> None:
        for _ in range(calls):
            self._passes.release()

    async def called(self, times: int) -> None:
        async with asyncio.timeout(30):
            while len(self.calls) < times:
                await asyncio.sleep(0.001)


@dataclass
class Registering:
    """A gateway whose one source is the registry, which answers one call after another."""

    world: World
    registry: Registry
    url: str
    http: httpx.AsyncClient
    sources: LiveSources

    def body(self, code: str, purpose: str, matter: str | None = None) -> dict[str, Any]:
        evidence = None if matter is None else {"applicationNumber": matter}
        return {"query": NAME, "variables": {"id": _of(code), "purpose": purpose, "evidence": evidence}}

    async def registration(
        self, who: str, code: str, purpose: str = "PUBLIC_VIEW", matter: str | None = None
    ) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.world.token(who, 0)}"}
        body = self.body(code, purpose, matter)
        answer = await self.http.post(f"{self.url}/graphql", json=body, headers=headers)
        found: dict[str, Any] = answer.json()["data"]["inquiry"]["subject"]["registration"]
        return found

    def asks(
        self, who: str, code: str, purpose: str = "PUBLIC_VIEW", matter: str | None = None
    ) -> asyncio.Task[dict[str, Any]]:
        return asyncio.create_task(self.registration(who, code, purpose, matter))

    async def waiting(self, asks: int) -> None:
        """Return when so many asks of the source are not answered yet."""
        async with asyncio.timeout(30):
            while sum(len(lookup._batches) for lookup in self.sources.now._lookups) != asks:
                await asyncio.sleep(0.001)

    async def occupied(self) -> asyncio.Task[dict[str, Any]]:
        """Keep the source busy with one call, so that what is asked from now on gathers in the next."""
        first = self.asks("public", numbered(0))
        await self.registry.called(1)
        return first


@asynccontextmanager
async def registering(
    world: World,
    folder: Path,
    text: str = REGISTRY,
    deadline: float = 20.0,
    bundle: str = "example",
    clock: Callable[[], datetime] = utc_now,
) -> AsyncIterator[Registering]:
    registry = Registry()
    (folder / "sources").mkdir()
    (folder / "sources" / "demo.toml").write_text(text)
    async with serving_app(lambda _url: registry) as source:
        settings = settings_for(
            world.sandbox,
            folder,
            identity=world.identity,
            sources=SourceSettings(
                directory=str(folder / "sources"), urls={"demo": source}, deadline=deadline
            ),
            policy=PolicySettings(bundle=bundle, check_on_load=False),
        )
        app = create_app(settings, environment={}, clock=clock)
        async with serving(app) as url, httpx.AsyncClient(timeout=60, trust_env=False) as http:
            try:
                yield Registering(world, registry, url, http, app.state.reload._river._sources)
            finally:
                registry.let_through()


def _named(code: str) -> dict[str, Any]:
    return {"state": "HAS", "reason": None, "record": {"name": f"name of {code}"}}


async def test_inquiries_that_differ_in_what_they_select_share_an_answer(
    world: World, tmp_path: Path
) -> None:
    kept = REGISTRY.replace("[[lookup]]", "[[lookup]]\ncache_seconds = 600")
    async with registering(world, tmp_path, kept) as gateway:
        gateway.registry.let_through()
        assert await gateway.registration("public", numbered(1)) == _named(numbered(1))
        answer = await gateway.http.post(
            f"{gateway.url}/graphql",
            json=gateway.body(numbered(1), "PUBLIC_VIEW")
            | {"query": NAME.replace("{ name }", "{ creditCode }")},
            headers={"authorization": f"Bearer {world.token('public', 0)}"},
        )
        registration = answer.json()["data"]["inquiry"]["subject"]["registration"]
        assert registration["record"] == {"creditCode": numbered(1)}
    assert len(gateway.registry.calls) == 1


async def test_a_caller_that_hangs_up_ends_no_call_of_others(world: World, tmp_path: Path) -> None:
    async with registering(world, tmp_path) as gateway:
        await gateway.occupied()
        body = orjson.dumps(gateway.body(numbered(1), "PUBLIC_VIEW"))
        _, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        head = f"POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += f"Authorization: Bearer {world.token('public', 0)}\r\n\r\n"
        writer.write(head.encode() + body)
        await gateway.waiting(2)
        other = gateway.asks("public", numbered(2))
        await gateway.waiting(3)
        gateway.registry.let_through(1)
        await gateway.registry.called(2)
        assert sorted(gateway.registry.calls[1]["keys"]) == [numbered(1), numbered(2)]
        writer.transport.abort()
        gateway.registry.let_through()
        assert await other == _named(numbered(2))
        assert len(gateway.registry.calls) == 2


async def test_the_deadline_of_one_caller_is_not_that_of_another(world: World, tmp_path: Path) -> None:
    async with registering(world, tmp_path, deadline=3.0) as gateway:
        early = gateway.asks("public", numbered(1))
        await gateway.registry.called(1)
        await asyncio.sleep(1.5)
        late = gateway.asks("public", numbered(1))
        assert (await early)["state"] == "UNKNOWN"
        gateway.registry.let_through()
        assert await late == _named(numbered(1))


async def test_one_bad_subject_in_a_call_of_several_callers(world: World, tmp_path: Path) -> None:
    async with registering(world, tmp_path) as gateway:
        await gateway.occupied()
        gateway.registry.spoils = numbered(3)
        asked = [gateway.asks("public", numbered(number)) for number in range(1, 6)]
        await gateway.waiting(6)
        gateway.registry.let_through()
        answers = await asyncio.gather(*asked)
        assert len(gateway.registry.calls[1]["keys"]) == 5
    states = [answer["state"] for answer in answers]
    assert states == ["HAS", "HAS", "UNKNOWN", "HAS", "HAS"]
    assert answers[3] == _named(numbered(4))


async def test_an_answer_for_a_stranger_is_nobodys(world: World, tmp_path: Path) -> None:
    async with registering(world, tmp_path) as gateway:
        await gateway.occupied()
        gateway.registry.mistakes = numbered(2)
        asked = [gateway.asks("public", numbered(number)) for number in range(1, 4)]
        await gateway.waiting(4)
        gateway.registry.let_through()
        answers = await asyncio.gather(*asked)
    assert [answer["state"] for answer in answers] == ["HAS", "UNKNOWN", "HAS"]
    assert [answer["record"] for answer in answers][::2] == [
        _named(numbered(number))["record"] for number in (1, 3)
    ]
    assert answers[1]["record"] is None


async def test_only_what_is_granted_is_asked_in_a_call_of_several_callers(
    world: World, tmp_path: Path
) -> None:
    """Who may not ask adds no subject to the call of those who may, and does not wait for it either."""
    async with registering(world, tmp_path) as gateway:
        await gateway.occupied()
        granted = [gateway.asks("public", numbered(number)) for number in (1, 2)]
        await gateway.waiting(3)
        for who, code, purpose in (
            ("bank", numbered(3), "SUPERVISION"),
            ("clean", numbered(1), "SELF"),
            ("foreign-bureau", numbered(1), "PUBLIC_VIEW"),
            ("its-public-token", numbered(4), "SUPERVISION"),
        ):
            refused = await gateway.registration(who, code, purpose)
            assert (refused["state"], refused["record"]) == ("DENIED", None)
        gateway.registry.let_through()
        assert await asyncio.gather(*granted) == [_named(numbered(1)), _named(numbered(2))]
        asked = [sorted(call["keys"]) for call in gateway.registry.calls]
        assert asked == [[numbered(0)], [numbered(1), numbered(2)]]


@pytest.mark.parametrize("told", [False, True])
async def test_a_call_is_shared_only_where_its_source_is_not_told_the_ground(
    world: World, tmp_path: Path, told: bool
) -> None:
    async with registering(world, tmp_path, TOLD if told else REGISTRY) as gateway:
        await gateway.occupied()
        both = [gateway.asks("clean", CLEAN, matter=matter) for matter in ("A-1", "A-2")]
        await gateway.waiting(3 if told else 2)
        gateway.registry.let_through()
        assert await asyncio.gather(*both) == [_named(CLEAN)] * 2
        asked = gateway.registry.calls[1:]
    assert [call["keys"] for call in asked] == [[CLEAN]] * (2 if told else 1)
    assert {call.get("why") for call in asked} == ({"A-1", "A-2"} if told else {None})


LICENCES = REGISTRY.replace('"REG_ORG"', '"LICENCE"').replace(
    'name = "name", credit_code = "key"', 'kind = "name", valid_until = "until"'
)
LICENCES = LICENCES.replace("batch = 10", "batch = 10\ncache_seconds = 600")
LICENSED = """query Look($id: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) { subject(id: $id) {
  ... on Organisation { licences { state reason { code } records { nodes { kind } } } } } } }"""


@pytest.mark.parametrize("ends", ["record", "rule"])
@pytest.mark.parametrize("mornings_first", [False, True])
async def test_midnight_ends_what_a_warm_gateway_gave(
    world: World, tmp_path: Path, ends: str, mornings_first: bool
) -> None:
    """The same caller, token, document and kept answer: the day alone is another, in the time of the province."""
    local = world.start.astimezone(PROVINCE_TIME)
    midnight = datetime.combine(local.date() + timedelta(days=1), datetime.min.time(), PROVINCE_TIME)
    directory = Directory(tmp_path / "province")
    if ends == "rule":
        over = f'id = "R080"\nvalid_to = {local.date()}\n'
        directory.edit(RULES, lambda text: text.replace('id = "R080"\n', over))
    time = Time(midnight)
    async with registering(world, tmp_path, LICENCES, bundle=str(directory.path), clock=time) as gateway:
        gateway.registry.let_through()
        gateway.registry.until = str(local.date() if ends == "record" else local.date() + timedelta(days=9))
        evening, morning = midnight - timedelta(seconds=1), midnight
        order = [morning, evening] if mornings_first else [evening, morning]
        states: dict[datetime, set[str]] = {evening: set(), morning: set()}
        for time.now in order * 3:
            headers = {"authorization": f"Bearer {world.token('public', 0)}"}
            body = {"query": LICENSED, "variables": {"id": _of(PENALISED)}}
            answer = await gateway.http.post(f"{gateway.url}/graphql", json=body, headers=headers)
            states[time.now].add(answer.json()["data"]["inquiry"]["subject"]["licences"]["state"])
    assert states == {evening: {"HAS"}, morning: {"NONE" if ends == "record" else "DENIED"}}
    assert len(gateway.registry.calls) == 1


# --- 3. rounds to the sources


class Rounds(httpx.AsyncBaseTransport):
    """The network to the sources, where each exchange takes a while; knows when each was under way."""

    def __init__(self) -> None:
        self._network = httpx.AsyncHTTPTransport(verify=False)
        self.exchanges: list[tuple[float, float]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(0.1)
        response = await self._network.handle_async_request(request)
        content = b"".join([part async for part in response.stream])  # type: ignore[union-attr]  # an async one
        await response.aclose()
        self.exchanges.append((begun, asyncio.get_running_loop().time()))
        return httpx.Response(response.status_code, headers=response.headers, content=content)

    async def aclose(self) -> None:
        await self._network.aclose()

    def taken(self) -> tuple[int, int]:
        """Exchanges, and the longest chain of them in which each began after the one before had ended."""
        exchanges, self.exchanges = self.exchanges, []
        rounds, over = 0, float("-inf")
        for begun, ended in sorted(exchanges, key=lambda exchange: exchange[1]):
            if begun >= over:
                rounds, over = rounds + 1, ended
        return len(exchanges), rounds


@pytest.mark.parametrize(
    ("name", "rounds"),
    [("10 public PUBLIC_VIEW one", 1), ("11 penalised SELF one", 1), ("0 bureau SUPERVISION one", 2),
     ("14 bank LOAN_PRECHECK one", 2), ("bureau list", 2), ("bank list", 2), ("penalised aliases", 1)],
)  # fmt: skip
async def test_registers_cost_one_round_and_the_sources_another(world: World, name: str, rounds: int) -> None:
    """All sources are asked at once, whatever a subject has; so are the registers before them, where there are any."""
    network = Rounds()
    async with world.gateway(transport=network) as gateway:
        answer = await gateway.ask(STEPS[name])
        assert (answer.status, answer.row["outcome"]) == (200, "ANSWERED")
        exchanges, taken = network.taken()
    assert b"UNKNOWN" not in answer.body
    assert taken == rounds
    assert exchanges > rounds
    assert bool(answer.row["registers"]) is (rounds == 2)


# --- 4. a warm answer waits for nothing but the ledger


class Counted:
    """Awaits a coroutine, and counts how often it waits for something."""

    def __init__(self, coroutine: Coroutine[Any, Any, Reply]) -> None:
        self.waits = 0
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, None, Reply]:
        while True:
            try:
                waits_for = self._coroutine.send(None)
            except StopIteration as done:
                reply: Reply = done.value
                return reply
            self.waits += 1
            yield waits_for


async def test_a_warm_answer_waits_once_and_starts_no_task(world: World) -> None:
    step = STEPS["10 public PUBLIC_VIEW one"]
    body = orjson.dumps({"query": step.text, "variables": step.variables, "operationName": "Look"})
    headers = [
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {world.token('public', 0)}".encode()),
    ]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    loop = asyncio.get_running_loop()
    begun = 0

    def begin(_loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        nonlocal begun
        begun += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    async with world.gateway() as warm:
        assert await warm.ask(step) == await warm.ask(step)
        loop.set_task_factory(begin)
        try:
            counted = Counted(warm.endpoint.reply("POST", headers, b"", receive))
            reply = await counted
        finally:
            loop.set_task_factory(None)
    assert (reply.status, counted.waits, begun) == (200, 1, 0)
    assert b'"state":"HAS"' in reply.body
