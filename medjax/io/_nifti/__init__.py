"""NIfTI-1 and NIfTI-2, single files and pairs, as they are or compressed; the world frame becomes LPS+ mm."""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
