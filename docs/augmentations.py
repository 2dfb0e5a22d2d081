"""Draws docs/augmentations.png: every step of mj.augment once, on made scans, with what it drew in words.

Run: `python docs/augmentations.py`. Needs matplotlib.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import matplotlib as mpl
import numpy as np
from PIL import Image as Pillow

import medjax as mj
from medjax.augment import Step

mpl.use("Agg")
from matplotlib import pyplot

A = mj.augment
PICTURE = Path(__file__).with_suffix(".png")
COLUMNS = 7


class Scene(NamedTuple):
    """What panels start from.

    Attributes:
        title: Above the first panel of a row.
        images: By name; a batch of two, of which the first item is shown and the second one is what mixing mixes in.
        shown: Which of them is drawn.
        plane: The slice, an index of LPS voxels.
        limits: Of the greys.
        under: Name of the image that is drawn under it, in grey; it is drawn in colour then.
    """

    title: str
    images: Mapping[str, mj.Image]
    shown: str
    plane: tuple[Any, ...]
    limits: tuple[float, float]
    under: str | None = None


class Row(NamedTuple):
    """A row of the picture: the scan as it was, then steps."""

    scene: Scene
    steps: Sequence[tuple[Step, Scene]]


def scenes() -> dict[str, Scene]:
    """A head in MR, a trunk in CT and PET."""
    heads = [mj.datasets.head_mr(seed, spacing=2.0).images for seed in (3, 4)]
    trunks = [mj.datasets.pet_ct(seed, spacing=3.5, pet_spacing=3.5).images for seed in (7, 8)]
    trunks = [{name: _trunk_of(image) for name, image in images.items()} for images in trunks]
    head = {name: mj.stack([images[name] for images in heads]) for name in ("mr", "labels")}
    trunk = {name: mj.stack([images[name] for images in trunks]) for name in ("ct", "pet")}
    axial, coronal = (slice(None), slice(None), head["mr"].shape[2] // 2 + 6), (slice(None), 46, slice(None))
    ct, pet = ({name: trunk[name]} for name in ("ct", "pet"))
    return {
        "head": Scene("MR", head, "mr", axial, (0, 650)),
        "made": Scene("", head, "mr", axial, (0, 255)),
        "ct": Scene("CT", ct, "ct", coronal, (-250, 350)),
        "window": Scene("", ct, "ct", coronal, (0, 1)),
        "pet": Scene("PET", pet, "pet", coronal, (6, 0)),
        "both": Scene("PET on CT", trunk, "pet", coronal, (0, 8), under="ct"),
    }


def _trunk_of(image: mj.Image) -> mj.Image:
    """From the pelvis to the shoulders, as high as it is wide."""
    low = round(float(image.grid.index(np.array([0.0, 0.0, -240.0]))[2]))
    return mj.crop(image, (0, 0, low), (*image.shape[:2], image.shape[0]))


def rows() -> list[Row]:
    """Every step; all are applied (p=1), and some have wider ranges than by default, so that a glance shows them."""
    known = scenes()
    head, ct, pet = known["head"], known["ct"], known["pet"]
    space = (
        A.mirror(axes="R", p=1),
        A.rotate90(planes=((0, 2),), quarter_turns=(1, 3), p=1),
        A.affine(rotation=A.uniform((0, 10, 0), (0, 20, 0)), scale=(0.7, 0.9)),
        A.elastic(points=8, amount=0.4, max_mm=30, lock=1),
        A.mixup(alpha=4.0, p=1),
        A.cutmix(alpha=4.0, p=1),
    )
    values = (
        A.gamma(log_gamma=(0.4, 0.7), p=1),
        A.contrast(factor=(0.3, 0.5), p=1),
        A.brightness(factor=(1.3, 1.6), p=1),
        A.histogram_shift(strength=0.95, points=6, p=1),
        A.bias_field(coefficient=(-0.5, 0.5), p=1),
        A.bias_lattice(std=(1.0, 1.2), p=1),
    )
    detail = (
        A.gaussian_noise(std=(0.2, 0.3), p=1),
        A.rician_noise(std=(0.1, 0.15), p=1),
        A.blur(sigma_mm=(2, 3), p=1),
        A.sharpen(amount=(2, 3), sigma_mm=2, p=1),
        A.low_resolution(spacing_factor=(3, 4), p=1),
        A.gibbs(keep=(0.25, 0.35), p=1),
    )
    artefacts = (A.motion(axis=1, p=1), A.ghosting(axis=1, p=1), A.spike(p=1), A.cutout(p=1), A.swap(size=15, p=1))
    of_pet = (
        A.count_noise(counts=(4, 8), p=1),
        A.dose_reduction(dose=(0.1, 0.2), p=1),
        A.psf(fwhm_mm=(8, 12), p=1),
        A.uptake(factor=(1.3, 1.5), p=1),
    )
    apart = A.misalign(only="pet", rotation=(2, 4), translation=A.uniform((15, 0, 15), (20, 0, 25)))
    made = A.labels_to_image(num_labels=16, labels="labels", to="mr")
    jitter = A.window_jitter(center=(0.2, 0.3), width=(0.5, 0.6), p=1)
    return [
        Row(ct, [(step, ct) for step in space]),
        Row(head, [(step, head) for step in values]),
        Row(head, [(step, head) for step in detail]),
        Row(head, [*((step, head) for step in artefacts), (made, known["made"])]),
        Row(pet, [*((step, pet) for step in of_pet), (apart, known["both"]), (A.presets.pet_ct(), known["both"])]),
        Row(ct, [(A.ct_noise(hu=(40, 60), p=1), ct), (jitter, known["window"]), *[(A.presets.ct(), ct)] * 4]),
    ]


def words_of(draw: Any) -> str:
    """What the first item's draw says: of one step its numbers, of a recipe the steps that were applied."""
    lines = [line for line in str(draw[0]).splitlines() if "not applied" not in line]
    if len(draw.entries) > 1:
        return ", ".join(dict.fromkeys(line.partition(":")[0].partition(" of ")[0] for line in lines))
    return re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2g}", lines[0].partition(": ")[2])


def draw_panel(axis: Any, scene: Scene, images: Mapping[str, mj.Image], title: str, words: str) -> None:
    """One slice, upright, in millimetres."""
    planes = {name: np.asarray(image.voxels)[0][scene.plane].T for name, image in images.items()}
    plane, spacing = planes[scene.shown], np.asarray(images[scene.shown].spacing)[0]
    sizes = [n for n, index in zip(spacing, scene.plane, strict=True) if isinstance(index, slice)]
    is_axial = not isinstance(scene.plane[2], slice)
    place = {
        "origin": "upper" if is_axial else "lower",
        "extent": (0, plane.shape[1] * sizes[0], *((plane.shape[0] * sizes[1], 0)[:: 1 if is_axial else -1])),
        "interpolation": "nearest",
    }
    low, high = scene.limits
    if scene.under is None:
        axis.imshow(plane, cmap="gray" if low < high else "gray_r", vmin=min(low, high), vmax=max(low, high), **place)
    else:
        axis.imshow(planes[scene.under], cmap="gray", vmin=-400, vmax=400, **place)
        axis.imshow(plane, cmap="hot", vmin=low, vmax=high, alpha=np.clip(plane / 3, 0, 0.65), **place)
    axis.set_title(title, fontsize=10, fontweight="bold")
    axis.set_xlabel("\n".join(textwrap.wrap(words, 33)[:4]), fontsize=6.5)
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_visible(False)


def main() -> None:
    """Draws the picture, in 200 colours."""
    found = rows()
    size = (1.75 * COLUMNS, 2.3 * len(found))
    figure, axes = pyplot.subplots(len(found), COLUMNS, figsize=size, layout="constrained")
    for row, line in zip(found, axes, strict=True):
        draw_panel(line[0], row.scene, row.scene.images, row.scene.title, "as it was")
        for column, (axis, (step, scene)) in enumerate(zip(line[1:], row.steps, strict=True), 1):
            draw = step.sample(jax.random.key(10 * column + 1), scene.images)
            name = (
                step.kind
                if len(draw.entries) == 1
                else f"presets.{scene.title.lower().replace('pet on ct', 'pet_ct')}()"
            )
            draw_panel(axis, scene, A.apply(draw, scene.images), name, words_of(draw))
    figure.savefig(PICTURE, dpi=100)
    with Pillow.open(PICTURE) as picture:
        picture.convert("RGB").quantize(200, dither=Pillow.Dither.NONE).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
