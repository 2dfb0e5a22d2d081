"""What a loader asks: the same seed the same box, inside the volume, its margin padded."""

from __future__ import annotations

import numpy as np
import pytest

import medjax as mj

LABEL = np.zeros((9, 8, 3), np.int16)
LABEL[8, 7, 2] = 3
IMAGE = mj.Image.from_array(
    np.random.default_rng(0).normal(size=LABEL.shape).astype(np.float32),
    affine=mj.affine_matrix((5, -3, 2), (10, 20, 30)) @ np.diag([2, 1, 3, 1.0]),
    metadata=mj.Metadata(modality="CT"),
)
LABELS = mj.Image.from_array(LABEL, affine=IMAGE.affine, kind="label")


def test_same_seed_same_box_whatever_was_drawn_before() -> None:
    draw = mj.patch.sampler(size=4)
    first = draw((3, 17), LABEL.shape)
    draw((3, 18), LABEL.shape)
    np.testing.assert_array_equal(draw((3, 17), LABEL.shape), first)
    rng = np.random.Generator(np.random.Philox((3, 17)))
    np.testing.assert_array_equal(draw(rng, LABEL.shape), first)
    assert len({tuple(draw(n, LABEL.shape)) for n in range(200)}) == 6 * 5  # every place, and none else


def test_box_is_cut_where_it_lies_and_padded_where_it_hangs_over() -> None:
    draw = mj.patch.sampler(size=(4, 4, 5), foreground=1, margin=(2, 1, 0))
    start = draw(0, LABEL.shape, mj.patch.class_table(LABELS))
    assert start.tolist() == [3, 3, 0]  # the patch at (5, 4, 0), flush with the ends
    box, labels = draw.cut(IMAGE, start), draw.cut(LABELS, start)
    assert box.shape == labels.shape == draw.read_size == (8, 6, 5)
    np.testing.assert_array_equal(box.voxels[:6, :5, :3], IMAGE.voxels[3:, 3:])
    corners = np.sort(IMAGE.voxels[np.ix_([0, -1], [0, -1], [0, -1])].ravel())
    assert (box.voxels[6:] == (corners[3] + corners[4]) / 2).all()  # the background of the whole image
    assert (labels.voxels[6:] == 0).all()
    assert labels.voxels[5, 4, 2] == 3
    np.testing.assert_allclose(box.origin, IMAGE.grid.world(start.astype(float)), atol=1e-9)
    assert (labels.kind, box.metadata) == ("label", IMAGE.metadata)


def test_patch_larger_than_the_volume_begins_at_its_first_voxel() -> None:
    draw = mj.patch.sampler(size=(12, 4, 3), margin=1)
    start = draw(1, LABEL.shape)
    assert start[0] == -1
    box = draw.cut(IMAGE, start, fill=7.0)
    assert box.shape == (14, 6, 5)
    assert (box.voxels[0] == 7).all()
    assert (box.voxels[10:] == 7).all()


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_of_a_sampler() -> None:
    with pytest.raises(ValueError, match="foreground is a probability, 0 to 1; got 33"):
        mj.patch.sampler(size=4, foreground=33)
    with pytest.raises(ValueError, match=r"foreground=0\.5 needs to know where the classes lie"):
        mj.patch.sampler(size=4, foreground=0.5)(0, LABEL.shape)
    with pytest.raises(ValueError, match="margin must be one integer or three, at least 0"):
        mj.patch.sampler(size=4, margin=-1)
    with pytest.raises(ValueError, match=r"a box from \[9, 0, 0\] to \[13, 4, 4\] holds nothing of an image"):
        mj.patch.sampler(size=4).cut(IMAGE, (9, 0, 0))
