"""Fetching an access token by client credentials (RFC 6749, 4.4), for the command line."""

from urllib.parse import quote

import httpx

_SECONDS = 10.0


class TokenError(Exception):
    """No token was given; the text says why and holds no secret."""


async def fetch_token(issuer_url: str, client: str, secret: str, persona: str | None = None) -> str:
    """An access token for the client from the `/token` endpoint below `issuer_url`.

    `persona` is a parameter of the sandbox issuer alone. Raises TokenError when the issuer is not reached,
    refuses, or answers something that is no token.
    """
    form = {"grant_type": "client_credentials"} | ({} if persona is None else {"persona": persona})
    # RFC 6749, 2.3.1: both parts of the Basic credentials are form-encoded first.
    credentials = httpx.BasicAuth(quote(client, safe=""), quote(secret, safe=""))
    try:
        async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
            response = await http.post(f"{issuer_url.rstrip('/')}/token", data=form, auth=credentials)
        answer = response.json()
    except httpx.HTTPError as error:
        raise TokenError(f"the token issuer is not reached: {type(error).__name__}") from error
    except ValueError as error:
        raise TokenError(f"the token issuer answered {response.status_code} without JSON") from error
    return _token(answer)


def _token(answer: object) -> str:
    match answer:
        case {"access_token": str(token), "token_type": str(kind)} if kind.lower() == "bearer":
            return token
        case {"error": str(code), "error_description": str(description)}:
            raise TokenError(f"the token issuer refuses: {code}: {description}")
        case {"error": str(code)}:
            raise TokenError(f"the token issuer refuses: {code}")
    raise TokenError("the token issuer answered without a bearer token")
