"""The image: voxels, geometry and metadata of a scan, as one immutable pytree."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Iterable
from typing import Any

import jax
import jax.export
import numpy as np

from medjax._foreign import is_foreign, maker_of
from medjax._geometry import _transform as _transform  # registers grids and transforms as pytrees
from medjax._geometry._grid import Grid, affine_from, check_affine, lps_to_ras
from medjax._geometry._numbers import is_traced, read_only
from medjax._geometry._orientation import orientation_of
from medjax._geometry._types import (
    AffineLike,
    AnyArray,
    Array,
    Leaf,
    OrientationOrTuple,
    SpacingOrArray,
    Triple,
    Voxels,
)
from medjax._image._carried import Carried
from medjax._image._kind import KINDS, Kind
from medjax._image._metadata import Metadata
from medjax._image._operators import Operators
from medjax._lazy import public

__all__ = ["Image", "Kind", "affine_on_host", "as_images", "check_image", "image_from", "locked"]


@public("medjax")
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Image(Operators):
    """A scan or label map: voxels on a grid in LPS+ millimetres, with metadata.

    An image is a pytree with two leaves, `voxels` and `affine`. `kind` is static. `metadata` is neither a leaf nor part
    of any compilation key: scans that differ only in metadata, affine or values share one compilation. An image that
    comes out of a user's own `jit`, `vmap` or `grad` has `metadata=None`, never another scan's. `keep_metadata` or
    `with_metadata` puts it back.

    Attributes:
        voxels: `(*batch, i, j, k, *channels)`, NumPy as read from a file or a JAX array.
        affine: `(*batch, 4, 4)` index to LPS mm, float64 NumPy on the host (a tracer inside a transformation).
        kind: "intensity" (interpolated) or "label" (never mixed).
        metadata: The file's statements about the scan, a tuple with one for each item of a batch, or `None`.

    `Image.from_array` builds an image and checks its arguments; the constructor does not. `np.asarray(image)` gives the
    voxels.

    `jax.device_put`, `jax.tree.map` with a function that leaves the affine as it is, pickling and copying keep a single
    image's metadata and float64 affine. A batch loses its metadata in a tree function, since its items may have been
    shuffled. Unflattening an image's treedef with other device arrays of the same shape and affine (`tree.transpose`,
    `ravel_pytree`, restoring a checkpoint into a template) keeps its metadata while the image exists: make sure that
    the arrays belong to the scan.

    Example:
        >>> image = mj.Image.from_array(np.zeros((4, 5, 6), np.int16), spacing=(1, 1, 2.5))
        >>> image
        Image(4x5x6 int16 intensity, spacing 1 x 1 x 2.5 mm, LPS)
        >>> image.shape, image.spacing, image.orientation
        ((4, 5, 6), (1.0, 1.0, 2.5), 'LPS')
    """

    voxels: Leaf
    affine: Leaf
    kind: Kind = "intensity"
    metadata: Metadata | tuple[Metadata | None, ...] | None = None

    @staticmethod
    def from_array(
        voxels: Voxels,
        *,
        affine: AffineLike | None = None,
        affine_ras: AffineLike | None = None,
        spacing: Triple | None = None,
        origin: Triple | None = None,
        direction: Voxels | None = None,
        kind: Kind = "intensity",
        metadata: Metadata | tuple[Metadata | None, ...] | None = None,
    ) -> Image:
        """Builds and checks an image.

        Args:
            voxels: `(*batch, i, j, k, *channels)`, not copied; the affine's leading axes say how many axes are batch.
            affine: `(*batch, 4, 4)` index to LPS mm. Give this, the next, or the three after it.
            affine_ras: `(*batch, 4, 4)` index to RAS+ mm, as nibabel and NIfTI have it.
            spacing: Voxel size in mm, one number or three. Default 1.
            origin: World position of the centre of voxel (0, 0, 0), LPS mm. Default 0.
            direction: 3x3, columns are the world directions of the index axes. Default the identity (LPS).
            kind: "intensity" or "label"; labels are integers or booleans.
            metadata: A `Metadata`, or a tuple with one per item of a batch.

        Raises:
            ValueError: the voxels are no array, an array has the wrong rank, the affine is singular or not finite, the
                kind is unknown or does not suit the dtype, or metadata does not match the batch.

        Warns:
            UserWarning: the voxels look as if channels came first, `(1, i, j, k)`, as PyTorch has them.

        Example:
            >>> mj.Image.from_array(np.ones((2, 3, 4)), affine=np.diag([-1.0, -1.0, 3.0, 1.0])).orientation
            'RAS'
            >>> mj.Image.from_array(np.ones((2, 3, 4)), affine_ras=np.diag([1.0, 1.0, 3.0, 1.0])).orientation
            'RAS'
        """
        parts = (spacing, origin, direction)
        if sum((affine is not None, affine_ras is not None, any(part is not None for part in parts))) > 1:
            raise ValueError("give only one of affine, affine_ras, or spacing, origin and direction")
        if affine_ras is not None:
            affine = lps_to_ras(check_affine(affine_ras, "affine_ras", "RAS"))
        image = image_from(voxels, affine_from(*parts) if affine is None else affine, kind, metadata)
        _warn_of_leading_channel(image)
        return image

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading batch axes, `()` for a single image."""
        return tuple(self.affine.shape[:-2])

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along i, j, k."""
        start = len(self.batch_shape)
        return tuple(self.voxels.shape[start : start + 3])

    @property
    def channels(self) -> tuple[int, ...]:
        """Trailing channel axes, `()` for a scalar image."""
        return tuple(self.voxels.shape[len(self.batch_shape) + 3 :])

    @property
    def dtype(self) -> np.dtype:
        """The voxels' dtype."""
        return self.voxels.dtype

    @property
    def grid(self) -> Grid:
        """The lattice: shape and affine, float64 on the host where it is known."""
        return Grid(self.shape, affine_on_host(self.affine))

    @property
    def spacing(self) -> SpacingOrArray:
        """Voxel size in mm: three floats, or `(*batch, 3)` when batched or traced."""
        return self.grid.spacing

    @property
    def origin(self) -> SpacingOrArray:
        """World position of the centre of voxel (0, 0, 0) in LPS mm: three floats, or `(*batch, 3)`."""
        return self.grid.origin

    @property
    def direction(self) -> AnyArray:
        """Unit columns of the affine, `(*batch, 3, 3)`: the world direction of each index axis."""
        return self.grid.direction

    @property
    def orientation(self) -> OrientationOrTuple:
        """Orientation code, such as "LPS"; for a batch a tuple of codes.

        Raises:
            ValueError: the geometry is traced.
        """
        affine = affine_on_host(self.affine)
        if not isinstance(affine, np.ndarray):
            raise ValueError(
                "the orientation of a traced affine is unknown: reorient before jit, or close over the image's geometry"
            )
        codes = tuple(orientation_of(item) for item in affine.reshape(-1, 4, 4))
        return codes if self.batch_shape else codes[0]

    @property
    def affine_ras(self) -> AnyArray:
        """The affine to RAS+ mm, as nibabel and NIfTI have it, `(*batch, 4, 4)`."""
        return lps_to_ras(affine_on_host(self.affine))

    def with_voxels(self, voxels: Array) -> Image:
        """Returns an image of the same geometry, kind and metadata with other voxels; channels may differ.

        Raises:
            ValueError: the batch or spatial shape differs, or labels would become floating point.

        Example:
            >>> image = mj.Image.from_array(np.zeros((4, 4, 4)), spacing=2.0)
            >>> image.with_voxels(image.voxels + 1).spacing
            (2.0, 2.0, 2.0)
        """
        _check_array(voxels)
        lead = self.batch_shape + self.shape
        if tuple(voxels.shape[: len(lead)]) != lead:
            raise ValueError(f"voxels of shape {tuple(voxels.shape)} do not lie on this image's grid, {lead}")
        _check_kind(self.kind, voxels.dtype)
        return Image(voxels, self.affine, self.kind, self.metadata)

    def with_metadata(self, metadata: Metadata | tuple[Metadata | None, ...] | None) -> Image:
        """Returns the same image with other metadata, such as the one it had before a `jit` of yours.

        Example:
            >>> image = mj.Image.from_array(np.zeros((4, 4, 4)), metadata=mj.Metadata(modality="CT"))
            >>> jax.jit(lambda x: x)(image).with_metadata(image.metadata).metadata.modality
            'CT'
        """
        return dataclasses.replace(self, affine=affine_on_host(self.affine), metadata=metadata)

    def with_kind(self, kind: Kind) -> Image:
        """Returns the same voxels seen as intensities or as labels.

        Raises:
            ValueError: labels that are not integers or booleans.

        Example:
            >>> mj.Image.from_array(np.zeros((4, 4, 4), np.uint8)).with_kind("label").kind
            'label'
        """
        return image_from(self.voxels, self.affine, kind, self.metadata)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The voxels, for NumPy's functions.

        Raises:
            TypeError: they are traced.
        """
        voxels = self.voxels
        if is_traced(voxels):
            raise TypeError(
                "the voxels are traced, so NumPy cannot have them: inside jit, vmap and grad use image.voxels"
            )
        return np.array(voxels, dtype=dtype, copy=copy)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Locks the arrays of a pickle, as voxels from a file are locked: nobody else holds them."""
        self.__dict__.update(state)
        for array in (self.voxels, self.affine):
            if isinstance(array, np.ndarray) and array.base is None:  # else a caller lent the memory
                array.flags.writeable = False

    def __copy__(self) -> Image:
        return Image(self.voxels, self.affine, self.kind, self.metadata)

    def __deepcopy__(self, memo: dict[int, Any]) -> Image:
        voxels, metadata = copy.deepcopy((self.voxels, self.metadata), memo)  # writable copies
        return Image(voxels, self.affine, self.kind, metadata)

    def __repr__(self) -> str:
        return _described(self)

    def _repr_html_(self) -> str:
        from medjax._image._picture import html

        return html(repr(self), self.voxels, self.affine, self.kind)


def _described(image: Image) -> str:
    """Returns an image's `repr`: sizes, dtype, kind, spacing, orientation and modality, never a patient's name."""
    voxels, affine = image.voxels, image.affine
    if not all(isinstance(leaf, np.ndarray | jax.Array) for leaf in (voxels, affine)):
        return f"Image(voxels={voxels!r}, affine={affine!r}, kind={image.kind!r})"
    size = "x".join(map(str, image.shape))
    parts = [f"{size} {voxels.dtype} {image.kind}"]
    if image.batch_shape:
        parts[0] = f"batch {image.batch_shape} of {parts[0]}"
    if image.channels:
        parts.append(f"channels {'x'.join(map(str, image.channels))}")
    if is_traced(affine):
        parts.append("traced")
    elif not image.batch_shape:
        spacing = " x ".join(f"{value:.4g}" for value in image.spacing)
        parts += [f"spacing {spacing} mm", image.orientation]
        if isinstance(image.metadata, Metadata) and image.metadata.modality:
            parts.append(image.metadata.modality)
    return f"Image({', '.join(parts)})"


def image_from(
    voxels: Any,
    affine: Any,
    kind: Kind = "intensity",
    metadata: Metadata | tuple[Metadata | None, ...] | None = None,
) -> Image:
    """Builds and checks an image as `Image.from_array` does, from voxels whose axes are known to be in order."""
    _check_array(voxels)
    voxels, affine = _as_voxels(voxels), read_only(check_affine(affine))
    _check_kind(kind, voxels.dtype)
    batch = affine.shape[:-2]
    if voxels.ndim < len(batch) + 3 or voxels.shape[: len(batch)] != batch or 0 in voxels.shape:
        hint = "; a single slice takes a third axis, voxels[..., None]" if voxels.ndim == len(batch) + 2 else ""
        raise ValueError(
            f"voxels must be (*batch, i, j, k, *channels), not empty, with batch {batch} as in the affine; got "
            f"{voxels.shape}{hint}"
        )
    if isinstance(metadata, tuple) and batch != (len(metadata),):
        raise ValueError(f"{len(metadata)} metadata for a batch of shape {batch}; give one per item, or None")
    return Image(voxels, affine, kind, metadata)


def check_image(value: Any, name: str, *, or_array: bool = False) -> None:
    """Raises `ValueError` unless a value is an image; the message says how to make an image of it.

    Args:
        value: The argument.
        name: Its name, for the message.
        or_array: Whether an array, or anything that NumPy turns into one, passes as well.
    """
    if isinstance(value, Image):
        if type(value) is Image:  # one that waits under `fuse` was checked when it began
            _check_parts(value, name)
        return
    maker = maker_of(value)
    if or_array and not is_foreign(value):
        return
    if isinstance(value, Grid):
        maker = "resample_to_grid takes a Grid"
    elif isinstance(value, list | tuple) and value and all(isinstance(item, Image) for item in value):
        maker = "stack makes one of several"
    wanted = "an Image or an array" if or_array else "an Image"
    raise ValueError(f"{name} must be {wanted}, got {type(value).__name__}; {maker or maker_of(np.empty(()))}")


def _check_parts(image: Image, name: str) -> None:
    """Refuses what the constructor let through, whatever its numbers are."""
    voxels, affine = np.shape(image.voxels), np.shape(image.affine)
    are_arrays = hasattr(image.voxels, "dtype") and hasattr(image.affine, "dtype")
    batch = affine[:-2]
    if not are_arrays or affine[-2:] != (4, 4) or len(voxels) < len(batch) + 3 or voxels[: len(batch)] != batch:
        raise ValueError(
            f"{name} must hold arrays, voxels (*batch, i, j, k, *channels) and an affine (*batch, 4, 4); got "
            f"{type(image.voxels).__name__} {voxels} and {type(image.affine).__name__} {affine}; Image.from_array "
            "checks"
        )
    if image.kind not in KINDS:
        raise ValueError(
            f"{name} is of kind {image.kind!r}, which is none of {', '.join(KINDS)}; Image.from_array checks"
        )


def as_images(images: Any) -> list[Image]:
    """Lists images, or raises `ValueError` where one of them is something else."""
    if maker_of(images) is not None or not isinstance(images, Iterable):
        check_image(images, "each of the images")
    listed = list(images)
    for number, image in enumerate(listed):
        check_image(image, f"image {number}")
    return listed


def _check_array(voxels: Any) -> None:
    """Raises `ValueError` where an image or a path was given in place of an array."""
    if isinstance(voxels, Image):
        raise ValueError("voxels must be an array, got an Image: it is one already, and image.voxels is its array")
    if is_foreign(voxels):
        raise ValueError(f"voxels must be an array, got {type(voxels).__name__}; {maker_of(voxels)}")


def _warn_of_leading_channel(image: Image) -> None:
    """Warns about `(1, i, j, k)`, the form of channels-first libraries: here it is one slice with many channels."""
    shape = tuple(image.voxels.shape)
    if image.batch_shape or len(shape) < 4 or shape[0] != 1 or 1 in shape[-3:]:
        return
    warnings.warn(
        f"voxels of shape {shape} are one plane along i with channels {shape[3:]}, since channels come last; if the "
        "first axis holds channels or items, give voxels[0], or np.moveaxis(voxels, 0, -1), or a batch of affines "
        "(1, 4, 4)",
        UserWarning,
        stacklevel=3,
    )


def locked(image: Image) -> Image:
    """Locks the NumPy voxels of an image that nobody else holds, so that no operation copies them; returns it."""
    array = image.voxels
    while isinstance(array, np.ndarray):
        array.flags.writeable = False
        array = array.base
    return image


def _as_voxels(voxels: Any) -> Any:
    """Reads voxels as a NumPy array in native byte order, as JAX needs it, and leaves a JAX array as it is."""
    if isinstance(voxels, jax.Array):
        return voxels
    array = np.asarray(voxels)
    if array.dtype.kind not in "biufcV" or array.dtype.names:  # V: bfloat16 and similar, or a structured dtype
        raise ValueError(
            f"voxels must be numbers or booleans, got dtype {array.dtype}; give components a trailing axis"
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _check_kind(kind: Kind, dtype: Any) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be 'intensity' or 'label', got {kind!r}")
    if kind == "label" and not (jax.numpy.issubdtype(dtype, np.integer) or np.issubdtype(dtype, np.bool_)):
        raise ValueError(f"a label image holds integers or booleans, got {dtype}; cast it, or say kind='intensity'")


def affine_on_host(affine: Any) -> Any:
    """Returns the affine as float64 NumPy; a traced one, or a placeholder of a transformation, stays as it is."""
    if is_traced(affine) or not isinstance(affine, np.ndarray | jax.Array):
        return affine
    return np.asarray(affine, np.float64)


# --- As a pytree: voxels and affine are leaves, the kind is structure, the metadata ride along (see `_carried`) ------


def flattened(image: Image) -> tuple[tuple[Any, Any], tuple[Kind, Carried]]:
    """Takes an image apart."""
    return (image.voxels, image.affine), (image.kind, Carried.of(image.voxels, image.affine, image.metadata))


def flattened_with_keys(image: Image) -> tuple[Any, Any]:
    leaves, aux = flattened(image)
    names = (jax.tree_util.GetAttrKey("voxels"), jax.tree_util.GetAttrKey("affine"))
    return tuple(zip(names, leaves, strict=True)), aux


def unflattened(aux: tuple[Kind, Carried], leaves: Any) -> Image:
    """Rebuilds an image from leaves, with metadata and float64 affine only where they are this scan's."""
    kind, carried = aux
    affine, metadata = carried.given_to(*leaves)
    return Image(leaves[0], affine, kind, metadata)


jax.tree_util.register_pytree_with_keys(Image, flattened_with_keys, unflattened, flattened)
jax.export.register_pytree_node_serialization(  # an exported function knows the kind, and no metadata
    Image,
    serialized_name="medjax.Image",
    serialize_auxdata=lambda aux: aux[0].encode(),
    deserialize_auxdata=lambda kind: (bytes(kind).decode(), Carried()),
)
