"""Bounds: what one new document may cost the others, and what stays in memory when ever new ones come."""

import asyncio
import functools
import gc
import hashlib
import itertools
import json
import sys
import time
import types
from asyncio.events import Handle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fuzz_forms import SCHEMA
from gateway_process import gateway_process
from hypothesis import given
from hypothesis import strategies as st
from issuing import Key, ec_key, serving_jwks, sign
from service import BANK, BANK_UNIT, PENALISED, Client, serving, settings_for

from connectors.sandbox.server import Sandbox
from gateway.app import create_app
from gateway.compiler import MOST_RENDERED, Compiled, source_of
from gateway.limits import Limits
from gateway.plan import Documents
from gateway.settings import IdentitySettings, PolicySettings, Visibility

ISSUER = "https://identity.example"

LIMITS = Limits()
HEAD = (
    '{ inquiry(purpose: PUBLIC_VIEW) { subject(id: {creditCode: "%s"}) { ... on OperatingSubject {'
    % PENALISED
)
MOST_CALLS = 250_000
"""Calls of Python functions in 20 ms, by the parser and the validation of documents on the machine of the measurements."""


# --- one new document and all others


def fields(number: int, text: str) -> str:
    return HEAD + " ".join(text.replace("#", str(each)) for each in range(number)) + "} } } }"


BIG = {
    "as many aliases as may be": fields(290, "a#: penalties { records { nodes { kind facts } } }"),
    "one field again and again": fields(900, "penalties { state }"),
    "records of many sections": fields(
        60,
        "penalties { records { nodes { kind facts fine marks authority documentNumber } } } licences { state }",
    ),
    "a fragment at every place": fields(290, "a#: penalties { ...F }")
    + " fragment F on PenaltySection { state level asOf complete }",
    "as many variables as may be": "query(%s) %s"
    % (
        " ".join(f"$v{each}: Int = {each}" for each in range(150)),
        fields(150, "a#: penalties { records(first: $v#) { totalCount } }"),
    ),
    "unknown fields": fields(1200, "nothing#"),
    "as many definitions as may be": HEAD
    + "...F0 } } } } "
    + " ".join(f"fragment F{each} on OperatingSubject {{ ...F{each + 1} kind }}" for each in range(15))
    + " fragment F15 on OperatingSubject { kind }",
}
"""Documents of the allowed size, each the worst of its sort, some of them to be refused."""


class Steps:
    """Counts the calls of functions in each step of the loop, on its own thread."""

    def __init__(self) -> None:
        self.most = self._now = 0

    def __call__(self, frame: types.FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is Handle._run.__code__:
            self._now = 0
        elif event in ("call", "c_call"):
            self._now += 1
            self.most = max(self.most, self._now)


@contextmanager
def counting() -> Iterator[Steps]:
    steps = Steps()
    sys.setprofile(steps)
    try:
        yield steps
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("name", BIG)
async def test_no_new_document_holds_the_others_up(client: Client, name: str) -> None:
    """Whatever is done for one document is done in steps that leave the loop to others in between."""
    await client.token("public")
    with counting() as steps:
        for _ in range(3):
            await client.post("public", BIG[name])
    assert steps.most < MOST_CALLS


def test_the_largest_source_is_bounded_by_its_fields() -> None:
    """Python's compiler is one step that nothing can interrupt: what it is given is bounded by fields."""
    documents = Documents(SCHEMA, LIMITS)
    rendered = set()
    for number in (1, 20, 40, 79, 81, 120):
        form = documents.get(
            fields(number, "a#: penalties { state records { nodes { kind } } }"), None
        ).compiled({})
        assert isinstance(form, Compiled)
        assert len(source_of(form.tree)[0]) < 400 * form.tree.size
        for _ in range(2):
            form._render_when_it_pays()
        assert (form.quick is not None) is (form.tree.size <= MOST_RENDERED)
        rendered.add(form.quick is not None)
    assert rendered == {False, True}


# --- what stays when ever new requests come

LOOK = """query Look($id: SubjectId!, $evidence: Evidence, $first: Int! = 3) {
  inquiry(purpose: PUBLIC_VIEW, evidence: $evidence) { subject(id: $id) { ... on OperatingSubject {
    registration { state record { name } } enforcement { state }
    penalties { state records(first: $first) { totalCount nodes { kind } } } } } } }"""
LOAN = LOOK.replace("PUBLIC_VIEW", "LOAN_PRECHECK").replace("query Look", "query Loan")
TYPE = '{ purposes: __type(name: "Purpose") { enumValues { name } } }'


@dataclass
class Mix:
    """Requests of which no two are alike: text, hash, subject, evidence, token, page and switch are new each time."""

    http: httpx.AsyncClient
    url: str
    token: Callable[[int], str]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def send(self, requests: int) -> None:
        """So many requests of each sort, sixteen at once; every one is answered."""
        left = iter(range(requests))

        async def one_after_another() -> None:
            for _ in left:
                await self._send_one(next(self.numbers))

        await asyncio.gather(*(one_after_another() for _ in range(16)))

    async def _send_one(self, number: int) -> None:
        headers = {"authorization": f"Bearer {self.token(number)}"}
        variables = {
            "id": {"creditCode": f"91990100FAKE{number % 100_000:05}D"},
            "evidence": {"applicationNumber": f"A-{number}", "queryReasonCode": "02"},
            "first": 1 + number % 50,
        }
        for text in (LOOK, LOAN, TYPE):
            # So long that few of them fill what is bounded by characters.
            new = f"{text} #{number} ".ljust(LIMITS.max_document_chars // 4, ".")
            digest = hashlib.sha256(new.encode()).hexdigest()
            body = {
                "query": new,
                "variables": {} if text is TYPE else variables,
                "extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest}},
            }
            answer = await self.http.post(f"{self.url}/graphql", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            assert "errors" not in answer.json()


def issued_by(key: Key) -> Callable[[int], str]:
    """A token of the bank for each number, each with limits of its own."""

    def token(number: int) -> str:
        now = int(time.time())
        purposes = ["PUBLIC_VIEW", "LOAN_PRECHECK", f"P{number}"]
        claims = {
            "iss": ISSUER,
            "aud": "credit-gateway",
            "sub": "bank",
            "client_id": f"client-{number}",
            "jti": f"token-{number}",
            "iat": now - 60,
            "exp": now + 3600,
            "unit": BANK_UNIT,
            "unit_name": "示例第一银行",
            "caller_type": "BANK",
            "authorization_details": [{"type": "credit_inquiry", "purposes": purposes}],
        }
        return sign(claims, key)

    return token


Sizes = dict[int, tuple[Any, int, str]]
"""By identity: a collection, how many it holds, and whose it is."""


def collections_in(root: object) -> Sizes:
    """Every collection that is reached from an object, but for code, classes and modules."""
    found: Sizes = {}
    seen = {id(root)}
    waiting: list[tuple[object, str]] = [(root, "")]
    while waiting:
        of, owner = waiting.pop()
        if isinstance(of, dict | list | set | deque):
            found[id(of)] = (of, len(of), owner)
        else:
            owner = type(of).__qualname__
        inside: Iterable[object] = gc.get_referents(of)
        if isinstance(of, types.FunctionType):
            inside = of.__closure__ or ()
        for each in inside:
            passed = isinstance(each, type | types.ModuleType | types.CodeType | asyncio.AbstractEventLoop)
            if not passed and id(each) not in seen and gc.is_tracked(each):
                seen.add(id(each))
                waiting.append((each, owner))
    return found


def results_kept() -> dict[tuple[str, int], tuple[int, int | None]]:
    """Of each function of the product that remembers its results: how many it holds, and how many it may."""
    found = {}
    for of in gc.get_objects():
        if isinstance(of, functools._lru_cache_wrapper) and of.__module__.split(".")[0] in PACKAGES:
            _, _, most, now = of.cache_info()
            found[f"{of.__module__}.{of.__qualname__}", id(of)] = (now, most)
    return found


PACKAGES = ("gateway", "resolvers", "connectors", "policies")

BOUNDED = {
    "Recent": "tests/test_recent.py",
    "AnswerCache": "tests/test_fetch.py",
    "Documents": "tests/test_plan.py",
    "NamedDocuments": "tests/test_registered.py",
    "Authenticator": "tests/test_authenticate.py",
    "Views": "tests/test_visibility.py",
    "AskedToday": "tests/test_quota.py",
}
"""What may hold more after more requests, each up to the bound that its own test proves."""


async def test_nothing_grows_with_the_requests_but_what_is_bounded(sandbox: Sandbox, tmp_path: Path) -> None:
    key = ec_key("bounds")
    async with serving_jwks(key) as keys:
        identity = IdentitySettings(issuer=ISSUER, audience="credit-gateway", jwks_url=keys.url)
        policy = PolicySettings(visibility=Visibility.CALLER)
        app = create_app(settings_for(sandbox, tmp_path, identity=identity, policy=policy), environment={})
        async with serving(app) as url, httpx.AsyncClient(timeout=60, trust_env=False) as http:
            mix = Mix(http, url, issued_by(key))
            await mix.send(MANY)
            before, remembered = collections_in(app), results_kept()
            await mix.send(MANY)
            growth = [(owner, len(held) - size) for held, size, owner in before.values()]
            now = results_kept()
    grown = {owner: more for owner, more in growth if more >= MANY // 2}
    assert grown.keys() <= BOUNDED.keys(), grown
    # It would be seen: such requests fill what they should.
    assert grown.keys() >= {"Recent", "AnswerCache", "Documents", "NamedDocuments", "Authenticator", "Views"}
    for name, (count, most) in now.items():
        assert most is not None or count - remembered.get(name, (0, None))[0] < MANY // 2, name


MANY = 30
HALF = 120
GROWTH = 16_384
"""KiB by which the process may still grow in its second half, as allocators do."""


async def test_the_process_stays_as_large_as_it_is(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDIT_GATEWAY_SOURCES__CACHE_ENTRIES", "100")
    async with gateway_process(sandbox, tmp_path, deadline=10) as running:
        token = await running.client.token(BANK)
        mix = Mix(running.client.http, running.client.url, lambda _number: token)
        await mix.send(HALF)
        full = running.memory("VmRSS")
        await mix.send(HALF)
        assert running.memory("VmRSS") - full < GROWTH
        assert await running.stop() == 0


# --- no text of a document becomes source


HOSTILE = st.text(
    st.sampled_from("abcdefghijklmnopqrstuvwxyz_XYZ0123456789"), min_size=1, max_size=12
).filter(lambda name: not name[0].isdigit() and not name.startswith("__"))
STRINGS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


def document(names: Sequence[str], text: str, block: str, stage: str) -> str:
    """One document, with these names wherever a document may have one, and texts wherever it may have text."""
    operation, variable, alias, inner, fragment, other = names
    literal, block = json.dumps(text, ensure_ascii=False), block.replace('"', "'").replace("\\", "/")
    return f"""# {block}
      query {operation}(${variable}: Int! = 7, ${other}: Boolean! = true, $id: String = {literal}) {{
        {alias}: inquiry(purpose: LICENSING, evidence: {{caseNumber: {literal}, stage: {stage}, matterCode: \"\"\"{block} \"\"\"}}) {{
          {alias}: subject(id: {{creditCode: {literal}}}) {{
            {alias}: kind {inner}: __typename
            ... on Organisation @include(if: ${other}) {{ ...{fragment}
              {other}: licences @skip(if: false) {{ {inner}: records(after: $id) {{ {alias}: totalCount }} }} }} }}
          {inner}: search(name: {literal}, first: ${variable}) {{ {alias}: state }} }} }}
      fragment {fragment} on Organisation {{
        {fragment}: penalties {{ {inner}: records(first: ${variable}) {{ {alias}: nodes {{ {inner}: facts {alias}: fine }} }} }} }}"""


@given(
    st.lists(HOSTILE, min_size=6, max_size=6, unique=True),
    STRINGS,
    STRINGS,
    st.sampled_from(["REVIEW", "FINAL"]),
)
def test_the_source_is_the_same_whatever_a_document_is_called(
    names: list[str], text: str, block: str, stage: str
) -> None:
    plain = _source(document(["A", "b", "c", "d", "E", "f"], "", "", "REVIEW"))
    assert _source(document(names, text, block, stage)) == plain


@pytest.mark.parametrize(
    "names",
    [
        ("exec", "eval", "lambda", "return", "import", "class"),
        ("o0", "k0", "v", "x", "kept", "place"),
        ("None", "True", "raise", "yield", "type", "str"),
    ],
)
def test_so_it_is_for_the_names_of_the_source_itself(names: tuple[str, ...]) -> None:
    plain = _source(document(["A", "b", "c", "d", "E", "f"], "", "", "REVIEW"))
    for code in ("';import os#", "{v.__class__}", "\u2028k0", "\\N{DOLLAR SIGN}", "%s{0}"):
        assert _source(document(names, code, code, "REVIEW")) == plain


def _source(text: str) -> str:
    prepared = Documents(SCHEMA, LIMITS).get(text, None)
    form = prepared.compiled(dict.fromkeys(prepared.switches, True))
    assert isinstance(form, Compiled)
    source, _ = source_of(form.tree)
    assert '"' not in source
    assert "'" not in source
    return source
