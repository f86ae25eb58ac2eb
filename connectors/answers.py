"""What is asked of the sources and what they answer: the values that cross the border of this package."""

from datetime import date, datetime
from enum import StrEnum

import msgspec

from policies.catalogue import Record
from policies.identifiers import SubjectKey
from policies.registers import Entry
from policies.vocabulary import Dimension, SubjectKind


class Ground(msgspec.Struct, frozen=True):
    """What a source may need to be told of the inquiry."""

    purpose: str
    matter: str | None = None
    authorization_id: str | None = None
    reason_code: str | None = None


class Ask(msgspec.Struct, frozen=True):
    """One subject, one category. `fields` is a bit mask over `fields_of` the category's record class."""

    subject: SubjectKey
    category: str
    fields: int
    ground: Ground
    may_cache: bool


class FaultCode(StrEnum):
    """Why a source gave no answer that can be used."""

    TIMEOUT = "TIMEOUT"
    """No answer within the source's time or the request's budget."""
    DOWN = "DOWN"
    """No connection, or lost before an answer began."""
    ERROR = "ERROR"
    """The source reports a failure."""
    GARBAGE = "GARBAGE"
    """The answer cannot be read, or not safely."""
    REFUSED = "REFUSED"
    """The source refuses the gateway or the ground of the inquiry."""
    WRONG_SUBJECT = "WRONG_SUBJECT"
    """The source answered for a subject that was not asked for."""
    IDENTIFIER_NOT_TAKEN = "IDENTIFIER_NOT_TAKEN"
    """The source knows no subject by this kind of identifier; it was not asked."""
    DIMENSION_NOT_TAKEN = "DIMENSION_NOT_TAKEN"
    """The source does not count by one of the dimensions; it was not asked."""
    QUOTA = "QUOTA"
    """The calls of a day, or the money for them, are used up: by its file, or as the source itself says."""
    BUDGET = "BUDGET"
    """The money that the caller's unit may spend at the source in a day is used up; it was not asked."""


class Fault(msgspec.Struct, frozen=True):
    """A source's fault. `detail` never holds an identifier, a body, a value or a host."""

    code: FaultCode
    detail: str


class SourceFaultError(Exception):
    """Carries a fault from where it is found to the answer of the lookup.

    `busy`: the source says that it cannot answer now, whoever asks for whatever; `pause` is how many seconds
    it wants to be left alone, where it says so. `asked` False: it was not asked, so this says nothing of it.
    """

    def __init__(
        self,
        code: FaultCode,
        detail: str,
        *,
        busy: bool = False,
        pause: float | None = None,
        asked: bool = True,
    ) -> None:
        self.fault = Fault(code, detail)
        self.busy = busy
        self.pause = pause
        self.asked = asked
        super().__init__(f"{code}: {detail}")


class SourceAnswer(msgspec.Struct, frozen=True):
    """What one source says of one subject in one category.

    No records and no fault: the source has none. `as_of` is when the source's data was current: as the
    source states it, else when it was asked; None where its statement is missing or cannot be read.
    `dropped` counts the values that the source sent and its file does not map. `stale`: the source failed, and
    this is its last answer, whose time was over. `instead_of` is the source that this one was asked in place
    of, because that one failed. `elsewhere` counts its records that another source of higher precedence shows,
    `baseless` the adverse ones that were left out because they name none of the three bases.
    """

    source: str
    records: tuple[Record, ...] = ()
    as_of: datetime | None = None
    fault: Fault | None = None
    cached: bool = False
    dropped: int = 0
    stale: bool = False
    instead_of: str | None = None
    elsewhere: int = 0
    baseless: int = 0


class Hit(msgspec.Struct, frozen=True):
    """An organisation found by name: its published part."""

    name: str
    credit_code: str
    status: str | None
    city: str | None


class SearchAnswer(msgspec.Struct, frozen=True):
    """A page of hits; `total` is how many there are in all, as the source counts."""

    hits: tuple[Hit, ...] = ()
    total: int = 0
    as_of: datetime | None = None
    fault: Fault | None = None
    source: str | None = None


class CountAsk(msgspec.Struct, frozen=True):
    """Which records are counted: a category of one kind of subject, by these dimensions, as visible on `day`."""

    category: str
    kind: SubjectKind
    by: tuple[Dimension, ...]
    day: date


class CountAnswer(msgspec.Struct, frozen=True):
    """What one source counts: the values of each group, in the order of the dimensions asked, and its number.

    A source that cannot break its counts down so is not asked; the fault says so.
    """

    source: str
    counts: tuple[tuple[tuple[str | None, ...], int], ...] = ()
    as_of: datetime | None = None
    fault: Fault | None = None


class RegisterAnswer(msgspec.Struct, frozen=True):
    """What a register says of a number: its entry, or none; `source` None: no source serves the register."""

    source: str | None
    entry: Entry | None = None
    fault: Fault | None = None


class SourceInfo(msgspec.Struct, frozen=True):
    """Who a source is, and the categories it serves; of a record that several have, the one of the lowest `precedence`
    is believed.
    """

    title: str
    chinese: str
    owner: str
    kind: str
    categories: tuple[str, ...]
    precedence: int = 100
