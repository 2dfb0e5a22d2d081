"""FreeSurfer volumes, .mgh and .mgz (gzip): a header of 284 bytes, voxels, and times of the sequence after them.

Rules (https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat, and FreeSurfer's mri.h), checked against nibabel:

- All numbers are big-endian. `Mdc` holds the directions of the three index axes in RAS, `delta` their steps in mm, and
  `Pxyz_c` the position of index `dims / 2`, which is no voxel's centre where a size is odd. It is computed in float64.
- Where `goodRASFlag` is not set, FreeSurfer's default counts: steps of 1 mm, coronal, centred on 0. A warning says so.
- Frames become a trailing axis. `tr` (ms) is their step.
- The format has no place for the kind, so every file is read as intensities unless the caller says otherwise.

`metadata.extra` holds the header by nibabel's names of its fields. The tags at the end of a file (command lines, names
of other files) are not read.
"""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
