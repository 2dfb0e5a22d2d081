"""Steps that look at more than one image: items of a batch mixed with their neighbours, images made of labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._types import Scalar
from medjax._image._checks import check_count
from medjax._image._image import Image
from medjax._image._keys import IMPLEMENTATION
from medjax._intensity import cutmix as with_boxes_of_next
from medjax._intensity import labels_to_image as image_of
from medjax._intensity import mixup as mixed_with_next
from medjax.augment._distribution import Spread
from medjax.augment._step import DrawnStep, drawn, step

__all__ = ["cutmix", "labels_to_image", "mixup"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MixingStep(DrawnStep):
    """A step that looks at all images of a batch, or at several images of an item.

    A step of this kind has a method `mixed(pictures, values)` that changes images by name.
    """

    role = "mixing"

    @property
    def adds(self) -> tuple[str, str] | None:
        """The label image, and the image that is made of it, where one is."""
        return None

    def mixed(self, pictures: dict[str, Image], values: Mapping[str, Any]) -> dict[str, Image]:
        """Returns the changed images, `(*batch, ...)`."""
        raise NotImplementedError

    def check_batch(self, batch: tuple[int, ...]) -> None:
        """Raises `ValueError` where the batch does not suit the step."""


class _WithNext:
    """What steps that mix an item with the next one share."""

    kind: ClassVar[str]
    alpha: Any
    p: Any

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        return {"applied": (), "alpha": (), "share": None, "place": (3,)}

    def share_of(self, numbers: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        """Which items are mixed, by how much, and the parameter of the distribution of that."""
        applied = numbers["applied"] < jnp.asarray(self.p, jnp.float32).reshape((1,) * numbers["applied"].ndim)
        alpha = self.alpha.quantile(numbers["alpha"])

        def one(data: Any, alpha: Any) -> Any:
            return jax.random.beta(jax.random.wrap_key_data(data, impl=IMPLEMENTATION), alpha, alpha, dtype=jnp.float32)

        data = numbers["share"]
        share = jax.vmap(one)(data.reshape(-1, 2), alpha.ravel()).reshape(alpha.shape)
        return applied, jnp.where(applied, share, 1), alpha

    def check_batch(self, batch: tuple[int, ...]) -> None:
        if len(batch) != 1:
            raise ValueError(
                f"{self.kind} mixes the items of one batch axis, got a batch of shape {batch}; stack makes one"
            )


@step
class mixup(_WithNext, MixingStep):
    """Mixes each item of a batch with the next one, the last with the first, `mj.mixup`.

    This is the one kind of step whose result depends on the batch: what is drawn is the item's own, and the partner is
    its neighbour. Labels become shares of the classes, one channel each. Partners should have one spacing.

    Args:
        alpha: Of the beta distribution of an item's own share; the smaller, the nearer to 0 or 1.
        num_classes: Number of labels, where there are label images; static.
        p: Probability that an item is mixed.
        name: Name in a recipe; default "mixup".

    Example:
        >>> images = mj.stack([mj.Image.from_array(np.full((2, 2, 2), x)) for x in (0.0, 8.0)])
        >>> made = mj.augment.mixup(p=1)
        >>> draw = made.sample(jax.random.key(0), images)
        >>> share = draw.values["mixup"]["share"]
        >>> out = mj.augment.apply(draw, images).voxels[:, 0, 0, 0]
        >>> bool(np.allclose(out, [8 * (1 - share[0]), 8 * share[1]]))
        True

    Source: Zhang et al., mixup: beyond empirical risk minimization, ICLR 2018.
    """

    alpha: Spread = drawn(0.2, least=1e-6)
    num_classes: int | None = None
    p: Scalar = 0.5

    def check(self) -> None:
        if self.num_classes is not None:
            check_count(self.num_classes, "num_classes")

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        applied, share, alpha = self.share_of(numbers)
        return {"applied": applied, "alpha": alpha, "share": share}

    def mixed(self, pictures: dict[str, Image], values: Mapping[str, Any]) -> dict[str, Image]:
        share = jnp.where(values["applied"], values["share"], 1)
        if self.num_classes is None and any(image.kind == "label" for image in pictures.values()):
            raise ValueError("mixup makes shares of classes of labels: say num_classes")
        out = {}
        for name, image in pictures.items():
            own = share.reshape(share.shape + (1,) * (len(image.channels) + (image.kind == "label")))
            out[name] = mixed_with_next(image, own, num_classes=self.num_classes if image.kind == "label" else None)
        return out


@step
class cutmix(_WithNext, MixingStep):
    """Puts a box of the next item of a batch into each item, images and labels alike, `mj.cutmix`.

    What is drawn is the item's own, and the partner is its neighbour; see `mixup`.

    Args:
        alpha: Of the beta distribution of the share of the volume that stays.
        p: Probability that an item is changed.
        name: Name in a recipe; default "cutmix".

    Example:
        >>> images = mj.stack([mj.Image.from_array(np.full((4, 4, 4), x)) for x in (0.0, 8.0)])
        >>> out = mj.augment.cutmix(p=1)(jax.random.key(0), images)
        >>> sorted(set(out.voxels.ravel().tolist()))
        [0.0, 8.0]

    Source: Yun et al., CutMix, ICCV 2019.
    """

    alpha: Spread = drawn(1.0, least=1e-6)
    p: Scalar = 0.5

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        applied, share, alpha = self.share_of(numbers)
        return {"applied": applied, "alpha": alpha, "share": share, "place": numbers["place"]}

    def mixed(self, pictures: dict[str, Image], values: Mapping[str, Any]) -> dict[str, Image]:
        side = jnp.where(values["applied"], (1 - values["share"]) ** np.float32(1 / 3), 0)[..., None]
        out = {}
        for name, image in pictures.items():
            sizes = jnp.asarray(image.shape, jnp.float32)[None]
            count = jnp.round(side * sizes)
            out[name] = with_boxes_of_next(image, jnp.floor(values["place"] * (sizes - count + 1)), count)
        return out


@step
class labels_to_image(MixingStep):
    """Draws an image of labels, each with a mean and a deviation of its own, `mj.labels_to_image`.

    Args:
        num_labels: Number of labels; static.
        mean: Of each class.
        std: Of each class.
        labels: Name of the label image.
        to: Name of the image that is made, on the same grid; one that is there already is replaced.
        classes: The class of each label, such as one for left and right; default each its own.
        p: Probability that the image is replaced.
        name: Name in a recipe; default "labels_to_image".

    Example:
        >>> labels = mj.Image.from_array(np.eye(4, dtype=np.uint8)[..., None], kind="label")
        >>> out = mj.augment.labels_to_image(num_labels=2, std=0)(jax.random.key(0), {"seg": labels})
        >>> out["image"].shape, len(set(out["image"].voxels.ravel().tolist()))
        ((4, 4, 1), 2)

    Source: Billot et al., SynthSeg, Med. Image Anal. 86, 2023.
    """

    mean: Spread = drawn((0.0, 255.0))
    std: Spread = drawn((0.0, 35.0), least=0)
    num_labels: int
    labels: str = "seg"
    to: str = "image"
    classes: Sequence[int] | None = None

    def check(self) -> None:
        check_count(self.num_labels, "num_labels")
        if self.classes is not None and (len(self.classes) != self.num_labels or min(self.classes) < 0):
            raise ValueError(f"classes must be one class for each of {self.num_labels} labels, got {self.classes!r}")

    @property
    def adds(self) -> tuple[str, str]:
        return self.labels, self.to

    def shapes(self) -> dict[str, tuple[int, ...]]:
        count = self.num_labels if self.classes is None else max(self.classes) + 1
        return {"mean": (count,), "std": (count,)}

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        return {**super().requests(channels), "key": None}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().values(numbers), "key": numbers["key"]}

    def mixed(self, pictures: dict[str, Image], values: Mapping[str, Any]) -> dict[str, Image]:
        labels, before = pictures[self.labels], pictures[self.to]
        classes = jnp.arange(self.num_labels) if self.classes is None else jnp.asarray(self.classes)
        mean, std = (values[name][..., classes] for name in ("mean", "std"))
        keys = jax.random.wrap_key_data(values["key"], impl=IMPLEMENTATION)
        made = image_of(keys, labels, mean, std)
        applied = values["applied"].reshape(values["applied"].shape + (1,) * 3)
        return {self.to: made.with_voxels(jnp.where(applied, made.voxels, before.voxels))}
