"""Values that operations take once, per item of a batch or per channel, by one rule: NumPy's broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np

from medjax._geometry._numbers import is_traced

__all__ = ["aligned", "as_array", "check_real", "with_space_axes"]

Shape = tuple[Any, ...]


def as_array(value: Any, name: str) -> Any:
    """Reads a number or a (nested) sequence of numbers: known numbers as NumPy, traced ones as a traced array.

    Args:
        value: Numbers, real, complex or boolean.
        name: The argument that an error names.

    Raises:
        ValueError: the value holds anything else, or rows of different lengths.
    """
    if is_traced(value):
        import jax.numpy as jnp

        return jnp.asarray(value)
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biufcV":
        raise ValueError(f"{name} must be a number, or one per item or channel, got {value!r}")
    return array


def check_real(array: Any, name: str, given: Any) -> None:
    """Raises `ValueError` for complex numbers where only real ones make sense: a cast would drop the imaginary part."""
    if array.dtype.kind == "c":
        raise ValueError(f"{name} must be real, as the image is, got {given!r}")


def aligned(value: Any, batch: Shape, channels: Shape, name: str, *, tail: Shape = ()) -> Any:
    """Gives a value the axes of `(*batch, *channels)`, each of its length or 1, by NumPy's rules of broadcasting.

    For an image with channels, `(c,)` means one value per channel and `(b, 1)` one per item, even where b = c. For an
    image without channels, `(b,)` means one per item. So the size of a batch never changes the meaning of a value.

    Args:
        value: A number or an array. With `tail` each value is itself an array, such as a centre of three numbers.
        batch: Batch axes of the image.
        channels: Channel axes of the image; `()` for a value that cannot differ between channels.
        name: The argument that an error names.
        tail: Axes of one value.

    Returns:
        One value as it is, `(*tail)`; several values as `(*batch, *channels, *tail)`, with length 1 where they are
        shared.

    Raises:
        ValueError: the shape does not broadcast; the message lists the shapes that do, and how to reshape this one.

    Example:
        >>> [aligned(np.ones(shape), (2,), (3,), "fill").shape for shape in [(), (3,), (2, 1), (2, 3)]]
        [(), (1, 3), (2, 1), (2, 3)]
    """
    array = as_array(value, name)
    wanted, shape = (*batch, *channels), tuple(array.shape)
    lead = shape[: len(shape) - len(tail)]
    missing = len(wanted) - len(lead)
    fits = shape[len(lead) :] == tail and missing >= 0
    if not fits or any(n not in (1, m) for n, m in zip(lead, wanted[missing:], strict=True)):
        raise ValueError(_message(shape, tuple(batch), tuple(channels), name, tail))
    return array.reshape((1,) * missing + shape) if lead else array


def with_space_axes(value: Any, batch: Shape, channels: Shape, name: str) -> Any:
    """Gives a value, by the rule of `aligned`, axes of length 1 for i, j, k, so that it broadcasts against the voxels.

    Example:
        >>> with_space_axes(np.ones((2, 1)), (2,), (3,), "fill").shape
        (2, 1, 1, 1, 1)
    """
    array, depth = aligned(value, batch, channels, name), len(batch)
    return array.reshape((*array.shape[:depth], 1, 1, 1, *array.shape[depth:])) if array.ndim else array


def _message(shape: Shape, batch: Shape, channels: Shape, name: str, tail: Shape) -> str:
    per_item = (*batch, *(1 for _ in channels))
    allowed = [f"one of shape {tail}" if tail else "one number"]
    allowed += [f"one per channel {(*channels, *tail)}"] if channels else []
    allowed += [f"one per item {(*per_item, *tail)}"] if batch else []
    allowed += [f"one for each channel of each item {(*batch, *channels, *tail)}"] if batch and channels else []
    hint = f"; for one per item reshape it to {(*per_item, *tail)}" if channels and shape == (*batch, *tail) else ""
    return f"{name} must be {', or '.join(allowed)}; got shape {shape}{hint}"
