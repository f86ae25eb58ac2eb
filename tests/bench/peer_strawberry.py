# mypy: disable-error-code="untyped-decorator"
# strawberry.field is partly typed as Any.
"""A peer: the sections of the bench in Strawberry as its documentation shows it, over the same upstream.

A type for each record, a data loader for each section, a permission class for each section that looks the purpose up,
one shared httpx client, the token verified in every request, uvicorn with uvloop and httptools. It keeps no ledger,
asks no register and hides no field. ``--cache`` keeps records of a subject in a dictionary for good.
"""

import argparse
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import httpx
import strawberry
import uvicorn
import uvloop
from joserfc import jwt
from joserfc.jwk import KeySet
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader
from strawberry.permission import BasePermission
from strawberry.utils.str_converters import to_camel_case

T = TypeVar("T")


@strawberry.enum
class Purpose(Enum):
    PUBLIC_VIEW = "PUBLIC_VIEW"
    EVALUATION_RUN = "EVALUATION_RUN"


@strawberry.enum
class State(Enum):
    HAS = "HAS"
    NONE = "NONE"


@strawberry.input
class Evidence:
    method_id: str | None = None
    cycle: str | None = None


@strawberry.input
class SubjectId:
    credit_code: str


@strawberry.input
class SubjectRef:
    id: SubjectId


@strawberry.type
class Registration:
    record_id: strawberry.ID
    name: str | None
    credit_code: str | None
    legal_form: str | None
    status: str | None
    registered_on: str | None
    capital: str | None
    business_scope: str | None
    province: str | None
    city: str | None
    registrar: str | None


@strawberry.type
class Licence:
    record_id: strawberry.ID
    licence_number: str | None
    document_number: str | None
    kind: str | None
    content: str | None
    decided_on: str | None
    valid_from: str | None
    valid_until: str | None
    authority: str | None
    status: str | None


@strawberry.type
class Penalty:
    record_id: strawberry.ID
    document_number: str | None
    kind: str | None
    authority: str | None
    legal_basis: str | None
    content: str | None
    severity: str | None
    basis_kind: str | None
    decided_on: str | None
    public_until: str | None


@strawberry.type
class AbnormalOperation:
    record_id: strawberry.ID
    list_name: str | None
    listed_on: str | None
    reason: str | None
    document_number: str | None
    authority: str | None


@strawberry.type
class Connection(Generic[T]):
    total_count: int
    nodes: list[T]


@strawberry.type
class Records(Generic[T]):
    state: State
    held: strawberry.Private[list[T]]

    @strawberry.field
    def records(self, first: int = 50) -> Connection[T]:
        return Connection(total_count=len(self.held), nodes=self.held[:first])


@strawberry.type
class Single(Generic[T]):
    state: State
    record: T | None


def _made(kind: type[T], rows: list[dict[str, Any]]) -> list[T]:
    names = [(name, to_camel_case(name)) for name in kind.__annotations__]
    return [kind(**{name: row[camel] for name, camel in names}) for row in rows]


async def _records(
    subject: "OperatingSubject", info: strawberry.Info, section: str, kind: type[T]
) -> Records[T]:
    held = _made(kind, await info.context["loaders"][section].load(subject.code))
    return Records(state=State.HAS if held else State.NONE, held=held)


PERMITTED = {
    ("MARKET_REGULATION", purpose): {"registration", "licences", "penalties", "abnormalOperations"}
    for purpose in Purpose
}


class Permitted(BasePermission):
    """Whether the caller's type may see this section for the purpose."""

    message = "denied"

    def has_permission(self, source: Any, info: strawberry.Info, **kwargs: Any) -> bool:
        caller = info.context["claims"]["caller_type"]
        return info.field_name in PERMITTED.get((caller, source.purpose), ())


@strawberry.type
class OperatingSubject:
    code: strawberry.Private[str]
    purpose: strawberry.Private[Purpose]

    @strawberry.field(permission_classes=[Permitted])
    async def registration(self, info: strawberry.Info) -> Single[Registration]:
        held = _made(Registration, await info.context["loaders"]["registration"].load(self.code))
        return Single(state=State.HAS if held else State.NONE, record=held[0] if held else None)

    @strawberry.field(permission_classes=[Permitted])
    async def licences(self, info: strawberry.Info) -> Records[Licence]:
        return await _records(self, info, "licences", Licence)

    @strawberry.field(permission_classes=[Permitted])
    async def penalties(self, info: strawberry.Info) -> Records[Penalty]:
        return await _records(self, info, "penalties", Penalty)

    @strawberry.field(permission_classes=[Permitted])
    async def abnormal_operations(self, info: strawberry.Info) -> Records[AbnormalOperation]:
        return await _records(self, info, "abnormalOperations", AbnormalOperation)


@strawberry.type
class Inquiry:
    purpose: strawberry.Private[Purpose]

    @strawberry.field
    def subject(self, id: SubjectId) -> OperatingSubject:  # noqa: A002  # the schema's name
        return OperatingSubject(code=id.credit_code, purpose=self.purpose)

    @strawberry.field
    def subjects(self, of: list[SubjectRef]) -> list[OperatingSubject]:
        return [OperatingSubject(code=each.id.credit_code, purpose=self.purpose) for each in of]


@strawberry.type
class Query:
    @strawberry.field
    def inquiry(self, purpose: Purpose, evidence: Evidence | None = None) -> Inquiry:
        return Inquiry(purpose=purpose)


class Upstream:
    """The sources: a call for each section, and what was kept of earlier ones."""

    sections: ClassVar = ("registration", "licences", "penalties", "abnormalOperations")

    def __init__(self, url: str, cached: bool) -> None:
        self.client = httpx.AsyncClient(base_url=url, trust_env=False, timeout=10)
        self._kept: dict[tuple[str, str], list[dict[str, Any]]] | None = {} if cached else None

    def loaders(self) -> dict[str, DataLoader[str, list[dict[str, Any]]]]:
        """A loader for each section, new for every request."""
        return {name: DataLoader(load_fn=partial(self._load, name)) for name in self.sections}

    async def _load(self, section: str, codes: list[str]) -> list[list[dict[str, Any]]]:
        kept = self._kept
        if kept is not None and all((section, code) in kept for code in codes):
            return [kept[section, code] for code in codes]
        answer = await self.client.post(f"/{section}", json={"codes": codes})
        found: dict[str, list[dict[str, Any]]] = {code: [] for code in codes}
        for row in answer.raise_for_status().json()["data"]:
            found[row["code"]].append(row)
        if kept is not None:
            kept.update({(section, code): rows for code, rows in found.items()})
        return list(found.values())


class Endpoint(GraphQL[Any, Any]):
    """The endpoint of the documentation, whose context verifies the token."""

    upstream: Upstream
    keys: KeySet

    async def get_context(self, request: Any, response: Any) -> Any:
        token = request.headers["authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, self.keys, algorithms=["ES256"]).claims
        jwt.JWTClaimsRegistry(aud={"essential": True, "value": "credit-gateway"}).validate(claims)
        return {"claims": claims, "loaders": self.upstream.loaders()}


async def _serve(url: str, cached: bool) -> None:
    upstream = Upstream(url, cached)
    endpoint = Endpoint(strawberry.Schema(Query))
    endpoint.upstream = upstream
    endpoint.keys = KeySet.import_key_set((await upstream.client.get("/jwks")).json())

    @asynccontextmanager
    async def closing(_: Starlette) -> AsyncIterator[None]:
        yield
        await upstream.client.aclose()

    app = Starlette(lifespan=closing)
    app.router.routes.append(Route("/graphql", endpoint))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--upstream", required=True)
    arguments.add_argument("--cache", action="store_true")
    given = arguments.parse_args()
    uvloop.run(_serve(given.upstream, given.cache))


if __name__ == "__main__":
    main()
