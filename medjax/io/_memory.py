"""Images of nibabel and SimpleITK in memory, both ways: the result is the same as through a file.

nibabel's images come and go as the bytes of a NIfTI, and SimpleITK's as voxels and the fields of a MetaImage. So the
rules of a format (scaling, units, intents, time, vectors, which metadata is passed on) stay in its reader and writer.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import UnsupportedFileError
from medjax._geometry._grid import lps_to_ras, shear_degrees
from medjax._image._image import Image, Kind, check_image, image_from, locked
from medjax._optional import optional
from medjax.io._disk._axes import trailing_axes
from medjax.io._disk._blocks import file_blocks
from medjax.io._disk._passed_on import KIND_KEY, kept_kind
from medjax.io._disk._single import single_on_host
from medjax.io._disk._stream import Content

__all__ = ["from_nibabel", "from_sitk", "to_nibabel", "to_sitk"]

_IN_MEMORY = Path("image in memory")

# Where scl_slope and scl_inter stand (nifti1.h, nifti2.h), by the size of the header.
_SCALING_AT = {348: (112, "2f"), 540: (176, "2d")}

# ITK takes a direction as orthonormal. Float32 directions of scanners miss a right angle by up to 5e-5.
_SHEAR_TOLERANCE_DEGREES = float(np.degrees(1e-4))


def from_nibabel(image: Any, *, kind: Kind | None = None) -> Image:
    """Makes an image of a nibabel image, as `load_image` does of its file.

    The world turns from RAS+ to LPS+ mm by nibabel's float64 affine. An image whose voxels nibabel has not loaded yet
    is read as stored: whole numbers stay whole, and `scl_slope` gives float32. `metadata.extra` holds the header's
    fields.

    Args:
        image: A `Nifti1Image`, `Nifti2Image` or pair, or another image that nibabel can turn into a `Nifti1Image`.
        kind: "intensity" or "label". Default: the kind that the intent states.

    Returns:
        An image with a copy of the voxels, read-only as loaded ones are.

    Raises:
        ImportError: nibabel is not installed.
        TypeError: `image` is no image of nibabel.
        ValueError: `kind="label"` for voxels that are not integers.
        ImageFileError: the header contradicts itself.

    Example:
        >>> import nibabel
        >>> theirs = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2, 2, 3, 1]))
        >>> image = mj.io.from_nibabel(theirs)
        >>> image, int(image.voxels[1, 2, 3]), image.affine_ras.diagonal().tolist()
        (Image(2x3x4 int16 intensity, spacing 2 x 2 x 3 mm, RAS), 23, [2.0, 2.0, 3.0, 1.0])

    Source: https://nipy.org/nibabel/nibabel_images.html
    """
    nibabel = optional("nibabel", "an image of nibabel")
    if not isinstance(image, nibabel.spatialimages.SpatialImage):
        raise TypeError(f"expected an image of nibabel, got {type(image).__name__}")
    from medjax.io._nifti._read import read_content

    if not isinstance(image, nibabel.Nifti1Pair):
        image = nibabel.Nifti1Image.from_image(image)
    with Content(_IN_MEMORY, codec=None, data=_nifti_bytes(nibabel, image)) as content:
        found = read_content(content, affine_ras=image.affine)
    return locked(image_from(found.voxels, affine=found.affine, kind=kind or found.kind, metadata=found.metadata))


def _nifti_bytes(nibabel: Any, image: Any) -> bytes:
    """The bytes of a single NIfTI file. Voxels are as they are stored, or as they are in memory if they are loaded."""
    voxels, slope, inter = image.dataobj, 1.0, 0.0
    if nibabel.is_proxy(voxels) and hasattr(voxels, "get_unscaled"):
        voxels, slope, inter = voxels.get_unscaled(), voxels.slope, voxels.inter
    voxels = np.asanyarray(voxels)
    header = image.header.copy()
    header.set_data_dtype(voxels.dtype)
    single = nibabel.Nifti2Image if isinstance(image, nibabel.Nifti2Pair | nibabel.Nifti2Image) else nibabel.Nifti1Image
    whole = single(voxels, image.affine, header)
    content = bytearray(whole.to_bytes())
    offset, layout = _SCALING_AT[int(whole.header["sizeof_hdr"])]
    struct.pack_into(whole.header.endianness + layout, content, offset, slope, inter)
    return bytes(content)


def to_nibabel(image: Image) -> Any:
    """Makes a nibabel image, as `nibabel.load` does of the file that `save_image` writes, with the affine in float64.

    Args:
        image: A single image, concrete. Booleans become uint8, and half precision becomes float32, as in files. One
            trailing axis is time, unless the source says that it holds components. These are the fifth axis, or RGB
            where the source says colours.

    Returns:
        A `nibabel.Nifti1Image` in RAS+ mm with a copy of the voxels. It is a `Nifti2Image` if a size needs it or the
        source was one.

    Raises:
        ImportError: nibabel is not installed.
        ValueError: the image is a batch or traced.
        UnsupportedFileError: NIfTI cannot hold the voxel type, the number of axes, or a field of `metadata.extra`.

    Example:
        >>> image = mj.Image.from_array(np.arange(24, dtype=np.int16).reshape(2, 3, 4), spacing=(1, 2, 3))
        >>> theirs = mj.io.to_nibabel(image)
        >>> theirs.shape, int(theirs.dataobj[1, 2, 3]), theirs.affine.diagonal().tolist()
        ((2, 3, 4), 23, [-1.0, -2.0, 3.0, 1.0])
    """
    check_image(image, "image")
    nibabel = optional("nibabel", "an image of nibabel")
    from medjax.io._nifti._write import written

    host = single_on_host(image, "an image for nibabel")
    header, voxels = written(host, _IN_MEMORY, is_pair=False)
    content = header + b"".join(bytes(make()) for make in file_blocks(voxels, range(voxels.ndim)))
    single = nibabel.Nifti2Image if header[:4] == struct.pack("<i", 540) else nibabel.Nifti1Image
    loaded = single.from_bytes(content)
    return single(np.asarray(loaded.dataobj), lps_to_ras(host.affine), loaded.header)


def from_sitk(image: Any, *, kind: Kind | None = None) -> Image:
    """Makes an image of a SimpleITK image, as `load_image` does of the .mha file that SimpleITK writes.

    Array axes become `(i, j, k)`, components trail, and a fourth dimension (time) trails as well; origin, spacing and
    direction are LPS mm in both. `metadata.extra` holds the image's metadata keys, and its geometry under MetaImage's
    keys.

    Args:
        image: A SimpleITK image of two or more dimensions, of scalars or vectors.
        kind: "intensity" or "label". Default: the kind that `to_sitk` has noted, else "intensity".

    Returns:
        An image with a copy of the voxels, read-only as loaded ones are.

    Raises:
        ImportError: SimpleITK is not installed.
        TypeError: `image` is no image of SimpleITK, or a label map object (`sitk.Cast` makes an image of it).
        ValueError: `kind="label"` for voxels that are not integers.
        ImageFileError: the geometry is singular or mixes space and time.

    Example:
        >>> import SimpleITK as sitk
        >>> theirs = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(4, 3, 2))
        >>> theirs.SetSpacing((1.0, 2.0, 3.0))
        >>> image = mj.io.from_sitk(theirs)
        >>> image, int(image.voxels[1, 2, 3]), theirs.GetPixel(1, 2, 3)
        (Image(2x3x4 int16 intensity, spacing 1 x 2 x 3 mm, LPS), 23, 23)
    """
    sitk = optional("SimpleITK", "an image of SimpleITK")
    if not isinstance(image, sitk.Image):
        raise TypeError(f"expected an image of SimpleITK, got {type(image).__name__}")
    type_name = image.GetPixelIDTypeAsString()
    if type_name.startswith("label"):
        raise TypeError(f"expected voxels, got a {type_name}: make an image of it by SimpleITK.Cast")
    from medjax.io._metaimage._header import described
    from medjax.io._metaimage._write import joined

    array, dimensions = sitk.GetArrayFromImage(image), image.GetDimension()
    is_vector = array.ndim > dimensions
    voxels = array.transpose(*reversed(range(dimensions)), *range(dimensions, array.ndim))
    voxels = voxels[:, :, None] if dimensions == 2 else voxels
    matrix = np.array(image.GetDirection()).reshape(dimensions, dimensions)
    fields = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()} | {
        "NDims": str(dimensions),
        "DimSize": joined(image.GetSize()),
        "ElementSpacing": joined(image.GetSpacing()),
        "Offset": joined(image.GetOrigin()),
        "TransformMatrix": joined(matrix.T.ravel()),
        "ElementNumberOfChannels": str(array.shape[-1] if is_vector else 1),
        "ElementType": type_name,
    }
    affine, metadata = described(_IN_MEMORY, fields)
    found = kind or kept_kind(fields.get(KIND_KEY), voxels.dtype)
    return locked(image_from(voxels, affine=affine, kind=found, metadata=metadata))


def to_sitk(image: Image) -> Any:
    """Makes a SimpleITK image, as SimpleITK reads the .mha file that `save_image` writes.

    Args:
        image: A single image, concrete. Booleans become uint8, and half precision becomes float32, as in files. A
            trailing axis holds the components of a vector image, unless the source says that it is time. Time is the
            fourth dimension, in seconds.

    Returns:
        A `SimpleITK.Image` in LPS mm with a copy of the voxels. Its keys hold the kind and the metadata that names
        nobody.

    Raises:
        ImportError: SimpleITK is not installed.
        ValueError: the image is a batch or traced, or its axes are sheared, which ITK cannot hold.
        UnsupportedFileError: SimpleITK has no such voxel type, or not so many dimensions.

    Example:
        >>> image = mj.Image.from_array(np.arange(24, dtype=np.int16).reshape(2, 3, 4), spacing=(1, 2, 3))
        >>> theirs = mj.io.to_sitk(image)
        >>> theirs.GetSize(), theirs.GetSpacing(), theirs.GetPixel(1, 2, 3)
        ((2, 3, 4), (1.0, 2.0, 3.0), 23)
    """
    check_image(image, "image")
    sitk = optional("SimpleITK", "an image of SimpleITK")
    from medjax.io._disk._elements import storable
    from medjax.io._metaimage._write import geometry_lines, kept_lines, layout

    host, axes = single_on_host(image, "an image for SimpleITK"), trailing_axes(image)
    degrees = shear_degrees(host.affine)
    if degrees > _SHEAR_TOLERANCE_DEGREES:
        raise ValueError(
            f"the axes are sheared, {degrees:.3g} degrees off a right angle, which SimpleITK cannot hold: "
            "resample the image first (resample_to_grid)"
        )
    voxels = host.voxels if host.dtype.kind == "c" else storable(_IN_MEMORY, host.voxels)
    dimensions, has_channels = layout(_IN_MEMORY, voxels.shape, axes)
    if dimensions > 4:
        raise UnsupportedFileError(
            _IN_MEMORY, f"SimpleITK holds 4 dimensions and components, voxels {voxels.shape} need more"
        )
    order = (*reversed(range(dimensions)), *range(dimensions, voxels.ndim))
    theirs = sitk.GetImageFromArray(np.ascontiguousarray(voxels.transpose(order)), isVector=has_channels)
    extra = getattr(host.metadata, "extra", {})
    fields = dict(line.split(" = ", 1) for line in geometry_lines(host.affine, dimensions, extra, axes))
    numbers = {
        key: [float(word) for word in fields[key].split()] for key in ("ElementSpacing", "Offset", "TransformMatrix")
    }
    theirs.SetSpacing(numbers["ElementSpacing"])
    theirs.SetOrigin(numbers["Offset"])
    theirs.SetDirection(np.reshape(numbers["TransformMatrix"], (dimensions, dimensions)).T.ravel().tolist())
    kept = dict(line.split(" = ", 1) for line in kept_lines(_IN_MEMORY, host))
    kept |= {key: fields[key] for key in ("TimeUnit",) if key in fields}
    for key, value in kept.items():
        if key != "Modality":  # MetaIO's own field; the modality is in the package's keys
            theirs.SetMetaData(key, value)
    return theirs
