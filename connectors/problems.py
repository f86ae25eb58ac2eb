"""What is wrong with a source file: which key, why, and what to do about it."""

from collections.abc import Sequence


class SourceKeyError(Exception):
    """One key of a source file cannot be used; whoever knows the file names it, and finds its `line`."""

    def __init__(self, key: str, reason: str, remedy: str, line: int | None = None) -> None:
        self.line = line
        self.key = key
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{key}: {reason}; {remedy}")


class SourceFileError(Exception):
    """A source file is refused. `file`, `line`, `key`, `reason` and `remedy` are also the parts of its text.

    `others` are further mistakes of the same file.
    """

    def __init__(
        self,
        file: str,
        key: str,
        reason: str,
        remedy: str,
        *,
        line: int | None = None,
        others: Sequence["SourceFileError"] = (),
    ) -> None:
        self.file = file
        self.line = line
        self.key = key
        self.reason = reason
        self.remedy = remedy
        self.others = tuple(others)
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {key}: {reason}; {remedy}")
