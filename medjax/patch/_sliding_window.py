"""A network over a whole volume, window by window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import Axis, DTypeLike, Fill, StaticSize, StaticTriple
from medjax._image._checks import check_choice, check_count, three_integers
from medjax._image._dtypes import compute_dtype
from medjax._image._image import Image, Kind, check_image
from medjax._kernels._compiled import at_once
from medjax._kernels._hoisted import Hoisted, hoisted
from medjax._space._crop import pad
from medjax.patch._grid import overlaps_of
from medjax.patch._schedule import Layout, one_row, scheduled, slab_layout, whole_layout
from medjax.patch._slab import Work, averaged, last_rows, next_rows, reduced
from medjax.patch._weights import Window

__all__ = ["sliding_window"]

Network: TypeAlias = Callable[[jax.Array], jax.Array]
Reduce: TypeAlias = Literal["argmax", "softmax"] | Callable[[jax.Array], jax.Array] | None
Mirror: TypeAlias = Literal["all"] | Sequence[Axis | Sequence[Axis]]

_AXES = {"i": 0, "j": 1, "k": 2, 0: 0, 1: 1, 2: 2}
_ALL = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))


def sliding_window(
    image: Image,
    network: Network,
    *,
    size: StaticSize,
    overlap: StaticTriple = 0.5,
    window: Window = "gaussian",
    batch: int = 4,
    reduce: Reduce = "argmax",
    mirror: Mirror = (),
    dtype: DTypeLike = jnp.float32,
    fill: Fill | None = None,
    pad_to: Literal["step"] | None = None,
    host: bool = False,
    sharding: NamedSharding | None = None,
) -> Image:
    r"""Applies a network to windows that cover an image, and joins what it finds on the image's grid.

    Windows lie as `mj.patch.grid` places them. The logits of a voxel are their mean over the windows that hold it,
    weighted as in `mj.patch.merge`; the weights of a voxel sum to 1. With "argmax" and a callable, the sums lie in a
    slab of one window's depth, and the rows that no later window reaches are reduced at once: there is never a volume
    of logits.

    Args:
        image: Intensities, one image or a batch of one, at most one axis of channels.
        network: From windows `(batch, *size, c)`, c = 1 for an image without channels, to logits `(batch, *size,
            classes)`. Integers become float32.
        size: Voxels of a window along i, j, k. A shorter image is padded at its end, and what was padded is cut off
            again.
        overlap: The part of a window that its neighbour covers, at least 0 and below 1; one number or three.
        window: How much a window's voxels count: "gaussian", "hann", "average", or "crop" for the nearest window alone.
        batch: Windows that the network sees at once. Only the last group is filled up.
        reduce: "argmax" for a label map, "softmax" for probabilities, `None` for the mean logits, or a function of mean
            logits `(i, j, k, classes)` of a part of the volume, which must work voxel by voxel and may change the last
            axis.
        mirror: Further passes, each the axes that it mirrors the window along, such as `[("i",), ("i", "j")]`, or "all"
            for all seven. The logits are mirrored back and averaged with those of the window as it is.
        dtype: Of the sums. In bfloat16 the slab takes half the memory.
        fill: What an image is padded with, one number or one per channel. Default the image's background, as `mj.pad`.
        pad_to: "step" pads the image to a whole number of steps, so that images of nearly one shape share a
            compilation. The windows then lie elsewhere, and the last ones see more of the padding.
        host: Keeps the volume and the result in the host's memory, and sends the device one row of windows at a time.
            The device's memory then does not depend on the length of the volume.
        sharding: Shares the windows of each row among the devices along the mesh axes that its first entry names, such
            as `NamedSharding(mesh, PartitionSpec("windows"))`. Image and weights are copied to each.

    Returns:
        On the image's grid, with its metadata: a label map, uint8 below 256 classes and else uint16, with "argmax";
        else intensities with a channel for each class, or what the function returned (a label map if it is integers or
        booleans). With `host` NumPy, else a JAX array.

    Raises:
        ValueError: the image holds labels or complex numbers, is a batch of several, or has several axes of channels;
            an argument is outside its range; the network returns another shape, integers, or one class where the
            largest is asked for.

    Transforms:
        Works inside `jit` and `vmap`. Differentiable in the voxels and in what `network` closes over where `reduce` is
        `None` or "softmax"; the network is then run again for the gradient, so that its activations need not be kept.

        One program per shape of the image, options, and network. The network is traced at each call, and what it closes
        over (the weights of a Flax or Equinox module, of a `jax.tree_util.Partial`, of a lambda) becomes an argument of
        the program. So weights are up to date, are no constants, and another lambda that computes the same does not
        compile anew. Two
        exceptions: `jax.jit(network)` keeps the weights that it closes over as its own constants, so give the function
        without `jit`; and tracing costs up to some tenths of a second for a large network, which `jax.jit` around the
        whole call, with weights and image as arguments, saves. A module must be in its mode of evaluation
        (`model.eval()`): changes of its state are lost.

    Example:
        >>> image = mj.Image.from_array(np.arange(10.0, dtype=np.float32).reshape(10, 1, 1), spacing=2.0)
        >>> def network(x):
        ...     return jax.numpy.concatenate([5 - x, x - 5], axis=-1)
        >>> labels = mj.sliding_window(image, network, size=(4, 1, 1))
        >>> labels.voxels.ravel().tolist(), labels.kind, labels.spacing
        ([0, 0, 0, 0, 0, 0, 1, 1, 1, 1], 'label', (2.0, 2.0, 2.0))

    Source: nnU-Net's sliding window (Isensee et al. 2021), without its volume of logits.
    """
    _check_scan(image)
    sizes, shares = three_integers(size, "size", least=1), overlaps_of(overlap)
    check_choice(window, "window", get_args(Window))
    check_count(batch, "batch")
    if isinstance(reduce, str):
        check_choice(reduce, "reduce", ("argmax", "softmax"))
    passes = _passes_of(mirror)
    sums = jax.dtypes.canonicalize_dtype(dtype)
    if not jnp.issubdtype(sums, jnp.floating):
        raise ValueError(f"dtype must be a floating one, got {sums}")
    devices = _devices_of(sharding)
    if host and (is_traced(image.voxels) or sharding is not None):
        what = "an image that is traced" if sharding is None else "sharding"
        raise ValueError(
            f"host=True streams from the host's memory, which does not go with {what}; leave one of them out"
        )
    if pad_to not in (None, "step"):
        raise ValueError(f"pad_to must be 'step' or None, got {pad_to!r}")
    volume = _padded(image, sizes, shares, fill, pad_to)
    network_call, weights, logits = _traced(network, batch, sizes, volume)
    classes, is_whole = logits.shape[-1], reduce in (None, "softmax") and not host
    if classes == 1 and isinstance(reduce, str):
        raise ValueError(
            f"network returns one class, of which {reduce!r} is the same everywhere; give reduce a function, such as "
            "lambda logits: logits[..., 0] > 0"
        )
    shape = volume.shape[:3]
    if is_whole:
        layout = whole_layout(shape, sizes, passes, sums.name)
    else:
        layout = slab_layout(shape, sizes, shares, passes=passes, dtype=sums.name, classes=classes)
    call, further = _reduction(reduce, layout, classes)
    work, closed_over = Work(network_call, call, layout, sharding), (weights, further)
    if host:
        tables = one_row(shape, layout, shares, window, batch=batch)
        voxels = _streamed(np.asarray(volume), closed_over, tables, classes, work)
    else:
        table = scheduled(shape, layout, shares, window, batch=batch, devices=devices)
        if is_whole:
            voxels = averaged(volume, closed_over, table, work=work, is_softmax=reduce == "softmax")
        else:
            voxels = reduced(volume, closed_over, table, work=work)
    with at_once(voxels):
        if shape != image.shape:
            voxels = voxels[tuple(slice(n) for n in image.shape)]
        voxels = voxels.reshape(image.batch_shape + voxels.shape)
    is_label = voxels.dtype == bool or jnp.issubdtype(voxels.dtype, jnp.integer)
    kind: Kind = "label" if is_label else "intensity"
    return Image(voxels, image.affine, kind, image.metadata)


# --- Arguments -------------------------------------------------------------------------------------------------------


def _check_scan(image: Any) -> None:
    check_image(image, "image")
    if image.kind == "label":
        raise ValueError(
            "sliding_window takes intensities, got a label map; image.with_kind('intensity') says otherwise"
        )
    if image.batch_shape not in ((), (1,)):
        raise ValueError(
            f"sliding_window takes one image, got a batch of shape {image.batch_shape}: call it for each of "
            f"mj.unstack(image)"
        )
    if len(image.channels) > 1:
        raise ValueError(f"sliding_window takes one axis of channels, got {image.channels}: reshape them to one")
    if jnp.issubdtype(image.dtype, jnp.complexfloating):
        raise ValueError(
            f"sliding_window takes real voxels, got {image.dtype}; give real and imaginary part as channels"
        )


def _passes_of(mirror: Any) -> tuple[tuple[int, ...], ...]:
    """The axes of each pass, the window as it is first."""
    if isinstance(mirror, str) and mirror == "all":
        return ((), *_ALL)
    found: list[tuple[int, ...]] = [()]
    try:
        for axes in () if isinstance(mirror, str) else mirror:
            found.append(tuple(sorted(_AXES[axis] for axis in axes)))
        is_right = not isinstance(mirror, str) and len(set(found)) == len(found)
        is_right = is_right and all(len(set(axes)) == len(axes) for axes in found)
    except (TypeError, KeyError):
        is_right = False
    if not is_right:
        raise ValueError(
            f"mirror must be 'all', or for each further pass the axes that it mirrors, such as [('i',), ('i', 'j')]; "
            f"got {mirror!r}"
        )
    return tuple(found)


def _devices_of(sharding: Any) -> int:
    if sharding is None:
        return 1
    if not isinstance(sharding, NamedSharding) or len(sharding.spec) < 1 or sharding.spec[0] is None:
        raise ValueError(
            "sharding must be a NamedSharding whose first entry names mesh axes, such as "
            f"NamedSharding(mesh, PartitionSpec('windows')); got {sharding!r}"
        )
    names = sharding.spec[0]
    return math.prod(sharding.mesh.shape[name] for name in ((names,) if isinstance(names, str) else names))


def _padded(image: Image, size: Any, overlap: Any, fill: Any, pad_to: Any) -> Any:
    """The voxels `(i, j, k, c)`, of at least one window."""
    wanted = []
    for n, p, share in zip(image.shape, size, overlap, strict=True):
        step = max(round(p * (1 - share)), 1)
        more = max(n - p, 0)
        wanted.append(p + (-(-more // step) * step if pad_to == "step" else more))
    after = np.subtract(wanted, image.shape)
    image = Image(image.voxels, image.affine)  # what waits under `fuse` is interpolated first
    if after.any():
        image = pad(image, 0, after, fill=fill)
    voxels = image.voxels
    with at_once(voxels):
        return voxels.reshape((*image.shape, *(image.channels or (1,))))


def _traced(network: Any, batch: int, size: Any, volume: Any) -> tuple[Hoisted, Any, Any]:
    """Traces the network and checks what it returns."""
    if not callable(network):
        raise ValueError(f"network must be a function of windows, got {type(network).__name__}")
    windows = jax.ShapeDtypeStruct((batch, *size, volume.shape[-1]), compute_dtype(volume.dtype))
    try:
        call, weights, found = hoisted(network, windows)
    except Exception as error:
        error.add_note(f"sliding_window called network with windows of {windows.dtype} {windows.shape}, channels last")
        raise
    wanted = f"one floating array ({', '.join(map(str, windows.shape[:4]))}, classes)"
    if not isinstance(found, jax.ShapeDtypeStruct):
        raise ValueError(f"network must return {wanted}, got {type(found).__name__}; return the logits alone")
    is_right = len(found.shape) == 5 and found.shape[:4] == windows.shape[:4] and found.shape[-1] > 0
    if not is_right or not jnp.issubdtype(found.dtype, jnp.floating):
        hint = (
            "classes come last"
            if is_right or len(found.shape) == 5
            else "windows have a batch axis, and so have logits"
        )
        hint = "return logits, which reduce makes labels of" if is_right else hint
        raise ValueError(
            f"network must return {wanted} for windows of {windows.shape}, got {found.dtype} {found.shape}; {hint}"
        )
    return call, weights, found


def _reduction(reduce: Any, layout: Layout, classes: int) -> tuple[Hoisted, Any]:
    """What makes a result of mean logits, and what it closes over."""
    rows = (*layout.shape[: layout.axis], layout.leaving, *layout.shape[layout.axis + 1 :])
    logits = jax.ShapeDtypeStruct((*rows, classes), layout.dtype)
    label = np.min_scalar_type(classes)

    def largest(logits: Any) -> Any:
        """The first of the largest, or the first NaN, as `argmax`; two reductions, for XLA's CPU is slow at that
        one.
        """
        is_largest = (logits == logits.max(axis=-1, keepdims=True)) | jnp.isnan(logits)
        return jnp.where(is_largest, jnp.arange(classes).reshape(1, 1, 1, -1), classes).min(axis=-1).astype(label)

    named = {"argmax": largest, "softmax": lambda logits: jax.nn.softmax(logits, axis=-1), None: lambda logits: logits}
    call, closed_over, found = hoisted(reduce if callable(reduce) else named[reduce], logits)
    if not isinstance(found, jax.ShapeDtypeStruct) or found.shape[:3] != rows:
        shape = getattr(found, "shape", type(found).__name__)
        raise ValueError(f"reduce must return one array {(*rows, '...')} for logits of {logits.shape}, got {shape}")
    return call, closed_over


# --- From the host's memory ------------------------------------------------------------------------------------------


def _streamed(volume: np.ndarray, closed_over: Any, tables: Any, classes: int, work: Work) -> np.ndarray:
    """Sends one row of windows after the other; while the device works on one, the rows before it are fetched."""
    layout = work.layout
    axis, depth = layout.axis, layout.depth
    starts = tables[0].starts[axis][:-1].tolist()
    slab = jnp.zeros((*layout.shape, classes), layout.dtype)
    found: list[np.ndarray] = []
    before, waiting = 0, (jnp.zeros(()), 0)
    for number, (start, table) in enumerate(zip(starts, tables, strict=True)):
        part = volume[(slice(None),) * axis + (slice(start, start + depth),)]
        slab, rows = next_rows(part, closed_over, table, slab, np.int32(before), work=work)
        if number:
            found.append(_fetched(*waiting, axis))
        before, waiting = start, (rows, start - before)
    found.append(_fetched(*waiting, axis))
    rest = last_rows(slab, closed_over, np.int32(before), work=work)
    return np.concatenate([*found, np.asarray(rest)], axis=axis)


def _fetched(rows: jax.Array, count: int, axis: int) -> np.ndarray:
    return np.asarray(rows)[(slice(None),) * axis + (slice(count),)]
