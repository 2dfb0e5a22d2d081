"""Feeds a training loop from files with Grain: shuffled, resampled, cropped and batched in threads.

python examples/grain_pipeline.py folder

Reads the NIfTI files of the folder, ahead and in threads. Grain's worker processes (`.mp_prefetch`) work too: they
start by spawn, which JAX needs. They hand over arrays alone, so a batch that comes from them has no metadata.
"""

import sys
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np

import medjax as mj

SPACING, SIZE, BATCH = 2.0, (32, 32, 16), 4  # mm, voxels, scans


class Prepare(grain.transforms.RandomMap):
    """Brings a scan to one spacing and one size, turned by a random angle; one interpolation in all."""

    def random_map(self, scan: mj.Image, rng: np.random.Generator) -> mj.Image:
        """Returns the prepared scan; `rng` is Grain's own for this element, so that a run can be repeated."""
        degrees = rng.uniform(-10, 10)

        @mj.fuse
        def steps(image: mj.Image) -> mj.Image:
            image = mj.change_orientation(image, "RAS")
            image = mj.rotate(image, "k", degrees)
            image = mj.resample_to_spacing(image, SPACING)
            return mj.crop_or_pad(image, SIZE)

        return mj.z_score_normalize(steps(scan))


def pipeline(folder: Path, seed: int) -> grain.IterDataset:
    """Batches of images, `(BATCH, *SIZE)`, without end."""
    paths = sorted(map(str, folder.glob("*.nii.gz")))
    return (
        grain.MapDataset.source(paths)
        .seed(seed)
        .shuffle()
        .repeat()
        .map(mj.load_image)
        .random_map(Prepare())
        .to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=8))
        .batch(BATCH, batch_fn=mj.stack)
    )


@jax.jit
def step(batch: mj.Image) -> jax.Array:
    """Stands for a training step: here the mean absolute intensity."""
    return jnp.abs(batch.voxels).mean()


def main(folder: str) -> None:
    """Runs three steps."""
    batches = iter(pipeline(Path(folder), seed=0))
    for number in range(3):
        batch = next(batches)
        names = [metadata.source for metadata in batch.metadata]  # every item has kept its own
        print(f"step {number}: {float(step(batch)):.3f} for {batch} of {names}")


if __name__ == "__main__":
    main(*sys.argv[1:])
