"""NIfTI files built field by field, so that a test decides everything; the layout is nibabel's, not the package's."""

from __future__ import annotations

import struct
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.nifti1 import header_dtype as nifti1_dtype
from nibabel.nifti2 import header_dtype as nifti2_dtype
from nibabel.quaternions import mat2quat

CODES = {
    "u1": 2, "i2": 4, "i4": 8, "f4": 16, "c8": 32, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024,
    "u8": 1280, "c16": 1792,
}  # fmt: skip

# A turned, anisotropic, left-handed grid in RAS, whose entries float32 has to round.
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.5) @ np.diag([0.9, -1.3, 2.7]), [12.3, -45.6, 78.9]
)


def ramp(shape: tuple[int, ...] = (7, 5, 4), dtype: Any = np.int16) -> np.ndarray:
    """Different values in every voxel, so that no two axes can be mistaken for each other."""
    return (np.arange(np.prod(shape)) * 3 - 50).reshape(shape).astype(dtype)


def header_and_voxels(
    voxels: np.ndarray,
    *,
    sform: np.ndarray | None = OBLIQUE,
    qform: np.ndarray | None = None,
    order: Any = "<",
    version: int = 1,
    is_pair: bool = False,
    extensions: bytes | None = None,
    code: int | None = None,
    **fields: Any,
) -> tuple[bytes, bytes]:
    """Returns the header (with extensions, up to the first voxel of a single file) and the voxels.

    `sform` and `qform` are RAS in the file's unit and set their codes to 1; `fields` overrides any field at the end.
    """
    layout = nifti1_dtype if version == 1 else nifti2_dtype
    header = np.zeros((), layout.newbyteorder(order))
    size = layout.itemsize
    header["sizeof_hdr"] = size
    header["magic"] = (b"ni" if is_pair else b"n+") + str(version).encode()
    if version == 2:
        header["eol_check"] = list(b"\r\n\x1a\n")
    header["dim"] = [voxels.ndim, *voxels.shape, *(1,) * (7 - voxels.ndim)]
    header["pixdim"] = 1
    header["datatype"] = CODES[voxels.dtype.newbyteorder("=").str[1:]] if code is None else code
    header["bitpix"] = 8 * voxels.dtype.itemsize
    header["scl_slope"] = 1
    header["vox_offset"] = 0 if is_pair else size + 4 + len(extensions or b"")
    if sform is not None:
        header["sform_code"] = 1
        header["srow_x"], header["srow_y"], header["srow_z"] = sform[:3]
        header["pixdim"][1:4] = np.linalg.norm(sform[:3, :3], axis=0)
    if qform is not None:
        _set_qform(header, qform)
    for name, value in fields.items():
        header[name] = value
    flag = b"\1\0\0\0" if extensions else bytes(4)
    body = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F")
    return header.tobytes() + flag + (extensions or b""), body


def _set_qform(header: np.ndarray, affine: np.ndarray) -> None:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    turn = affine[:3, :3] / spacing
    qfac = -1.0 if np.linalg.det(turn) < 0 else 1.0
    quaternion = mat2quat(turn * [1, 1, qfac])
    header["qform_code"] = 1
    header["pixdim"][:4] = [qfac, *spacing]
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion[1:]
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = affine[:3, 3]


def nifti_bytes(voxels: np.ndarray, **options: Any) -> bytes:
    """Returns a whole single file; options as in `header_and_voxels`."""
    return b"".join(header_and_voxels(voxels, **options))


def extension(code: int, content: bytes, *, order: Any = "<", claims: int | None = None) -> bytes:
    """Returns one extension; `claims` lies about its size."""
    size = -(-(len(content) + 8) // 16) * 16
    return struct.pack(order + "2i", size if claims is None else claims, code) + content.ljust(size - 8, b"\0")


def lps(affine_ras: np.ndarray) -> np.ndarray:
    """RAS to LPS: the first two rows change sign."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_ras
