"""Plans for bare arrays: made once from two grids, applied inside any transformation of JAX."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from medjax._geometry._grid import Grid, check_grid
from medjax._geometry._transform import Transform
from medjax._geometry._types import AnyArray, DTypeLike, Fill, Voxels
from medjax._lazy import public
from medjax._space._execute import execute
from medjax._space._plan import Bands, Points
from medjax._space._planning import ORDERS, Interpolation, Manner, planned

__all__ = ["Plan", "plan"]


@public("medjax")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """How one grid is filled from another, ready to be applied to bare arrays.

    A pytree: it may be closed over by a jitted function, or be an argument of it. Made by `mj.plan`.

    Attributes:
        steps: The tables that the kernels read.
        source_shape: Shape of the voxels that it takes, `(i, j, k)`; static.
        shape: Shape of the voxels that it gives, `(i, j, k)`; static.
        interpolation: As it was asked for; static.

    Example:
        >>> grid = mj.Grid.of((2, 1, 1))
        >>> p = mj.plan(grid, mj.Grid.of((3, 1, 1), origin=(0.25, 0, 0), spacing=(0.5, 1, 1)))
        >>> p.source_shape, p.shape, p(np.float32([[[0]], [[8]]]), fill=-1).ravel().tolist()
        ((2, 1, 1), (3, 1, 1), [2.0, 6.0, 8.0])
    """

    steps: Bands | Points
    source_shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    interpolation: Interpolation = dataclasses.field(metadata={"static": True})

    def __call__(self, voxels: Voxels, fill: Fill | None = None) -> AnyArray:
        """Samples an array.

        Args:
            voxels: `(*batch, *source_shape, *channels)`, the batch being that of the grids; `jax.vmap` adds others.
            fill: Value outside the source's field of view: a number, or what broadcasts to `(*batch, *channels)`;
                default the median of the corner voxels of each channel, and 0 for voxels that keep their dtype.

        Returns:
            `(*batch, *shape, *channels)`. With "nearest" integers and booleans keep their dtype, as labels do. All
            other voxels come in the plan's dtype.

        Raises:
            ValueError: the array does not start with the source's shape, or the fill value does not fit.
        """
        voxels = voxels if isinstance(voxels, jax.Array) else np.asarray(voxels)
        depth = self.steps.depth
        if voxels.shape[depth : depth + 3] != self.source_shape:
            batch = f"{depth} batch axes and then " if depth else ""
            raise ValueError(
                f"voxels must have {batch}the shape {self.source_shape} of the plan's source grid in front, got "
                f"{voxels.shape}; further batch axes go through jax.vmap, channels go last"
            )
        return execute(
            self.steps, voxels, fill, is_label=self.interpolation == "nearest" and voxels.dtype.kind in "iub"
        )


def plan(
    grid: Grid,
    target_grid: Grid,
    transform: Transform | None = None,
    *,
    interpolation: Interpolation = "linear",
    dtype: DTypeLike = np.float32,
) -> Plan:
    """Plans how arrays on one grid are resampled onto another, for any number of arrays.

    A plan of known grids is made on the host, once: a map along the axes becomes one small operator an axis, any other
    map a table of coordinates. Grids and transforms may be traced as well. Then the program chooses its kernel when it
    runs.

    Args:
        grid: The grid that the arrays lie on; may be batched.
        target_grid: The grid to fill; one for all, or batched as `grid` is.
        transform: Maps world points of the target to world points of the source, in LPS mm, as `mj.resample_to_grid`
            takes it; `None` for the identity.
        interpolation: "nearest", "linear" or "bspline"; static.
        dtype: Real dtype to compute in, float32 or, with x64, float64; static.

    Returns:
        The plan, `p`; `p(voxels, fill=...)` applies it.

    Raises:
        ValueError: an interpolation that does not exist, a dtype that is neither of these, or grids of different
            batches.

    Transforms:
        `p` is differentiable in the voxels and the fill value, and, where they are traced, in the transform and both
        grids.

    Example:
        >>> fine, coarse = mj.Grid.of((4, 1, 1), spacing=1.0), mj.Grid.of((2, 1, 1), spacing=2.0, origin=(0.5, 0, 0))
        >>> p = mj.plan(fine, coarse)
        >>> voxels = jax.numpy.asarray([0.0, 10.0, 20.0, 30.0]).reshape(4, 1, 1)
        >>> jax.jit(p)(voxels).ravel().tolist()
        [5.0, 25.0]
        >>> jax.grad(lambda x: p(x).sum())(voxels).ravel().tolist()
        [0.5, 0.5, 0.5, 0.5]
    """
    check_grid(grid, "grid", "image.grid is one")
    check_grid(target_grid, "target_grid", "image.grid is one")
    if not isinstance(interpolation, str) or interpolation not in ORDERS:
        raise ValueError(f"interpolation must be one of {list(ORDERS)}, got {interpolation!r}")
    real = np.dtype(dtype)
    if real not in (np.float32, jax.dtypes.canonicalize_dtype(np.float64)):
        raise ValueError(
            f"dtype must be float32 or, with jax.config.update('jax_enable_x64', True), float64; got {dtype!r}"
        )
    manner = Manner(ORDERS[interpolation], real, has_gradient=True)
    return Plan(planned(target_grid, grid, transform, manner), grid.shape, target_grid.shape, interpolation)
