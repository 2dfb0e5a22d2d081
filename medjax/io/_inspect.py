"""Headers without voxels, of any format; neither this module nor one that it loads imports JAX."""

from __future__ import annotations

import dataclasses

from medjax.io._disk._image_header import ImageHeader
from medjax.io._formats import ALL_FORMATS, DICOM, find_format
from medjax.io._sources import ImageSource, located

__all__ = ["inspect"]


def inspect(path: ImageSource) -> ImageHeader:
    """Describes the image that `load_image` gives, from the headers of a file or a DICOM series. Reads no voxels.

    The headers are read by the same code as for loading, with the same errors and warnings. Damage within the voxels
    only shows when they are read. JAX is not imported.

    A few headers leave something open that the voxels decide. Its name then stands in `undecided`: the dtype of DICOM
    values that need more than 16 bits if they use all the bits that the header allows, and of NIfTI voxels whose
    scaling float32 might not hold; the kind and dtype of labels that a NIfTI stores as floating-point numbers; the
    channels of a DICOM Segmentation whose segments may overlap.

    Args:
        path: What `load_image` reads: a file, a folder that holds one DICOM series, a list of DICOM files, bytes, an
            open file or a URL. The last two are copied as a whole.

    Returns:
        Grid, dtype, kind, channels, units and metadata. `metadata.extra` lacks the entry "values" alone, a note on the
        voxels of some NIfTI files.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: the header is damaged, foreign, ambiguous or of an unknown format. A subclass says which.

    Warns:
        ImageFileWarning: the file contradicts itself and is read by a documented rule.

    Example:
        >>> import pathlib, nibabel
        >>> header = mj.io.inspect(pathlib.Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii")
        >>> header
        ImageHeader(33x41x25 int16 intensity, spacing 2 x 2 x 2 mm, LAS)
        >>> header.nbytes, header.metadata.source
        (67650, 'anatomical.nii')
    """
    with located(path) as source:
        if source.files:
            header = DICOM.load().inspect_files(source.files, source.path)
        else:
            header = find_format(source.path, ALL_FORMATS).load().inspect(source.path)
    return dataclasses.replace(header, metadata=source.with_source(header.metadata))
