"""Members that a JSON text names twice: which of the two values is true, nobody can say.

JSON decoders keep the last and say nothing. Here the text is compared with what was decoded from it: as many
members in the one as in the other means that none was lost.
"""

import json
import re
from typing import Any

import msgspec

_ESCAPED = re.compile(rb"\\u00(?:3[aA]|22)")
_SPACES = (b" ", b"\t", b"\n", b"\r")
_encode = msgspec.json.Encoder().encode


def repeats_a_member(text: bytes, tree: Any) -> bool:
    """Whether an object in a JSON text (UTF-8) names a member twice; `tree` is what the text was decoded to."""
    # A colon follows every name. Other colons stand in strings, where the tree has them as the text does, unless the
    # text spells them as escapes. With the quote before them, where nothing comes between, there are fewer to count.
    if b"\\" not in text or not _ESCAPED.search(text):
        mark = ":" if any(space in text and space + b":" in text for space in _SPACES) else '":'
        marks = text.count(mark.encode())
        if marks == _surely(tree, mark) or marks == _encode(tree).count(mark.encode()):
            return False
    return _looked_at_closely(text)


def _surely(tree: Any, mark: str) -> int:
    """Marks that the text of a tree has at least: most answers are a list of flat records, and have no more."""
    if isinstance(tree, list):
        return sum([len(each) for each in tree if type(each) is dict])
    if not isinstance(tree, dict):
        return 0
    marks = len(tree)
    for value in tree.values():
        marks += value.count(mark) if isinstance(value, str) else _surely(value, mark)
    return marks


def _looked_at_closely(text: bytes) -> bool:
    repeated = False

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(pairs)
        repeated |= len(found) < len(pairs)
        return found

    json.loads(text, object_pairs_hook=members, parse_int=str, parse_float=str)
    return repeated
