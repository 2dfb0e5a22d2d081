"""NRRD, .nrrd and .nhdr, and 3D Slicer's segmentations, .seg.nrrd: headers are parsed by pynrrd, voxels and geometry here.

Rules (https://teem.sourceforge.net/nrrd/format.html; voxels as pynrrd has them, geometry as SimpleITK 2.5.7):

- A space of RAS, LAS or LPS is turned to LPS+. Any other space (scanner-xyz, 3D-right-handed, none) says nothing about the
  patient: its axes are taken as LPS, as in ITK, with a warning. Without space directions, spacings and axis mins count
  (cell-centred unless the header says node).
- Axes without a direction (channels, time, segmentation layers), wherever they stand, trail i, j, k in the file's order.
- Space units other than mm are converted, where ITK takes the numbers as mm; a warning says so.
- byte skip counts decoded bytes, line skip lines of the file, -1 the end of the file (raw only).
- `metadata.extra` holds the fields by their names, numbers as numbers, and the key/value pairs by their keys. The
  measurement frame stands there as in the file: its vectors in the file's own space.
- .seg.nrrd is a label image; its segments are in `metadata.display["segments"]`: id, name, label_value, layer, color, tags.

Written files have space LPS and keep all metadata in the pair MedjaxMetadata; the pairs, measurement frame and kinds of an
NRRD source are written again as well.
"""

from medjax.io._nrrd._read import read
from medjax.io._nrrd._write import write

__all__ = ["read", "write"]
