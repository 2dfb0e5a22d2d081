"""HDF5 files of other programs, codecs and filters."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hdf5_cases import assert_same, image_of, voxels_of
from shared_data import DATA, needs_data

import medjax as mj
from medjax import io


def write_medimages(path: Path, voxels: np.ndarray, group: str = "patient_1", **changed: Any) -> np.ndarray:
    """Writes as MedImages.jl's save_med_image does through HDF5.jl; returns the affine that is due."""
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    origin, spacing = np.array([53.48, 37.72, 91.13]), np.array([3.756, 0.839, 1.041])
    texts = {
        "date_of_saving": "2025-01-02T03:04:05",
        "acquistion_time": "2025-01-02T03:04:05.678",
        "patient_id": "test_id",
        "study_uid": "1.2.3",
        "patient_uid": "u2",
        "series_uid": "u3",
        "study_description": " ",
        "legacy_file_name": "x.nii.gz",
        "display_data": "{}",
        "clinical_data": '{"weight": 70}',
        "metadata": '{"PatientWeight":70.0,"nested":[{"a":1}]}',
    } | changed
    with h5py.File(path, "a") as file:
        kind = h5py.h5t.NATIVE_B8 if voxels.dtype == bool else h5py.h5t.py_create(voxels.dtype)
        where = file.require_group(group)
        stored = np.ascontiguousarray(voxels.T)
        space = h5py.h5s.create_simple(stored.shape)
        low = h5py.h5d.create(where.id, b"0b6c7b2e-6d3c-4f0e-9d0a-2f6f9d3f7a11", kind, space)
        low.write(h5py.h5s.ALL, h5py.h5s.ALL, stored.view(np.uint8) if voxels.dtype == bool else stored, mtype=kind)
        dataset = h5py.Dataset(low)
        dataset.attrs["origin"], dataset.attrs["spacing"], dataset.attrs["direction"] = (
            origin,
            spacing,
            turn.reshape(-1),
        )
        for name, value in {"image_type": 1, "image_subtype": 6, "current_device": 0}.items():
            dataset.attrs[name] = np.int64(value)
        for name, value in texts.items():
            data = value.encode()
            dataset.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))
        flag = h5py.h5a.create(low, b"is_contrast_administered", h5py.h5t.NATIVE_B8, h5py.h5s.create(h5py.h5s.SCALAR))
        flag.write(np.array(1, np.uint8), mtype=h5py.h5t.NATIVE_B8)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * spacing, origin
    return affine


@pytest.mark.parametrize("dtype", ["f4", "i2", "u1", "i8", "?"])
def test_medimages_files_load(tmp_path: Path, dtype: str) -> None:
    voxels = voxels_of(dtype, (7, 5, 3))
    affine = write_medimages(tmp_path / "a.h5", voxels)
    image = mj.load_image(tmp_path / "a.h5")
    assert image.dtype == voxels.dtype
    assert image.voxels.tobytes() == voxels.tobytes()
    np.testing.assert_allclose(image.affine, affine, rtol=1e-15)  # one product in float64
    found = image.metadata
    assert isinstance(found, mj.Metadata)
    assert (found.modality, found.subtype) == ("PT", "FDG")
    assert found.patient_id is None  # "test_id" is MedImages.jl's placeholder
    assert found.study_description is None
    assert (found.study_uid, found.patient_uid, found.series_uid) == ("1.2.3", "u2", "u3")
    assert found.acquisition_time == dt.datetime(2025, 1, 2, 3, 4, 5, 678000)
    assert found.source == "x.nii.gz"
    assert found.is_contrast_administered is True
    assert found.clinical == {"weight": 70}
    assert found.extra == {"date_of_saving": "2025-01-02T03:04:05", "PatientWeight": 70.0, "nested": [{"a": 1}]}
    box = io.load_hdf5(tmp_path / "a.h5", "patient_1", start=(2, 1, 0), size=(3, 2, 2))
    np.testing.assert_array_equal(box.voxels, voxels[2:5, 1:3, :2])
    assert [entry.layout for entry in io.list_hdf5(tmp_path / "a.h5")] == ["MedImages.jl"]


def test_medimages_values_that_nobody_knows(tmp_path: Path) -> None:
    write_medimages(tmp_path / "a.h5", voxels_of("f4"), acquistion_time="yesterday", patient_id="P7")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        dataset = next(iter(file["patient_1"].values()))
        dataset.attrs["image_type"] = np.int64(3)
        dataset.attrs["image_subtype"] = np.int64(-1)
    found = mj.load_image(tmp_path / "a.h5").metadata
    assert isinstance(found, mj.Metadata)
    assert (found.modality, found.subtype, found.acquisition_time, found.patient_id) == (None, None, None, "P7")


@needs_data
def test_medimages_file_of_the_shared_data() -> None:
    truth = json.loads((DATA / "synthetic" / "truth.json").read_text())["hdf5/medimages_jl.h5"]
    image = io.load_hdf5(DATA / "synthetic" / "hdf5" / "medimages_jl.h5", truth["group"])
    assert image.shape == tuple(truth["shape_xyz"])
    digest = hashlib.sha256(np.ascontiguousarray(image.voxels.T.astype("<f4")).tobytes()).hexdigest()
    assert digest == truth["sha256_f32_zyx"]
    np.testing.assert_allclose(image.origin, truth["origin"], rtol=1e-15)
    np.testing.assert_allclose(image.spacing, truth["spacing"], rtol=1e-15)
    np.testing.assert_allclose(image.direction.reshape(-1), truth["direction"], rtol=0, atol=1e-15)
    assert isinstance(image.metadata, mj.Metadata)
    assert image.metadata.modality == "CT"
    assert image.metadata.extra["nested"] == [{"a": 1}]


@pytest.mark.parametrize("components", [0, 2])
def test_itk_files_load(tmp_path: Path, components: int) -> None:
    sitk = pytest.importorskip("SimpleITK")
    stored = np.moveaxis(voxels_of("i2", (3, 4, 5, *([components] if components else []))), 0, 2)
    turn, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))
    wanted = sitk.GetImageFromArray(np.ascontiguousarray(stored), isVector=bool(components))
    wanted.SetSpacing((0.7, 2.0, 1.1))
    wanted.SetOrigin((-5.5, 6.25, 7.0))
    wanted.SetDirection(turn.reshape(-1).tolist())
    wanted.SetMetaData("patient", "unknown")
    sitk.WriteImage(wanted, str(tmp_path / "a.h5"), useCompression=True)
    image = mj.load_image(tmp_path / "a.h5")
    assert image.shape == wanted.GetSize()
    point = (1, 2, 3)
    np.testing.assert_array_equal(image.voxels[point], wanted.GetPixel(*point))
    np.testing.assert_array_equal(image.voxels, sitk.GetArrayFromImage(wanted).swapaxes(0, 2))
    # 1e-13: float64 products of numbers below 10.
    np.testing.assert_allclose(
        image.grid.world(np.array(point)), wanted.TransformIndexToPhysicalPoint(point), atol=1e-13
    )
    assert [(e.group, e.name, e.layout) for e in io.list_hdf5(tmp_path / "a.h5")] == [("ITKImage", "0", "ITK")]
    box = io.load_hdf5(tmp_path / "a.h5", "ITKImage", "0", start=(1, 0, 1), size=(2, 3, 2))
    np.testing.assert_array_equal(box.voxels, image.voxels[1:3, :3, 1:3])


# Codecs


def test_a_missing_codec_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    io.save_hdf5(path, image_of(), compression="blosc")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: number < 32001)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    for call in (lambda: mj.load_image(path), lambda: io.save_hdf5(tmp_path / "b.h5", image_of(), compression="blosc")):
        with pytest.raises(io.MissingDependencyError, match=r'codec blosc; pip install "medjax\[hdf5\]"'):
            call()
    assert not (tmp_path / "b.h5").exists()
    io.save_hdf5(tmp_path / "b.h5", image_of())  # the default needs no plugin
    assert_same(mj.load_image(tmp_path / "b.h5"), image_of())


def test_foreign_filters(tmp_path: Path) -> None:
    """Datasets that other programs made with HDF5's own filters: read where that is safe, refused by name elsewhere."""
    image = image_of("i2", (20, 18, 40))
    wanted = {"gzip": True, "gzip9 without shuffle": True, "fletcher32 alone": True, "gzip with fletcher32": False}
    options: dict[str, dict[str, Any]] = {
        "gzip": {"compression": "gzip", "shuffle": True},
        "gzip9 without shuffle": {"compression": "gzip", "compression_opts": 9},
        "fletcher32 alone": {"fletcher32": True},
        "gzip with fletcher32": {"compression": "gzip", "fletcher32": True},
    }
    for name, is_read in wanted.items():
        path = tmp_path / f"{name}.h5"
        io.save_hdf5(path, image, name="a")
        with h5py.File(path, "r+") as file:
            group = file["images/a"]
            del group["voxels"]
            group.create_dataset("voxels", data=image.voxels.T, chunks=(16, 7, 9), **options[name])
        if is_read:
            assert_same(mj.load_image(path), image)
        else:
            with pytest.raises(io.UnsupportedFileError, match=r"HDF5 filters \[1, 3\]"):
                mj.load_image(path)


def test_a_chunk_whose_filter_was_skipped(tmp_path: Path) -> None:
    """HDF5 stores a chunk uncompressed where deflate would make it larger, and says so in its mask."""
    path, image = tmp_path / "a.h5", image_of("i2", (20, 18, 10))
    io.save_hdf5(path, image, name="a")
    with h5py.File(path, "r+") as file:
        dataset = file["images/a/voxels"].id
        dataset.write_direct_chunk((0, 0, 0), np.ascontiguousarray(image.voxels.T).tobytes(), filter_mask=0b11)
    assert_same(mj.load_image(path), image)
