"""Routes of the explorer: one page, its files and the examples; everything comes from the gateway itself.

The page is ``/explorer``; it posts to ``/graphql``. Where a deployment gives tokens away (a demonstration on
synthetic subjects), the page asks ``GET /explorer/token?persona=...`` for one and expects the JSON object
``{"access_token": "..."}``; that endpoint is not part of this module.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.explorer import assets

_HERE = Path(__file__).parent
_PAGE = "index.html"
_OWN_FILES = ("explorer.js", "explorer.css")
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
}
_IMMUTABLE = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"

# The editor's dialogs lock scrolling with a style element of their own, hence 'unsafe-inline' for styles;
# fonts and icons are in the style sheet as data.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "font-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_SECURITY_HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_UNAVAILABLE = (
    "The explorer's browser files are missing: {names}.\n"
    "Fetch them with: python -m gateway.explorer.assets\n"
    "The gateway itself answers at /graphql.\n"
)


class Example(msgspec.Struct, frozen=True):
    """A query that the page offers to one persona, such as ``department`` or ``bank``."""

    name: str
    persona: str
    query: str
    variables: dict[str, Any] = {}
    explanation: str = ""


class LoginHints(msgspec.Struct, frozen=True):
    """That the deployment gives tokens away: for which personas, and with whose token the page starts."""

    personas: tuple[str, ...]
    first: str = "developer"


class _Offer(msgspec.Struct, frozen=True):
    login: LoginHints | None
    examples: Sequence[Example]


class _File(msgspec.Struct, frozen=True):
    name: str
    body: bytes
    version: str

    @classmethod
    def of(cls, name: str, body: bytes) -> "_File":
        return cls(name, body, hashlib.sha256(body).hexdigest()[:16])


def explorer_routes(
    examples: Sequence[Example], login: LoginHints | None = None, folder: Path = assets.FOLDER
) -> list[Route]:
    """The routes of the explorer, every file read once and kept; `folder` holds the browser files.

    Where browser files are missing, the one route is a page that says so with status 503.
    Raises ValueError when `login` starts with a persona that it does not offer.
    """
    if login is not None and login.first not in login.personas:
        raise ValueError(f"login.first: {login.first!r} is not among login.personas")
    names = assets.missing(folder)
    if names:
        return [Route("/explorer", _unavailable(names))]
    files = [
        *(_File.of(name, (_HERE / name).read_bytes()) for name in _OWN_FILES),
        *(_File.of(name, (folder / name).read_bytes()) for name in (*assets.FILES, assets.LICENCES)),
        _File.of("examples.json", msgspec.json.encode(_Offer(login, examples))),
    ]
    page = _File.of(_PAGE, _page(files).encode())
    return [
        Route("/explorer", _serve(page)),
        *(Route(f"/explorer/{file.name}", _serve(file)) for file in files),
    ]


def _page(files: Sequence[_File]) -> str:
    """The page with the version of each file in its address, so that a browser may keep the file for good."""
    page = (_HERE / _PAGE).read_text("utf-8")
    for file in files:
        page = page.replace(f'"explorer/{file.name}"', f'"explorer/{file.name}?v={file.version}"')
    return page


def _serve(file: _File) -> Callable[[Request], Awaitable[Response]]:
    headers = {
        **_SECURITY_HEADERS,
        "content-type": _CONTENT_TYPES[Path(file.name).suffix],
        "etag": f'"{file.version}"',
    }

    async def endpoint(request: Request) -> Response:
        named = request.query_params.get("v") == file.version
        fresh = {**headers, "cache-control": _IMMUTABLE if named else _REVALIDATE}
        if _holds(request, file.version):
            return Response(status_code=304, headers=fresh)
        return Response(file.body, headers=fresh)

    return endpoint


def _holds(request: Request, version: str) -> bool:
    """Whether the browser says that it has this version already (RFC 9110, 13.1.2: weak comparison)."""
    held = request.headers.get("if-none-match", "")
    return any(tag.strip().removeprefix("W/") in ("*", f'"{version}"') for tag in held.split(","))


def _unavailable(names: Sequence[str]) -> Callable[[Request], Awaitable[Response]]:
    text = _UNAVAILABLE.format(names=", ".join(names))

    async def endpoint(request: Request) -> Response:  # noqa: ARG001  # the signature of every endpoint
        return PlainTextResponse(text, status_code=503, headers=_SECURITY_HEADERS)

    return endpoint
