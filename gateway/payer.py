"""Who pays for what a caller asks of the sources: its unit, as the sources may know it."""

import hashlib
import secrets

from policies.caller import Caller

_KEY = secrets.token_bytes(32)
"""Of this process: payers are compared in its memory alone."""


def payer_of(caller: Caller) -> str:
    """The caller's unit. A subject that asks about itself is its own unit, whose number leaves here as a keyed hash."""
    if caller.identity is None:
        return caller.unit
    return hashlib.blake2b(caller.unit.encode(), key=_KEY, digest_size=16).hexdigest()
