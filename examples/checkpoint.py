"""Saves an image in an Orbax checkpoint and restores it, metadata included.

python examples/checkpoint.py folder

An `Image` is a pytree of two leaves, voxels and affine, and Orbax stores leaves. The kind and the metadata are none, so
they go beside them as JSON. To keep or to share a scan use `mj.save_image`: a checkpoint belongs to the code that wrote
it.
"""

import sys
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

import medjax as mj


def save(folder: Path, step: int, image: mj.Image) -> None:
    """Writes an image as one step of the checkpoints in a folder."""
    if image.batch_shape:
        raise ValueError("save the items of mj.unstack(image): each has its own metadata")
    metadata = image.metadata.to_json() if isinstance(image.metadata, mj.Metadata) else None
    with ocp.CheckpointManager(folder.resolve()) as manager:
        manager.save(
            step,
            args=ocp.args.Composite(
                image=ocp.args.StandardSave(image),
                description=ocp.args.JsonSave({"kind": image.kind, "metadata": metadata}),
            ),
        )


def restore(folder: Path, step: int) -> mj.Image:
    """Reads the image back; its shape need not be known beforehand."""
    with ocp.CheckpointManager(folder.resolve()) as manager:
        found = manager.restore(
            step,
            args=ocp.args.Composite(image=ocp.args.StandardRestore(), description=ocp.args.JsonRestore()),
        )
    kind, metadata = found.description["kind"], found.description["metadata"]
    return mj.Image.from_array(
        **found.image,  # voxels and affine, in the dtypes that were saved
        kind=kind,
        metadata=mj.Metadata.from_json(metadata) if metadata else None,
    )


def main(folder: str) -> None:
    """Saves a made scan, restores it, and checks that nothing is lost."""
    voxels = np.arange(4 * 3 * 2, dtype=np.int16).reshape(4, 3, 2)
    scan = mj.Image.from_array(
        voxels, spacing=(0.7, 0.7, 3.3), origin=(-101.3, 20, 5), metadata=mj.Metadata(modality="CT")
    )
    save(Path(folder), 0, scan)
    restored = restore(Path(folder), 0)
    np.testing.assert_array_equal(restored.voxels, scan.voxels)
    np.testing.assert_array_equal(restored.affine, scan.affine)  # float64, to the last bit
    assert restored.metadata == scan.metadata
    print(f"restored {restored}")


if __name__ == "__main__":
    main(*sys.argv[1:])
