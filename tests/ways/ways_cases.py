"""What the table of ways is filled with: operations, and images and parameters drawn from a seed.

A case is one operation with two images of one shape and two sets of parameters. Half of the parameters fall where rounding
decides: halfway between voxels, on the faces of the image, on voxel centres.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

import medjax as mj
from medjax import Image

Parameters = dict[str, Any]

LENGTHS = (1, 2, 3, 4, 5, 6)
SPACINGS = (0.703125, 0.7, 0.9765625, 1.1, 2.5, 3.27, 5.0)
ORIGINS = (-172.9, 179.297, -834.125, 12.5, 0.0, -0.1, 63.7)
LABELS = (np.uint8, np.int16, np.int32, np.uint16)
INTENSITIES = (np.int16, np.uint8, np.uint16, np.float16)


class Draw:
    """Random choices of one case."""

    options: dict[str, Any]

    def __init__(self, seed: int, name: str, kind: str):
        self.rng = np.random.default_rng([seed, zlib.crc32(f"{name} {kind}".encode())])
        self.seed, self.kind, self.options = seed, kind, {}  # the options are drawn before the parameters
        # Labels are about ties; so are intensities where they are sampled by nearest.
        self.is_exact = self.rng.random() < (0.75 if kind == "label" else 0.5)

    def one_of(self, *values: Any) -> Any:
        return values[self.rng.integers(len(values))]

    def each(self, *values: Any, count: int = 3) -> np.ndarray:
        """`count` choices among numbers."""
        return np.asarray([self.one_of(*values) for _ in range(count)])

    def uniform(self, low: float, high: float, shape: Any = ()) -> np.ndarray:
        """float64 numbers that float32 holds: a parameter means the same traced."""
        return np.asarray(self.rng.uniform(low, high, shape), np.float32).astype(np.float64)

    def shape(self) -> tuple[int, int, int]:
        """One of two shapes of a seed, a thin one among them: each is compiled for once."""
        rng = np.random.default_rng(self.seed)
        plain, thin = (rng.choice(LENGTHS, 3) + 2).tolist(), rng.permutation([1, *rng.choice(LENGTHS, 2) + 2]).tolist()
        i, j, k = self.one_of(plain, plain, thin)
        return i, j, k

    def dtype(self) -> Any:
        """One of two dtypes of a seed."""
        rng = np.random.default_rng(self.seed)
        return (
            self.one_of(np.int32, LABELS[rng.integers(len(LABELS))])
            if self.kind == "label"
            else self.one_of(np.float32, INTENSITIES[rng.integers(len(INTENSITIES))])
        )

    def direction(self) -> np.ndarray:
        """Axis-aligned, permuted, mirrored or oblique."""
        turn = np.eye(3)[self.rng.permutation(3)] * self.each(1, -1)
        if self.rng.random() < 0.6:
            turn = Rotation.from_euler("xyz", self.each(7.0, -23.0, 11.0, 37.0, 3.3), degrees=True).as_matrix() @ turn
        return turn

    def affines(self, count: int, is_alike: bool) -> list[np.ndarray]:
        """Affines of the items of a batch; alike: only their origins differ."""
        made: list[np.ndarray] = []
        for _ in range(count):
            affine = np.eye(4)
            spacing = np.full(3, self.one_of(*SPACINGS)) if self.rng.random() < 0.4 else self.each(*SPACINGS)
            affine[:3, :3] = made[0][:3, :3] if made and is_alike else self.direction() * spacing
            affine[:3, 3] = self.each(*ORIGINS)
            made.append(affine)
        return made

    def voxels(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        if self.kind == "label":
            values: Any = self.rng.integers(0, 5, shape)
            values.ravel()[:4] = [1, 2, 3, 4]  # each label occurs
            return values.astype(dtype)
        values = self.rng.uniform(-100, 100, shape)
        if np.dtype(dtype).kind == "u":
            values = np.abs(values)
        return (np.round(values) if np.dtype(dtype).kind in "iu" else values).astype(dtype)

    def half_steps(self) -> np.ndarray:
        return self.each(-1.0, -0.5, 0.0, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Operation:
    """One call of the public API, as the table makes it in every way.

    Attributes:
        function: The public name that it exercises.
        call: From an image, parameters and options to the result.
        kinds: The kinds of images that it takes.
        parameters: Draws what may be traced and batched: arrays and images; of each item of a batch.
        options: Draws what is static.
        points: For operations that sample: from world points of the result (float64) to those of the image and which of
            them are doubtful. An independent computation in NumPy.
        refused: What the operation cannot do, as the words of its error: by what is traced ("voxels", "affine",
            "parameters"), or "batch", "items" (parameters for each item of a batch).
        meaningless: What has no result for each item, such as "batch" where the items are the cohort.
        is_alike: Items of a batch need one spacing and orientation.
        is_exact: Voxels are moved, not computed: they agree to the bit.
        is_linear: In the voxels, so that a gradient is a difference quotient.
        slopes: The parameters that gradients are taken in; `None`: not differentiable, in the voxels neither.
        rounding: Multiples of float32's epsilon, of the largest number in a result, by which it may differ.
        channels: Trailing axes to choose from.
        dtypes: The dtypes to choose from; default those of the seed.
        metadata: The images' header.
        has_image: Whether the image takes part at all.
    """

    function: str
    call: Callable[[Any, Parameters, Mapping[str, Any]], Any]
    kinds: tuple[str, ...] = ("label", "intensity")
    parameters: Callable[[Draw, Image], Parameters] = lambda draw, image: {}
    options: Callable[[Draw, Image], dict[str, Any]] = lambda draw, image: {}
    points: Callable[..., tuple[np.ndarray, Any]] | None = None
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    meaningless: frozenset[str] = frozenset()
    is_alike: bool = False
    is_exact: bool = False
    is_linear: bool = False
    slopes: tuple[str, ...] | None = None
    rounding: float = 64
    channels: tuple[tuple[int, ...], ...] = ((), (), (2,))
    dtypes: tuple[Any, ...] | None = None
    metadata: mj.Metadata | None = None
    has_image: bool = True


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """An operation with what it is called with: `images[n]` goes with `parameters[n]`.

    The first two lie on grids of their own, as items of a batch; the third shares the grid of the first.
    """

    name: str
    operation: Operation
    seed: int
    images: tuple[Image, ...]
    parameters: tuple[Parameters, ...]
    options: Mapping[str, Any]
    rng: np.random.Generator

    def call(self, image: Any, parameters: Parameters) -> dict[str, Any]:
        return named(self.operation.call(image, parameters, self.options))

    @functools.cached_property
    def reference(self) -> Callable[[int, int], dict[str, np.ndarray]]:
        """The eager result on NumPy of one item with the parameters of another."""

        @functools.cache
        def result(image: int, parameters: int) -> dict[str, np.ndarray]:
            return on_host(self.call(self.images[image], self.parameters[parameters]))

        return result

    @property
    def order(self) -> int:
        """Spline order of the interpolation."""
        usual = "nearest" if self.images[0].kind == "label" else "linear"
        return {"nearest": 0, "linear": 1, "bspline": 3}[self.options.get("interpolation") or usual]

    def __str__(self) -> str:
        image = self.images[0]
        return f"{image.dtype} {image.kind} {'x'.join(map(str, image.voxels.shape))}, options {dict(self.options)}"


def draw_case(
    name: str, operation: Operation, seed: int, *, kind: str | None = None, shape: Any = None, dtype: Any = None
) -> Case:
    """Draws a case; a given kind, shape and dtype take the place of the drawn ones."""
    kind = kind or operation.kinds[(seed + zlib.crc32(name.encode())) % len(operation.kinds)]
    draw = Draw(seed, name, kind)
    drawn, channels = draw.shape(), draw.one_of(*operation.channels)
    chosen = draw.one_of(*operation.dtypes) if operation.dtypes else draw.dtype()
    shape, dtype = (*(shape or drawn), *channels), dtype or chosen
    one, two = draw.affines(2, operation.is_alike)
    images = tuple(
        Image.from_array(draw.voxels(shape, dtype), affine=affine, kind=kind, metadata=operation.metadata)  # type: ignore[arg-type]
        for affine in (one, two, one)
    )
    options = draw.options = operation.options(draw, images[0])
    parameters = tuple(operation.parameters(draw, image) for image in images)
    return Case(name, operation, seed, images, parameters, options, draw.rng)


def named(result: Any) -> dict[str, Any]:
    """A result's arrays by name; the kind of an image is part of the name, so that another kind shows."""
    if isinstance(result, Image):
        return {f"voxels of {result.kind}": result.voxels, "affine": result.affine}
    if isinstance(result, dict):
        return {f"{key} {name}".strip(): x for key, value in result.items() for name, x in named(value).items()}
    if isinstance(result, tuple) and hasattr(result, "_asdict"):
        return named(result._asdict())
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
        return named({key: value for key, value in fields.items() if hasattr(value, "shape")})
    if isinstance(result, list | tuple):
        return named({str(n): value for n, value in enumerate(result)})
    return {"": result}


def on_host(result: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in result.items()}
