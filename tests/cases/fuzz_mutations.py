"""Ways to damage bytes: blind ones, and those that know where a text or NIfTI header keeps its sizes and names."""

from __future__ import annotations

import bz2
import functools
import gzip
import random
import re
import struct
import zlib

import numpy as np
from fuzz_seeds import SEEDS, Files

WORDS = [
    b"0", b"-1", b"1", b"7", b"255", b"65536", b"2147483647", b"-2147483648", b"4294967296", b"999999999999",
    b"9223372036854775807", b"18446744073709551616", b"9" * 400, b"1e308", b"-1e-308", b"1e999", b"nan", b"inf", b"-inf",
    b"0x10", b"1.5", b"1,5", b"", b" ", b"%s%s%n", b"%d", b"../../../../etc/passwd", b"/etc/passwd", b"/dev/zero",
    b"..", b".", b"a.nii", b"LIST", b"LOCAL", b"none", b"True", b"(nan,0,0)", b"(0,0,0)", b"((((", b"\xff\xfe", b"\0",
    "\u0661\u0662".encode(), b"A" * 70000, b"1 " * 5000, b"{", b"[" * 3000, b"\n", b"\r", b"#", b":", b":=", b"=",
]  # fmt: skip
INTEGERS = [
    0,
    1,
    -1,
    2,
    127,
    128,
    255,
    256,
    32767,
    -32768,
    65535,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**62,
    2**63 - 1,
    10**12,
]
_FLOATS = [0.0, -0.0, 1.0, -1.0, 352.0, 1e38, -1e38, 1e300, 1e-300, float("nan"), float("inf"), float("-inf"), 2.0**53]
# Blind: any bytes.


def flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        if changed:
            at = rng.randrange(len(changed))
            changed[at] = rng.choice([rng.randrange(256), changed[at] ^ 1 << rng.randrange(8), 0, 255])
    return bytes(changed)


def flip_used(content: bytes, rng: random.Random) -> bytes:
    """Changes bytes that are not zero, which is where HDF5 and DICOM keep their structure."""
    used = np.flatnonzero(np.frombuffer(content[: 1 << 16], np.uint8))
    if not len(used):
        return content
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        changed[int(used[rng.randrange(len(used))])] = rng.choice([rng.randrange(256), 0, 1, 127, 128, 255])
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    near = rng.choice([len(content), min(len(content), 400), min(len(content), 64)])
    return content[: rng.randrange(near + 1)]


def drop(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.choice([1, 2, 4, 8, 100, 1000]) :]


def double(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    part = content[start : start + rng.choice([1, 2, 4, 8, 100, 1000])]
    return content[:start] + part * rng.choice([2, 2, 3, 50]) + content[start + len(part) :]


def overwrite_number(content: bytes, rng: random.Random) -> bytes:
    width, order = rng.choice([1, 2, 4, 8]), rng.choice(["little", "big"])
    at = rng.randrange(len(content) + 1)
    value = rng.choice(INTEGERS) % (1 << 8 * width)
    return content[:at] + value.to_bytes(width, order) + content[at + width :]  # type: ignore[arg-type]


def splice(content: bytes, rng: random.Random) -> bytes:
    """Goes on as a file of another kind."""
    other = next(iter(rng.choice(SEEDS[rng.choice(list(SEEDS))]()).values()))
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


BLIND = [flip, flip, flip_used, cut, cut, drop, double, overwrite_number, splice]

# Text headers: MetaImage, NRRD, XML.


def _head(content: bytes) -> int:
    """Where the text ends that a file begins with."""
    ends = [content.find(mark) for mark in (b"LOCAL\n", b"\n\n", b"</MRML>")]
    return min([end + 8 for end in ends if end >= 0], default=len(content))


def replace_word(content: bytes, rng: random.Random) -> bytes:
    words = list(re.finditer(rb"[^\s=:,()\"<>]+", content[: _head(content)]))
    if not words:
        return content
    word = rng.choice(words)
    return content[: word.start()] + rng.choice(WORDS) + content[word.end() :]


def change_lines(content: bytes, rng: random.Random) -> bytes:
    end = _head(content)
    lines = content[:end].splitlines(keepends=True)
    if len(lines) < 2:
        return content
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    action = rng.randrange(5)
    if action == 0:
        del lines[a]
    elif action == 1:
        lines.insert(b, lines[a])
    elif action == 2:
        lines[a], lines[b] = lines[b], lines[a]
    elif action == 3:
        lines[a] = lines[a].rstrip(b"\r\n") + rng.choice([b" ", b"\t"]) + rng.choice(WORDS) + b"\n"
    else:
        lines[a] = rng.choice(_TEXT_LINES) + b"\n"
    return b"".join(lines) + content[end:]


_TEXT_LINES = [
    b"DimSize = 1000000 1000000 1", b"DimSize = 999999999999 1 1", b"DimSize = -3 -2 2", b"NDims = 1000000000", b"NDims = 2",
    b"ElementNumberOfChannels = 1000000000", b"HeaderSize = -1", b"HeaderSize = 99999999999", b"CompressedData = True",
    b"CompressedDataSize = 99999999999", b"ElementType = MET_DOUBLE", b"ElementType = MET_OTHER", b"BinaryData = False",
    b"ElementDataFile = ../../../../etc/passwd", b"ElementDataFile = /dev/zero", b"ElementDataFile = %999999999d 1 9 1",
    b"ElementDataFile = s%d.raw 1 999999999 1", b"ElementDataFile = LIST", b"ElementDataFile = a.mhd", b"ElementDataFile =",
    b"sizes: 1000000 1000000 1", b"sizes: 999999999999 1 1", b"dimension: 17", b"dimension: 1000000", b"encoding: gzip",
    b"encoding: bzip2", b"encoding: hex", b"encoding: ascii", b"type: block", b"block size: 1000000000000", b"type: double",
    b"byte skip: -1", b"byte skip: 99999999999", b"line skip: 99999999999", b"data file: /dev/zero", b"data file: LIST 2",
    b"data file: ../../etc/passwd", b"data file: %999999999d 1 9 1", b"data file: d%d.raw 1 99999999999 1", b"endian: middle",
    b"data file: a.nhdr", b"space directions: none none none", b"space directions: (0,0,0) (0,0,0) (0,0,0)",
    b"space: scanner-xyz-time", b"space dimension: 99", b"space origin: (nan,1,2)", b"space units: \"m\" \"m\" \"m\"",
    b"Segment0_LabelValue:=99999999999", b"Segment0_Layer:=99999", b"Segment0_Extent:=0 -1 0 99999999999 0 1",
    b"medjax_metadata:={", b"kinds: list list list", b"spacings: nan nan nan", b"content: " + b"x" * 99999,
]  # fmt: skip


# NIfTI: the fields of both headers.


@functools.cache
def _nifti_fields(size: int) -> list[tuple[int, int, str]]:
    import nibabel

    header = nibabel.nifti1.header_dtype if size == 348 else nibabel.nifti2.header_dtype
    fields: list[tuple[int, int, str]] = []
    for field, offset, *_ in (header.fields or {}).values():
        base, count = field.base, int(np.prod(field.shape, dtype=int))
        fields += [(offset + n * base.itemsize, base.itemsize, base.kind) for n in range(count)]
    return [field for field in fields if field[2] in "iuf"]


def nifti_field(content: bytes, rng: random.Random) -> bytes:
    is_big = content[:4] in (b"\0\0\1\x5c", b"\0\0\2\x1c")
    size = 540 if b"\x1c\2" in content[:4] or b"\2\x1c" in content[:4] else 348
    fields = _nifti_fields(size)
    important = fields[: 8 + len(fields) // 4]  # sizeof_hdr, dim, datatype, ...
    at, width, kind = rng.choice(fields if rng.random() < 0.5 else important)
    order = ">" if is_big else "<"
    if kind == "f":
        value = np.array(rng.choice(_FLOATS)).astype(f"{order}f{width}", casting="unsafe").tobytes()
    else:
        value = (rng.choice(INTEGERS) % (1 << 8 * width)).to_bytes(width, "big" if is_big else "little")
    return content[:at] + value + content[at + width :]


def nifti_extension(content: bytes, rng: random.Random) -> bytes:
    size, code = rng.choice(INTEGERS) % 2**31, rng.choice([0, 2, 4, 6, 44])
    body = rng.choice([b"", b"{", b'{"medjax":', b"\0" * 8, b"<xml/>"])
    return content[:348] + b"\1\0\0\0" + struct.pack("<ii", size, code) + body + content[352:]


def nifti_bomb(rng: random.Random) -> Files:
    header = bytearray(SEEDS["nifti"]()[0]["a.nii"][:352])
    sizes = rng.choice(
        [(4, 10000, 10000, 10000, 1), (3, 32767, 32767, 32767, 1), (7, 32767, 32767, 9, 9), (3, 512, 512, 512, 1)]
    )
    struct.pack_into("<5h", header, 40, *sizes)
    return _compressed("a.nii", bytes(header), rng)


def _compressed(name: str, head: bytes, rng: random.Random) -> Files:
    """A header and 64 MiB of zeros, compressed, perhaps cut or with something behind it."""
    packer = rng.choice(["gz", "bz2"])
    data = _zeros(packer)
    whole = (gzip.compress(head, 1) if packer == "gz" else bz2.compress(head)) + data * rng.choice([1, 1, 4])
    return {f"{name}.{packer}": whole[: rng.choice([len(whole), len(whole) // 2])] + rng.choice([b"", b"tail"])}


@functools.cache
def _zeros(packer: str) -> bytes:
    return gzip.compress(bytes(1 << 26), 1) if packer == "gz" else bz2.compress(bytes(1 << 26))


def text_bomb(kind: str, rng: random.Random) -> Files:
    """Text headers that claim much and hold a stream that expands, to more or less than they claim."""
    sizes = rng.choice([b"10000 10000 10000", b"1024 1024 64", b"3 2 2", b"1000000000000 1 1", b"4096 4096 2"])
    if kind == "metaimage":
        head = (
            b"ObjectType = Image\nNDims = 3\nDimSize = " + sizes + b"\nElementType = MET_UCHAR\nCompressedData = True\n"
        )
        size = rng.choice([b"", b"CompressedDataSize = 1\n", b"CompressedDataSize = 99999999999999\n"])
        return {"a.mha": head + size + b"ElementDataFile = LOCAL\n" + zlib.compress(bytes(1 << 26), 1)}
    head = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: " + sizes + b"\n"
    encoding, data = rng.choice(
        [(b"gzip", _zeros("gz")), (b"bzip2", _zeros("bz2")), (b"raw", b""), (b"ascii", b"1 2 3")]
    )
    return {"a.nrrd": head + b"encoding: " + encoding + b"\n\n" + data}
