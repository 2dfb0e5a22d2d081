"""MetaImage and NRRD files that lie, are damaged or mean harm: an image or the package's error, quickly and cheaply."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import metaimage_files
import metaimage_refused
import nrrd_files
import nrrd_refused
import numpy as np
import pytest
from mutations import cost, loads_or_refuses, mutations

import medjax as mj


class Kind(NamedTuple):
    """A format whose header is text, and what its files are made of."""

    whole: str  # suffix of a file of header and data
    detached: str  # suffix of a header whose data lie beside it
    files: Any  # the module that makes files
    end: bytes  # what stands between header and data
    refused: dict[str, tuple[str, bytes, type[Exception], str]]
    elsewhere: Callable[[str], str]  # a header whose data lie at this place
    places: tuple[str, ...]  # outside the header's folder, as this format writes them


META = Kind(
    "mha", "mhd", metaimage_files, b"", metaimage_refused.REFUSED, metaimage_files.header,
    ("C:scan.raw", "\\\\server\\scan.raw", "data/../../secret.raw", "LIST\n../secret.raw\nb\nc", "../s%d.raw 1 3 1",
     "scan\0.raw"),
)  # fmt: skip
NRRD = Kind(
    "nrrd", "nhdr", nrrd_files, b"\n", nrrd_refused.REFUSED, lambda place: nrrd_files.at(data_file=place),
    ("LIST\n../secret.raw", "../s%d.raw 1 3 1"),
)  # fmt: skip
KINDS = {"MetaImage": META, "NRRD": NRRD}
ANYWHERE = ("../secret.raw", "..\\secret.raw", "/etc/hostname", "C:\\scan.raw", "a/../../secret.raw")

each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.mark.parametrize(
    ("kind", "place"), [(kind, place) for kind in KINDS.values() for place in ANYWHERE + kind.places]
)
def test_data_outside_the_folder_are_refused(kind: Kind, place: str, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("secret.raw", "s1.raw", "s2.raw", "s3.raw"):
        (tmp_path / name).write_bytes(kind.files.RAW)
    text = kind.elsewhere(place)
    with pytest.raises(mj.ImageFileError, match="outside the header's folder"):
        mj.load_image(kind.files.write(inner / f"scan.{kind.detached}", text, b""))


@pytest.mark.filterwarnings("ignore:.*converted to mm")
@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(kind, name, id=f"{label}-{name}") for label, kind in KINDS.items() for name in kind.refused],
)
def test_refused(kind: Kind, name: str, tmp_path: Path) -> None:
    text, data, error, message = kind.refused[name]
    path = kind.files.write(tmp_path / f"scan.{kind.whole}", text, data)

    def load() -> None:
        with pytest.raises(error, match=re.escape(message)) as caught:
            mj.load_image(path)
        assert isinstance(caught.value, mj.ImageFileError)

    load()  # imports are not the reader's cost
    seconds, peak = cost(load)
    assert seconds < 2
    assert peak < 2**23, "memory is taken before the file's size is checked"


@each_kind
def test_what_is_right_loads(kind: Kind, tmp_path: Path) -> None:
    """The baseline of every refusal above."""
    whole = {"mha": metaimage_files.header(), "nrrd": nrrd_files.at()}[kind.whole]
    image = mj.load_image(kind.files.write(tmp_path / f"scan.{kind.whole}", whole))
    np.testing.assert_array_equal(image.voxels, kind.files.VOXELS)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((META, name) for name in ("oblique", "zlib", "text", "channels", "big endian")),
        *((NRRD, name) for name in ("LPS", "gzip", "text", "line skip, byte skip", "fields after the size")),
    ],
)
def test_damaged_files_load_or_are_refused(kind: Kind, name: str, tmp_path: Path) -> None:
    """Every truncation and mutation ends in an image or in the package's error, quickly and in little memory."""
    text, data = kind.files.EQUAL[name]
    head = text.encode() + kind.end
    path = tmp_path / f"scan.{kind.whole}"
    outcomes = []

    def run() -> None:
        for content in mutations(head + data, len(head), count=60, seed=len(name)):
            path.write_bytes(content)
            outcomes.append(loads_or_refuses(path))

    seconds, peak = cost(run)
    assert set(outcomes) == {True, False}
    assert seconds < 60 * 0.25
    assert peak < 2**25


@pytest.mark.parametrize(("kind", "seed"), [(META, 3), (NRRD, 5)], ids=KINDS)
def test_damaged_detached_headers(kind: Kind, seed: int, tmp_path: Path) -> None:
    text, files = kind.files.BESIDE["pattern"]
    path = kind.files.write_beside(tmp_path, text, files)
    outcomes = set()
    for content in mutations(text.encode(), len(text), count=60, seed=seed):
        path.write_bytes(content)
        outcomes.add(loads_or_refuses(path))
    assert outcomes == {True, False}


@each_kind
@pytest.mark.parametrize("compress", [True, False, None], ids=["compressed", "plain", "detached"])
def test_no_part_of_a_file_is_an_image(kind: Kind, compress: bool | None, tmp_path: Path) -> None:
    """A copy that broke off anywhere never loads."""
    path = tmp_path / f"scan.{kind.detached if compress is None else kind.whole}"
    mj.save_image(mj.Image.from_array(kind.files.VOXELS, spacing=(1, 2, 3)), path, compress=bool(compress))
    content = path.read_bytes()
    end = len(content) - (compress is None)  # without its line end a header is whole
    for length in range(1, end):
        path.write_bytes(content[:length])
        assert not loads_or_refuses(path), f"{length} of {len(content)} bytes load"
