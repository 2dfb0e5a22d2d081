"""Hostile HDF5 files, scenes of 3D Slicer and DICOM files: their structure, names and references."""

from __future__ import annotations

import contextlib
import gzip
import io as bytes_io
import random
import re
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import fuzz_seeds
import h5py
import numpy as np
from fuzz_mutations import (
    BLIND,
    WORDS,
    change_lines,
    cut,
    flip,
    replace_word,
    text_bomb,
)
from fuzz_seeds import SEEDS, Files

_XML = [
    '<!DOCTYPE MRML [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
    '<!DOCTYPE MRML [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE MRML [<!ENTITY % p SYSTEM "http://localhost:1/x.dtd"> %p;]>',
    "<!DOCTYPE MRML [" + '<!ENTITY l0 "lol">'
    + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12)) + "]>",
]  # fmt: skip


# HDF5: files that h5py itself makes hostile.


def hdf5_structure(rng: random.Random) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        path.write_bytes(rng.choice(SEEDS["hdf5"]()[:3])["a.h5"])
        other = Path(folder) / "b.h5"
        other.write_bytes(path.read_bytes())
        with h5py.File(path, "r+", track_order=rng.random() < 0.1) as file:
            for _ in range(rng.choice([1, 1, 2])):
                with contextlib.suppress(ValueError, TypeError, OSError, RuntimeError, KeyError, MemoryError):
                    rng.choice(_HDF5_CHANGES)(file["images/image"], rng)
        return {"a.h5": path.read_bytes(), "b.h5": other.read_bytes()}


def _hdf5_attribute(group: Any, rng: random.Random) -> None:
    values: list[Any] = [0, 2, -1, 2**62, np.nan, np.zeros((4, 4)), np.full((4, 4), 1e308), np.eye(4) * 1e-200, "text"]
    values += [
        np.bytes_(b"label"),
        np.bytes_(b"x" * 60000),
        np.zeros((0,)),
        h5py.Empty("f8"),
        np.zeros((4, 4), "f4"),
        b"",
    ]
    values += [np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), group.ref, np.arange(8000), ["a", "b"]]
    name = rng.choice(["affine", "kind", "medjax_layout", "origin"])
    group.attrs[name] = rng.choice(values)


def _hdf5_voxels(group: Any, rng: random.Random) -> None:
    if "voxels" in group:
        del group["voxels"]
    shape = rng.choice(
        [(10**4, 10**4, 10**4), (10**12, 1, 1), (5, 4, 3), (0, 1, 2), (3, 3), (), (2,) * 30, (2**40, 2**40, 2**40)]
    )
    dtype = rng.choice(
        ["i2", ">f4", "f2", "?", "c8", "S9", "u1,f4", h5py.string_dtype(), h5py.vlen_dtype("i4"), h5py.ref_dtype]
    )
    chunked: dict[str, Any] = {"chunks": tuple(max(1, min(n, 2 ** rng.randrange(12))) for n in shape)} if shape else {}
    filters: list[dict[str, Any]] = [
        {},
        {"compression": "gzip"},
        {"compression": "lzf"},
        {"fletcher32": True},
        {"shuffle": True},
        {"scaleoffset": 2},
    ]
    choice = rng.choice(
        [{}, chunked, chunked | rng.choice(filters), {"external": [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]}]
    )
    try:
        group.create_dataset("voxels", shape, dtype, **choice)
    except (ValueError, TypeError, OSError, RuntimeError, MemoryError):
        group.create_dataset("voxels", (5, 4, 3), "i2", chunks=(1, 4, 3), compression="gzip")


def _hdf5_chunk(group: Any, rng: random.Random) -> None:
    dataset = group.get("voxels")
    if not isinstance(dataset, h5py.Dataset) or dataset.chunks is None or dataset.dtype.hasobject or not dataset.size:
        return
    data = [
        b"",
        b"x",
        zlib.compress(bytes(10)),
        zlib.compress(bytes(1 << 24)),
        zlib.compress(bytes(2520))[:-5],
        bytes(2520),
    ]
    dataset.id.write_direct_chunk((0,) * dataset.ndim, rng.choice(data), rng.choice([0, 0, 1, 2, 3, 255]))


def _hdf5_metadata(group: Any, rng: random.Random) -> None:
    if "metadata" in group:
        del group["metadata"]
    values: list[Any] = [
        np.bytes_(b"{"),
        np.bytes_(b"[" * 90000),
        np.bytes_(b'{"extra": 5}'),
        np.bytes_(b"\xff{}"),
        "text",
        5,
    ]
    values += [
        np.bytes_(b'{"acquisition_time": "x"}'),
        np.bytes_(b'{"modality": {}}'),
        np.bytes_(b"null"),
        np.zeros((3, 3)),
    ]
    group["metadata"] = rng.choice(values)


def _hdf5_link(group: Any, rng: random.Random) -> None:
    name = rng.choice(["voxels", "metadata", "other"])
    if name in group:
        del group[name]
    links = [
        h5py.SoftLink("/images/image/voxels"),
        h5py.SoftLink("/nowhere"),
        h5py.ExternalLink("b.h5", "/images/image/voxels"),
    ]
    links += [h5py.ExternalLink("/etc/passwd", "/"), group.parent, group, h5py.SoftLink("."), np.dtype("i4")]
    group[name] = rng.choice(links)


def _hdf5_virtual(group: Any, rng: random.Random) -> None:
    if "voxels" in group:
        del group["voxels"]
    layout = h5py.VirtualLayout((5, 4, 3), "i2")
    layout[:] = h5py.VirtualSource(rng.choice(["b.h5", "/etc/passwd", "."]), "/images/image/voxels", (5, 4, 3))
    group.create_virtual_dataset("voxels", layout)


_HDF5_CHANGES = [_hdf5_attribute, _hdf5_voxels, _hdf5_chunk, _hdf5_metadata, _hdf5_link, _hdf5_virtual]

# 3D Slicer scenes.


def scene_text(rng: random.Random) -> Files:
    text = fuzz_seeds.SCENE.encode()
    for _ in range(rng.choice([1, 2, 4])):
        text = rng.choice([replace_word, change_lines, flip, cut])(text, rng)
    if rng.random() < 0.3:
        text = text.replace(b"<MRML", rng.choice(_XML).encode() + b"<MRML", 1).replace(b"CT head", b"&l9;&x;&b;")
    if rng.random() < 0.1:
        text = text.replace(b"</MRML>", b"<a>" * 20000 + b"</MRML>")
    return {"a.mrb": fuzz_seeds.scene(text.decode("latin-1"))}


def scene_values(rng: random.Random) -> Files:
    """Well-formed scenes whose attributes say something else."""
    text = fuzz_seeds.SCENE
    for _ in range(rng.choice([1, 1, 2, 4])):
        value = rng.choice([*re.findall(r'"[^"]*"', text), *re.findall(r"[-\d]+(?= )", text)])
        word = rng.choice(WORDS).decode("latin-1").translate({ord(char): "_" for char in '<&"\0\n\r\xff\xfe'})
        text = text.replace(value, f'"{word}"' if value.startswith('"') else word, rng.choice([1, 1, 99]))
    return {"a.mrb": fuzz_seeds.scene(text)}


def scene_members(rng: random.Random) -> Files:
    """Sound scenes whose volumes are damaged."""
    packed = bytes_io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("s/s.mrml", fuzz_seeds.SCENE)
        for name, kind in (("s/Data/CT head.nii.gz", "nifti"), ("s/Data/seg.nrrd", "nrrd")):
            content = next(iter(rng.choice(SEEDS[rng.choice([kind, kind, "metaimage", "hdf5"])]()).values()))
            archive.writestr(name, rng.choice(BLIND)(content, rng) if rng.random() < 0.6 else content)
    return {"a.mrb": packed.getvalue()}


def scene_names(rng: random.Random) -> Files:
    """Members that would land elsewhere, or that point at each other."""
    names = [
        "../evil.nii",
        "/tmp/evil.nii",
        "s/../../evil.nii",
        "s\\..\\evil.nii",
        "C:\\evil.nii",
        "s/Data/CT head.nii.gz",
    ]
    names += [
        "s/" + "d/" * 200 + "x.nii",
        "s/s.mrml",
        "s/a\0b.nii",
        "s/Data/seg.nrrd",
        "other/o.mrml",
        "~/evil.nii",
        "s/Data/x.mrb",
    ]
    first, second = rng.choice(names), rng.choice(names)
    text = fuzz_seeds.SCENE.replace(
        "Data/CT%20head.nii.gz", rng.choice([first, "%2e%2e/evil.nii", "file:///etc/passwd", first[2:]])
    )
    if rng.random() < 0.3:
        text = text.replace('id="T2" name', 'id="T2" references="transform:T1;" name')  # a ring
    return {"a.mrb": fuzz_seeds.scene(text, (first, second))}


def scene_bomb(rng: random.Random) -> Files:
    packed = bytes_io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("s/s.mrml", fuzz_seeds.SCENE if rng.random() < 0.5 else b" " * (1 << 27))
        archive.writestr("s/Data/CT head.nii.gz", rng.choice([gzip.compress(bytes(1 << 26), 1), bytes(1 << 27)]))
        archive.writestr("s/Data/seg.nrrd", text_bomb("nrrd", rng)["a.nrrd"])
    return {"a.mrb": packed.getvalue()}


# DICOM: elements, through pydicom without its checks.


def dicom_element(rng: random.Random) -> Files:
    import pydicom
    from pydicom import config

    files = dict(rng.choice(SEEDS["dicom"]()))
    for name in rng.sample(list(files), rng.randint(1, len(files))):
        try:
            data = pydicom.dcmread(bytes_io.BytesIO(files[name]), force=True)
            with config.disable_value_validation():
                for _ in range(rng.choice([1, 1, 2, 5])):
                    _change_element(data, rng)
                packed = bytes_io.BytesIO()
                data.save_as(packed, enforce_file_format=False)
        except Exception:  # pydicom will not write it: the file stays sound
            continue
        files[name] = packed.getvalue()
    return files


_DICOM_VALUES: dict[str, list[Any]] = {
    "US": [0, 1, 2, 65535, 7, 32],
    "IS": ["0", "-1", "999999999999", "x", "", "1\\2", "1.5"],
    "DS": [
        "0",
        "-1",
        "nan",
        "1e308",
        "x",
        "",
        "1\\2",
        "1\\2\\3\\4\\5\\6",
        "0\\0",
        "0\\0\\0\\0\\0\\0",
        "-0.7\\0.9",
        "inf\\1",
    ],
    "CS": [
        "",
        "X",
        "PALETTE COLOR",
        "YBR_FULL",
        "RGB",
        "MONOCHROME1",
        "MONOCHROME2",
        "ORIGINAL\\PRIMARY\\M\\MOSAIC",
        "é",
    ],
    "UI": ["", "1.2", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.5.1.4.1.1.66.4", "..", "1" * 300],
    "OW": [b"", b"\0", bytes(59), bytes(1 << 16), b"\xfe\xff\x00\xe0" + bytes(20)],
}
_DICOM_KEYWORDS = [
    ("Rows", "US"), ("Columns", "US"), ("BitsAllocated", "US"), ("BitsStored", "US"), ("HighBit", "US"), ("SamplesPerPixel", "US"),
    ("PixelRepresentation", "US"), ("PlanarConfiguration", "US"), ("NumberOfFrames", "IS"), ("InstanceNumber", "IS"),
    ("PixelSpacing", "DS"), ("SliceThickness", "DS"), ("ImagePositionPatient", "DS"), ("ImageOrientationPatient", "DS"),
    ("RescaleSlope", "DS"), ("RescaleIntercept", "DS"), ("GridFrameOffsetVector", "DS"), ("DoseGridScaling", "DS"),
    ("PhotometricInterpretation", "CS"), ("ImageType", "CS"), ("Modality", "CS"), ("SpecificCharacterSet", "CS"),
    ("SOPClassUID", "UI"), ("SeriesInstanceUID", "UI"), ("SOPInstanceUID", "UI"), ("PixelData", "OW"),
    ("SegmentationType", "CS"), ("TemporalPositionIdentifier", "IS"), ("EchoTime", "DS"), ("DiffusionBValue", "DS"),
]  # fmt: skip


def _change_element(data: Any, rng: random.Random) -> None:
    from pydicom.uid import UID

    action = rng.randrange(10)
    keyword, vr = rng.choice(_DICOM_KEYWORDS)
    if action < 6:
        setattr(data, keyword, rng.choice(_DICOM_VALUES[vr]))
    elif action < 8 and keyword in data:
        delattr(data, keyword)
    elif action == 8 and len(data):
        element = rng.choice(list(data))
        element.value = rng.choice(_DICOM_VALUES.get(element.VR, [b"", "", None, "\\" * 1000]))
    else:
        data.file_meta.TransferSyntaxUID = UID(rng.choice(_DICOM_VALUES["UI"]))


def dicom_folder(rng: random.Random) -> Files:
    """A series with slices cut, damaged, doubled, missing, or in the company of other files."""
    files = dict(fuzz_seeds.slices(rng.randint(1, 6)))
    for name in list(files):
        if rng.random() < 0.4:
            files[name] = rng.choice(BLIND)(files[name], rng)
        if rng.random() < 0.1:
            files[f"{name}.copy"] = files[name]
        if rng.random() < 0.1:
            del files[name]
    if rng.random() < 0.3:
        files["folder/junk"] = rng.randbytes(rng.randrange(2000))
    return files or {"folder/junk": b"junk"}


def dicom_bomb(rng: random.Random) -> Files:
    """Deflated and run-length coded data that expand, and sequences in sequences."""
    import pydicom

    name = rng.choice(
        [name for name in fuzz_seeds.DICOM_FILES if name in ("image_dfl.dcm", "rtdose_rle.dcm", "MR_small.dcm")]
    )
    content = fuzz_seeds.dicom()[fuzz_seeds.DICOM_FILES.index(name)]["a.dcm"]
    if name == "image_dfl.dcm":
        packer = zlib.compressobj(9, wbits=-15)
        start = 132 + 12 + struct.unpack_from("<I", content, 140)[0]
        packed = (
            packer.compress(struct.pack("<HH2sHI", 0x0019, 0x0010, b"OB", 0, 1 << 27) + bytes(1 << 27)) + packer.flush()
        )
        return {"a.dcm": content[:start] + packed}
    if name == "rtdose_rle.dcm":
        data = pydicom.dcmread(bytes_io.BytesIO(content))
        data.Rows, data.Columns, data.NumberOfFrames = 65535, 65535, rng.choice(["1", "15", "999999999"])
        out = bytes_io.BytesIO()
        data.save_as(out)
        return {"a.dcm": out.getvalue()}
    depth = rng.choice([10, 300, 5000])
    nested = struct.pack("<HH2sHIHHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) * depth
    return {"a.dcm": content[:400] + nested + content[400:]}
