"""The HDF5 store between processes: one writer at a time, and killed at any moment."""

from __future__ import annotations

import errno
import itertools
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hdf5_cases import assert_same, image_of, in_other_process

import medjax as mj
from medjax import io

# Private: the locks that readers and writers of a file take.
from medjax.io._hdf5 import _access

# One writer at a time


TRY_ALL = """
import sys, numpy as np, medjax as mj
from medjax import io
image = mj.Image.from_array(np.zeros((2, 2, 2)))
for call in (lambda: io.save_hdf5(sys.argv[1], image), lambda: io.list_hdf5(sys.argv[1])):
    try:
        call()
        print("done")
    except io.ImageFileError as error:
        print(error)
"""


def test_a_second_process_gets_a_clear_message(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    io.save_hdf5(path, image_of())
    with _access.appending(path):
        found = in_other_process(TRY_ALL, path).stdout.splitlines()
    assert len(found) == 2
    assert all("open for writing by another process" in line and "try again" in line for line in found)
    with _access.reading(path):  # readers do not disturb each other
        found = in_other_process(TRY_ALL, path).stdout.splitlines()
    assert "open" in found[0]
    assert found[1] == "done"
    assert in_other_process(TRY_ALL, path).stdout.split() == ["done", "done"]


def test_another_hdf5_program_is_noticed(tmp_path: Path) -> None:
    """The lock is HDF5's own, so it holds between medjax and any other program."""
    path = tmp_path / "a.h5"
    io.save_hdf5(path, image_of())
    code = "import h5py, sys; h5py.File(sys.argv[1], 'r+')"
    with _access.appending(path):
        assert "BlockingIOError" in in_other_process(code, path).stderr
    other = "import h5py, sys; file = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", other, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(io.ImageFileError, match="open for writing by another process"):
            io.save_hdf5(path, image_of())
        with pytest.raises(io.ImageFileError, match="open for writing by another process"):
            io.load_hdf5(path)
        process.kill()


def test_two_creators_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file appears after this process looked for it and before it puts its own in place."""
    path, other = tmp_path / "a.h5", image_of("f8")
    link = os.link

    def appear_first(source: Any, target: Any) -> None:
        monkeypatch.setattr(os, "link", link)
        io.save_hdf5(path, other, name="other")
        link(source, target)

    monkeypatch.setattr(os, "link", appear_first)
    io.save_hdf5(path, image_of(), name="mine")
    assert_same(io.load_hdf5(path, name="other"), other)
    assert_same(io.load_hdf5(path, name="mine"), image_of())
    assert [each.name for each in tmp_path.iterdir()] == ["a.h5"]


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    io.save_hdf5(tmp_path / "a.h5", image_of())
    assert_same(io.load_hdf5(tmp_path / "a.h5"), image_of())


def test_threads_read_side_by_side(tmp_path: Path) -> None:
    image = image_of("i2", (140, 130, 40))
    for name in "abcd":
        io.save_hdf5(tmp_path / "a.h5", image, name=name)
    found: dict[str, mj.Image] = {}
    threads = [
        threading.Thread(target=lambda n=name: found.update({n: io.load_hdf5(tmp_path / "a.h5", name=n)}))
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list("abcd")
    for loaded in found.values():
        assert_same(loaded, image)


# Crashes

EVERY_CRASH = """
import os, shutil, sys
import numpy as np, h5py
import medjax as mj
from medjax import io

folder, action = sys.argv[1], sys.argv[2]
base, path = f"{folder}/base.h5", f"{folder}/crashed.h5"

def image(n):
    return mj.Image.from_array(np.full((7, 6, 5), n, np.int16), metadata=mj.Metadata(extra={"n": n, "x": "y" * 5000}))

for n in range(12):  # enough that HDF5 splits nodes of its index
    io.save_hdf5(base, image(n), name=f"{n:03}")

def change():
    if action == "append":
        io.save_hdf5(path, image(12), name="012")
    else:
        io.delete_hdf5(path, "images", "003")

after = {f"{n:03}" for n in range(13)} if action == "append" else {f"{n:03}" for n in range(12)} - {"003"}
before = {f"{n:03}" for n in range(12)}

def crash_at(step, is_torn):
    count = 0
    real_write, fsync, ftruncate = os.write, os.fsync, os.ftruncate
    def due():
        nonlocal count
        count += 1
        return count == step
    def write(descriptor, data):
        if due():
            if is_torn:
                real_write(descriptor, memoryview(data)[: len(data) // 2])
            os._exit(9)
        return real_write(descriptor, data)
    def other(real):
        def call(*arguments):
            if due():
                os._exit(9)
            real(*arguments)
        return call
    os.write, os.fsync, os.ftruncate = write, other(fsync), other(ftruncate)
    change()
    os._exit(0)

def names(file):
    return {entry.name for entry in io.list_hdf5(file)}

states = []
for is_torn in (False, True):
    step = 0
    while True:
        step += 1
        shutil.copy(base, path)
        pid = os.fork()
        if pid == 0:
            crash_at(step, is_torn)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found = names(path)
        assert found in (before, after), (step, sorted(found))
        for name in found:
            loaded = io.load_hdf5(path, name=name)
            assert (loaded.voxels == int(name)).all() and loaded.metadata == image(int(name)).metadata, (step, name)
        states.append(found == after)
        pending = os.path.getsize(path), found
        io.save_hdf5(path, image(99), name="099")  # the next writer goes on, and HDF5 alone reads the result
        with h5py.File(path, "r") as file:
            assert set(file["images"]) == found | {"099"}, step
            assert all((file[f"images/{name}/voxels"][()] == int(name)).all() for name in found), step
        if status == 0:
            assert found == after
            break
        assert status == 9, status
print(len(states), sum(states))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("action", ["append", "delete"])
def test_killed_at_every_step_of_a_change(tmp_path: Path, action: str) -> None:
    """After each write, half write, flush and cut: the images are those before or those after, each of them whole."""
    found = in_other_process(EVERY_CRASH, tmp_path, action)
    assert found.returncode == 0, found.stderr
    steps, after = map(int, found.stdout.split())
    assert steps > 15  # the crash points were really met,
    assert 4 <= after < steps  # on both sides of the commit


APPEND_FOR_EVER = """
import sys, numpy as np, medjax as mj
from medjax import io
rng = np.random.default_rng(0)
noise = rng.integers(0, 256, (96, 96, 64), dtype=np.uint8)
for n in range(int(sys.argv[2]), 100000):
    io.save_hdf5(sys.argv[1], mj.Image.from_array(noise + np.uint8(n % 256)), name=str(n))
    print(n, flush=True)
"""


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """A writer that is killed loses at most the image in flight; the next one goes on in the same file."""
    path, rng = tmp_path / "a.h5", random.Random(0)
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 64), dtype=np.uint8)
    done = -1
    for _ in range(4):
        command = [sys.executable, "-c", APPEND_FOR_EVER, str(path), str(done + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = int(process.stdout.readline())
            timer = threading.Timer(rng.uniform(0.0, 0.3), process.kill)
            timer.start()
            reported = [first, *(int(line) for line in process.stdout)]
        names = {int(entry.name) for entry in io.list_hdf5(path)}
        last = max(names)
        assert names == set(range(last + 1))
        assert reported[-1] <= last <= reported[-1] + 1
        for n in {first, reported[-1], last, rng.randint(0, last)}:
            np.testing.assert_array_equal(io.load_hdf5(path, name=str(n)).voxels, noise + np.uint8(n % 256))
        done = last
    assert done >= 8


KILLED_AFTER_THE_JOURNAL = """
import os, sys
from hdf5_cases import image_of
from medjax import io

flush, count = os.fsync, 0

def killing(descriptor):
    global count
    flush(descriptor)
    count += 1
    if count == 2:  # the data, then the journal
        os._exit(9)

os.fsync = killing
io.save_hdf5(sys.argv[1], image_of("f8"), name="new")
"""


def with_journal(path: Path) -> None:
    """A store with the image "old", whose writer was killed when the journal of "new" was on the disk."""
    io.save_hdf5(path, image_of(), name="old")
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2] / 'cases')!r})\n" + KILLED_AFTER_THE_JOURNAL
    assert in_other_process(code, path).returncode == 9
    assert path.read_bytes().endswith(b"medjax journal 1")


def test_a_journal_is_read_without_writing(tmp_path: Path) -> None:
    """A reader sees the commit that a killed writer began as done, and leaves completing it to the next writer."""
    path = tmp_path / "a.h5"
    with_journal(path)
    pending = path.read_bytes()
    assert {entry.name for entry in io.list_hdf5(path)} == {"old", "new"}
    assert_same(io.load_hdf5(path, name="new"), image_of("f8"))
    assert_same(io.load_hdf5(path, name="old"), image_of())
    assert path.read_bytes() == pending
    io.save_hdf5(path, image_of("u1"), name="newer")
    assert b"medjax journal" not in path.read_bytes()
    assert {entry.name for entry in io.list_hdf5(path)} == {"old", "new", "newer"}


def test_an_error_after_the_journal_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails while blocks are put in place: cutting the journal off then would leave a half-changed file."""
    path = tmp_path / "a.h5"
    io.save_hdf5(path, image_of(), name="old")

    flush, write, flushes, writes = os.fsync, os.write, itertools.count(1), itertools.count(1)

    def fail_half_way(descriptor: int, data: Any) -> int:
        if next(writes) > 1:  # half of the first block is in its place
            raise OSError(errno.EIO, "Input/output error")
        return write(descriptor, data[: len(data) // 2])

    def flushed(descriptor: int) -> None:
        flush(descriptor)
        if next(flushes) == 2:  # the data, then the journal
            patched.setattr(os, "write", fail_half_way)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", flushed)
        with pytest.raises(OSError, match="Input/output error"):
            io.save_hdf5(path, image_of("f8"), name="new")
    assert {entry.name for entry in io.list_hdf5(path)} == {"old", "new"}
    assert_same(io.load_hdf5(path, name="new"), image_of("f8"))


@pytest.mark.parametrize("damage", ["records", "digest", "length", "cut"])
def test_a_damaged_journal_is_no_journal(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.h5"
    with_journal(path)
    data = bytearray(path.read_bytes())
    at = {"records": -60, "digest": -20, "length": -48, "cut": 0}[damage]
    if damage == "cut":
        del data[-5:]
    else:
        data[at] ^= 1
    path.write_bytes(data)
    assert [entry.name for entry in io.list_hdf5(path)] == ["old"]
    assert_same(io.load_hdf5(path), image_of())


def test_a_file_that_is_replaced_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal looked for and the images listed must be those of one file."""
    path, other = tmp_path / "a.h5", tmp_path / "other.h5"
    io.save_hdf5(path, image_of("u1"), name="replaced")
    with_journal(other)
    opened = h5py.File

    def replaced_first(*arguments: Any) -> h5py.File:
        if other.exists():
            other.replace(path)
        return opened(*arguments)

    monkeypatch.setattr(h5py, "File", replaced_first)
    assert_same(io.load_hdf5(path, name="new"), image_of("f8"))
