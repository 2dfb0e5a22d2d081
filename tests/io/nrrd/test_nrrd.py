"""NRRD: every rule of the format against pynrrd and SimpleITK, exact round trips, and the public files.

Whom to trust (../shared/data/README.md): pynrrd for voxels, SimpleITK for geometry, except where one is shown to be wrong.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from itk_files import OBLIQUE, SHAPE, as_itk, metadata_of, read_itk, voxels_of
from nrrd_files import BESIDE, EQUAL, RAW, TEXT, VOXELS, at, header, placed, vector, write, write_beside
from shared_data import DATA, needs_data

import medjax as mj


@pytest.mark.parametrize("name", EQUAL)
def test_reads_as_simpleitk_and_pynrrd_do(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nrrd", *EQUAL[name])
    image = mj.load_image(path)
    voxels, affine = read_itk(path)
    np.testing.assert_array_equal(image.voxels, voxels)
    assert image.dtype == voxels.dtype == np.int16
    if name not in ("Windows lines", "gzip, byte skip"):  # pynrrd miscounts these, and skips bytes of the file as well
        np.testing.assert_array_equal(image.voxels, nrrd.read(str(path))[0])
    np.testing.assert_array_equal(image.affine, OBLIQUE)  # the columns are in the file, signs are exact
    np.testing.assert_allclose(affine, OBLIQUE, rtol=1e-14)  # ITK splits them into length and direction


ENCODED = {
    "bzip2": ("bzip2", bz2.compress(RAW)),
    "bz2": ("bz2", bz2.compress(RAW)),
    "hex": ("hex", RAW.hex().encode()),
    "hex in lines": ("hex", b"\n".join(RAW.hex()[n : n + 14].encode() for n in range(0, 240, 14))),
    "gzip in members": ("gzip", gzip.compress(RAW[:50]) + gzip.compress(RAW[50:])),
    "text with commas": ("text", TEXT.replace(b" ", b", ")),
    "capitals": ("RAW", RAW),
}


@pytest.mark.parametrize("name", ENCODED)
def test_encodings_that_one_of_them_lacks(name: str, tmp_path: Path) -> None:
    encoding, data = ENCODED[name]
    image = mj.load_image(write(tmp_path / "scan.nrrd", at(encoding=encoding), data))
    np.testing.assert_array_equal(image.voxels, VOXELS)


TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1", "uint8_t": "u1",
    "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2", "int16_t": "i2",
    "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2", "uint16_t": "u2",
    "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4", "unsigned int": "u4", "uint32": "u4",
    "uint32_t": "u4", "longlong": "i8", "long long": "i8", "long long int": "i8", "signed long long": "i8",
    "signed long long int": "i8", "int64": "i8", "int64_t": "i8", "ulonglong": "u8", "unsigned long long": "u8",
    "unsigned long long int": "u8", "uint64": "u8", "uint64_t": "u8", "float": "f4", "double": "f8",
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_types(name: str, tmp_path: Path) -> None:
    voxels = voxels_of(TYPES[name])
    path = write(tmp_path / "scan.nrrd", at(type=name), voxels.tobytes("F"))
    image = mj.load_image(path)
    assert image.dtype == nrrd.read(str(path))[0].dtype == np.dtype(TYPES[name])
    np.testing.assert_array_equal(image.voxels, voxels)


# --- axes that do not lie in space ----------------------------------------------------------------------------------

WITH_TWO = voxels_of("i2", (*SHAPE, 2))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("kind", ["vector", "list", "???", "time", None])
def test_axis_without_direction_trails_wherever_it_stands(place: int, kind: str | None, tmp_path: Path) -> None:
    stored = np.moveaxis(WITH_TWO, 3, place)
    directions = placed()["space directions"].split(" ")
    kinds = ["domain"] * 3
    directions.insert(place, "none")
    kinds.insert(place, kind or "")
    text = at(
        dimension="4",
        sizes=" ".join(map(str, stored.shape)),
        space_directions=" ".join(directions),
        kinds=" ".join(kinds) if kind else None,
    )
    path = write(tmp_path / "scan.nrrd", text, stored.tobytes("F"))
    image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, WITH_TWO)
    np.testing.assert_array_equal(image.affine, OBLIQUE)
    if kind in ("vector", "list"):  # the others SimpleITK refuses
        np.testing.assert_array_equal(as_itk(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))), WITH_TWO)


def test_colours_without_space(tmp_path: Path) -> None:
    text = header(dimension="4", sizes="2 5 4 3", spacings="nan 1 2 3", kinds="2-vector domain domain domain")
    path = write(tmp_path / "scan.nrrd", text, np.moveaxis(WITH_TWO, 3, 0).tobytes("F"))
    with pytest.warns(mj.ImageFileWarning, match="no space directions"):
        image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, WITH_TWO)
    assert image.spacing == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("spacings", [None, "1 2 3 0.5"])
def test_four_axes_of_which_nothing_is_known(spacings: str | None, tmp_path: Path) -> None:
    """SimpleITK has a 4-D image here; the fourth axis trails."""
    path = write(
        tmp_path / "scan.nrrd", header(dimension="4", sizes="5 4 3 2", spacings=spacings), WITH_TWO.tobytes("F")
    )
    with pytest.warns(mj.ImageFileWarning, match="no space directions"):
        image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, WITH_TWO)
    assert image.spacing == ((1.0, 2.0, 3.0) if spacings else (1.0, 1.0, 1.0))


@pytest.mark.parametrize("space", ["left-posterior-superior-time", "LPST"])
def test_space_with_time(space: str, tmp_path: Path) -> None:
    directions = " ".join(vector([*OBLIQUE[:3, axis], 0]) for axis in range(3)) + " (0,0,0,2.5)"
    origin = vector([*OBLIQUE[:3, 3], 7])
    text = header(dimension="4", sizes="5 4 3 2", space=space, space_directions=directions, space_origin=origin)
    image = mj.load_image(write(tmp_path / "scan.nrrd", text, WITH_TWO.tobytes("F")))
    np.testing.assert_array_equal(image.voxels, WITH_TWO)
    np.testing.assert_array_equal(image.affine, OBLIQUE)
    mj.save_image(image, tmp_path / "again.nrrd")
    _, again = nrrd.read(str(tmp_path / "again.nrrd"))
    assert (again["kinds"][3], again["spacings"][3]) == ("time", 2.5)
    np.testing.assert_array_equal(mj.load_image(tmp_path / "again.nrrd").voxels, WITH_TWO)


def test_time_keeps_its_kind_and_step(tmp_path: Path) -> None:
    text = at(
        dimension="4",
        sizes="5 4 3 2",
        space_directions=placed()["space directions"] + " none",
        kinds="domain domain domain time",
        spacings="nan nan nan 0.8",
    )
    image = mj.load_image(write(tmp_path / "scan.nrrd", text, WITH_TWO.tobytes("F")))
    assert metadata_of(image).extra["spacings"] == [None, None, None, 0.8]
    mj.save_image(image, tmp_path / "again.nrrd")
    voxels, again = nrrd.read(str(tmp_path / "again.nrrd"))
    assert again["kinds"] == ["domain", "domain", "domain", "time"]
    assert again["spacings"][3] == 0.8
    np.testing.assert_array_equal(voxels, WITH_TWO)


@pytest.mark.parametrize("channels", [(), (2,), (1,), (4, 3), (1, 1), (2, 2, 2)], ids=str)
@pytest.mark.parametrize("suffix", ["nrrd", "nhdr"])
def test_trailing_axes_survive(channels: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    image = mj.Image.from_array(voxels_of("f4", SHAPE + channels), affine=OBLIQUE)
    mj.save_image(image, tmp_path / f"scan.{suffix}")
    np.testing.assert_array_equal(mj.load_image(tmp_path / f"scan.{suffix}").voxels, image.voxels)


# --- geometry -------------------------------------------------------------------------------------------------------

WITHOUT_SPACE = {
    "spacings": ({"spacings": "1 2 3"}, (1, 2, 3), (0, 0, 0)),
    "nothing": ({}, (1, 1, 1), (0, 0, 0)),
    "axis mins": ({"spacings": "1 2 3", "axis mins": "10 20 30"}, (1, 2, 3), (10.5, 21, 31.5)),
    "cells": (
        {"spacings": "1 2 3", "axis mins": "10 20 30", "centers": "cell cell cell"}, (1, 2, 3), (10.5, 21, 31.5),
    ),
    "nodes": ({"spacings": "1 2 3", "axismins": "10 20 30", "centerings": "node node node"}, (1, 2, 3), (10, 20, 30)),
    "axis maxs": ({"axis mins": "10 20 30", "axis maxs": "20 28 36"}, (2, 2, 2), (11, 21, 31)),
    "nodes to maxs": (
        {"axis mins": "10 20 30", "axis maxs": "18 26 34", "centers": "node node node"}, (2, 2, 2), (10, 20, 30),
    ),
    "directions of none": ({"space directions": "none none none", "spacings": "1 2 3"}, (1, 2, 3), (0, 0, 0)),
    "units": ({"spacings": "1 2 3", "units": '"mm" "mm" "mm"'}, (1, 2, 3), (0, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_SPACE)
def test_without_space_directions_spacings_count(name: str, tmp_path: Path) -> None:
    fields, spacing, origin = WITHOUT_SPACE[name]
    path = write(tmp_path / "scan.nrrd", header(**fields))
    with pytest.warns(mj.ImageFileWarning, match="no space directions"):
        image = mj.load_image(path)
    assert (image.spacing, image.origin) == (spacing, origin)
    np.testing.assert_array_equal(image.direction, np.eye(3))
    if "maxs" not in name and "none" not in name:  # SimpleITK ignores maxs, and takes none for an error
        theirs = sitk.ReadImage(str(path))
        assert (theirs.GetSpacing(), theirs.GetOrigin()) == (spacing, origin)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "scanner-xyz-time", None])
def test_space_that_is_not_the_patients(space: str | None, tmp_path: Path) -> None:
    """SimpleITK takes the axes as LPS and says nothing."""
    path = write(tmp_path / "scan.nrrd", at(space=space, space_dimension=None if space else "3"))
    with pytest.warns(mj.ImageFileWarning, match="says nothing about the patient; taken as LPS"):
        image = mj.load_image(path)
    np.testing.assert_array_equal(image.affine, OBLIQUE)


@pytest.mark.parametrize(("unit", "factor"), [("um", 1e-3), ("cm", 10.0), ("m", 1000.0), ("microns", 1e-3)])
def test_units_of_space_become_mm(unit: str, factor: float, tmp_path: Path) -> None:
    """SimpleITK takes the numbers as mm."""
    path = write(tmp_path / "scan.nrrd", at(space_units=f'"{unit}" "{unit}" "{unit}"'))
    with pytest.warns(mj.ImageFileWarning, match="converted to mm"):
        image = mj.load_image(path)
    np.testing.assert_allclose(image.affine[:3], OBLIQUE[:3] * factor, rtol=1e-15)


def test_missing_origin_is_zero_and_said(tmp_path: Path) -> None:
    with pytest.warns(mj.ImageFileWarning, match="no space origin; taken as 0"):
        image = mj.load_image(write(tmp_path / "scan.nrrd", at(space_origin=None)))
    assert image.origin == (0.0, 0.0, 0.0)


def test_two_dimensions(tmp_path: Path) -> None:
    text = header(
        dimension="2", sizes="5 12", space_dimension="2", space_directions="(0,2) (-3,0)", space_origin="(1,2)"
    )
    with pytest.warns(mj.ImageFileWarning, match="unnamed space"):
        image = mj.load_image(write(tmp_path / "scan.nrrd", text))
    assert image.shape == (5, 12, 1)
    np.testing.assert_array_equal(image.affine, [[0, -3, 0, 1], [2, 0, 0, 2], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_slice_in_space_gets_its_normal(tmp_path: Path) -> None:
    """A plane in three dimensions, which SimpleITK refuses."""
    directions = " ".join(vector(OBLIQUE[:3, axis]) for axis in range(2))
    image = mj.load_image(write(tmp_path / "scan.nrrd", at(dimension="2", sizes="5 12", space_directions=directions)))
    assert image.shape == (5, 12, 1)
    np.testing.assert_array_equal(image.affine[:3, :2], OBLIQUE[:3, :2])
    np.testing.assert_allclose(image.direction[:, 2], OBLIQUE[:3, 2] / 2.9, atol=1e-15)  # right-handed, as OBLIQUE is
    assert image.spacing[2] == pytest.approx(1.0, abs=1e-15)


def test_spaces_inside_vectors(tmp_path: Path) -> None:
    text = at().replace(",", " , ").replace("(", "( ")
    np.testing.assert_array_equal(mj.load_image(write(tmp_path / "scan.nrrd", text)).affine, OBLIQUE)


def test_capitals_in_field_names(tmp_path: Path) -> None:
    text = at().replace("space directions", "Space Directions").replace("sizes", "SIZES")
    np.testing.assert_array_equal(mj.load_image(write(tmp_path / "scan.nrrd", text)).affine, OBLIQUE)


def test_shear_is_kept_and_named(tmp_path: Path) -> None:
    sheared = OBLIQUE.copy()
    sheared[:3, 2] = OBLIQUE[:3, :3] @ np.array([0, np.sin(np.radians(20)) * 2.9 / 1.3, np.cos(np.radians(20))])
    mj.save_image(mj.Image.from_array(VOXELS, affine=sheared), tmp_path / "tilted.nrrd")
    with pytest.warns(mj.ImageFileWarning, match="20 degrees off a right angle"):
        loaded = mj.load_image(tmp_path / "tilted.nrrd")
    np.testing.assert_array_equal(loaded.affine, sheared)
    np.testing.assert_allclose(read_itk(tmp_path / "tilted.nrrd")[1], sheared, rtol=1e-14)


# --- data beside the header -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BESIDE)
def test_data_beside_the_header(name: str, tmp_path: Path) -> None:
    path = write_beside(tmp_path, *BESIDE[name])
    image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, VOXELS)
    np.testing.assert_array_equal(image.voxels, read_itk(path)[0])


# --- the public data ------------------------------------------------------------------------------------------------


def expected() -> dict[str, Any]:
    if not DATA.is_dir():
        return {}
    items = json.loads((DATA / "expected.json").read_text())["items"]
    return {name: item for name, item in items.items() if item["kind"] == "nrrd"}


# What the reader must say of a file, which is right: no directions; no origin, and a line end behind the voxels.
SAID = {
    "nrrd/test2d_ascii.nrrd": ["no space directions"],
    "nrrd/test_simple4d_raw.nrrd": ["no space origin", "1 bytes follow the voxels"],
}


@needs_data
@pytest.mark.parametrize("name", expected())
def test_public_files(name: str) -> None:
    """pynrrd is the truth for voxels; SimpleITK, which reads neither bzip2 nor 4-D with 3-D space, for geometry."""
    item = expected()[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = mj.load_image(DATA / name)
    assert all(part in str(entry.message) for part, entry in zip(SAID.get(name, []), caught, strict=True))

    voxels = image.voxels if image.voxels.ndim == len(item["pynrrd"]["shape"]) else image.voxels[:, :, 0]
    assert image.dtype == np.dtype(item["pynrrd"]["dtype"])
    stored = np.ascontiguousarray(voxels.transpose(), dtype=np.float32)
    assert list(stored.shape) == item["pynrrd"]["shape"]
    assert hashlib.sha256(stored.tobytes()).hexdigest() == item["pynrrd"]["sha256_f32"]
    assert image.kind == (
        "label" if name.endswith("_seg.nrrd") and "Segment0_ID" in metadata_of(image).extra else "intensity"
    )
    if "error" in item["sitk"]:
        return
    n = len(item["sitk"]["size_xyz"])
    np.testing.assert_allclose(image.spacing[:n], item["sitk"]["spacing"], rtol=1e-8)  # written with nine digits
    np.testing.assert_allclose(image.direction[:n, :n], np.reshape(item["sitk"]["direction"], (n, n)), atol=1e-9)
    np.testing.assert_allclose(image.origin[:n], item["sitk"]["origin"], rtol=1e-8)


@needs_data
def test_four_dimensions_of_pynrrds_own_file() -> None:
    """What SimpleITK refuses: RAS columns 1.5, 1.5, 1 and an axis without direction."""
    with pytest.warns(mj.ImageFileWarning) as caught:
        image = mj.load_image(DATA / "nrrd/test_simple4d_raw.nrrd")
    assert len(caught) == 2
    np.testing.assert_array_equal(image.affine, np.diag([-1.5, -1.5, 1.0, 1.0]))
    np.testing.assert_array_equal(image.voxels, [[[[0.76903426]]]])
    frame = metadata_of(image).extra["measurement frame"]
    assert frame == [[1.0001, 0.0, 0.0], [0.0, 1.0000000006, 0.0], [0.0, 0.0, 1.000000000000009]]


def test_every_public_file_has_a_test() -> None:
    if not DATA.is_dir():
        pytest.skip("../shared/data is not here")
    found = {os.fspath(path.relative_to(DATA)) for suffix in ("nrrd", "nhdr") for path in DATA.rglob(f"*.{suffix}")}
    assert found == set(expected())
