"""`io.inspect` says what `load_image` gives, of every format, without JAX and without the voxels."""

from __future__ import annotations

import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_data import ROWS, series, stored_values
from fuzz_mutations import cut, drop, flip_used, overwrite_number
from fuzz_seeds import SCENE, SEEDS, Files, image
from nifti_bytes import nifti_bytes, ramp
from segmentation_objects import blobs, build, frames_of

import medjax as mj
from medjax import io

# The made geometry is sheared, and most files of the tables are odd: test files of each format check the warnings.
pytestmark = pytest.mark.filterwarnings("ignore::medjax.ImageFileWarning")


def written(files: Files, folder: Path) -> Path:
    """Writes a set of files and returns what is opened: the first, or its folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    first = next(iter(files))
    return folder / first.split("/")[0]


def outcome(call: Any, path: Path) -> Any:
    """What a call gives, or the error that it raises as text."""
    try:
        return call(path)
    except mj.ImageFileError as error:
        return f"{type(error).__name__}: {error}"


def said_of(header: io.ImageHeader) -> dict[str, Any]:
    return {
        "shape": header.shape,
        "channels": header.channels,
        "dtype": header.dtype,
        "kind": header.kind,
        "affine": header.affine.tolist(),
        "metadata": header.metadata,
    }


def given_by(image: mj.Image) -> dict[str, Any]:
    metadata = image.metadata
    assert isinstance(metadata, mj.Metadata)
    extra = {key: value for key, value in metadata.extra.items() if key != "values"}
    return {
        "shape": image.shape,
        "channels": image.channels,
        "dtype": image.dtype,
        "kind": image.kind,
        "affine": image.affine.tolist(),
        "metadata": metadata.replace(extra=extra),
    }


def check_same(path: Path, undecided: tuple[str, ...] = ()) -> io.ImageHeader:
    """Compares all that the headers decide, and returns the header."""
    header, found = io.inspect(path), mj.load_image(path)
    assert header.undecided == undecided
    said, given = said_of(header), given_by(found)
    assert {k: v for k, v in said.items() if k not in undecided} == {
        k: v for k, v in given.items() if k not in undecided
    }
    assert header.dtype.isnative
    return header


@pytest.mark.parametrize("name", SEEDS)
def test_says_what_loading_gives(name: str, tmp_path: Path) -> None:
    compared = 0
    for number, files in enumerate(SEEDS[name]()):
        path = written(files, tmp_path / str(number))
        header, found = outcome(io.inspect, path), outcome(mj.load_image, path)
        if isinstance(header, str):
            assert header == found
        else:
            assert isinstance(found, mj.Image)
            is_mgz = name == "mgh" and path.suffix == ".mgz"  # the times lie behind the voxels
            assert header.undecided == (("metadata",) if is_mgz else ())
            said, given = said_of(header), given_by(found)
            if is_mgz:
                assert said.pop("metadata").extra.items() <= given.pop("metadata").extra.items()
            assert said == given
            assert header.nbytes == found.voxels.nbytes
            compared += 1
    assert compared >= {"mrb": 0}.get(name, 4)


@pytest.mark.parametrize("file", ["CT head.nii.gz", "seg.nrrd", "scan.mha", "scan.h5", "scan.nhdr", "scan.hdr"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_of_a_scene(file: str, method: int, tmp_path: Path) -> None:
    mj.save_image(image("u1"), tmp_path / file)
    text = SCENE.replace("CT%20head.nii.gz", file).partition('<VolumeArchetypeStorage id="S2"')[0] + "</MRML>"
    with zipfile.ZipFile(tmp_path / "a.mrb", "w", method) as archive:
        archive.writestr("s/s.mrml", text)
        for path in tmp_path.glob(f"{file.split('.')[0]}.*"):
            archive.write(path, f"s/Data/{path.name}")
    header = check_same(tmp_path / "a.mrb")
    assert (header.metadata.source, header.kind) == ("a.mrb", "label")


# What Segments Overlap (0062,0013) says is a guess at what the voxels say (PS3.3 section C.8.20.2).
@pytest.mark.parametrize(
    ("kind", "count", "overlap", "undecided", "channels"),
    [
        ("BINARY", 1, None, (), ()),
        ("BINARY", 3, "NO", ("channels", "metadata"), ()),
        ("BINARY", 3, "YES", ("channels", "metadata"), (3,)),
        ("FRACTIONAL", 2, None, (), (2,)),
        ("FRACTIONAL", 1, None, (), ()),
        ("LABELMAP", 1, None, (), ()),
    ],
)
def test_of_a_segmentation(
    kind: str, count: int, overlap: str | None, undecided: tuple[str, ...], channels: tuple[int, ...], tmp_path: Path
) -> None:
    planes, slices, numbers = frames_of(blobs(count, overlap=overlap == "YES"))
    dataset = build(planes, slices, numbers, kind=kind, segments=range(1, count + 1))
    if overlap is not None:
        dataset.SegmentsOverlap = overlap
    dataset.save_as(tmp_path / "seg.dcm")
    header, found = check_same(tmp_path / "seg.dcm", undecided), mj.load_image(tmp_path / "seg.dcm")
    assert header.channels == channels == found.channels
    assert header.metadata == found.metadata


# GE writes CT in 16 signed bits with an intercept of -1024: -33792 would not fit int16, and no voxel is that low.
@pytest.mark.parametrize(
    ("bits", "intercept", "undecided"), [(12, -1024, ()), (16, -1024, ("dtype",)), (16, 0, ()), (16, -0.5, ())]
)
def test_of_ct_whose_bits_need_more_than_int16(
    bits: int, intercept: float, undecided: tuple[str, ...], tmp_path: Path
) -> None:
    scaling = {"RescaleSlope": 1, "RescaleIntercept": intercept, "BitsStored": bits, "HighBit": bits - 1}
    series(tmp_path, each=lambda k: scaling)
    header, found = check_same(tmp_path, undecided), mj.load_image(tmp_path)
    assert header.dtype == found.dtype == (np.float32 if intercept == -0.5 else np.int16)
    assert header.units == "HU"


def add_volume(folder: Path, time: int) -> None:
    stated = {"TemporalPositionIdentifier": time + 1, "AcquisitionTime": f"12000{time}"}
    series(folder, stored_values(time), each=lambda k: stated, name=lambda n, k: f"{time}{n}.dcm")


def test_of_a_series_with_volumes(tmp_path: Path) -> None:
    for time in range(3):
        add_volume(tmp_path, time)
    assert check_same(tmp_path).channels == (3,)
    other = series(tmp_path / "more", each=lambda k: {}, uid="1.2.3.4")[0]
    assert outcome(io.inspect, tmp_path) == outcome(mj.load_image, tmp_path)  # two series
    other.write_bytes(other.read_bytes()[:-ROWS])
    assert outcome(io.inspect, other) == outcome(mj.load_image, other)  # cut short


def test_of_nifti_whose_voxels_decide(tmp_path: Path) -> None:
    def check(undecided: tuple[str, ...], voxels: np.ndarray, **fields: Any) -> io.ImageHeader:
        (tmp_path / "a.nii").write_bytes(nifti_bytes(voxels, **fields))
        return check_same(tmp_path / "a.nii", undecided)

    check((), ramp(), scl_slope=1e30)
    check(("dtype",), ramp(dtype=np.float32), scl_slope=2.0)
    check((), ramp(dtype=np.float32), scl_slope=0.5)
    check(("dtype",), ramp(dtype=np.int16), scl_slope=3e34)
    check((), ramp(dtype=np.float64), scl_slope=2.0)
    check((), ramp(dtype=np.complex64))
    check((), ramp(dtype=np.uint8), intent_code=1002)
    labels = check(("dtype", "kind"), ramp(dtype=np.float32), intent_code=1002)
    assert (labels.kind, labels.dtype) == ("label", np.int32) == (mj.load_image(tmp_path / "a.nii").kind, np.int32)
    check(("dtype", "kind"), ramp(dtype=np.float32) / 2, intent_code=1002)
    check((), ramp(dtype=np.float32), cal_max=9.0)  # `load_image` notes the range of the voxels


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_described_or_refused(name: str, tmp_path: Path) -> None:
    """What loads is described as it loads; what does not raises no error of another type."""
    rng, outcomes = random.Random(name), set()
    for number in range(30):
        files = dict(rng.choice(SEEDS[name]()))
        file = rng.choice(list(files))
        files[file] = rng.choice([flip_used, cut, drop, overwrite_number])(files[file], rng)
        path = written(files, tmp_path / str(number))
        header, found = outcome(io.inspect, path), outcome(mj.load_image, path)
        if not isinstance(found, str):
            said, given = said_of(header), given_by(found)
            assert {k: v for k, v in said.items() if k not in header.undecided} == {
                k: v for k, v in given.items() if k not in header.undecided
            }
        outcomes.add(isinstance(found, str))
    assert True in outcomes


def test_pair_without_voxels_and_other_errors(tmp_path: Path) -> None:
    mj.save_image(image(), tmp_path / "a.hdr")
    assert check_same(tmp_path / "a.img").shape == image().shape
    (tmp_path / "a.img").unlink()
    for path in (tmp_path / "a.hdr", tmp_path):
        assert outcome(io.inspect, path) == outcome(mj.load_image, path)
    for wrong in (tmp_path / "missing.nii", ""):
        with pytest.raises(FileNotFoundError):
            io.inspect(wrong)


@pytest.mark.parametrize(
    ("extra", "unit"),
    [
        ({"Units": "BQML", "RescaleType": "US"}, "BQML"),
        ({"DoseUnits": "GY"}, "GY"),
        ({"RescaleType": "HU"}, "HU"),
        ({"sample units": "g/ml"}, "g/ml"),
        ({"RealWorldValueMappingSequence": [{"MeasurementUnitsCodeSequence": [{"CodeValue": "mm2/s"}]}]}, "mm2/s"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "RescaleIntercept": -1024}, "HU"),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "RescaleIntercept": 0, "ImageType": ["A", "B", "LOCALIZER"]},
            None,
        ),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "RescaleIntercept": 0, "RescaleType": "US"}, None),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, None),
        ({}, None),
    ],
)
def test_units(extra: dict[str, Any], unit: str | None) -> None:
    header = io.ImageHeader(mj.Grid.of((4, 5, 6)), np.dtype("i2"), "intensity", (), mj.Metadata(extra=extra))
    assert header.units == unit


def test_what_is_shown_names_nobody() -> None:
    metadata = mj.Metadata(modality="PT", patient_id="1234", extra={"Units": "BQML", "PatientName": "Doe"})
    header = io.ImageHeader(mj.Grid.of((4, 5, 6), spacing=2), np.dtype("f4"), "intensity", (7,), metadata)
    shown = "ImageHeader(4x5x6 float32 intensity, channels 7, spacing 2 x 2 x 2 mm, LPS, PT, BQML)"
    assert (repr(header), header.nbytes, header.orientation) == (shown, 4 * 5 * 6 * 7 * 4, "LPS")
    assert (header.spacing, header.origin) == ((2.0, 2.0, 2.0), (0.0, 0.0, 0.0))


COUNTED = """
import sys
import medjax
def read():
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])
for path in sys.argv[1:]:
    medjax.io.inspect(path)  # imports what it needs
    before = read()
    medjax.io.inspect(path)
    print(path, read() - before)
print(*sys.modules)
"""


def test_reads_no_voxels_and_imports_no_jax(tmp_path: Path) -> None:
    """The bytes that the process reads, by Linux's count, of 2 MB of voxels that do not compress."""
    noise = np.random.default_rng(0).integers(0, 2**16, (128, 128, 64), dtype=np.uint16)
    scan = mj.Image.from_array(noise, affine=image().affine)
    names = ("a.nii", "a.nii.gz", "a.hdr", "a.mgh", "a.mgz", "a.mha", "a.mhd", "a.nrrd", "a.h5")
    for name in names:
        mj.save_image(scan, tmp_path / name)
    series(tmp_path / "dicom", noise.transpose(2, 1, 0)[:16].repeat(2, 1).repeat(2, 2))
    with zipfile.ZipFile(tmp_path / "a.mrb", "w", zipfile.ZIP_DEFLATED) as archive:
        text = SCENE.replace("CT%20head.nii.gz", "a.nrrd").partition('<VolumeArchetypeStorage id="S2"')[0] + "</MRML>"
        archive.writestr("s/s.mrml", text)
        archive.write(tmp_path / "a.nrrd", "s/Data/a.nrrd")
    paths = [str(tmp_path / name) for name in (*names, "a.mrb", "dicom")]
    done = subprocess.run([sys.executable, "-c", COUNTED, *paths], capture_output=True, text=True, check=True)
    *counts, modules = done.stdout.splitlines()
    assert len(counts) == len(paths)
    assert {line.rpartition(" ")[0]: 0 for line in counts if int(line.rpartition(" ")[2]) > 700_000} == {}
    assert {"jax", "jaxlib", "nibabel", "SimpleITK", "matplotlib"} & set(modules.split()) == set()
    first = [sys.executable, "-c", COUNTED, paths[0]]
    loaded = set(subprocess.run(first, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split())
    assert {"jax", "pydicom", "h5py", "nrrd", "zipfile"} & loaded == set()
