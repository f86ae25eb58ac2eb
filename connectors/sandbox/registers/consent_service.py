"""The consent service's register of authorizations: interface document.

Transport
    ``POST`` with a JSON body, one authorization a call.
Authentication
    Header ``Authorization: Bearer <token>``. Wrong: HTTP 403 and ``{"message": "forbidden"}``.
``/consents/status``
    Request ``{"consentId": "..."}``. Answer ``{"consent": {"consentId", "state"}}`` with state VALID or WITHDRAWN; an id
    that was not issued here: HTTP 404 and ``{"message": "unknown"}``.

A subject withdraws an authorization where it gave it: at the issuer.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.sandbox import secrets
from connectors.sandbox.issuer import Consents
from connectors.sandbox.source import Meter, Source, answer, json_object


def create(consents: Consents, meter: Meter) -> Source:
    """The register over the consents that the issuer gave out."""

    async def status(request: Request) -> Response:
        if request.headers.get("Authorization") != f"Bearer {secrets.CONSENT_TOKEN}":
            meter.refused += 1
            return answer({"message": "forbidden"}, 403)
        number = (await json_object(request)).get("consentId")
        if not isinstance(number, str) or not number:
            return answer({"message": "consentId: missing"}, 400)
        meter.note(request, [number])
        if number not in consents.issued:
            return answer({"message": "unknown"}, 404)
        state = "WITHDRAWN" if number in consents.withdrawn else "VALID"
        return answer({"consent": {"consentId": number, "state": state}})

    routes = [Route("/consents/status", status, methods=["POST"])]
    return Source(Starlette(routes=routes), lambda: answer({"message": "failure"}, 500))
