"""Settings: one TOML file, overridden by the environment, read once and frozen.

An environment variable `CREDIT_GATEWAY_<SECTION>__<KEY>` overrides a single value, as
`CREDIT_GATEWAY_SERVER__PORT=8080`; one outside the sections is `CREDIT_GATEWAY_<KEY>`. Names without a double
underscore that are no setting are left alone: the secrets of sources are named so. Relative paths are relative
to the file.
"""

import ipaddress
import tomllib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import msgspec.inspect
from msgspec import Meta

from gateway.limits import Limits

PREFIX = "CREDIT_GATEWAY_"

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=300)]
Text = Annotated[str, Meta(min_length=1)]


class SettingsError(ValueError):
    """A setting that is missing or wrong: names the file or variable, the setting and the reason."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class ServerSettings(_Section, frozen=True):
    """Where the gateway listens; `port` 0 takes a free one. `drain` is how long a stop waits for answers.

    `workers` is the number of processes that serve, 0: one for each core that the gateway may use.
    """

    host: Text = "127.0.0.1"
    port: Port = 8600
    drain: Seconds = 10.0
    workers: Annotated[int, Meta(ge=0, le=256)] = 1


class IdentitySettings(_Section, frozen=True):
    """Whose access tokens count: `issuer` and `audience` as in the tokens, and where the issuer's keys are.

    `token_cache_seconds` is how long a verified token is believed without another look: the longest time for
    which a token serves whose key the issuer withdrew. 0: each request verifies its token.
    """

    issuer: Text
    audience: Text
    jwks_url: Text
    token_cache_seconds: Annotated[float, Meta(ge=0, le=3600)] = 60.0


class AuthorizationIssuer(_Section, frozen=True):
    """A trusted issuer of subjects' authorizations, and where its keys are."""

    issuer: Text
    jwks_url: Text


class Visibility(StrEnum):
    """What introspection shows of the schema."""

    FULL = "full"
    CALLER = "caller"
    """What the caller's type and token may ever use."""


class PolicySettings(_Section, frozen=True):
    """The policy bundle: the name of one that is installed, or a directory, written with a slash.

    `check_on_load` refuses a bundle in which the policy check finds an error. `watch_seconds` is the time between
    two looks at the files, 0: they are loaded anew on SIGHUP alone.
    """

    bundle: Text = "example"
    check_on_load: bool = True
    watch_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    visibility: Visibility = Visibility.FULL


class SharedCacheSettings(_Section, frozen=True):
    """A Redis in which replicas share what sources answered. `url` empty: each keeps its own alone. `secret_file` holds
    the secret of at least 32 bytes, the same for all replicas, under which entries are named and encrypted.
    """

    url: str = ""
    secret_file: Text = "shared.key"  # noqa: S105  # the name of a file


class SourceSettings(_Section, frozen=True):
    """The source files and how they are asked.

    `directory` empty: the installed source files. `deadline` is the budget of all sources of an inquiry, in
    seconds; `cache_entries` bounds the cache; `urls` replaces the address in a source file.
    """

    directory: str = ""
    deadline: Seconds = 2.0
    cache_entries: Annotated[int, Meta(ge=0)] = 10_000
    urls: dict[str, str] = {}
    shared: SharedCacheSettings = SharedCacheSettings()


class LedgerSettings(_Section, frozen=True):
    """Where inquiries are recorded, and the file of the key that hashes and seals; it is made when absent."""

    path: Text = "ledger.sqlite"
    key_file: Text = "ledger.key"


class LimitSettings(Limits, frozen=True, forbid_unknown_fields=True):
    """The limits of one request, each at least 1."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"Expected `int` >= 1 for `{name}`")


class DocumentSettings(_Section, frozen=True):
    """Documents that requests may name: `manifest` is the file of those that the operator registered, empty: none.

    `only_registered` refuses all other texts. `automatic` keeps the texts that clients register themselves
    (automatic persisted queries); they are no registered ones.
    """

    manifest: str = ""
    only_registered: bool = False
    automatic: bool = True


class MetricsSettings(_Section, frozen=True):
    """Figures in the Prometheus text format at `/metrics` of a port of their own, for whoever reaches it.

    With several workers each has its own port: the first `port`, the next one more, and so on.
    """

    enabled: bool = False
    host: Text = "127.0.0.1"
    port: Port = 8690


class ExplorerSettings(_Section, frozen=True):
    """The explorer at /explorer. `demo_issuer` is the address of a sandbox's token issuer, from which the page
    may fetch tokens for synthetic personas; it must be on loopback.
    """

    enabled: bool = True
    demo_issuer: str = ""


class LogSettings(_Section, frozen=True):
    """How much is logged: DEBUG, INFO, WARNING or ERROR; `requests`: a line for each request, at INFO."""

    level: Annotated[str, Meta(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    requests: bool = True


class Settings(_Section, frozen=True):
    """Everything an operator decides; see `deploy/gateway.toml` for each setting with its meaning."""

    identity: IdentitySettings
    authorizations: tuple[AuthorizationIssuer, ...] = ()
    server: ServerSettings = ServerSettings()
    policy: PolicySettings = PolicySettings()
    sources: SourceSettings = SourceSettings()
    ledger: LedgerSettings = LedgerSettings()
    limits: LimitSettings = LimitSettings()
    max_subjects: Annotated[int, Meta(ge=1, le=1000)] = 100
    documents: DocumentSettings = DocumentSettings()
    explorer: ExplorerSettings = ExplorerSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()


def load_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """The settings of a file and the environment; `SettingsError` names what is wrong and where."""
    try:
        written = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from error
    _override(written, environment)
    try:
        settings = msgspec.convert(written, Settings)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        where = place.rstrip("`") or "the file"
        raise SettingsError(f"{path}: {where}: {reason}") from error
    _check_addresses(path, settings)
    if settings.sources.shared.url and urlsplit(settings.sources.shared.url).scheme not in (
        "redis",
        "rediss",
    ):
        raise SettingsError(f"{path}: sources.shared.url: a redis or rediss address is expected")
    if settings.documents.only_registered and not settings.documents.manifest:
        raise SettingsError(
            f"{path}: documents.only_registered: needs documents.manifest, else nothing is answered"
        )
    return _with_paths_from(path.parent, settings)


def _override(written: dict[str, Any], environment: Mapping[str, str]) -> None:
    for variable, text in environment.items():
        names = variable.removeprefix(PREFIX).lower().split("__")
        if variable.startswith(PREFIX) and (len(names) > 1 or names[0] in Settings.__struct_fields__):
            value = _value(variable, names, text)
            *sections, key = names
            place: Any = written
            for name in sections:
                place = place.setdefault(name, {})
            # A section that the file writes as something else is the file's fault, and named there.
            if isinstance(place, dict):
                place[key] = value


def _value(variable: str, names: Sequence[str], text: str) -> Any:
    """The text of a variable as its setting's type wants it."""
    expected: Any = Settings
    for name in names:
        known = isinstance(expected, type) and issubclass(expected, msgspec.Struct)
        fields = {field.name: field.type for field in msgspec.structs.fields(expected)} if known else {}
        if name not in fields:
            raise SettingsError(f"{variable}: there is no setting {'.'.join(names)}")
        expected = fields[name]
    if not isinstance(msgspec.inspect.type_info(expected), _SINGLE):
        raise SettingsError(f"{variable}: {'.'.join(names)} is no single value: write it in the file")
    try:
        return msgspec.convert(text, expected, strict=False)
    except msgspec.ValidationError as error:
        reason = str(error).removesuffix(", got `str`")
        raise SettingsError(f"{variable}: {'.'.join(names)}: {reason}") from error


_SINGLE = (
    msgspec.inspect.BoolType,
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.StrType,
    msgspec.inspect.EnumType,
)


def _check_addresses(path: Path, settings: Settings) -> None:
    addresses = {
        "identity.jwks_url": settings.identity.jwks_url,
        **{f"authorizations[{i}].jwks_url": a.jwks_url for i, a in enumerate(settings.authorizations)},
        **{f"sources.urls.{name}": url for name, url in settings.sources.urls.items()},
    }
    if settings.explorer.demo_issuer:
        addresses["explorer.demo_issuer"] = settings.explorer.demo_issuer
    for name, url in addresses.items():
        if not _is_address(url):
            raise SettingsError(f"{path}: {name}: an http or https address is expected")
        if name.endswith("jwks_url") and urlsplit(url).scheme == "http" and not is_loopback(url):
            raise SettingsError(f"{path}: {name}: keys are fetched over https, or from loopback")
    if settings.explorer.demo_issuer and not is_loopback(settings.explorer.demo_issuer):
        raise SettingsError(f"{path}: explorer.demo_issuer: only an issuer on loopback may give tokens away")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine alone."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _with_paths_from(directory: Path, settings: Settings) -> Settings:
    ledger = msgspec.structs.replace(
        settings.ledger,
        path=str(directory / settings.ledger.path),
        key_file=str(directory / settings.ledger.key_file),
    )
    shared = msgspec.structs.replace(
        settings.sources.shared, secret_file=str(directory / settings.sources.shared.secret_file)
    )
    sources = msgspec.structs.replace(settings.sources, shared=shared)
    if sources.directory:
        sources = msgspec.structs.replace(sources, directory=str(directory / sources.directory))
    policy = settings.policy
    if "/" in policy.bundle:
        policy = msgspec.structs.replace(policy, bundle=str(directory / policy.bundle))
    documents = settings.documents
    if documents.manifest:
        documents = msgspec.structs.replace(documents, manifest=str(directory / documents.manifest))
    return msgspec.structs.replace(
        settings, ledger=ledger, sources=sources, policy=policy, documents=documents
    )
