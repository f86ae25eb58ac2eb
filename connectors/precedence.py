"""What is believed of several sources' answers about one section.

An adverse record that names none of the three bases is left out. A record that more than one source has is shown
once, from the source of the highest precedence (the lowest number in its file): platforms of three levels are
ordered like this too, the nearest first. Both are counted in the answers.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import msgspec

from connectors.answers import SourceAnswer
from policies.catalogue import AdverseListing, AdverseRecord, Record, fields_of

NATURAL_KEYS = ("document_number", "licence_number", "case_number", "commitment_number", "credit_code")
"""Fields whose number an authority has given, so that it means the same record at every source."""

_BRACKETS = str.maketrans("〔【［[〕】］]", "((((" + "))))")

Key = tuple[str, str, str]


@cache
def telling_mask(record: type[Record]) -> int:
    """The mask of the fields by which `believed` tells records apart and their basis: asked for, whatever else is.

    What is shown must not depend on what was asked.
    """
    names = {*NATURAL_KEYS, "basis_kind"}
    return sum(1 << place for place, field in enumerate(fields_of(record)) if field.name in names)


def believed(answers: Sequence[SourceAnswer], precedence: Mapping[str, int]) -> tuple[SourceAnswer, ...]:
    """The answers of all sources of one section, in their order, with the records that are shown of each.

    `precedence` is by source id. The records must have been asked for with `telling_mask`.
    """
    if len(answers) == 1:
        return (_with_basis(answers[0]),)
    return _told_once([_with_basis(answer) for answer in answers], precedence)


ADVERSE = (AdverseRecord, AdverseListing)
"""Records that have to rest on one of the three documents."""


def _with_basis(answer: SourceAnswer) -> SourceAnswer:
    """The answer, whose records are of one class, without the adverse ones that rest on none of the three documents."""
    records = answer.records
    if not records or not isinstance(records[0], ADVERSE):
        return answer
    resting = tuple([record for record in records if _has_basis(record)])
    if len(resting) == len(records):
        return answer
    return msgspec.structs.replace(answer, records=resting, baseless=len(records) - len(resting))


def _has_basis(record: Record) -> bool:
    return isinstance(record, ADVERSE) and record.basis_kind is not None


def _told_once(answers: Sequence[SourceAnswer], precedence: Mapping[str, int]) -> tuple[SourceAnswer, ...]:
    if sum(1 for answer in answers if answer.records) < 2:
        return tuple(answers)
    order = sorted(range(len(answers)), key=lambda place: (precedence[answers[place].source], place))
    told: dict[Key, list[tuple[int, int]]] = {}
    shown: list[list[Record | None]] = [list(answer.records) for answer in answers]
    for place in order:
        matched: set[tuple[int, int]] = set()
        own = []
        for index, record in enumerate(answers[place].records):
            keys = list(_keys(record))
            other = _match(record, keys, told, shown, matched)
            if other is None:
                own.append(((place, index), keys))
            else:
                matched.add(other)
                shown[place][index] = None
                first = shown[other[0]][other[1]]
                shown[other[0]][other[1]] = first and _protected(first, record)
        for position, keys in own:
            for key in keys:
                told.setdefault(key, []).append(position)
    return tuple(
        answer if list(answer.records) == records else _with(answer, records)
        for answer, records in zip(answers, shown, strict=True)
    )


def _with(answer: SourceAnswer, shown: Sequence[Record | None]) -> SourceAnswer:
    records = tuple(record for record in shown if record is not None)
    return msgspec.structs.replace(answer, records=records, elsewhere=len(shown) - len(records))


def _match(
    record: Record,
    keys: Sequence[Key],
    told: Mapping[Key, Sequence[tuple[int, int]]],
    shown: Sequence[Sequence[Record | None]],
    matched: set[tuple[int, int]],
) -> tuple[int, int] | None:
    """Where the same record is told already; each stands for one record of a source at most.

    Records are the same when they share a number of an authority's, or identifier and providing unit, and no
    such number that both give differs: a record too many is a lesser evil than one that is hidden.
    """
    for key in keys:
        for place, index in told.get(key, ()):
            other = shown[place][index]
            if (place, index) not in matched and other is not None and not _differ(record, other):
                return place, index
    return None


def _keys(record: Record) -> Iterator[Key]:
    kind = type(record).__name__
    for name in NATURAL_KEYS:
        number = getattr(record, name, None)
        if number is not None:
            yield kind, name, _plain(number)
    if record.provider is not None:
        yield kind, record.record_id, record.provider


def _differ(one: Record, other: Record) -> bool:
    return any(
        (mine := getattr(one, name, None)) is not None
        and (yours := getattr(other, name, None)) is not None
        and _plain(mine) != _plain(yours)
        for name in NATURAL_KEYS
    )


def _plain(number: str) -> str:
    """A number as all sources would write it: widths, brackets and spaces differ from one to the next."""
    return "".join(unicodedata.normalize("NFKC", number).translate(_BRACKETS).split()).upper()


def _protected(record: Record, other: Record) -> Record:
    """The record with what protects the subject in another source's copy: its marks, its repair or withdrawal."""
    marks = record.marks + tuple(mark for mark in other.marks if mark not in record.marks)
    repaired, withdrawn = record.repaired_on or other.repaired_on, record.withdrawn_on or other.withdrawn_on
    if (marks, repaired, withdrawn) == (record.marks, record.repaired_on, record.withdrawn_on):
        return record
    return msgspec.structs.replace(record, marks=marks, repaired_on=repaired, withdrawn_on=withdrawn)
