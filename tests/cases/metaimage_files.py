"""MetaImage headers for the tests, field by field."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from itk_files import ORIGIN, SPACING, TURN, numbers, voxels_of

STANDARD = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": numbers(TURN.T),
    "Offset": numbers(ORIGIN),
    "ElementSpacing": numbers(SPACING),
    "DimSize": "5 4 3",
    "ElementType": "MET_SHORT",
}
VOXELS = voxels_of("i2")
RAW = VOXELS.tobytes("F")


def header(target: str = "LOCAL", **changes: Any) -> str:
    """A header; a change of `None` leaves the field out. The order of the standard fields stays."""
    fields = {key: value for key, value in (STANDARD | changes).items() if value is not None}
    return "".join(f"{key} = {value}\n" for key, value in fields.items()) + f"ElementDataFile = {target}\n"


def write(path: Path, text: str, data: bytes = RAW) -> Path:
    path.write_bytes(text.encode() + data)
    return path


ZLIB = zlib.compress(RAW)
FOUR_D = {
    "NDims": "4",
    "DimSize": "5 4 1 3",
    "Offset": "1 2 3 4",
    "ElementSpacing": "1 2 3 0.5",
    "TransformMatrix": numbers(np.eye(4)),
}

# Headers that SimpleITK reads rightly: name -> (text, data).
EQUAL: dict[str, tuple[str, bytes]] = {
    "oblique": (header(), RAW),
    "no TransformMatrix": (header(TransformMatrix=None), RAW),
    "no Offset": (header(Offset=None), RAW),
    "no ElementSpacing": (header(ElementSpacing=None), RAW),
    "Rotation": (header(TransformMatrix=None, Rotation=numbers(TURN.T)), RAW),
    "Orientation": (header(TransformMatrix=None, Orientation=numbers(TURN.T)), RAW),
    "TransformMatrix before Rotation": (header(Rotation="0 1 0 1 0 0 0 0 1"), RAW),
    "Rotation before Orientation": (
        header(TransformMatrix=None, Orientation=numbers(TURN.T), Rotation="0 1 0 1 0 0 0 0 1"),
        RAW,
    ),
    "Position": (header(Offset=None, Position="7 8 9"), RAW),
    "Origin": (header(Offset=None, Origin="7 8 9"), RAW),
    "Origin before Offset": (header(Origin="7 8 9"), RAW),
    "Offset before Position": (header(Position="7 8 9"), RAW),
    "ElementSize alone": (header(ElementSpacing=None, ElementSize="4 5 6"), RAW),
    "ElementSpacing before ElementSize": (header(ElementSize="4 5 6"), RAW),
    "negative spacing": (header(ElementSpacing="-1 2 3"), RAW),
    "column longer than one": (header(TransformMatrix="2 0 0 0 1 0 0 0 1"), RAW),
    "CenterOfRotation": (header(CenterOfRotation="3 4 5"), RAW),
    "AnatomicalOrientation": (header(AnatomicalOrientation="RAS"), RAW),
    "a field twice": (header().replace("DimSize", "Offset = 5 6 7\nDimSize"), RAW),
    "more numbers than needed": (header(Offset="1 2 3 4", ElementSpacing="1 2 3 4"), RAW),
    "colons": (header().replace(" = ", " : "), RAW),
    "no blanks": (header().replace(" = ", "="), RAW),
    "tabs": (header().replace(" = ", "\t=\t"), RAW),
    "Windows lines": (header().replace("\n", "\r\n"), RAW),
    "empty lines": (header().replace("DimSize", "\n\nDimSize"), RAW),
    "sizes with a point": (header(DimSize="5.0 4 3"), RAW),
    "comment first": ("Comment = made by hand\n" + header(), RAW),
    "ObjectType missing": (header(ObjectType=None), RAW),
    "unknown keys": (header(MyKey="some value", Seq_Frame0000_Status="OK"), RAW),
    "BinaryData missing": (header(BinaryData=None), RAW),
    "booleans as numbers": (header(BinaryData="1", CompressedData="0"), RAW),
    "big endian": (header(BinaryDataByteOrderMSB="True"), VOXELS.astype(">i2").tobytes("F")),
    "big endian, other key": (
        header(BinaryDataByteOrderMSB=None, ElementByteOrderMSB="True"),
        VOXELS.astype(">i2").tobytes("F"),
    ),
    "zlib": (header(CompressedData="True", CompressedDataSize=len(ZLIB)), ZLIB),
    "gzip": (
        header(CompressedData="True", CompressedDataSize=len(gzip.compress(RAW))),
        gzip.compress(RAW),
    ),
    "zlib, big endian": (
        header(CompressedData="True", CompressedDataSize=len(ZLIB), BinaryDataByteOrderMSB="True"),
        zlib.compress(VOXELS.astype(">i2").tobytes("F")),
    ),
    "HeaderSize -1": (header(HeaderSize="-1"), b"some bytes" + RAW),
    "channels": (header(ElementNumberOfChannels="3", DimSize="5 2 2"), RAW),
    "text": (header(BinaryData="False"), " ".join(map(str, VOXELS.ravel("F"))).encode() + b"\n"),
}

SLICES = [VOXELS[:, :, k].tobytes("F") for k in range(3)]
BESIDE: dict[str, tuple[str, dict[str, bytes]]] = {
    "one file": (header("scan.raw"), {"scan.raw": RAW}),
    "name with blanks": (header("my scan.raw"), {"my scan.raw": RAW}),
    "folder below": (header("data/scan.raw"), {"data/scan.raw": RAW}),
    "non-ASCII name": (header("größe.raw"), {"größe.raw": RAW}),
    "compressed": (
        header("scan.zraw", CompressedData="True", CompressedDataSize=len(ZLIB)),
        {"scan.zraw": ZLIB},
    ),
    "HeaderSize n": (header("scan.raw", HeaderSize="7"), {"scan.raw": b"7 bytes" + RAW}),
    "HeaderSize -1": (header("scan.raw", HeaderSize="-1"), {"scan.raw": b"any number" + RAW}),
    "list": (header("LIST\na.raw\nb.raw\nc d.raw"), dict(zip(["a.raw", "b.raw", "c d.raw"], SLICES, strict=True))),
    "list of 2-D files": (header("LIST 2\na\nb\nc"), dict(zip("abc", SLICES, strict=True))),
    "list of rows": (
        header("LIST 1\n" + "\n".join(f"r{n}" for n in range(12))),
        {f"r{n}": RAW[10 * n : 10 * n + 10] for n in range(12)},
    ),
    "list with HeaderSize": (
        header("LIST\na\nb\nc", HeaderSize="4"),
        {name: b"head" + data for name, data in zip("abc", SLICES, strict=True)},
    ),
    "list, compressed": (
        header("LIST\na\nb\nc", CompressedData="True"),
        {name: zlib.compress(data) for name, data in zip("abc", SLICES, strict=True)},
    ),
    "pattern": (header("s_%03d.raw 5 7 1"), {f"s_{n:03d}.raw": SLICES[n - 5] for n in (5, 6, 7)}),
    "pattern with a step": (header("s%d.raw 10 14 2"), {f"s{n}.raw": SLICES[(n - 10) // 2] for n in (10, 12, 14)}),
    "pattern from one": (header("s%d.raw"), {f"s{n}.raw": SLICES[n - 1] for n in (1, 2, 3)}),
    "pattern from zero": (header("s%d.raw 0"), {f"s{n}.raw": SLICES[n] for n in (0, 1, 2)}),
}


def write_beside(folder: Path, text: str, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return write(folder / "scan.mhd", text, b"")
