"""Registers of evidence: the numbers that a caller may bring, and what a register says of one.

A register answers for a number, never for a subject. Sources serve registers as they serve records
(`connectors`); what an entry proves is decided in `policies.proofs`.
"""

from datetime import date
from enum import StrEnum

import msgspec


class Register(StrEnum):
    """The registers that evidence can be looked up in, by the name under which a source serves one."""

    MATTERS = "matters"
    """Power-matter lists of the units 权责清单."""
    CASES = "cases"
    PLANS = "plans"
    """Inspection plans with the subjects supervised or drawn."""
    PROJECTS = "projects"
    """Projects of public resource trading with their bidders."""
    PROGRAMMES = "programmes"
    AWARDS = "awards"
    RECRUITMENTS = "recruitments"
    PRACTITIONERS = "practitioners"
    DOCUMENTS = "documents"
    METHODS = "methods"
    OBJECTIONS = "objections"
    REPAIRS = "repairs"
    ORGANISATIONS = "organisations"
    """Persons' roles in organisations; the number is the organisation's credit code."""
    PBOC_CONSENTS = "pboc-consents"
    APPLICATIONS = "applications"
    CONTRACTS = "contracts"
    AUDIT_ORDERS = "audit-orders"
    STUDIES = "studies"
    BATCHES = "batches"
    APPROVALS = "approvals"
    """Approvals of second officers."""
    AUTHORIZATIONS = "authorizations"
    """Authorizations of subjects by their id; one that is no longer open was withdrawn."""


class Reference(msgspec.Struct, frozen=True):
    """A number in a register."""

    register: Register
    number: str

    def __repr__(self) -> str:
        # The number may be an organisation's code: it stays out of logs and tracebacks.
        return f"Reference({self.register})"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a register says of one number.

    `units` are the units whose entry it is: that run the case, buy, lend, hold the matter; `supervisors`
    those that supervise it; both by credit code. `open` is false once it is closed, refused or withdrawn.
    Between `valid_from` and `valid_until`, both days included, it is in force; None: without bound. `stage`
    is a `policies.evidence.Stage`. `kind` is the type of a document, or COMPREHENSIVE or INDUSTRY of a method.

    `subjects` are those that it names, as `SubjectKey.hash_input` writes them. `roles` pairs a subject with
    what it is there: its role; in a recruitment or award, the day (YYYY-MM-DD) on which it was told.
    `covers` are the codes that the entry extends to: matters of a case, records of an objection or repair,
    cycles of a method, numbers of what an approval approves. `approver` is the officer who approved.
    """

    reference: Reference
    open: bool
    units: frozenset[str] = frozenset()
    supervisors: frozenset[str] = frozenset()
    valid_from: date | None = None
    valid_until: date | None = None
    stage: str | None = None
    kind: str | None = None
    approver: str | None = None
    subjects: frozenset[str] = frozenset()
    roles: frozenset[tuple[str, str]] = frozenset()
    covers: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        # The default text would carry subjects into logs and tracebacks.
        return f"Entry({self.reference.register})"
