"""A gateway in a process of its own, so that its memory and its end can be watched."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from service import Client

from connectors.sandbox.server import Sandbox


@dataclass
class GatewayProcess:
    """The process, and a client of its gateway."""

    process: asyncio.subprocess.Process
    client: Client

    def memory(self, name: str) -> int:
        """Memory in KiB: `VmRSS` now, `VmHWM` at the highest."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1])

    async def stop(self) -> int:
        """Ask the process to stop; its exit code when it has."""
        if self.process.returncode is None:
            self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 60)


@asynccontextmanager
async def gateway_process(
    sandbox: Sandbox, folder: Path, *, deadline: float = 2.0
) -> AsyncIterator[GatewayProcess]:
    """A gateway over the sandbox; `deadline` in seconds is that of its sources."""
    issuer = sandbox.urls["issuer"]
    urls = "\n".join(f'{n} = "{u}"' for n, u in sandbox.urls.items() if n not in ("admin", "issuer"))
    config = folder / "gateway.toml"
    config.write_text(
        f'[server]\nport = 0\n[identity]\nissuer = "{issuer}"\naudience = "credit-gateway"\n'
        f'jwks_url = "{issuer}/jwks"\n[sources]\ndeadline = {deadline}\n[sources.urls]\n{urls}\n'
    )
    with (folder / "gateway.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from gateway.cli import main; main()",
            "serve",
            "--config",
            str(config),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ},
        )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, (folder / "gateway.log").read_text()
        async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
            running = GatewayProcess(process, Client(http, json.loads(line)["url"], sandbox, folder))
            yield running
            await running.stop()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
