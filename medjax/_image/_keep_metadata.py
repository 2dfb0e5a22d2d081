"""A wrapper that takes metadata off before a user's function and puts them back after it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from medjax._image._image import Image
from medjax._image._metadata import Metadata

__all__ = ["keep_metadata"]

Result = TypeVar("Result")


def keep_metadata(
    function: Callable[..., Result], *, of: Any = None, item_by_item: bool = False
) -> Callable[..., Result]:
    """Makes a function whose images carry the metadata of its arguments, also past `jit`, `vmap` and `grad`.

    The metadata of all arguments are taken off before the call, and put onto the images of the result after it:

    - Where all images of the arguments have equal metadata, they are one scan, and its metadata go onto all images of
      the result.
    - Where they differ, or only some images have metadata, `of` says whose metadata go where. Without `of` the call is
      an error, since an image without metadata may belong to any patient.
    - An image to which the function itself gave metadata keeps them.

    The caller vouches that the function makes its images from these arguments. Nothing can tell whether a compiled
    function returns a constant instead.

    Args:
        function: Takes and returns images, alone or in any pytree, with other arguments as it likes.
        of: The argument whose metadata the result gets, by position or by name. Or a pytree of them that is a prefix of
            the result, as `out_axes` of `jax.vmap` is; `None` in it leaves images without metadata. Each argument must
            hold one scan.
        item_by_item: Whether item n of a batch in the result comes from item n of the batch in the argument. A batch of
            several scans needs it, since a function may shuffle the items. A result with another batch gets no
            metadata.

    Returns:
        The function with the same signature. Wrap the compiled function, `keep_metadata(jax.jit(f))`: inside a `jit`
        there are no metadata to keep.

    Raises:
        ValueError: the arguments hold several scans and `of` is not given; an argument that `of` names does not exist
            or holds several scans; `of` is no prefix of the result; or a batch of several scans comes without
            `item_by_item`. All of these show at the call.

    Transforms:
        Metadata are put back outside the function, so it compiles as often as without the wrapper.

    Example:
        >>> brighter = mj.keep_metadata(jax.jit(lambda image: image.with_voxels(image.voxels + 1)))
        >>> known = [mj.Metadata(modality=modality) for modality in ("CT", "PT")]
        >>> ct, pet = (mj.Image.from_array(np.zeros((2, 3, 4)), metadata=metadata) for metadata in known)
        >>> brighter(ct).metadata, jax.jit(brighter)(ct).metadata
        (Metadata(modality='CT'), None)
        >>> swap = mj.keep_metadata(jax.jit(lambda a, b: (b, a)), of=("b", "a"))
        >>> [image.metadata.modality for image in swap(ct, pet)]
        ['PT', 'CT']
    """

    @functools.wraps(function)
    def keeping(*args: Any, **kwargs: Any) -> Result:
        if of is None:
            scans: Any = _scan_of((args, kwargs), "the arguments hold", item_by_item)
        else:
            scans = jax.tree.map(
                lambda name: _scan_of(
                    _argument(function, name, args, kwargs), f"argument {name!r} holds", item_by_item
                ),
                of,
                is_leaf=lambda name: name is None,
            )
        args, kwargs = jax.tree.map(_bare, (args, kwargs), is_leaf=_is_image)
        result = function(*args, **kwargs)
        try:
            return jax.tree.map(lambda scan, part: jax.tree.map(scan.put_on, part, is_leaf=_is_image), scans, result)
        except ValueError as error:
            raise ValueError(f"of={of!r} is no prefix of the result: {error}") from None

    return keeping


class _Scan:
    """The metadata of the scan that images come from; no pytree, and so a leaf."""

    def __init__(self, metadata: Metadata | tuple[Metadata | None, ...] | None):
        self.metadata = metadata

    def put_on(self, image: Any) -> Any:
        """Gives an image without metadata those of the scan where they fit; returns anything else as it is."""
        if not isinstance(image, Image) or image.metadata is not None or self.metadata is None:
            return image
        if isinstance(self.metadata, tuple) and image.batch_shape != (len(self.metadata),):
            return image
        return image.with_metadata(self.metadata)


def _scan_of(tree: Any, what: str, item_by_item: bool) -> _Scan:
    """Returns the one scan whose images a pytree holds, or one without metadata.

    Args:
        tree: Any pytree.
        what: The subject of an error's sentence.
        item_by_item: As for `keep_metadata`.
    """
    images = [leaf for leaf in jax.tree.leaves(tree, is_leaf=_is_image) if isinstance(leaf, Image)]
    found: list[Any] = []
    for metadata in (_common(image.metadata) for image in images):
        if metadata not in found:
            found.append(metadata)
    if len(found) > 1:
        raise ValueError(
            f"{what} images with {len(found)} different metadata (or none), so it is not clear whose the result gets: "
            "name an argument that holds one scan, such as of=0 or of='image'"
        )
    if found and isinstance(found[0], tuple) and not item_by_item:
        raise ValueError(
            f"{what} a batch of several scans, whose items a function may shuffle: say item_by_item=True if item n of "
            "the result comes from item n of the batch, or unstack it"
        )
    return _Scan(found[0] if found else None)


def _common(metadata: Any) -> Any:
    """Returns the one `Metadata` of a batch whose items have equal metadata, and any other metadata as they are."""
    if isinstance(metadata, tuple) and metadata and all(item == metadata[0] for item in metadata):
        return metadata[0]
    return metadata


def _argument(function: Any, name: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Returns an argument of a call by position or name; `None` names no argument."""
    if name is None:
        return None
    try:
        if isinstance(name, int):
            return args[name]
        return kwargs[name] if name in kwargs else inspect.signature(function).bind(*args, **kwargs).arguments[name]
    except (IndexError, KeyError, ValueError):
        raise ValueError(f"of={name!r} names no argument of this call") from None


def _is_image(value: Any) -> bool:
    return isinstance(value, Image)


def _bare(value: Any) -> Any:
    return value.with_metadata(None) if isinstance(value, Image) and value.metadata is not None else value
