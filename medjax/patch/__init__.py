"""Boxes of a volume: where they lie, how they are drawn for training, and how their results become one volume again.

The public names stand in __init__.pyi, and nowhere else.
"""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
