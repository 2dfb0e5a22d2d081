"""MetaImage files that are refused: header, data, the error and a part of its message."""

from __future__ import annotations

import zlib

from metaimage_files import FOUR_D, RAW, ZLIB, header

import medjax as mj

REFUSED: dict[str, tuple[str, bytes, type[Exception], str]] = {
    "too few bytes": (header(), RAW[:-50], mj.io.TruncatedFileError, "expected 120 bytes, found 70"),
    "no bytes": (header(), b"", mj.io.TruncatedFileError, "expected 120 bytes, found 0"),
    "too many bytes": (header(), RAW + bytes(20), mj.ImageFileError, "make 120 bytes, found 20 more"),
    "too few at the end": (header(HeaderSize="-1"), b"", mj.io.TruncatedFileError, "expected 120 bytes"),
    "cut zlib": (header(CompressedData="True"), ZLIB[:-40], mj.io.TruncatedFileError, "zlib stream breaks off"),
    "zlib of less": (
        header(CompressedData="True"), zlib.compress(RAW[:-2]), mj.io.TruncatedFileError, "expected 120 bytes, found 118",
    ),
    "zlib of more": (header(CompressedData="True"), zlib.compress(RAW + RAW), mj.ImageFileError, "120 more"),
    "zlib with a bit flipped": (
        header(CompressedData="True"), ZLIB[:-1] + bytes([ZLIB[-1] ^ 1]), mj.ImageFileError, "damaged",
    ),
    "no zlib at all": (header(CompressedData="True"), RAW, mj.ImageFileError, "damaged"),
    "raw deflate": (header(CompressedData="True"), ZLIB[2:-4], mj.ImageFileError, "damaged"),
    "10^12 voxels": (header(DimSize="10000 10000 10000"), RAW, mj.io.TruncatedFileError, "expected 2000000000000 bytes"),
    "10^12 voxels, zlib": (
        header(DimSize="10000 10000 10000", CompressedData="True"), ZLIB, mj.io.TruncatedFileError, "at most",
    ),
    "10^12 voxels, text": (
        header(DimSize="10000 10000 10000", BinaryData="False"), b"1 2 3", mj.io.TruncatedFileError, "bytes of text",
    ),
    "sizes that overflow": (header(DimSize="4294967296 4294967296 4"), RAW, mj.io.TruncatedFileError, "expected"),
    "sizes beyond double": (header(DimSize="1e400 4 3"), RAW, mj.ImageFileError, "DimSize"),
    "size zero": (header(DimSize="0 4 3"), RAW, mj.ImageFileError, "no voxels"),
    "size negative": (header(DimSize="-5 4 3"), RAW, mj.ImageFileError, "no voxels"),
    "size fractional": (header(DimSize="5.5 4 3"), RAW, mj.ImageFileError, "whole numbers"),
    "sizes too few": (header(DimSize="5 4"), RAW, mj.ImageFileError, "DimSize must hold 3"),
    "sizes missing": (header(DimSize=None), RAW, mj.ImageFileError, "lacks DimSize"),
    "no channels": (header(ElementNumberOfChannels="0"), RAW, mj.ImageFileError, "no voxels"),
    "type missing": (header(ElementType=None), RAW, mj.io.UnsupportedFileError, "ElementType"),
    "type unknown": (header(ElementType="MET_OTHER"), RAW, mj.io.UnsupportedFileError, "MET_OTHER"),
    "one dimension": (
        header(NDims="1", DimSize="60", Offset="0", ElementSpacing="1", TransformMatrix="1"), RAW,
        mj.io.UnsupportedFileError, "1 dimensions",
    ),
    "11 dimensions": (header(NDims="11"), RAW, mj.io.UnsupportedFileError, "11 dimensions"),
    "dimensions nan": (header(NDims="nan"), RAW, mj.ImageFileError, "NDims"),
    "matrix of 9 in 4-D": (
        header(**{**FOUR_D, "TransformMatrix": "1 0 0 0 1 0 0 0 1"}), RAW, mj.ImageFileError, "16 finite numbers",
    ),
    "time mixed into space": (
        header(**{**FOUR_D, "TransformMatrix": "1 0 0 0 0 1 0 0 0 0 1 0.5 0 0 0 1"}), RAW,
        mj.io.UnsupportedFileError, "mixes",
    ),
    "singular": (header(TransformMatrix="1 0 0 1 0 0 0 0 1"), RAW, mj.ImageFileError, "singular"),
    "spacing zero": (header(ElementSpacing="0 1 1"), RAW, mj.ImageFileError, "geometry"),
    "origin nan (SimpleITK: 0)": (header(Offset="nan 0 0"), RAW, mj.ImageFileError, "finite"),
    "spacing not a number": (header(ElementSpacing="a b c"), RAW, mj.ImageFileError, "3 finite numbers"),
    "line without key": (header().replace("DimSize", "just words\nDimSize"), RAW, mj.ImageFileError, "key = value"),
    "HeaderSize in the header": (header(HeaderSize="4"), RAW, mj.ImageFileError, "less than the header's"),
    "HeaderSize beyond the file": (header(HeaderSize="1e30"), RAW, mj.io.TruncatedFileError, "data start after"),
    "HeaderSize -2": (header(HeaderSize="-2"), RAW, mj.io.UnsupportedFileError, "HeaderSize"),
    "HeaderSize -1 of zlib": (header(HeaderSize="-1", CompressedData="True"), ZLIB, mj.io.UnsupportedFileError, "HeaderSize"),
    "text that is none": (header(BinaryData="False"), b"x " * 60, mj.ImageFileError, "60 numbers"),
    "text out of range": (header(BinaryData="False"), b"70000 " * 60, mj.ImageFileError, "int16"),
    "text too short": (header(BinaryData="False"), b"  1  " * 59, mj.io.TruncatedFileError, "60 numbers, found 59"),
    "text too long": (header(BinaryData="False"), b"1 " * 61, mj.ImageFileError, "found 61"),
    "text of one long word": (header(BinaryData="False"), b"1" * 5000 + b" 1" * 59, mj.ImageFileError, "word"),
    "data file missing": (header("other.raw"), b"", mj.ImageFileError, "'other.raw' is missing"),
    "data file with a long name": (header("x" * 5000), b"", mj.ImageFileError, "xxx' is missing"),
    "huge spacing": (header(ElementSpacing="1e300 1e300 1e308", TransformMatrix="9 1 0 0 9 0 0 0 9"), RAW, mj.ImageFileError, "mm"),
    "data file is a folder": (header("."), b"", mj.ImageFileError, "missing"),
    "data file without name": (header(""), b"", mj.ImageFileError, "empty"),
    "list too short": (header("LIST\nscan.mha"), b"", mj.ImageFileError, "names 1 data files, DimSize needs 3"),
    "list of 3-D files, too long": (header("LIST 3\na\nb"), b"", mj.ImageFileError, "needs 1"),
    "pattern of another count": (header("s%d.raw 1 4 1"), b"", mj.ImageFileError, "names 4 files, DimSize needs 3"),
    "pattern with step 0": (header("s%d.raw 1 3 0"), b"", mj.ImageFileError, "names 0 files"),
    "pattern beyond any count": (header("s%d.raw 1 " + "9" * 300), b"", mj.ImageFileError, "files, DimSize needs 3"),
    "pattern without number": (header("s%s.raw 1 3 1"), b"", mj.ImageFileError, "needs exactly one number"),
    "pattern of two numbers": (header("s%d_%d.raw 1 3 1"), b"", mj.ImageFileError, "needs exactly one number"),
    "pattern with words": (header("s%d.raw one two"), b"", mj.ImageFileError, "whole numbers"),
    "pattern of 10^12 files": (
        header("s%d.raw 1 1000000000000 1", DimSize="1 1 1000000000000"), b"", mj.ImageFileError, "missing",
    ),
    "header only": ("ObjectType = Image\nNDims = 3\n", b"", mj.ImageFileError, "ElementDataFile"),
}  # fmt: skip
