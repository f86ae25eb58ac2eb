"""The house keeps its own rules: where authority is made, what is public, what ships."""

import ast
import re
import socket
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from policies.catalogue import SECTION_OF
from policies.obligations import DISCHARGED_ELSEWHERE, FILTERS

ROOT = Path(__file__).parents[1]
PACKAGES = ("gateway", "resolvers", "connectors", "policies")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _calls(path: Path, name: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )


def test_only_the_decision_makes_a_grant() -> None:
    makers = [str(path.relative_to(ROOT)) for path in MODULES if _calls(path, "Granted")]
    assert makers == ["policies/decision.py"]


def test_only_authentication_makes_a_caller() -> None:
    makers = [str(path.relative_to(ROOT)) for path in MODULES if _calls(path, "Caller")]
    # An explanation and a replay ask about a caller that is not there; nothing is fetched for it.
    assert set(makers) <= {"gateway/authenticate.py", "gateway/replay.py", "policies/explain.py"}
    assert "gateway/authenticate.py" in makers


def test_only_the_wiring_opens_clients_and_files() -> None:
    openers = {
        str(path.relative_to(ROOT))
        for path in MODULES
        for name in ("SqliteLedger.open(", "load_or_create_key(", "httpx.AsyncClient(", "Sources.load(")
        if name in path.read_text("utf-8") and f"def {name[:-1]}" not in path.read_text("utf-8")
    }
    # The command line and the demonstration are clients of the service, not parts of it.
    assert openers <= {
        "gateway/app.py",
        "gateway/cli.py",
        "gateway/demo.py",
        "gateway/source_commands.py",
        "gateway/tokens.py",
    }


@pytest.mark.parametrize("address", ["192.0.2.1", "registry.example"])
def test_tests_reach_this_machine_alone(address: str) -> None:
    with pytest.raises(PermissionError, match="loopback only"):
        socket.create_connection((address, 80), timeout=0.1)


def test_policies_have_no_clock() -> None:
    for path in sorted((ROOT / "policies").rglob("*.py")):
        assert not re.search(
            r"\b(datetime\.now|date\.today|time\.time|monotonic)\(", path.read_text("utf-8")
        ), path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_is_importable_and_says_what_it_is(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = import_module(name)
    if path.read_text("utf-8").strip():
        assert module.__doc__, name


def test_the_lock_file_holds_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in lock
    pins = re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE)
    assert len(pins) == len(set(pins))
    for block in re.split(r"\n(?=\S)", lock.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in wanted:
        assert re.split(r"[\[<>=;]", requirement)[0].strip() in pins


def test_the_changelog_names_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert version in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_catalogue_and_the_bundle_agree() -> None:
    from gateway.app import load_bundle

    bundle = load_bundle("example")
    for category, kind in SECTION_OF:
        assert kind in bundle.categories[category].subjects, (category, kind)
    obligations = {code for rule in bundle.rules.values() for code in rule.obligations}
    assert obligations <= FILTERS.keys() | DISCHARGED_ELSEWHERE.keys()


def test_product_files_hold_no_machine_paths_nor_registries() -> None:
    for path in ROOT.rglob("*"):
        tracked = (
            path.suffix in {".py", ".toml", ".md", ".json", ".html", ".js", ".lock"}
            or path.name == "Makefile"
        )
        outside = {".venv", ".compiled", ".git", "node_modules", "assets"} & set(path.parts)
        if path.is_file() and tracked and not outside and path != Path(__file__):
            text = path.read_text("utf-8")
            assert not re.search(r"(^|[^A-Za-z])/(work|farm|root)/", text), path
            assert not re.search(r'"resolved": *"http|https?://[^ ]*/simple(/|$)', text), path
