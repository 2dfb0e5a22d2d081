"""Writing a DICOM series, beside SimpleITK; reading DICOM Segmentation objects, beside highdicom.

Run: `python benchmarks/dicom_objects.py [rounds]`. Prints a table and writes `benchmarks/results/dicom_objects.json`. The
libraries take turns, so that whatever else the machine does hits all of them; the file cache is warm. "ms" is over the
rounds, the ratio and its range are formed within a round. "error" is the largest difference of a voxel from what was to
be stored, found by reading back (with medjax what others wrote). "peak" is the memory of a fresh process above what it
held just before, in volumes.

A series is 75 slices of 512 x 512; SimpleITK writes it slice by slice, as in its examples, and has no rescaling, so that
float32 voxels must be rounded first. A segmentation is 20 ellipsoids in 256 x 256 x 200 voxels, empty frames left out.
"""

from __future__ import annotations

import copy
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from harness import cell, faster, in_fresh_process, in_turns, peak_bytes, save, spread
from pydicom.data import get_testdata_file
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

import medjax as mj

SERIES, SEGMENTATION, SEGMENTS = (512, 512, 75), (256, 256, 200), 20
SPACING = (0.7, 0.7, 2.5)


def scan(dtype: type) -> mj.Image:
    """A smooth field with noise; whole numbers, or not."""
    i, j, k = np.meshgrid(*(np.linspace(0, 1, n, dtype=np.float32) for n in SERIES), indexing="ij", sparse=True)
    noise = np.random.default_rng(0).normal(0, 20, SERIES).astype(np.float32)
    voxels = np.asfortranarray((600 * np.sin(9 * i + 2 * k) * np.cos(7 * j) + noise).astype(dtype))
    return mj.Image.from_array(voxels, spacing=SPACING, metadata=mj.Metadata(modality="CT"))


def write_with_medjax(image: mj.Image, folder: Path) -> None:
    mj.io.save_dicom_series(image, folder)


def write_with_simpleitk(image: mj.Image, folder: Path) -> None:
    """As in SimpleITK's example DicomSeriesFromArray."""
    folder.mkdir()
    volume = sitk.GetImageFromArray(np.asarray(image.voxels).T.astype(np.int16))
    volume.SetSpacing(image.spacing)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    series = generate_uid()
    for k in range(volume.GetDepth()):
        plane = volume[:, :, k]
        position = volume.TransformIndexToPhysicalPoint((0, 0, k))
        for tag, value in (
            ("0008|0031", "120000"),
            ("0008|0008", "DERIVED\\SECONDARY"),
            ("0020|000e", series),
            ("0020|0037", "1\\0\\0\\0\\1\\0"),
            ("0008|0060", "CT"),
            ("0018|0050", str(image.spacing[2])),
            ("0020|0032", "\\".join(map(str, position))),
            ("0020|0013", str(k + 1)),
        ):
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k}.dcm"))
        writer.Execute(plane)


def labels() -> np.ndarray:
    rng, axes = np.random.default_rng(0), np.indices(SEGMENTATION, sparse=True)
    volume = np.zeros(SEGMENTATION, np.uint8)
    for number in range(1, SEGMENTS + 1):
        center, radius = rng.uniform(0.2, 0.8, 3) * SEGMENTATION, rng.uniform(10, 30, 3)
        inside = sum(((x - c) / r) ** 2 for x, c, r in zip(axes, center, radius, strict=True)) < 1
        volume[inside & (volume == 0)] = number
    return volume


def write_segmentation(volume: np.ndarray, kind: str, path: Path) -> Path:
    template = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    template.Rows, template.Columns, template.PixelSpacing = SEGMENTATION[1], SEGMENTATION[0], list(SPACING[:2])
    template.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    template.SpacingBetweenSlices = template.SliceThickness = SPACING[2]
    del template.PixelData
    sources = []
    for k in range(SEGMENTATION[2]):
        item = copy.deepcopy(template)
        item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        item.ImagePositionPatient = [0, 0, SPACING[2] * k]
        sources.append(item)
    described = [
        highdicom.seg.SegmentDescription(
            number, f"part {number}", codes.SCT.Organ, codes.SCT.Liver, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number in range(1, SEGMENTS + 1)
    ]
    highdicom.seg.Segmentation(
        sources, volume.T, kind, described, generate_uid(), 1, generate_uid(), 1, "medjax", "benchmark", "1", "1"
    ).save_as(path)
    return path


def read_with_medjax(path: Path) -> np.ndarray:
    return mj.load_image(path).voxels


def read_with_highdicom(path: Path) -> np.ndarray:
    """The volume has its slices in the order against the normal."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    return volume.array[::-1].T


WRITERS = {"medjax": write_with_medjax, "SimpleITK": write_with_simpleitk}
READERS = {"medjax": read_with_medjax, "highdicom": read_with_highdicom}


def rows_of(
    task: str, found_ms: dict[str, list[float]], error: Callable[[str], float], peaks: dict[str, float]
) -> list[dict[str, Any]]:
    other = next(name for name in found_ms if name != "medjax")
    rows = []
    for name, own in found_ms.items():
        rows.append(
            {
                "task": task,
                "library": name,
                "milliseconds": spread(own),
                f"times_faster_than_{other}": faster(own, found_ms[other]),
                "error": error(name),
                "peak_volumes": peaks[name],
            }
        )
    return rows


def write_rows(dtype: type, folder: Path, rounds: int) -> list[dict[str, Any]]:
    image, target = scan(dtype), folder / "series"
    calls = {name: (lambda write=write: write(image, target)) for name, write in WRITERS.items()}
    found_ms = in_turns(calls, rounds, before=lambda: shutil.rmtree(target, ignore_errors=True))

    def error(name: str) -> float:
        shutil.rmtree(target, ignore_errors=True)
        calls[name]()
        return float(np.abs(mj.load_image(target).voxels.astype(np.float64) - image.voxels).max())

    stored = np.dtype(dtype).name
    peaks = {name: in_fresh_process(__file__, "write", name, stored) / image.voxels.nbytes for name in WRITERS}
    return rows_of(f"write 75 slices, {stored}", found_ms, error, peaks)


def read_rows(kind: str, folder: Path, rounds: int) -> list[dict[str, Any]]:
    volume = labels()
    path = write_segmentation(volume, kind, folder / f"{kind}.dcm")
    filled = np.flatnonzero(volume.any(axis=(0, 1)))
    expected = volume[:, :, filled[0] : filled[-1] + 1]
    calls = {name: (lambda read=read: read(path)) for name, read in READERS.items()}
    found_ms = in_turns(calls, rounds)
    peaks = {name: in_fresh_process(__file__, "read", name, path) / expected.nbytes for name in READERS}
    task = f"read {kind.lower()} segmentation, {pydicom.dcmread(path).NumberOfFrames} frames"
    return rows_of(task, found_ms, lambda name: float(np.abs(calls[name]().astype(int) - expected).max()), peaks)


def print_peak(operation: str, name: str, what: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if operation == "write":
            image = scan(np.dtype(what).type)
            WRITERS[name](mj.crop(image, (0, 0, 0), (8, 8, 2)), Path(folder) / "small")  # what is loaded on use
            print(peak_bytes(partial(WRITERS[name], image, Path(folder) / "series"))[0])
        else:
            READERS[name](Path(str(get_testdata_file("liver_1frame.dcm"))))
            print(peak_bytes(partial(READERS[name], Path(what)))[0])


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'':44}{'library':12}{'ms (range)':>20}{'x other (range)':>22}{'error':>10}{'peak, volumes':>15}"]
    for each in rows:
        ratio = next(value for key, value in each.items() if key.startswith("times_faster_than"))
        cells = cell(each["milliseconds"], 0), cell(ratio, 2)
        lines.append(
            f"{each['task']:44}{each['library']:12}{cells[0]:>20}{cells[1]:>22}{each['error']:>10.3g}{each['peak_volumes']:>15.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--peak"]:
        print_peak(*sys.argv[2:])
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_rows(np.int16, folder, rounds) + write_rows(np.float32, folder, rounds)
        rows += read_rows("BINARY", folder, rounds) + read_rows("LABELMAP", folder, rounds)
    save("dicom_objects", rows, rounds=rounds)
    print(table(rows))


if __name__ == "__main__":
    main()
