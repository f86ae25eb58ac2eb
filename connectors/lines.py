"""On which line of a TOML file a key stands. The file has been read before, so its syntax is right."""

import re

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\'', re.DOTALL)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")


def line_of(text: str, key: str) -> int:
    """The line of a key such as ``lookup[0].json.code``, or of the nearest table or list around it that is there, or 1."""
    lines = _Scanner(text).lines()
    while key:
        if key in lines:
            return lines[key]
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return 1


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[str, int] = {}
        self._tables: dict[str, int] = {}
        """How many tables each list of tables has, less one."""

    def lines(self) -> dict[str, int]:
        prefix = ""
        self._skip()
        while self._at < len(self._text):
            prefix = self._header() if self._text[self._at] == "[" else self._member(prefix)
            self._skip()
        return self._lines

    def _header(self) -> str:
        """The path of the table that begins here."""
        many = self._text.startswith("[[", self._at)
        line = self._line()
        self._at += 2 if many else 1
        names = self._names()
        self._at += 2 if many else 1
        path = ""
        for place, name in enumerate(names):
            path = f"{path}.{name}".lstrip(".")
            if many and place == len(names) - 1:
                self._tables[path] = self._tables.get(path, -1) + 1
            if path in self._tables:
                path = f"{path}[{self._tables[path]}]"
        self._lines[path] = line
        return path

    def _member(self, prefix: str) -> str:
        """Read ``name = value``; the table stays the same."""
        path, line = prefix, self._line()
        for name in self._names():
            path = f"{path}.{name}".lstrip(".")
            self._lines.setdefault(path, line)
        self._at += 1  # the sign =
        self._skip()
        self._value(path)
        return prefix

    def _value(self, path: str) -> None:
        match self._text[self._at]:
            case "[":
                place = 0
                while self._more("]"):
                    self._lines[f"{path}[{place}]"] = self._line()
                    self._value(f"{path}[{place}]")
                    place += 1
            case "{":
                while self._more("}"):
                    self._member(path)
            case '"' | "'":
                self._take(_STRING)
            case _:
                self._take(_BARE_VALUE)

    def _more(self, end: str) -> bool:
        """Step over a bracket or comma; whether something follows before the `end`."""
        if self._text[self._at] in "[{,":
            self._at += 1
        self._skip()
        if self._text[self._at] == ",":
            self._at += 1
            self._skip()
        if self._text[self._at] != end:
            return True
        self._at += 1
        return False

    def _names(self) -> list[str]:
        names = []
        while True:
            self._skip()
            if self._text[self._at] in "\"'":
                names.append(self._take(_STRING)[1:-1])
            else:
                names.append(self._take(_BARE_KEY))
            self._skip()
            if self._text[self._at] != ".":
                return names
            self._at += 1

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if not found:
            raise ValueError("the text is no TOML")
        self._at = found.end()
        return found[0]

    def _skip(self) -> None:
        self._take(_SPACE)

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1
