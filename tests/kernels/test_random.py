"""Random numbers of a key are those of jax.random, to the bit, in every way of calling."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax._kernels._random import normal, uniform

# Private: the numbers of a key are drawn here, and no public function returns them bare.

SHAPES = [(), (1,), (0, 3), (5, 7, 3), (2, 4, 3, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_are_those_of_jax(shape):
    for seed in (0, 1, 2**31 + 5):
        key = jax.random.key(seed)
        assert (normal(key, shape, jnp.float32) == jax.random.normal(key, shape)).all()
        assert (uniform(key, shape, jnp.float32, least=-1.0) == jax.random.uniform(key, shape, minval=-1.0)).all()


def test_numbers_are_the_same_compiled_and_mapped():
    keys, shape = jax.random.split(jax.random.key(3), 4), (6, 5, 2)
    wanted = np.stack([jax.random.normal(key, shape) for key in keys])
    found = jax.jit(jax.vmap(lambda key: normal(key, shape, jnp.float32)))(keys)
    assert np.array_equal(found, wanted)


def test_float64_numbers_are_those_of_jax():
    with jax.enable_x64(True):
        key = jax.random.key(4)
        assert (normal(key, (3, 5), jnp.float64) == jax.random.normal(key, (3, 5), jnp.float64)).all()
