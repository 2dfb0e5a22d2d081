"""Which items of a batch this process reads, and on which devices they land."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

__all__ = ["Placement"]


class Placement:
    """Where the items of a batch go.

    Attributes:
        sharding: How a batch is spread over devices; `None` for the default device of each process.
        positions: The items of the batch that this process reads.
        is_whole: Whether these are all of the batch's array.
        count: Items of the array.
    """

    def __init__(self, sharding: Any, batch_size: int):
        self.sharding = _as_sharding(sharding)
        if self.sharding is None:
            processes, own = jax.process_count(), jax.process_index()
            if batch_size % processes:
                raise ValueError(f"batch_size={batch_size} must be a multiple of the number of processes, {processes}")
            self.count = batch_size // processes
            self.positions = np.arange(own * self.count, (own + 1) * self.count)
            self.is_whole = True
            return
        try:
            slices = self.sharding.addressable_devices_indices_map((batch_size,)).values()
            self.sharding.shard_shape((batch_size,))
        except ValueError as error:
            raise ValueError(
                f"sharding does not spread batch_size={batch_size} evenly over its devices: choose a multiple ({error})"
            ) from None
        own_items = [np.arange(batch_size)[index[0]] for index in slices if index is not None]
        self.count, self.is_whole = batch_size, self.sharding.is_fully_addressable
        self.positions = np.unique(np.concatenate(own_items)) if own_items else np.arange(0)

    def put(self, local: np.ndarray) -> jax.Array:
        """Makes one array of what each process has read, `(items, ...)`."""
        if self.sharding is None:
            return jax.device_put(local)
        if self.is_whole:
            return jax.device_put(local, self.sharding)

        def part(index: Any) -> Any:
            wanted = np.arange(self.count)[index[0]]
            return local[np.searchsorted(self.positions, wanted)]

        return jax.make_array_from_callback((self.count, *local.shape[1:]), self.sharding, part)


def _as_sharding(sharding: Any) -> Sharding | None:
    if sharding is None:
        return None
    if isinstance(sharding, Mesh):
        if len(sharding.axis_names) != 1:
            raise ValueError(
                f"sharding is a mesh of the axes {sharding.axis_names}; say which one batches go along, "
                f"NamedSharding(mesh, PartitionSpec({sharding.axis_names[0]!r}))"
            )
        return NamedSharding(sharding, PartitionSpec(sharding.axis_names[0]))
    if isinstance(sharding, jax.Device):
        return SingleDeviceSharding(sharding)
    if not isinstance(sharding, Sharding):
        raise ValueError(f"sharding must be a Mesh, a Sharding or a Device, got {type(sharding).__name__}")
    if isinstance(sharding, NamedSharding) and any(axis is not None for axis in sharding.spec[1:]):
        raise ValueError(f"sharding must spread the batch axis alone, got {sharding.spec}; give PartitionSpec('name')")
    return sharding
