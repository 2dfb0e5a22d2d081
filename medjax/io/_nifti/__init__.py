"""NIfTI-1 and NIfTI-2, single files and pairs, as they are or compressed; the world frame becomes LPS+ mm."""

from medjax.io._nifti._read import read
from medjax.io._nifti._write import write

__all__ = ["read", "write"]
