"""Applying: a measure that a unit takes is checked against its own inquiry and recorded, refused ones too."""

import asyncio
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from gateway import record
from gateway.bind import Applying
from gateway.errors import Code, GatewayError
from gateway.history import RECORDED, History, HistoryFailure
from gateway.ledger import Ledger, LedgerFailure, keyed_hash
from gateway.random_id import random_id
from gateway.shape import reason_of
from policies.application import Application, past_inquiry, refuse_application
from policies.bundle import Bundle
from policies.caller import Caller
from policies.outcomes import Denied
from resolvers.answers import ApplicationReceipt


class Applications:
    """Records measures taken, one after another, so that of two equal ones the second finds the first."""

    def __init__(self, ledger: Ledger, history: History, key: bytes) -> None:
        self._ledger = ledger
        self._history = history
        self._key = key
        self._one_at_a_time = asyncio.Lock()

    async def record(
        self, bundle: Bundle, caller: Caller, applying: Applying, now: datetime, today: date
    ) -> tuple[ApplicationReceipt, dict[str, Any]]:
        """The receipt, and the response's extensions; APPLICATION_REFUSED carries the article and what would help.

        Raises LEDGER_UNAVAILABLE or HISTORY_UNAVAILABLE when it cannot be recorded or checked.
        """
        receipt = ApplicationReceipt(random_id(), now, applying.inquiry, applying.measure, bundle.hash)
        subject = keyed_hash(self._key, applying.subject.hash_input)
        try:
            async with self._one_at_a_time:
                refusal = await self._refusal(bundle, caller, applying, subject)
                body = record.application_row(
                    receipt=receipt,
                    applying=applying,
                    subject_hash=subject,
                    caller=caller,
                    today=today,
                    outcome=RECORDED if refusal is None else refusal.code.value,
                    key=self._key,
                )
                position = await self._ledger.append(body)
        except LedgerFailure as error:
            raise GatewayError(Code.LEDGER_UNAVAILABLE) from error
        except HistoryFailure as error:
            raise GatewayError(Code.HISTORY_UNAVAILABLE) from error
        extensions = {"receipt": {"id": receipt.id, "position": position.position, "hash": position.hash}}
        if refusal is not None:
            raise _refused(refusal, bundle, extensions)
        return receipt, extensions

    async def _refusal(
        self, bundle: Bundle, caller: Caller, applying: Applying, subject: str
    ) -> Denied | None:
        row = await self._history.inquiry(applying.inquiry)
        return refuse_application(
            bundle,
            caller,
            Application(
                subject=applying.subject,
                subject_hash=subject,
                measure=applying.measure,
                category=applying.category,
            ),
            None if row is None else past_inquiry(row),
            repeated=await self._history.applied(applying.inquiry, subject, applying.measure),
        )


def _refused(refusal: Denied, bundle: Bundle, extensions: Mapping[str, Any]) -> GatewayError:
    reason = reason_of(refusal, bundle)
    denial = {
        "code": reason.code,
        "message": reason.message,
        "basis": [basis.citation for basis in reason.basis],
        "remedy": reason.remedy,
    }
    sentence = (reason.remedy or reason.message).rstrip(".")
    return GatewayError(
        Code.APPLICATION_REFUSED,
        reason=f"{reason.code}: {sentence}",
        details={**extensions, "denials": [denial]},
    )
