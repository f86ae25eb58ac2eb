"""The file of a source: its parts as typed values.

A source is a file, not code. `connectors.loader` reads it strictly; the files in `connectors/sources` are
commented examples. Templates are explained in `connectors.template`, what they may name in `connectors.request`,
the tree of an XML answer in `connectors.documents`. A first line ``#:schema`` with the address or path of
`source.schema.json` lets editors complete the file.
"""

from datetime import date
from enum import StrEnum
from typing import Any, Literal

import msgspec

from policies.registers import Register
from policies.vocabulary import Dimension, SubjectKind

Scheme = Literal["credit_code", "resident", "registration_number"]
Meaning = Literal["ok", "no_data", "refused", "busy", "quota"]
Charset = Literal["UTF-8", "GBK", "GB18030"]


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


class SecretPlace(_Part, frozen=True, kw_only=True):
    """Where a secret is found: a variable of the environment, or a file (its whole path; read again when it changes)."""

    env: str | None = None
    file: str | None = None


class SecretRef(SecretPlace, frozen=True, kw_only=True):
    """`[secrets]`: where a secret is found. A default is allowed for the sandbox's throw-away secrets only.

    `next` is where its successor will be found: it is tried when the source refuses the one of today, and stays
    in use from then on.
    """

    default: str | None = None
    next: SecretPlace | None = None


class CodeTable(_Part, frozen=True, kw_only=True):
    """`[codes.NAME]`: our word → the source's code, used as ``{codes.NAME}``."""

    of: str
    table: dict[str, str]
    otherwise: str | None = None


class Sorted(_Part, frozen=True, kw_only=True):
    """The parameters of the request in the order of their names, as texts put together.

    `of` says which: those in the address, the form, the JSON body, or all. `between` stands between name and
    value, `separator` between two parameters; `names` false leaves the names out, `empty` true keeps parameters
    without text, `omit` names those that are not signed.
    """

    of: Literal["query", "form", "json", "all"] = "all"
    between: str = "="
    separator: str = "&"
    names: bool = True
    empty: bool = False
    omit: tuple[str, ...] = ()


class Assertion(_Part, frozen=True, kw_only=True):
    """A JSON Web Token that the gateway signs for the source (RFC 7523, section 3): `private_key_jwt`.

    `key` is the secret with the private key (PEM or JWK), `issuer` is also the subject, `seconds` how long it
    holds. `claims` are added.
    """

    algorithm: Literal["RS256", "PS256", "ES256", "EdDSA"]
    key: str
    issuer: str
    audience: str
    seconds: int = 60
    claims: dict[str, str] = {}


HashName = Literal["md5", "sha1", "sha256", "sha512", "sm3"]


class Step(_Part, frozen=True, kw_only=True):
    """One step of a signing recipe; later templates use its result as ``{steps.NAME}``.

    Exactly one of `now` ("ms", "s" or a strftime pattern in local time; `ahead_seconds` for a source whose clock
    differs), `random` (a nonce of `length` characters, or a UUID), `join` (texts put together), `sorted`
    (parameters put together), `hash` or `hmac` of a text, `jwt` (a signed assertion); `encode` alone encodes a
    text. `case` applies last.
    """

    set: str
    now: str | None = None
    ahead_seconds: float = 0
    random: Literal["uuid", "hex", "digits"] | None = None
    length: int = 32
    join: tuple[str, ...] | None = None
    sorted: Sorted | None = None
    hash: HashName | None = None
    hmac: HashName | None = None
    jwt: Assertion | None = None
    key: str | None = None
    of: str | None = None
    encode: Literal["hex", "base64", "base64url"] | None = None
    case: Literal["upper", "lower"] | None = None


class Auth(_Part, frozen=True, kw_only=True):
    """`[auth]`: the recipe, and where its results are placed in every request."""

    steps: tuple[Step, ...] = ()
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    form: dict[str, str] = {}
    json: dict[str, Any] = {}
    soap_header: dict[str, Any] = {}


class Values(_Part, frozen=True, kw_only=True):
    """`[values]`: how the source writes values, unless a field says otherwise."""

    dates: tuple[str, ...] = ("%Y-%m-%d",)
    null: tuple[str, ...] = ()
    never_ends: tuple[str, ...] = ()


class CodeLevel(_Part, frozen=True, kw_only=True):
    """`[[envelope.codes]]`: where a result code lies and what its values mean; the first level is outermost.

    A value in none of the lists is a failure of the source. `quota` says that the calls that it allows are used
    up: it is not asked again before the next day of the province. `message` helps where one code stands for
    several things: its exact text decides; it is compared and never kept.
    """

    at: str
    ok: tuple[str | int, ...]
    no_data: tuple[str | int, ...] = ()
    refused: tuple[str | int, ...] = ()
    busy: tuple[str | int, ...] = ()
    quota: tuple[str | int, ...] = ()
    message: str | None = None
    messages: dict[str, Meaning] = {}


class Updated(_Part, frozen=True, kw_only=True):
    """`[envelope.updated]`: where the source says how current its data is: in the body or in a header.

    Formats are strptime patterns, "iso", "http", "epoch_ms" or "epoch_s"; without offset: local time.
    """

    at: str | None = None
    header: str | None = None
    formats: tuple[str, ...]


class Inside(_Part, frozen=True, kw_only=True):
    """`[envelope.inside]`: a document in a text of the answer; paths lead through it as if it were no text."""

    at: str
    format: Literal["json", "xml"]


class Envelope(_Part, frozen=True, kw_only=True):
    """`[envelope]`: what wraps the records.

    `records` is the path to the list of records (or to the only one), "." if the answer is that list itself;
    `null_records` allows null there for "none"; `total` is the path to the number of records in all. `http` gives HTTP statuses a meaning:
    "ok" reads the envelope as with 200.

    With `format` "xml" paths begin with the root element; an element with text is that text, ``@name`` an
    attribute, and namespaces do not count; an element without any child holds no records. With "soap" paths begin
    below the body, and `faults` gives the values at `fault_at` in a fault a meaning (without prefix; others are
    failures). `charset` is for a source that does not say, or says wrongly, how its answers are written.
    """

    format: Literal["json", "xml", "soap"] = "json"
    charset: Charset | None = None
    inside: Inside | None = None
    faults: dict[str, Meaning] = {}
    fault_at: str = "faultcode"
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
    """`[lookup.paging]`: pages of `size` are asked until all are there, at most `most`.

    They are asked as ``{page.number}`` (from 1), ``{page.index}`` (from 0) or ``{page.offset}``; or as
    ``{page.cursor}``, which `cursor` finds in the answer before: the path to what asks for the next page, null or absent
    in the last. Where the number of records that a source states is not to be relied on, leave `total` out.
    """

    size: int
    most: int = 20
    cursor: str | None = None


class Soap(_Part, frozen=True, kw_only=True):
    """`[lookup.soap]`: a SOAP 1.1 message: its action, and what stands in header and body, as for `xml`."""

    action: str = ""
    header: dict[str, Any] = {}
    body: dict[str, Any]


class Document(_Part, frozen=True, kw_only=True):
    """`[lookup.parts.NAME]`: a document that travels inside a text of the request, as ``{parts.NAME}``."""

    json: dict[str, Any] = {}
    xml: dict[str, Any] = {}


class _Request(_Part, frozen=True, kw_only=True):
    """What every request may have. One of `form`, `json`, `xml` and `soap` is its body.

    `xml` is a table with the root element alone; ``@name`` is an attribute (such as ``@xmlns``), ``#text`` the text
    beside attributes, a list repeats its element.
    """

    headers: dict[str, str] = {}
    form: dict[str, str] = {}
    json: dict[str, Any] = {}
    xml: dict[str, Any] = {}
    soap: Soap | None = None
    parts: dict[str, Document] = {}


class LookupFile(_Request, frozen=True, kw_only=True):
    """`[[lookup]]`: how the records of one category are asked for.

    `keys` are the identifiers that the source takes. `batch` is how many subjects one call may ask for;
    with it `subject` names the key in each record that says whose it is (per scheme, where they differ).
    `registrars` are beginnings of the credit codes that the source registers ("5": civil affairs, "12": public
    institutions; GB 32100-2015, positions 1 and 2): it is asked for no others.
    `cache_seconds` is how long an answer is kept, `negative_cache_seconds` one without records (the same, if
    not given), `stale_if_error_seconds` how much longer an answer may stand in while the source fails.
    `several` says what counts where a section holds one record and the source has more of one subject: "newest" by
    the date in the field `newest_by`, or none ("refuse": a fault); without it the first.

    A lookup in a `[database]` has `sql` in place of `method` and `path`: one SELECT with the parameters `:subject`
    (or `:subjects` after IN, for a batch), `:purpose`, `:matter`, `:authorization_id` and `:reason_code`.
    """

    category: str
    kinds: tuple[SubjectKind, ...]
    keys: tuple[Scheme, ...]
    registrars: tuple[str, ...] = ()
    method: Literal["GET", "POST"] | None = None
    path: str = ""
    sql: str | None = None
    query: dict[str, str] = {}
    batch: int | None = None
    subject: str | dict[Scheme, str] | None = None
    paging: Paging | None = None
    idempotent: bool | None = None
    cache_seconds: float = 0
    negative_cache_seconds: float | None = None
    stale_if_error_seconds: float = 0
    several: Literal["newest", "refuse"] | None = None
    newest_by: str | None = None
    fields: dict[str, FieldMap]

    def can_replace(self, other: "LookupFile") -> bool:
        """Whether all that the other can be asked can be asked here."""
        same = self.category == other.category
        return same and {*other.kinds} <= {*self.kinds} and {*other.keys} <= {*self.keys}


class SearchFile(_Request, frozen=True, kw_only=True):
    """`[search]`: how organisations are found by name, as ``{search.name}``.

    `path` is asked by POST, because a name must not stand in an address.
    """

    path: str
    page_size: int
    fields: dict[Literal["name", "credit_code", "status", "city"], str]


class StatisticsFile(_Request, frozen=True, kw_only=True):
    """`[[statistics]]`: how the records of one category are counted, by groups, without any being shown.

    `kinds` gives the source's word for each kind of subject, used as ``{statistics.kind}``; `dimensions` the
    source's column for each dimension, asked as the list ``{statistics.by}`` and read from the answer's rows, whose
    number stands at `count`; `tables` turns the source's words of a dimension into ours. ``{statistics.day}`` is the day on which a counted record must be visible.
    """

    category: str
    kinds: dict[SubjectKind, str]
    path: str
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


class RegisterFile(_Request, frozen=True, kw_only=True):
    """`[[register]]`: registers of evidence of one form, asked for one number as ``{register.number}``.

    A table of several `names` says in the request which is meant: ``{register.name}``.

    `fields` maps the fields of `policies.registers.Entry`; `number` and `open` are needed, and sets of texts
    (units, supervisors, covers) may be a list, or a text with `split`. `subjects` gives for each scheme the
    path to the identifiers; paths lead through lists. An entry is never kept.
    """

    names: tuple[Register, ...]
    method: Literal["GET", "POST"]
    path: str
    query: dict[str, str] = {}
    fields: dict[str, FieldMap]
    subjects: dict[Scheme, str | TextsAt] = {}
    roles: RolesMap | None = None


class Rate(_Part, frozen=True, kw_only=True):
    """`[rate]`: how many calls the source's owner allows, in a second and in a day of the province, and what they cost.

    `charge` is the price of a call in `currency` (ISO 4217), `budget_per_day` what the calls of a day may cost. A call
    that found no connection, or lost it before an answer began, costs nothing. `budget_per_unit_per_day` is what each
    unit that asks may spend: a call is paid in parts by all who wait for it, pages and further tries like the first
    request; what is kept costs nothing. Where several processes serve, each has its part of every number but `charge`.
    """

    per_second: float | None = None
    per_day: int | None = None
    charge: float | None = None
    currency: str | None = None
    budget_per_day: float | None = None
    budget_per_unit_per_day: float | None = None


class Breaker(_Part, frozen=True, kw_only=True):
    """`[breaker]`: after so many failures in a row the source is left alone for so many seconds."""

    failures: int = 5
    seconds: float = 10.0


class Tls(_Part, frozen=True, kw_only=True):
    """`[tls]`: names of secrets that hold PEM text: whom to trust, and what the gateway shows of itself."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


class TokenFile(_Request, frozen=True, kw_only=True):
    """`[token]`: how a short-lived token or secret is fetched, used as ``{token.value}`` in `[auth]`.

    OAuth 2.0 client credentials (RFC 6749, 4.4) are a form with ``grant_type = "client_credentials"``; a client
    that proves itself by a key (RFC 7523) adds a `jwt` step. `url` is another base address than the source's. `at` is
    where the token stands in the answer (JSON), `expires_in` where its seconds, or `ends` where its end; `seconds`
    counts where the answer does not say. A new one is fetched `early_seconds` before the end.
    """

    url: str | None = None
    path: str
    method: Literal["GET", "POST"] = "POST"
    query: dict[str, str] = {}
    steps: tuple[Step, ...] = ()
    at: str = "access_token"
    expires_in: str = "expires_in"
    ends: Updated | None = None
    seconds: float = 300
    early_seconds: float = 30


class SealedRequest(_Part, frozen=True, kw_only=True):
    """`[sealing.request]`: where the sealed text stands.

    With "." it is the whole body, and all of that is sealed. With a path the `json` or `xml` of the part is
    sealed, the body is JSON, and what `[auth]` places in `json` stands beside the text.
    """

    at: str


class SealedAnswer(_Part, frozen=True, kw_only=True):
    """`[sealing.answer]`: where the sealed text stands: "." for the whole body.

    At a path what is unsealed is a document of `format`, and other paths lead through it. An answer with nothing there
    is read as it is; one that holds anything but text is not.
    """

    at: str
    format: Literal["json", "xml"] = "json"


class Sealing(_Part, frozen=True, kw_only=True):
    """`[sealing]`: bodies that are encrypted: those of requests, of answers, or both. The token's are not.

    `key` is a secret, ``{secrets.NAME}``, and `encoding` how that and `iv` are written. `iv` is another secret, for
    CBC alone; without it a random one stands in front of what is encrypted (as GCM's nonce does). `text` is how the sealed
    is written. `sign` says which body signing steps see: the "sealed" one that is sent, or the "plain" one.
    """

    cipher: Literal["aes-cbc", "aes-ecb", "aes-gcm", "sm4-cbc", "sm4-ecb", "sm4-gcm"]
    key: str
    iv: str | None = None
    encoding: Literal["hex", "base64", "text"] = "hex"
    text: Literal["base64", "hex"] = "base64"
    request: SealedRequest | None = None
    answer: SealedAnswer | None = None
    sign: Literal["sealed", "plain"] = "sealed"


class Database(_Part, frozen=True, kw_only=True):
    """`[database]`: a view that the owner offers, in place of `url` and `[envelope]`; it is only ever read.

    `url` is the secret with the address (SQLAlchemy's form; SQLite or PostgreSQL). Lookups hold `sql`: one SELECT whose
    columns are the source's record. `most_rows` bounds what one may bring.
    """

    url: str
    most_rows: int = 5000


class About(_Part, frozen=True, kw_only=True):
    """`[about]`: on what footing the source is asked. Outside of its days it is not asked at all.

    `layer` is the catalogue that it belongs to, `contract` the agreement with the owner, `version` that of the file.
    """

    layer: Literal["NATIONAL", "PROVINCIAL"] | None = None
    contract: str | None = None
    version: str | None = None
    approved_by: str | None = None
    valid_from: date | None = None
    valid_until: date | None = None


class SourceFile(_Part, frozen=True, kw_only=True):
    """A whole file. `owner` is the caller-type code of the unit that owns the source.

    `precedence` decides between sources that hold the same record: the lowest number wins. `divisions` are
    prefixes of GB/T 2260 codes: the subjects that the source keeps; none means all. `fallback` is the id of the
    source that is asked when this one cannot answer. `retries` is how often a read is tried again within its
    time. `concurrency` is how many calls may be under way at once, of all processes that serve together (each has one
    place at least). `charset` is how requests are written. `sandbox` marks a file that speaks to this machine alone: no
    other may name a private address.
    """

    id: str
    title: str
    chinese: str
    owner: str
    kind: SourceKind
    about: About = About()
    sandbox: bool = False
    url: str = ""
    database: Database | None = None
    charset: Charset = "UTF-8"
    precedence: int = 100
    divisions: tuple[str, ...] = ()
    fallback: str | None = None
    retries: int = 0
    rate: Rate = Rate()
    breaker: Breaker = Breaker()
    tls: Tls = Tls()
    timeout_seconds: float = 2.0
    deadline_header: str | None = None
    concurrency: int = 16
    max_body_bytes: int = 4 * 1024 * 1024
    secrets: dict[str, SecretRef] = {}
    codes: dict[str, CodeTable] = {}
    auth: Auth = Auth()
    token: TokenFile | None = None
    sealing: Sealing | None = None
    values: Values = Values()
    envelope: Envelope = Envelope(records="")
    lookup: tuple[LookupFile, ...] = ()
    search: SearchFile | None = None
    statistics: tuple[StatisticsFile, ...] = ()
    register: tuple[RegisterFile, ...] = ()
