"""Augmentation: steps that are drawn first and applied then, per item, on the device, image and labels together.

The public names stand in __init__.pyi, and nowhere else.
"""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
