"""What is said of files that were refused while the gateway serves."""

from pathlib import Path

from connectors.problems import SourceFileError
from gateway.errors import internal, log_text, safe_text

_SHOWN_PROBLEMS = 5


def what_is_wrong(error: Exception, directory: str) -> str:
    """One line for each of the first problems; files are named without their directories.

    `directory` is what stands for files that cannot be named.
    """
    match error:
        case OSError():
            name = Path(error.filename).name if error.filename else directory
            lines = [f"{name}: cannot be read: {error.strerror or type(error).__name__}"]
        case SourceFileError():
            lines = [str(each) for each in (error, *error.others)]
        case ValueError():
            lines = str(error).splitlines()
        case _:
            lines = [log_text(internal(error))]
    more = [f"and {len(lines) - _SHOWN_PROBLEMS} more"] if len(lines) > _SHOWN_PROBLEMS else []
    return "\n".join([*map(safe_text, lines[:_SHOWN_PROBLEMS]), *more])
