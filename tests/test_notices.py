"""Change notices: signed, taken once, and nothing that they concern is given from memory afterwards."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis_server import redis_server
from starlette.applications import Starlette

from connectors.changes import Change, Changes
from connectors.credentials import Secrets
from connectors.notices import MOST_BYTES, WINDOW_SECONDS, Notices, signed
from connectors.notices import SECRET as NAME
from connectors.shared_cache import SharedCache
from connectors.source import SecretPlace, SecretRef
from gateway.notices import notices_route
from policies.identifiers import SubjectKey
from policies.vocabulary import SubjectKind

CODE = "91990100FAKE00013D"
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
SENT = str(int(NOW.timestamp()))
SECRET = "court's own secret"
NOTICE: Mapping[str, Any] = {
    "id": "N-1",
    "time": "2026-11-20T12:00:00+08:00",
    "category": "PENALTY",
    "subjects": [CODE],
}


def secrets(**texts: str) -> dict[str, Secrets]:
    reference = SecretRef(env="NOW", next=SecretPlace(env="NEXT"))
    return {source: Secrets({NAME: reference}, {"NOW": text}) for source, text in texts.items()}


class Receiver:
    """The route of one replica, and what it was made to forget."""

    def __init__(self, shared: SharedCache | None = None) -> None:
        self.forgotten: list[Change] = []
        self.changes = Changes(self.forgotten.append, self.forgotten.clear)
        self.now = NOW
        notices = Notices(secrets(court=SECRET, hrss="another"), self.changes, shared)
        app = Starlette(routes=[notices_route(lambda: notices, lambda: self.now)])
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")

    async def post(
        self,
        body: bytes | Mapping[str, Any] = NOTICE,
        *,
        source: str = "court",
        sent: str = SENT,
        secret: str = SECRET,
        signature: str | None = None,
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {
            "x-notice-time": sent,
            "x-notice-signature": signature or f"sha256={signed(secret.encode(), sent, content)}",
        }
        return await self.http.post(f"/notices/{source}", content=content, headers=headers)


async def test_a_signed_notice_is_taken() -> None:
    receiver = Receiver()
    answer = await receiver.post()
    assert (answer.status_code, answer.content) == (204, b"")
    assert receiver.forgotten == [Change("court", "PENALTY", frozenset({CODE}))]
    assert receiver.changes.since("court", 0)


async def test_a_notice_may_mean_everything() -> None:
    receiver = Receiver()
    body = {"id": "N-1", "time": "2026-11-20T12:00:00+08:00", "subjects": "all"}
    assert (await receiver.post(body)).status_code == 204
    assert receiver.forgotten == [Change("court", None, None)]


async def test_codes_are_taken_in_any_case() -> None:
    receiver = Receiver()
    await receiver.post({**NOTICE, "subjects": [CODE.lower()]})
    assert receiver.forgotten == [Change("court", "PENALTY", frozenset({CODE}))]


WRONG: Mapping[str, Mapping[str, Any]] = {
    "another secret": {"secret": "guess"},
    "another source's secret": {"secret": "another"},
    "a source that sends none": {"source": "ecology", "secret": ""},
    "no signature": {"signature": "sha256="},
    "the bare digest": {"signature": signed(SECRET.encode(), SENT, json.dumps(NOTICE).encode())},
    "of another body": {"signature": f"sha256={signed(SECRET.encode(), SENT, b'{}')}"},
    "of another time": {"signature": f"sha256={signed(SECRET.encode(), '1', json.dumps(NOTICE).encode())}"},
    "too old": {"sent": str(int(SENT) - WINDOW_SECONDS - 1)},
    "of the future": {"sent": str(int(SENT) + WINDOW_SECONDS + 1)},
    "no time": {"sent": "soon"},
    "a negative time": {"sent": "-1"},
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_not_the_sources_own_is_refused(what: str) -> None:
    receiver = Receiver()
    answer = await receiver.post(**WRONG[what])
    assert answer.status_code == 401
    assert receiver.forgotten == []
    assert (await receiver.post()).status_code == 204, "a refused notice does not use its id up"


async def test_a_source_that_sends_none_and_a_wrong_signature_look_alike() -> None:
    receiver = Receiver()
    answers = [await receiver.post(source="ecology"), await receiver.post(secret="guess")]
    assert answers[0].content == answers[1].content


async def test_the_secret_of_tomorrow_counts_beside_that_of_today() -> None:
    changes = Changes(lambda _change: None, lambda: None)
    reference = SecretRef(env="NOW", next=SecretPlace(env="NEXT"))
    held = Secrets({NAME: reference}, {"NOW": "today", "NEXT": "tomorrow"})
    notices = Notices({"court": held}, changes)
    for number, secret in enumerate((b"today", b"tomorrow")):
        body = json.dumps({**NOTICE, "id": f"N-{number}"}).encode()
        await notices.take("court", SENT, f"sha256={signed(secret, SENT, body)}", body, NOW)
    assert changes.number == 2


async def test_a_notice_is_taken_once() -> None:
    receiver = Receiver()
    assert [(await receiver.post()).status_code for _ in range(3)] == [204, 409, 409]
    assert len(receiver.forgotten) == 1
    assert (await receiver.post(source="hrss", secret="another")).status_code == 204


async def test_no_notice_can_be_sent_again_while_its_time_is_good() -> None:
    receiver = Receiver()
    early = str(int(SENT) - WINDOW_SECONDS)
    assert (await receiver.post(sent=early)).status_code == 204
    late = str(int(SENT) + 2 * WINDOW_SECONDS)
    for passed in range(0, 2 * WINDOW_SECONDS, 50):
        receiver.now = datetime.fromtimestamp(int(SENT) + passed, UTC)
        assert (await receiver.post(sent=early)).status_code in (401, 409)
    receiver.now = datetime.fromtimestamp(int(late), UTC)
    assert (await receiver.post({**NOTICE, "id": "N-2"}, sent=late)).status_code == 204
    assert (await receiver.post(sent=early)).status_code == 401


BAD: Mapping[str, tuple[bytes | Mapping[str, Any], str]] = {
    "no JSON": (b"<xml/>", "the notice is not JSON"),
    "no text": (b"\xff\xfe", "the notice is not JSON"),
    "deep": (b'{"id": ' + b"[" * 60_000, "id: "),
    "no object": (b"[]", "the notice: Expected `object`, got `array`"),
    "no id": ({**NOTICE, "id": ""}, "id: "),
    "long id": ({**NOTICE, "id": "N" * 129}, "id: "),
    "no time": ({**NOTICE, "time": "yesterday"}, "time: "),
    "a local time": ({**NOTICE, "time": "2026-11-20T12:00:00"}, "time: "),
    "no subjects": ({**NOTICE, "subjects": []}, "subjects: "),
    "some": ({**NOTICE, "subjects": "some of them"}, 'subjects: a list of credit codes or "all" is expected'),
    "a number": ({**NOTICE, "subjects": [1]}, "subjects[0]: "),
    "no code": ({**NOTICE, "subjects": [CODE, "91990100"]}, "subjects[1]: "),
    "too many": ({**NOTICE, "subjects": [CODE] * 1001}, "subjects: "),
    "unknown": ({**NOTICE, f"x{CODE}": 1}, "the notice: it has a member that no notice has"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_notice_is_told_where_and_why_and_never_what(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    body, reason = BAD[what]
    receiver = Receiver()
    with caplog.at_level("DEBUG", logger="gateway"):
        answer = await receiver.post(body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(reason)
    assert receiver.forgotten == []
    for secret in (CODE, "91990100", "yesterday", "some of them", SECRET):
        assert secret not in answer.text + caplog.text


async def test_a_large_notice_is_refused() -> None:
    receiver = Receiver()
    assert (await receiver.post(b" " * (MOST_BYTES + 1))).status_code == 413
    full = json.dumps(NOTICE).encode()
    assert (await receiver.post(full + b" " * (MOST_BYTES - len(full)))).status_code == 204


async def test_only_a_post_is_a_notice() -> None:
    receiver = Receiver()
    assert (await receiver.http.get("/notices/court")).status_code == 405


async def test_the_memory_of_ids_is_bounded() -> None:
    receiver = Receiver()
    notices = Notices(secrets(court=SECRET), receiver.changes)
    for number in range(50):
        notices._once("court", f"N-{number}", number)
    assert len(notices._taken) == 50
    notices._once("court", "N-99", 2 * WINDOW_SECONDS + 49)
    assert len(notices._taken) == 1


# --- which answers a change concerns


def organisation(value: str, scheme: str = "credit_code") -> SubjectKey:
    return SubjectKey(SubjectKind.ORG, scheme, value)


@pytest.mark.parametrize(
    ("source", "category", "subject", "concerned"),
    [
        ("court", "PENALTY", organisation(CODE), True),
        ("court", "PENALTY", organisation("990100000000013", "registration_number"), True),
        ("court", "PENALTY", organisation("91990100FAKE00021D"), False),
        ("court", "ARREARS", organisation(CODE), False),
        ("hrss", "PENALTY", organisation(CODE), False),
    ],
)
def test_a_change_concerns_what_it_names(
    source: str, category: str, subject: SubjectKey, concerned: bool
) -> None:
    change = Change("court", "PENALTY", frozenset({CODE}))
    assert change.concerns(source, category, subject.scheme, subject.value) is concerned


# --- on replicas


@asynccontextmanager
async def sharing(url: str) -> AsyncIterator[SharedCache]:
    cache = SharedCache(url, b"s" * 32, seconds=2.0)
    try:
        yield cache
    finally:
        await cache.aclose()


async def test_what_one_replica_took_no_other_takes_again(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        async with sharing(server.url) as one, sharing(server.url) as other:
            here, there = Receiver(one), Receiver(other)
            assert (await here.post()).status_code == 204
            assert (await there.post()).status_code == 409
            assert (here.forgotten, there.forgotten) == ([Change("court", "PENALTY", frozenset({CODE}))], [])


async def test_a_notice_that_cannot_be_told_to_all_is_not_taken(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        url, port = server.url, server.port
    async with sharing(url) as cache:
        receiver = Receiver(cache)
        answer = await receiver.post()
        assert (answer.status_code, answer.json()) == (
            503,
            {"error": "the replicas cannot be told: send it again"},
        )
        assert receiver.forgotten == []
        with redis_server(tmp_path, port):
            while (answer := await receiver.post()).status_code == 503:
                pass
            assert answer.status_code == 204
            assert len(receiver.forgotten) == 1
