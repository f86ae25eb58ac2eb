"""A loaded policy: the bundle with everything that is made from it."""

import msgspec
import strawberry
from strawberry.utils.str_converters import to_camel_case

from gateway.limits import Limits
from gateway.plan import Documents
from gateway.shape import reason_of
from policies.bundle import Bundle
from policies.caller import Caller
from policies.catalogue import SECTION_OF, fields_of
from policies.decision import foresee
from policies.obligations import check_all_discharged
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


def make_policy(bundle: Bundle, limits: Limits) -> Policy:
    """Everything that follows from a bundle; `ValueError` when an obligation of it has no handler."""
    check_all_discharged(bundle)
    schema = build_schema(bundle)
    # graphql-core's view of the schema is what validates and executes.
    return Policy(bundle, Tables(bundle), schema, Documents(schema._schema, limits))


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
