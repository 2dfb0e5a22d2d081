"""One compilation for all scans: what was compiled for the first image serves all others of its shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scans import oblique_affine
from scipy.spatial.transform import Rotation

import medjax as mj
from medjax import Image, Metadata


def test_two_hundred_scans_compile_once(compilations: Any) -> None:
    @jax.jit
    def operation(image: Image, fill: Any) -> Image:
        return image.with_voxels(jnp.where(image.voxels > 0, image.voxels, fill))

    rng = np.random.default_rng(0)
    with compilations:
        for number in range(200):
            turn = Rotation.random(random_state=number).as_matrix()
            image = Image.from_array(
                rng.normal(size=(3, 4, 5)).astype(np.float32),
                spacing=rng.uniform(0.3, 5.0, 3),
                origin=rng.normal(0, 300, 3),
                direction=turn,
                metadata=Metadata(patient_id=f"patient {number}", extra={"Slope": number}) if number % 7 else None,
            )
            out = operation(image, np.float32(number))
            assert out.metadata is None
            np.testing.assert_array_equal(out.voxels, np.where(image.voxels > 0, image.voxels, number))
    assert compilations.count == 1


REFERENCE = Image.from_array(np.zeros((5, 6, 4), np.float32), affine=oblique_affine(), metadata=Metadata(modality="PT"))
OPERATIONS: dict[str, Callable[[Image, np.random.Generator, float], Image]] = {
    "resample_to_spacing": lambda x, rng, fill: mj.resample_to_spacing(
        x, np.array(x.spacing) * rng.uniform(0.595, 0.605), fill=fill
    ),
    "resample_to_image": lambda x, rng, fill: mj.resample_to_image(x, REFERENCE, fill=fill),
    "resample_to_grid": lambda x, rng, fill: mj.resample_to_grid(x, moved_grid(rng), fill=fill),
    "scale": lambda x, rng, fill: mj.scale(x, rng.uniform(1.61, 1.69)),
    "rotate": lambda x, rng, fill: mj.rotate(x, 2, rng.uniform(-90, 90), fill=fill),
    "affine_transform": lambda x, rng, fill: mj.affine_transform(
        x, mj.affine_matrix(rng.normal(size=3), rng.normal(size=3)), fill=fill
    ),
    "translate": lambda x, rng, fill: mj.translate(x, rng.normal(size=3), unit="mm"),
    "flip": lambda x, rng, fill: mj.flip(x, 1),
    "crop": lambda x, rng, fill: mj.crop(x, (1, 0, 2), (3, 4, 3)),
    "pad": lambda x, rng, fill: mj.pad(x, (1, 0, 2), (0, 3, 1), fill=fill),
    "crop_or_pad": lambda x, rng, fill: mj.crop_or_pad(x, (4, 9, 2), fill=fill),
    "z_score_normalize": lambda x, rng, fill: mj.z_score_normalize(x),
    "clip": lambda x, rng, fill: mj.clip(x, fill, fill + 1),
    "window": lambda x, rng, fill: mj.window(x, fill, 2.0 + fill**2),
}


def moved_grid(rng: np.random.Generator) -> mj.Grid:
    return mj.Grid.of((5, 6, 4), affine=oblique_affine(spacing=rng.uniform(0.5, 2.0, 3), origin=rng.normal(0, 5, 3)))


@pytest.mark.filterwarnings("ignore:.*overlap")  # random grids may lie apart
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_operations_on_two_hundred_scans_compile_once(operation: Any, compilations: Any) -> None:
    """Whatever the first scan compiled serves all others, and each result has its own scan's metadata."""
    rng = np.random.default_rng(0)
    counts = []
    for number in range(200):
        image = Image.from_array(
            rng.normal(size=(5, 6, 7)).astype(np.float32),
            spacing=rng.uniform(0.3, 5.0, 3),
            origin=rng.normal(0, 5, 3),
            direction=Rotation.random(random_state=number).as_matrix(),
            metadata=Metadata(patient_id=f"patient {number}", extra={"Slope": number}),
        )
        image = image if number % 2 else image.with_voxels(jnp.asarray(image.voxels))
        with compilations:
            out = operation(image, rng, float(rng.normal()))
        counts.append(compilations.count)
        assert out.metadata is image.metadata
    assert sum(counts[2:]) == 0  # the first with NumPy voxels, the first with JAX voxels


def test_what_is_static_does_compile_anew(compilations: Any) -> None:
    """The counterpart of the test above: the counter counts."""
    operation = jax.jit(lambda image: image)
    labels = Image.from_array(np.zeros((3, 4, 5), np.int32))
    with compilations:
        operation(labels)
        operation(labels.with_kind("label"))
        operation(Image.from_array(np.zeros((3, 4, 6), np.int32)))
    assert compilations.count == 3
