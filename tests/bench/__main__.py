"""The bench: ``python -m tests.bench`` measures the product and its peers; see `tests/bench/README.md`."""

import os
import sys
from pathlib import Path

# One name for these modules, whether the bench is run from the root of the repository or read by the tests.
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.run import main  # the path has to be there first

if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
