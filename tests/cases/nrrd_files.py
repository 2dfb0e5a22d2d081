"""NRRD headers for the tests, field by field."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from itk_files import OBLIQUE, voxels_of

VOXELS = voxels_of("i2")
RAW = VOXELS.tobytes("F")
RAS = np.array([-1.0, -1.0, 1.0])
LAS = np.array([1.0, -1.0, 1.0])


def vector(numbers: Any) -> str:
    return f"({','.join(f'{number:.17g}' for number in numbers)})"


def placed(affine: np.ndarray = OBLIQUE, space: str = "left-posterior-superior") -> dict[str, str]:
    """The fields that place three axes."""
    return {
        "space": space,
        "space directions": " ".join(vector(affine[:3, axis]) for axis in range(3)),
        "space origin": vector(affine[:3, 3]),
    }


STANDARD = {"type": "short", "dimension": "3", "sizes": "5 4 3", "encoding": "raw", "endian": "little"}


def header(pairs: Any = None, **changes: str | None) -> str:
    """A header with the standard fields, changed; in names an underscore stands for a blank, `None` leaves one out."""
    given = {name.replace("_", " "): value for name, value in changes.items()}
    fields = {name: value for name, value in (STANDARD | given).items() if value is not None}
    text = "NRRD0005\n# a comment\n" + "".join(f"{name}: {value}\n" for name, value in fields.items())
    return text + "".join(f"{key}:={value}\n" for key, value in (pairs or {}).items())


def write(path: Path, text: str, data: bytes = RAW) -> Path:
    path.write_bytes(text.encode() + b"\n" + data)
    return path


def at(**changes: str | None) -> str:
    """A header in LPS space on the oblique grid."""
    return header(**{name.replace(" ", "_"): value for name, value in placed().items()} | changes)


def flipped(signs: np.ndarray) -> np.ndarray:
    affine = OBLIQUE.copy()
    affine[:3] *= signs[:, None]
    return affine


# Files that SimpleITK and pynrrd both read rightly: name -> (text, data).
TEXT = " ".join(map(str, VOXELS.ravel("F"))).encode()
EQUAL: dict[str, tuple[str, bytes]] = {
    "LPS": (header(**placed()), RAW),
    "RAS": (header(**placed(flipped(RAS), "right-anterior-superior")), RAW),
    "LAS": (header(**placed(flipped(LAS), "left-anterior-superior")), RAW),
    "RAS, short": (header(**placed(flipped(RAS), "RAS")), RAW),
    "LAS, short": (header(**placed(flipped(LAS), "LAS")), RAW),
    "LPS, short": (header(**placed(OBLIQUE, "LPS")), RAW),
    "fields after the size": (header(**placed(), kinds="domain domain domain", content="a: b := c"), RAW),
    "space units of mm": (header(**placed(), **{"space units": '"mm" "mm" "mm"'}), RAW),
    "big endian": (at(endian="big"), VOXELS.astype(">i2").tobytes("F")),
    "gzip": (at(encoding="gzip"), gzip.compress(RAW)),
    "gz": (at(encoding="gz"), gzip.compress(RAW)),
    "text": (at(encoding="text"), TEXT),
    "ascii without endian": (at(encoding="ascii", endian=None), TEXT),
    "line skip": (at(line_skip="2"), b"one\ntwo\n" + RAW),
    "byte skip": (at(byte_skip="3"), b"abc" + RAW),
    "line skip, byte skip": (at(line_skip="1", byte_skip="2"), b"one\nab" + RAW),
    "byte skip -1": (at(byte_skip="-1"), b"any number" + RAW),
    "gzip, line skip": (at(encoding="gzip", line_skip="1"), b"one\n" + gzip.compress(RAW)),
    "gzip, byte skip": (at(encoding="gzip", byte_skip="3"), gzip.compress(b"abc" + RAW)),
    "names without blanks": (at(byteskip="3"), b"abc" + RAW),
    "Windows lines": (at().replace("\n", "\r\n") + "\r", RAW),
}

SLICES = [VOXELS[:, :, k].tobytes("F") for k in range(3)]
BESIDE: dict[str, tuple[str, dict[str, bytes]]] = {
    "one file": (at(data_file="scan.raw"), {"scan.raw": RAW}),
    "blank": (at(datafile="my scan.raw"), {"my scan.raw": RAW}),
    "folder below": (at(data_file="data/scan.raw"), {"data/scan.raw": RAW}),
    "gzip": (at(encoding="gzip", data_file="scan.raw.gz"), {"scan.raw.gz": gzip.compress(RAW)}),
    "skips": (at(data_file="scan.raw", line_skip="1", byte_skip="2"), {"scan.raw": b"line\nab" + RAW}),
    "byte skip -1": (at(data_file="scan.raw", byte_skip="-1"), {"scan.raw": b"any number" + RAW}),
    "list": (at(data_file="LIST") + "a\nb\nc\n", dict(zip("abc", SLICES, strict=True))),
    "list with dimension": (at(data_file="LIST 2") + "a\nb\nc\n", dict(zip("abc", SLICES, strict=True))),
    "pattern": (at(data_file="s%03d.raw 5 7 1"), {f"s{n:03d}.raw": SLICES[n - 5] for n in (5, 6, 7)}),
    "pattern with dimension": (at(data_file="s%d 1 3 1 2"), {f"s{n}": SLICES[n - 1] for n in (1, 2, 3)}),
    "pattern downwards": (at(data_file="s%d 3 1 -1"), {f"s{n}": SLICES[3 - n] for n in (1, 2, 3)}),
}  # fmt: skip


def write_beside(folder: Path, text: str, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    path = folder / "scan.nhdr"
    path.write_text(text)
    return path
