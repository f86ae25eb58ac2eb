"""What a user installs: the wheel, in a virtual environment of its own, far from the source tree.

Its dependencies are not downloaded again: the new environment sees those of the present one through a folder of
links, from which the product itself is left out, so that only the wheel can provide it.
"""

import json
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("connectors", "gateway", "policies", "resolvers")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder))
    run(sys.executable, "-m", "pip", "wheel", *options, str(ROOT), cwd=folder)
    (built,) = folder.glob("credit_gateway-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment where the wheel is installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False)
    programs = folder / "venv" / "bin"
    options = ("--no-deps", "--no-index", str(wheel))
    run(sys.executable, "-m", "pip", "--python", programs / "python", "install", *options, cwd=folder)
    packages = folder / "venv" / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (packages / "dependencies.pth").write_text(str(links_to_dependencies(folder / "dependencies")))
    return programs


def links_to_dependencies(folder: Path) -> Path:
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        ours = entry.name in PACKAGES or "credit_gateway" in entry.name
        if not ours and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


def ask(installed: Path, program: str) -> object:
    """What a Python program prints as JSON in the new environment; -I keeps the source tree out of its path."""
    return json.loads(run(installed / "python", "-I", "-c", program, cwd=installed))


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in held} == set(PACKAGES)
    assert any(name.startswith("policies/bundles/") and name.endswith(".toml") for name in held)
    assert any(name.startswith("connectors/sources/") and name.endswith(".toml") for name in held)
    for package in PACKAGES:
        assert f"{package}/py.typed" in held
    here = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert here - held == set()


def test_the_wheel_carries_the_browser_files_and_their_licences(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    folder = "gateway/explorer/assets"
    assert sizes[f"{folder}/graphiql.min.js"] > 500_000
    assert sizes[f"{folder}/graphiql.min.css"] > 50_000
    assert sizes[f"{folder}/react-dom.production.min.js"] > 100_000
    assert sizes[f"{folder}/react.production.min.js"] > 5_000
    assert sizes[f"{folder}/LICENCES.txt"] > 10_000


def test_the_four_packages_belong_to_this_distribution_alone(installed: Path) -> None:
    owners = ask(
        installed,
        "import importlib.metadata as m, json\n"
        "print(json.dumps({name: owners for name, owners in m.packages_distributions().items()}))",
    )
    assert isinstance(owners, dict)
    assert {name: owners.get(name) for name in PACKAGES} == {name: ["credit-gateway"] for name in PACKAGES}


def test_every_module_of_the_wheel_can_be_imported_there(installed: Path) -> None:
    places = ask(
        installed,
        "import importlib, json, pkgutil\n"
        f"packages = [importlib.import_module(name) for name in {PACKAGES!r}]\n"
        "for package in packages:\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not module.name.endswith('__main__'):\n"
        "            importlib.import_module(module.name)\n"
        "print(json.dumps([package.__file__ for package in packages]))",
    )
    assert isinstance(places, list)
    assert all(str(place).startswith(str(installed.parent)) for place in places)


def test_the_explorer_is_complete_there(installed: Path) -> None:
    paths = ask(
        installed,
        "import json; from gateway.explorer.app import explorer_routes\n"
        "print(json.dumps([route.path for route in explorer_routes(())]))",
    )
    assert isinstance(paths, list)
    assert "/explorer/graphiql.min.js" in paths


def test_the_command_runs_there(installed: Path) -> None:
    assert "Usage: credit-gateway" in run(installed / "credit-gateway", "--help", cwd=installed)
    schema = run(installed / "credit-gateway", "schema", cwd=installed)
    assert schema == run(Path(sys.executable).with_name("credit-gateway"), "schema", cwd=ROOT)


def test_the_demonstration_runs_there_on_what_is_installed(installed: Path, tmp_path: Path) -> None:
    # Folders named like the packages must not stand in for the packages.
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise AssertionError('a stranger was imported')")
    said = run(
        installed / "credit-gateway",
        *("demo", "--once", "--port", "0", "--sandbox-port", "0", "--state", tmp_path / "state"),
        cwd=tmp_path,
    )
    assert "Showcase: every answer is as demanded." in said
