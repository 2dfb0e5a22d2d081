"""Cohorts and loading: a table of cases, its split and its cache, and batches for training that resume exactly.

The public names stand in __init__.pyi, and nowhere else.
"""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
