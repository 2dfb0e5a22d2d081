"""Files: readers and writers at the edge of the package, each loaded on use.

The public names stand in __init__.pyi, and nowhere else.
"""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
