"""The command line: serve, sandbox, demo, token, authorize, schema, ledger."""

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import click
import httpx
from graphql import print_schema

from connectors.sandbox.issuer import CLIENTS
from connectors.sandbox.server import SandboxOptions
from connectors.sandbox.server import run as run_sandbox
from gateway.app import load_bundle, utc_now
from gateway.demo import DEFAULT_PORT, SANDBOX_PORT, run_demo
from gateway.ledger import load_or_create_key
from gateway.ledger import verify as verify_ledger
from gateway.plan_command import plan_operation
from gateway.policy_commands import policy
from gateway.river import PROVINCE_TIME
from gateway.serve import serve as run_gateway
from gateway.settings import PREFIX, load_settings
from gateway.source_commands import sources
from gateway.tokens import TokenError, fetch_token
from gateway.usage import one_line_errors
from gateway.visibility import TokenLimits, visible_schema
from policies.explain import require_known
from policies.table import Tables
from resolvers.schema import build_schema

ISSUER = f"http://127.0.0.1:{SANDBOX_PORT + 1}"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="credit-gateway")
def main() -> None:
    """A GraphQL query gateway over federated credit sources."""


main.add_command(policy)
main.add_command(plan_operation)
main.add_command(sources)


@main.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="Settings file (TOML).")
@click.option(
    "--workers", help="How many processes serve, or auto: one for each core (setting server.workers)."
)
def serve(config: Path, workers: str | None) -> None:
    """Run the gateway until it is told to stop (SIGTERM, Ctrl-C).

    SIGHUP loads the policy bundle and the registered documents anew; what is bad changes nothing, and the log and
    /readyz say why.

    Writes one JSON line to standard output when it is ready, with its address; logs go to standard error.
    """
    with one_line_errors():
        run_gateway(load_settings(config, {**os.environ, **_workers(workers)}))


def _workers(given: str | None) -> dict[str, str]:
    """The option as the variable that overrides the setting."""
    if given is None:
        return {}
    if given != "auto" and not given.isdecimal():
        raise click.UsageError("--workers: a number, or auto, is expected.")
    return {f"{PREFIX}SERVER__WORKERS": "0" if given == "auto" else given}


@main.command()
@click.option("--subjects", default=2000, show_default=True, help="How many synthetic subjects.")
@click.option("--seed", default=99, show_default=True, help="Seed of the synthetic subjects.")
@click.option(
    "--registrations",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Real registrations (CSV) for the provincial platform.",
)
@click.option("--base-port", default=SANDBOX_PORT, show_default=True, help="First port; 0 takes free ones.")
@click.option("--today", type=click.DateTime(["%Y-%m-%d"]), help="The day that records are made relative to.")
def sandbox(subjects: int, seed: int, registrations: Path | None, base_port: int, today: Any) -> None:
    """Run the sandbox sources and the token issuer, one port each, on loopback."""
    day: date | None = today.date() if today else None
    with one_line_errors():
        run_sandbox(
            SandboxOptions(
                subjects=subjects, seed=seed, registrations=registrations, base_port=base_port, today=day
            )
        )


@main.command()
@click.option("--once", is_flag=True, help="Run the showcase and end; exit 0 only if every answer is right.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, help="Port of the gateway.")
@click.option("--sandbox-port", default=SANDBOX_PORT, show_default=True, help="First port of the sandbox.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path(".credit-gateway"),
    help="Where ledger and settings go.",
)
@click.option(
    "--registrations",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Real registrations (CSV) for the provincial platform.",
)
def demo(once: bool, port: int, sandbox_port: int, state: Path, registrations: Path | None) -> None:
    """Start sandbox and gateway on loopback and run the showcase; a service that runs already is used."""
    sys.exit(
        run_demo(once=once, port=port, sandbox_port=sandbox_port, state=state, registrations=registrations)
    )


@main.command()
@click.option(
    "--client", required=True, type=click.Choice(sorted(CLIENTS)), help="A client of the sandbox issuer."
)
@click.option("--secret", help="Its secret; the sandbox's own by default.")
@click.option("--persona", help="For the client developer: whose token to take (synthetic subjects only).")
@click.option("--issuer", default=ISSUER, show_default=True, help="Address of the token issuer.")
def token(client: str, secret: str | None, persona: str | None, issuer: str) -> None:
    """Print an access token by client credentials."""
    with one_line_errors():
        print(asyncio.run(fetch_token(issuer, client, secret or CLIENTS[client].secret, persona)))


@main.command()
@click.option("--credit-code", help="The organisation that authorizes (division 99).")
@click.option("--resident-number", help="The person that authorizes (division 99), with --name.")
@click.option("--name", help="Name of the person.")
@click.option("--grantee", required=True, help="Unit that may ask.")
@click.option("--purpose", "purposes", multiple=True, required=True, help="Purpose; may be repeated.")
@click.option("--category", "categories", multiple=True, required=True, help="Category; may be repeated.")
@click.option("--days", default=30, show_default=True, help="How long it holds.")
@click.option("--consent", default="WRITTEN", type=click.Choice(["WRITTEN", "SEPARATE", "MANDATE"]))
@click.option("--issuer", default=ISSUER, show_default=True, help="Address of the sandbox issuer.")
def authorize(
    credit_code: str | None,
    resident_number: str | None,
    name: str | None,
    grantee: str,
    purposes: Sequence[str],
    categories: Sequence[str],
    days: int,
    consent: str,
    issuer: str,
) -> None:
    """Print a synthetic subject's signed authorization, from the sandbox's consent service."""
    person = resident_number is not None and name is not None
    if (credit_code is not None) is person or (resident_number is None) is not (name is None):
        raise click.UsageError("Give either --credit-code, or --resident-number with --name.")
    subject = (
        {"credit_code": credit_code}
        if credit_code is not None
        else {"resident_number": resident_number, "name": name}
    )
    body = {
        "subject": subject,
        "grantee": grantee,
        "purposes": list(purposes),
        "categories": list(categories),
        "days": days,
        "consent": consent,
    }
    with one_line_errors():
        print(_authorization(issuer, body))


def _authorization(issuer: str, body: dict[str, Any]) -> str:
    try:
        answer = httpx.post(f"{issuer.rstrip('/')}/authorizations", json=body, timeout=10, trust_env=False)
        said = answer.json()
    except httpx.HTTPError as error:
        raise TokenError(f"the issuer is not reached: {type(error).__name__}") from error
    except ValueError as error:
        raise TokenError(f"the issuer answered {answer.status_code} without JSON") from error
    match said:
        case {"authorization": str(artefact)} if answer.status_code == 201:
            return artefact
        case {"error_description": str(description)}:
            raise TokenError(f"the issuer refuses: {description}")
    raise TokenError("the issuer answered without an authorization")


@main.command()
@click.option(
    "--bundle", default="example", show_default=True, help="Name or directory of the policy bundle."
)
@click.option("--caller", help="Caller type: print only what callers of this type may ever use today.")
def schema(bundle: str, caller: str | None) -> None:
    """Print the schema (SDL) that the bundle makes."""
    with one_line_errors():
        loaded = load_bundle(bundle)
        full = build_schema(loaded)
        if caller is None:
            print(full.as_str())
            return
        require_known("--caller", caller, loaded.callers)
    table = Tables(loaded).on(utc_now().astimezone(PROVINCE_TIME).date())
    print(print_schema(visible_schema(full._schema, table, TokenLimits(caller))))


@main.group()
def ledger() -> None:
    """Look after the ledger."""


@ledger.command("verify")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file that names the ledger.")
@click.option("--path", type=click.Path(path_type=Path), help="Ledger file.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Key that seals the ledger's end.")
@click.option("--receipt", help="position:hash of a receipt (extensions.receipt) that must be in the ledger.")
def ledger_verify(config: Path | None, path: Path | None, key_file: Path | None, receipt: str | None) -> None:
    """Look for changed, missing and reordered rows; exit 1 when one is found."""
    with one_line_errors():
        if config is not None:
            settings = load_settings(config, os.environ)
            path, key_file = path or Path(settings.ledger.path), key_file or Path(settings.ledger.key_file)
        if path is None:
            raise click.UsageError("Give --config or --path.")
        if key_file is not None and not key_file.exists():
            raise click.UsageError(f"--key-file: {key_file} does not exist.")
        key = load_or_create_key(key_file) if key_file is not None else None
        found = verify_ledger(path, key, receipt=_receipt(receipt))
    seal = "" if key is not None else " (without the key, a cut tail cannot be seen)"
    if not found.ok:
        print(f"NOT OK after {found.rows} rows: {found.finding}{seal}")
        sys.exit(1)
    print(f"OK: {found.rows} rows{seal}")


def _receipt(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    position, _, digest = text.partition(":")
    if not position.isdecimal() or re.fullmatch("[0-9a-f]{64}", digest) is None:
        raise click.UsageError("--receipt: position:hash is expected, as in extensions.receipt.")
    return int(position), digest
