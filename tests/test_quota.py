"""Quotas: how many distinct subjects a unit may ask about in a day for a purpose."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from graphql import FieldNode, NameNode
from hypothesis import given
from hypothesis import strategies as st
from service import BUREAU, CLEAN, CONTESTED, ENFORCED, PENALISED, Client, gateway

from connectors.sandbox.server import Sandbox
from gateway import record
from gateway.bind import BoundLookup, Call
from gateway.ledger import LedgerFailure, SqliteLedger, keyed_hash, load_or_create_key, read_rows
from gateway.plan import LookupPlan
from gateway.quota import AskedToday, AskedTogether, Place, Quotas, RestoredStore, restore
from gateway.river import PROVINCE_TIME
from gateway.settings import PolicySettings
from policies.bundle_loading import load
from policies.caller import Caller
from policies.decision import Question
from policies.evidence import Evidence
from policies.identifiers import credit_code
from policies.quota import Admission, admit
from resolvers.schema import OnDenied

BUNDLE = load(files("policies") / "bundles" / "example")
TODAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 4, tzinfo=UTC)
KEY = bytes(range(32))

# The arithmetic

names = st.lists(st.sampled_from("abcdefgh"), max_size=12)


@given(quota=st.integers(1, 6), asked=st.frozensets(st.sampled_from("abcdefgh")), subjects=names)
def test_a_quota_lets_in_what_there_is_room_for(
    quota: int, asked: frozenset[str], subjects: list[str]
) -> None:
    given_in = admit(quota, asked, subjects)
    assert not asked & {*given_in.new, *given_in.over}
    assert {*subjects} == ({*subjects} & asked) | {*given_in.new} | given_in.over
    assert len(asked | {*given_in.new}) <= max(quota, len(asked))
    assert given_in.left == max(0, quota - len(asked | {*given_in.new}))
    # Nobody is kept out while there is room, and who came first goes first.
    assert not given_in.over or given_in.left == 0
    in_order = [each for each in dict.fromkeys(subjects) if each not in asked]
    assert in_order[: len(given_in.new)] == list(given_in.new)


# The store of one process


def place(day: date = TODAY, unit: str = "unit", purpose: str = "PUBLIC_VIEW") -> Place:
    return Place(day, unit, purpose)


@pytest.fixture(params=["one process", "several"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RestoredStore]:
    store = AskedToday() if request.param == "one process" else AskedTogether(tmp_path / "asked")
    yield store
    await store.aclose()


async def test_the_same_subject_counts_once_a_day(store: RestoredStore) -> None:
    assert (await store.admit(place(), 2, ["a", "a"])).left == 1
    assert (await store.admit(place(), 2, ["a"])).left == 1
    assert (await store.admit(place(), 2, ["b", "c"])).over == {"c"}
    # One that was over the quota stays so, however often it is asked.
    assert (await store.admit(place(), 2, ["c", "a"])).over == {"c"}


async def test_units_and_purposes_are_counted_apart_and_a_day_begins_anew(store: RestoredStore) -> None:
    for other in (place(), place(unit="other"), place(purpose="LOAN_PRECHECK"), place(TODAY + timedelta(1))):
        assert await store.admit(other, 1, ["a"]) == Admission(("a",), frozenset(), 0)
        assert (await store.admit(other, 1, ["b"])).over == {"b"}


async def test_processes_count_together_in_a_file(tmp_path: Path) -> None:
    stores = [AskedTogether(tmp_path / "asked") for _ in range(3)]
    subjects = [f"s{number}" for number in range(30)]
    asked = [stores[number % 3].admit(place(), 10, [subject]) for number, subject in enumerate(subjects)]
    admissions = await asyncio.gather(*asked)
    assert sum(len(admission.new) for admission in admissions) == 10
    assert sorted(admission.left for admission in admissions if admission.new) == list(range(10))
    admitted = {subject for admission in admissions for subject in admission.new}
    for store in stores:
        assert (await store.admit(place(), 10, subjects)).over == {*subjects} - admitted
        await store.aclose()
    assert (tmp_path / "asked").stat().st_mode & 0o077 == 0


async def test_the_memory_is_bounded_and_closed_when_full() -> None:
    store = AskedToday(most_subjects=3)
    assert (await store.admit(place(unit="one"), 10, ["a", "b"])).over == frozenset()
    assert (await store.admit(place(unit="two"), 10, ["a", "b"])) == Admission(("a",), frozenset("b"), 0)
    assert (await store.admit(place(unit="one"), 10, ["a", "c"])).over == {"c"}
    assert (await store.admit(place(TODAY + timedelta(1)), 10, ["c"])).over == frozenset()


class SharedStore:
    """What replicas could share; it remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Place, int, Sequence[str]]] = []

    async def admit(self, place: Place, quota: int, subjects: Sequence[str]) -> Admission:
        await asyncio.sleep(0)
        self.told.append((place, quota, subjects))
        return admit(quota, frozenset(), subjects)


def bank(unit: str = "91990100FAKE90020T", type_: str = "BANK") -> Caller:
    return Caller(
        unit=unit, unit_name="示例第一银行", type=type_, level=None, division=None,
        purposes=frozenset(BUNDLE.purposes), categories=None, officer=None, identity=None,
        synthetic_only=False, client="client", token_id="token", expires=0,
    )  # fmt: skip


def call(*codes: str, purpose: str = "LOAN_PRECHECK") -> Call:
    questions = tuple(
        Question(
            purpose=purpose,
            subject=credit_code(code),
            evidence=Evidence(),
            sections={},
            subjects_in_operation=len(codes),
        )
        for code in codes
    )
    plan = LookupPlan("subjects", "subjects", FieldNode(name=NameNode(value="subjects")), {}, {})
    return Call(
        purpose=purpose,
        evidence=Evidence(),
        on_denied=OnDenied.FILTER,
        lookups=(BoundLookup(plan, questions, None),),
        now=NOON,
        today=TODAY,
    )


async def test_a_store_is_told_keyed_hashes_alone() -> None:
    store = SharedStore()
    assert await Quotas(store, KEY).refusals(BUNDLE, bank(), call(CLEAN, PENALISED)) == {}
    [(where, quota, subjects)] = store.told
    assert (quota, where.day, where.purpose) == (2000, TODAY, "LOAN_PRECHECK")
    assert list(subjects) == [keyed_hash(KEY, f"credit_code:{code}") for code in (CLEAN, PENALISED)]
    assert "FAKE" not in repr(store.told)


async def test_without_a_quota_nothing_is_counted() -> None:
    store = SharedStore()
    quotas = Quotas(store, KEY)
    assert await quotas.refusals(BUNDLE, bank(type_="COURT"), call(CLEAN, purpose="JUDICIAL")) == {}
    assert store.told == []


async def test_a_refusal_says_how_many_are_left_and_when_the_count_starts_anew() -> None:
    bundle = msgspec.structs.replace(BUNDLE, quotas={("BANK", "LOAN_PRECHECK"): 1})
    refused = await Quotas(AskedToday(), KEY).refusals(bundle, bank(), call(CLEAN, PENALISED))
    [(subject, denied)] = refused.items()
    assert subject == f"credit_code:{PENALISED}"
    assert denied.code == "DENY_BULK"
    assert denied.basis
    assert "1 subjects a day for LOAN_PRECHECK, 0 are left today" in denied.remedy
    assert "2026-11-21 at 00:00 of the province" in denied.remedy
    assert "FAKE" not in denied.remedy


# Taken from the ledger at the start


def inquiry_row(
    subject: str, *, time: datetime = NOON, unit_name: str | None = "示例第一银行", **changes: Any
) -> bytes:
    body = {
        "version": record.VERSION,
        "receipt": hashlib.sha256(subject.encode()).hexdigest(),
        "time": time.isoformat(timespec="milliseconds"),
        "day": time.astimezone(PROVINCE_TIME).date().isoformat(),
        "outcome": "ANSWERED",
        "caller": {"unit": "bank", "unit_name": unit_name, "type": "BANK"},
        "purpose": "LOAN_PRECHECK",
        "subjects": [{"subject": subject, "sections": []}],
    }
    return orjson.dumps(body | changes)


MIDNIGHT = datetime(2026, 11, 19, 16, tzinfo=UTC)


async def restored(folder: Path, *bodies: bytes) -> AskedToday:
    ledger = SqliteLedger.open(folder / "ledger.sqlite", KEY)
    for body in bodies:
        await ledger.append(body)
    await ledger.aclose()
    store = AskedToday()
    restore(store, folder / "ledger.sqlite", KEY, BUNDLE, TODAY, PROVINCE_TIME)
    return store


async def counted(store: AskedToday, *, unit: str = "bank", purpose: str = "LOAN_PRECHECK") -> set[str]:
    """Which of these the store knows, found by a quota that lets no other in."""
    where = Place(TODAY, keyed_hash(KEY, f"unit:{unit}"), purpose)
    subjects = [f"s{number}" for number in range(10)]
    return {*subjects} - (await store.admit(where, 0, subjects)).over


async def test_a_start_counts_the_day_of_the_province_and_no_other(tmp_path: Path) -> None:
    last = MIDNIGHT - timedelta(milliseconds=1)
    store = await restored(
        tmp_path,
        inquiry_row("s0", time=last - timedelta(hours=3)),
        inquiry_row("s1", time=MIDNIGHT),
        # Begun before midnight, written after it.
        inquiry_row("s2", time=last),
        record.PROBE,
        inquiry_row("s3", outcome="REFUSED"),
        inquiry_row("s3"),
        inquiry_row("s4", purpose="GUARANTEE_CHECK"),
        inquiry_row("s5", kind="APPLICATION", subjects="of another form"),
    )
    assert await counted(store) == {"s1", "s3"}
    assert await counted(store, purpose="GUARANTEE_CHECK") == {"s4"}


async def test_a_unit_that_is_a_subject_is_the_same_after_a_restart(tmp_path: Path) -> None:
    own = {"unit": keyed_hash(KEY, "unit:person"), "unit_name": None, "type": "BANK"}
    assert await counted(await restored(tmp_path, inquiry_row("s1", caller=own)), unit="person") == {"s1"}


@pytest.mark.parametrize("body", [b"no json", b'{"time": "yesterday"}', b"\xff"])
async def test_a_row_that_is_none_stops_the_start_without_being_quoted(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(LedgerFailure, match="row 2 of the ledger cannot be read") as caught:
        await restored(tmp_path, inquiry_row("s1"), body)
    assert "yesterday" not in str(caught.value)


# Over HTTP

PUBLIC = """query($id: SubjectId!) { inquiry(purpose: PUBLIC_VIEW) { subject(id: $id) {
  ... on OperatingSubject { registration { state reason { code remedy } } taxPayments { state reason { code } } } } } }"""
LIST = """query($of: [SubjectRef!]!) { inquiry(purpose: SUPERVISION, %s evidence: {inspectionPlanNumber: "I-1"}) {
  subjects(of: $of) { ... on OperatingSubject { registration { state reason { code } } } } } }"""


@pytest.fixture
def policy(tmp_path: Path) -> PolicySettings:
    """The example bundle with two subjects a day for the public and for the inspectors."""
    bundle = tmp_path / "bundle"
    with as_file(files("policies") / "bundles" / "example") as example:
        shutil.copytree(example, bundle)
    (bundle / "quotas.toml").write_text(
        '[[quota]]\ncallers = ["PUBLIC"]\npurposes = ["PUBLIC_VIEW"]\nsubjects_per_day = 2\n'
        '[[quota]]\ncallers = ["MARKET_REGULATION"]\npurposes = ["SUPERVISION"]\nsubjects_per_day = 2\n',
        "utf-8",
    )
    return PolicySettings(bundle=str(bundle))


async def looked_at(client: Client, code: str) -> str:
    """State of the registration, or why it is denied."""
    body = await client.ask("public", PUBLIC, {"id": {"creditCode": code}})
    section = body["data"]["inquiry"]["subject"]["registration"]
    return str(section["reason"]["code"] if section["reason"] else section["state"])


async def test_beyond_the_quota_nothing_is_fetched_and_a_restart_changes_nothing(
    sandbox: Sandbox, tmp_path: Path, policy: PolicySettings
) -> None:
    async with gateway(sandbox, tmp_path, policy=policy) as client:
        assert [await looked_at(client, code) for code in (CLEAN, CLEAN, PENALISED)] == ["HAS"] * 3
        before = await client.requests()
        body = await client.ask("public", PUBLIC, {"id": {"creditCode": CONTESTED}})
        subject = body["data"]["inquiry"]["subject"]
        assert subject["registration"]["reason"]["code"] == "DENY_BULK"
        assert "0 are left today" in subject["registration"]["reason"]["remedy"]
        # What no quota would open keeps its own reason.
        assert subject["taxPayments"]["reason"]["code"] == "DENY_CATEGORY"
        assert await client.requests() == before
        assert await looked_at(client, CLEAN) == "HAS"
    async with gateway(sandbox, tmp_path, policy=policy) as again:
        states = [await looked_at(again, code) for code in (CONTESTED, CLEAN, PENALISED, ENFORCED)]
        assert states == ["DENY_BULK", "HAS", "HAS", "DENY_BULK"]
    rows = [orjson.loads(body) for _, body in read_rows(tmp_path / "ledger.sqlite")]
    outcomes = [section["outcome"] for row in rows for section in row["subjects"][0]["sections"]]
    assert outcomes.count("DENY_BULK") == 3
    key = load_or_create_key(tmp_path / "ledger.key")
    assert rows[3]["subjects"][0]["subject"] == keyed_hash(key, f"credit_code:{CONTESTED}")


async def test_what_was_denied_or_refused_counts_too(
    sandbox: Sandbox, tmp_path: Path, policy: PolicySettings
) -> None:
    only_denied = PUBLIC.replace("registration { state reason { code remedy } } ", "")
    refused = only_denied.replace("PUBLIC_VIEW", "PUBLIC_VIEW, onDenied: REJECT")
    async with gateway(sandbox, tmp_path, policy=policy) as client:
        await client.ask("public", only_denied, {"id": {"creditCode": CLEAN}})
        assert (await client.post("public", refused, {"id": {"creditCode": PENALISED}})).status_code == 403
        assert await looked_at(client, CONTESTED) == "DENY_BULK"
        assert await looked_at(client, PENALISED) == "HAS"


async def test_of_a_list_the_first_are_answered_and_the_rest_denied(
    sandbox: Sandbox, tmp_path: Path, policy: PolicySettings
) -> None:
    of = [{"id": {"creditCode": code}} for code in (CLEAN, PENALISED, CONTESTED, CLEAN)]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(gateway(sandbox, tmp_path, policy=policy))
        body = await client.ask(BUREAU, LIST % "", {"of": of})
        sections = [subject["registration"] for subject in body["data"]["inquiry"]["subjects"]]
        assert [section["state"] for section in sections] == ["HAS", "HAS", "DENIED", "HAS"]
        [denial] = body["extensions"]["denials"]
        assert (denial["code"], denial["path"], denial["rule"]) == ("DENY_BULK", ["subjects", 2], None)
        # Of all or nothing it makes nothing.
        answer = await client.post(BUREAU, LIST % "onDenied: REJECT,", {"of": of})
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["extensions"]["denials"][0]["code"] == "DENY_BULK"
