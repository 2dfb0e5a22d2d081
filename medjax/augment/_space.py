"""Adjacent spatial steps of a draw and the cut of a patch, for all images at once: one gather for each lattice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from medjax._geometry._grid import transformed
from medjax._image._dtypes import compute_dtype
from medjax._image._fill import background
from medjax._kernels._batch import in_all_items, over_batch
from medjax.augment._draw import Settings
from medjax.augment._frames import Frame, Reference, is_own_lattice, patch_of
from medjax.augment._moves import Target, composed, flipped, moved_points, moved_volume, needs_gather
from medjax.augment._points import corners_of

__all__ = ["Cut", "Pictures", "moved"]


class Cut(NamedTuple):
    """The patch of a call, a box of the reference's lattice.

    Attributes:
        size: Voxels; static.
        start: Index of its first voxel, `(*batch, 3)`.
    """

    size: tuple[int, ...]
    start: Any


@dataclasses.dataclass
class Pictures:
    """The images of a call, while steps change them.

    Attributes:
        voxels: `(*batch, i, j, k, *channels)`, by name.
        affines: `(*batch, 4, 4)`, by name.
        points: Positions of points, corners of boxes, by name.
        reference: The image about whose centre things move.
        frames: Where the pictures lie, by name.
        plan: What is static: kinds, and which pictures lie on one lattice.
        depth: Number of batch axes.
    """

    voxels: dict[str, Any]
    affines: dict[str, Any]
    points: dict[str, Any]
    reference: Reference | None
    frames: dict[str, Frame]
    plan: Any
    depth: int

    @property
    def kinds(self) -> dict[str, Any]:
        return dict(self.plan.kinds)


def moved(state: Pictures, steps: Sequence[tuple[Any, Any]], settings: Settings, cut: Cut | None = None) -> Pictures:
    """Moves the content of all images by spatial steps and their values, and cuts the patch out of what has moved."""
    if not steps and cut is None:
        return state
    alike = dict(state.plan.alike)
    groups: dict[Any, list[str]] = {}
    for name in state.voxels:
        own = tuple(n for n, (step, values) in enumerate(steps) if not step.is_shared_by_images and name in values)
        groups.setdefault((alike[name], own), []).append(name)
    for members in groups.values():
        state = _moved_together(state, members, steps, settings, cut)
    for name, part in state.points.items() if steps else ():
        state.points[name] = _points(state, name, part, steps)
    return state if cut is None else _about_patch(state, str(settings.reference), cut)


def _about_patch(state: Pictures, reference: str, cut: Cut) -> Pictures:
    """All pictures lie on the patch now, and what follows moves about its centre."""
    frame, affine, real = state.frames[reference], state.affines[reference], state.frames[reference].linear.dtype
    own, patch = over_batch(lambda start, frame, own: patch_of(own, frame, cut.size, start), state.depth)(
        cut.start, frame, state.reference
    )
    origin = affine[..., :3, 3] + transformed(affine[..., :3, :3], cut.start.astype(real))
    affine = jnp.concatenate(
        [jnp.concatenate([affine[..., :3, :3], origin[..., None]], -1), affine[..., 3:, :]], axis=-2
    )
    names = state.frames
    return dataclasses.replace(
        state, affines=dict.fromkeys(names, affine), frames=dict.fromkeys(names, patch), reference=own
    )


def _for_image(steps: Sequence[tuple[Any, Any]], name: str) -> tuple[list[Any], list[Any]]:
    """The steps that move an image, and their values for it."""
    used = [(step, values if step.is_shared_by_images else values.get(name)) for step, values in steps]
    return [step for step, values in used if values is not None], [values for _, values in used if values is not None]


def _moved_together(
    state: Pictures, names: Sequence[str], steps: Sequence[tuple[Any, Any]], settings: Settings, cut: Cut | None
) -> Pictures:
    """The same for images of one lattice."""
    used, values = _for_image(steps, names[0])
    if not used and cut is None:
        return state
    frame, reference, depth, kinds = state.frames[names[0]], state.reference, state.depth, state.kinds
    alike = dict(state.plan.alike)
    is_own = cut is None or alike[names[0]] == alike[str(settings.reference)]
    onto = frame if is_own else state.frames[str(settings.reference)]
    size, start = (frame.shape, None) if cut is None else cut
    are_labels = [kinds[name] == "label" for name in names]
    volumes = [state.voxels[name] for name in names]
    how = []
    for volume, is_label in zip(volumes, are_labels, strict=True):
        classes = settings.num_classes if is_label and settings.label_mode == "vote" else None
        how.append((None if is_label else compute_dtype(volume.dtype), classes))

    def total(reference: Any, values: Any) -> Any:
        moves = [step.move(own, reference) for step, own in zip(used, values, strict=True)]
        return composed(moves, frame.linear.dtype)

    def relabelled(volume: Any, values: Any, reference: Any) -> Any:
        """Labels of either side change places where the image is mirrored."""
        for step, own in zip(used, values, strict=True):
            volume = step.relabelled(volume, own, reference)
        return volume

    def target(frame: Any, reference: Any, onto: Any, start: Any) -> Target:
        return Target(frame if is_own else onto, reference, is_own or is_own_lattice(frame, reference), size, start)

    def needs(move: Any, frame: Any, reference: Any) -> Any:
        wanted = needs_gather(move, frame)
        return wanted if is_own else wanted | ~is_own_lattice(frame, reference)

    def reversed_axes(volumes: Any, move: Any, *places: Any) -> Any:
        found = [flipped(volume, move, target(*places)) for volume in volumes]
        return tuple(x if dtype is None else x.astype(dtype) for x, (dtype, _) in zip(found, how, strict=True))

    def gathered(volumes: Any, move: Any, *places: Any) -> Any:
        frame = places[0]
        fills = [_fill(volume, is_label, settings) for volume, is_label in zip(volumes, are_labels, strict=True)]
        return moved_volume(volumes, fills, move, frame, target(*places), how)

    for number, is_label in enumerate(are_labels):
        if is_label and any(step.relabels for step in used):
            volumes[number] = over_batch(relabelled, depth)(volumes[number], values, reference)
    move = over_batch(total, depth)(reference, values)
    places = frame, reference, onto, start
    if all(step.only_reverses for step in used) and frame.is_known_alike and is_own:
        out = over_batch(reversed_axes, depth)(tuple(volumes), move, *places)
    elif frame.shape != onto.shape and not is_own:
        out = over_batch(gathered, depth)(tuple(volumes), move, *places)
    else:
        wanted = over_batch(needs, depth)(move, frame, reference).any()
        out = jax.lax.cond(
            ~in_all_items(~wanted),
            lambda: over_batch(gathered, depth)(tuple(volumes), move, *places),
            lambda: over_batch(reversed_axes, depth)(tuple(volumes), move, *places),
        )
    state.voxels.update(zip(names, out, strict=True))
    return state


def _fill(volume: Any, is_label: bool, settings: Settings) -> Any:
    channels = volume.shape[3:]
    if is_label:
        return jnp.full(channels, settings.label_fill, volume.dtype)
    return background(volume) if settings.fill is None else jnp.full(channels, settings.fill, jnp.float32)


def _points(state: Pictures, name: str, part: Any, steps: Sequence[tuple[Any, Any]]) -> Any:
    """Points or boxes where their content goes."""
    used, values = _for_image(steps, name)
    reference: Any = state.reference

    def one(part: Any, values: Any, reference: Any) -> Any:
        moves = [step.move(own, reference) for step, own in zip(used, values, strict=True)]
        move = composed(moves, reference.center.dtype)
        if not isinstance(part, tuple):
            return moved_points(part, move, reference)
        corners = corners_of(*part)
        there = moved_points(corners.reshape(-1, 3), move, reference).reshape(corners.shape)
        return there.min(1), there.max(1)

    return over_batch(one, state.depth)(part, values, reference)
