"""From a recipe, keys and the names of images to a draw."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp

from medjax._image._image import Image, check_image
from medjax._image._keys import key_data_for
from medjax._kernels._compiled import compiled
from medjax.augment._draw import Draw, Entry, Settings
from medjax.augment._points import Boxes, Points
from medjax.augment._randomness import Request, numbers_of

__all__ = ["Images", "Named", "Node", "drawn_by", "images_of", "named", "parts_of", "sample"]

Images: TypeAlias = Image | Mapping[str, Image | Points | Boxes]

ALONE = "image"
"""The name of an image that comes without one."""


class Node(NamedTuple):
    """A part of a recipe that draws.

    Attributes:
        step: The step, or the composition.
        name: Its name in the recipe.
        gate: Number of the node that decides whether it acts, and which of its branches this is; `None` for no node.
    """

    step: Any
    name: str
    gate: tuple[int, int] | None


class Named(NamedTuple):
    """What is static about the images of a call, to a draw.

    Attributes:
        channels: Channel axes of each image of intensities, by name.
        others: Names of labels, points and boxes.
        batch: Batch axes.
        reference: The image about whose centre things move; `None` where there is no image.
    """

    channels: tuple[tuple[str, tuple[int, ...]], ...]
    others: tuple[str, ...]
    batch: tuple[int, ...]
    reference: str | None


def sample(step: Any, keys: Any, images: Any) -> Draw:
    """Draws a recipe's parameters; `Step.sample` explains the arguments."""
    _, names = named(images, step.settings, parts_of(step))
    return _sampled(step, key_data_for(keys, names.batch), names=names)


def parts_of(step: Any) -> list[Any]:
    """The parts of a recipe that draw."""
    nodes: list[Node] = []
    step.list_into(nodes)
    return [node.step for node in nodes]


def named(images: Any, settings: Settings, parts: Iterable[Any]) -> tuple[dict[str, Any], Named]:
    """Returns images by name, those that a part makes of labels among them, and what a draw must know of them.

    Raises:
        ValueError: something is no image, or the batches differ.
    """
    if isinstance(images, Mapping):
        given = dict(images)
    else:
        check_image(images, "images")
        given = {ALONE: images}
    for name, image in given.items():
        if not isinstance(name, str):
            raise ValueError(f"images are named by strings, got {name!r}")
        if not isinstance(image, Points | Boxes):
            check_image(image, f"images[{name!r}]")
    if not given:
        raise ValueError("images are empty: give an Image, or a dictionary of them")
    for part in parts:
        if part.role == "mixing":
            _add_to(given, part)
    batches = {name: image.batch_shape for name, image in given.items()}
    if len(set(batches.values())) > 1:
        raise ValueError(f"all images must have one batch shape, got {batches}; stack makes a batch")
    pictures = {name: image for name, image in given.items() if isinstance(image, Image)}
    amounts = [name for name, image in pictures.items() if image.kind == "intensity"]
    reference = settings.reference or next(iter([*amounts, *pictures]), None)
    if reference is not None and reference not in pictures:
        raise ValueError(
            f"reference={reference!r} is none of the images {sorted(pictures)}: things move about its centre, so "
            f"give it too"
        )
    channels = tuple((name, tuple(pictures[name].channels)) for name in amounts)
    others = tuple(name for name in given if name not in amounts)
    return given, Named(channels, others, next(iter(batches.values())), reference)


def _add_to(given: dict[str, Any], part: Any) -> None:
    """Gives the image that a part makes its place; raises `ValueError` where the part lacks its labels."""
    if part.adds is None:
        return
    labels, to = part.adds
    source = given.get(labels)
    if not isinstance(source, Image) or source.kind != "label" or source.channels:
        raise ValueError(f"{part.kind} needs a label image without channels, images[{labels!r}], among {sorted(given)}")
    before = given.get(to)
    if isinstance(before, Image) and (before.kind, tuple(before.voxels.shape)) == (
        "intensity",
        tuple(source.voxels.shape),
    ):
        return
    if before is not None:
        raise ValueError(
            f"{part.kind} makes images[{to!r}], which is there and no image of intensities on the labels' grid"
        )
    metadata = source.metadata
    given[to] = Image(jnp.zeros(source.voxels.shape, jnp.float32), source.affine, "intensity", metadata)


@functools.partial(compiled, static_argnames=("names",))
def _sampled(step: Any, keys: Any, *, names: Named) -> Draw:
    return drawn_by(step, keys, names)


def drawn_by(step: Any, keys: Any, names: Named) -> Draw:
    """Draws in a trace, from the data of the keys."""
    nodes: list[Node] = []
    step.list_into(nodes)
    requests, whose = [], []
    for node in nodes:
        for image, channels in _images_of(node.step, names):
            for parameter, shape in node.step.requests(channels).items():
                is_own = image is not None and not node.step.is_shared
                requests.append(Request(node.name, image if is_own else None, parameter, shape))
                whose.append((node.name, image, parameter))
    key, numbers = numbers_of(keys, names.batch, requests, step.views)
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    for (name, image, parameter), number in zip(whose, numbers, strict=True):
        found.setdefault((name, image), {})[parameter] = number

    values: dict[str, Any] = {}
    gates: list[Any] = []
    for node in nodes:
        gate = None if node.gate is None else gates[node.gate[0]][node.gate[1]]
        own = {}
        for image, _ in _images_of(node.step, names):
            made = node.step.values(found[node.name, image])
            if gate is not None:
                made["applied"] = made["applied"] & gate.reshape(gate.shape + (1,) * (made["applied"].ndim - gate.ndim))
            own[image] = made
        values[node.name] = own[None] if node.step.is_shared_by_images else own
        gates.append(node.step.gates(values[node.name]) if node.step.role == "choice" else [])
    entries = tuple(Entry(node.name, node.step.kind, node.step.options) for node in nodes)
    return Draw(key, values, entries, step.settings._replace(reference=names.reference))


def images_of(step: Any, names: Named) -> list[str]:
    """The images that a step draws for, each by itself."""
    return [name for name, _ in _images_of(step, names) if name is not None]


def _images_of(step: Any, names: Named) -> list[tuple[str | None, tuple[int, ...]]]:
    """The same with their channel axes; `None` where one draw is for all.

    Raises:
        ValueError: the step names an image that is not there.
    """
    if step.is_shared_by_images:
        return [(None, ())]
    channels = dict(names.channels)
    known = [*channels, *names.others]
    for option in ("only", "skip"):
        unknown = [name for name in getattr(step, option) or () if name not in known]
        if unknown:
            raise ValueError(f"{type(step).__name__}: {option}={unknown} are none of the images {known}")
    candidates = known if step.role == "spatial" else list(channels)
    chosen = [name for name in candidates if (step.only is None or name in step.only) and name not in step.skip]
    return [(name, channels.get(name, ())) for name in chosen]
