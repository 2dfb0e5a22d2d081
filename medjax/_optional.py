"""Packages that only some of the work needs: each imported on use, or missed by name with what to install."""

from __future__ import annotations

import importlib
import os
from typing import Any

from medjax._errors import MissingDependencyError

__all__ = ["PACKAGES", "hint_for", "optional"]

# Module: the package's name, and the extra of medjax that brings it where there is one.
PACKAGES = {
    "fsspec": ("fsspec", "url"),
    "gdcm": ("python-gdcm", "dicom"),
    "grain": ("grain", "load"),
    "hdf5plugin": ("hdf5plugin", "hdf5"),
    "highdicom": ("highdicom", "seg"),
    "matplotlib": ("matplotlib", "plot"),
    "nrrd": ("pynrrd", "nrrd"),
    "scipy": ("SciPy", "masks"),
    "zstandard": ("zstandard", "zstd"),
}


def optional(module: str, purpose: str, path: str | os.PathLike[str] | None = None) -> Any:
    """Imports a module that not everybody has.

    Args:
        module: Its name, dotted for a part of a package.
        purpose: What needs it, the subject of the error's sentence.
        path: The file that needs it, if one does.

    Returns:
        The module.

    Raises:
        ImportError: the package is not installed; the message says what needs it and what to install.
        MissingDependencyError: the same, where a file is named.

    Example:
        >>> optional("parts_of_tomorrow.first", "the example")
        Traceback (most recent call last):
        ImportError: the example needs the package parts_of_tomorrow: pip install parts_of_tomorrow
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if not _is_missing(package):  # it is there, and something is wrong with it
            raise
        reason = f"{purpose} needs the package {PACKAGES.get(package, (package,))[0]}"
        if path is not None:
            raise MissingDependencyError(path, reason, hint_for(module)) from None
        raise ImportError(f"{reason}: {hint_for(module)}", name=package) from error


def hint_for(module: str) -> str:
    """Returns the command that installs a module's package.

    Example:
        >>> hint_for("matplotlib.figure"), hint_for("SimpleITK")
        ('pip install "medjax[plot]"', 'pip install SimpleITK')
    """
    package = module.partition(".")[0]
    return f'pip install "medjax[{PACKAGES[package][1]}]"' if package in PACKAGES else f"pip install {package}"


def _is_missing(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return True
    return False
