"""What the types of a source file cannot say: how its keys go together.

Each check yields its mistakes, so that all of a file are told at once.
"""

import math
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import get_args
from urllib.parse import urlsplit

from connectors.forbidden import is_loopback, is_private
from connectors.problems import SourceKeyError
from connectors.source import (
    LookupFile,
    Meaning,
    Rate,
    Sealing,
    SecretPlace,
    SourceFile,
    StatisticsFile,
    TokenFile,
)
from policies.catalogue import SECTION_OF
from policies.registers import Register
from policies.vocabulary import SubjectKind

Mistakes = Iterator[SourceKeyError]


def check_url(url: str, key: str) -> None:
    """Refuse a base address that is not plain http(s)://host[:port][/path]; raises SourceKeyError."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable or parts.query or parts.fragment or parts.username is not None:
        raise SourceKeyError(
            key, "it is no base address", "write http(s)://host:port without user, query or fragment"
        )


def _unless(holds: object, key: str, reason: str, remedy: str) -> Mistakes:
    if not holds:
        yield SourceKeyError(key, reason, remedy)


# --- how keys go together


def mistakes_of_source(source: SourceFile) -> Mistakes:
    """What is wrong with a file whose types are right."""
    yield from _unless(
        re.fullmatch(r"[a-z][a-z0-9-]*", source.id),
        "id",
        "it is no id",
        "write lower-case letters, digits, -",
    )
    yield from _unless(
        re.fullmatch(r"[A-Z][A-Z0-9_]*", source.owner),
        "owner",
        "it is no unit code",
        "write a code such as COURT",
    )
    about = source.about
    yield from _unless(
        not (about.valid_from and about.valid_until) or about.valid_from <= about.valid_until,
        "about.valid_until",
        "it is before valid_from",
        "correct the days",
    )
    yield from _of_addresses(source)
    yield from _of_limits(source)
    yield from _of_secrets(source)
    yield from _of_envelope(source)
    if source.token is not None:
        yield from _of_token(source.token)
    if source.sealing is not None:
        yield from _of_sealing(source, source.sealing)
    serves = source.lookup or source.search or source.register
    yield from _unless(serves, "lookup", "the source serves nothing", "add a [[lookup]] or [[register]]")
    served: set[tuple[str, SubjectKind, str]] = set()
    for place, lookup in enumerate(source.lookup):
        yield from _of_lookup(lookup, f"lookup[{place}]", served)
        yield from _of_asking(source, lookup, f"lookup[{place}]")
    if source.search is not None:
        yield from _unless(
            source.envelope.total,
            "envelope.total",
            "it is missing",
            "a search needs to know how many hits there are",
        )
        size = source.search.page_size
        yield from _unless(size > 0, "search.page_size", "it is not positive", "write hits per page")
        for name in ("name", "credit_code"):
            yield from _unless(
                name in source.search.fields, f"search.fields.{name}", "it is missing", "map it"
            )
    counted: set[tuple[str, SubjectKind]] = set()
    for place, statistics in enumerate(source.statistics):
        yield from _of_statistics(statistics, f"statistics[{place}]", counted)


def _of_limits(source: SourceFile) -> Mistakes:
    yield from _unless(
        source.timeout_seconds > 0, "timeout_seconds", "it is not positive", "write seconds, such as 2.0"
    )
    yield from _unless(
        source.concurrency > 0, "concurrency", "it is not positive", "write how many calls may run at once"
    )
    yield from _unless(
        source.max_body_bytes > 0, "max_body_bytes", "it is not positive", "write a number of bytes"
    )
    yield from _unless(
        source.precedence >= 0, "precedence", "it is negative", "write 0 for what wins over all others"
    )
    for place, division in enumerate(source.divisions):
        yield from _unless(
            re.fullmatch(r"[1-9][0-9]([0-9]{2}){0,2}", division),
            f"divisions[{place}]",
            "it is no prefix of a division code",
            "write two, four or six digits (GB/T 2260)",
        )
    yield from _unless(
        source.fallback != source.id, "fallback", "it is the source itself", "name another source"
    )
    yield from _unless(
        0 <= source.retries <= 5, "retries", "it is not between 0 and 5", "write how often to try again"
    )
    for name in ("per_second", "per_day"):
        allowed = getattr(source.rate, name)
        yield from _unless(
            allowed is None or allowed > 0, f"rate.{name}", "it is not positive", "write a number of calls"
        )
    yield from _of_charge(source.rate)
    yield from _unless(
        source.breaker.failures > 0, "breaker.failures", "it is not positive", "write how many failures"
    )
    yield from _unless(
        source.breaker.seconds > 0, "breaker.seconds", "it is not positive", "write seconds, such as 10.0"
    )


def _of_charge(rate: Rate) -> Mistakes:
    for name in ("charge", *_BUDGETS):
        amount = getattr(rate, name)
        yield from _unless(
            amount is None or 0 < amount < math.inf,
            f"rate.{name}",
            "it is no positive amount",
            "write one such as 0.5",
        )
    for name in ("currency", *_BUDGETS):
        yield from _unless(
            getattr(rate, name) is None or rate.charge is not None,
            f"rate.{name}",
            "there is no charge",
            "write what a call costs: charge = 0.5",
        )
    yield from _unless(
        rate.currency is None or re.fullmatch(r"[A-Z]{3}", rate.currency),
        "rate.currency",
        "it is no currency",
        "write three letters, such as CNY (ISO 4217)",
    )
    for name, spent in _BUDGETS.items():
        budget = getattr(rate, name)
        yield from _unless(
            rate.charge is None or budget is None or budget >= rate.charge,
            f"rate.{name}",
            "it is below the charge of one call",
            f"write what {spent} may cost",
        )


_BUDGETS = {
    "budget_per_day": "the calls of a day",
    "budget_per_unit_per_day": "the calls of one unit in a day",
}


def mistakes_of_division(source: SourceFile, workers: int) -> Mistakes:
    """Which limits are too small for each of several processes to have a part of them."""
    if workers == 1:
        return
    rate = source.rate
    remedy = f"serve with fewer processes than {workers}, or write more"
    for name in ("per_second", "per_day"):
        allowed = getattr(rate, name)
        yield from _unless(
            allowed is None or allowed >= workers,
            f"rate.{name}",
            f"it leaves less than a call for each of {workers} processes",
            remedy,
        )
    for name in _BUDGETS:
        budget = getattr(rate, name)
        # As the file writes them: three times 0.1 is no 0.3 in binary.
        yield from _unless(
            rate.charge is None
            or budget is None
            or Fraction(str(budget)) >= Fraction(str(rate.charge)) * workers,
            f"rate.{name}",
            f"it leaves less than the charge of a call for each of {workers} processes",
            remedy,
        )


def _of_secrets(source: SourceFile) -> Mistakes:
    for name, reference in source.secrets.items():
        yield from _of_place(reference, f"secrets.{name}")
        if reference.next is not None:
            yield from _of_place(reference.next, f"secrets.{name}.next")
    for part in ("ca", "certificate", "key"):
        secret = getattr(source.tls, part)
        yield from _unless(
            secret is None or secret in source.secrets,
            f"tls.{part}",
            "there is no such secret",
            "add it under [secrets]",
        )
    yield from _unless(
        (source.tls.certificate is None) == (source.tls.key is None),
        "tls.certificate",
        "certificate and key go together",
        "name both, or neither",
    )


def _of_place(place: SecretPlace, key: str) -> Mistakes:
    yield from _unless(place.env or place.file, f"{key}.env", "it is missing", "write env or file")
    yield from _unless(
        place.env is None or place.file is None, f"{key}.file", "there is env, too", "keep one"
    )
    yield from _unless(
        place.file is None or place.file.startswith("/"),
        f"{key}.file",
        "it is no whole path",
        "begin it with /",
    )


def _of_envelope(source: SourceFile) -> Mistakes:
    envelope = source.envelope
    yield from _unless(
        envelope.records or source.database is not None,
        "envelope.records",
        "it is missing",
        'say where the records stand; "." if the answer is the list itself',
    )
    for status in envelope.http:
        yield from _unless(
            re.fullmatch(r"[1-5][0-9]{2}", status),
            f"envelope.http.{status}",
            "it is no HTTP status",
            "write 404",
        )
    if (updated := envelope.updated) is not None:
        one = (updated.at is None) != (updated.header is None)
        yield from _unless(
            one, "envelope.updated", "it needs one of at and header", "say where the time stands"
        )
    if envelope.format != "json":
        for place, level in enumerate(envelope.codes):
            for name in get_args(Meaning):
                yield from _unless(
                    all(isinstance(code, str) for code in getattr(level, name)),
                    f"envelope.codes[{place}].{name}",
                    "XML knows texts alone",
                    'write "0" for 0',
                )
    yield from _unless(
        envelope.format == "soap" or not envelope.faults,
        "envelope.faults",
        "only SOAP has faults",
        'write format = "soap"',
    )


def _of_token(token: TokenFile) -> Mistakes:
    yield from _unless(token.seconds > 0, "token.seconds", "it is not positive", "write seconds")
    yield from _unless(token.early_seconds >= 0, "token.early_seconds", "it is negative", "write seconds")
    if token.ends is not None:
        yield from _unless(
            token.ends.at and not token.ends.header,
            "token.ends",
            "it needs at",
            "say where the end stands in the answer",
        )


def _of_sealing(source: SourceFile, sealing: Sealing) -> Mistakes:
    for name, text in (("key", sealing.key), ("iv", sealing.iv)):
        yield from _unless(
            text is None or text in {f"{{secrets.{secret}}}" for secret in source.secrets},
            f"sealing.{name}",
            "it is no secret",
            f'write {name} = "{{secrets.NAME}}", and add that under [secrets]',
        )
    yield from _unless(
        sealing.iv is None or sealing.cipher.endswith("-cbc"),
        "sealing.iv",
        f"{sealing.cipher} takes none that is fixed",
        "remove it",
    )
    yield from _unless(
        source.database is None, "sealing", "a database answers without a body", "remove [sealing]"
    )
    yield from _unless(
        sealing.request or sealing.answer, "sealing", "it seals nothing", "add request or answer"
    )
    for name, part in (("request", sealing.request), ("answer", sealing.answer)):
        yield from _unless(
            part is None or part.at == "." or all(part.at.split(".")),
            f"sealing.{name}.at",
            "it is no path",
            'write a path such as "data", or "." for the whole body',
        )
    yield from _unless(
        sealing.request is None or sealing.request.at.split(".")[0] not in source.auth.json,
        "sealing.request.at",
        "auth.json places something there, too",
        "write another path",
    )


def _of_asking(source: SourceFile, lookup: LookupFile, key: str) -> Mistakes:
    """A database is asked by SQL, everything else by a request."""
    if source.database is None:
        yield from _unless(
            lookup.sql is None, f"{key}.sql", "there is no [database]", "add it, or ask by path"
        )
        yield from _unless(lookup.method, f"{key}.method", "it is missing", 'write "GET" or "POST"')
        return
    yield from _unless(lookup.sql, f"{key}.sql", "it is missing", "write one SELECT")
    for name in ("method", "path", "headers", "query", "form", "json", "xml", "soap", "parts", "paging"):
        yield from _unless(
            not getattr(lookup, name), f"{key}.{name}", "a database is asked by sql", "remove it"
        )


def _of_statistics(statistics: StatisticsFile, key: str, counted: set[tuple[str, SubjectKind]]) -> Mistakes:
    yield from _unless(
        statistics.kinds, f"{key}.kinds", "it is empty", "give the source's word for each subject kind"
    )
    known = ", ".join(sorted({category for category, _ in SECTION_OF}))
    for kind in statistics.kinds:
        yield from _unless(
            (statistics.category, kind) in SECTION_OF,
            f"{key}.kinds",
            f"{statistics.category} is not kept of {kind.value}",
            f"remove that kind, or correct the category; known: {known}",
        )
        yield from _unless(
            (statistics.category, kind) not in counted,
            key,
            f"{statistics.category} of {kind.value} is counted twice",
            "keep one table",
        )
        counted.add((statistics.category, kind))
    for dimension in statistics.tables:
        yield from _unless(
            dimension in statistics.dimensions,
            f"{key}.tables.{dimension}",
            "there is no such dimension here",
            "map it, or remove it",
        )


def _of_lookup(lookup: LookupFile, key: str, served: set[tuple[str, SubjectKind, str]]) -> Mistakes:
    yield from _unless(lookup.kinds, f"{key}.kinds", "it is empty", "name the subject kinds")
    yield from _unless(
        lookup.keys, f"{key}.keys", "it is empty", "name the identifiers that the source takes"
    )
    yield from _of_category(lookup, key, served)
    persons = {kind is SubjectKind.NP for kind in lookup.kinds}
    residents = {scheme == "resident" for scheme in lookup.keys}
    yield from _unless(
        persons == residents or persons == {True, False},
        f"{key}.keys",
        "they do not fit the kinds",
        "resident goes with NP, the others with organisations",
    )
    yield from _unless(
        lookup.batch is None or lookup.batch > 1, f"{key}.batch", "it is below 2", "remove it or write a size"
    )
    yield from _unless(
        lookup.batch is None or lookup.subject,
        f"{key}.subject",
        "it is missing",
        "a batch needs the key that says whose a record is",
    )
    for place, registrar in enumerate(lookup.registrars):
        yield from _unless(
            re.fullmatch(r"[0-9A-HJ-NPQRTUWXY]{1,2}", registrar) and lookup.keys == ("credit_code",),
            f"{key}.registrars[{place}]",
            "it is no beginning of a credit code, or the source takes other identifiers",
            'write one or two characters, and keys = ["credit_code"]',
        )
    for name in ("cache_seconds", "negative_cache_seconds", "stale_if_error_seconds"):
        yield from _unless(
            (getattr(lookup, name) or 0) >= 0, f"{key}.{name}", "it is negative", "write 0 to keep nothing"
        )
    yield from _of_several(lookup, key)
    if isinstance(lookup.subject, dict):
        for scheme in lookup.keys:
            yield from _unless(scheme in lookup.subject, f"{key}.subject.{scheme}", "it is missing", "add it")


def _of_several(lookup: LookupFile, key: str) -> Mistakes:
    sections = [
        SECTION_OF[lookup.category, kind] for kind in lookup.kinds if (lookup.category, kind) in SECTION_OF
    ]
    yield from _unless(
        lookup.several is None or all(section.single for section in sections),
        f"{key}.several",
        f"{lookup.category} may have several records",
        "remove it: all of them are shown",
    )
    yield from _unless(
        lookup.several != "newest" or lookup.newest_by,
        f"{key}.newest_by",
        "it is missing",
        "name the mapped field with the date",
    )
    yield from _unless(
        lookup.several == "newest" or lookup.newest_by is None,
        f"{key}.newest_by",
        'it goes with several = "newest"',
        "write that, or remove it",
    )


def _of_category(lookup: LookupFile, key: str, served: set[tuple[str, SubjectKind, str]]) -> Mistakes:
    categories = {category for category, _ in SECTION_OF}
    if lookup.category not in categories:
        known = ", ".join(sorted(categories))
        yield SourceKeyError(f"{key}.category", "there is no such category", f"write one of {known}")
        return
    fitting = [kind for kind in lookup.kinds if (lookup.category, kind) in SECTION_OF]
    for kind in lookup.kinds:
        yield from _unless(
            kind in fitting,
            f"{key}.kinds",
            f"{lookup.category} is not kept of {kind.value}",
            "remove that kind",
        )
    for kind in fitting:
        for scheme in lookup.keys:
            yield from _unless(
                (lookup.category, kind, scheme) not in served,
                key,
                f"{lookup.category} of {kind.value} by {scheme} is served twice",
                "keep one lookup",
            )
            served.add((lookup.category, kind, scheme))
    records = {SECTION_OF[lookup.category, kind].record for kind in fitting}
    yield from _unless(
        len(records) < 2, f"{key}.kinds", "these kinds have different records", "write a lookup for each"
    )


# --- what can be loaded, and is hardly meant


def warnings_of_source(source: SourceFile) -> Mistakes:
    """What is doubtful about a file without a mistake."""
    for place, lookup in enumerate(source.lookup):
        counted_from = SECTION_OF[lookup.category, lookup.kinds[0]].record.COUNTED_FROM
        yield from _unless(
            not counted_from or lookup.fields.keys() & {*counted_from},
            f"lookup[{place}].fields",
            "no date is mapped from which the inquiry limit counts: "
            "its records are hidden from all whom that limit binds",
            f"map {' or '.join(counted_from)}",
        )


# --- files that are right each on its own


MistakesOfFiles = Iterator[tuple[str, SourceKeyError]]


def mistakes_between(files: Mapping[str, SourceFile]) -> MistakesOfFiles:
    """How the files of a directory, by id, do not go together: each mistake with the id of the file that has it."""
    yield from _of_fallbacks(files)
    searching = [name for name, source in files.items() if source.search is not None]
    for name in searching[1:]:
        yield name, SourceKeyError("search", f"{searching[0]} offers it, too", "keep one [search]")
    yield from _of_registers(files)


def _of_fallbacks(files: Mapping[str, SourceFile]) -> MistakesOfFiles:
    for name, source in files.items():
        if source.fallback is None:
            continue
        if source.fallback not in files:
            yield name, SourceKeyError("fallback", "there is no such source", "write the id of another file")
        elif files[source.fallback].fallback is not None:
            yield name, SourceKeyError("fallback", "that source has a fallback itself", "name one without")
        elif not any(
            other.can_replace(lookup) for lookup in source.lookup for other in files[source.fallback].lookup
        ):
            reason = "that source can stand in for none of the lookups"
            remedy = "name one that serves such a category, for the same kinds and keys"
            yield name, SourceKeyError("fallback", reason, remedy)


def _of_registers(files: Mapping[str, SourceFile]) -> MistakesOfFiles:
    served: set[Register] = set()
    for name, source in files.items():
        for place, part in enumerate(source.register):
            for register in part.names:
                if register in served:
                    key = f"register[{place}].names"
                    yield name, SourceKeyError(key, f"{register} is served twice", "keep one of them")
                served.add(register)


# --- addresses: a file that travels names no machine of somebody's own network


def _of_addresses(source: SourceFile) -> Mistakes:
    if source.database is not None:
        yield from _unless(not source.url, "url", "there is a [database], too", "keep one")
        yield from _unless(
            source.database.url in source.secrets,
            "database.url",
            "there is no such secret",
            "add it under [secrets]",
        )
        yield from _unless(
            source.database.most_rows > 0, "database.most_rows", "it is not positive", "write how many"
        )
        return
    if not source.url:
        yield SourceKeyError("url", "it is missing", "write the base address, or a [database]")
    addresses = {"url": source.url, "token.url": source.token.url if source.token else None}
    for key, url in addresses.items():
        if not url:
            continue
        try:
            check_url(url, key)
        except SourceKeyError as mistake:
            yield mistake
            continue
        yield from _of_host(urlsplit(url).hostname or "", key, sandbox=source.sandbox)


def _of_host(host: str, key: str, *, sandbox: bool) -> Mistakes:
    if sandbox:
        yield from _unless(
            is_loopback(host),
            key,
            "a sandbox file speaks to this machine alone",
            "remove sandbox, or write 127.0.0.1",
        )
        return
    yield from _unless(
        not is_private(host),
        key,
        "it is a private address",
        "name the host, and put the address into the settings (sources.urls)",
    )
