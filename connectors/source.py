"""The file of a source: its parts as typed values.

A source is a file, not code. `connectors.loader` reads it strictly; the files in `connectors/sources` are
commented examples. Templates are explained in `connectors.template`.
"""

from enum import StrEnum
from typing import Any, Literal

import msgspec

from policies.registers import Register
from policies.vocabulary import Dimension, SubjectKind

Scheme = Literal["credit_code", "resident", "registration_number"]
Meaning = Literal["ok", "no_data", "refused", "busy"]


class SourceKind(StrEnum):
    """What a source is to the gateway."""

    PLATFORM = "PLATFORM"
    INDUSTRY = "INDUSTRY"
    EXTERNAL = "EXTERNAL"
    MARKET = "MARKET"
    ASSOCIATION = "ASSOCIATION"
    REGISTER = "REGISTER"
    """Keeps registers of evidence alone, and no credit information."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; keys that it does not name are refused."""


class SecretRef(_Part, frozen=True, kw_only=True):
    """`[secrets]`: where a secret is found. A default is allowed for the sandbox's throw-away secrets only."""

    env: str
    default: str | None = None


class CodeTable(_Part, frozen=True, kw_only=True):
    """`[codes.NAME]`: our word → the source's code, used as ``{codes.NAME}``."""

    of: str
    table: dict[str, str]
    otherwise: str | None = None


class Step(_Part, frozen=True, kw_only=True):
    """One step of a signing recipe; later templates use its result as ``{steps.NAME}``.

    Exactly one of `now` ("ms", "s" or a strftime pattern in local time), `join` (texts put together),
    `hash` or `hmac` of a text; `encode` alone encodes a text. `case` applies last.
    """

    set: str
    now: str | None = None
    join: tuple[str, ...] | None = None
    hash: Literal["md5", "sha256"] | None = None
    hmac: Literal["md5", "sha256"] | None = None
    key: str | None = None
    of: str | None = None
    encode: Literal["hex", "base64"] | None = None
    case: Literal["upper", "lower"] | None = None


class Auth(_Part, frozen=True, kw_only=True):
    """`[auth]`: the recipe, and where its results are placed in every request."""

    steps: tuple[Step, ...] = ()
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    form: dict[str, str] = {}
    json: dict[str, Any] = {}


class Values(_Part, frozen=True, kw_only=True):
    """`[values]`: how the source writes values, unless a field says otherwise."""

    dates: tuple[str, ...] = ("%Y-%m-%d",)
    null: tuple[str, ...] = ()
    never_ends: tuple[str, ...] = ()


class CodeLevel(_Part, frozen=True, kw_only=True):
    """`[[envelope.codes]]`: where a result code lies and what its values mean; the first level is outermost.

    A value in none of the lists is a failure of the source. `message` helps where one code stands for
    several things: its exact text decides; it is compared and never kept.
    """

    at: str
    ok: tuple[str | int, ...]
    no_data: tuple[str | int, ...] = ()
    refused: tuple[str | int, ...] = ()
    busy: tuple[str | int, ...] = ()
    message: str | None = None
    messages: dict[str, Meaning] = {}


class Updated(_Part, frozen=True, kw_only=True):
    """`[envelope.updated]`: where the source says how current its data is: in the body or in a header.

    Formats are strptime patterns, "iso", "http", "epoch_ms" or "epoch_s"; without offset: local time.
    """

    at: str | None = None
    header: str | None = None
    formats: tuple[str, ...]


class Envelope(_Part, frozen=True, kw_only=True):
    """`[envelope]`: what wraps the records.

    `records` is the path to the list of records (or to the only one); `null_records` allows null there for
    "none"; `total` is the path to the number of records in all. `http` gives HTTP statuses a meaning:
    "ok" reads the envelope as with 200.
    """

    records: str
    null_records: bool = False
    total: str | None = None
    codes: tuple[CodeLevel, ...] = ()
    http: dict[str, Meaning] = {}
    updated: Updated | None = None


class FieldMap(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"source": "from", "constant": "is", "conversion": "as"},
):
    """`[lookup.fields]`: where a field of the record comes from and how it is read.

    The type follows from the record. `from` is a path in the source's record, `is` a constant. `as` asks
    for a conversion that the type does not imply: "band" (amount → band), "month" (→ YYYY-MM),
    "capital_amount" and "capital_currency" (text as filed → number, ISO 4217). `optional` allows the source
    to leave the key of a lifecycle field out.
    """

    source: str | None = None
    constant: str | None = None
    conversion: Literal["band", "month", "capital_amount", "capital_currency"] | None = None
    formats: tuple[str, ...] | None = None
    null: tuple[str, ...] | None = None
    never_ends: tuple[str, ...] | None = None
    table: dict[str, str | bool] | None = None
    unit: Literal["元", "万元", "亿元", "分"] | None = None
    pattern: str | None = None
    split: str | None = None
    optional: bool = False


class Paging(_Part, frozen=True, kw_only=True):
    """`[lookup.paging]`: pages of `size` are asked as ``{page.number}`` (from 1) until all are there."""

    size: int
    most: int = 20


class LookupFile(_Part, frozen=True, kw_only=True):
    """`[[lookup]]`: how the records of one category are asked for.

    `keys` are the identifiers that the source takes. `batch` is how many subjects one call may ask for;
    with it `subject` names the key in each record that says whose it is (per scheme, where they differ).
    """

    category: str
    kinds: tuple[SubjectKind, ...]
    keys: tuple[Scheme, ...]
    method: Literal["GET", "POST"]
    path: str
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    form: dict[str, str] = {}
    json: dict[str, Any] = {}
    batch: int | None = None
    subject: str | dict[Scheme, str] | None = None
    paging: Paging | None = None
    idempotent: bool | None = None
    cache_seconds: float = 0
    fields: dict[str, FieldMap]


class SearchFile(_Part, frozen=True, kw_only=True):
    """`[search]`: how organisations are found by name, as ``{search.name}``.

    `path` is asked by POST, because a name must not stand in an address.
    """

    path: str
    headers: dict[str, str] = {}
    form: dict[str, str] = {}
    json: dict[str, Any] = {}
    page_size: int
    fields: dict[Literal["name", "credit_code", "status", "city"], str]


class StatisticsFile(_Part, frozen=True, kw_only=True):
    """`[[statistics]]`: how the records of one category are counted, by groups, without any being shown.

    `kinds` gives the source's word for each kind of subject, used as ``{statistics.kind}``; `dimensions` the
    source's column for each dimension, asked as the list ``{statistics.by}`` and read from the answer's rows, whose
    number stands at `count`; `tables` turns the source's words of a dimension into ours. ``{statistics.day}`` is the day on which a counted record must be visible.
    """

    category: str
    kinds: dict[SubjectKind, str]
    path: str
    headers: dict[str, str] = {}
    form: dict[str, str] = {}
    json: dict[str, Any] = {}
    dimensions: dict[Dimension, str]
    tables: dict[Dimension, dict[str, str]] = {}
    count: str


class TextsAt(_Part, frozen=True, kw_only=True, rename={"source": "from"}):
    """Texts put together in one, and what splits them."""

    source: str
    split: str


class RolesMap(_Part, frozen=True, kw_only=True, rename={"source": "from"}):
    """`[register.roles]`: a list in the entry with a subject's identifier and its role in each item."""

    source: str
    scheme: Scheme
    subject: str
    role: str


class RegisterFile(_Part, frozen=True, kw_only=True):
    """`[[register]]`: registers of evidence of one form, asked for one number as ``{register.number}``.

    A table of several `names` says in the request which is meant: ``{register.name}``.

    `fields` maps the fields of `policies.registers.Entry`; `number` and `open` are needed, and sets of texts
    (units, supervisors, covers) may be a list, or a text with `split`. `subjects` gives for each scheme the
    path to the identifiers; paths lead through lists. An entry is never kept.
    """

    names: tuple[Register, ...]
    method: Literal["GET", "POST"]
    path: str
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    form: dict[str, str] = {}
    json: dict[str, Any] = {}
    fields: dict[str, FieldMap]
    subjects: dict[Scheme, str | TextsAt] = {}
    roles: RolesMap | None = None


class SourceFile(_Part, frozen=True, kw_only=True):
    """A whole file. `owner` is the caller-type code of the unit that owns the source."""

    id: str
    title: str
    chinese: str
    owner: str
    kind: SourceKind
    url: str
    timeout_seconds: float = 2.0
    concurrency: int = 16
    max_body_bytes: int = 4 * 1024 * 1024
    secrets: dict[str, SecretRef] = {}
    codes: dict[str, CodeTable] = {}
    auth: Auth = Auth()
    values: Values = Values()
    envelope: Envelope
    lookup: tuple[LookupFile, ...] = ()
    search: SearchFile | None = None
    statistics: tuple[StatisticsFile, ...] = ()
    register: tuple[RegisterFile, ...] = ()
