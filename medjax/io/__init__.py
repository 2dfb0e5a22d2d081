"""Files: readers and writers at the edge of the package, each loaded on use.

A public name takes two lines: the module it lives in, below, and its import for type checkers; tests compare the two.
"""

from typing import TYPE_CHECKING

from medjax._lazy import lazy_names

_MODULE_OF = {
    "DicomSeries": "medjax.io._dicom",
    "DuplicatePositionError": "medjax.io._dicom._errors",
    "InconsistentGeometryError": "medjax.io._dicom._errors",
    "MultipleSeriesError": "medjax.io._dicom._errors",
    "NoGeometryError": "medjax.io._dicom._errors",
    "NonUniformSpacingError": "medjax.io._dicom._errors",
    "NotAnImageError": "medjax.io._dicom._errors",
    "list_dicom_series": "medjax.io._dicom",
    "load_dicom_series": "medjax.io._dicom",
    "save_dicom_segmentation": "medjax.io._dicom._write_segmentation",
    "save_dicom_series": "medjax.io._dicom._write",
    "StoredImage": "medjax.io._hdf5",
    "delete_hdf5": "medjax.io._hdf5",
    "list_hdf5": "medjax.io._hdf5",
    "load_hdf5": "medjax.io._hdf5",
    "save_hdf5": "medjax.io._hdf5",
    "ImageFileError": "medjax.io._errors",
    "ImageFileWarning": "medjax.io._errors",
    "MissingDependencyError": "medjax.io._errors",
    "TruncatedFileError": "medjax.io._errors",
    "UnsupportedFileError": "medjax.io._errors",
    "load_image": "medjax.io._files",
    "load_mrb": "medjax.io._mrb",
    "from_nibabel": "medjax.io._memory",
    "from_sitk": "medjax.io._memory",
    "to_nibabel": "medjax.io._memory",
    "to_sitk": "medjax.io._memory",
    "save_image": "medjax.io._files",
    "load_transform": "medjax.io._transform_file",
    "save_transform": "medjax.io._transform_file",
}

if TYPE_CHECKING:
    from medjax.io._dicom import DicomSeries as DicomSeries
    from medjax.io._dicom import list_dicom_series as list_dicom_series
    from medjax.io._dicom import load_dicom_series as load_dicom_series
    from medjax.io._dicom._errors import DuplicatePositionError as DuplicatePositionError
    from medjax.io._dicom._errors import InconsistentGeometryError as InconsistentGeometryError
    from medjax.io._dicom._errors import MultipleSeriesError as MultipleSeriesError
    from medjax.io._dicom._errors import NoGeometryError as NoGeometryError
    from medjax.io._dicom._errors import NonUniformSpacingError as NonUniformSpacingError
    from medjax.io._dicom._errors import NotAnImageError as NotAnImageError
    from medjax.io._dicom._write import save_dicom_series as save_dicom_series
    from medjax.io._dicom._write_segmentation import save_dicom_segmentation as save_dicom_segmentation
    from medjax.io._errors import ImageFileError as ImageFileError
    from medjax.io._errors import ImageFileWarning as ImageFileWarning
    from medjax.io._errors import MissingDependencyError as MissingDependencyError
    from medjax.io._errors import TruncatedFileError as TruncatedFileError
    from medjax.io._errors import UnsupportedFileError as UnsupportedFileError
    from medjax.io._files import load_image as load_image
    from medjax.io._files import save_image as save_image
    from medjax.io._hdf5 import StoredImage as StoredImage
    from medjax.io._hdf5 import delete_hdf5 as delete_hdf5
    from medjax.io._hdf5 import list_hdf5 as list_hdf5
    from medjax.io._hdf5 import load_hdf5 as load_hdf5
    from medjax.io._hdf5 import save_hdf5 as save_hdf5
    from medjax.io._memory import from_nibabel as from_nibabel
    from medjax.io._memory import from_sitk as from_sitk
    from medjax.io._memory import to_nibabel as to_nibabel
    from medjax.io._memory import to_sitk as to_sitk
    from medjax.io._mrb import load_mrb as load_mrb
    from medjax.io._transform_file import load_transform as load_transform
    from medjax.io._transform_file import save_transform as save_transform
else:
    __all__, __getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
