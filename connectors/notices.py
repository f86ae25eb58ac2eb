"""Change notices: a source says that something of it changed, and what was kept of that is forgotten.

A notice is a JSON object, signed by its source::

    {"id": "N-2026-000123", "time": "2026-11-20T12:00:00+08:00", "category": "PENALTY", "subjects": ["9199…"]}

`subjects` are unified social credit codes, or "all"; without `category` all categories are meant. Answers about
natural persons are never kept, so no notice names one. Two headers come with it:

- ``X-Notice-Time``: the seconds since 1970 at which it was sent;
- ``X-Notice-Signature``: ``sha256=`` and the HMAC-SHA256, in hex, of that number, a dot and the body, under
  the secret that the source's file names ``notices`` in its ``[secrets]``.

A notice is taken once, and within five minutes of its time.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from connectors.changes import MOST_SUBJECTS, Change, Changes
from connectors.credentials import Secrets
from connectors.shared_cache import SharedCache, SharedCacheAwayError
from policies.catalogue import SECTION_OF
from policies.identifiers import IdentifierError, credit_code

SECRET = "notices"  # noqa: S105  # the name of the secret, not the secret
"""What the secret of a source's notices is called in its file."""

MOST_BYTES = 64 * 1024
"""Bytes that a notice may have."""

WINDOW_SECONDS = 300
"""Seconds by which the time of a notice may differ from the gateway's."""

_MOST_SEEN = 100_000

_SECONDS = re.compile(r"[0-9]{1,12}")
_CATEGORIES = frozenset(category for category, _ in SECTION_OF)

Subject = Annotated[str, Meta(max_length=32)]


class NoticeRefusedError(Exception):
    """A notice that is not taken: the HTTP status of the answer, and the reason, which quotes nothing of it."""

    def __init__(self, status: Literal[400, 401, 409, 413, 503], reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(f"{status}: {reason}")


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a source sends. `time` is when the change was made at the source."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    time: Annotated[datetime, Meta(tz=True)]
    subjects: Literal["all"] | Annotated[list[Subject], Meta(min_length=1, max_length=MOST_SUBJECTS)]
    category: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class Notices:
    """Takes notices. `secrets` are those of the sources that send any, `shared` is where replicas hear of them.

    Without `shared` what was taken is remembered by this process alone.
    """

    def __init__(
        self, secrets: Mapping[str, Secrets], changes: Changes, shared: SharedCache | None = None
    ) -> None:
        self._secrets = secrets
        self._changes = changes
        self._shared = shared
        self._taken: dict[tuple[str, str], float] = {}

    @property
    def senders(self) -> frozenset[str]:
        """The sources that send notices, by id."""
        return frozenset(self._secrets)

    def follow_on(self, before: "Notices") -> None:
        """Know what was taken before."""
        self._taken = before._taken

    async def take(self, source: str, sent: str, signature: str, body: bytes, now: datetime) -> None:
        """Forget what a notice of `source` concerns, here and on all replicas.

        `sent` and `signature` are its headers. When this returns, every replica that hears of changes has
        been told. Raises NoticeRefusedError: then nothing was forgotten and it may be sent again, except 409.
        """
        if len(body) > MOST_BYTES:
            raise NoticeRefusedError(413, f"a notice has at most {MOST_BYTES} bytes")
        self._check_signature(source, sent, signature, body)
        if not _SECONDS.fullmatch(sent) or abs(int(sent) - now.timestamp()) > WINDOW_SECONDS:
            raise NoticeRefusedError(401, f"X-Notice-Time is not within {WINDOW_SECONDS} seconds")
        notice = _read(body)
        if notice.category is not None and notice.category not in _CATEGORIES:
            raise NoticeRefusedError(400, "category: there is no such category")
        change = Change(source, notice.category, _subjects(notice))
        if self._shared is None:
            self._once(source, notice.id, now.timestamp())
            self._changes.heard(change)
            return
        try:
            number = await self._shared.announce(notice.id, change, 2 * WINDOW_SECONDS)
        except SharedCacheAwayError:
            raise NoticeRefusedError(503, "the replicas cannot be told: send it again") from None
        if number is None:
            raise NoticeRefusedError(409, "a notice of this id was taken before")
        self._changes.heard(change, number)

    def _check_signature(self, source: str, sent: str, signature: str, body: bytes) -> None:
        secrets = self._secrets.get(source)
        for secret in () if secrets is None else secrets.all(SECRET):
            expected = "sha256=" + signed(secret.encode(), sent, body)
            if hmac.compare_digest(expected.encode(), signature.encode()):
                return
        # A source that sends no notices is refused like a wrong signature.
        raise NoticeRefusedError(401, "the signature is not the source's")

    def _once(self, source: str, notice: str, now: float) -> None:
        """Remember a notice while it could be sent again."""
        for key, until in list(self._taken.items()):  # in the order of their times
            if until > now and len(self._taken) <= _MOST_SEEN:
                break
            del self._taken[key]
        if (source, notice) in self._taken:
            raise NoticeRefusedError(409, "a notice of this id was taken before")
        self._taken[source, notice] = now + 2 * WINDOW_SECONDS


def signed(secret: bytes, sent: str, body: bytes) -> str:
    """The signature of a notice that is sent at `sent` (seconds since 1970, in digits), in hex."""
    return hmac.new(secret, sent.encode() + b"." + body, hashlib.sha256).hexdigest()


def _read(body: bytes) -> Notice:
    try:
        return msgspec.json.decode(body, type=Notice)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        where = place.rstrip("`") or "the notice"
        raise NoticeRefusedError(400, f"{where}: {_quoting_nothing(reason)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NoticeRefusedError(400, "the notice is not JSON") from None


def _quoting_nothing(reason: str) -> str:
    """The reason without what the notice wrote: that may be anything."""
    if reason.startswith("Object contains unknown field"):
        return "it has a member that no notice has"
    if reason.startswith("Invalid enum value"):
        return 'a list of credit codes or "all" is expected'
    return reason


def _subjects(notice: Notice) -> frozenset[str] | None:
    if notice.subjects == "all":
        return None
    try:
        return frozenset(
            credit_code(text, f"subjects[{place}]").value for place, text in enumerate(notice.subjects)
        )
    except IdentifierError as error:
        raise NoticeRefusedError(400, f"{error.field}: {error.reason}") from None
