"""The README's table of quantities: it lists every field, and its units are those of the numbers, by dimensional analysis."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pet_header import oblique, pet

import medjax as mj
from medjax import Image

README = Path(mj.__file__).parent.parent / "README.md"
SHAPE = (6, 5, 4)

# Powers of (length, voxel value) in each unit; SUV in g/ml has the value's.
DIMENSIONS = {
    "mm": (1, 0),
    "LPS mm": (1, 0),
    "mm3": (3, 0),
    "ml": (3, 0),
    "g/ml": (0, 1),
    "g": (3, 1),
    "voxels": (0, 0),
    "0 to 1": (0, 0),
}


def mirrored(mask: Image) -> Image:
    return mask.with_voxels(mask.voxels[::-1])


MEASURES: dict[str, Callable[[Image, Image], Any]] = {
    "barycenter": lambda image, mask: mj.barycenter(mask),
    "max_radius": lambda image, mask: mj.max_radius(mask),
    "label_volumes": lambda image, mask: mj.label_volumes(mask),
    "dice": lambda image, mask: mj.dice(mask, mirrored(mask)),
}
FIELDS: dict[str, Callable[[Image, Image], Any]] = {
    "MaskPoints": lambda image, mask: mj.mask_points(mask, 9),
    "BoundingBox": lambda image, mask: mj.bounding_box(mask),
    "SurfaceDistances": lambda image, mask: mj.surface_distances(mask, mirrored(mask)),
    "SuvStatistics": mj.suv_statistics,
}


def field_names(kind: Any) -> tuple[str, ...]:
    return getattr(kind, "_fields", None) or tuple(field.name for field in dataclasses.fields(kind))


NAMES = [*MEASURES, *(f"{kind}.{field}" for kind in FIELDS for field in field_names(getattr(mj, kind)))]


def measured(name: str, image: Image, mask: Image) -> np.ndarray:
    """One quantity by its name in the table."""
    kind, _, field = name.partition(".")
    return np.asarray(getattr(FIELDS[kind](image, mask), field) if field else MEASURES[name](image, mask))


def units() -> dict[str, str]:
    """The unit that the README states for each name in its table of quantities."""
    text = README.read_text()
    section = text[text.index("### Masks and quantities") : text.index("\n## Extras")]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {name: row[-1] for row in rows for name in re.findall(r"`([^`]+)`", row[0])}


def region(length: float = 1.0, value: float = 1.0) -> tuple[Image, Image]:
    """Uniform SUV, so that the mean over the sphere of 1 cm3 is the same whatever the voxels' size; a lopsided mask."""
    affine = oblique(2.0, 3.0, 2.5)
    affine[:3] *= length
    inside = np.zeros(SHAPE, np.uint8)
    inside[1:4, 1:3, 2], inside[3, 3, 2:] = 1, 1
    image = Image.from_array(np.full(SHAPE, 2.5 * value, np.float32), affine=affine)
    return image, Image.from_array(inside, affine=affine, kind="label")


@pytest.mark.parametrize("name", NAMES)
def test_quantity_scales_as_its_unit(name: str) -> None:
    unit = re.split(r"; | \(", units()[name])[0]
    length, value = DIMENSIONS[unit]
    plain, longer, higher = (measured(name, *region(*s)) for s in ((), (2.0,), (1.0, 3.0)))
    assert np.abs(plain).max() > 0
    np.testing.assert_allclose(longer, plain * 2.0**length, rtol=1e-6)
    np.testing.assert_allclose(higher, plain * 3.0**value, rtol=1e-6)


def test_millilitres_and_cubic_millimetres() -> None:
    image, mask = region()
    assert float(mj.suv_statistics(image, mask).volume_ml) == pytest.approx(mj.label_volumes(mask) / 1000, rel=1e-6)
    assert mj.label_volumes(mask) == pytest.approx(8 * 2.0 * 3.0 * 2.5, rel=1e-12)


@pytest.mark.parametrize("kind", ["bw", "lbm_james", "lbm_morgan", "lbm_janmahasatian", "ibw", "bsa"])
def test_unit_of_a_factor_follows_from_its_kind(kind: Any) -> None:
    found: Any = mj.suv_factor(pet(), kind)
    stated = units()
    wanted = "cm2/ml" if kind == "bsa" else "g/ml"
    assert found.unit == wanted
    assert stated["SuvFactor.factor"] == 'g/ml (`"bsa"`: cm2/ml) per unit of the voxels'
    assert stated["to_suv"] == 'g/ml (`"bsa"`: cm2/ml)'
    # c N / D: 5000 Bq/ml of 370 MBq that decayed, per g of some 70 kg or per cm2 of some 1.8 m2.
    assert 0.3 < found.normalizer / (1.8e4 if kind == "bsa" else 7e4) < 1.1
    assert found.factor == pytest.approx(found.normalizer / (found.dose_bq * found.decay_factor), rel=1e-12)


def test_table_lists_every_field() -> None:
    listed = set(units())
    assert set(NAMES) <= listed
    numbers = {"factor", "uptake_s", "half_life_s", "dose_bq", "decay_factor", "normalizer", "weight_kg", "height_m"}
    assert {f"SuvFactor.{name}" for name in numbers} <= listed
    records = [mj.SuvFactor, mj.RegionStatistics]
    known = {*NAMES, *(f"{kind.__name__}.{name}" for kind in records for name in field_names(kind))}
    assert {name for name in listed if "." in name} <= known
