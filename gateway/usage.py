"""What the commands share: wrong input is one line on standard error, never a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
import httpx

from connectors.problems import SourceFileError
from gateway.ledger import LedgerFailure
from gateway.tokens import TokenError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What is wrong with what the operator gave is a message, not a traceback."""
    try:
        yield
    except (ValueError, SourceFileError, LedgerFailure, TokenError, httpx.InvalidURL) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{place}{error.strerror or error}") from error
