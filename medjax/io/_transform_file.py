"""Affine transforms in ITK's text form: `.tfm` and `.txt`, as SimpleITK, Slicer, elastix and ANTs exchange them.

Source: itkTxtTransformIO.cxx for the form; the ComputeMatrix of each transform class of ITK 5.4 for the parameters.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._geometry._grid import on_host
from medjax._geometry._transform import AffineTransform, stages
from medjax.io._disk._atomic import atomic_file
from medjax.io._disk._opened import as_path, opened
from medjax.io._disk._single import check_known

__all__ = ["load_transform", "save_transform"]

_FIRST_LINE = "#Insight Transform File V1.0"
_MOST_BYTES = 2**20
_SUFFIXES = (".tfm", ".txt")

Matrix = np.ndarray


def load_transform(path: str | os.PathLike[str]) -> AffineTransform:
    """Loads a linear transform from ITK's text form. As in ITK it maps output points to input points, LPS mm.

    Reads affine, translation, scale, Euler, versor, rigid, similarity and scale-skew transforms, and composites of
    them. A composite becomes one transform. As in ITK its last transform is applied first.

    Args:
        path: A `.tfm` or `.txt` file. Only its first line counts, not its name.

    Returns:
        An `AffineTransform` for `transform=`, about the file's centre, or about the origin for a composite.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: the file does not have this form, has too few or too many numbers or some that are not finite,
            or lists several transforms without a composite.
        UnsupportedFileError: a transform has another dimension, or is not linear.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     shift = mj.AffineTransform.of(mj.affine_matrix(translation=(1, 2, 3)))
        ...     mj.io.save_transform(shift, f"{folder}/shift.tfm")
        ...     mj.io.load_transform(f"{folder}/shift.tfm")(np.zeros(3)).tolist()
        [1.0, 2.0, 3.0]
    """
    path = as_path(path)
    entries = _entries(path)
    is_composite = bool(entries) and entries[0][0].startswith("CompositeTransform")
    if is_composite:
        entries = entries[1:]
    if not entries:
        raise ImageFileError(path, "the file holds no transform")
    if len(entries) > 1 and not is_composite:
        raise ImageFileError(
            path,
            f"the file lists {len(entries)} transforms and does not say how they combine",
            "write them as a CompositeTransform, or one to a file",
        )
    made = [_transform(path, *entry) for entry in entries]
    if len(made) == 1:
        return AffineTransform.of(made[0][0], center=made[0][1])
    product = functools.reduce(np.matmul, (_about_origin(*parts) for parts in made))
    return AffineTransform.of(product)


def save_transform(transform: Any, path: str | os.PathLike[str]) -> None:
    """Saves a linear transform exactly, as ITK's AffineTransform in text form. Written beside the target and renamed.

    Args:
        transform: A concrete `AffineTransform`, or a `CompositeTransform` of them, which is saved as their product.
        path: Target, ending in `.tfm` or `.txt`.

    Raises:
        ValueError: the transform is traced, a batch, or not linear (save the images that it brings to a grid).
        UnsupportedFileError: the path has another ending.

    Example:
        >>> import tempfile
        >>> turn = mj.AffineTransform.of(mj.affine_matrix(rotation=(0, 0, 30)), center=(1.5, 0, 0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mj.io.save_transform(turn, f"{folder}/turn.tfm")
        ...     mj.io.load_transform(f"{folder}/turn.tfm").center.tolist()
        [1.5, 0.0, 0.0]
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise UnsupportedFileError(path, f"transforms are written as {' or '.join(_SUFFIXES)}", "choose such a name")
    known = []
    for part in stages(transform):
        if not isinstance(part, AffineTransform):
            raise ValueError(
                f"only affine transforms can be saved, got a {type(part).__name__}; resample with it instead"
            )
        check_known((part.matrix, part.center), path, "transform")
        known.append((on_host(part.matrix), on_host(part.center)))
    for matrix, center in known:
        if matrix.shape != (4, 4) or center.shape != (3,):
            raise ValueError(f"cannot save a batch of transforms of shape {matrix.shape[:-2]}: save them one by one")
        if not (np.isfinite(matrix).all() and np.isfinite(center).all()):
            raise ValueError("cannot save a transform that is not finite")
    if len(known) == 1:
        matrix, center = known[0]
    else:  # the first stage acts first
        matrix = functools.reduce(lambda done, part: _about_origin(*part) @ done, known, np.eye(4))
        center = np.zeros(3)
    numbers = [*matrix[:3, :3].ravel(), *matrix[:3, 3]]
    lines = [
        _FIRST_LINE,
        "#Transform 0",
        "Transform: AffineTransform_double_3_3",
        "Parameters: " + " ".join(repr(float(x)) for x in numbers),
        "FixedParameters: " + " ".join(repr(float(x)) for x in center),
    ]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def _about_origin(matrix: Matrix, center: np.ndarray) -> Matrix:
    """The 4x4 matrix of a transform with a centre."""
    out = matrix.copy()
    out[:3, 3] += center - matrix[:3, :3] @ center
    return out


def _entries(path: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, parameters and fixed parameters of each transform of a file."""
    with opened(path) as file:
        content = file.read(_MOST_BYTES + 1)
    if not content.startswith(_FIRST_LINE[:23].encode()):
        raise ImageFileError(
            path, f"the first line is not {_FIRST_LINE!r}", "only ITK's text form is read; SimpleITK converts others"
        )
    if len(content) > _MOST_BYTES:
        raise UnsupportedFileError(
            path, "more than a megabyte of text: no linear transform", "convert a displacement field to an image"
        )
    found: list[dict[str, str]] = []
    for line in content.decode("utf-8", "replace").splitlines():
        key, colon, value = line.partition(":")
        if line.startswith("#") or not colon:
            continue
        if key.strip() == "Transform":
            found.append({"name": value.strip()})
        elif found and key.strip() in ("Parameters", "FixedParameters"):
            found[-1][key.strip()] = value
    keys = "Parameters", "FixedParameters"
    read = [(entry["name"], [_finite_numbers(path, entry.get(key, ""), key) for key in keys]) for entry in found]
    return [(name, parameters, fixed) for name, (parameters, fixed) in read]


def _finite_numbers(path: Path, text: str, key: str) -> np.ndarray:
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        raise ImageFileError(path, f"{key} are not all numbers: {text[:80]!r}") from None
    if not np.isfinite(values).all():
        raise ImageFileError(path, f"{key} are not all finite: {text[:80]!r}")
    return values


def _transform(path: Path, name: str, parameters: np.ndarray, fixed: np.ndarray) -> tuple[Matrix, np.ndarray]:
    """Matrix and centre of one transform."""
    kind = re.fullmatch(r"(\w+?)_(?:double|float)_(\d+)_(\d+)", name)
    rule = _RULES.get(kind[1]) if kind else None
    if kind is None or rule is None:
        raise UnsupportedFileError(
            path, f"the transform is a {name[:80]!r}, which is not read", f"linear ones are: {', '.join(_RULES)}"
        )
    if (kind[2], kind[3]) != ("3", "3"):
        raise UnsupportedFileError(path, f"{name[:80]} is not a transform of three dimensions")
    counts, make = rule
    if len(parameters) not in counts:
        wanted = " or ".join(map(str, counts))
        raise ImageFileError(path, f"{name} has {wanted} parameters, found {len(parameters)}")
    flags = fixed[3:]
    if len(fixed) not in (0, 3, 4) or (len(flags) and kind[1] != "Euler3DTransform"):
        raise ImageFileError(path, f"{name} has a centre of 3 fixed parameters, found {len(fixed)}")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = make(parameters, bool(flags.any()))
    return matrix, fixed[:3] if len(fixed) else np.zeros(3)


def _turn(axis: int, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    a, b = [d for d in range(3) if d != axis]
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = c
    matrix[a, b], matrix[b, a] = (s, -s) if axis == 1 else (-s, s)
    return matrix


def _versor(right: np.ndarray) -> np.ndarray:
    """Rotation of a unit quaternion whose scalar part is not negative, from its vector part."""
    x, y, z = right
    norm = x * x + y * y + z * z
    if norm > 1:
        x, y, z = (value / np.sqrt(norm) for value in (x, y, z))
    w = np.sqrt(max(0.0, 1 - (x * x + y * y + z * z)))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _euler(p: np.ndarray, is_zyx: bool) -> tuple[np.ndarray, np.ndarray]:
    x, y, z = (_turn(axis, angle) for axis, angle in enumerate(p[:3]))
    return (z @ y @ x if is_zyx else z @ x @ y), p[3:]


def _scale_skew(p: np.ndarray, _: bool) -> tuple[np.ndarray, np.ndarray]:
    """ITK adds scale - 1 and the skews to the rotation's entries; it does not multiply them."""
    matrix = _versor(p[:3]) + np.diag(p[6:9] - 1)
    if len(p) > 9:
        matrix[[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]] += p[9:]
    return matrix, p[3:6]


def _scale_after_skew(p: np.ndarray, _: bool) -> tuple[np.ndarray, np.ndarray]:
    skew = np.array([[1, p[9], p[10]], [0, 1, p[11]], [0, 0, 1]])
    return _versor(p[:3]) @ np.diag(p[6:9]) @ skew, p[3:6]


_NONE = np.zeros(3)


def _affine_parts(parameters: np.ndarray, _: bool) -> tuple[np.ndarray, np.ndarray]:
    """Linear part and translation of the twelve parameters of an affine transform."""
    return parameters[:9].reshape(3, 3), parameters[9:]


# By ITK's class name: the number of parameters, and the function from them to linear part and translation.
_RULES: dict[str, tuple[tuple[int, ...], Callable[[np.ndarray, bool], Any]]] = {
    "AffineTransform": ((12,), _affine_parts),
    "MatrixOffsetTransformBase": ((12,), _affine_parts),
    "Rigid3DTransform": ((12,), _affine_parts),
    "IdentityTransform": ((0,), lambda p, _: (np.eye(3), _NONE)),
    "TranslationTransform": ((3,), lambda p, _: (np.eye(3), p)),
    "ScaleTransform": ((3,), lambda p, _: (np.diag(p), _NONE)),
    "Euler3DTransform": ((6,), _euler),
    "VersorTransform": ((3,), lambda p, _: (_versor(p), _NONE)),
    "VersorRigid3DTransform": ((6,), lambda p, _: (_versor(p[:3]), p[3:])),
    "Similarity3DTransform": ((7,), lambda p, _: (p[6] * _versor(p[:3]), p[3:6])),
    "ScaleVersor3DTransform": ((9,), _scale_skew),
    "ScaleSkewVersor3DTransform": ((15,), _scale_skew),
    "ComposeScaleSkewVersor3DTransform": ((12,), _scale_after_skew),
}
