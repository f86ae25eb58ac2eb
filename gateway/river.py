"""The river: the whole path of an inquiry, in one method, top to bottom.

Each step takes what an earlier one gave and hands its own value on; there is no other way through. Failures
leave as `GatewayError` by the one door in `gateway.app`.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import graphql
import msgspec
import orjson
from graphql.execution.values import VariableValues

from gateway.access import AccessLog
from gateway.apply import Applications
from gateway.artefacts import Artefacts
from gateway.bind import Call, bind, bind_application
from gateway.compiler import Compiled, failure_of
from gateway.decisions import Decisions
from gateway.errors import Code, GatewayError, formatted
from gateway.gather import Subjects, fetch_subjects, search_names
from gateway.history import History
from gateway.judge import Judgement, judge
from gateway.ledger import Ledger, LedgerFailure, Position, keyed_hash
from gateway.live_sources import LiveSources
from gateway.metrics import RequestCounts
from gateway.operation import Operation, check_method, coerce_variables
from gateway.overview import Overviews, fetch_overviews
from gateway.plan import Prepared
from gateway.policy import Policy, permissions
from gateway.quota import Quotas
from gateway.random_id import random_id
from gateway.record import Rows, again, lasting
from gateway.shape import Shaper, after_shaping, denials
from gateway.standing import Standing, Standings, Stencil, held_for, unheard_of
from gateway.visibility import showing
from policies.caller import Caller
from resolvers.answers import (
    InquiryAnswer,
    LogResult,
    Lookup,
    Receipt,
    SearchResult,
    StatisticsResult,
)
from resolvers.schema import Context

PROVINCE_TIME = timezone(timedelta(hours=8))
"""China's one time zone: its midnight ends the days that periods count."""


class Answered(msgspec.Struct, frozen=True):
    """A finished response: the body, and the failures in it for the log."""

    body: bytes
    failures: tuple[GatewayError, ...] = ()


Tell = Callable[[Answered | Exception], None]
"""Hears the answer of an inquiry, or why there is none."""


class River:
    """What a request flows through; one for the life of the service. `policy` may be swapped whole, and so may what
    `sources` holds.

    `deadline` is the budget of all sources together, in seconds; `clock` gives the time of an inquiry in UTC.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        sources: LiveSources,
        artefacts: Artefacts,
        ledger: Ledger,
        history: History,
        quotas: Quotas,
        shaper: Shaper,
        ledger_key: bytes,
        deadline: float,
        max_subjects: int,
        counts: RequestCounts,
        clock: Callable[[], datetime],
    ) -> None:
        self.policy = policy
        self._sources = sources
        self._artefacts = artefacts
        self._quotas = quotas
        self._shaper = shaper
        self._decisions = Decisions()
        self._standings = Standings()
        self._ledger = ledger
        self._log = AccessLog(history, ledger_key)
        self._applications = Applications(ledger, history, ledger_key)
        self._ledger_key = ledger_key
        self._rows = Rows(ledger_key)
        self._deadline = deadline
        self._max_subjects = max_subjects
        self._counts = counts
        self._clock = clock

    async def answer(self, caller: Caller, operation: Operation) -> Answered:
        """From a verified caller and an operation as read, to the bytes that may leave."""
        policy, sources, now = self.policy, self._sources.now, self._clock()
        today = now.astimezone(PROVINCE_TIME).date()
        table = policy.tables.on(today)
        # plan: what the operation requires, of nobody in particular
        documents, named = policy.documents, (operation.document, operation.operation_name)
        prepared = documents.known(*named) or await documents.prepare(*named)
        check_method(operation, prepared.operation)
        variables = prepared.coerce(operation.variables) or coerce_variables(
            prepared.schema, prepared.operation, operation.variables, suggest=policy.views is None
        )
        plan = prepared.plan(variables.coerced)
        # bind: the subjects, the purpose and the evidence that these variables name
        call = bind(prepared, plan, variables, max_subjects=self._max_subjects, now=now, today=today)
        context = Context(caller=caller, inquiry=None, permissions=partial(permissions, table, caller))
        seen = policy.seen(table, caller, operation.document)
        if plan.application is not None:
            applying = bind_application(prepared, plan.application, variables, today=today)
            applied, extensions = await self._applications.record(policy.bundle, caller, applying, now, today)
            recorded = msgspec.structs.replace(context, application=applied)
            return self._respond(prepared, operation, variables, recorded, extensions, seen)
        if call is None:
            return self._respond(prepared, operation, variables, context, {}, seen)
        if operation.by_get:
            raise GatewayError(Code.INQUIRY_NEEDS_POST)
        # decide and verify: what may be answered, before anything is fetched
        judgement = await judge(
            table, caller, call, self._decisions, self._artefacts, sources, self._quotas, self._deadline
        )
        receipt = Receipt(random_id(), now, policy.bundle.hash, call.purpose)
        if judgement.refuses(call):
            raise await self._refused(policy, prepared, receipt, call, caller, operation, judgement)
        # fetch and shape: granted sections and fields alone; obligations after every cache
        left = self._deadline - judgement.seconds
        fetching = fetch_subjects(
            call, judgement, caller, policy.bundle, sources, self._log, self._shaper, left
        )
        searches: Mapping[str, SearchResult] = {}
        overviews: Overviews = {}
        if call.of_subjects_alone:
            subjects = await fetching
        else:
            subjects, searches, overviews = await asyncio.gather(
                fetching,
                search_names(call, judgement, caller, policy.bundle, sources, left),
                fetch_overviews(call, judgement, caller, policy.bundle, sources, self._log, left),
            )
        judgement = after_shaping(judgement, subjects)
        if judgement.refuses(call):
            raise await self._refused(policy, prepared, receipt, call, caller, operation, judgement)
        # record: durable before the first byte
        row = self._row(prepared, receipt, call, caller, operation, judgement, subjects, searches, overviews)
        position = await self._append(row)
        # respond
        inquiry = _answer(call, subjects, searches, overviews, receipt)
        extensions = _extensions(policy, call, judgement, receipt, position)
        found = msgspec.structs.replace(context, inquiry=inquiry)
        answered = self._respond(prepared, operation, variables, found, extensions, seen)
        if not self._standings.comes_again(operation.body, policy, sources, today):
            return answered
        held = held_for(call, judgement, subjects, sources)
        if held is not None and not answered.failures:
            stencil = _stencil(prepared, variables, found, answered, policy, call, judgement)
            if stencil is not None:
                standing = Standing(
                    caller=caller,
                    held=held,
                    purpose=call.purpose,
                    row=lasting(row, receipt),
                    answer=stencil,
                )
                self._standings.remember(operation.body, standing)
        return answered

    def knows(self, body: bytes) -> bool:
        """Whether the answer to this request may stand, for the caller that sent it before."""
        return body in self._standings

    def again(self, caller: Caller, body: bytes, tell: Tell) -> bool:
        """Answer a request whose answer stands, at once; False: it has to go the whole way, by `answer`.

        `tell` is called when it is recorded, with the answer or with why there is none.
        """
        policy, now = self.policy, self._clock()
        today = now.astimezone(PROVINCE_TIME).date()
        standing = self._standings.find(caller, body, policy, self._sources.now, today)
        if standing is None:
            return False
        receipt = Receipt(random_id(), now, policy.bundle.hash, standing.purpose)

        def recorded(place: Position | LedgerFailure) -> None:
            if isinstance(place, LedgerFailure):
                tell(GatewayError(Code.LEDGER_UNAVAILABLE))
            else:
                self._counts.executed("standing")
                tell(Answered(standing.answer.filled(receipt, place)))

        try:
            self._ledger.append_then(again(standing.row, receipt), recorded)
        except LedgerFailure:
            tell(GatewayError(Code.LEDGER_UNAVAILABLE))
        return True

    async def _refused(
        self,
        policy: Policy,
        prepared: Prepared,
        receipt: Receipt,
        call: Call,
        caller: Caller,
        operation: Operation,
        judgement: Judgement,
    ) -> GatewayError:
        """The refusal of the whole inquiry, recorded: what was fetched for it, if anything, goes nowhere."""
        row = self._row(prepared, receipt, call, caller, operation, judgement, (), {}, {})
        position = await self._append(row)
        return _refusal(judgement, _extensions(policy, call, judgement, receipt, position))

    def _row(
        self,
        prepared: Prepared,
        receipt: Receipt,
        call: Call,
        caller: Caller,
        operation: Operation,
        judgement: Judgement,
        subjects: Subjects,
        searches: Mapping[str, SearchResult],
        overviews: Overviews,
    ) -> bytes:
        return self._rows.row(
            receipt=receipt,
            call=call,
            caller=caller,
            document=self._document(prepared, operation),
            judgement=judgement,
            subjects=subjects,
            searches=searches,
            overviews=overviews,
            outcome=_refused_as(judgement).value if judgement.refuses(call) else "ANSWERED",
        )

    async def _append(self, row: bytes) -> Position:
        try:
            return await self._ledger.append(row)
        except LedgerFailure as error:
            raise GatewayError(Code.LEDGER_UNAVAILABLE) from error

    def _document(self, prepared: Prepared, operation: Operation) -> str:
        """The keyed hash of the query: it may hold an identifier, and of a known query a bare digest would give it away."""
        hashed: str | None = prepared.kept.get("hash")
        if hashed is None:
            hashed = prepared.kept["hash"] = keyed_hash(self._ledger_key, f"document:{operation.document}")
        return hashed

    def _respond(
        self,
        prepared: Prepared,
        operation: Operation,
        variables: VariableValues,
        context: Context,
        extensions: dict[str, Any],
        seen: graphql.GraphQLSchema | None,
    ) -> Answered:
        """The answer's bytes from values that are all there already.

        What is not compiled is executed by graphql-core; `seen` is the schema that introspection then shows, None: the
        one that is executed.
        """
        compiled = prepared.compiled(variables.coerced)
        if isinstance(compiled, Compiled):
            self._counts.executed("compiled")
            data, failures = compiled.execute(context, variables)
        else:
            self._counts.executed("reference")
            data, failures = _execute(prepared, operation, context, seen)
        return _written(data, failures, extensions)


def _written(data: bytes, failures: tuple[GatewayError, ...], extensions: Mapping[str, Any]) -> Answered:
    """The response of these parts."""
    body = [b'{"data":', data]
    if failures:
        body += [b',"errors":', orjson.dumps([formatted(failure) for failure in failures])]
    if extensions:
        body += [b',"extensions":', orjson.dumps(extensions)]
    body.append(b"}")
    return Answered(b"".join(body), failures)


def _stencil(
    prepared: Prepared,
    variables: VariableValues,
    context: Context,
    answered: Answered,
    policy: Policy,
    call: Call,
    judgement: Judgement,
) -> Stencil | None:
    """What lasts of an answer; None for one that is not compiled."""
    compiled, inquiry = prepared.compiled(variables.coerced), context.inquiry
    if inquiry is None or not isinstance(compiled, Compiled):
        return None

    def render(receipt: Receipt, position: Position) -> bytes:
        found = msgspec.structs.replace(context, inquiry=InquiryAnswer(receipt, inquiry.lookups))
        extensions = _extensions(policy, call, judgement, receipt, position)
        return _written(*compiled.execute(found, variables), extensions).body

    return Stencil.cut(answered.body, render, *unheard_of(inquiry.receipt))


def _answer(
    call: Call,
    subjects: Subjects,
    searches: Mapping[str, SearchResult],
    overviews: Overviews,
    receipt: Receipt,
) -> InquiryAnswer:
    answers = iter(subjects)
    lookups = {}
    for lookup in call.lookups:
        mine = tuple([next(answers).answer for _ in lookup.questions])
        match lookup.plan.field:
            case "subject":
                lookups[lookup.plan.key] = Lookup(subject=mine[0])
            case "subjects":
                lookups[lookup.plan.key] = Lookup(subjects=mine)
            case "search":
                lookups[lookup.plan.key] = Lookup(search=searches[lookup.plan.key])
            case _:
                lookups[lookup.plan.key] = _overview(overviews[lookup.plan.key])
    return InquiryAnswer(receipt, lookups)


def _overview(result: StatisticsResult | LogResult) -> Lookup:
    return Lookup(log=result) if isinstance(result, LogResult) else Lookup(statistics=result)


def _extensions(
    policy: Policy, call: Call, judgement: Judgement, receipt: Receipt, position: Position
) -> dict[str, Any]:
    extensions: dict[str, Any] = {
        "receipt": {"id": receipt.id, "position": position.position, "hash": position.hash}
    }
    denied = denials(call, judgement, policy.bundle)
    if denied:
        extensions["denials"] = denied
    return extensions


def _refused_as(judgement: Judgement) -> Code:
    return Code.SUBJECT_UNDER_AGE if judgement.minor else Code.REFUSED


def _refusal(judgement: Judgement, extensions: dict[str, Any]) -> GatewayError:
    reason = "part of it is denied, and onDenied is REJECT"
    return GatewayError(_refused_as(judgement), reason=reason, details=extensions)


def _execute(
    prepared: Prepared, operation: Operation, context: Context, seen: graphql.GraphQLSchema | None
) -> tuple[bytes, tuple[GatewayError, ...]]:
    """The reference; what a library says of an error stays inside."""
    result = graphql.execute_sync(
        prepared.schema,
        prepared.document,
        context_value=context,
        variable_values=operation.variables,
        operation_name=operation.operation_name,
        middleware=None if seen is None else [showing(seen)],
    )
    return orjson.dumps(result.data), tuple(failure_of(error) for error in result.errors or ())
