"""What can be wrong with a file: one base exception, a subclass for each situation a caller would handle."""

from __future__ import annotations

import os

__all__ = ["ImageFileError", "ImageFileWarning", "MissingDependencyError", "TruncatedFileError", "UnsupportedFileError"]


class ImageFileWarning(UserWarning):
    """Something in a file is odd and was read by a stated rule; the message says which."""


class ImageFileError(Exception):
    """A file cannot be read or written as an image.

    Attributes:
        path: The file or folder.
        reason: What was expected and what was found.
        hint: What to do about it, or `None`.

    Example:
        >>> str(mj.ImageFileError("scan.nii", "ends after 10 of 352 header bytes", "copy it again"))
        'scan.nii: ends after 10 of 352 header bytes; copy it again'
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, hint: str | None = None):
        self.path, self.reason, self.hint = os.fspath(path), reason, hint
        super().__init__(self.path, reason, hint)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" + (f"; {self.hint}" if self.hint else "")


class TruncatedFileError(ImageFileError):
    """The file holds fewer bytes than its header promises."""


class UnsupportedFileError(ImageFileError):
    """The file is of a format, or uses a feature of it, that medjax does not read or write."""


class MissingDependencyError(ImageFileError):
    """Reading or writing needs an optional package; `hint` says what to install."""
