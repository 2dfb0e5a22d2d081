"""Sound files of every format, small, for the fuzz harness to damage. Each is a set of files: the first is opened."""

from __future__ import annotations

import bz2
import functools
import gzip
import io as bytes_io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom.data

import medjax as mj
from medjax import io

Files = dict[str, bytes]

AFFINE = np.array([[0.8, 0.1, -0.2, -31.0], [-0.1, 1.9, 0.3, 17.0], [0.15, 0.2, 2.7, -5.0], [0, 0, 0, 1.0]])
METADATA = mj.Metadata(modality="CT", display={"window": [40.0, 400.0]}, extra={"Keyword": ["text", 1.5, None]})


def image(dtype: str = "i2", shape: tuple[int, ...] = (7, 6, 5)) -> mj.Image:
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 100, shape).astype(dtype)
    made = mj.Image.from_array(voxels, affine=AFFINE, metadata=METADATA)
    return made.with_kind("label") if dtype == "u1" else made


def _saved(name: str, source: mj.Image, *, compress: bool = True) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        mj.save_image(source, Path(folder) / name, compress=compress)
        paths = sorted(Path(folder).iterdir(), key=lambda path: path.name != name)
        return {path.name: path.read_bytes() for path in paths}


def nifti() -> list[Files]:
    plain = _saved("a.nii", image())["a.nii"]
    return [
        {"a.nii": plain},
        _saved("a.nii", image("f4", (4, 3, 2, 3))),
        _saved("a.nii.gz", image("u1")),
        _saved("a.hdr", image("f8")),
        {"a.nii.bz2": bz2.compress(plain)},
        {"a.nii": _big_endian()},
        {"a.nii": _nifti2()},
    ]


def _big_endian() -> bytes:
    import nibabel

    header = nibabel.Nifti1Header(endianness=">")
    return _by_nibabel(nibabel.Nifti1Image, header)


def _nifti2() -> bytes:
    import nibabel

    return _by_nibabel(nibabel.Nifti2Image, nibabel.Nifti2Header())


def _by_nibabel(kind: Callable, header: object) -> bytes:
    stored = kind(np.arange(60, dtype=np.int16).reshape(5, 4, 3), AFFINE, header)
    stored.header.set_slope_inter(0.5, -7)
    return stored.to_bytes()


def mgh() -> list[Files]:
    frames = image("f4", (4, 3, 2, 3))
    timed = frames.with_metadata(METADATA.replace(extra={"goodRASFlag": 1, "tr": 2500.0, "flip_angle": 1.5}))
    return [_saved("a.mgh", image()), _saved("a.mgz", image("u1")), _saved("a.mgh", timed), _saved("a.mgz", timed)]


def metaimage() -> list[Files]:
    return [
        _saved("a.mha", image()),
        _saved("a.mha", image("f4", (4, 3, 2, 3)), compress=False),
        _saved("a.mhd", image("u1")),
        _saved("a.mhd", image("f8"), compress=False),
        {"a.mha": _META_TEXT + b"ElementDataFile = LOCAL\n" + b"1 2 3 4 5 6 7 8 9 10 11 12\n"},
        {
            "a.mhd": _META_TEXT.replace(b"BinaryData = False", b"BinaryData = True")
            + b"ElementDataFile = LIST\ns1.raw\ns2.raw\n",
            "s1.raw": bytes(12),
            "s2.raw": bytes(12),
        },
        {
            "a.mhd": _META_TEXT.replace(b"BinaryData = False", b"BinaryData = True")
            + b"ElementDataFile = s%d.raw 1 2 1\n",
            "s1.raw": bytes(12),
            "s2.raw": bytes(12),
        },
    ]


_META_TEXT = (
    b"ObjectType = Image\nNDims = 3\nBinaryData = False\nBinaryDataByteOrderMSB = True\nTransformMatrix = 0 1 0 1 0 0 0 0 1\n"
    b"Offset = 1 2 3\nCenterOfRotation = 0 0 0\nElementSpacing = 1 1 2\nDimSize = 3 2 2\nElementNumberOfChannels = 1\n"
    b"ElementType = MET_SHORT\nHeaderSize = 0\n"
)


def nrrd() -> list[Files]:
    return [
        _saved("a.nrrd", image()),
        _saved("a.nrrd", image("f4", (4, 3, 2, 3)), compress=False),
        _saved("a.nhdr", image("u1")),
        {"a.nrrd": _NRRD_TEXT + b"encoding: ascii\n\n" + b"1 2 3 4 5 6 7 8 9 10 11 12\n"},
        {"a.nrrd": _NRRD_TEXT + b"encoding: hex\n\n" + b"0102030405060708090a0b0c0d0e0f101112131415161718\n"},
        {"a.nrrd": _NRRD_TEXT + b"encoding: bzip2\nbyte skip: 0\n\n" + bz2.compress(bytes(24))},
        {"a.nhdr": _NRRD_TEXT + b"encoding: raw\nline skip: 1\ndata file: d.raw\n", "d.raw": b"line\n" + bytes(24)},
        {"a.nhdr": _NRRD_TEXT + b"encoding: raw\ndata file: d%d.raw 1 2 1\n", "d1.raw": bytes(12), "d2.raw": bytes(12)},
        {
            "a.nhdr": _NRRD_TEXT + b"encoding: raw\ndata file: LIST\nd1.raw\nd2.raw\n",
            "d1.raw": bytes(12),
            "d2.raw": bytes(12),
        },
        {"a.seg.nrrd": _SEG_TEXT + b"encoding: raw\n\n" + bytes([0, 1, 2] * 4)},
    ]


_NRRD_TEXT = (
    b"NRRD0005\n# a comment\ntype: int16\ndimension: 3\nsizes: 3 2 2\nendian: big\nspace: left-posterior-superior\n"
    b"space directions: (0,1,0) (1,0,0) (0,0,2.5)\nspace origin: (1,2,3)\nkinds: domain domain domain\n"
    b"measurement frame: (1,0,0) (0,1,0) (0,0,1)\nkey:=value\n"
)
_SEG_TEXT = (
    b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 3 2 2\nspace: right-anterior-superior\n"
    b"space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n"
    b"Segment0_ID:=Segment_1\nSegment0_Name:=liver\nSegment0_LabelValue:=1\nSegment0_Layer:=0\n"
    b"Segment0_Extent:=0 2 0 1 0 1\nSegment1_Name:=spleen\nSegment1_LabelValue:=2\nSegment1_Layer:=0\n"
)


def hdf5() -> list[Files]:
    itk = _by_simpleitk()
    return [
        _saved("a.h5", image("i2", (20, 9, 7))),
        _saved("a.h5", image("f4", (5, 4, 3, 2)), compress=False),
        _saved("a.h5", image("?", (5, 4, 3))),
        *([] if itk is None else [itk]),
        _appended(),
    ]


def _by_simpleitk() -> Files | None:
    try:
        import SimpleITK
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        SimpleITK.WriteImage(SimpleITK.Image(5, 4, 3, SimpleITK.sitkInt16), f"{folder}/a.h5", True)
        return {"a.h5": Path(folder, "a.h5").read_bytes()}


def _appended() -> Files:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("one", "two"):
            io.save_hdf5(f"{folder}/a.h5", image("i2", (4, 3, 2)), name=name, compression="lzf")
        io.delete_hdf5(f"{folder}/a.h5", "images", "one")
        return {"a.h5": Path(folder, "a.h5").read_bytes()}


SCENE = """<?xml version="1.0" encoding="UTF-8"?>
<MRML version="Volume5" userTags="">
<LinearTransform id="T1" name="T1" references="transform:T2;" matrixTransformToParent="0 1 0 1 1 0 0 2 0 0 1 3 0 0 0 1"/>
<LinearTransform id="T2" name="T2" matrixTransformToParent="1 0 0 5 0 1 0 6 0 0 1 7 0 0 0 1"/>
<VolumeArchetypeStorage id="S1" name="S" fileName="Data/CT%20head.nii.gz"/>
<Volume id="V1" name="CT head" references="storage:S1;transform:T1;"/>
<VolumeArchetypeStorage id="S2" name="S" fileName="Data/seg.nrrd"/>
<LabelMapVolume id="V2" name="labels" storageNodeRef="S2" transformNodeRef="T2"/>
</MRML>
"""


def scene(text: str, names: tuple[str, str] = ("s/Data/CT head.nii.gz", "s/Data/seg.nrrd")) -> bytes:
    """An archive of 3D Slicer with two volumes."""
    packed = bytes_io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("s/s.mrml", text)
        archive.writestr(names[0], _saved("a.nii.gz", image())["a.nii.gz"])
        archive.writestr(names[1], _saved("a.nrrd", image("u1"))["a.nrrd"])
    return packed.getvalue()


def mrb() -> list[Files]:
    return [{"a.mrb": scene(SCENE)}]


DICOM_FILES = (
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG-lossy.dcm",
    "image_dfl.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "liver_1frame.dcm",
    "rtdose.dcm",
    "rtdose_rle.dcm",
    "rtstruct.dcm",
    "nested_priv_SQ.dcm",
    "no_meta_group_length.dcm",
)


def dicom() -> list[Files]:
    folder = Path(pydicom.data.__file__).parent / "test_files"
    single = [{"a.dcm": (folder / name).read_bytes()} for name in DICOM_FILES if (folder / name).is_file()]
    return [*single, slices(4), slices(4)]


def slices(count: int) -> Files:
    """A folder with one small CT series; names start with the folder's."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    files = {}
    for number in range(count):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = UID(f"1.2.3.{number + 1}")
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.3", "1.2.3.0", "1.2.4"
        data.Modality, data.InstanceNumber, data.PatientName, data.PatientID = "CT", number + 1, "", ""
        data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 5, 6, 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.PixelSpacing, data.SliceThickness = [0.7, 0.9], 2.5
        data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-3, 4, 2.5 * number]
        data.RescaleSlope, data.RescaleIntercept = 2, -1024
        data.PixelData = (np.arange(30, dtype="<u2") + number).tobytes()
        packed = bytes_io.BytesIO()
        data.save_as(packed, enforce_file_format=True)
        files[f"folder/{number}.dcm"] = packed.getvalue()
    return files


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, 1)


SEEDS: dict[str, Callable[[], list[Files]]] = {
    each.__name__: functools.cache(each) for each in (nifti, mgh, metaimage, nrrd, hdf5, mrb, dicom)
}
