"""Types that users hand in for an image, and the call that turns one into an image: by name, so nothing is imported."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["is_foreign", "maker_of"]

_ARRAY = "Image.from_array makes one, image.with_voxels one on the same grid"
_MAKERS = {
    "numpy": _ARRAY,
    "jax": _ARRAY,
    "jaxlib": _ARRAY,
    "torch": f"{_ARRAY}, from tensor.numpy()",
    "SimpleITK": "io.from_sitk makes one",
    "nibabel": "io.from_nibabel makes one",
    "pydicom": "load_image reads one from the files of its series",
}


def maker_of(value: Any) -> str | None:
    """Says what makes an image of an array, a path, or another library's image; `None` where nothing is known to.

    Example:
        >>> maker_of("scan.nii.gz"), maker_of(3)
        ('load_image reads one', None)
    """
    if isinstance(value, str | os.PathLike):
        return "load_image reads one"
    libraries = [base.__module__.partition(".")[0] for base in type(value).__mro__]
    return next((_MAKERS[library] for library in libraries if library in _MAKERS), None)


def is_foreign(value: Any) -> bool:
    """Whether something is a path or another library's image, and no array.

    Example:
        >>> is_foreign("scan.nii.gz"), is_foreign([1, 2])
        (True, False)
    """
    maker = maker_of(value)
    return maker is not None and not maker.startswith(_ARRAY)
