"""Settings: each wrong one is one clear error, the environment overrides, and the documented file is complete."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.settings import Settings, SettingsError, is_loopback, load_settings

DOCUMENTED = Path(__file__).parents[1] / "deploy" / "gateway.toml"
IDENTITY = """
[identity]
issuer = "https://id.example"
audience = "credit-gateway"
jwks_url = "https://id.example/jwks"
"""


def load(folder: Path, text: str = IDENTITY, **environment: str) -> Settings:
    file = folder / "gateway.toml"
    file.write_text(text, "utf-8")
    return load_settings(file, environment)


def refused(folder: Path, text: str = IDENTITY, **environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(folder, text, **environment)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_identity_is_all_that_must_be_set(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.identity.issuer == "https://id.example"
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8600)
    assert settings.policy.bundle == "example"
    assert settings.authorizations == ()


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("", "the file", "missing required field `identity`"),
        ("[server]", "the file", "missing required field `identity`"),
        ('[identity]\nissuer = "x"', "identity", "missing required field `audience`"),
        (IDENTITY.replace('"credit-gateway"', '""'), "identity.audience", "length >= 1"),
        (IDENTITY.replace('"credit-gateway"', "3"), "identity.audience", "Expected `str`, got `int`"),
        ("identity = 3", "identity", "Expected `object`, got `int`"),
        (IDENTITY + "[servers]\nport = 1", "the file", "unknown field `servers`"),
        (IDENTITY + "[server]\nprot = 1", "server", "unknown field `prot`"),
        (IDENTITY + '[server]\nport = "8600"', "server.port", "Expected `int`, got `str`"),
        (IDENTITY + "[server]\nport = 8600.5", "server.port", "Expected `int`, got `float`"),
        (IDENTITY + "[server]\nport = true", "server.port", "Expected `int`, got `bool`"),
        (IDENTITY + "[server]\nport = -1", "server.port", "Expected `int` >= 0"),
        (IDENTITY + "[server]\nport = 65536", "server.port", "Expected `int` <= 65535"),
        (IDENTITY + "[server]\nhost = 2020-01-01", "server.host", "Expected `str`"),
        (IDENTITY + "[server]\ndrain = 0", "server.drain", "> 0"),
        (IDENTITY + "[server]\ndrain = nan", "server.drain", "> 0"),
        (IDENTITY + "[sources]\ndeadline = inf", "sources.deadline", "<= 300"),
        (IDENTITY + "[sources]\ncache_entries = -1", "sources.cache_entries", ">= 0"),
        (IDENTITY + "[sources.urls]\ncourt = 3", "sources.urls", "Expected `str`, got `int`"),
        (IDENTITY + '[sources.urls]\ncourt = "court.example"', "sources.urls.court", "an http or https address"),
        (IDENTITY + '[sources.urls]\ncourt = "http://[::1"', "sources.urls.court", "an http or https address"),
        (IDENTITY + '[sources.urls]\ncourt = "http://court.example:99999"', "sources.urls.court", "an http or https address"),
        (IDENTITY + "[ledger]\npath = ''", "ledger.path", "length >= 1"),
        (IDENTITY + "[limits]\nmax_dept = 3", "limits", "unknown field `max_dept`"),
        (IDENTITY + "[limits]\nmax_depth = 0", "limits", "Expected `int` >= 1 for `max_depth`"),
        (IDENTITY + "[limits]\nmax_depth = 'x'", "limits.max_depth", "Expected `int`, got `str`"),
        ("max_subjects = 0" + IDENTITY, "max_subjects", "Expected `int` >= 1"),
        ("max_subjects = 1001" + IDENTITY, "max_subjects", "Expected `int` <= 1000"),
        (IDENTITY + "[explorer]\nenabled = 1", "explorer.enabled", "Expected `bool`, got `int`"),
        (IDENTITY + "[explorer]\ndemo_issuer = 'http://id.example'", "explorer.demo_issuer", "on loopback"),
        (IDENTITY + "[explorer]\ndemo_issuer = 'ftp://127.0.0.1'", "explorer.demo_issuer", "an http or https address"),
        (IDENTITY + "[explorer]\ndemo_issuer = 'http://127.0.0.1@id.example'", "explorer.demo_issuer", "on loopback"),
        (IDENTITY + "[log]\nlevel = 'verbose'", "log.level", "DEBUG|INFO|WARNING|ERROR"),
        (IDENTITY + "[log]\nrequests = 1", "log.requests", "Expected `bool`, got `int`"),
        (IDENTITY + "token_cache_seconds = -1", "identity.token_cache_seconds", ">= 0"),
        (IDENTITY + "token_cache_seconds = 3601", "identity.token_cache_seconds", "<= 3600"),
        (IDENTITY + "[server]\nworkers = -1", "server.workers", ">= 0"),
        (IDENTITY + "[server]\nworkers = 257", "server.workers", "<= 256"),
        (IDENTITY + "[documents]\nmanifest = 3", "documents.manifest", "Expected `str`, got `int`"),
        (IDENTITY + "[documents]\nonly_registered = true", "documents.only_registered", "needs documents.manifest"),
        (IDENTITY + "[metrics]\nport = 65536", "metrics.port", "<= 65535"),
        (IDENTITY.replace("https://id.example/jwks", "http://id.example/jwks"), "identity.jwks_url", "over https, or from loopback"),
        (IDENTITY.replace("https://id.example/jwks", "/jwks"), "identity.jwks_url", "an http or https address"),
        (IDENTITY.replace("https://id.example/jwks", "https://"), "identity.jwks_url", "an http or https address"),
        (
            IDENTITY + "[[authorizations]]\nissuer = 'a'\njwks_url = 'https://a.example'\n"
            "[[authorizations]]\nissuer = 'b'\njwks_url = 'http://b.example'",
            "authorizations[1].jwks_url",
            "over https, or from loopback",
        ),
        (IDENTITY + "[[authorizations]]\nissuer = 'a'", "authorizations[0]", "missing required field `jwks_url`"),
        (IDENTITY + "[authorizations]\nissuer = 'a'", "authorizations", "Expected `array`, got `object`"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, text: str, place: str, reason: str) -> None:
    message = refused(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'gateway.toml'}: {place}")
    assert reason in message


@pytest.mark.parametrize("content", [b"[identity", b"a = 1\na = 2", b"issuer = \xff", b"\x00", b"port = 08"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(f"{file}: is not TOML")):
        load_settings(file, {})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for file in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SettingsError, match=re.escape(f"{file}: cannot be read")):
            load_settings(file, {})


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9001/jwks", "http://[::1]/jwks", "http://localhost/jwks"]
)
def test_keys_may_come_over_http_from_loopback(tmp_path: Path, address: str) -> None:
    assert load(tmp_path, IDENTITY.replace("https://id.example/jwks", address)).identity.jwks_url == address


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1.example", "http://example", "http://10.0.0.1", "", "http://localhost.example"],
)
def test_what_is_not_loopback(address: str) -> None:
    assert not is_loopback(address)


# --- the environment


def test_the_environment_overrides_each_type_of_value(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        IDENTITY + "[server]\nport = 1\n",
        CREDIT_GATEWAY_SERVER__PORT="8080",
        CREDIT_GATEWAY_SERVER__HOST="0.0.0.0",
        CREDIT_GATEWAY_SERVER__DRAIN="2.5",
        CREDIT_GATEWAY_SOURCES__DEADLINE="3",
        CREDIT_GATEWAY_EXPLORER__ENABLED="false",
        CREDIT_GATEWAY_LIMITS__MAX_DEPTH="7",
        CREDIT_GATEWAY_MAX_SUBJECTS="9",
        CREDIT_GATEWAY_IDENTITY__AUDIENCE="12",
    )
    assert (settings.server.port, settings.server.host, settings.server.drain) == (8080, "0.0.0.0", 2.5)
    assert settings.sources.deadline == 3.0
    assert settings.explorer.enabled is False
    assert settings.limits.max_depth == 7
    assert settings.max_subjects == 9
    assert settings.identity.audience == "12"
    assert settings.identity.issuer == "https://id.example"


def test_the_environment_can_give_a_whole_section(tmp_path: Path) -> None:
    given = {"ISSUER": "https://i.example", "AUDIENCE": "g", "JWKS_URL": "https://i.example/jwks"}
    settings = load(
        tmp_path, "", **{f"CREDIT_GATEWAY_IDENTITY__{name}": value for name, value in given.items()}
    )
    assert settings.identity.jwks_url == "https://i.example/jwks"


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("CREDIT_GATEWAY_SERVER__PORT", "http", "server.port: Expected `int`"),
        ("CREDIT_GATEWAY_SERVER__PORT", "", "server.port: Expected `int`"),
        ("CREDIT_GATEWAY_SERVER__PORT", "65536", "server.port: Expected `int` <= 65535"),
        ("CREDIT_GATEWAY_SERVER__DRAIN", "nan", "server.drain: Expected `float` > 0"),
        ("CREDIT_GATEWAY_SERVER__HOST", "", "server.host: Expected `str` of length >= 1"),
        ("CREDIT_GATEWAY_EXPLORER__ENABLED", "maybe", "explorer.enabled: Expected `bool`"),
        ("CREDIT_GATEWAY_LOG__LEVEL", "LOUD", "log.level: Expected `str` matching regex"),
        ("CREDIT_GATEWAY_SERVER__PROT", "1", "there is no setting server.prot"),
        ("CREDIT_GATEWAY_SERVERS__PORT", "1", "there is no setting servers.port"),
        ("CREDIT_GATEWAY_SERVER__PORT__X", "1", "there is no setting server.port.x"),
        ("CREDIT_GATEWAY___PORT", "1", "there is no setting"),
        ("CREDIT_GATEWAY_SERVER__", "1", "there is no setting server."),
        ("CREDIT_GATEWAY_SERVER", "1", "server is no single value"),
        ("CREDIT_GATEWAY_AUTHORIZATIONS", "[]", "authorizations is no single value"),
        ("CREDIT_GATEWAY_SOURCES__URLS", "{}", "sources.urls is no single value"),
        ("CREDIT_GATEWAY_SOURCES__URLS__COURT", "http://x", "there is no setting sources.urls.court"),
    ],
)
def test_a_wrong_variable_is_named_itself(tmp_path: Path, variable: str, value: str, reason: str) -> None:
    message = refused(tmp_path, **{variable: value})
    assert message.startswith(f"{variable}: ")
    assert reason in message
    assert "got `str`" not in message


def test_a_section_that_the_file_writes_wrong_is_the_fault_of_the_file(tmp_path: Path) -> None:
    message = refused(tmp_path, "server = 3" + IDENTITY, CREDIT_GATEWAY_SERVER__PORT="1")
    assert message == f"{tmp_path / 'gateway.toml'}: server: Expected `object`, got `int`"


def test_secrets_of_sources_and_other_variables_are_no_settings(tmp_path: Path) -> None:
    plain = load(tmp_path)
    assert (
        load(tmp_path, CREDIT_GATEWAY_COURT_KEY="k", PATH="/bin", CREDIT_GATEWAY="x", SERVER__PORT="1")
        == plain
    )


# --- paths


def test_relative_paths_follow_the_file(tmp_path: Path) -> None:
    text = (
        IDENTITY
        + '[ledger]\npath = "data/l.sqlite"\n[sources]\ndirectory = "mine"\n[policy]\nbundle = "./province"'
    )
    settings = load(tmp_path, text)
    assert settings.ledger.path == str(tmp_path / "data/l.sqlite")
    assert settings.ledger.key_file == str(tmp_path / "ledger.key")
    assert settings.sources.directory == str(tmp_path / "mine")
    documents = load(tmp_path, IDENTITY + '[documents]\nmanifest = "m.json"').documents
    assert documents.manifest == str(tmp_path / "m.json")
    assert settings.policy.bundle == str(tmp_path / "province")


def test_absolute_paths_and_names_stay(tmp_path: Path) -> None:
    settings = load(
        tmp_path, IDENTITY + '[ledger]\npath = "/var/l.sqlite"\n[policy]\nbundle = "/etc/province"'
    )
    assert settings.ledger.path == "/var/l.sqlite"
    assert settings.policy.bundle == "/etc/province"
    assert load(tmp_path).policy.bundle == "example"
    assert load(tmp_path).sources.directory == ""


# --- the documented file


def documented() -> dict[str, Any]:
    """The file with the settings that it shows as comments switched on."""
    return tomllib.loads(re.sub(r"^#(?=\w+ = )", "", DOCUMENTED.read_text("utf-8"), flags=re.MULTILINE))


def test_the_documented_file_loads() -> None:
    settings = load_settings(DOCUMENTED, {})
    assert settings.server == Settings(identity=settings.identity).server


def test_the_documented_file_shows_every_setting_with_its_default() -> None:
    shown = documented()
    read = msgspec.convert(shown, Settings)
    defaults = Settings(identity=read.identity, authorizations=read.authorizations)
    assert read == defaults
    assert _keys(shown) == _keys(msgspec.to_builtins(defaults))


def test_every_documented_setting_is_explained() -> None:
    lines = DOCUMENTED.read_text("utf-8").splitlines()
    settings = [number for number, line in enumerate(lines) if re.match(r"#?\w+ = ", line)]
    assert len(settings) == len(_keys(documented()))
    assert [lines[number] for number in settings if not lines[number - 1].startswith("# ")] == []


def _keys(value: Any, prefix: str = "") -> set[str]:
    if isinstance(value, dict) and value:
        return {key for name, inner in value.items() for key in _keys(inner, f"{prefix}.{name}")}
    if isinstance(value, list | tuple) and value:
        return {key for inner in value for key in _keys(inner, f"{prefix}[]")}
    return {prefix}
