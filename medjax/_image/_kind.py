"""The two kinds of images, importable without JAX."""

from __future__ import annotations

from typing import Literal

__all__ = ["KINDS", "Kind"]

Kind = Literal["intensity", "label"]
KINDS = ("intensity", "label")
