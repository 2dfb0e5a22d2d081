"""What can be wrong with a file: one base exception, a subclass for each situation a caller would handle."""

from __future__ import annotations

import os
import unicodedata

from medjax._lazy import public

__all__ = [
    "ImageFileError",
    "ImageFileWarning",
    "MissingDependencyError",
    "TruncatedFileError",
    "UnsupportedFileError",
    "printable",
]


def printable(text: str) -> str:
    r"""The text of a file or a file name, safe to show: one line, without what drives a terminal.

    Control characters, line breaks, marks that change the direction of writing and bytes that are no text become
    escapes as Python writes them. Errors and warnings of this module do that to their own texts.

    Example:
        >>> print(printable("T1\x1b[2J\nINFO verified, Schädel"))
        T1\x1b[2J\nINFO verified, Schädel
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@public("medjax")
class ImageFileWarning(UserWarning):
    """Something in a file is odd and was read by a stated rule; the message says which."""

    def __init__(self, message: str = ""):
        super().__init__(printable(message))


@public("medjax")
class ImageFileError(Exception):
    """A file cannot be read or written as an image.

    Attributes:
        path: The file or folder.
        reason: What was expected and what was found; control characters of a file's text are escaped.
        hint: What to do about it, or `None`.

    Example:
        >>> str(mj.ImageFileError("scan.nii", "ends after 10 of 352 header bytes", "copy it again"))
        'scan.nii: ends after 10 of 352 header bytes; copy it again'
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, hint: str | None = None):
        self.path, self.reason = os.fspath(path), printable(reason)
        self.hint = None if hint is None else printable(hint)
        super().__init__(self.path, reason, hint)

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}" + (f"; {self.hint}" if self.hint else "")


@public("medjax.io")
class TruncatedFileError(ImageFileError):
    """The file holds fewer bytes than its header promises."""


@public("medjax.io")
class UnsupportedFileError(ImageFileError):
    """The file is of a format, or uses a feature of it, that medjax does not read or write."""


@public("medjax.io")
class MissingDependencyError(ImageFileError):
    """Reading or writing needs an optional package; `hint` says what to install."""
