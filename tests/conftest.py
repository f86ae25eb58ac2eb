"""One sandbox and one gateway for all tests of a process; each test leaves them without faults."""

import ipaddress
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import hypothesis
import pytest
import pytest_asyncio
from service import Client
from service import gateway as gateway_of

import gateway.river
from connectors.sandbox.server import Sandbox, SandboxOptions, running


def _loopback_only(event: str, arguments: tuple[Any, ...]) -> None:
    """Tests speak to this machine alone: whatever would leave it fails at once."""
    host = None
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    if host in (None, "", b"", "localhost", b"localhost"):
        return
    try:
        local = ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise PermissionError("a test may connect to loopback only")


sys.addaudithook(_loopback_only)

if os.environ.get("COMPILED") == "1" and not str(gateway.river.__file__).endswith(".so"):
    raise RuntimeError(f"the compiled form was to be tested, not {gateway.river.__file__}")

# The same examples on every run, so that what passed passes again; HYPOTHESIS_PROFILE=explore looks for new ones.
hypothesis.settings.register_profile("same", derandomize=True, database=None)
hypothesis.settings.register_profile("explore")
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest_asyncio.fixture(scope="session")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with running(SandboxOptions(subjects=300, base_port=0)) as sandbox:
        yield sandbox


@pytest_asyncio.fixture(scope="session")
async def service(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with gateway_of(sandbox, tmp_path_factory.mktemp("gateway")) as client:
        yield client


@pytest_asyncio.fixture
async def client(service: Client) -> AsyncIterator[Client]:
    yield service
    await service.clear_faults()
