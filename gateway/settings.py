"""Settings: one TOML file, overridden by the environment, read once and frozen.

An environment variable `CREDIT_GATEWAY_<SECTION>__<KEY>` overrides a scalar setting, as
`CREDIT_GATEWAY_SERVER__PORT=8080`. Relative paths in the file are relative to the file.
"""

import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
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
    """Where the gateway listens; `port` 0 takes a free one. `drain` is how long a stop waits for answers."""

    host: Text = "127.0.0.1"
    port: Port = 8600
    drain: Seconds = 10.0


class IdentitySettings(_Section, frozen=True):
    """Whose access tokens count: `issuer` and `audience` as in the tokens, and where the issuer's keys are."""

    issuer: Text
    audience: Text
    jwks_url: Text


class AuthorizationIssuer(_Section, frozen=True):
    """A trusted issuer of subjects' authorizations, and where its keys are."""

    issuer: Text
    jwks_url: Text


class PolicySettings(_Section, frozen=True):
    """The policy bundle: the name of one that is installed, or a directory."""

    bundle: Text = "example"


class SourceSettings(_Section, frozen=True):
    """The source files and how they are asked.

    `directory` empty: the installed source files. `deadline` is the budget of all sources of an inquiry, in
    seconds; `cache_entries` bounds the cache; `urls` replaces the address in a source file.
    """

    directory: str = ""
    deadline: Seconds = 2.0
    cache_entries: Annotated[int, Meta(ge=0)] = 10_000
    urls: dict[str, str] = {}


class LedgerSettings(_Section, frozen=True):
    """Where inquiries are recorded, and the file of the key that hashes and seals; it is made when absent."""

    path: Text = "ledger.sqlite"
    key_file: Text = "ledger.key"


class ExplorerSettings(_Section, frozen=True):
    """The explorer at /explorer. `demo_issuer` is the address of a sandbox's token issuer, from which the page
    may fetch tokens for synthetic personas; it must be on loopback.
    """

    enabled: bool = True
    demo_issuer: str = ""


class LogSettings(_Section, frozen=True):
    """How much is logged: DEBUG, INFO, WARNING or ERROR."""

    level: Annotated[str, Meta(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"


class Settings(_Section, frozen=True):
    """Everything an operator decides; see `deploy/gateway.toml` for each setting with its meaning."""

    identity: IdentitySettings
    authorizations: tuple[AuthorizationIssuer, ...] = ()
    server: ServerSettings = ServerSettings()
    policy: PolicySettings = PolicySettings()
    sources: SourceSettings = SourceSettings()
    ledger: LedgerSettings = LedgerSettings()
    limits: Limits = Limits()
    max_subjects: Annotated[int, Meta(ge=1, le=1000)] = 100
    explorer: ExplorerSettings = ExplorerSettings()
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
        settings = msgspec.convert(written, Settings, strict=False)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        where = place.rstrip("`") or "the file"
        raise SettingsError(f"{path}: {where}: {reason}") from error
    _check_addresses(path, settings)
    return _with_paths_from(path.parent, settings)


def _override(written: dict[str, Any], environment: Mapping[str, str]) -> None:
    for variable, value in environment.items():
        if not variable.startswith(PREFIX):
            continue
        names = variable.removeprefix(PREFIX).lower().split("__")
        place = written
        for name in names[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise SettingsError(f"{variable}: {name} is not a section of settings")
        place[names[-1]] = value


def _check_addresses(path: Path, settings: Settings) -> None:
    addresses = {
        "identity.jwks_url": settings.identity.jwks_url,
        **{f"authorizations[{i}].jwks_url": a.jwks_url for i, a in enumerate(settings.authorizations)},
        **{f"sources.urls.{name}": url for name, url in settings.sources.urls.items()},
    }
    for name, url in addresses.items():
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{path}: {name}: an http or https address is expected")
        if parts.scheme == "http" and not name.startswith("sources") and not is_loopback(url):
            raise SettingsError(f"{path}: {name}: keys are fetched over https, or from loopback")
    if settings.explorer.demo_issuer and not is_loopback(settings.explorer.demo_issuer):
        raise SettingsError(f"{path}: explorer.demo_issuer: only an issuer on loopback may give tokens away")


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
    sources = settings.sources
    if sources.directory:
        sources = msgspec.structs.replace(sources, directory=str(directory / sources.directory))
    return msgspec.structs.replace(settings, ledger=ledger, sources=sources)
