"""From a subject and its ground to the request that a source expects, signed.

Templates see these names: `subject.value`, `.name`, `.scheme`, and `.credit_code`, `.resident`,
`.registration_number` (only the one of the subject's own scheme has a value); for a batch `subjects.value`,
`.credit_code`, `.resident`, `.registration_number` (lists) and `subject.scheme`; `ground.purpose`,
`.matter`, `.authorization_id`, `.reason_code`; `codes.NAME`, `secrets.NAME`, `token.value`, `steps.NAME`,
`parts.NAME`; `page.number`, `.index` (from 0), `.offset`, `.size`, `.cursor`; for a search `search.name`; for counts `statistics.kind`,
`.by` (a list), `.day`; for a register `register.name`, `.number`. A list in a query or form becomes its items
joined by commas.

Steps that sign the request itself see `request.method`, `.path`, `.query` and `.body` as they are sent, and the
parameters by `sorted`; what is placed from such a step is put in afterwards. Where bodies are sealed, the file says
whether these steps see the sealed body or the plain one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args
from urllib.parse import quote, urlencode

import httpx
import msgspec

from connectors.answers import FaultCode, Ground, SourceFaultError
from connectors.documents import XML_NAME, soap_envelope, write_xml
from connectors.message import Origin, Outgoing
from connectors.problems import SourceKeyError
from connectors.sealing import seal
from connectors.signing import REQUEST_NAMES, Scope, Signing, compile_step, known
from connectors.source import (
    Auth,
    CodeTable,
    Document,
    LookupFile,
    RegisterFile,
    Scheme,
    Sealing,
    SearchFile,
    SourceFile,
    StatisticsFile,
    TokenFile,
)
from connectors.template import Template, Variables, compile_template
from policies.identifiers import SubjectKey

_GROUND = frozenset(f"ground.{name}" for name in Ground.__struct_fields__)
_GROUND_PARTS = tuple((f"ground.{name}", name) for name in Ground.__struct_fields__)
_SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
_ONE = frozenset(f"subject.{name}" for name in ("value", *_SCHEMES))
_MANY = frozenset(f"subjects.{name}" for name in ("value", *_SCHEMES))
_PERSONAL = frozenset(
    {"subject.value", "subject.name", "subject.resident", "subjects.value", "subjects.resident"}
)

Asking = LookupFile | SearchFile | StatisticsFile | RegisterFile | TokenFile

_ACCEPT = {"json": "application/json", "xml": "application/xml, text/xml", "soap": "text/xml"}
_CODECS = {"UTF-8": "utf-8", "GBK": "gbk", "GB18030": "gb18030"}


class _Code(msgspec.Struct, frozen=True):
    of: Template
    table: Mapping[str, str]
    otherwise: str | None


class _Place(msgspec.Struct, frozen=True):
    """The parts of a request, each a template of a table."""

    headers: Template
    query: Template
    form: Template
    json: Template
    xml: Template
    soap_header: Template
    soap_body: Template

    @property
    def names(self) -> frozenset[str]:
        return frozenset().union(*(getattr(self, name).names for name in self.__struct_fields__))

    @property
    def is_empty(self) -> bool:
        return all(getattr(self, name).is_empty for name in self.__struct_fields__)


class _Filled(msgspec.Struct):
    """The parts of one request, filled in."""

    headers: dict[str, str]
    query: dict[str, str]
    form: dict[str, str]
    json: dict[str, Any]
    xml: dict[str, Any]
    soap_header: dict[str, Any]
    soap_body: dict[str, Any]
    sealed: str | None = None
    """The whole body, where it is sealed as a whole."""


class RequestTemplate:
    """How requests of one lookup are made. `ground` names the parts of a ground that the source is told."""

    def __init__(
        self,
        source: SourceFile,
        request: Asking,
        key: str,
        *,
        url: str,
    ) -> None:
        own = _asked_names(request)
        auth = Auth(steps=request.steps) if isinstance(request, TokenFile) else source.auth
        shared = _GROUND | {f"secrets.{name}" for name in source.secrets}
        if source.token is not None and not isinstance(request, TokenFile):
            shared |= {"token.value"}
        if isinstance(request, LookupFile):
            shared |= {"subject.scheme"}
        codes = {f"codes.{name}": _code(code, shared, f"codes.{name}") for name, code in source.codes.items()}
        self._codec = _CODECS[source.charset]
        self._charset = source.charset
        self._steps, self._signing = _recipe(auth, shared | codes.keys(), self._codec)
        early = shared | codes.keys() | {step.name for step in self._steps}
        late = frozenset(step.name for step in self._signing)
        self._auth, self._signed = _auth_places(auth, early, late)
        self._authenticates = not self._auth.is_empty
        self._parts = {
            f"parts.{name}": (_documents(part, f"{key}.parts.{name}", early | own), bool(part.xml))
            for name, part in request.parts.items()
        }
        seen = early | own | self._parts.keys()
        asked = _place(request, key, seen)
        path = known(compile_template(request.path, f"{key}.path"), seen, f"{key}.path")
        if not request.path.startswith("/"):
            raise SourceKeyError(f"{key}.path", "it does not start with /", "write the path below the url")
        self._method = getattr(request, "method", None) or "POST"
        _check_body(self._method, request, auth, key)
        self._sealing = None if isinstance(request, TokenFile) else _sealing_of(source)
        _check_whole(self._signing, self._signed, self._sealing)
        if self._sealing is not None:
            _check_sealed(self._sealing, request, self._signed, key)
        inside = frozenset().union(*(part.names for part, _ in self._parts.values()))
        _check_subject(
            request,
            asked.names | path.names | inside,
            path.names | asked.query.names | asked.headers.names | inside & _addressed(asked, path),
            key,
        )
        self._action = known(
            compile_template(request.soap.action if request.soap else "", f"{key}.soap.action"),
            seen,
            f"{key}.soap.action",
        )
        self._is_soap = request.soap is not None
        self._accept = _ACCEPT[source.envelope.format]
        base = httpx.URL(url.rstrip("/"))
        self._origin = Origin.of(base)
        self._base = base.raw_path.decode("ascii").rstrip("/")
        self._path = path
        self._fixed = self._fixed_target(asked)
        """What is asked of the origin, where it is the same for every request."""
        self._asked = asked
        self._codes = codes
        self.ground = self._told(inside)

    def _fixed_target(self, asked: _Place) -> str | None:
        queries = (asked.query, self._auth.query, self._signed.query)
        if self._path.names or any(query.names or query.render({}) for query in queries):
            return None
        return self._origin.target(f"{self._base}{self._path.render({})}")

    def _told(self, inside: frozenset[str]) -> frozenset[str]:
        """The parts of the ground that reach the source: directly or by way of a code or a step."""
        names = self._path.names | self._asked.names | self._auth.names | self._signed.names | inside
        for step in reversed([*self._steps, *self._signing]):
            if step.name in names:
                names |= step.uses
        for name, code in self._codes.items():
            if name in names:
                names |= code.of.names
        return frozenset(name.removeprefix("ground.") for name in names & _GROUND)

    def build(
        self, asked: Variables, ground: Ground, now: datetime, held: Mapping[str, str]
    ) -> httpx.Request:
        """The same request as `prepare` makes, for who looks at it as a whole."""
        return self.prepare(asked, ground, now, held).of_httpx()

    def prepare(self, asked: Variables, ground: Ground, now: datetime, held: Mapping[str, str]) -> Outgoing:
        """The request for what `asked` names, signed at `now`; `held` are the secrets and the token.

        Raises SourceFaultError for what cannot be written in the source's character set.
        """
        variables: dict[str, Any] = {**held, **asked}
        if "page.number" in asked:
            variables["page.index"] = asked["page.number"] - 1
            variables["page.offset"] = (asked["page.number"] - 1) * asked["page.size"]
        for name, part in _GROUND_PARTS:
            variables[name] = getattr(ground, part)
        for name, code in self._codes.items():
            word = code.of.render(variables)
            variables[name] = (
                code.table.get(word, code.otherwise) if isinstance(word, str) else code.otherwise
            )
        for step in self._steps:
            variables[step.name] = step.run(variables, now)
        for name, (document, is_xml) in self._parts.items():
            tree = document.render(variables)
            variables[name] = write_xml(tree) if is_xml else msgspec.json.encode(tree).decode()
        try:
            return self._request(variables, now)
        except UnicodeEncodeError:
            raise SourceFaultError(
                FaultCode.ERROR, "the request cannot be written in the source's character set"
            ) from None

    def _request(self, variables: dict[str, Any], now: datetime) -> Outgoing:
        filled = _fill(self._asked, variables)
        sealing = self._sealing
        own = None if sealing is None else self._body(filled)[1]
        if self._authenticates:
            _add(filled, self._auth, variables)
        path = self._path_of(variables)
        if sealing is not None and sealing.sign == "sealed":
            self._seal(filled, own, (self._auth,), variables)
        if self._signing:
            self._sign(filled, path, variables, now)
        if sealing is not None and sealing.sign == "plain":
            self._seal(filled, own, (self._auth, self._signed), variables)
        target = self._fixed or self._origin.target(f"{self._base}{path}{self._query(filled)}")
        kind, content = self._body(filled)
        headers = {"Accept": self._accept, "Accept-Encoding": "identity", **filled.headers}
        if kind is not None:
            headers["Content-Type"] = kind
        if self._is_soap:
            headers["SOAPAction"] = f'"{self._action.render(variables)}"'
        "".join(headers.values()).encode()  # or it would be found out when the request is on its way
        return Outgoing(self._method, self._origin, target, headers, content)

    def _seal(
        self, filled: _Filled, own: bytes | None, beside: Sequence[_Place], variables: Variables
    ) -> None:
        """Put the sealed text in the place of the body; at a path `own` is sealed, and what authenticates is beside it."""
        sealing = self._sealing
        if sealing is None or sealing.request is None:
            return
        if sealing.request.at == ".":
            filled.sealed = seal(sealing, self._body(filled)[1] or b"", variables)
            return
        value: Any = seal(sealing, own or b"", variables)
        for name in reversed(sealing.request.at.split(".")):
            value = {name: value}
        filled.xml = {}
        filled.json = value
        for place in beside:
            filled.json |= place.json.render(variables)

    def _sign(self, filled: _Filled, path: str, variables: dict[str, Any], now: datetime) -> None:
        """Run the steps that look at the request, and place what they give."""
        _, content = self._body(filled)
        variables["request.method"] = self._method
        variables["request.path"] = path
        variables["request.query"] = self._query(filled).removeprefix("?")
        variables["request.body"] = (content or b"").decode(self._codec)
        variables["request.parameters"] = {
            "query": filled.query,
            "form": filled.form,
            "json": filled.json,
        }
        for step in self._signing:
            variables[step.name] = step.run(variables, now)
        _add(filled, self._signed, variables)

    def _query(self, filled: _Filled) -> str:
        return f"?{urlencode(filled.query, encoding=self._codec)}" if filled.query else ""

    def _body(self, filled: _Filled) -> tuple[str | None, bytes | None]:
        """The content type and the bytes of the body, if there is one."""
        if filled.sealed is not None:
            return "text/plain; charset=UTF-8", filled.sealed.encode()
        if filled.form:
            kind = "application/x-www-form-urlencoded"
            if self._codec != "utf-8":
                kind = f"{kind}; charset={self._charset}"
            return kind, urlencode(filled.form, encoding=self._codec).encode()
        if filled.json:
            content = msgspec.json.encode(filled.json)
            if self._codec == "utf-8":
                return "application/json", content
            return f"application/json; charset={self._charset}", content.decode().encode(self._codec)
        if filled.xml:
            return f"application/xml; charset={self._charset}", self._xml(filled.xml)
        if self._is_soap:
            message = soap_envelope(filled.soap_header, filled.soap_body)
            return f"text/xml; charset={self._charset}", self._xml(message)
        return None, None

    def _xml(self, tree: Mapping[str, Any]) -> bytes:
        return f'<?xml version="1.0" encoding="{self._charset}"?>{write_xml(tree)}'.encode(self._codec)

    def _path_of(self, variables: Variables) -> str:
        given = {name: variables.get(name) for name in self._path.names}
        quoted = {
            name: quote(str(value), safe="", encoding=self._codec)
            for name, value in given.items()
            if value is not None
        }
        return str(self._path.render(quoted))


def _fill(place: _Place, variables: Variables) -> _Filled:
    return _Filled(
        _texts(place.headers, variables),
        _texts(place.query, variables),
        _texts(place.form, variables),
        place.json.render(variables),
        place.xml.render(variables),
        place.soap_header.render(variables),
        place.soap_body.render(variables),
    )


def _add(filled: _Filled, place: _Place, variables: Variables) -> None:
    """Put what authenticates the gateway beside what is asked."""
    filled.headers |= _texts(place.headers, variables)
    filled.query |= _texts(place.query, variables)
    filled.form |= _texts(place.form, variables)
    filled.json |= place.json.render(variables)
    filled.soap_header |= place.soap_header.render(variables)


def _recipe(auth: Auth, names: frozenset[str], codec: str) -> tuple[tuple[Signing, ...], tuple[Signing, ...]]:
    """The steps before the request is made, and from the first on that looks at the request itself."""
    steps: list[Signing] = []
    signing: list[Signing] = []
    for place, step in enumerate(auth.steps):
        shown = REQUEST_NAMES - {"request.parameters"}
        made = compile_step(step, Scope(names | shown, f"auth.steps[{place}]", codec))
        (signing if signing or made.uses & REQUEST_NAMES else steps).append(made)
        names |= {made.name}
    return tuple(steps), tuple(signing)


def _auth_places(auth: Auth, early: frozenset[str], late: frozenset[str]) -> tuple[_Place, _Place]:
    """What is placed before the request is signed, and what after."""
    before: dict[str, dict[str, Any]] = {}
    after: dict[str, dict[str, Any]] = {}
    for table in ("headers", "query", "form", "json", "soap_header"):
        for name, value in getattr(auth, table).items():
            used = known(compile_template(value, f"auth.{table}.{name}"), early | late, f"auth.{table}").names
            (after if used & late else before).setdefault(table, {})[name] = value
    return _compiled(before, "auth", early), _compiled(after, "auth", early | late)


def variables_of(subjects: Sequence[SubjectKey], batch: bool) -> dict[str, Any]:
    """What templates may know of the subjects of one call; they share a scheme."""
    scheme = subjects[0].scheme
    if batch:
        values = list(dict.fromkeys(subject.value for subject in subjects))
        return {"subject.scheme": scheme, "subjects.value": values, f"subjects.{scheme}": values}
    (subject,) = subjects
    return {
        "subject.scheme": scheme,
        "subject.value": subject.value,
        "subject.name": subject.name,
        f"subject.{scheme}": subject.value,
    }


_COUNTED = frozenset({"statistics.kind", "statistics.by", "statistics.day"})


def _asked_names(request: Asking) -> frozenset[str]:
    if isinstance(request, RegisterFile):
        return frozenset({"register.name", "register.number"})
    if isinstance(request, StatisticsFile):
        return _COUNTED
    if isinstance(request, TokenFile):
        return frozenset()
    pages = frozenset({"page.number", "page.index", "page.offset", "page.size"})
    if isinstance(request, SearchFile):
        return pages | {"search.name"}
    subject = _MANY if request.batch else _ONE | {"subject.name"}
    return subject | pages | {"page.cursor"} if request.paging else subject


def _code(code: CodeTable, names: frozenset[str], key: str) -> _Code:
    of = known(compile_template(code.of, f"{key}.of"), names, f"{key}.of")
    return _Code(of, code.table, code.otherwise)


def _documents(part: Document, key: str, names: frozenset[str]) -> Template:
    if bool(part.json) is bool(part.xml):
        raise SourceKeyError(key, "it needs one of json and xml", "keep one of them")
    _check_xml(part.xml, f"{key}.xml")
    form = "xml" if part.xml else "json"
    return known(compile_template(part.xml or part.json, f"{key}.{form}"), names, f"{key}.{form}")


def _place(request: Asking, key: str, names: frozenset[str]) -> _Place:
    _check_xml(request.xml, f"{key}.xml")
    tables: dict[str, dict[str, Any]] = {
        name: getattr(request, name, {}) for name in ("headers", "query", "form", "json", "xml")
    }
    if request.soap is not None:
        _check_xml(request.soap.header, f"{key}.soap.header", roots=MOST_ROOTS)
        _check_xml(request.soap.body, f"{key}.soap.body")
        if not request.soap.body:
            raise SourceKeyError(f"{key}.soap.body", "it is empty", "write the element that is called")
        tables |= {"soap_header": request.soap.header, "soap_body": request.soap.body}
    return _compiled(tables, key, names)


def _compiled(tables: Mapping[str, Mapping[str, Any]], key: str, names: frozenset[str]) -> _Place:
    places = {}
    for table in _Place.__struct_fields__:
        where = f"{key}.{_IN_FILE.get(table, table)}"
        places[table] = known(compile_template(dict(tables.get(table, {})), where), names, where)
    return _Place(**places)


_IN_FILE = {"soap_header": "soap.header", "soap_body": "soap.body"}


def _texts(table: Template, variables: Variables) -> dict[str, str]:
    if table.is_empty:
        return {}
    texts: dict[str, Any] = table.render(variables)
    for name, value in texts.items():
        if not isinstance(value, str):
            texts[name] = ",".join(value) if isinstance(value, list) else str(value)
    return texts


# --- what cannot work


def _check_body(method: str, request: Asking, auth: Auth, key: str) -> None:
    bodies = [
        name
        for name, given in (
            ("form", request.form or auth.form),
            ("json", request.json or auth.json),
            ("xml", request.xml),
            ("soap", request.soap or auth.soap_header),
        )
        if given
    ]
    if len(bodies) > 1:
        raise SourceKeyError(
            f"{key}.{bodies[-1]}", f"the request would have two bodies: {' and '.join(bodies)}", "keep one"
        )
    if auth.soap_header and request.soap is None:
        raise SourceKeyError("auth.soap_header", f"{key} is no SOAP message", "place it elsewhere")
    if method == "GET" and bodies:
        raise SourceKeyError(f"{key}.method", "GET sends no body", 'write method = "POST" or use query')


def _sealing_of(source: SourceFile) -> Sealing | None:
    """How the bodies of requests are sealed, if they are."""
    return source.sealing if source.sealing is not None and source.sealing.request is not None else None


def _check_sealed(sealing: Sealing, request: Asking, signed: _Place, key: str) -> None:
    if not (request.json or request.xml):
        raise SourceKeyError(
            f"{key}.json",
            "it is missing, and sealing.request seals it",
            "write json or xml, or remove sealing.request",
        )
    if sealing.request and sealing.request.at == "." and sealing.sign == "sealed" and signed.json.names:
        raise SourceKeyError(
            "auth.json",
            "it would change the body that is sealed",
            'place it in headers or query, or write sealing.sign = "plain"',
        )


def _check_whole(signing: Sequence[Signing], signed: _Place, sealing: Sealing | None) -> None:
    """A body that is signed must not change afterwards; beside a sealed part that was signed plain something may stand."""
    if sealing and sealing.request and sealing.request.at != "." and sealing.sign == "plain":
        return
    if not any("request.body" in step.uses for step in signing):
        return
    for table in ("form", "json", "soap_header"):
        if getattr(signed, table).names:
            raise SourceKeyError(
                f"auth.{table}", "it changes the body that is signed", "place it in headers or query"
            )


MOST_ROOTS = 20


def _check_xml(tree: Mapping[str, Any], key: str, roots: int = 1) -> None:
    if len(tree) > roots:
        raise SourceKeyError(key, "it has more than one root element", "put the elements below one")
    for name, value in tree.items():
        _check_element(name, value, f"{key}.{name}")


def _check_element(name: str, value: Any, key: str) -> None:
    bare = name.removeprefix("@")
    if name != "#text" and not XML_NAME.fullmatch(bare):
        raise SourceKeyError(key, "it is no name of an element", "write letters, digits, - and _")
    if name.startswith(("@", "#")) and isinstance(value, dict | list):
        raise SourceKeyError(key, "it is no text", "write a text")
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            for child, member in item.items():
                _check_element(child, member, f"{key}.{child}")


def _addressed(asked: _Place, path: Template) -> frozenset[str]:
    """Every name, where a part of the request stands in an address or header: then what it holds does, too."""
    open_to_view = path.names | asked.query.names | asked.headers.names
    return (
        _PERSONAL | {"search.name"}
        if any(name.startswith("parts.") for name in open_to_view)
        else frozenset()
    )


def _check_subject(
    request: Asking,
    used: frozenset[str],
    open_to_view: Iterable[str],
    key: str,
) -> None:
    """A request must ask for its subject, and never show a person in an address or header."""
    if isinstance(request, RegisterFile):
        needed = {"register.number"} | ({"register.name"} if len(request.names) > 1 else set())
        for name in sorted(needed - used):
            raise SourceKeyError(key, "the request does not say what is looked up", f"use {{{name}}}")
        return
    if isinstance(request, TokenFile):
        return
    if isinstance(request, StatisticsFile):
        for name in sorted(_COUNTED - used):
            raise SourceKeyError(key, "the request does not say what is counted", f"use {{{name}}}")
        return
    if isinstance(request, SearchFile):
        if "search.name" not in used:
            raise SourceKeyError(key, "the request does not say what is searched", "use {search.name}")
        if "search.name" in open_to_view:
            raise SourceKeyError(key, "a name would stand in an address", "move it to json or form")
        return
    group = "subjects" if request.batch else "subject"
    for scheme in request.keys:
        if not used & {f"{group}.value", f"{group}.{scheme}"}:
            raise SourceKeyError(
                key, f"the request does not name a subject by {scheme}", f"use {{{group}.{scheme}}}"
            )
    if "resident" in request.keys and _PERSONAL & set(open_to_view):
        raise SourceKeyError(key, "a person would stand in an address or header", "move it to json or form")
