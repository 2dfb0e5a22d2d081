"""From a draw and images to changed images: one program, in which adjacent spatial steps are one gather."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._types import StaticSize, Voxels
from medjax._image._dtypes import device_voxels
from medjax._image._fill import label_limits
from medjax._image._image import Image
from medjax._image._keys import key_data_for
from medjax._kernels._batch import broadcast
from medjax._kernels._compiled import compiled
from medjax._kernels._values import without_wrapping
from medjax.augment._draw import Draw, Settings, step_of
from medjax.augment._frames import Frame, Reference, frames_of
from medjax.augment._intensities import changed
from medjax.augment._order import cutting_part, parts_in_order
from medjax.augment._patch import Patch, patch_in
from medjax.augment._points import Boxes, Points
from medjax.augment._sampling import ALONE, Images, Named, drawn_by, images_of, named, parts_of
from medjax.augment._space import Cut, Pictures, moved

__all__ = ["apply", "apply_sampled"]


def apply(draw: Draw, images: Images, *, size: StaticSize | None = None, start: Voxels | None = None) -> Any:
    """Changes images by a draw.

    The draw may come from other images, as long as their names, batch and channels are the same: then the same happens
    to these, about their own centre.

    With `size` the result is a patch: the one that `mj.crop` cuts out of the moved images, but no other voxel is
    gathered. The last gather of the recipe cuts it out. Later steps see the patch alone, and mirrors among them reverse
    it about its own centre. A recipe without a gather cuts first.

    Args:
        draw: From `step.sample`, or from `Draw.from_json`.
        images: An image, or a dictionary of images, points and boxes.
        size: Voxels of the patch along i, j, k of the reference image, one integer or three; static. Default the whole
            images. Images on other lattices are gathered onto the patch.
        start: Index of the patch's first voxel, three integers or `(*batch, 3)`. May be traced: then a start beyond the
            edge is moved inside. Default the patch in the middle.

    Returns:
        The images in the same structure, with their affines, kinds and metadata. Intensities that a step may change are
        float32 (float64 if they were and x64 is on); labels keep their dtype. With `repeat` they have a first batch
        axis.

    Raises:
        ValueError: an image that the draw speaks of is missing, the batches differ, or the patch does not lie inside
            the reference image.

    Transforms:
        Differentiable in the voxels and in every continuous number of the draw. Compiles once per structure of the
        recipe and shape of the images and the patch, not per draw or start.

    Example:
        >>> image = mj.Image.from_array(np.arange(4.0).reshape(4, 1, 1))
        >>> draw = mj.augment.mirror(axes=0, p=1).sample(jax.random.key(0), image)
        >>> mj.augment.apply(draw, image).voxels.ravel().tolist()
        [3.0, 2.0, 1.0, 0.0]
        >>> patch = mj.augment.apply(draw, image, size=(2, 1, 1), start=(0, 0, 0))
        >>> patch.voxels.ravel().tolist()
        [3.0, 2.0]
    """
    if not isinstance(draw, Draw):
        raise ValueError(f"draw must be a Draw, as step.sample returns it, got {type(draw).__name__}")
    given, names = named(images, draw.settings, [step_of(entry) for entry in draw.entries])
    _check_draw(draw, given, names)
    patch = patch_in(given, draw.settings.reference, size, start)
    operands, restores = _operands(given, names, draw.settings.reference, patch)
    parts = [(step_of(entry), _names_in(step_of(entry), draw.values[entry.name])) for entry in draw.entries]
    plan = _plan_of(given, parts, draw.batch_shape, names, draw.settings, patch)
    found = _applied(draw, operands, plan=plan)
    return _as_given(images, given, found, restores, draw.batch_shape, patch)


def apply_sampled(step: Any, keys: Any, images: Any, size: Any, start: Any) -> Any:
    """Draws and applies in one program; `Step.__call__` explains the arguments."""
    given, names = named(images, step.settings, parts_of(step))
    data, patch = key_data_for(keys, names.batch), patch_in(given, names.reference, size, start)
    operands, restores = _operands(given, names, names.reference, patch)
    batch = names.batch if step.views is None else (step.views, *names.batch)
    parts = [(part, images_of(part, names)) for part in parts_of(step)]
    plan = _plan_of(given, parts, batch, names, step.settings, patch)
    found = _sampled_and_applied(step, data, operands, names=names, plan=plan)
    return _as_given(images, given, found, restores, batch, patch)


def _names_in(step: Any, values: Mapping[str, Any]) -> list[str]:
    return [] if step.is_shared_by_images else list(values)


class Operands(NamedTuple):
    """What a program takes of images.

    Attributes:
        voxels: Of each picture, as a device takes them.
        affines: Of each picture, float32.
        points: Positions of points, and corners of boxes, by name.
        reference: The image about whose centre things move; `None` where there is no picture.
        frames: Of each picture.
        start: Index of the patch's first voxel, `(*batch, 3)`; `None` without a patch.
    """

    voxels: dict[str, Any]
    affines: dict[str, Any]
    points: dict[str, Any]
    reference: Reference | None
    frames: dict[str, Frame]
    start: Any


class Plan(NamedTuple):
    """What is static about a call.

    Attributes:
        kinds: Kind of each picture.
        alike: For each picture the first one on its lattice.
        touched: Names of what some step may change.
        size: Voxels of the patch; `None` without one.
    """

    kinds: tuple[tuple[str, str], ...]
    alike: tuple[tuple[str, str], ...]
    touched: tuple[str, ...]
    size: tuple[int, ...] | None


def _operands(
    given: Mapping[str, Any], names: Named, reference: str | None, patch: Patch | None
) -> tuple[Operands, dict[str, Any]]:
    pictures = {name: image for name, image in given.items() if isinstance(image, Image)}
    real = jax.dtypes.canonicalize_dtype(np.float64)
    voxels, restores = {}, {}
    for name, image in pictures.items():
        if jnp.issubdtype(image.dtype, jnp.complexfloating):
            raise ValueError(f"images[{name!r}] holds complex voxels; augment takes real ones, such as the magnitude")
        if image.kind == "label":
            voxels[name], restores[name] = device_voxels(image.voxels, is_label=True)
        else:
            voxels[name], restores[name] = without_wrapping(image.voxels), lambda out: out
    affines = {
        name: image.affine.astype(real) if isinstance(image.affine, np.ndarray) else jnp.asarray(image.affine, real)
        for name, image in pictures.items()
    }
    points = {
        name: part.positions if isinstance(part, Points) else (part.low, part.high)
        for name, part in given.items()
        if not isinstance(part, Image)
    }
    points = jax.tree.map(lambda x: x.astype(real) if isinstance(x, np.ndarray) else jnp.asarray(x, real), points)
    if points and reference is None:
        raise ValueError("points and boxes move about the centre of an image; give the image too")
    own, frames = (None, {}) if reference is None else frames_of(pictures, reference)
    start = None if patch is None else broadcast(patch.start, (*names.batch, 3))
    return Operands(voxels, affines, points, own, frames, start), restores


def _plan_of(
    given: Mapping[str, Any],
    parts: Sequence[tuple[Any, Iterable[str]]],
    batch: tuple[int, ...],
    names: Named,
    settings: Settings,
    patch: Patch | None,
) -> Plan:
    """Finds what is static about a call, and refuses images that do not suit.

    Args:
        given: The images by name.
        parts: The steps, each with the names of the images that it changes one by one.
        batch: Batch axes of the result.
        names: What a draw knows of the images.
        settings: What the recipe does with labels.
        patch: The patch to cut out.
    """
    pictures = {name: image for name, image in given.items() if isinstance(image, Image)}
    alike: dict[str, str] = {}
    for name, image in pictures.items():
        alike[name] = next((other for other in alike if _is_one_lattice(pictures[other], image)), name)
    touched: set[str] = set() if patch is None else set(pictures)
    for step, own in parts:
        if step.role == "spatial":
            step.check_place(pictures, names.reference)
        if step.role == "mixing":
            step.check_batch(batch)
            touched |= set(pictures) if step.adds is None else {step.adds[1]}
        elif step.role == "spatial" and step.is_shared_by_images:
            touched |= set(given)
        elif step.role != "choice":
            touched |= set(own)
            missing = sorted(set(own) - set(given))
            if missing:
                raise ValueError(
                    f"the draw changes {missing} by {step.kind}, which are none of the images {sorted(given)}"
                )
    for name, image in pictures.items():
        low, high = label_limits(image.dtype) if image.kind == "label" else (settings.label_fill, settings.label_fill)
        if not low <= settings.label_fill <= high:
            raise ValueError(
                f"label_fill={settings.label_fill} is no {image.dtype}, as images[{name!r}] holds: cast the labels "
                f"first"
            )
    kinds = tuple((name, image.kind) for name, image in pictures.items())
    size = None if patch is None else patch.grid.shape
    return Plan(kinds, tuple(alike.items()), tuple(sorted(touched)), size)


def _is_one_lattice(one: Image, other: Image) -> bool:
    if one.shape != other.shape:
        return False
    if one.affine is other.affine:
        return True
    are_known = isinstance(one.affine, np.ndarray) and isinstance(other.affine, np.ndarray)
    return are_known and np.allclose(one.affine, other.affine, rtol=0, atol=1e-6)


def _check_draw(draw: Draw, given: Mapping[str, Any], names: Named) -> None:
    lead = draw.batch_shape
    if lead[len(lead) - len(names.batch) :] != names.batch or len(lead) > len(names.batch) + 1:
        raise ValueError(
            f"the draw is for a batch of shape {lead}, the images have {names.batch}; draw[i] is the draw of one "
            f"item, and "
            "stack makes a batch of images"
        )


def _run(draw: Draw, operands: Operands, plan: Plan) -> dict[str, Any]:
    """Applies a draw in a trace; returns voxels, positions and corners of what is touched, by name."""
    depth = len(draw.batch_shape)
    operands = _with_views(draw.batch_shape, operands)
    state = Pictures(
        dict(operands.voxels), operands.affines, dict(operands.points), operands.reference, operands.frames, plan, depth
    )
    steps, values = [step_of(entry) for entry in draw.entries], [draw.values[entry.name] for entry in draw.entries]
    cut = None if plan.size is None else Cut(plan.size, operands.start)
    parts = parts_in_order(steps, draw.settings.fill)
    for number, part in enumerate(parts):
        is_cutting = number == cutting_part(parts, steps)
        moves = [(steps[n], values[n]) for n in part.moves]
        state = moved(state, moves, draw.settings, cut if is_cutting else None)
        for n in part.acts:
            _act(state, steps[n], values[n])
    return {name: state.voxels[name] if name in state.voxels else state.points[name] for name in plan.touched}


def _act(state: Pictures, step: Any, values: Any) -> None:
    """Changes voxels by a step that moves nothing."""
    if step.role == "mixing":
        pictures = {name: Image(x, state.affines[name], state.kinds[name]) for name, x in state.voxels.items()}
        state.voxels |= {name: image.voxels for name, image in step.mixed(pictures, values).items()}
    else:
        for name, own in values.items():
            state.voxels[name] = changed(step, own, state, name)


def _with_views(batch: Sequence[int], operands: Operands) -> Operands:
    """Gives operands the axis of views where a draw has one."""
    if operands.reference is None or operands.reference.center.shape[:-1] == tuple(batch):
        return operands
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (batch[0], *leaf.shape)), operands)


@functools.partial(compiled, static_argnames=("plan",))
def _applied(draw: Draw, operands: Operands, *, plan: Plan) -> dict[str, Any]:
    return _run(draw, operands, plan)


@functools.partial(compiled, static_argnames=("names", "plan"))
def _sampled_and_applied(step: Any, keys: Any, operands: Operands, *, names: Named, plan: Plan) -> dict[str, Any]:
    return _run(drawn_by(step, keys, names), operands, plan)


def _as_given(
    images: Any,
    given: Mapping[str, Any],
    found: Mapping[str, Any],
    restores: Mapping[str, Any],
    batch: tuple[int, ...],
    patch: Patch | None,
) -> Any:
    """Puts what was computed into the structure of the images."""
    out: dict[str, Any] = {}
    for name, image in given.items():
        is_wider = image.batch_shape != batch
        if name not in found and not is_wider:
            out[name] = image
        elif isinstance(image, Points):
            out[name] = Points(found[name] if name in found else _wider(image.positions, batch[0]))
        elif isinstance(image, Boxes):
            own = found[name] if name in found else (_wider(image.low, batch[0]), _wider(image.high, batch[0]))
            out[name] = Boxes(*own)
        else:
            voxels = found[name] if name in found else _wider(image.voxels, batch[0])
            is_mixed = image.kind == "label" and jnp.issubdtype(voxels.dtype, np.floating)  # shares of classes
            voxels = restores[name](voxels) if name in found and not is_mixed else voxels
            kind: Any = "intensity" if is_mixed else image.kind
            affine = image.affine if patch is None else patch.grid.affine
            affine = _wider(affine, batch[0]) if is_wider else affine
            is_single = is_wider and not image.batch_shape and image.metadata is not None
            metadata = (image.metadata,) * batch[0] if is_single else None if is_wider else image.metadata
            out[name] = Image(voxels, affine, kind, metadata)
    return out if isinstance(images, Mapping) else out[ALONE]


def _wider(array: Any, views: int) -> Any:
    return broadcast(array[None], (views, *array.shape))
