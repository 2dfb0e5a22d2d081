"""Made scans whose truth is known: formulas at any point, drawn from a seed, written as files where wanted.

The public names stand in __init__.pyi, and nowhere else.
"""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
