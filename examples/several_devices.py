"""Resamples a batch on several devices with `jax.shard_map`, each device its own scans.

XLA_FLAGS=--xla_force_host_platform_device_count=4 python examples/several_devices.py

The flag splits the CPU into four devices, to try it out; without it the devices of the machine are used.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import medjax as mj


def scan(number: int) -> mj.Image:
    """A made scan; each has its own spacing and its own place in the world."""
    voxels = np.random.default_rng(number).normal(size=(24, 20, 12)).astype(np.float32)
    return mj.Image.from_array(voxels, spacing=(2, 2, 3 + 0.1 * number), origin=(0, 0, 10 * number))


def main() -> None:
    """Prints the mean squared change by a rotation, and its gradient, from all devices and from one."""
    devices = jax.device_count()
    scans = mj.stack([scan(number) for number in range(2 * devices)])
    degrees = jnp.linspace(-10.0, 10.0, 2 * devices)  # an angle for each scan

    mesh = jax.make_mesh((devices,), ("scan",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("scan"))
    spread, spread_degrees = jax.device_put((scans, degrees), split)

    def change(images: mj.Image, degrees: jax.Array) -> jax.Array:
        turned = mj.rotate(images, "k", degrees, fill=0.0)
        return jnp.mean((turned.voxels - images.voxels) ** 2)

    def change_everywhere(images: mj.Image, degrees: jax.Array) -> jax.Array:
        return jax.lax.pmean(change(images, degrees), "scan")  # images: the scans of one device

    of_all = jax.shard_map(
        change_everywhere, mesh=mesh, in_specs=(PartitionSpec("scan"), PartitionSpec("scan")), out_specs=PartitionSpec()
    )
    value, gradient = jax.jit(jax.value_and_grad(of_all, argnums=1))(spread, spread_degrees)
    value_of_one, gradient_of_one = jax.jit(jax.value_and_grad(change, argnums=1))(scans, degrees)

    print(f"{devices} devices with 2 scans each: {float(value):.6f}; one device: {float(value_of_one):.6f}")
    print(f"largest difference of the gradients: {float(jnp.abs(gradient - gradient_of_one).max()):.1e}")
    assert gradient.sharding.is_equivalent_to(split, gradient.ndim), "each device keeps the gradient of its own angles"


if __name__ == "__main__":
    main()
