"""Many steps, one interpolation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from medjax._image._image import Image, check_image
from medjax._space._chain import Chain
from medjax._space._pending import Pending

__all__ = ["fuse"]

Result = TypeVar("Result")


def fuse(function: Callable[..., Result]) -> Callable[..., Result]:
    """Makes a function that is written step by step interpolate each image once.

    Inside, spatial operations compose their maps and wait. The voxels are interpolated when the function returns, or
    when something else asks for them. Orientation, spacing, rotation, crop, pad, affine and displacement take part, in
    any order. Interpolation belongs to the image's kind: labels that go through the same function are never mixed.

    The result equals the stepwise one where no step lost anything. It differs where a step would have thrown away
    voxels that a later one needs (crop, then rotate: the fused result still sees the cropped voxels), or where two
    steps would have blurred the image twice. A `cast` at its end is part of the interpolation. A chain ends early, and
    a new one begins, at a step that asks for another interpolation or fill than the waiting steps, at `antialias`, at a
    `pad` with anything but the background, and at anything that needs voxels. Crops and pads before the first
    interpolation are done at once. Orientation and flip are done at once before a nearest interpolation, because its
    ties depend on them.

    Args:
        function: Takes and returns images, alone or in any pytree. It may take other arguments.

    Returns:
        The fused function, of the same signature. It works under jit, vmap and grad.

    Example:
        >>> @mj.fuse
        ... def prepare(image):
        ...     image = mj.change_orientation(image, "RAS")
        ...     image = mj.rotate(image, "k", 10.0)
        ...     return mj.crop_or_pad(mj.resample_to_spacing(image, 1.5), (6, 6, 4))
        >>> scan = mj.Image.from_array(np.ones((8, 9, 5), np.float32), spacing=(1, 1, 2))
        >>> prepare(scan).shape, prepare(scan.with_voxels(np.ones((8, 9, 5), np.uint8)).with_kind("label")).dtype
        ((6, 6, 4), dtype('uint8'))
    """

    @functools.wraps(function)
    def fused(*args: Any, **kwargs: Any) -> Result:
        leaves, structure = jax.tree.flatten((args, kwargs), is_leaf=_is_image)
        is_within = any(isinstance(leaf, Pending) for leaf in leaves)  # another fused function's chain goes on
        args, kwargs = jax.tree.unflatten(structure, [_begun(leaf) for leaf in leaves])
        result = function(*args, **kwargs)
        return result if is_within else jax.tree.map(_ended, result, is_leaf=_is_image)

    return fused


def _is_image(value: Any) -> bool:
    return isinstance(value, Image)


def _begun(value: Any) -> Any:
    if isinstance(value, Pending) or not isinstance(value, Image):
        return value
    check_image(value, "an argument of the fused function")
    return Pending.of(Chain(value))


def _ended(value: Any) -> Any:
    return value.resolved() if isinstance(value, Pending) else value
