"""Adjacent spatial steps of a draw, applied to all images at once: one gather for each lattice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from medjax._image._dtypes import compute_dtype
from medjax._image._fill import background
from medjax._kernels._batch import in_all_items, over_batch
from medjax.augment._draw import Settings
from medjax.augment._frames import Frame, Reference
from medjax.augment._moves import composed, flipped, moved_points, moved_volume, needs_gather
from medjax.augment._points import corners_of

__all__ = ["Pictures", "moved"]


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


def moved(state: Pictures, steps: Sequence[tuple[Any, Any]], settings: Settings) -> Pictures:
    """Moves the content of all images by spatial steps and their values."""
    if not steps:
        return state
    alike = dict(state.plan.alike)
    groups: dict[Any, list[str]] = {}
    for name in state.voxels:
        own = tuple(n for n, (step, values) in enumerate(steps) if not step.is_shared_by_images and name in values)
        groups.setdefault((alike[name], own), []).append(name)
    for members in groups.values():
        state = _moved_together(state, members, steps, settings)
    for name, part in state.points.items():
        state.points[name] = _points(state, name, part, steps)
    return state


def _for_image(steps: Sequence[tuple[Any, Any]], name: str) -> tuple[list[Any], list[Any]]:
    """The steps that move an image, and their values for it."""
    used = [(step, values if step.is_shared_by_images else values.get(name)) for step, values in steps]
    return [step for step, values in used if values is not None], [values for _, values in used if values is not None]


def _moved_together(
    state: Pictures, names: Sequence[str], steps: Sequence[tuple[Any, Any]], settings: Settings
) -> Pictures:
    """The same for images of one lattice."""
    used, values = _for_image(steps, names[0])
    if not used:
        return state
    frame, reference, depth, kinds = state.frames[names[0]], state.reference, state.depth, state.kinds
    are_labels = [kinds[name] == "label" for name in names]
    volumes = [state.voxels[name] for name in names]
    how = []
    for volume, is_label in zip(volumes, are_labels, strict=True):
        classes = settings.num_classes if is_label and settings.label_mode == "vote" else None
        how.append((None if is_label else compute_dtype(volume.dtype), classes))

    def total(values: Any, reference: Any) -> Any:
        moves = [step.move(own, reference) for step, own in zip(used, values, strict=True)]
        return composed(moves, frame.linear.dtype)

    def relabelled(volume: Any, values: Any, reference: Any) -> Any:
        """Labels of either side change places where the image is mirrored."""
        for step, own in zip(used, values, strict=True):
            volume = step.relabelled(volume, own, reference)
        return volume

    def reversed_axes(volumes: Any, move: Any) -> Any:
        return tuple(
            flipped(volume if dtype is None else volume.astype(dtype), move)
            for volume, (dtype, _) in zip(volumes, how, strict=True)
        )

    def gathered(volumes: Any, move: Any, frame: Any, reference: Any) -> Any:
        fills = [_fill(volume, is_label, settings) for volume, is_label in zip(volumes, are_labels, strict=True)]
        return moved_volume(volumes, fills, move, frame, reference, how)

    for number, is_label in enumerate(are_labels):
        if is_label and any(step.relabels for step in used):
            volumes[number] = over_batch(relabelled, depth)(volumes[number], values, reference)
    move = over_batch(total, depth)(values, reference)
    if all(step.only_reverses for step in used) and frame.is_known_alike:
        out = over_batch(reversed_axes, depth)(tuple(volumes), move)
    else:
        wanted = over_batch(needs_gather, depth)(move, frame).any()
        out = jax.lax.cond(
            ~in_all_items(~wanted),
            lambda: over_batch(gathered, depth)(tuple(volumes), move, frame, reference),
            lambda: over_batch(reversed_axes, depth)(tuple(volumes), move),
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
