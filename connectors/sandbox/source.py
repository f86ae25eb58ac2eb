"""What all sandbox sources are made of: an app, a meter, tables of rendered records."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

F = TypeVar("F")

SKEW_SECONDS = 300
"""How far the timestamp of a signature may be from now."""

_LONGEST_TIMESTAMP = 16
_ASKED_KEPT = 10_000


@dataclass(slots=True)
class Meter:
    """What a source was asked, and how often it refused. Paths are the source's own; others count as `other`."""

    requests: int = 0
    refused: int = 0
    by_path: Counter[str] = field(default_factory=Counter)
    asked: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_ASKED_KEPT))

    def note(self, request: Request, keys: Sequence[str]) -> None:
        """Write down which subjects a request asked for."""
        self.asked.append(
            {"path": request.url.path, "subjects": list(keys), "at": datetime.now(UTC).isoformat()}
        )

    def reset(self) -> None:
        """Forget everything."""
        self.requests = self.refused = 0
        self.by_path.clear()
        self.asked.clear()


@dataclass(frozen=True, slots=True)
class Source:
    """A source: its app, and the answer it gives when it fails in its own way."""

    app: Starlette
    failure: Callable[[], Response]


def json_row(row: dict[str, Any]) -> orjson.Fragment:
    """A row as JSON."""
    return orjson.Fragment(orjson.dumps(row))


class Table(Generic[F]):
    """A table of one source: the records of each subject under the source's column names.

    `row` writes one record of the subject with that key, `render` puts it into the form of the answer. Rows are
    rendered when first asked for.
    """

    def __init__(
        self,
        records: Mapping[str, Sequence[F]],
        row: Callable[[str, F], dict[str, Any]],
        render: Callable[[dict[str, Any]], Any] = json_row,
    ) -> None:
        self._records = records
        self._row = row
        self._render = render
        self._rendered: dict[str, list[Any]] = {}

    def of(self, keys: Iterable[str]) -> list[Any]:
        """The rendered records of these subjects, in their order; none for a subject without records."""
        return [row for key in dict.fromkeys(keys) for row in self._rows(key)]

    def _rows(self, key: str) -> list[Any]:
        rows = self._rendered.get(key)
        if rows is None:
            if key not in self._records:
                return []
            rows = [self._render(self._row(key, record)) for record in self._records[key]]
            self._rendered[key] = rows
        return rows


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(content), status, headers, "application/json;charset=UTF-8")


async def json_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body; empty when the body is anything else."""
    try:
        content = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a URL-encoded form body; of a repeated field the last."""
    return dict(parse_qsl((await request.body()).decode(errors="replace")))


def key_list(value: object) -> list[str]:
    """The keys in a JSON list of non-empty texts; empty when it is anything else."""
    if not isinstance(value, list) or not all(isinstance(key, str) and key for key in value):
        return []
    return value


def is_recent(timestamp: str, *, unit: int = 1) -> bool:
    """Whether a timestamp (in units of 1/`unit` second since 1970) is within the permitted skew of now."""
    return (
        len(timestamp) <= _LONGEST_TIMESTAMP
        and timestamp.isdecimal()
        and abs(int(timestamp) / unit - time.time()) <= SKEW_SECONDS
    )
