"""NRRD files that are refused: header, data, the error and a part of its message."""

from __future__ import annotations

import bz2
import gzip

from itk_files import OBLIQUE
from nrrd_files import RAW, at, header, placed, vector

import medjax as mj

GZIP = gzip.compress(RAW)
TRUNCATED = mj.io.TruncatedFileError
UNSUPPORTED = mj.io.UnsupportedFileError
TWO = " ".join(vector(OBLIQUE[:3, axis]) for axis in range(2))

REFUSED: dict[str, tuple[str, bytes, type[Exception], str]] = {
    "too few bytes": (at(), RAW[:-50], TRUNCATED, "expected 120 bytes, found 70"),
    "too many bytes": (at(), RAW + bytes(20), mj.ImageFileError, "make 120 bytes, found 20 more"),
    "too few at the end": (at(byte_skip="-1"), RAW[:-1], TRUNCATED, "expected 120 bytes, found 119"),
    "cut gzip": (at(encoding="gzip"), GZIP[:-40], TRUNCATED, "gzip stream breaks off"),
    "gzip of less": (at(encoding="gzip"), gzip.compress(RAW[:-2]), TRUNCATED, "found 118"),
    "gzip of more": (at(encoding="gzip"), gzip.compress(RAW + RAW), mj.ImageFileError, "120 more"),
    "gzip, wrong checksum": (at(encoding="gzip"), GZIP[:-8] + b"\1\2\3\4" + GZIP[-4:], mj.ImageFileError, "damaged"),
    "gzip that is zlib": (at(encoding="gzip"), RAW, mj.ImageFileError, "damaged"),
    "bzip2 that is not": (at(encoding="bzip2"), RAW, mj.ImageFileError, "damaged"),
    "cut bzip2": (at(encoding="bzip2"), bz2.compress(RAW)[:-20], TRUNCATED, "breaks off"),
    "hex of less": (at(encoding="hex"), RAW[:-1].hex().encode() + b"  ", TRUNCATED, "expected 120 bytes, found 119"),
    "hex of more": (at(encoding="hex"), (RAW * 2).hex().encode(), mj.ImageFileError, "found 240"),
    "hex that is none": (at(encoding="hex"), b"xy" * 120, mj.ImageFileError, "hexadecimal"),
    "text of less": (at(encoding="text"), b"   1" * 59, TRUNCATED, "expected 60 numbers, found 59"),
    "text that is none": (at(encoding="text"), b"x " * 60, mj.ImageFileError, "60 numbers"),
    "text out of range": (at(encoding="text"), b"99999 " * 60, mj.ImageFileError, "int16"),
    "10^12 voxels": (at(sizes="10000 10000 10000"), RAW, TRUNCATED, "expected 2000000000000 bytes"),
    "10^12 voxels, gzip": (at(sizes="10000 10000 10000", encoding="gzip"), GZIP, TRUNCATED, "at most"),
    "10^12 voxels, bzip2": (
        at(sizes="10000 10000 10000", encoding="bzip2"), bz2.compress(RAW), TRUNCATED, "expected 2000000000000",
    ),
    "10^12 voxels, hex": (at(sizes="10000 10000 10000", encoding="hex"), b"00", TRUNCATED, "bytes of text"),
    "10^12 voxels, text": (at(sizes="10000 10000 10000", encoding="text"), b"1", TRUNCATED, "bytes of text"),
    "sizes that overflow": (at(sizes="4294967296 4294967296 4"), RAW, TRUNCATED, "expected"),
    "sizes beyond int64": (at(sizes="99999999999999999999 1 1"), RAW, TRUNCATED, "expected"),
    "size zero": (at(sizes="0 4 3"), RAW, mj.ImageFileError, "no voxels"),
    "size negative": (at(sizes="5 4 -3"), RAW, mj.ImageFileError, "no voxels"),
    "size fractional": (at(sizes="5.5 4 3"), RAW, mj.ImageFileError, "parsed"),
    "sizes too few": (at(sizes="5 4"), RAW, mj.ImageFileError, "dimension is 3, but sizes has 2"),
    "sizes missing": (at(sizes=None), RAW, TRUNCATED, "lacks sizes"),
    "type missing": (at(type=None), RAW, TRUNCATED, "lacks type"),
    "type unknown": (at(type="block"), RAW, UNSUPPORTED, "'block'"),
    "encoding unknown": (at(encoding="zip"), RAW, UNSUPPORTED, "'zip'"),
    "endian missing": (at(endian=None), RAW, mj.ImageFileError, "endian must be little or big"),
    "dimension not a number": (at(dimension="three"), RAW, mj.ImageFileError, "parsed"),
    "17 dimensions": (header(dimension="17", sizes="1 " * 17), RAW, UNSUPPORTED, "17 dimensions"),
    "one axis in space": (header(dimension="1", sizes="60", spacings="1"), RAW, UNSUPPORTED, "1 of its axes"),
    "four axes in space": (
        at(dimension="4", sizes="5 4 3 1", space_directions=placed()["space directions"] + " (0,0,1)"), RAW,
        UNSUPPORTED, "4 of its axes",
    ),
    "directions too few": (at(space_directions=TWO), RAW, mj.ImageFileError, "2 entries for 3 axes"),
    "directions of different length": (at(space_directions=f"{TWO} (0,1)"), RAW, mj.ImageFileError, "parsed"),
    "directions with nan": (at(space_directions=f"{TWO} (0,nan,1)"), RAW, mj.ImageFileError, "not finite"),
    "directions that are none": (at(space_directions="here there everywhere"), RAW, mj.ImageFileError, "parsed"),
    "singular": (at(space_directions=f"{TWO} (0,0,0)"), RAW, mj.ImageFileError, "singular"),
    "parallel": (at(space_directions="(1,0,0) (2,0,0) (0,0,1)"), RAW, mj.ImageFileError, "singular"),
    "origin too short": (at(space_origin="(1,2)"), RAW, mj.ImageFileError, "3 finite numbers"),
    "origin infinite": (at(space_origin="(1,2,inf)"), RAW, mj.ImageFileError, "3 finite numbers"),
    "huge": (at(space_origin="(1,2,1e300)"), RAW, mj.ImageFileError, "mm"),
    "space and time at once": (
        header(
            dimension="4", sizes="5 4 3 1", space="LPST", space_origin="(0,0,0,0)",
            space_directions="(1,0,0,0) (0,1,0,0) (0,0,1,0) (0,1,0,1)",
        ), RAW, UNSUPPORTED, "space and time at once",
    ),
    "units too few": (at(space_units='"mm"'), RAW, mj.ImageFileError, "1 entries, expected 3"),
    "quote left open": (at(space_units='"mm "mm" "mm"'), RAW, mj.ImageFileError, "parsed"),
    "a field twice": (at() + "space: LPS\n", RAW, mj.ImageFileError, "states space twice"),
    "line without colon": (at() + "words\n", RAW, mj.ImageFileError, "neither field nor key/value pair"),
    "byte skip -1, gzip": (at(encoding="gzip", byte_skip="-1"), GZIP, UNSUPPORTED, "byte skip -1"),
    "byte skip -2": (at(byte_skip="-2"), RAW, UNSUPPORTED, "byte skip -2"),
    "byte skip too far": (at(byte_skip="999999999999"), RAW, TRUNCATED, "found 0"),
    "line skip too far": (at(line_skip="999999999999"), RAW, mj.ImageFileError, "line skip is 999999999999"),
    "version 9": (at().replace("NRRD0005", "NRRD0009"), RAW, mj.ImageFileError, "version"),
    "data file missing": (at(data_file="other.raw"), b"", mj.ImageFileError, "'other.raw' is missing"),
    "data file with a long name": (at(data_file="x" * 5000), b"", mj.ImageFileError, "xxx' is missing"),
    "huge, in metres": (at(space_units='"m" "m" "m"', space_origin="(1,2,1e308)"), RAW, mj.ImageFileError, "mm"),
    "data file without name": (at(data_file=""), b"", mj.ImageFileError, "no name"),
    "empty list": (at(data_file="LIST"), b"", mj.ImageFileError, "list of data files is empty"),
    "list of a wrong count": (
        at(data_file="LIST") + "scan.nrrd\n" * 7, b"", mj.ImageFileError, "shared equally by 7 data files",
    ),
    "pattern with step 0": (at(data_file="s%d 1 3 0"), b"", mj.ImageFileError, "pattern"),
    "pattern upside down": (at(data_file="s%d 3 1 1"), b"", mj.ImageFileError, "pattern"),
    "pattern of 10^12 files": (at(data_file="s%d 1 1000000000000 1"), b"", mj.ImageFileError, "missing"),
    "magic only": ("NRRD0005\n", b"", TRUNCATED, "lacks type, dimension, sizes, encoding"),
}  # fmt: skip
