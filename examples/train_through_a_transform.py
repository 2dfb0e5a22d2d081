"""Trains a small Flax network to straighten a turned scan; the gradient reaches it only through `mj.rotate`.

python examples/train_through_a_transform.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import medjax as mj

BATCH, STEPS, LIMIT = 8, 60, 30.0  # degrees


class Angle(nn.Module):
    """Predicts for each volume of a batch `(b, i, j, k)` the angle in degrees that straightens it."""

    @nn.compact
    def __call__(self, voxels: jax.Array) -> jax.Array:
        """Returns the angles, `(b,)`."""
        x = voxels[..., None]  # a channel
        for features in (8, 16):
            x = nn.relu(nn.Conv(features, (3, 3, 3), strides=(2, 2, 2))(x))
        x = nn.relu(nn.Dense(32)(x.reshape(x.shape[0], -1)))
        return LIMIT * jnp.tanh(nn.Dense(1)(x)[:, 0])


def phantom() -> mj.Image:
    """An oblong blob with a smaller one beside it, on voxels of 2 x 2 x 4 mm."""
    grid = mj.Grid.of((16, 16, 8), spacing=(2, 2, 4))
    x, y, z = np.moveaxis(grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)) - grid.center, -1, 0)
    voxels = np.exp(-((x / 9) ** 2 + (y / 4) ** 2 + (z / 9) ** 2)) + np.exp(-(((x - 6) ** 2 + (y - 6) ** 2) / 9))
    return mj.Image.from_array(voxels.astype(np.float32), affine=grid.affine)


def main() -> None:
    """Prints the loss of the first and of the last step."""
    straight = mj.stack([phantom()] * BATCH)
    model, optimizer = Angle(), optax.adam(3e-3)

    def loss(params: dict, turned: mj.Image) -> jax.Array:
        straightened = mj.rotate(
            turned, "k", model.apply(params, turned.voxels), fill=0.0
        )  # one angle per item of the batch
        return jnp.mean((straightened.voxels - straight.voxels) ** 2)

    @jax.jit
    def step(params: dict, state: optax.OptState, key: jax.Array) -> tuple[dict, optax.OptState, jax.Array]:
        degrees = jax.random.uniform(key, (BATCH,), minval=-LIMIT, maxval=LIMIT)
        turned = mj.rotate(straight, "k", degrees, fill=0.0)
        value, gradient = jax.value_and_grad(loss)(params, turned)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    params = model.init(jax.random.key(0), straight.voxels)
    state, losses = optimizer.init(params), []
    for key in jax.random.split(jax.random.key(1), STEPS):
        params, state, value = step(params, state, key)
        losses.append(float(value))
    print(f"mean squared error: {losses[0]:.4f} before, {losses[-1]:.4f} after {STEPS} steps")


if __name__ == "__main__":
    main()
