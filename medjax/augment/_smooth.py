"""Steps that smooth, sharpen, or multiply by a smooth field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np

from medjax._geometry._types import Scalar
from medjax._image._checks import check_choice, check_count, three_integers
from medjax._image._image import Image
from medjax._intensity import bias_field as with_bias_field
from medjax._intensity import bias_lattice as with_bias_lattice
from medjax._intensity import gaussian_blur, unsharp
from medjax._intensity._cube_median import median_of_cubes
from medjax._kernels._batch import over_batch
from medjax.augment._distribution import Distribution, Spread
from medjax.augment._step import IntensityStep, drawn, step

__all__ = ["bias_field", "bias_lattice", "blur", "median", "sharpen"]


@step
class blur(IntensityStep):
    """Smooths with a Gaussian, `mj.gaussian_blur`.

    Args:
        sigma_mm: Standard deviation of the Gaussian.
        unit: "mm", or "voxel" for a `sigma_mm` that counts voxels along each axis.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.eye(1, 5).reshape(5, 1, 1), spacing=(2, 1, 1))
        >>> out = mj.augment.blur(sigma_mm=2.0, p=1)(jax.random.key(0), image)
        >>> [round(float(x), 3) for x in out.voxels.ravel()]
        [0.641, 0.296, 0.058, 0.005, 0.0]
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    sigma_mm: Spread = drawn((0.0, 1.5), "mm", least=0)
    unit: Literal["mm", "voxel"] = "mm"
    p: Scalar = 0.2

    def check(self) -> None:
        check_choice(self.unit, "unit", ("mm", "voxel"))

    def change(self, image: Image, sigma_mm: Any) -> Image:
        return gaussian_blur(image, sigma_mm, unit=self.unit)


@step
class sharpen(IntensityStep):
    """Sharpens by an unsharp mask, `mj.unsharp`.

    Args:
        amount: How much of the difference to the smoothed image is added.
        sigma_mm: Standard deviation of the Gaussian.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 0, 0, 8, 8, 8], np.int16).reshape(6, 1, 1))
        >>> out = mj.augment.sharpen(amount=1.0, sigma_mm=0.5, p=1)(jax.random.key(0), image)
        >>> [round(float(x), 2) + 0.0 for x in out.voxels.ravel()]
        [0.0, 0.0, -0.85, 8.85, 8.0, 8.0]
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    amount: Spread = drawn((0.1, 1.0))
    sigma_mm: Spread = drawn(1.0, "mm", least=0)
    p: Scalar = 0.2

    def change(self, image: Image, amount: Any, sigma_mm: Any) -> Image:
        return unsharp(image, amount, sigma_mm)


@step
class median(IntensityStep):
    """Replaces each voxel by the median of the cube around it, as `mj.median_filter` does.

    Args:
        size: Voxels along each axis of the cube, a range of whole numbers, both ends included.
        most: The largest size that the program is made for; static. A larger size that is drawn counts as this.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.array([1.0, 9.0, 2.0, 3.0]).reshape(4, 1, 1))
        >>> mj.augment.median(size=3, p=1)(jax.random.key(0), image).voxels.ravel().tolist()
        [1.0, 2.0, 3.0, 3.0]
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "item"
    size: Spread = drawn((2, 4), "voxels", how="whole", least=1)
    most: int = 7
    p: Scalar = 0.1

    def check(self) -> None:
        check_count(self.most, "most")

    def change(self, image: Image, size: Any) -> Image:
        depth, channels = len(image.batch_shape), image.channels
        number = jnp.clip(jnp.round(size), 1, self.most).astype(jnp.int32)

        def one(voxels: Any, number: Any) -> Any:
            volumes = voxels.reshape((*voxels.shape[:3], -1))
            sizes = jnp.broadcast_to(number, channels).ravel()
            found = [median_of_cubes(volumes[..., c], sizes[c], self.most) for c in range(len(sizes))]
            return jnp.stack(found, -1).reshape(voxels.shape)

        return image.with_voxels(over_batch(one, depth)(image.voxels, number))


@step
class bias_field(IntensityStep):
    """Multiplies by a smooth polynomial field of geometric mean 1, as coils leave it in MR images, `mj.bias_field`.

    Args:
        coefficient: Of each of Legendre's polynomials of total degree 1 to `order`, in the logarithm of the gain.
        order: The highest total degree.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.full((4, 4, 4), 10.0))
        >>> draw = mj.augment.bias_field(order=2, p=1).sample(jax.random.key(0), image)
        >>> found = draw.values["bias_field"]["image"]["coefficient"]
        >>> found.shape, int((found != 0).sum()), float(found[0, 0, 0])
        ((3, 3, 3), 9, 0.0)
    """

    coefficient: Spread = drawn((-0.3, 0.3))
    order: int = 3
    p: Scalar = 0.15

    def check(self) -> None:
        check_count(self.order, "order")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"coefficient": (self.order + 1,) * 3}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        found = super().values(numbers)
        degree = np.indices((self.order + 1,) * 3).sum(0)
        mask = (degree >= 1) & (degree <= self.order)
        cube = found["coefficient"]
        return found | {"coefficient": jnp.where(mask.reshape((1,) * (cube.ndim - 3) + mask.shape), cube, 0)}

    def change(self, image: Image, coefficient: Any) -> Image:
        return with_bias_field(image, coefficient)


@step
class bias_lattice(IntensityStep):
    """Multiplies by a smooth field of control points, `mj.bias_lattice`.

    Args:
        std: Standard deviation of the logarithm of the gain at the control points, drawn once for an image.
        points: Control points along each axis, one number or three, at least 4.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.full((4, 4, 4), 10.0))
        >>> draw = mj.augment.bias_lattice(p=1).sample(jax.random.key(0), image)
        >>> draw.values["bias_lattice"]["image"]["control"].shape
        (4, 4, 4)
    """

    std: Spread = drawn((0.0, 0.5), least=0)
    points: int | Sequence[int] = 4
    p: Scalar = 0.15

    def check(self) -> None:
        object.__setattr__(self, "points", three_integers(self.points, "points", least=4))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"std": (), "control": tuple(self.points)}  # type: ignore[arg-type]

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        found = super().values(numbers)
        std = found["std"]
        control = Distribution("normal", np.float32(0), np.float32(1)).quantile(numbers["control"])
        return found | {"control": control * std.reshape((*std.shape, 1, 1, 1))}

    def change(self, image: Image, std: Any, control: Any) -> Image:
        return with_bias_lattice(image, control)
