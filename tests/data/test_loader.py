"""The loader: what a batch holds, and that it depends on the seed and its number alone."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from cohorts import SHAPE, held, labels, scan, volume, write

import medjax as mj
from medjax.data import Batch, Cohort, Loader, cache
from medjax.data._order import BucketOrder, PlainOrder
from medjax.data._reading import bucket_of

# Private: orders, number by number, without reading a volume for each.
SHAPES = [(6, 5, 4), (7, 5, 4), (6, 5, 4), (12, 5, 4), (6, 9, 4)]


def first(loader: Loader, count: int) -> list[Batch]:
    return list(itertools.islice(iter(loader), count))


def same(one: Batch, other: Batch) -> bool:
    leaves = [jax.tree.leaves((b.images, jax.random.key_data(b.keys), b.rows, b.step, b.extent)) for b in (one, other)]
    return all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))


def test_a_batch_holds_images_keys_rows_and_step() -> None:
    cohort = held(5)
    for number, batch in enumerate(first(Loader(cohort, batch_size=3, seed=2), 4)):
        assert batch.step == number
        assert set(batch.images) == {"ct", "seg"}
        ct, seg = batch.images["ct"], batch.images["seg"]
        assert isinstance(ct.voxels, jax.Array)
        assert (ct.voxels.shape, ct.dtype, ct.kind, seg.kind) == ((3, *SHAPE), np.int16, "intensity", "label")
        for item, row in enumerate(batch.rows.tolist()):
            np.testing.assert_array_equal(ct.voxels[item], volume(row))
            np.testing.assert_array_equal(ct.affine[item], scan(row).affine, strict=True)
        assert batch.extent is None


def test_metadata_stay_with_their_scan() -> None:
    rows = [{"case": f"c{n}", "ct": scan(n, metadata=mj.Metadata(patient_id=str(n)))} for n in range(4)]
    for batch in first(Loader(Cohort.of(rows), batch_size=3), 3):
        found = [metadata.patient_id for metadata in batch.images["ct"].metadata]  # type: ignore[union-attr]
        assert found == [str(row) for row in batch.rows]


def test_a_batch_goes_whole_through_jit_without_compiling_anew(compilations: Any) -> None:
    @jax.jit
    def step(batch: Batch) -> Any:
        return batch.images["ct"].voxels.sum(), jax.vmap(jax.random.uniform)(batch.keys), batch.step

    batches = first(Loader(held(3), batch_size=2), 3)
    step(batches[0])
    with compilations:
        assert [int(step(batch)[2]) for batch in batches] == [0, 1, 2]
    assert compilations.count == 0


def test_keys_are_those_of_the_rule_and_never_repeat() -> None:
    """`fold_in(fold_in(key(seed), n >> 31), n & 0x7fffffff)`; equal seeds in workers gave PyTorch's users equal noise."""
    loader = Loader(held(3), batch_size=3, seed=5)
    found = np.concatenate([jax.random.key_data(batch.keys) for batch in first(loader, 6)])
    assert len({tuple(key) for key in found}) == 18
    for n in (0, 7, 17):
        wanted = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 0), n)
        np.testing.assert_array_equal(found[n], jax.random.key_data(wanted))
    far = loader.batch(2**31 // 3 + 5)
    n = 3 * far.step
    wanted = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), n >> 31), n & 0x7FFFFFFF)
    np.testing.assert_array_equal(jax.random.key_data(far.keys[0]), jax.random.key_data(wanted))


def test_every_epoch_has_each_case_once_in_an_order_of_its_own() -> None:
    rows = np.concatenate([batch.rows for batch in first(Loader(held(7), batch_size=2, seed=1), 14)])
    epochs = rows.reshape(4, 7).tolist()
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    other = np.concatenate([batch.rows for batch in first(Loader(held(7), batch_size=2, seed=2), 4)])
    assert other.tolist() != rows[:8].tolist()
    plain = np.concatenate([batch.rows for batch in first(Loader(held(3), batch_size=2, shuffle=False), 3)])
    assert plain.tolist() == [0, 1, 2, 0, 1, 2]


def test_the_order_is_kept_from_release_to_release() -> None:
    """A run is resumed with another NumPy: these numbers must not change."""
    order = PlainOrder(10, 4, 7, shuffle=True)
    assert [order.row(step, position) for step in range(5) for position in range(4)] == KNOWN


KNOWN = [2, 5, 7, 8, 1, 9, 3, 4, 0, 6, 9, 2, 0, 4, 1, 8, 5, 3, 7, 6]


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 1}, {"threads": 5}, {"prefetch": 0}, {"prefetch": 6}])
def test_threads_and_prefetching_change_nothing(options: dict[str, Any]) -> None:
    cohort = held(5)
    plain, other = (first(Loader(cohort, batch_size=2, patch=(4, 4, 3), seed=3, **more), 6) for more in ({}, options))
    assert all(same(a, b) for a, b in zip(plain, other, strict=True))


def test_it_goes_on_where_it_was_told_to() -> None:
    loader = Loader(held(5), batch_size=2, patch=(4, 4, 3), seed=3)
    seen = first(loader, 9)
    assert loader.state()["step"] == 9
    state = json.loads(json.dumps(loader.state() | {"step": 4}))
    for other in (loader.at(4), loader.at(state), Loader(held(5), batch_size=2, patch=(4, 4, 3), seed=3, start=state)):
        assert all(same(a, b) for a, b in zip(first(other, 5), seen[4:], strict=True))
    assert same(loader.batch(6), seen[6])
    assert next(iter(loader)).step == 9, "a second loop goes on"


def test_the_state_of_another_stream_is_refused() -> None:
    state = Loader(held(5), batch_size=2, seed=3).state()
    for other in ({"batch_size": 3}, {"seed": 4}, {"patch": 3}, {"roles": ["ct"]}, {"shuffle": False}):
        with pytest.raises(ValueError, match=r"state of another stream.*give start=0 if that is meant"):
            Loader(held(5), **({"batch_size": 2, "seed": 3} | other), start=state)
    with pytest.raises(ValueError, match="state of another stream"):
        Loader(held(4), batch_size=2, seed=3, start=state)


def test_a_loop_of_epochs_ends_and_the_next_one_goes_on() -> None:
    loader = Loader(held(5), batch_size=2, epochs=1, shuffle=False)
    loops = [[batch.rows.tolist() for batch in loader] for _ in range(3)]
    assert loops == [[[0, 1], [2, 3], [4, 0]], [[1, 2], [3, 4]], [[0, 1], [2, 3], [4, 0]]]


def test_patches_lie_where_their_geometry_says() -> None:
    """The value of a voxel says where it lies in its scan; so does the affine of the patch."""
    cohort, starts = held(4), set()
    for batch in first(Loader(cohort, batch_size=2, patch=(3, 2, 2), seed=0), 12):
        ct, seg = batch.images["ct"], batch.images["seg"]
        assert ct.shape == seg.shape == (3, 2, 2)
        for item, row in enumerate(batch.rows.tolist()):
            whole = cohort[row]
            start = np.linalg.solve(whole["ct"].affine, ct.affine[item] @ [0, 0, 0, 1])[:3]
            i, j, k = np.round(start).astype(int)
            np.testing.assert_allclose(start, (i, j, k), atol=1e-9)
            np.testing.assert_array_equal(ct.voxels[item], volume(row)[i : i + 3, j : j + 2, k : k + 2])
            np.testing.assert_array_equal(
                seg.voxels[item], np.asarray(whole["seg"].voxels)[i : i + 3, j : j + 2, k : k + 2]
            )
            np.testing.assert_array_equal(seg.affine[item], ct.affine[item])
            starts.add((i, j, k))
    assert len(starts) > 12


def test_a_patch_larger_than_the_scan_is_padded_by_the_background() -> None:
    voxels = np.full(SHAPE, -1000, np.int16)
    voxels[2:4, 2:4, 2] = 50
    cohort = Cohort.of([{"case": "a", "ct": mj.Image.from_array(voxels), "seg": labels(0)}], check_patients=False)
    rows = [{"case": "a", "ct": mj.Image.from_array(voxels, affine=labels(0).affine), "seg": labels(0)}]
    with pytest.raises(
        ValueError, match=r"row 0 \(case 'a'\): .*role 'seg' lies on another grid than role 'ct'.*in prepare"
    ):
        Loader(cohort, batch_size=1, patch=(9, 5, 4)).batch(0)
    batch = Loader(Cohort.of(rows), batch_size=1, patch=(9, 5, 4)).batch(0)
    found = np.asarray(batch.images["ct"].voxels)[0]
    np.testing.assert_array_equal(found[:6], voxels)
    assert (found[6:] == -1000).all()
    assert (found.dtype, int(batch.images["seg"].voxels[0, 6:].sum())) == (np.int16, 0)


def ragged(folder: Path) -> Cohort:
    return cache(Cohort.of(write(folder / "data", 5, shapes=SHAPES)), folder / "cache")


def test_ragged_shapes_need_a_way(tmp_path: Path) -> None:
    cohort = ragged(tmp_path)
    with pytest.raises(ValueError, match=r"row 0 .*has shape \(6, 5, 4\), row 1 .*has \(7, 5, 4\); give patch="):
        Loader(cohort, batch_size=2)
    files = Cohort.of([{"case": n, "ct": str(tmp_path / "data" / n / "ct.nii.gz")} for n in ("c0", "c1")])
    with pytest.raises(ValueError, match=r"role 'ct': case 'c.' has shape.*give patch=, pad_to= or group="):
        first(Loader(files, batch_size=2), 1)
    assert [b.images["ct"].shape for b in first(Loader(cohort, batch_size=1, shuffle=False), 2)] == SHAPES[:2]


def test_padding_to_a_size(tmp_path: Path) -> None:
    cohort = ragged(tmp_path)
    for batch in first(Loader(cohort, batch_size=2, pad_to=(8, 6, 4)), 3):
        for item, row in enumerate(batch.rows.tolist()):
            wanted = mj.crop_or_pad(cohort[row]["ct"], (8, 6, 4))
            np.testing.assert_array_equal(batch.images["ct"].voxels[item], wanted.voxels)
            np.testing.assert_array_equal(batch.images["ct"].affine[item], wanted.affine)


def test_buckets_hold_cases_of_about_one_size(tmp_path: Path) -> None:
    cohort = ragged(tmp_path)
    counts = np.zeros(5, int)
    for batch in first(Loader(cohort, batch_size=2, group="bucket", seed=4), 10):  # two blocks
        ct = batch.images["ct"]
        for item, row in enumerate(batch.rows.tolist()):
            counts[row] += 1
            assert ct.shape == bucket_of(SHAPES[row])
            assert tuple(np.asarray(batch.extent[item])) == SHAPES[row]
            i, j, k = SHAPES[row]
            np.testing.assert_array_equal(ct.voxels[item, :i, :j, :k], volume(row, SHAPES[row]))
    assert counts.tolist() == [4] * 5
    with pytest.raises(ValueError, match=r"row 0 \(case 'a'\): group='bucket' needs shapes before.*mj.data.cache"):
        Loader(Cohort.of([{"case": "a", "ct": str(tmp_path / "data/c0/ct.nii.gz")}]), group="bucket")


def test_bucket_order_is_exact() -> None:
    """Within a bucket every row comes once an epoch."""
    order = BucketOrder(["a", "b", "a", "a", "b"], 4, 9, shuffle=True)
    rows = [[order.row(step, position) for position in range(4)] for step in range(15)]
    assert all(set(batch) <= {0, 2, 3} or set(batch) <= {1, 4} for batch in rows)
    stream = [row for batch in rows for row in batch if row in (0, 2, 3)]
    assert all(sorted(stream[n : n + 3]) == [0, 2, 3] for n in range(0, 36, 3))
    assert np.bincount(np.ravel(rows)).tolist() == [12] * 5


def test_roles(tmp_path: Path) -> None:
    rows = [{"case": "a", "ct": scan(0), "seg": labels(0)}, {"case": "b", "ct": scan(1)}]
    assert set(Loader(Cohort.of(rows), roles=["ct"]).batch(0).images) == {"ct"}
    with pytest.raises(
        ValueError,
        match=r"row 1 \(case 'b'\): has no role 'seg', which others have: leave the case out, or load roles=\['ct'\]",
    ):
        Loader(Cohort.of(rows))
    with pytest.raises(ValueError, match=r"has no role 'sge'; did you mean 'seg'"):
        Loader(Cohort.of(rows), roles=["sge"])


def test_wide_labels_are_not_cut_off() -> None:
    rows = [{"case": "a", "seg": mj.Image.from_array(np.full(SHAPE, value), kind="label")} for value in (7, 2**40)]
    assert int(Loader(Cohort.of(rows[:1]), batch_size=1).batch(0).images["seg"].voxels.max()) == 7
    with pytest.raises(ValueError, match="role 'seg', cases a: int64 holds values that int32 does not"):
        Loader(Cohort.of(rows[1:]), batch_size=1).batch(0)


def test_an_error_while_reading_names_the_case(tmp_path: Path) -> None:
    rows = write(tmp_path, 2)
    loader = Loader(Cohort.of(rows), batch_size=2)
    Path(rows[1]["ct"]).write_bytes(b"gone bad")
    with pytest.raises(mj.ImageFileError, match=r"ct.nii.gz: row 1 \(case 'c1'\), role 'ct'"):
        first(loader, 1)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("batch_size must be a whole number of at least 1, got 0", {"batch_size": 0}),
    ("batch_size must be a whole number of at least 1, got 2.0", {"batch_size": 2.0}),
    ("seed must be a whole number of at least 0, got -1", {"seed": -1}),
    (r"seed must be below 2\*\*32", {"seed": 2**32}),
    ("threads must be a whole number of at least 0", {"threads": -1}),
    ("epochs must be a whole number of at least 1", {"epochs": 0}),
    ("start must be a whole number of at least 0", {"start": -3}),
    ("start must be the number of a batch or the state", {"start": {"epoch": 2}}),
    ("give only one of patch, pad_to and group", {"patch": 3, "pad_to": 3}),
    ("group must be 'bucket' or None", {"group": "size"}),
    ("patch must be", {"patch": (3, 3)}),
    ("pad_to must be", {"pad_to": 0}),
    ("sharding must be a Mesh, a Sharding or a Device, got str", {"sharding": "cpu"}),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("message", "arguments"), WRONG)
def test_a_wrong_argument_is_named(message: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(held(3), **arguments)


def test_stats_and_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    loader = Loader(held(3), batch_size=2, progress=True, roles=["ct"])
    first(loader, 5)
    stats = loader.stats
    assert stats.steps == 5
    assert 0 <= stats.waited_s <= stats.seconds
    assert stats.n_bytes >= 5 * 2 * volume(0).nbytes
    assert stats.slowest in loader.cohort.names
    assert "5 steps" in str(stats)
    assert capsys.readouterr().err == "Loading Cohort(3 cases of 3 patients: ct, seg): ct (2, 6, 5, 4)\n"


def test_grain_is_loaded_by_the_loader_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys, medjax as mj; mj.data.Cohort, mj.data.cache, mj.data.Loader; assert 'grain' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    for name in [name for name in sys.modules if name.partition(".")[0] == "grain"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match=r'mj.data.Loader needs the package grain: pip install "medjax\[load\]"'):
        Loader(held(1))


def test_patches_about_a_class_come_from_the_table_of_the_cache(tmp_path: Path) -> None:
    """Every box with foreground=1 holds a voxel of the class, from files and from memory."""
    sampler = mj.patch.sampler(size=(2, 2, 2), foreground=1.0)
    cached = cache(held(4), tmp_path, classes="seg")
    for cohort in (cached, cached.in_memory()):
        for batch in first(Loader(cohort, batch_size=2, patch=sampler), 6):
            assert (np.asarray(batch.images["seg"].voxels).reshape(2, -1).max(axis=1) == 1).all()
    with pytest.raises(ValueError, match=r"\(case 'c.'\): foreground needs a class table; mj.data.cache"):
        Loader(held(4), batch_size=2, patch=sampler).batch(0)
    wide = Loader(cached, batch_size=2, patch=mj.patch.sampler(size=(2, 2, 2), margin=1)).batch(0)
    assert wide.images["ct"].shape == (4, 4, 4)


def test_reading_from_a_cache_parses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy reads the head of a .npy file by `ast.literal_eval`, which Python 3.11 cannot do in several threads at a time:
    "SystemError: AST constructor recursion depth mismatch", once in some thousand items."""
    cached = cache(held(4), tmp_path, classes="seg")
    loader = Loader(cached, batch_size=2, patch=mj.patch.sampler(size=(2, 2, 2), foreground=0.5), threads=0)
    expected = loader.batch(0)
    monkeypatch.setattr("ast.literal_eval", None)
    assert same(loader.batch(0), expected)
