"""How a command may end, and what it says of an error: one line, a hint, and the exit code that scripts read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from medjax._errors import ImageFileError, MissingDependencyError, printable

__all__ = [
    "ANSWER_NO",
    "BUG",
    "CLOSED_PIPE",
    "DONE",
    "INTERRUPTED",
    "NO_OUTPUT",
    "SOME_FAILED",
    "UNREADABLE",
    "USAGE",
    "Failure",
    "explained",
    "writing",
]

DONE, ANSWER_NO, USAGE, UNREADABLE, NO_OUTPUT, SOME_FAILED = range(6)
BUG, INTERRUPTED, CLOSED_PIPE = 70, 130, 141


class Failure(Exception):  # noqa: N818, it is the word for it
    """Something that a person can mend.

    Attributes:
        code: The exit code.
        reason: A line without a full stop.
        hint: What to do, or `None`.
    """

    def __init__(self, code: int, reason: str, hint: str | None = None):
        self.code, self.reason, self.hint = code, reason, hint
        super().__init__(reason)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what goes wrong in writing a file into a failure of the output."""
    try:
        yield
    except MissingDependencyError:
        raise
    except ImageFileError as error:
        raise Failure(NO_OUTPUT, f"{printable(error.path)}: {error.reason}", error.hint) from error
    except OSError as error:
        raise Failure(NO_OUTPUT, f"{printable(os.fspath(path))}: cannot be written: {_text_of(error)}") from error


def explained(error: BaseException, subject: str | None = None) -> Failure | None:
    """The failure that an error of the library or the system amounts to; `None` for what no person can mend: a bug.

    Args:
        error: What was raised.
        subject: The input that it was raised about, which the line names if the error does not.
    """
    about = "" if subject is None else f"{printable(subject)}: "
    match error:
        case Failure():
            return error
        case MissingDependencyError():
            return Failure(USAGE, f"{printable(error.path)}: {error.reason}", error.hint)
        case ImageFileError():
            return Failure(UNREADABLE, f"{printable(error.path)}: {error.reason}", error.hint)
        case ImportError() if error.name and not error.name.startswith("medjax"):
            return Failure(USAGE, f"{about}{printable(str(error))}")
        case OSError():
            path = error.filename if error.filename is not None else subject
            named = "" if path is None else f"{printable(os.fsdecode(path))}: "
            return Failure(UNREADABLE, f"{named}{_text_of(error)}")
        case MemoryError():
            return Failure(UNREADABLE, f"{about}there is not enough memory", "--dry-run says how much is needed")
        case ValueError() | UserWarning():
            text = printable(str(error))
            return Failure(UNREADABLE, text if subject and text.startswith(printable(subject)) else about + text)
    return None


def _text_of(error: OSError) -> str:
    text = error.strerror or str(error)
    return "no such file or folder" if isinstance(error, FileNotFoundError) else text[:1].lower() + text[1:]
