"""Medical images for JAX: voxels and geometry as pytrees, transforms as pure functions, files at the edges.

The public names stand in __init__.pyi, and nowhere else.
"""

import sys

from medjax import _fork as _fork
from medjax._lazy import lazy_names
from medjax._version import __version__ as __version__

__all__, __getattr__, __dir__ = lazy_names(__name__)
if sys.modules.get("jax"):  # then these cost little, and jax.export.deserialize must know the types beforehand
    __getattr__("Image"), __getattr__("AffineTransform")
