"""`jax.export`: images and transforms cross the border of a process, and the number of items may stay open."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import medjax as mj

RNG = np.random.default_rng(0)
REFERENCE = mj.Image.from_array(RNG.normal(size=(6, 7, 5)).astype(np.float32), spacing=1.3)
MATRIX = mj.affine_matrix(rotation=(1, 2, 3))
TURN = mj.AffineTransform.of(MATRIX)
FIELD = mj.DisplacementField.of(np.full((5, 5, 5, 3), 0.3, np.float32), np.eye(4))
SCALE = mj.nyul_train([REFERENCE, REFERENCE])
DENSE = np.full((9, 8, 7, 3), 0.4, np.float32)

OPERATIONS: dict[str, Callable[[mj.Image], Any]] = {
    "spacing": lambda image: mj.resample_to_spacing(image, 1.2, size=(5, 5, 5)),
    "grid": lambda image: mj.resample_to_grid(image, REFERENCE.grid),
    "transform": lambda image: mj.resample_to_image(image, REFERENCE, transform=TURN),
    "composite": lambda image: mj.resample_to_image(
        image, REFERENCE, transform=mj.CompositeTransform((TURN, FIELD)), fill=0.0
    ),
    "scale": lambda image: mj.scale(image, 1.4),
    "rotate": lambda image: mj.rotate(image, "k", 10.0),
    "bspline": lambda image: mj.affine_transform(image, MATRIX, interpolation="bspline"),
    "warp": lambda image: mj.warp(image, DENSE),
    "fuse": mj.fuse(lambda image: mj.crop(mj.rotate(mj.scale(image, 1.2), "i", 4.0), (1, 1, 1), (4, 4, 4))),
    "pad": lambda image: mj.pad(image, 1, 2),
    "crop_or_pad": lambda image: mj.crop_or_pad(image, (6, 10, 7)),
    "z_score": mj.z_score_normalize,
    "min_max": mj.min_max_normalize,
    "percentile": mj.percentile_normalize,
    "window": lambda image: mj.window(image, 0, 1),
    "histogram": lambda image: mj.histogram_match(image, REFERENCE, background="mean"),
    "nyul": lambda image: mj.nyul_transform(image, SCALE),
    "cast": lambda image: mj.cast(image, "float16"),
}
OF_LABELS: dict[str, Callable[[mj.Image], Any]] = {
    "rotate": lambda mask: mj.rotate(mask, "k", 10.0),
    "spacing": lambda mask: mj.resample_to_spacing(mask, 1.2, size=(5, 5, 5)),
    "one_hot": lambda mask: mj.one_hot(mask, num_classes=3),
    "volumes": lambda mask: mj.label_volumes(mask, num_classes=3),
    "box": mj.bounding_box,
    "barycenter": mj.barycenter,
    "radius": mj.max_radius,
    "points": lambda mask: mj.mask_points(mask, 5),
    "dice": lambda mask: mj.dice(mask, mask, num_classes=3),
}
CASES = [(call, "intensity") for call in OPERATIONS.values()] + [(call, "label") for call in OF_LABELS.values()]
NAMES = [*OPERATIONS, *(f"label {name}" for name in OF_LABELS)]


def items_of(count: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    values = RNG.normal(size=(count, 9, 8, 7)).astype(np.float32)
    affines = np.stack([np.diag([1 + 0.1 * n, 1.0, 1.0, 1.0]) for n in range(count)]).astype(np.float32)
    return (values > 0).astype(np.int32) if kind == "label" else values, affines


@pytest.mark.usefixtures("unchecked")  # a symbol is no int
@pytest.mark.parametrize(("call", "kind"), CASES, ids=NAMES)
def test_any_number_of_items(call: Callable[[mj.Image], Any], kind: Any) -> None:
    """The exported function gives for three items what the operation itself gives for three."""
    (items,) = export.symbolic_shape("items")
    run = jax.jit(lambda voxels, affine: jax.tree.leaves(call(mj.Image(voxels, affine, kind))))
    voxels, affine = items_of(3, kind)
    abstract = [jax.ShapeDtypeStruct((items, *x.shape[1:]), x.dtype) for x in (voxels, affine)]
    found = export.export(run)(*abstract).call(voxels, affine)
    for ours, wanted in zip(found, run(voxels, affine), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["spacing", "rotate", "bspline", "warp"])
def test_gradients_for_any_number_of_items(name: str) -> None:
    (items,) = export.symbolic_shape("items")
    call = OPERATIONS[name]
    run = jax.jit(jax.grad(lambda voxels, affine: (call(mj.Image(voxels, affine)).voxels ** 2).sum()))
    voxels, affine = items_of(2, "intensity")
    abstract = [jax.ShapeDtypeStruct((items, *x.shape[1:]), x.dtype) for x in (voxels, affine)]
    found = export.export(run)(*abstract).call(voxels, affine)
    np.testing.assert_allclose(found, run(voxels, affine), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("unchecked")
def test_parameters_for_each_of_any_number_of_items() -> None:
    (items,) = export.symbolic_shape("items")
    calls: list[tuple[Callable[[mj.Image, Any], Any], tuple[int, ...]]] = [
        (lambda image, x: mj.rotate(image, "k", x, fill=0.0), ()),
        (lambda image, x: mj.affine_transform(image, x + jnp.eye(4)[None], fill=0.0), (4, 4)),
        (lambda image, x: mj.warp(image, x, fill=0.0), (9, 8, 7, 3)),
        (lambda image, x: mj.rotate(image, "k", 3.0, fill=x), ()),
        (lambda image, x: mj.pad(image, 1, 1, fill=x), ()),
        (lambda image, x: mj.window(image, x, 1 + x), ()),
        (lambda image, x: mj.translate(image, x), (3,)),
    ]
    voxels, affine = items_of(3, "intensity")
    for call, shape in calls:
        run = jax.jit(lambda voxels, affine, x, call=call: jax.tree.leaves(call(mj.Image(voxels, affine), x)))
        given = voxels, affine, np.zeros((3, *shape), np.float32)
        abstract = [jax.ShapeDtypeStruct((items, *x.shape[1:]), x.dtype) for x in given]
        for ours, wanted in zip(export.export(run)(*abstract).call(*given), run(*given), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)


READER = """
import sys
import jax
import jax.export
import numpy as np
import medjax as mj  # nothing else is named before deserialize
run = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
image = mj.Image.from_array(np.load(sys.argv[2]), spacing=2.0, metadata=mj.Metadata(patient_id="B"))
field = mj.DisplacementField.of(np.full((5, 5, 5, 3), 0.3, np.float32), np.eye(4))
turn = mj.AffineTransform.of(mj.affine_matrix(rotation=(1, 2, 3)))
out, mask = run.call(image, mj.CompositeTransform((turn, field)))
assert isinstance(out, mj.Image) and (out.kind, mask.kind) == ("intensity", "label"), (out.kind, mask.kind)
assert out.metadata is None
np.save(sys.argv[3], out.voxels)
"""


def test_a_new_process_calls_what_this_one_exported(tmp_path: Path) -> None:
    image = mj.Image.from_array(RNG.normal(size=(8, 7, 6)).astype(np.float32), spacing=2.0)
    image = image.with_metadata(mj.Metadata(patient_id="A"))
    transform = mj.CompositeTransform((TURN, FIELD))

    def moved(image: mj.Image, transform: mj.CompositeTransform) -> tuple[mj.Image, mj.Image]:
        out = mj.resample_to_image(image, image, transform=transform, fill=0.0)
        return out, mj.cast(out, "int16").with_kind("label")

    blob = export.export(jax.jit(moved))(image, transform).serialize()
    assert b"patient_id" not in bytes(blob)
    (tmp_path / "blob").write_bytes(bytes(blob))
    np.save(tmp_path / "voxels.npy", image.voxels)
    path = [str(Path(mj.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    paths = [str(tmp_path / name) for name in ("blob", "voxels.npy", "out.npy")]
    subprocess.run([sys.executable, "-c", READER, *paths], check=True, env=environment, timeout=120)
    np.testing.assert_allclose(np.load(paths[2]), moved(image, transform)[0].voxels, rtol=1e-5, atol=1e-5)


def test_all_that_comes_out_of_a_jitted_function_is_serialised() -> None:
    mask = REFERENCE.with_voxels((REFERENCE.voxels > 0).astype(np.int32)).with_kind("label")
    calls: list[tuple[Callable[[Any], Any], Any]] = [
        (mj.bounding_box, mask),
        (lambda mask: mj.mask_points(mask, 4), mask),
        (lambda scale: scale, SCALE),
        (lambda mask: mj.suv_statistics(REFERENCE, mask), mask),
        (lambda transform: transform.inverse(), TURN),
    ]
    for call, given in calls:
        exported = export.export(jax.jit(call))(given)
        again = export.deserialize(exported.serialize())
        found, wanted = again.call(given), exported.call(given)
        assert type(found) is type(wanted)
        assert str(jax.tree.structure(found)) == str(jax.tree.structure(wanted))
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_array_equal(ours, theirs)
