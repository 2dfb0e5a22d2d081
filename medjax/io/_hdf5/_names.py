"""Groups and names that callers give."""

from __future__ import annotations

from typing import Any

__all__ = ["one_name", "parts_of"]


def _checked_text(name: Any) -> str:
    """Returns a group or name that HDF5 can hold, which is UTF-8, or raises `ValueError`."""
    if not isinstance(name, str):
        raise ValueError(f"a group or name must be text, got {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a group or name must be text that UTF-8 can hold, got {name!r}") from None
    return name


def parts_of(group: str) -> list[str]:
    """Splits the path of a group into its names.

    Raises:
        ValueError: it is no text, or a name is empty or dots.
    """
    group = _checked_text(group)
    parts = group.strip("/").split("/") if group.strip("/") else []
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError(f"the parts of a group or name must not be empty or dots, got {group!r}")
    return parts


def one_name(name: Any) -> str:
    """Returns the name of an image in its group.

    Raises:
        ValueError: it is no text, or more than one name.
    """
    if not parts_of(name) or "/" in name:
        raise ValueError(f"name must be one name without '/', got {name!r}; the group may have several parts")
    return str(name)
