"""Alarms: failures of the gateway's own that somebody has to look at, though answers go on."""

import logging
import traceback
from pathlib import Path

_LOG = logging.getLogger("gateway")


class Alarms:
    """Each alarm is logged when it is raised; `count` is how many there were since the start."""

    def __init__(self) -> None:
        self.count = 0

    def sound(self, what: str, error: Exception) -> None:
        """Raise the alarm. The exception is named by type and place alone: its message may hold values."""
        self.count += 1
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno} {place.name}"
        _LOG.error("ALARM: %s: %s (%s)", what, type(error).__qualname__, where)
