"""An issuer under the tests' control: keys, signatures of any kind, and a JWKS endpoint on a real socket."""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.types import ASGIApp

Key = ECKey | OKPKey | RSAKey


class Clock:
    """A clock that goes when told."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def ec_key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", parameters={"kid": kid, "use": "sig"})


def sign(claims: dict[str, Any], key: Key, *, alg: str = "ES256", **header: Any) -> str:
    """A compact JWS of the claims; a header given as None is left out."""
    headers = {"alg": alg, "typ": "at+jwt", "kid": key.kid} | header
    headers = {name: value for name, value in headers.items() if value is not None}
    return sign_bytes(json.dumps(claims).encode(), key, json.dumps(headers).encode(), alg)


def sign_bytes(payload: bytes, key: Key, header: bytes, alg: str = "ES256") -> str:
    """A compact JWS of any bytes, whether or not they are JSON."""
    signing_input = f"{b64(header)}.{b64(payload)}"
    name = "Ed25519" if alg == "EdDSA" else alg
    signature = jws.JWSRegistry.algorithms[name].sign(signing_input.encode(), key)
    return f"{signing_input}.{b64(signature)}"


def hs256_with_public_key(claims: dict[str, Any], key: Key, kid: str, typ: str = "at+jwt") -> str:
    """The old confusion: the public key, which everybody has, used as an HMAC secret."""
    header = json.dumps({"alg": "HS256", "typ": typ, "kid": kid}).encode()
    signing_input = f"{b64(header)}.{b64(json.dumps(claims).encode())}"
    secret = key.as_pem(private=False)
    return f"{signing_input}.{b64(hmac.new(secret, signing_input.encode(), hashlib.sha256).digest())}"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class JwksEndpoint:
    """What the endpoint answers, settable at any time, and how often it was asked."""

    def __init__(self, *keys: Key) -> None:
        self.requests = 0
        self.open = 0
        self.most_open = 0
        self.status = 200
        self.url = ""
        self.publish(*keys)
        self.asked = asyncio.Event()
        self.answering = asyncio.Event()
        self.answering.set()

    def publish(self, *keys: Key) -> None:
        self.publish_members(*(key.as_dict(private=False) for key in keys))

    def publish_members(self, *members: object) -> None:
        self.body = json.dumps({"keys": list(members)}).encode()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        self.asked.set()
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await self.answering.wait()
        self.open -= 1
        head = f"HTTP/1.1 {self.status} Any\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + self.body)
        writer.close()


@asynccontextmanager
async def serving_jwks(*keys: Key) -> AsyncIterator[JwksEndpoint]:
    endpoint = JwksEndpoint(*keys)
    server = await asyncio.start_server(endpoint.answer, "127.0.0.1", 0)
    endpoint.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
    async with server:
        yield endpoint
        endpoint.answering.set()


@asynccontextmanager
async def serving_app(create: Callable[[str], ASGIApp]) -> AsyncIterator[str]:
    """Serve the application that is made for the base address, and give that address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # from here on clients may connect: they wait until the server accepts
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(create(base_url), log_level="warning", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield base_url
        finally:
            server.should_exit = True
            await task
