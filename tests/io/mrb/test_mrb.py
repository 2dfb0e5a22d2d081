"""3D Slicer scenes: the chain of transforms, what becomes an image, and archives that mean harm.

Truth: scenes are made here, node by node, and the affine is multiplied out in RAS; `synthetic/truth.json` for the shared one.
"""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from itk_files import OBLIQUE, SHAPE, float_hash, metadata_of, rotation, voxels_of
from mutations import cost, loads_or_refuses, mutations
from shared_data import DATA, needs_data

import medjax as mj

VOXELS = voxels_of("i2")
CHILD = np.eye(4)
CHILD[:3, :3], CHILD[:3, 3] = rotation(0.1, -0.2, 0.3), (10, -20, 30)
PARENT = np.eye(4)
PARENT[:3, :3], PARENT[:3, 3] = rotation(-0.5, 0.05, 0.2) * 1.1, (1, 2, 3)
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def node(tag: str, **attributes: Any) -> str:
    return (
        f"<{tag} " + " ".join(f"{key}={quoteattr(str(value))}" for key, value in attributes.items()) + "></" + tag + ">"
    )


def numbers(matrix: np.ndarray) -> str:
    return " ".join(f"{number:.17g}" for number in matrix.ravel())


def linear(name: str, matrix: np.ndarray, parent: str | None = None) -> str:
    references = {"references": f"transform:{parent};"} if parent else {}
    return node("LinearTransform", id=name, name=name, matrixTransformToParent=numbers(matrix), **references)


def storage(name: str, file: str, tag: str = "VolumeArchetypeStorage") -> str:
    return node(tag, id=name, fileName=file)


def volume(name: str, stored: str = "s", transform: str | None = None, tag: str = "Volume", **attributes: Any) -> str:
    references = f"display:d1 d2;storage:{stored};" + (f"transform:{transform};" if transform else "")
    return node(tag, id=f"id of {name}", name=name, references=references, **attributes)


def file_bytes(folder: Path, image: mj.Image | None = None, name: str = "scan.mha") -> bytes:
    """The bytes that an image has in a file of its own."""
    mj.save_image(mj.Image.from_array(VOXELS, affine=OBLIQUE) if image is None else image, folder / name)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    return content


def scene(folder: Path, *nodes: str, **files: bytes) -> Path:
    """Writes an archive; files are named with an underscore for the point and lie in Data."""
    with zipfile.ZipFile(folder / "scene.mrb", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Scene/Scene.mrml", f'<MRML version="5">{"".join(nodes)}</MRML>')
        for file, content in files.items():
            archive.writestr(f"Scene/Data/{file.replace('_', '.')}", content)
    return folder / "scene.mrb"


def simple(folder: Path, *more: str, transform: str | None = None) -> Path:
    """A scene of one volume, and of more nodes."""
    nodes = (storage("s", "Data/scan.mha"), volume("CT", transform=transform), *more)
    return scene(folder, *nodes, scan_mha=file_bytes(folder))


def moved(*matrices: np.ndarray) -> np.ndarray:
    """The oblique affine with RAS transforms applied, the outermost first."""
    return TO_RAS @ np.linalg.multi_dot([np.eye(4), *matrices, TO_RAS @ OBLIQUE])


def test_parent_times_child_times_affine(tmp_path: Path) -> None:
    path = simple(tmp_path, linear("child", CHILD, "parent"), linear("parent", PARENT), transform="child")
    image = mj.io.load_mrb(path)["CT"]
    np.testing.assert_array_equal(image.voxels, VOXELS)
    np.testing.assert_allclose(image.affine, moved(PARENT, CHILD), atol=1e-12)  # rounding of numbers up to 100
    assert not np.allclose(image.affine, moved(CHILD, PARENT), atol=1)
    assert metadata_of(image).source == "scene.mrb"


def test_without_transform_the_affine_is_the_files(tmp_path: Path) -> None:
    image = mj.io.load_mrb(simple(tmp_path))["CT"]
    np.testing.assert_allclose(image.affine, OBLIQUE, rtol=4e-16)
    assert image.kind == "intensity"


@pytest.mark.parametrize(
    "second",
    [
        node("Volume", id="id of CT", name="PET", references="storage:s;"),
        node("View", id="id of CT"),
        storage("s", "Data/other.mha"),
    ],
    ids=["volume", "view", "storage"],
)
def test_two_nodes_of_one_id_are_refused(tmp_path: Path, second: str) -> None:
    with pytest.raises(mj.ImageFileError, match=r"two nodes of the id '(id of CT|s)': one would be lost"):
        mj.io.load_mrb(simple(tmp_path, second))


def test_two_views_of_one_id_do_no_harm(tmp_path: Path) -> None:
    assert set(mj.io.load_mrb(simple(tmp_path, *[node("View", id="v")] * 2))) == {"CT"}


def test_older_references(tmp_path: Path) -> None:
    nodes = (
        storage("s", "Data/scan.mha"),
        node("Volume", id="v", name="CT", storageNodeRef="s", transformNodeRef="child"),
        node("LinearTransform", id="child", matrixTransformToParent=numbers(CHILD), transformNodeRef="parent"),
        linear("parent", PARENT),
    )
    image = mj.load_image(scene(tmp_path, *nodes, scan_mha=file_bytes(tmp_path)))
    np.testing.assert_allclose(image.affine, moved(PARENT, CHILD), atol=1e-12)


def test_sheared_transform_is_kept_and_named(tmp_path: Path) -> None:
    shear = np.eye(4)
    shear[0, 1] = 0.5
    path = simple(tmp_path, linear("shear", shear), transform="shear")
    with pytest.warns(mj.ImageFileWarning, match="degrees off a right angle"):
        image = mj.io.load_mrb(path)["CT"]
    np.testing.assert_allclose(image.affine, moved(shear), atol=1e-13)


@pytest.mark.parametrize("written", ["Data/CT%20head%23.mha", "Data\\CT%20head%23.mha", "./Data/CT head#.mha"])
def test_file_names_are_unquoted(written: str, tmp_path: Path) -> None:
    path = tmp_path / "scene.mrb"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("My scene/My scene.mrml", f"<MRML>{storage('s', written)}{volume('CT')}</MRML>")
        archive.writestr("My scene/Data/CT head#.mha", file_bytes(tmp_path))
    np.testing.assert_array_equal(mj.load_image(path).voxels, VOXELS)


def test_kinds(tmp_path: Path) -> None:
    labels = mj.Image.from_array((VOXELS % 3).astype(np.uint8), affine=OBLIQUE)
    path = scene(
        tmp_path,
        *(
            storage("s", "Data/ct.mha"),
            storage("l", "Data/labels.mha"),
            storage("g", "Data/seg.seg.nrrd", "SegmentationStorage"),
        ),
        volume("CT"),
        volume("labels", "l", tag="LabelMapVolume"),
        volume("old labels", "l", labelMap="1"),
        volume("vectors", "s", tag="VectorVolume"),
        volume("segments", "g", tag="Segmentation"),
        ct_mha=file_bytes(tmp_path),
        labels_mha=file_bytes(tmp_path, labels),
        seg_seg_nrrd=file_bytes(tmp_path, labels.with_kind("label"), "x.seg.nrrd"),
    )
    images = mj.io.load_mrb(path)
    kinds = {name: image.kind for name, image in images.items()}
    assert kinds == {
        "CT": "intensity", "labels": "label", "old labels": "label", "vectors": "intensity", "segments": "label",
    }  # fmt: skip
    found = metadata_of(images["segments"]).display["segments"]
    assert [segment["label_value"] for segment in found] == [1, 2]


def test_names_that_come_again_are_numbered(tmp_path: Path) -> None:
    nodes = [
        volume("CT"),
        volume("CT").replace("id of CT", "b"),
        volume("CT (2)"),
        volume("CT").replace("id of CT", "c"),
    ]
    nodes.append(node("Volume", id="nameless", references="storage:s;"))
    path = scene(tmp_path, storage("s", "Data/scan.mha"), *nodes, scan_mha=file_bytes(tmp_path))
    assert list(mj.io.load_mrb(path)) == ["CT", "CT (2)", "CT (2) (2)", "CT (3)", "nameless"]


def test_saved_views_are_not_the_scene(tmp_path: Path) -> None:
    """Slicer's scene views hold copies of nodes, with other transforms."""
    view = "<SceneView id='w'>" + volume("CT", transform="child") + volume("old") + "</SceneView>"
    images = mj.io.load_mrb(simple(tmp_path, view, linear("child", CHILD)))
    assert list(images) == ["CT"]
    np.testing.assert_allclose(images["CT"].affine, OBLIQUE, rtol=4e-16)


def test_header_and_data_in_two_members(tmp_path: Path) -> None:
    mj.save_image(mj.Image.from_array(VOXELS, affine=OBLIQUE), tmp_path / "scan.mhd", compress=False)
    files = {"scan_mhd": (tmp_path / "scan.mhd").read_bytes(), "scan_raw": (tmp_path / "scan.raw").read_bytes()}
    path = scene(tmp_path, storage("s", "Data/scan.mhd"), volume("CT"), **files)
    np.testing.assert_array_equal(mj.load_image(path).voxels, VOXELS)


def test_nodes_without_voxels_are_left_out_and_named(tmp_path: Path) -> None:
    more = (
        volume("not saved", "nowhere"),
        storage("g", "Data/surface.vtm", "SegmentationStorage"),
        volume("surfaces", "g", tag="Segmentation"),
    )
    with pytest.warns(mj.ImageFileWarning) as caught:
        images = mj.io.load_mrb(simple(tmp_path, *more))
    assert list(images) == ["CT"]
    messages = [str(entry.message) for entry in caught]
    assert "'not saved' has no file" in messages[0]
    assert "'surfaces' is saved as surfaces" in messages[1]


def test_one_image_loads_and_several_are_listed(tmp_path: Path) -> None:
    assert mj.load_image(simple(tmp_path)).shape == SHAPE
    with pytest.raises(mj.ImageFileError, match=r"holds 2 images: 'CT', 'MR'; choose from io.load_mrb"):
        mj.load_image(simple(tmp_path, volume("MR")))
    with pytest.raises(mj.ImageFileError, match=r"holds 0 images: none"):
        mj.load_image(scene(tmp_path))
    assert mj.io.load_mrb(scene(tmp_path)) == {}


def test_nothing_is_written_but_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    path = simple(tmp_path)
    mj.load_image(path)
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["scene.mrb", "scratch"]


def test_saving_a_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(mj.io.UnsupportedFileError, match="cannot tell the format to write"):
        mj.save_image(mj.Image.from_array(VOXELS), tmp_path / "scene.mrb")


# --- what is refused ------------------------------------------------------------------------------------------------

WARP = {
    "B-spline": node("BSplineTransform", id="warp", name="deform"),
    "grid": node("GridTransform", id="warp", name="deform"),
    "composite": node("Transform", id="warp", name="deform"),
    "matrix in a file of its own": node("LinearTransform", id="warp", name="deform"),
}


@pytest.mark.parametrize("name", WARP)
def test_transforms_that_are_no_matrix_are_refused_by_name(name: str, tmp_path: Path) -> None:
    path = simple(tmp_path, linear("child", CHILD, "warp"), WARP[name], transform="child")
    with pytest.raises(mj.io.UnsupportedFileError, match=r"transform 'deform' .* only linear"):
        mj.io.load_mrb(path)
    assert list(mj.io.load_mrb(simple(tmp_path, WARP[name]))) == ["CT"]  # applied to nothing


PROJECTIVE = CHILD.copy()
PROJECTIVE[3, 0] = 0.1
FAULTY = {
    "cycle": ((linear("t", CHILD, "u"), linear("u", PARENT, "t")), "is its own parent"),
    "own parent": ((linear("t", CHILD, "t"),), "is its own parent"),
    "missing": ((), "is missing"),
    "projective": ((linear("t", PROJECTIVE),), "not affine"),
    "infinite": ((linear("t", np.full((4, 4), np.inf)),), "not affine"),
    "15 numbers": ((node("LinearTransform", id="t", matrixTransformToParent=numbers(CHILD)[:-2]),), "not 16 numbers"),
    "17 numbers": ((node("LinearTransform", id="t", matrixTransformToParent=numbers(CHILD) + " 0"),), "not 16 numbers"),
    "words": ((node("LinearTransform", id="t", matrixTransformToParent="a " * 16),), "not 16 numbers"),
    "huge": (
        (linear("t", np.diag([1e300, 1e300, 1e300, 1.0]), "u"), linear("u", np.diag([1e300, 1.0, 1.0, 1.0]))),
        "mm",
    ),
    "flat": ((linear("t", np.diag([1.0, 1.0, 0.0, 1.0])),), "singular"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_transforms(name: str, tmp_path: Path) -> None:
    nodes, message = FAULTY[name]
    with pytest.raises(mj.ImageFileError, match=message):
        mj.io.load_mrb(simple(tmp_path, *nodes, transform="t"))


@pytest.mark.parametrize(
    "member", ["../evil.txt", "/evil.txt", "Scene/../../evil.txt", "..\\evil.txt", "C:\\evil.txt", "\\evil.txt"]
)
def test_members_that_lead_out_are_refused(member: str, tmp_path: Path) -> None:
    path = simple(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, "x")
    with pytest.raises(mj.ImageFileError, match="leads out of the archive"):
        mj.io.load_mrb(path)
    assert not list(tmp_path.parent.glob("evil*"))


@pytest.mark.parametrize("file", ["../../../etc/hostname", "/etc/hostname", "..%2F..%2Fsecret.mha", "C:/secret.mha"])
def test_file_names_that_lead_out_are_refused(file: str, tmp_path: Path) -> None:
    path = scene(tmp_path, storage("s", file), volume("CT"))
    with pytest.raises(mj.ImageFileError, match="leads out of the archive"):
        mj.io.load_mrb(path)


ENTITIES = '<!DOCTYPE MRML [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
)
SCENES = {
    "entity bomb": (ENTITIES + ']><MRML><Volume id="&j;"/></MRML>', "DOCTYPE"),
    "external entity": ('<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/hostname">]><MRML name="&x;"/>', "DOCTYPE"),
    "external DTD": ('<!DOCTYPE MRML SYSTEM "http://localhost/x.dtd"><MRML/>', "DOCTYPE"),
    "no XML": ("MRML", "well-formed"),
    "cut": ("<MRML><Volume", "well-formed"),
    "nothing": ("", "well-formed"),
    "other root": ("<html></html>", "expected MRML"),
    "unknown encoding": ('<?xml version="1.0" encoding="klingon"?><MRML/>', "well-formed"),
    "multi-byte encoding": ('<?xml version="1.0" encoding="utf-7"?><MRML/>', "well-formed"),
    "file missing": (f"<MRML>{storage('s', 'Data/other.mha')}{volume('CT')}</MRML>", "not in the archive"),
    "scene in the scene": (f"<MRML>{storage('s', 'Data/in.mrb')}{volume('CT')}</MRML>", "scene inside the scene"),
    "no image": (f"<MRML>{storage('s', 'Scene.mrml')}{volume('CT')}</MRML>", "neither its content nor its name"),
}


@pytest.mark.parametrize("name", SCENES)
def test_faulty_scenes(name: str, tmp_path: Path) -> None:
    text, message = SCENES[name]
    with zipfile.ZipFile(tmp_path / "scene.mrb", "w") as archive:
        archive.writestr("Scene/Scene.mrml", text)
        archive.writestr("Scene/Data/in.mrb", b"PK")

    def load() -> None:
        with pytest.raises(mj.ImageFileError, match=message):
            mj.io.load_mrb(tmp_path / "scene.mrb")

    seconds, peak = cost(load)
    assert seconds < 1
    assert peak < 2**22


def test_archives_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "scene.mrb"
    with pytest.raises(FileNotFoundError):
        mj.io.load_mrb(path)
    path.write_bytes(b"no zip at all")
    with pytest.raises(mj.ImageFileError, match="damaged"):
        mj.io.load_mrb(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no scene")
    with pytest.raises(mj.ImageFileError, match="holds 0 scenes"):
        mj.io.load_mrb(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/a.mrml", "<MRML/>")
        archive.writestr("b/b.mrml", "<MRML/>")
    with pytest.raises(mj.ImageFileError, match="holds 2 scenes"):
        mj.io.load_mrb(path)


def rewrite_size(path: Path, member: str, size: int) -> None:
    """Makes the archive state another unpacked size for a member (PKWARE APPNOTE 4.3.7 and 4.3.12)."""
    content = bytearray(path.read_bytes())
    for signature, name_at, size_at in ((b"PK\3\4", 30, 22), (b"PK\1\2", 46, 24)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            if content[start + name_at :].startswith(member.encode()):
                content[start + size_at : start + size_at + 4] = struct.pack("<I", size)
    path.write_bytes(content)


def test_member_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    path = simple(tmp_path)
    rewrite_size(path, "Scene/Data/scan.mha", 2**32 - 2)
    with pytest.raises(mj.ImageFileError, match=r"expands \d+ bytes to 4294967294"):
        mj.io.load_mrb(path)


def test_scene_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    path = simple(tmp_path)
    rewrite_size(path, "Scene/Scene.mrml", 2**30)
    with pytest.raises(mj.ImageFileError, match="its scene has 1073741824 bytes"):
        mj.io.load_mrb(path)


@pytest.mark.parametrize("size", [10, 100_000])
def test_member_of_another_size_than_stated(size: int, tmp_path: Path) -> None:
    path = simple(tmp_path)
    rewrite_size(path, "Scene/Data/scan.mha", size)
    with pytest.raises(mj.ImageFileError):
        mj.io.load_mrb(path)


def test_bomb_inside_a_member_stays_small(tmp_path: Path) -> None:
    """300 MB of zeros, compressed twice into a kilobyte; the image inside has 60 voxels."""
    text = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nspacings: 1 1 1\nencoding: gzip\nendian: little\n\n"
    path = scene(
        tmp_path, storage("s", "Data/b.nrrd"), volume("CT"), b_nrrd=text + gzip.compress(bytes(300_000_000), 1)
    )
    assert path.stat().st_size < 100_000
    loads_or_refuses(path)
    assert cost(lambda: loads_or_refuses(path))[1] < 2**25


def test_errors_name_the_scene_and_the_member(tmp_path: Path) -> None:
    path = scene(tmp_path, storage("s", "Data/a.mha"), volume("CT"), a_mha=file_bytes(tmp_path)[:-50])
    with pytest.raises(mj.io.TruncatedFileError, match=r"scene.mrb: its member 'a.mha': voxels: expected"):
        mj.io.load_mrb(path)


@pytest.mark.parametrize("part", ["archive", "scene"])
def test_damaged_scenes_load_or_are_refused(part: str, tmp_path: Path) -> None:
    original = simple(
        tmp_path, linear("child", CHILD, "parent"), linear("parent", PARENT), transform="child"
    ).read_bytes()
    path = tmp_path / "scene.mrb"
    with zipfile.ZipFile(path) as archive:
        text, data = archive.read("Scene/Scene.mrml"), archive.read("Scene/Data/scan.mha")
    outcomes = []

    def run() -> None:
        if part == "archive":
            for content in mutations(original, len(original) // 2, count=120, seed=1):
                path.write_bytes(content)
                outcomes.append(loads_or_refuses(path, mj.io.load_mrb))
            return
        for content in mutations(text.replace(b"><", b">\n<"), len(text), count=80, seed=2):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("Scene/Scene.mrml", content)
                archive.writestr("Scene/Data/scan.mha", data)
            outcomes.append(loads_or_refuses(path, mj.io.load_mrb))

    seconds, peak = cost(run)
    assert set(outcomes) == {True, False}
    assert seconds < 0.25 * len(outcomes)
    assert peak < 2**25


# --- the shared scenes ----------------------------------------------------------------------------------------------


def truth() -> dict[str, Any]:
    if not DATA.is_dir():
        return {}
    content = json.loads((DATA / "synthetic/truth.json").read_text())
    return {name: item for name, item in content.items() if name.startswith("mrb/")}


@needs_data
@pytest.mark.parametrize("name", truth())
def test_shared_scenes(name: str) -> None:
    """What the scene was made of: two transforms on a NIfTI file with a quoted name, and a member that leads out."""
    item, path = truth()[name], DATA / "synthetic" / name
    if item.get("error") == "path":
        with pytest.raises(mj.ImageFileError, match="leads out of the archive"):
            mj.io.load_mrb(path)
        return
    image = mj.io.load_mrb(path)[item["node"]]
    assert image.dtype == np.dtype(item["dtype"])
    assert list(image.voxels.shape) == item["shape_xyz"]
    assert float_hash(image.voxels) == item["sha256_f32_zyx"]
    # The NIfTI inside has a float32 affine, and the matrix in the scene twelve digits.
    np.testing.assert_allclose(image.origin, item["origin"], rtol=1e-6)
    np.testing.assert_allclose(image.spacing, item["spacing"], rtol=1e-6)
    np.testing.assert_allclose(image.direction, np.reshape(item["direction"], (3, 3)), atol=1e-6)


def test_every_shared_scene_has_a_test() -> None:
    if not DATA.is_dir():
        pytest.skip("../shared/data is not here")
    assert {f"mrb/{path.name}" for path in (DATA / "synthetic/mrb").iterdir()} == set(truth())
