"""The HDF5 store where the system or the caller fails: power, disks, locks, links, memory, patience."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hdf5_cases import assert_same, image_of, in_other_process

import medjax as mj
from medjax import io

PAGE = 4096


def numbered(value: int, shape: tuple[int, ...] = (20, 20, 12)) -> mj.Image:
    return mj.Image.from_array(np.full(shape, value, np.int16), metadata=mj.Metadata(extra={"n": value}))


# Power failures


def after_a_power_failure(on_disk: bytes, written: bytes) -> Iterator[bytes]:
    """States of a disk that has what was flushed, and of what was written since any part: single pages, or all but one."""
    size = max(len(on_disk), len(written))
    old, new = on_disk.ljust(size, b"\0"), written.ljust(size, b"\0")
    changed = [at for at in range(0, size, PAGE) if old[at : at + PAGE] != new[at : at + PAGE]]
    for length in {len(on_disk), len(written)}:
        yield old[:length]
        yield new[:length]
        for at in changed:
            for base, other in ((old, new), (new, old)):
                yield (base[:at] + other[at : at + PAGE] + base[at + PAGE :])[:length]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_power_failure_at_any_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: Any) -> None:
    """What is not flushed reaches the disk in any order: older images stay whole, the new one is absent or whole."""
    path, crashed = tmp_path / "a.h5", tmp_path / "crashed.h5"
    for n in range(6):
        io.save_hdf5(path, numbered(n), "g", str(n), compression=compression)
    flush, on_disk = os.fsync, path.read_bytes()
    states: set[bytes] = set()

    def spy(descriptor: int) -> None:
        nonlocal on_disk
        states.update(after_a_power_failure(on_disk, path.read_bytes()))
        flush(descriptor)
        on_disk = path.read_bytes()

    monkeypatch.setattr(os, "fsync", spy)
    io.save_hdf5(path, numbered(6), "g", "6", compression=compression)
    monkeypatch.undo()
    states.update(after_a_power_failure(on_disk, path.read_bytes()))
    outcomes = set()
    for state in states:
        crashed.write_bytes(state)
        names = {entry.name for entry in io.list_hdf5(crashed)}
        assert names >= set("012345")
        for name in names:
            assert_same(io.load_hdf5(crashed, "g", name), numbered(int(name)))
        outcomes.add("6" in names)
    assert outcomes == {False, True}
    assert len(states) > 10


def test_a_new_store_and_its_name_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flush, order = tmp_path / "a.h5", os.fsync, []

    def spy(descriptor: int) -> None:
        order.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    io.save_hdf5(path, image_of())
    assert order == [(False, False), (True, True)]  # the content under its temporary name, then the folder


# Creation


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_two_creators_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """exFAT, SMB and some FUSE have no hard links; a rename there would replace the store of the faster process."""
    path = tmp_path / "a.h5"

    def appear_first(*_: object) -> None:
        monkeypatch.setattr(os, "link", refuse)
        io.save_hdf5(path, image_of("f8"), name="other")
        refuse()

    monkeypatch.setattr(os, "link", appear_first)
    io.save_hdf5(path, image_of(), name="mine")
    assert_same(io.load_hdf5(path, name="other"), image_of("f8"))
    assert_same(io.load_hdf5(path, name="mine"), image_of())
    assert [each.name for each in tmp_path.iterdir()] == ["a.h5"]


def test_creation_without_hard_links_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output error"):
        io.save_hdf5(tmp_path / "a.h5", image_of())
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_may_be_one_that_is_being_made(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.touch()
    calls: tuple[Any, ...] = (
        lambda: io.save_hdf5(path, image_of()),
        lambda: io.load_hdf5(path),
        lambda: io.list_hdf5(path),
        lambda: io.delete_hdf5(path, "images", "a"),
    )
    for call in calls:
        with pytest.raises(io.ImageFileError, match=r"the file is empty; .* try again; if it stays empty, delete it"):
            call()
    assert path.read_bytes() == b""


def test_litter_of_killed_writers_is_swept(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    old, fresh, locked, foreign = (
        tmp_path / name
        for name in (
            ".a.h5.0123456789ab.part",
            ".a.h5.1123456789ab.part",
            ".a.h5.2123456789ab.part",
            ".b.h5.3123456789ab.part",
        )
    )
    for each in (old, fresh, locked, foreign):
        each.write_bytes(b"half")
        if each is not fresh:
            os.utime(each, (time.time() - 7200,) * 2)
    with locked.open("rb+") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        io.save_hdf5(tmp_path / "a.h5", image_of())
    assert set(tmp_path.iterdir()) == {tmp_path / "a.h5", fresh, locked, foreign}


KILLED = """
import os, sys, numpy as np, medjax as mj
from medjax import io
os.fsync = lambda descriptor: os._exit(9)
io.save_hdf5(sys.argv[1], mj.Image.from_array(np.zeros((2, 3, 4))))
"""


def test_a_creator_that_was_killed_leaves_litter_that_the_next_one_sweeps(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    assert in_other_process(KILLED, path).returncode == 9
    (litter,) = tmp_path.iterdir()
    os.utime(litter, (time.time() - 7200,) * 2)
    io.save_hdf5(path, image_of())
    assert [each.name for each in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("name", ["\u50cf" * 84 + ".h5", "x" * 252 + ".h5", "a\nb.h5", os.fsdecode(b"scan\xff.h5")])
def test_every_name_that_the_system_allows(tmp_path: Path, name: str) -> None:
    """255 bytes, whatever the characters: temporary names are no longer."""
    path = tmp_path / name
    assert len(os.fsencode(name)) <= 255
    for save in (
        lambda: io.save_hdf5(path, image_of(), name="a"),
        lambda: io.save_hdf5(path, image_of(), name="b"),
        lambda: mj.save_image(image_of(), path),
    ):
        save()
        assert_same(io.load_hdf5(path, name=io.list_hdf5(path)[-1].name), image_of())
    assert [each.name for each in tmp_path.iterdir()] == [name]


# Errors of the system and of the caller


class PatienceError(RuntimeError):
    """A time-out of the caller's."""


FAULTS: list[BaseException] = [
    OSError(number, os.strerror(number)) for number in (errno.EDQUOT, errno.EFBIG, errno.ENOSPC, errno.EIO)
]
INTERRUPTS: list[BaseException] = [
    KeyboardInterrupt(),
    TimeoutError("the caller's own"),
    PatienceError("enough"),
    ValueError("enough"),
]


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("fault", FAULTS + INTERRUPTS, ids=repr)
def test_what_stops_a_write_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, exists: bool
) -> None:
    path = tmp_path / "a.h5"
    if exists:
        io.save_hdf5(path, image_of())
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    write = os.write
    for count in range(3):
        left = iter(range(count))

        def limited(descriptor: int, data: Any, left: Iterator[int] = left) -> int:
            if next(left, None) is None:
                raise fault
            return write(descriptor, data)

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", limited)
            with pytest.raises(type(fault)) as caught:
                io.save_hdf5(path, image_of("f8", (40, 30, 20)), compression=None)
        assert not isinstance(caught.value, io.ImageFileError)
        if fault in FAULTS:
            assert (caught.value.errno, caught.value.filename) == (fault.errno, str(path))  # type: ignore[attr-defined]
        assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before


@pytest.mark.parametrize("fault", INTERRUPTS, ids=repr)
def test_what_stops_a_read_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> None:
    """As a signal handler does it, in the middle of the reader."""
    io.save_hdf5(tmp_path / "a.h5", image_of())

    def interrupt(*_: object) -> None:
        raise fault

    monkeypatch.setattr(mj.Metadata, "from_json", interrupt)
    with pytest.raises(type(fault)) as caught:
        io.load_hdf5(tmp_path / "a.h5")
    assert caught.value is fault


def test_memory_that_ends_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io.save_hdf5(tmp_path / "a.h5", image_of())

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 8.00 GiB")

    monkeypatch.setattr(np, "empty", exhausted)
    with pytest.raises(io.ImageFileError, match=r"more memory than this machine has free \(Unable to allocate 8"):
        io.load_hdf5(tmp_path / "a.h5")


# Names in a store


def test_an_image_may_have_any_name(tmp_path: Path) -> None:
    """Names that stand for something in the layouts are names; five of these made the group an image of ITK."""
    path, names = tmp_path / "a.h5", ["Dimension", "Directions", "Origin", "Spacing", "VoxelData", "voxels", "metadata"]
    for name in names:
        io.save_hdf5(path, image_of(), "g", name)
    assert sorted(entry.name for entry in io.list_hdf5(path)) == sorted(names)
    for name in names:
        assert_same(io.load_hdf5(path, "g", name), image_of())
