"""The cache: exact, never stale, never half written, shared by processes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from cohorts import SHAPE, held, labels, scan, volume, write
from processes import said_by, started

import medjax as mj
from medjax.data import Case, Cohort, cache

# Private: another release of medjax, whose entries are built anew.
KINDS: dict[str, Any] = {"ct": "intensity", "seg": "label"}
FACTOR = 2


def as_is(case: Case) -> Case:
    return case


def scaled(case: Case) -> dict[str, mj.Image]:
    return {"ct": case["ct"].with_voxels(np.asarray(case["ct"].voxels) * FACTOR), "seg": case["seg"]}


def states(report: Any) -> tuple[list[str], list[str]]:
    return sorted(report.built), sorted(report.kept)


def test_an_entry_holds_an_image_exactly(tmp_path: Path) -> None:
    """Geometry to the last bit of float64, dtype, kind and metadata; MONAI's cache lost the metadata (#8599)."""
    affine = np.eye(4)
    affine[:3] = np.random.default_rng(0).normal(size=(3, 4)) / 3
    metadata = mj.Metadata(modality="PT", patient_id="é", extra={"Units": "BQML", "Deep": [1, {"a": 0.1}]})
    image = mj.Image.from_array(volume(3), affine=affine, metadata=metadata)
    channels = mj.Image.from_array(np.ones((*SHAPE, 2), np.float32), affine=affine)
    half = mj.Image.from_array(jax.numpy.asarray(volume(0), "bfloat16"), affine=affine)
    wide = mj.Image.from_array(np.full(SHAPE, 2**40), affine=affine, kind="label")
    row = {
        "case": "a",
        "ct": image,
        "two/α": channels,
        "half": half,
        "mask": wide,
        "bits": wide.with_voxels(volume(0) > 9),
    }
    case = cache(Cohort.of([row]), tmp_path / "cache")[0]
    for role, wanted in row.items():
        if role != "case":
            found = case[role]
            np.testing.assert_array_equal(found.voxels, np.asarray(wanted.voxels), strict=True)  # type: ignore[attr-defined]
            np.testing.assert_array_equal(found.affine, wanted.affine, strict=True)  # type: ignore[attr-defined]
            assert (found.kind, found.metadata) == (wanted.kind, wanted.metadata)  # type: ignore[attr-defined]
            assert not found.voxels.flags.writeable
    base = case["ct"].voxels
    while not isinstance(base, np.memmap):
        base = base.base
    assert base.flags.c_contiguous


def test_prepared_once_and_found_again(tmp_path: Path) -> None:
    cohort = Cohort.of(write(tmp_path / "data"), kinds=KINDS)
    first = cache(cohort, tmp_path / "cache", scaled)
    assert states(first.report) == (["c0", "c1", "c2"], [])
    again = cache(cohort[::-1], tmp_path / "cache", scaled)
    assert states(again.report) == ([], ["c0", "c1", "c2"])
    assert again.names == ("c2", "c1", "c0")
    np.testing.assert_array_equal(again["c1"]["ct"].voxels, volume(1) * 2)
    assert again["c1"].patient == "p0"
    assert "3 cases" in str(again.report)


def changed_file(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    path = Path(rows[1]["ct"])
    status = path.stat()
    mj.save_image(scan(7), path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))  # even within the clock's tick
    return {}


def changed_constant(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setitem(globals(), "FACTOR", 3)
    return {}


def changed_value(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    rows[1]["age"] = 62
    return {}


CHANGES: dict[str, tuple[Any, list[str]]] = {
    "nothing": (lambda rows, patch: {}, []),
    "a file": (changed_file, ["c1"]),
    "a constant that prepare reads (MONAI #999)": (changed_constant, ["c0", "c1", "c2"]),
    "the function": (lambda rows, patch: {"prepare": as_is}, ["c0", "c1", "c2"]),
    "a value that prepare may read": (changed_value, ["c1"]),
    "the version": (lambda rows, patch: {"version": "2"}, ["c0", "c1", "c2"]),
    "the classes": (lambda rows, patch: {"classes": "seg"}, ["c0", "c1", "c2"]),
    "the release": (
        lambda rows, patch: patch.setattr("medjax.data._cache.__version__", "9.9.1") or {},
        ["c0", "c1", "c2"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_is_rebuilt_and_nothing_else(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**row, "age": 61} for row in write(tmp_path / "data")]
    arguments: dict[str, Any] = {"prepare": scaled}
    cache(Cohort.of(rows, kinds=KINDS), tmp_path / "cache", **arguments)
    make, built = CHANGES[change]
    arguments |= make(rows, monkeypatch)
    after = cache(Cohort.of(rows, kinds=KINDS), tmp_path / "cache", **arguments)
    assert sorted(after.report.built) == built
    right = (arguments["prepare"](case) for case in Cohort.of(rows, kinds=KINDS))
    for case, wanted in zip(after, right, strict=True):
        np.testing.assert_array_equal(case["ct"].voxels, wanted["ct"].voxels)


def test_the_kind_of_a_role_is_part_of_an_entry(tmp_path: Path) -> None:
    rows = write(tmp_path / "data", 1)
    for kind in ("label", "intensity"):
        cached = cache(Cohort.of(rows, kinds={"seg": kind}), tmp_path / "cache")  # type: ignore[dict-item]
        assert (cached[0]["seg"].kind, len(cached.report.built)) == (kind, 1)


def test_files_beside_a_header_count(tmp_path: Path) -> None:
    """A detached header does not change when its voxels do."""
    for name in ("a.mhd", "b.nhdr", "c.hdr"):
        mj.save_image(scan(1), tmp_path / name, compress=False)
    rows = [{"case": path.stem, "ct": str(path)} for path in sorted(tmp_path.glob("*.*hd*"))]
    assert len(rows) == 3
    cache(Cohort.of(rows), tmp_path / "cache")
    for path in [*tmp_path.glob("*.raw"), *tmp_path.glob("*.img")]:
        data = path.read_bytes()
        path.write_bytes(data[:-2] + b"\1\1")
    assert len(cache(Cohort.of(rows), tmp_path / "cache").report.built) == 3


def test_by_content_a_moved_folder_is_known_and_a_touched_file_too(tmp_path: Path) -> None:
    rows = write(tmp_path / "data")
    stat, content = ({"by": by} for by in ("stat", "content"))
    for options in (stat, content):
        cache(Cohort.of(rows), tmp_path / "cache", **options)  # type: ignore[arg-type]
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = [{k: str(v).replace("/data/", "/moved/") for k, v in row.items()} for row in rows]
    assert states(cache(Cohort.of(moved), tmp_path / "cache", **content).report)[0] == []  # type: ignore[arg-type]
    assert len(cache(Cohort.of(moved), tmp_path / "cache", **stat).report.built) == 3  # type: ignore[arg-type]
    path = Path(moved[0]["ct"])
    status = path.stat()
    mj.save_image(scan(5), path)  # other voxels, and a clock that has not moved
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list(cache(Cohort.of(moved), tmp_path / "cache", **content).report.built) == ["c0"]  # type: ignore[arg-type]


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("damage", ["voxels", "record", "gone", "table"])
def test_a_damaged_entry_is_rebuilt(damage: str, tmp_path: Path) -> None:
    cohort = held(1)
    cache(cohort, tmp_path, classes="seg")
    (entry,) = entries(tmp_path)
    if damage == "record":
        (entry / "row.json").write_text("{")
    elif damage == "gone":
        (entry / "seg.npy").unlink()
    else:
        path = entry / ("ct.npy" if damage == "voxels" else "seg.table.npy")
        os.truncate(path, path.stat().st_size - 1)
    again = cache(cohort, tmp_path, classes="seg")
    assert list(again.report.built) == ["c0"]
    np.testing.assert_array_equal(again[0]["ct"].voxels, volume(0))
    assert entries(tmp_path) == [entry]


def test_an_entry_that_is_damaged_later_says_so(tmp_path: Path) -> None:
    cached = cache(held(1), tmp_path)
    path = entries(tmp_path)[0] / "ct.npy"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(
        mj.ImageFileError, match=r"\(case 'c0'\), role 'ct'.*entry is damaged.*call mj.data.cache again"
    ):
        cached[0]["ct"]


def test_statistics_and_classes(tmp_path: Path) -> None:
    """Against NumPy's own of the same voxels."""
    voxels = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    voxels[0, 0, 0] = np.nan
    floating = mj.Image.from_array(voxels, affine=labels(1).affine)
    mask = np.asarray(labels(1).voxels) != 0
    row = {"case": "a", "ct": scan(1), "seg": labels(1), "mr": floating}
    cached = cache(Cohort.of([row]), tmp_path, classes="seg")
    case = cached.in_memory()[0]
    assert case.statistics == cached[0].statistics
    for role, all_values in (("ct", volume(1)), ("mr", voxels)):
        for part, values in (("whole", all_values), ("foreground", all_values[mask])):
            found, finite = case.statistics[role][part], values[np.isfinite(values)]
            assert (found["count"], found["not_finite"]) == (finite.size, values.size - finite.size)
            assert found["mean"] == pytest.approx(finite.mean(dtype=float), rel=1e-6)
            assert found["std"] == pytest.approx(finite.std(dtype=float), rel=1e-6)
            assert (found["min"], found["max"]) == (finite.min(), finite.max())
            wanted = np.percentile(finite, [float(p) for p in found["percentiles"]])
            np.testing.assert_allclose(list(found["percentiles"].values()), wanted, rtol=1e-6)
    assert case.statistics["seg"]["labels"] == {"0": mask.size - mask.sum(), "1": mask.sum()}
    for table in (case.class_table, cached[0].class_table):
        assert table is not None
        assert {tuple(index) for index in np.argwhere(mask)} == {tuple(index) for index in np.asarray(table.voxels[1])}
        assert table.counts == {1: mask.sum()}
    assert cache(Cohort.of([row]), tmp_path)[0].class_table is None


def test_in_memory_needs_no_files(tmp_path: Path) -> None:
    cached = cache(held(2), tmp_path / "cache", classes="seg")
    memory = cached.in_memory()
    for path in (tmp_path / "cache").rglob("*.npy"):
        path.unlink()
    np.testing.assert_array_equal(memory[1]["ct"].voxels, volume(1))
    assert (memory.names, memory.report) == (cached.names, cached.report)
    with pytest.raises(AttributeError, match="comes from no cache"):
        held(1).report  # noqa: B018


def test_failures_name_the_row_or_are_left_out(tmp_path: Path) -> None:
    def prepare(case: Case) -> Case:
        if case.name == "c1":
            raise ValueError("too thin")
        return case

    with pytest.raises(ValueError, match=r"row 1 \(case 'c1'\), in prepare: too thin"):
        cache(held(3), tmp_path, prepare)
    left = cache(held(3), tmp_path, prepare, on_error="skip", threads=2)
    assert (left.names, set(left.report.skipped)) == (("c0", "c2"), {"c1"})
    assert "too thin" in left.report.skipped["c1"]
    with pytest.raises(ValueError, match=r"no case could be prepared; the first: ValueError: row 1 .*too thin"):
        cache(held(3)[1:2], tmp_path, prepare, on_error="skip")


def test_a_damaged_file_names_its_row(tmp_path: Path) -> None:
    rows = write(tmp_path / "data")
    Path(rows[2]["ct"]).write_bytes(b"no image")
    with pytest.raises(mj.ImageFileError, match=r"ct.nii.gz: row 2 \(case 'c2'\), role 'ct'"):
        cache(Cohort.of(rows), tmp_path / "cache")


RETURNED: list[tuple[str, Any]] = [
    ("prepare must return a case or a mapping from role to Image, got Image", lambda case: case["ct"]),
    ("prepare returned ndarray under 'ct'", lambda case: {"ct": np.zeros(3)}),
    (
        r"role 'ct': prepare must return single, concrete images, got Image\(batch",
        lambda case: {"ct": mj.stack([case["ct"]])},
    ),
    ("prepare returned no image", lambda case: {}),
    ("role 'seg': classes must be labels without channels", lambda case: {"seg": case["ct"]}),
    ("classes names 'seg', which no prepared case has; there are ct", lambda case: {"ct": case["ct"]}),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("message", "prepare"), RETURNED)
def test_what_prepare_must_not_return(message: str, prepare: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        cache(held(1), tmp_path, prepare, classes="seg")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "arguments", [{"version": 1}, {"classes": 1}, {"by": "name"}, {"on_error": "warn"}, {"threads": 0}, {"prepare": 3}]
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(arguments))} must be"):
        cache(held(1), tmp_path, **arguments)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="folder must be a folder"):
        cache(held(1), tmp_path / "file")


def test_a_file_that_changes_while_it_is_read_makes_no_entry(tmp_path: Path) -> None:
    rows = write(tmp_path / "data", 1)

    def prepare(case: Case) -> Case:
        dict(case)
        mj.save_image(scan(9), rows[0]["ct"])
        return case

    with pytest.raises(ValueError, match=r"case 'c0'\): its files changed while they were read"):
        cache(Cohort.of(rows), tmp_path / "cache", prepare)
    assert entries(tmp_path / "cache") == []


def test_a_kill_leaves_no_half_entry(tmp_path: Path) -> None:
    """`kill -9` while an entry is being written, three times; the next run finds whole entries, and clears the rest away."""
    seen = 0
    for _ in range(3):
        process = started("cache", tmp_path, 6, 96)
        while process.poll() is None and not (parts := list(tmp_path.glob(".*.part"))):
            time.sleep(0.0005)
        process.kill()
        process.communicate()
        seen += bool(parts)
        for entry in entries(tmp_path):
            assert {path.name for path in entry.iterdir()} == {"ct.npy", "seg.npy", "seg.table.npy", "row.json"}
            shape = np.load(entry / "ct.npy", mmap_mode="r").shape
            assert shape[0] == 96
    assert seen, "no kill fell into the writing of an entry"
    (said,) = said_by(started("cache", tmp_path, 6, 96))
    assert sorted(said["built"] + said["kept"]) == [f"c{n}" for n in range(6)]
    assert list(tmp_path.glob(".*.part")) == []
    assert len(entries(tmp_path)) == 6


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    said = [said_by(process)[0] for process in [started("cache", tmp_path, 8, 64) for _ in range(2)]]
    assert sorted(said[0]["built"] + said[1]["built"]) == [f"c{n}" for n in range(8)]
    for each in said:
        assert sorted(each["built"] + each["kept"]) == [f"c{n}" for n in range(8)]
    assert len(entries(tmp_path)) == 8
