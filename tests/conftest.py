"""One sandbox and one gateway for all tests of a process; each test leaves them without faults."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from service import Client, gateway

from connectors.sandbox.server import Sandbox, SandboxOptions, running


@pytest_asyncio.fixture(scope="session")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with running(SandboxOptions(subjects=300, base_port=0)) as sandbox:
        yield sandbox


@pytest_asyncio.fixture(scope="session")
async def service(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with gateway(sandbox, tmp_path_factory.mktemp("gateway")) as client:
        yield client


@pytest_asyncio.fixture
async def client(service: Client) -> AsyncIterator[Client]:
    yield service
    await service.clear_faults()
