"""Runs the command line of the product under cProfile: ``python -m bench.profiled PROFILE serve --config FILE``."""

import cProfile
import sys
from pathlib import Path

from gateway.cli import main


def run(profile: Path, arguments: list[str]) -> None:
    """Run the command to its end and write the profile."""
    watching = cProfile.Profile()
    try:
        watching.runcall(main, arguments)
    finally:
        watching.dump_stats(profile)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
