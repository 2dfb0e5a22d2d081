"""How an image's metadata go through JAX: to their own scan or nowhere, and at no compilation.

The rule: no output ever carries another scan's metadata, and two scans that differ only in metadata share one
compilation. So metadata can be neither a leaf (a name is no array) nor a static field (five patients would be five
compilations). They ride in the treedef, in a `Carried` that equals every other: JAX's caches take all scans for one.
Whether the leaves that come back are the scan's own is decided when the image is rebuilt.

| way through JAX | metadata of the result |
|---|---|
| an operation of this package, eagerly | the scan's |
| `device_put`; flatten and unflatten; `tree.map` that leaves the affine alone | kept, with the float64 affine |
| the same with a batch | `None`: its items may have been shuffled |
| `tree.map` that changes shape or affine (a crop, a stack, `x[0]`) | `None` |
| a template that outlives the scan's voxels | `None` |
| a user's `jit`, `vmap`, `grad`, `scan`, `cond`, `checkpoint`, `shard_map`, `pure_callback` | `None`: traced leaves |
| `tree.map(lambda x, y: y, a, b)`; `unflatten(structure_of_a, leaves_of_b)` | `None` |
| `unflatten(structure_of_a, device_copies_of_b)` on one geometry, without a comparison | a's: the caller says so |
| `keep_metadata(function)`, `with_metadata` | as the caller says |

`==` must leave a mark in one case, because JAX makes the same calls for a right and for a wrong result
(tests/image/test_carried.py records them):

- `device_put([a, b])` flattens a, flattens b, and unflattens a's treedef with copies of a's arrays: a's metadata are
  right.
- `tree.map(lambda x, y: y, a, device_put(b))` flattens a, flattens b, compares both treedefs, and unflattens a's
  treedef with b's arrays: a's metadata are wrong. Only the comparison tells this from the first case.

So a comparison with another scan marks both sides, and changes nothing else. A marked treedef still gives the metadata
to the scan's own two arrays, but no longer to copies of them. Two images may hold one voxel array under two names, such
as a scan and its anonymised twin. Even their own arrays do not tell them apart, so a comparison of these two empties
both.

A treedef holds the metadata only while somebody else holds the voxels. Compilation caches keep treedefs for ever, and
the header of each function's first patient must not stay in memory with them.
"""

from __future__ import annotations

import weakref
from typing import Any

import jax
import numpy as np

from medjax._geometry._numbers import is_traced

__all__ = ["Carried"]


class Carried:
    """The metadata and the float64 affine of one scan, on their way through JAX; all compare equal.

    Attributes:
        scan: Metadata, affine and shape of the voxels, or `None` where this carries nothing.
        voxels: The voxels, referred to weakly; once they are gone, so is `scan`.
        is_marked: Whether this was compared with the `Carried` of another scan.
    """

    __slots__ = ("__weakref__", "is_marked", "scan", "voxels")

    def __init__(self, scan: tuple[Any, np.ndarray, tuple[int, ...]] | None = None, voxels: Any = None):
        self.scan, self.voxels, self.is_marked = scan, _no_voxels, False
        if voxels is not None:
            me = weakref.ref(self)  # or this would hold itself
            self.voxels = weakref.ref(voxels, lambda _: _forget(me()))

    @staticmethod
    def of(voxels: Any, affine: Any, metadata: Any) -> Carried:
        """Takes a known scan's metadata along; traced leaves, placeholders and an affine on a device carry nothing."""
        if not (_is_known(voxels) and isinstance(affine, np.ndarray)):
            return Carried()
        return Carried((metadata, affine, voxels.shape), voxels)

    def given_to(self, voxels: Any, affine: Any) -> tuple[Any, Any]:
        """Returns the affine and the metadata of an image that is rebuilt from leaves.

        Both are the scan's where the leaves are its own two arrays. Without a mark, known arrays of the same shape and
        geometry suffice. An affine on a device is read, which waits for the computation that makes it.
        """
        if self.scan is None:
            return affine, None
        metadata, known, shape = self.scan
        if self.is_marked:
            is_own = voxels is self.voxels() and affine is known
        else:
            is_own = _is_known(voxels) and voxels.shape == shape and _is_same_geometry(affine, known)
        if not is_own:
            return affine, None
        return known, metadata if known.ndim == 2 else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Carried):
            return NotImplemented
        mine, theirs = self.scan, other.scan
        if mine is None or theirs is None or mine[0] is not theirs[0] or mine[1] is not theirs[1]:
            is_shared = self.voxels() is not None and self.voxels() is other.voxels()
            for each in (self, other):
                each.is_marked = True
                if is_shared:
                    each.scan = None
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "_"


def _no_voxels() -> None:
    return None


def _forget(carried: Carried | None) -> None:
    """Lets go of the metadata once the voxels are gone."""
    if carried is not None:
        carried.scan = None


def _is_known(leaf: Any) -> bool:
    """Whether a leaf is an array whose numbers are known, neither traced nor a placeholder of a transformation."""
    return isinstance(leaf, np.ndarray | jax.Array) and not is_traced(leaf)


def _is_same_geometry(affine: Any, known: np.ndarray) -> bool:
    """Whether a leaf is the known affine, or a copy of it in another precision, as `device_put` makes one.

    Another float64 array on the host belongs to another image, even where it is equal: patients may share a grid.
    """
    if affine is known:
        return True
    if isinstance(affine, np.ndarray) and affine.dtype == known.dtype:
        return np.shares_memory(affine, known) and np.array_equal(affine, known)
    if not _is_known(affine) or affine.shape != known.shape or not jax.numpy.issubdtype(affine.dtype, np.floating):
        return False
    is_readable = isinstance(affine, np.ndarray) or affine.is_fully_addressable
    return is_readable and np.array_equal(jax.device_get(affine), known.astype(affine.dtype))
