"""HDF5's filters: what other programs store is read exactly, and no stream becomes more or less than its chunk."""

from __future__ import annotations

import bz2
import struct
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import zstandard
from hdf5_cases import assert_same, in_other_process

import medjax as mj
from medjax import io

SHAPE = (20, 18, 12)  # i, j, k
CHUNK = (12, 18, 20)

FILTERS: dict[str, dict[str, Any]] = {
    "lzf": {"compression": "lzf"},
    "lzf, shuffle, fletcher32": {"compression": "lzf", "shuffle": True, "fletcher32": True},
    "scale-offset": {"scaleoffset": 0},
    "shuffle": {"shuffle": True},
    "fletcher32": {"fletcher32": True},
    "gzip, shuffle": {"compression": "gzip", "shuffle": True},
    "bzip2": dict(hdf5plugin.BZip2()),
    "bzip2, shuffle": {**hdf5plugin.BZip2(), "shuffle": True},
    "zstd": dict(hdf5plugin.Zstd()),
    "zstd, shuffle": {**hdf5plugin.Zstd(clevel=19), "shuffle": True},
    "lz4": dict(hdf5plugin.LZ4()),
    "lz4 in blocks": dict(hdf5plugin.LZ4(nbytes=1024)),
    "blosc": dict(hdf5plugin.Blosc()),
    "blosc, zstd": dict(hdf5plugin.Blosc("zstd", 9, hdf5plugin.Blosc.BITSHUFFLE)),
}
if h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
    FILTERS["szip"] = {"compression": "szip"}


def image() -> mj.Image:
    """Values that every codec compresses, none of them by a repetition alone."""
    voxels = np.add.outer(np.arange(20) ** 2, np.add.outer(np.arange(18), 7 * np.arange(12)))
    return mj.Image.from_array(voxels.astype(np.int16))


def stored(path: Path, chunks: tuple[int, ...] = CHUNK, **options: Any) -> Path:
    """A file whose voxels h5py stored with filters."""
    io.save_hdf5(path, image(), name="a")
    with h5py.File(path, "r+") as file:
        group = file["images/a"]
        del group["voxels"]
        group.create_dataset("voxels", data=image().voxels.T, chunks=chunks, **options)
    return path


def stream(folder: Path, count: int, **options: Any) -> bytes:
    """What a filter makes of a chunk of so many numbers."""
    with h5py.File(folder / "source.h5", "w") as file:
        data = file.create_dataset("x", data=np.resize(image().voxels.ravel("F"), count), chunks=(count,), **options)
        mask, found = data.id.read_direct_chunk((0,))
    assert mask == 0
    return found


def replaced(path: Path, data: bytes, mask: int = 0) -> Path:
    with h5py.File(path, "r+") as file:
        file["images/a/voxels"].id.write_direct_chunk((0, 0, 0), data, mask)
    return path


@pytest.mark.parametrize("options", FILTERS.values(), ids=FILTERS)
def test_what_h5py_stored_is_read_exactly(tmp_path: Path, options: dict[str, Any]) -> None:
    for chunks in (CHUNK, (5, 18, 7)):  # the second leaves the volume
        path = stored(tmp_path / f"{chunks[0]}.h5", chunks, **options)
        assert_same(io.load_hdf5(path), image())
        box = io.load_hdf5(path, start=(8, 1, 4), size=(10, 4, 7))
        np.testing.assert_array_equal(box.voxels, image().voxels[8:18, 1:5, 4:11])


@pytest.mark.parametrize("options", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("count", [4321, 4319, 8000, 4000])
def test_a_stream_of_another_size_is_refused(tmp_path: Path, options: dict[str, Any], count: int) -> None:
    """The chunk has 4320 numbers. HDF5 cuts off what is too much, and leaves what is missing as it finds the memory."""
    data = stream(tmp_path, count, **options)
    path = stored(tmp_path / "a.h5", **options)
    if "scaleoffset" in options and count > 4320:
        assert_same(io.load_hdf5(replaced(path, data)), image())  # the size stands beside the filter: more is not read
        return
    with pytest.raises(io.ImageFileError, match=r"in place of 8640|breaks off|is damaged"):
        io.load_hdf5(replaced(path, data))


@pytest.mark.parametrize("name", ["lzf", "blosc", "lz4", "zstd", "scale-offset"])
def test_a_chunk_whose_filters_were_skipped_has_its_own_size(tmp_path: Path, name: str) -> None:
    path, data = stored(tmp_path / "a.h5", **FILTERS[name]), image().voxels.T.tobytes()
    assert_same(io.load_hdf5(replaced(path, data, mask=0b11)), image())
    for wrong in (data[:-2], data + b"\0\0"):
        with pytest.raises(io.ImageFileError, match=r"in place of 8640"):
            io.load_hdf5(replaced(path, wrong, mask=0b11))


@pytest.mark.parametrize("name", ["lzf", "blosc", "lz4", "zstd", "bzip2", "gzip, shuffle", "scale-offset"])
def test_a_stream_that_breaks_off_is_refused(tmp_path: Path, name: str) -> None:
    data = stream(tmp_path, 4320, **FILTERS[name])
    path = stored(tmp_path / "a.h5", **FILTERS[name])
    for length in (1, 5, 13, len(data) // 2, len(data) - 2):
        with pytest.raises(io.ImageFileError, match=r"breaks off|is damaged|in place of 8640"):
            io.load_hdf5(replaced(path, data[:length]))


def test_a_damaged_zstd_stream_is_refused(tmp_path: Path) -> None:
    """The filter of hdf5plugin takes zstd's error code for a size, and leaves the chunk as it finds the memory."""
    path = stored(tmp_path / "a.h5", **hdf5plugin.Zstd())
    data = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(image().voxels.T.tobytes()))
    assert_same(io.load_hdf5(replaced(path, bytes(data))), image())
    data[-1] ^= 1
    with pytest.raises(io.ImageFileError, match="a chunk is damaged"):
        io.load_hdf5(replaced(path, bytes(data)))


BOMBS = {
    "lzf": bytes([0, 0]) + bytes([0b11100000, 255, 0]) * 4_000_000,  # 264 bytes in three: 1 GB in all
    "bzip2": bz2.compress(bytes(1 << 20)) * 1024,
    "zstd": zstandard.ZstdCompressor().compress(bytes(1 << 30)),
    "zstd, no size": zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 28)),
    "lz4": struct.pack(">QI", 1 << 30, 1 << 30) + bytes(1 << 20),
    "lz4, no blocks": struct.pack(">QI", 8640, 0) + bytes(1 << 10),  # the filter goes on for ever
    "blosc": struct.pack("<4B3I", 2, 1, 0x21, 2, 1 << 30, 1 << 18, 1 << 20) + bytes(1 << 20),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_neither_time_nor_memory(tmp_path: Path, name: str) -> None:
    path = stored(tmp_path / "a.h5", **FILTERS[name.partition(",")[0]])
    replaced(path, BOMBS[name])
    code = (
        "import resource, sys, time, medjax as mj; resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))\n"
        "start = time.perf_counter()\n"
        "try: mj.load_image(sys.argv[1])\nexcept mj.ImageFileError as error: print(error)\n"
        "print(time.perf_counter() - start)"
    )
    found = in_other_process(code, path)
    message, seconds = found.stdout.splitlines()
    assert "in place of 8640" in message or "breaks off" in message
    assert float(seconds) < 10  # docs/files.md


@pytest.mark.parametrize(
    "options", [dict(hdf5plugin.Blosc2()), dict(hdf5plugin.Bitshuffle()), {**hdf5plugin.Zstd(), "fletcher32": True}]
)
def test_filters_that_are_not_safe_are_named(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(io.UnsupportedFileError, match=r"has the HDF5 filters \[.*\]; store it with gzip"):
        io.load_hdf5(stored(tmp_path / "a.h5", **options))


def test_many_small_chunks_take_time_in_proportion(tmp_path: Path) -> None:
    """HDF5 goes through all chunks to find one: asked for each, 32,768 of them took a minute."""
    path, voxels = tmp_path / "a.h5", np.arange(64 * 64 * 16, dtype=np.uint16).reshape(64, 64, 16)
    io.save_hdf5(path, mj.Image.from_array(voxels.T), name="a")
    with h5py.File(path, "r+") as file:
        del file["images/a/voxels"]
        file["images/a"].create_dataset("voxels", data=voxels, chunks=(1, 1, 2), compression="gzip")
    code = (
        "import sys, time, medjax as mj; start = time.perf_counter(); image = mj.load_image(sys.argv[1])\n"
        "print(image.voxels.T.ravel()[::9999].tolist()); print(time.perf_counter() - start)"
    )
    values, seconds = in_other_process(code, path).stdout.splitlines()
    assert values == str(voxels.ravel()[::9999].tolist())
    assert float(seconds) < 20  # one at a time 60 and more, now 2
