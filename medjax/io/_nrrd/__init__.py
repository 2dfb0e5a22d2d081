"""NRRD, .nrrd and .nhdr, and 3D Slicer's segmentations, .seg.nrrd.

pynrrd parses the headers; voxels and geometry are read here. Rules (https://teem.sourceforge.net/nrrd/format.html;
voxels as in pynrrd, geometry as in SimpleITK 2.5.7):

- A space of RAS, LAS or LPS is turned to LPS+. Any other space (scanner-xyz, 3D-right-handed, none) says nothing about
  the patient: its axes are taken as LPS, as in ITK, with a warning. Without space directions, spacings and axis mins
  count (cell-centred unless the header says node).
- Axes without a direction (channels, time, segmentation layers) trail i, j, k in the file's order.
- Space units other than mm are converted, where ITK takes the numbers as mm; a warning says so.
- byte skip counts decoded bytes, and line skip counts lines of the file. A byte skip of -1 means that the voxels end
  the file (raw only).
- `metadata.extra` holds the fields by their names, numbers as numbers, and the key/value pairs by their keys. The
  measurement frame is as in the file, with its vectors in the file's space.
- .seg.nrrd is a label image. Its segments are in `metadata.display["segments"]`: id, name, label_value, layer, color,
  tags.

Written files have space LPS. The pair MedjaxMetadata holds the metadata that names nobody (`_passed_on`). The pairs,
measurement frame and kinds of an NRRD source are written again.
"""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
