"""A chain of steps, read from text, applied to images as one interpolation."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from medjax._geometry._grid import Grid
from medjax._image._checks import check_same_grid
from medjax._image._image import Image, check_image
from medjax._lazy import public
from medjax._pipeline._grammar import Step, from_table, from_text, from_toml, to_toml
from medjax._pipeline._operations import References, applied
from medjax._space._buckets import shape_buckets
from medjax._space._fuse import fuse
from medjax._space._resample import resample_to_grid
from medjax.io._disk._atomic import atomic_file
from medjax.io._disk._opened import as_path, opened

__all__ = ["Outline", "Pipeline"]


@dataclasses.dataclass(frozen=True)
class Outline:
    """What a chain makes of an image, known without its voxels.

    Attributes:
        grid: Of the result.
        dtype: Of the result.
        kind: Of the result.
    """

    grid: Grid
    dtype: np.dtype
    kind: str


@public("medjax.data")
@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A chain of steps that is the same as text, in a TOML file and in Python, and gives the same bytes.

    All spatial steps are one interpolation, as under `fuse`. Shapes are bucketed, as under `shape_buckets`, so that a
    cohort of many shapes needs few compilations. Several images go through one grid: the first leads, the others are
    brought onto its grid. Intensity steps act on intensities, steps for masks on label maps, spatial steps on all.

    Attributes:
        steps: The steps in order; `of` and `read` make them.

    Example:
        >>> pipeline = mj.data.Pipeline.of("reorient:RAS resample:1.5 size:8,8,4 cast:int16")
        >>> scan = mj.Image.from_array(np.ones((8, 9, 5), np.int16), spacing=(1, 1, 2))
        >>> pipeline(scan)
        Image(8x8x4 int16 intensity, spacing 1.5 x 1.5 x 1.5 mm, RAS)
        >>> str(pipeline)
        'reorient:RAS resample:1.5 size:8,8,4 cast:int16'
    """

    steps: tuple[Step, ...]

    @staticmethod
    def of(steps: str | Iterable[str | Mapping[str, Any]]) -> Pipeline:
        """Reads steps of text: one text with spaces between them, a text for each, or a table for each as in TOML.

        A step is `name:value,...` or `name:key=value,...`. The names of values are those of the public function.

        Raises:
            ValueError: a step or an option is unknown, or a value has another form.

        Example:
            >>> mj.data.Pipeline.of(["resample:2,anchor=first", {"window": [40, 400]}])
            Pipeline('resample:2,anchor=first window:40,400')
        """
        entries = steps.split() if isinstance(steps, str) else steps
        return Pipeline(tuple(from_text(one) if isinstance(one, str) else from_table(one) for one in entries))

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Pipeline:
        """Reads a TOML file of the schema `medjax.pipeline/1`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no such TOML, or a step is wrong; the message names it.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     mj.data.Pipeline.of("resample:1.5 clip:-1000,1000").save(f"{folder}/p.toml")
            ...     mj.data.Pipeline.read(f"{folder}/p.toml")
            Pipeline('resample:1.5 clip:-1000,1000')
        """
        path = as_path(path)
        with opened(path) as file:
            content = file.read(_MOST_BYTES)
        try:
            return Pipeline(tuple(from_toml(content.decode("utf-8"))))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def to_toml(self) -> str:
        """Writes the steps as TOML, in the canonical form.

        Example:
            >>> print(mj.data.Pipeline.of("resample:1.5,like=ct").to_toml())
            schema = "medjax.pipeline/1"
            <BLANKLINE>
            [[steps]]
            resample = { spacing = 1.5, like = "ct" }
            <BLANKLINE>
        """
        return to_toml(self.steps)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_toml` to a file, whole or not at all."""
        with atomic_file(as_path(path)) as temporary:
            temporary.write_text(self.to_toml(), encoding="utf-8")

    def __call__(self, images: Any, *, references: Mapping[str, Image | Grid] | None = None) -> Any:
        """Applies the steps.

        Args:
            images: An image, or images by role. The first role leads.
            references: What `like` and `to_mask` name beside the roles; any other name is the path of a file.

        Returns:
            The image, or the images by role.

        Raises:
            ValueError: a step does not suit an image, or names a role that is not there.
            ImageFileError: a file that a step names cannot be read.

        Example:
            >>> scan = mj.Image.from_array(np.zeros((4, 4, 4), np.float32))
            >>> labels = mj.Image.from_array(np.zeros((4, 4, 4), np.uint8), kind="label")
            >>> found = mj.data.Pipeline.of("resample:2 window:40,400")({"ct": scan, "seg": labels})
            >>> found["ct"].shape, found["seg"].dtype
            ((2, 2, 2), dtype('uint8'))
        """
        is_single = isinstance(images, Image) or not isinstance(images, Mapping)
        named = {"image": images} if is_single else dict(images)
        for name, image in named.items():
            check_image(image, name if not is_single else "images")
        with shape_buckets():
            out = self._fused(named, References(references))
        return out["image"] if is_single else out

    def outline(self, image: Image | Any, *, references: Mapping[str, Image | Grid] | None = None) -> Outline:
        """Works out grid, dtype and kind of the result from a header: anything with `grid`, `dtype`, `kind`, ...

        Example:
            >>> scan = mj.Image.from_array(np.zeros((8, 8, 4), np.int16), spacing=(1, 1, 2))
            >>> found = mj.data.Pipeline.of("reorient:RAS resample:2").outline(scan)
            >>> found.grid.shape, found.dtype
            ((4, 4, 4), dtype('float32'))
        """
        grid = image.grid
        found: dict[str, Any] = {}
        is_computing = any(step.name not in _EXACT for step in self.steps)

        def run(voxels: Any) -> Any:
            traced = Image(voxels, grid.affine, image.kind, image.metadata)
            result = self._fused({"image": traced}, References(references))["image"]
            found.update(grid=result.grid, kind=result.kind)
            return result.voxels

        shape = jax.ShapeDtypeStruct((*grid.shape, *image.channels), jax.dtypes.canonicalize_dtype(image.dtype))
        dtype = jax.eval_shape(run, shape).dtype if is_computing else image.dtype
        if not is_computing:
            jax.eval_shape(run, shape)
        return Outline(found["grid"], np.dtype(dtype), found["kind"])

    def _fused(self, images: dict[str, Image], references: References) -> dict[str, Image]:
        order = list(images)  # JAX sorts the keys of a dict
        out = fuse(lambda named: self._run(named, order[0], references))(images)
        return {name: out[name] for name in order}

    def _run(self, images: dict[str, Image], first: str, references: References) -> dict[str, Image]:
        images = dict(images)
        is_on_one_grid = False
        for step in self.steps:
            roles = _roles(step, images)
            if step.kind.target == "space" and step.on is None and not is_on_one_grid:
                if "like" not in step.options:  # which brings all onto a grid of its own
                    for name in roles:
                        images[name] = _on_grid_of(images[first], images[name])
                is_on_one_grid = True
            at_hand = references.with_images(images)
            images |= {name: applied(step, images[name], at_hand) for name in roles}
        return images

    def __str__(self) -> str:
        return " ".join(str(step) for step in self.steps)

    def __repr__(self) -> str:
        return f"Pipeline({str(self)!r})"


_MOST_BYTES = 1 << 20
_EXACT = {"reorient", "flip", "crop", "pad", "size", "translate"}


def _roles(step: Step, images: Mapping[str, Image]) -> list[str]:
    """The images that a step acts on: those that it names, else those of its kind, else the only one there is."""
    if step.on is not None:
        missing = [name for name in step.on if name not in images]
        if missing:
            raise ValueError(f"{step.name}: there is no image {missing[0]!r}; there are {', '.join(images)}")
        return list(step.on)
    target = step.kind.target
    if target == "space":
        return list(images)
    return [name for name, image in images.items() if image.kind == target] or list(images)[:1]


def _on_grid_of(image: Image, other: Image) -> Image:
    try:
        check_same_grid(image, other, "image")
    except ValueError:
        return resample_to_grid(other, image.grid)
    return other
