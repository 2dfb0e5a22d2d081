"""Reading DICOM series: medjax, SimpleITK, and pydicom with a loop; a CT of 75 slices, a folder of 3,000, headers alone.

Run: `python benchmarks/dicom.py [rounds]`. Prints a table and writes `benchmarks/results/dicom.json`. The libraries take
turns, so that whatever else the machine does hits all of them; the file cache is warm. "ms" is over the rounds, the ratio
to SimpleITK and its range are formed within a round. Every row says whether the voxels are those of SimpleITK, and how
much memory a process of its own took at its peak, in volumes.

The CT is `../shared/data/dicom/ct_seed_75` where that is here, else a generated series of the same size. SimpleITK reads
voxels and geometry; medjax also makes the metadata of all slices.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from harness import cell, faster, in_fresh_process, in_turns, peak_bytes, save, spread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import medjax as mj

CT = Path(__file__).resolve().parents[2] / "shared" / "data" / "dicom" / "ct_seed_75"
SLICES = 3000


def write_series(folder: Path, slices: int, size: int = 512) -> Path:
    """Writes a CT as scanners do: attributes that differ per slice, file names that do not sort by position."""
    folder.mkdir()
    axis = np.linspace(0, 9, size, dtype=np.float32)
    plane = 600 * np.sin(axis)[:, None] * np.cos(2 * axis)
    for n, k in enumerate(np.random.default_rng(0).permutation(slices).tolist()):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.Modality, dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
            "CT",
            "0",
            "1.2",
            "1.3",
        )
        dataset.AcquisitionDate, dataset.AcquisitionTime = "20240101", f"12{k // 60 % 60:02d}{k % 60:02d}"
        dataset.InstanceNumber, dataset.KVP, dataset.XRayTubeCurrent = k + 1, "120", 200 + k % 50
        dataset.ImagePositionPatient, dataset.SliceLocation = ["-180", "-180", f"{0.6 * k:.3f}"], f"{0.6 * k:.3f}"
        dataset.ImageOrientationPatient, dataset.PixelSpacing = list("100010"), ["0.7", "0.7"]
        dataset.SliceThickness, dataset.RescaleSlope, dataset.RescaleIntercept = "0.6", "1", "0"
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = size, size, 1
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 1
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelData = (plane + k).astype(np.int16).tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.save_as(folder / f"IM{n:05d}", enforce_file_format=True)
    return folder


def with_medjax(folder: Path) -> np.ndarray:
    """Voxels as (slice, row, column), a view."""
    return mj.io.load_dicom_series(folder).voxels.T


def with_simpleitk(folder: Path) -> sitk.Image:
    """The usual recipe: GDCM sorts the files, then the series is read."""
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


def with_pydicom(folder: Path) -> np.ndarray:
    """The loop that people write; sorted by z, which serves axial series only."""
    datasets = [pydicom.dcmread(path) for path in folder.iterdir()]
    datasets.sort(key=lambda dataset: dataset.ImagePositionPatient[2])
    return np.stack([dataset.pixel_array for dataset in datasets])


def list_with_medjax(folder: Path) -> int:
    (series,) = mj.io.list_dicom_series(folder)
    return series.files


def list_with_simpleitk(folder: Path) -> int:
    return len(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


READERS: dict[str, Callable[[Path], Any]] = {
    "medjax": with_medjax,
    "SimpleITK": with_simpleitk,
    "pydicom loop": with_pydicom,
}
LISTERS: dict[str, Callable[[Path], Any]] = {"medjax": list_with_medjax, "SimpleITK": list_with_simpleitk}


def array_of(result: Any) -> np.ndarray:
    """The voxels of whatever a reader returns, (slice, row, column)."""
    return sitk.GetArrayFromImage(result) if isinstance(result, sitk.Image) else np.asarray(result)


def rows_of(title: str, calls: dict[str, Callable[[Path], Any]], folder: Path, rounds: int) -> Iterable[dict[str, Any]]:
    found_ms = in_turns({name: partial(call, folder) for name, call in calls.items()}, rounds)
    reference = array_of(calls["SimpleITK"](folder))
    for name, own in found_ms.items():
        found = array_of(calls[name](folder))
        is_equal = np.array_equal(found, reference) or np.array_equal(np.flip(found, 0), reference)
        is_volume = reference.ndim == 3
        yield {
            "task": title,
            "library": name,
            "milliseconds": spread(own),
            "times_faster_than_SimpleITK": faster(own, found_ms["SimpleITK"]),
            "equal": bool(is_equal),
            "peak_volumes": in_fresh_process(__file__, name, folder) / reference.nbytes if is_volume else None,
        }


def print_peak(name: str, folder: Path) -> None:
    """Prints the bytes of one call; the volume is part of them."""
    with tempfile.TemporaryDirectory() as small:
        READERS[name](write_series(Path(small) / "x", 3, 16))  # what is loaded on use
    print(peak_bytes(lambda: READERS[name](folder))[0])


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'':34}{'library':14}{'ms (range)':>22}{'x SimpleITK (range)':>24}{'equal':>7}{'peak, volumes':>15}"]
    for each in rows:
        ms, ratio, most = each["milliseconds"], each["times_faster_than_SimpleITK"], each["peak_volumes"]
        cells = cell(ms, 0), cell(ratio, 2)
        memory = "" if most is None else f"{most:.2f}"
        lines.append(
            f"{each['task']:34}{each['library']:14}{cells[0]:>22}{cells[1]:>24}{each['equal']!s:>7}{memory:>15}"
        )
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--peak"]:
        print_peak(sys.argv[2], Path(sys.argv[3]))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with tempfile.TemporaryDirectory() as name:
        ct = CT if CT.is_dir() else write_series(Path(name) / "ct", 75)
        rows = list(rows_of("CT of 75 slices, 39 MB", READERS, ct, rounds))
        many = write_series(Path(name) / "many", SLICES)
        rows += rows_of("3,000 slices, 1.6 GB", READERS, many, min(rounds, 3))
        rows += rows_of("list 3,000 files", LISTERS, many, min(rounds, 3))
    save("dicom", rows, rounds=rounds, series="ct_seed_75" if CT.is_dir() else "generated")
    print(table(rows))


if __name__ == "__main__":
    main()
