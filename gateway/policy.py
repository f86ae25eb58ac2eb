"""A loaded policy: the bundle with everything that is made from it."""

from collections.abc import Sequence
from datetime import date

import msgspec
import strawberry
from graphql import GraphQLSchema
from strawberry.utils.str_converters import to_camel_case

from gateway.limits import Limits
from gateway.plan import Documents
from gateway.registered import NONE_REGISTERED, Registered
from gateway.settings import Visibility
from gateway.shape import reason_of
from gateway.visibility import Views, introspects
from policies.bundle import Bundle
from policies.caller import Caller
from policies.catalogue import SECTION_OF, fields_of
from policies.check import Finding, FindingSeverity, check
from policies.decision import check_all_proven, foresee
from policies.obligations import HANDLERS, Handlers, check_all_discharged
from policies.outcomes import Denied
from policies.table import Table, Tables
from policies.vocabulary import SubjectKind
from resolvers.answers import PermissionAnswer, cited
from resolvers.schema import build_schema


class Policy(msgspec.Struct, frozen=True):
    """One value, swapped as one, so that no request sees half a reload."""

    bundle: Bundle
    tables: Tables
    schema: strawberry.Schema
    documents: Documents
    views: Views | None
    """What each caller may see of the schema; None: all of it."""
    registered: Registered = NONE_REGISTERED

    def seen(self, table: Table, caller: Caller, document: str) -> GraphQLSchema | None:
        """The schema that introspection in this document shows; None: it has none, or shows the full one."""
        return self.views.of(table, caller) if self.views and introspects(document) else None


class FindingsError(ValueError):
    """A bundle in which the policy check finds errors: each with its counterexample."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(f"{finding.kind}: {finding.counterexample}" for finding in findings))


def require_no_errors(bundle: Bundle, day: date) -> None:
    """Raise `FindingsError` when the policy check finds an error in the bundle as it is in force on that day."""
    errors = [finding for finding in check(bundle, day) if finding.severity is FindingSeverity.ERROR]
    if errors:
        raise FindingsError(errors)


def make_policy(
    bundle: Bundle,
    limits: Limits,
    visibility: Visibility = Visibility.FULL,
    handlers: Handlers = HANDLERS,
) -> Policy:
    """Everything that follows from a bundle; `ValueError` when an obligation of it has no handler, or a condition
    that a register proves no check.
    """
    check_all_discharged(bundle, handlers)
    check_all_proven(bundle)
    schema = build_schema(bundle)
    # graphql-core's view of the schema is what validates and executes.
    full = schema._schema
    views = Views(full) if visibility is Visibility.CALLER else None
    return Policy(bundle, Tables(bundle), schema, Documents(full, limits, suggest=views is None), views)


def permissions(table: Table, caller: Caller, purpose: str, kind: SubjectKind) -> list[PermissionAnswer]:
    """The dry run: what each category of this kind of subject would give, by the function that decides."""
    return [
        _permission(table, caller, purpose, kind, category.code)
        for category in table.bundle.categories.values()
        if category.fits(kind)
    ]


def _permission(
    table: Table, caller: Caller, purpose: str, kind: SubjectKind, category: str
) -> PermissionAnswer:
    bundle = table.bundle
    cell = foresee(table, caller, purpose, kind, category)
    if isinstance(cell, Denied):
        return PermissionAnswer(
            category=category,
            possible=False,
            level=None,
            needs=(),
            reason=reason_of(cell, bundle),
            basis=cited(bundle, cell.basis),
            rule=cell.rule,
            fields=(),
        )
    section = SECTION_OF.get((category, kind))
    fields = fields_of(section.record) if section else ()
    return PermissionAnswer(
        category=category,
        possible=True,
        level=cell.level,
        needs=tuple(bundle.conditions[code] for code in cell.rule.conditions),
        reason=None,
        basis=cited(bundle, cell.rule.basis),
        rule=cell.rule.id,
        fields=tuple(to_camel_case(field.name) for bit, field in enumerate(fields) if cell.fields >> bit & 1),
    )
