"""The HDF5 store: many images in one file, each with its exact geometry, kind, dtype and metadata.

Layout 1, the same as in docs/hdf5.md. An image is a group `/<group>/<name>` with

- the attribute `medjax_layout`, an integer: 1;
- the attribute `affine`, 4 x 4 float64, row by row: index `(i, j, k, 1)` to LPS+ millimetres;
- the attribute `kind`, a fixed-length string: `intensity` or `label`;
- the dataset `voxels` with reversed axes: `voxels[..., k, j, i]` is `image.voxels[i, j, k, ...]`. So `voxels[k]` of a
  scalar image is a slice and i runs fastest, as in the files of scanners, ITK and Julia. The dtypes are NumPy's as h5py
  stores them: booleans as the enumeration FALSE, TRUE; half, single and double precision; complex as compounds `r`,
  `i`. The chunks are at most 16 x 128 x 128, with the filters shuffle and deflate, unless the writer chose otherwise;
- the dataset `metadata`, one fixed-length string: `Metadata.to_json()`. It is absent where there is no metadata. It is
  a dataset because attributes end at 64 KiB.

Groups may lie in groups. Readers ignore members and attributes that they do not know and refuse other layout numbers.
"""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
