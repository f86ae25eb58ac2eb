"""What is wrong with a source file: which key, why, and what to do about it."""


class SourceKeyError(Exception):
    """One key of a source file cannot be used; whoever knows the file names it."""

    def __init__(self, key: str, reason: str, remedy: str) -> None:
        self.key = key
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{key}: {reason}; {remedy}")


class SourceFileError(Exception):
    """A source file is refused. `file`, `key`, `reason` and `remedy` are also the parts of its text."""

    def __init__(self, file: str, key: str, reason: str, remedy: str) -> None:
        self.file = file
        self.key = key
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{file}: {key}: {reason}; {remedy}")
