"""The secrets of a source: found where its file refers to, read again when they change, and never shown."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from connectors.answers import FaultCode, SourceFaultError
from connectors.problems import SourceKeyError
from connectors.source import SecretPlace, SecretRef

_log = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024
"""A file with a secret may not be larger."""

Held = Mapping[str, str]
"""Secrets by the names that templates use: ``secrets.NAME``."""

T = TypeVar("T")


class _SecretFile:
    """A file with a secret. Its text without the line end is the secret; what cannot be read changes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._text: str | None = None

    def text(self) -> str | None:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._seen and status.st_size <= MOST_BYTES:
                self._text = self._path.read_text("utf-8").rstrip("\r\n") or None
                self._seen = seen
        except (OSError, UnicodeDecodeError):
            _log.warning("a file with a secret cannot be read; the last text stays in use")
        return self._text


class Secrets:
    """The secrets of one source, of today and next."""

    def __init__(self, references: Mapping[str, SecretRef], environment: Mapping[str, str]) -> None:
        """Raises SourceKeyError for a secret that is nowhere."""
        self._environment = environment
        self._references = references
        self._files = {
            place.file: _SecretFile(Path(place.file))
            for reference in references.values()
            for place in (reference, reference.next)
            if place is not None and place.file is not None
        }
        for name, reference in references.items():
            if self._found(reference) is None and reference.default is None:
                raise SourceKeyError(
                    f"secrets.{name}",
                    f"{reference.env or 'its file'} is not set or cannot be read",
                    "set it in the gateway's environment, or write the file",
                )
        self.fixed = not self._files and all(reference.next is None for reference in references.values())
        """Whether there can be no others when the source refuses them."""
        self._now: Held = self._read()
        self._succeeded: Held | None = None
        """The secrets of today whose successors are in use."""

    def __repr__(self) -> str:
        return "Secrets()"

    def current(self) -> Held:
        """The secrets in use."""
        if self._files:
            self._now = self._read()
        if self._succeeded == self._now:
            return self._successors() or self._now
        return self._now

    def all(self, name: str) -> tuple[str, ...]:
        """One secret of today and, where it is there, its successor."""
        following = self._successors() or {}
        now, key = self.current(), f"secrets.{name}"
        return tuple(dict.fromkeys(held[key] for held in (now, self._now, following) if held.get(key)))

    async def tried(self, call: Callable[[Held], Awaitable[T]]) -> T:
        """What `call` gives with the secrets in use; where the source refuses them, with the others; raises its fault."""
        first = self.current()
        try:
            return await call(first)
        except SourceFaultError as error:
            second = self._others(first)
            if error.fault.code is not FaultCode.REFUSED or second is None:
                raise
            refusal = error
        try:
            given = await call(second)
        except SourceFaultError as other:
            raise (refusal if other.fault.code is FaultCode.REFUSED else other) from None
        self._succeeded = None if second == self._now else self._now
        return given

    def _others(self, held: Held) -> Held | None:
        """The successors of these secrets, or those that came before them."""
        others = self._now if held != self._now else self._successors()
        return None if others == held else others

    def _successors(self) -> Held | None:
        following = {
            f"secrets.{name}": text
            for name, reference in self._references.items()
            if reference.next is not None and (text := self._found(reference.next)) is not None
        }
        return {**self._now, **following} if following else None

    def _read(self) -> Held:
        return {
            f"secrets.{name}": self._found(reference) or reference.default or ""
            for name, reference in self._references.items()
        }

    def _found(self, place: SecretPlace) -> str | None:
        if place.file is not None:
            return self._files[place.file].text()
        return self._environment.get(place.env or "") or None
