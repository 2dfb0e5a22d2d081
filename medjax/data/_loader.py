"""The loader: batches for training from a cohort, the same whatever the threads, hosts and interruptions."""

from __future__ import annotations

import atexit
import contextlib
import copy
import hashlib
import sys
import time
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import jax
import numpy as np

from medjax._geometry._types import StaticSize
from medjax._image._checks import three_integers
from medjax._image._image import Image
from medjax._image._stack import stack
from medjax._lazy import public
from medjax._optional import optional
from medjax.augment._randomness import item_keys
from medjax.data._batch import Batch
from medjax.data._case import Row
from medjax.data._cohort import Cohort, rows_in
from medjax.data._order import BucketOrder, PlainOrder
from medjax.data._placement import Placement
from medjax.data._reading import Item, Reader, bucket_of, checked_roles, shape_of
from medjax.data._waiting import Clock, LoaderStats
from medjax.patch._sampler import Sampler, sampler

__all__ = ["Loader"]

_MOST_STEPS = 1 << 48

_OPEN: weakref.WeakSet[Any] = weakref.WeakSet()
"""Loops that were begun and not ended."""


@atexit.register
def _close_loops() -> None:
    """Ends them while Grain's modules are whole; later its iterators fail to close, and Python prints their errors."""
    for batches in list(_OPEN):
        with contextlib.suppress(ValueError):  # it waits for a batch in another thread
            batches.close()


@public("medjax.data")
class Loader:
    """Batches of a cohort for training, without end: `for batch in loader`.

    Batch b is a function of the cohort, the seed and b alone: not of threads, prefetching, processes, devices, or of
    where the loop began. So a run that was killed goes on exactly with `start=`, the number of batches that the model
    has seen; keep it with the model's state. A second loop goes on where the first one ended.

    Each epoch has an order of its own, and follows the one before without a gap: a batch may hold the end of one and
    the beginning of the next. In a run of several processes (`jax.distributed`) each reads only the items that land on
    its devices.

    Images of one batch have one shape: give `patch=` (a size, or `mj.patch.sampler(...)`), `pad_to=`, or
    `group="bucket"`. Threads read ahead, and a second stage moves batches to the device before they are asked for.

    Attributes:
        cohort: The cases; `batch.rows` are numbers in it.
        batch_size: Items of a batch, over all processes.
        seed: Of the stream.
    """

    def __init__(
        self,
        cohort: Cohort,
        *,
        batch_size: int = 2,
        seed: int = 0,
        epochs: int | None = None,
        shuffle: bool = True,
        patch: Any = None,
        pad_to: StaticSize | None = None,
        group: Literal["bucket"] | None = None,
        roles: Sequence[str] | None = None,
        threads: int = 8,
        prefetch: int = 2,
        start: int | Mapping[str, Any] = 0,
        sharding: Any = None,
        progress: bool = False,
    ):
        """Checks the arguments; nothing is read.

        Args:
            cohort: The cases, best from `cache`.
            batch_size: Items of a batch, over all processes.
            seed: From 0 to 2^32 - 1.
            epochs: Epochs of one loop; it ends with the batch that holds the last item. Default: without end.
            shuffle: Whether each epoch has an order of its own, else that of the rows.
            patch: Size of the patches, or a sampler of `mj.patch`; all images of a case must lie on one grid.
            pad_to: Size that images are cropped and padded to about their centre.
            group: "bucket": each batch holds cases of about one size, padded at the end of each axis to one of four
                sizes an octave; `batch.extent` says how far each goes. The cohort must know its shapes, as one from
                `cache` does.
            roles: The roles to load. Default: all.
            threads: Threads that read; 0 reads when a batch is asked for.
            prefetch: Batches on the device ahead of the caller.
            start: The number of the first batch, or the `state()` of another loader, which is checked.
            sharding: A mesh of one axis or a `Sharding` along the batch; default the default device. In a run of
                several processes each then has its part of the batch only.
            progress: Write one line about the cohort and the shapes of its batches to stderr before the first batch.

        Raises:
            ValueError: an argument is wrong, a case lacks a role, or shapes are known to differ and nothing evens them
                out.
            ImportError: grain is not installed: `pip install "medjax[load]"`.
        """
        optional("grain", "mj.data.Loader")
        rows = rows_in(cohort)
        _check_counts(batch_size=(batch_size, 1), seed=(seed, 0), threads=(threads, 0), prefetch=(prefetch, 0))
        if seed >= 1 << 32:
            raise ValueError(f"seed must be below 2**32, got {seed}")
        if epochs is not None:
            _check_counts(epochs=(epochs, 1))
        if sum(way is not None for way in (patch, pad_to, group)) > 1:
            raise ValueError("give only one of patch, pad_to and group: each brings images to one shape")
        if group not in (None, "bucket"):
            raise ValueError(f"group must be 'bucket' or None, got {group!r}")
        self.cohort, self.batch_size, self.seed = cohort, batch_size, seed
        self._epochs, self._threads, self._prefetch, self._progress = epochs, threads, prefetch, progress
        wanted = checked_roles(rows, roles)
        size = None if pad_to is None else three_integers(pad_to, "pad_to", least=1)
        drawn = _sampler(patch)
        order: PlainOrder | BucketOrder = PlainOrder(len(rows), batch_size, seed, shuffle=shuffle)
        if group is not None:
            order = BucketOrder(_buckets(rows, wanted), batch_size, seed, shuffle=shuffle)
        elif drawn is None and size is None and batch_size > 1:
            _check_shapes(rows, wanted)
        self._reader = Reader(rows, wanted, order, drawn, size, Clock())
        self._placement = Placement(sharding, batch_size)
        parts = [batch_size, seed, shuffle, repr(drawn), size, group, wanted, _contents(rows)]
        self._fingerprint = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self._step = self._checked_start(start)

    def __iter__(self) -> Iterator[Batch]:
        batches = self._batches()
        _OPEN.add(batches)
        return batches

    def _batches(self) -> Generator[Batch, None, None]:
        iterator = iter(self._dataset())
        clock = self._reader.clock
        try:
            while True:
                asked = time.perf_counter()
                batch = next(iterator)
                clock.gave(asked, time.perf_counter())
                self._tell(batch)
                self._step = batch.step + 1
                yield batch
                if self._epochs is not None and self._ends_with(batch.step):
                    return
        finally:
            iterator.close()

    def batch(self, step: int) -> Batch:
        """Reads batch number `step` alone, the very one that the loop gives; for a look at a step that went wrong."""
        _check_counts(step=(step, 0))
        return self._assembled(step, [self._reader.read(step, int(position)) for position in self._placement.positions])

    def at(self, start: int | Mapping[str, Any]) -> Loader:
        """Returns the same loader at another batch.

        Args:
            start: The number of a batch, or the `state()` of a loader of the same cohort and arguments.

        Raises:
            ValueError: the state is that of another stream.

        Example:
            >>> scan = mj.Image.from_array(np.zeros((4, 4, 4)))
            >>> cohort = mj.data.Cohort.of([{"case": name, "ct": scan} for name in "abc"])
            >>> loader = mj.data.Loader(cohort, batch_size=2, threads=0)
            >>> steps = iter(loader)
            >>> seen = [next(steps) for _ in range(5)]
            >>> again = next(iter(loader.at(3)))
            >>> loader.state()["step"], again.step, again.rows.tolist() == seen[3].rows.tolist()
            (5, 3, True)
        """
        other = copy.copy(self)
        reader = self._reader
        other._reader = Reader(reader.rows, reader.roles, reader.order, reader.patch, reader.pad_to, Clock())
        other._step = self._checked_start(start)
        return other

    def state(self) -> dict[str, Any]:
        """What to keep with the model: the number of the next batch, and what tells another stream. It is JSON-safe."""
        return {"step": self._step, "seed": self.seed, "fingerprint": self._fingerprint}

    @property
    def stats(self) -> LoaderStats:
        """How fast it reads, and how long the caller has waited."""
        return self._reader.clock.stats

    def _dataset(self) -> Any:
        """Grain's pipeline: items in threads, then batches, moved to the device in a thread of their own."""
        import grain

        positions, first = self._placement.positions, self._step
        count = len(positions)
        source = _Places(count, first)
        items = grain.MapDataset.source(source).map(lambda place: (place[0], self._read(place, positions)))
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=max(1, count, self._threads))
        batches = items.to_iter_dataset(options).batch(count, batch_fn=list)
        ready = batches.map(lambda items: self._assembled(items[0][0], [item for _, item in items]))
        return grain.experimental.ThreadPrefetchIterDataset(ready, prefetch_buffer_size=self._prefetch)

    def _read(self, place: tuple[int, int], positions: np.ndarray) -> Item:
        return self._reader.read(place[0], int(positions[place[1]]))

    def _assembled(self, step: int, items: Sequence[Item]) -> Batch:
        placement, order = self._placement, self._reader.order
        images = {role: self._image(role, items) for role in self._reader.roles}
        whole = placement.positions if placement.is_whole else np.arange(self.batch_size)
        rows = np.array([order.row(step, int(position)) for position in whole])
        numbers = step * self.batch_size + placement.positions
        data = placement.put(np.asarray(jax.random.key_data(item_keys(self.seed, numbers))))
        keys = jax.random.wrap_key_data(data, impl="threefry2x32")
        extents = [item.extent for item in items]
        extent = None if None in extents else placement.put(np.array(extents, np.int32))
        return Batch(images, keys, rows, step, extent)

    def _image(self, role: str, items: Sequence[Item]) -> Image:
        names = [self._reader.rows[item.row].name for item in items]
        found = [item.images[role] for item in items]
        for name, image in zip(names[1:], found[1:], strict=True):
            one, other = ((x.voxels.shape, x.dtype, x.kind) for x in (found[0], image))
            if one != other:
                raise ValueError(
                    f"role {role!r}: case {names[0]!r} has shape, dtype and kind {one}, case {name!r} has {other}; "
                    "give patch=, pad_to= or group='bucket' for shapes, and bring dtypes to one in prepare (mj.cast)"
                )
        batch, placement = stack(found), self._placement
        voxels = placement.put(_as_on_device(role, names, batch.voxels))
        if placement.is_whole:
            return Image(voxels, batch.affine, batch.kind, batch.metadata)
        metadata: list[Any] = [None] * self.batch_size
        for position, known in zip(placement.positions, cast("tuple[Any, ...]", batch.metadata or ()), strict=False):
            metadata[position] = known
        affine = placement.put(np.asarray(batch.affine, jax.dtypes.canonicalize_dtype(np.float64)))
        return Image(voxels, affine, batch.kind, tuple(metadata) if any(metadata) else None)

    def _ends_with(self, step: int) -> bool:
        """Whether this batch holds the last item of the epochs of a loop."""
        items = self._epochs * len(self._reader.rows)  # type: ignore[operator]
        return (step + 1) * self.batch_size // items > step * self.batch_size // items

    def _checked_start(self, start: int | Mapping[str, Any]) -> int:
        if not isinstance(start, Mapping):
            _check_counts(start=(start, 0))
            return start
        if "step" not in start:
            raise ValueError(
                f"start must be the number of a batch or the state() of a loader, got the keys {list(start)}"
            )
        if start.get("fingerprint") != self._fingerprint:
            raise ValueError(
                "start is the state of another stream: the cohort, batch_size, seed, patch or another argument "
                f"differs; give start={start['step']} if that is meant"
            )
        return int(start["step"])

    def _tell(self, batch: Batch) -> None:
        if self._progress:
            self._progress = False
            order = self._reader.order
            shapes = ", ".join(f"{role} {tuple(image.voxels.shape)}" for role, image in batch.images.items())
            kinds = len(order._rows) if isinstance(order, BucketOrder) else 1
            programs = f"; {kinds} shapes, a compilation of your step for each" if kinds > 1 else ""
            sys.stderr.write(f"Loading {self.cohort!r}: {shapes}{programs}\n")


class _Places:
    """The places of the stream from a batch on: its number, and which of this process's items."""

    def __init__(self, count: int, first: int):
        self._count, self._first = count, first

    def __len__(self) -> int:
        return (_MOST_STEPS - self._first) * self._count

    def __getitem__(self, index: Any) -> tuple[int, int]:
        step, place = divmod(int(index), self._count)
        return self._first + step, place

    def __repr__(self) -> str:
        return f"batches from {self._first}"


def _sampler(patch: Any) -> Sampler | None:
    if patch is None or isinstance(patch, Sampler):
        return patch
    return sampler(size=three_integers(patch, "patch", least=1))


def _check_counts(**numbers: tuple[Any, int]) -> None:
    for name, (value, least) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _check_shapes(rows: Sequence[Row], roles: Sequence[str]) -> None:
    for role in roles:
        shapes: dict[Any, str] = {}
        for row in rows:
            shapes.setdefault(shape_of(row.sources[role]), row.where)
        known = [shape for shape in shapes if shape is not None]
        if len(known) > 1:
            raise ValueError(
                f"role {role!r}: {shapes[known[0]]} has shape {known[0]}, {shapes[known[1]]} has {known[1]}; give "
                "patch=, pad_to= or group='bucket', or batch_size=1"
            )


def _buckets(rows: Sequence[Row], roles: Sequence[str]) -> list[tuple[Any, ...]]:
    found = []
    for row in rows:
        shapes = [shape_of(row.sources[role]) for role in roles]
        if None in shapes:
            raise ValueError(
                f"{row.where}: group='bucket' needs shapes before files are read; use mj.data.cache(cohort, folder)"
            )
        found.append(tuple(bucket_of(shape) for shape in shapes if shape is not None))
    return found


def _as_on_device(role: str, names: Sequence[str], voxels: np.ndarray) -> np.ndarray:
    """Voxels in the dtype that a device holds, which without x64 has at most 32 bits; whole numbers must fit."""
    dtype = jax.dtypes.canonicalize_dtype(voxels.dtype)
    if voxels.dtype.kind in "iu" and dtype != voxels.dtype:
        limits = np.iinfo(dtype)
        if voxels.min() < limits.min or voxels.max() > limits.max:
            raise ValueError(
                f"role {role!r}, cases {', '.join(names)}: {voxels.dtype} holds values that {dtype} does not, which is "
                "what a device holds without jax_enable_x64; cast them in prepare (mj.cast)"
            )
    return voxels.astype(dtype, copy=False)


def _contents(rows: Sequence[Row]) -> list[Any]:
    """The cases in their order, and of a cache the entries, which change with the voxels."""
    return [
        (
            row.name,
            [(role, Path(source.place).parent.name) for role, source in row.sources.items()],
        )
        for row in rows
    ]
