"""Batches on four devices, made of one host. Run by test_resume.py."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from cohorts import held
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

from medjax.data import Loader


def mesh_of(shape: tuple[int, ...], names: tuple[str, ...], kind: AxisType = AxisType.Auto) -> jax.sharding.Mesh:
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(names))


SHARDINGS: dict[str, Any] = {
    "a mesh": lambda: mesh_of((4,), ("batch",)),
    "an explicit mesh": lambda: mesh_of((4,), ("batch",), AxisType.Explicit),
    "one of two axes": lambda: NamedSharding(mesh_of((2, 2), ("data", "model")), PartitionSpec("data")),
    "both axes": lambda: NamedSharding(mesh_of((2, 2), ("data", "model")), PartitionSpec(("data", "model"))),
    "another device": lambda: jax.devices()[2],
}


@pytest.mark.parametrize("name", SHARDINGS)
def test_a_batch_lands_where_the_sharding_says(name: str) -> None:
    sharding = SHARDINGS[name]()
    options: dict[str, Any] = {"batch_size": 4, "patch": (3, 3, 3), "seed": 8}
    plain, spread = Loader(held(5), **options), Loader(held(5), sharding=sharding, **options)
    for batch in spread:
        wanted = plain.batch(batch.step)
        for role, image in batch.images.items():
            np.testing.assert_array_equal(image.voxels, wanted.images[role].voxels)
            np.testing.assert_array_equal(image.affine, wanted.images[role].affine, strict=True)
            if isinstance(sharding, jax.Device):
                assert image.voxels.sharding == SingleDeviceSharding(sharding)
            else:
                named = (
                    sharding if isinstance(sharding, NamedSharding) else NamedSharding(sharding, PartitionSpec("batch"))
                )
                assert image.voxels.sharding.is_equivalent_to(named, 4)
        np.testing.assert_array_equal(jax.random.key_data(batch.keys), jax.random.key_data(wanted.keys))
        assert len(batch.keys.sharding.device_set) == len(batch.images["ct"].voxels.sharding.device_set)
        if batch.step == 2:
            break


def test_what_cannot_be_spread_says_so() -> None:
    with pytest.raises(ValueError, match="does not spread batch_size=6 evenly over its devices: choose a multiple"):
        Loader(held(3), batch_size=6, sharding=mesh_of((4,), ("batch",)))
    with pytest.raises(ValueError, match=r"mesh of the axes \('a', 'b'\); say which one"):
        Loader(held(3), sharding=mesh_of((2, 2), ("a", "b")))
    with pytest.raises(ValueError, match="must spread the batch axis alone"):
        Loader(held(3), sharding=NamedSharding(mesh_of((2, 2), ("a", "b")), PartitionSpec("a", "b")))
