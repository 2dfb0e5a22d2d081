"""Scenes of 3D Slicer, .mrb: a zip archive with one .mrml file (XML) and the data it names. Read only.

Rules (https://slicer.readthedocs.io/en/latest/developer_guide/mrml_overview.html, and files of Slicer 4 and 5):

- Every volume, label map and segmentation node with a file in the archive becomes an image, under the node's name. A
  repeated name gets " (2)", " (3)", ... in the order of the scene.
- A node's linear transforms are applied to its affine: matrices are row-major in RAS mm, to the parent, and
  world = parent @ child @ affine. Voxels are never resampled. Other transforms are refused by name.
- Only the nodes directly below MRML count: saved views hold copies of nodes further down.
- The archive is not trusted. Names that lead out of it, DOCTYPE and entities, nested scenes, and members that expand
  without measure are refused. Only the files that an image needs are written, into a temporary folder.
"""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
