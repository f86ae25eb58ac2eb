"""From a subject and its ground to the request that a source expects, signed.

Templates see these names: `subject.value`, `.name`, `.scheme`, and `.credit_code`, `.resident`,
`.registration_number` (only the one of the subject's own scheme has a value); for a batch `subjects.value`,
`.credit_code`, `.resident`, `.registration_number` (lists) and `subject.scheme`; `ground.purpose`,
`.matter`, `.authorization_id`, `.reason_code`; `codes.NAME`, `secrets.NAME`, `steps.NAME`; `page.number`,
`page.size`; for a search `search.name`; for counts `statistics.kind`, `.by` (a list), `.day`; for a register
`register.name`, `.number`. A list in a query or form becomes its items joined by commas.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args
from urllib.parse import quote, urlencode

import httpx
import msgspec

from connectors.answers import Ground
from connectors.conversions import PROVINCE_TIME
from connectors.problems import SourceKeyError
from connectors.source import (
    Auth,
    CodeTable,
    LookupFile,
    RegisterFile,
    Scheme,
    SearchFile,
    SourceFile,
    StatisticsFile,
    Step,
)
from connectors.template import ABSENT, Template, Variables, compile_template
from policies.identifiers import SubjectKey

_GROUND = frozenset(f"ground.{name}" for name in Ground.__struct_fields__)
_SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
_ONE = frozenset(f"subject.{name}" for name in ("value", *_SCHEMES))
_MANY = frozenset(f"subjects.{name}" for name in ("value", *_SCHEMES))
_PERSONAL = frozenset(
    {"subject.value", "subject.name", "subject.resident", "subjects.value", "subjects.resident"}
)

Run = Callable[[Variables, datetime], str]
Asking = LookupFile | SearchFile | StatisticsFile | RegisterFile


# --- signing recipes

HASHES: Mapping[str, Callable[[bytes], bytes]] = {
    "md5": lambda text: hashlib.md5(text, usedforsecurity=False).digest(),
    "sha256": lambda text: hashlib.sha256(text).digest(),
}
"""Hash functions of `hash` steps; many sources still sign with MD5."""


def _step(step: Step, known: frozenset[str], key: str) -> Run:
    """One step, ready to run; raises SourceKeyError."""
    operations = [name for name in ("now", "join", "hash", "hmac") if getattr(step, name) is not None]
    if len(operations) > 1 or not (operations or step.encode):
        raise SourceKeyError(key, "it needs one operation", "write one of now, join, hash, hmac or encode")
    if operations == ["now"]:
        return _cased(step, _now(step.now or ""))
    if operations == ["join"]:
        text = _known(compile_template("".join(step.join or ()), f"{key}.join"), known, f"{key}.join")
        return _cased(step, lambda variables, _now: str(text.render(variables)))
    if step.of is None:
        raise SourceKeyError(f"{key}.of", "it is missing", "say which text is hashed or encoded")
    of = _known(compile_template(step.of, f"{key}.of"), known, f"{key}.of")
    digest = _digest(step, known, key)
    encode = _encoding(step.encode or "hex")
    return _cased(step, lambda variables, _now: encode(digest(variables, _bytes(of.render(variables)))))


def _digest(step: Step, known: frozenset[str], key: str) -> Callable[[Variables, bytes], bytes]:
    if step.hash is not None:
        hashed = HASHES[step.hash]
        return lambda _variables, text: hashed(text)
    if step.hmac is None:
        return lambda _variables, text: text
    secret = _known(compile_template(step.key or "", f"{key}.key"), known, f"{key}.key")
    if not any(name.startswith("secrets.") for name in secret.names):
        raise SourceKeyError(f"{key}.key", "it is no secret", 'write key = "{secrets.NAME}"')
    name = step.hmac
    return lambda variables, text: hmac.new(_bytes(secret.render(variables)), text, name).digest()


def _now(form: str) -> Run:
    if form == "ms":
        return lambda _variables, now: str(int(now.timestamp() * 1000))
    if form == "s":
        return lambda _variables, now: str(int(now.timestamp()))
    return lambda _variables, now: now.astimezone(PROVINCE_TIME).strftime(form)


def _encoding(name: str) -> Callable[[bytes], str]:
    if name == "base64":
        return lambda raw: base64.b64encode(raw).decode()
    return bytes.hex


def _cased(step: Step, run: Run) -> Run:
    if step.case is None:
        return run
    change = str.upper if step.case == "upper" else str.lower
    return lambda variables, now: change(run(variables, now))


def _bytes(value: Any) -> bytes:
    return b"" if value is ABSENT else str(value).encode()


def _known(template: Template, known: frozenset[str], key: str) -> Template:
    unknown = sorted(template.names - known)
    if unknown:
        raise SourceKeyError(key, f"there is no {{{unknown[0]}}} here", f"known: {', '.join(sorted(known))}")
    return template


# --- requests


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

    @property
    def names(self) -> frozenset[str]:
        return self.headers.names | self.query.names | self.form.names | self.json.names


class RequestTemplate:
    """How requests of one lookup are made. `ground` names the parts of a ground that the source is told."""

    def __init__(
        self,
        source: SourceFile,
        request: Asking,
        key: str,
        *,
        url: str,
        secrets: Mapping[str, str],
    ) -> None:
        own = _asked_names(request)
        shared = _GROUND | {f"secrets.{name}" for name in source.secrets}
        if isinstance(request, LookupFile):
            shared |= {"subject.scheme"}
        codes = {f"codes.{name}": _code(code, shared, f"codes.{name}") for name, code in source.codes.items()}
        signing = shared | codes.keys()
        self._steps: list[tuple[str, Run]] = []
        for place, step in enumerate(source.auth.steps):
            self._steps.append((f"steps.{step.set}", _step(step, signing, f"auth.steps[{place}]")))
            signing |= {f"steps.{step.set}"}
        auth = _place(source.auth, "auth", signing)
        asked = _place(request, key, signing | own)
        path = _known(compile_template(request.path, f"{key}.path"), signing | own, f"{key}.path")
        if not request.path.startswith("/"):
            raise SourceKeyError(f"{key}.path", "it does not start with /", "write the path below the url")
        self._method = request.method if isinstance(request, LookupFile | RegisterFile) else "POST"
        _check_body(self._method, request, source.auth, key)
        _check_subject(
            request, asked.names | path.names, path.names | asked.query.names | asked.headers.names, key
        )
        self._url = url.rstrip("/")
        self._path = path
        self._auth = auth
        self._asked = asked
        self._codes = codes
        self._secrets = {f"secrets.{name}": value for name, value in secrets.items()}
        self.ground = self._told()

    def _told(self) -> frozenset[str]:
        """The parts of the ground that reach the source: directly or by way of a code."""
        names = self._path.names | self._asked.names | self._auth.names
        for name, code in self._codes.items():
            if name in names:
                names |= code.of.names
        return frozenset(name.removeprefix("ground.") for name in names & _GROUND)

    def build(self, asked: Variables, ground: Ground, now: datetime) -> httpx.Request:
        """The request for what `asked` names, signed at `now`."""
        variables: dict[str, Any] = {**self._secrets, **asked}
        variables.update((f"ground.{name}", getattr(ground, name)) for name in Ground.__struct_fields__)
        for name, code in self._codes.items():
            word = code.of.render(variables)
            variables[name] = (
                code.table.get(word, code.otherwise) if isinstance(word, str) else code.otherwise
            )
        for name, run in self._steps:
            variables[name] = run(variables, now)
        return self._request(variables)

    def _request(self, variables: Variables) -> httpx.Request:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        headers |= _texts(self._asked.headers, variables) | _texts(self._auth.headers, variables)
        query = _texts(self._asked.query, variables) | _texts(self._auth.query, variables)
        form = _texts(self._asked.form, variables) | _texts(self._auth.form, variables)
        json = self._asked.json.render(variables) | self._auth.json.render(variables)
        url = f"{self._url}{self._path_of(variables)}"
        if query:
            url = f"{url}?{urlencode(query)}"
        content = None
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            content = urlencode(form).encode()
        elif json:
            headers["Content-Type"] = "application/json"
            content = msgspec.json.encode(json)
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        return httpx.Request(self._method, url, headers=encoded, content=content)

    def _path_of(self, variables: Variables) -> str:
        given = {name: variables.get(name) for name in self._path.names}
        quoted = {name: quote(str(value), safe="") for name, value in given.items() if value is not None}
        return str(self._path.render(quoted))


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
    pages = frozenset({"page.number", "page.size"})
    if isinstance(request, SearchFile):
        return pages | {"search.name"}
    subject = _MANY if request.batch else _ONE | {"subject.name"}
    return subject | pages if request.paging else subject


def _code(code: CodeTable, known: frozenset[str], key: str) -> _Code:
    of = _known(compile_template(code.of, f"{key}.of"), known, f"{key}.of")
    return _Code(of, code.table, code.otherwise)


def _place(part: Auth | Asking, key: str, known: frozenset[str]) -> _Place:
    tables = {
        name: _known(compile_template(getattr(part, name, {}), f"{key}.{name}"), known, f"{key}.{name}")
        for name in ("headers", "query", "form", "json")
    }
    return _Place(**tables)


def _texts(table: Template, variables: Variables) -> dict[str, str]:
    return {name: _text(value) for name, value in table.render(variables).items()}


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def _check_body(method: str, request: Asking, auth: Auth, key: str) -> None:
    form, json = request.form or auth.form, request.json or auth.json
    if form and json:
        raise SourceKeyError(
            f"{key}.json", "the request would have a form and a JSON body", "keep one of them"
        )
    if method == "GET" and (form or json):
        raise SourceKeyError(f"{key}.method", "GET sends no body", 'write method = "POST" or use query')


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
