"""The image, its metadata, batches of images, and how an image looks; Metadata is importable without JAX."""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
