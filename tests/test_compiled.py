"""The hot path is the same Python in both of its forms: as source, and as the machine code that the wheel carries."""

import ast
import inspect
import os
import tomllib
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from policies.identifiers import IdentifierError, credit_code

ROOT = Path(__file__).parents[1]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"][
    "wheel"
]["hooks"]["custom"]
COMPILED = os.environ.get("COMPILED") == "1"


@pytest.mark.parametrize("path", HOOK["compiled"])
def test_a_module_runs_in_the_form_that_is_tested(path: str) -> None:
    module = import_module(path.removesuffix(".py").replace("/", "."))
    # Machine code that an earlier build left beside the source would run in its place.
    assert Path(str(module.__file__)).suffix == (".so" if COMPILED else ".py")


def _of_itself(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions in it."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", HOOK["compiled"])
def test_no_compiled_coroutine_holds_a_function_of_its_own(path: str) -> None:
    # Cython keeps the locals of a coroutine or a generator in one object, which a function in it holds too: kept in a
    # local, the two would hold each other, and all that the call has seen, until the garbage collector comes.
    holding = []
    for function in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes = [*_of_itself(function)]
            if isinstance(function, ast.AsyncFunctionDef) or any(
                isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes
            ):
                holding += [
                    f"{function.name}, line {node.lineno}"
                    for node in nodes
                    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                    or (isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Lambda))
                ]
    assert holding == []


def test_an_error_names_the_line_of_the_source() -> None:
    with pytest.raises(IdentifierError) as raised:
        credit_code("nonsense")
    last = traceback.extract_tb(raised.value.__traceback__)[-1]
    assert last.filename.endswith("policies/identifiers.py")
    lines = (ROOT / "policies" / "identifiers.py").read_text("utf-8").splitlines()
    assert "raise" in lines[(last.lineno or 0) - 1]


def test_annotations_check_nothing() -> None:
    """What a function takes is what Python lets it take: stand-ins of tests, and numbers of either kind."""
    from gateway.recent import Recent

    kept: Recent[object, object] = Recent(1.5)  # type: ignore[arg-type]
    kept.put("one", 1)
    assert kept.get("one") == 1
    assert inspect.signature(Recent.put).parameters.keys() == {"self", "key", "value"}
