"""The upstream of the bench: a process that answers as fast as Python can, and counts what it is asked.

``POST /SECTION`` with ``{"codes": [...]}`` or ``GET /SECTION?code=…`` answers ``{"data": [record, ...]}``,
``GET /registers/methods?number=…`` an entry, ``GET /jwks`` the keys of the tokens. ``GET /count`` tells the calls and
subjects so far; ``GET /delay?ms=20`` makes every answer that late from then on. Answers are made before they are
asked for, so a call costs some ten microseconds.
"""

import argparse
import asyncio
import json
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import uvloop

from .world import CYCLE, METHOD, SECTIONS, UNIT, World


class Held:
    """What the upstream holds, as bytes: the records of a section of a subject, joined by commas."""

    def __init__(self, world: World, jwks: bytes) -> None:
        encode = msgspec.json.Encoder().encode
        self.sections: dict[str, dict[str, bytes]] = {
            section: {
                code: b",".join(encode({"code": code} | record) for record in world.records(section, place))
                for place, code in enumerate(world.codes)
            }
            for section in SECTIONS
        }
        entry = {
            "number": METHOD,
            "units": [UNIT.unit],
            "kind": "COMPREHENSIVE",
            "covers": [CYCLE],
            "status": "open",
        }
        self.method = _response(encode({"entry": entry}))
        self.jwks = _response(jwks)
        self.calls = 0
        self.subjects = 0
        self.delay = 0.0


class _Connection(asyncio.Protocol):
    def __init__(self, held: Held) -> None:
        self._held = held
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head = self._buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            line, _, fields = self._buffer[:head].partition(b"\r\n")
            end = head + 4 + _length(fields)
            if len(self._buffer) < end:
                return
            body, self._buffer = self._buffer[head + 4 : end], self._buffer[end:]
            self._answer(line.split(b" ", 2)[1].decode("ascii"), body)

    def _answer(self, target: str, body: bytes) -> None:
        held = self._held
        path, _, query = target[1:].partition("?")
        records = held.sections.get(path)
        if records is not None:
            codes = _CODES.decode(body).codes if body else (query.partition("=")[2],)
            held.calls += 1
            held.subjects += len(codes)
            response = _response(b'{"data":[' + b",".join([records[code] for code in codes]) + b"]}")
        elif path.startswith("registers/"):
            held.calls += 1
            response = held.method
        else:
            self._transport.write(self._control(target))
            return
        if held.delay:
            asyncio.get_running_loop().call_later(held.delay, self._transport.write, response)
        else:
            self._transport.write(response)

    def _control(self, target: str) -> bytes:
        parts = urlsplit(target)
        match parts.path:
            case "/jwks":
                return self._held.jwks
            case "/count":
                counts = {"calls": self._held.calls, "subjects": self._held.subjects}
                return _response(msgspec.json.encode(counts))
            case "/delay":
                self._held.delay = float(dict(parse_qsl(parts.query))["ms"]) / 1000
                return _response(b"{}")
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class _Codes(msgspec.Struct, frozen=True):
    codes: tuple[str, ...]


_CODES = msgspec.json.Decoder(_Codes)


def _length(fields: bytes) -> int:
    place = fields.lower().find(b"content-length:")
    return int(fields[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0


def _response(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def _serve(held: Held) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(held), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"ready": True, "url": f"http://127.0.0.1:{port}"}), flush=True)
    await server.serve_forever()


def main() -> None:
    arguments = argparse.ArgumentParser(description="The upstream of the bench.")
    arguments.add_argument("--today", type=date.fromisoformat, required=True)
    arguments.add_argument("--jwks", type=Path, required=True)
    arguments.add_argument("--subjects", type=int, required=True)
    arguments.add_argument("--penalties", type=int, required=True)
    given = arguments.parse_args()
    world = World(given.today, subjects=given.subjects, penalties=given.penalties)
    uvloop.run(_serve(Held(world, given.jwks.read_bytes())))


if __name__ == "__main__":
    main()
