"""The JSON Schema of a source file, made from its types, so that editors complete and check what is written.

It is checked in as `source.schema.json`; ``#:schema`` in the first line of a file names it to editors.
"""

from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from connectors.source import SourceFile

PLACE = Path(__file__).parent / "source.schema.json"
"""Where the schema lies that comes with the gateway."""

_FIELD_MAP = "#/$defs/FieldMap"


def source_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) of what TOML reads from a source file."""
    schema = msgspec.json.schema(SourceFile)
    schema["$defs"] = {name: _shorthand(part) for name, part in schema["$defs"].items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Source file of the credit gateway",
        **schema,
        "$defs": {name: _without_types(part) for name, part in schema["$defs"].items()},
    }


def _shorthand(part: Any) -> Any:
    """A field map may be the path alone: ``name = "path"``."""
    if isinstance(part, dict):
        if part == {"$ref": _FIELD_MAP}:
            return {"anyOf": [{"type": "string"}, part]}
        return {name: _shorthand(value) for name, value in part.items()}
    return [_shorthand(value) for value in part] if isinstance(part, list) else part


def _without_types(part: dict[str, Any]) -> dict[str, Any]:
    """A part without the name of its Python class and the indent of its text, which say nothing to who writes a file."""
    kept = {name: value for name, value in part.items() if name != "title"}
    if "description" in kept:
        kept["description"] = cleandoc(kept["description"])
    return kept


def schema_text() -> str:
    """The schema as it is checked in."""
    return msgspec.json.format(msgspec.json.encode(source_schema()), indent=2).decode() + "\n"
