"""What a person sees of an image: its repr, its pictures in a notebook, and the figure that compares two."""

from __future__ import annotations

import base64
import itertools
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orientations import CODES
from scipy.spatial.transform import Rotation

import medjax as mj
from medjax import Image, Metadata

# Private: the pixels of the pictures, which users only see as PNG in HTML; `medjax convert` and the demo write the figure.
from medjax._image import _picture
from medjax._image._picture import Panel, grey_range, png, to_colours, to_grey
from medjax._show._figure import save_comparison

SHAPE = (5, 6, 7)


def head(code: Any = "LPS", **options: Any) -> Image:
    """A volume with a mark on its left, on its back and on its top face, stored in any orientation."""
    voxels = np.zeros(SHAPE, np.float32)
    voxels[4, 3, 3], voxels[2, 5, 3], voxels[2, 3, 6], voxels[2, 3, 3] = 1.0, 2.0, 3.0, 4.0
    image = Image.from_array(voxels, spacing=(1.0, 2.0, 3.0), origin=(-40, 7, 90), **options)
    return mj.change_orientation(image, code)


def panels(image: Image, center: np.ndarray | None = None) -> list[Panel]:
    return _picture.panels(image.voxels, image.grid, center)


def html(image: Image) -> str:
    return image._repr_html_()


def decoded(data: bytes) -> np.ndarray:
    """Reads a PNG made by `png`, checking its signature and checksums."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(name + body)
        chunks[name], at = body, at + 12 + length
    columns, rows, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape((rows, columns) if colour == 0 else (rows, columns, 3))


def pictures(text: str) -> list[tuple[np.ndarray, int, int]]:
    """Pixels, width and height on the page of each picture in an HTML text."""
    found = re.findall(r'base64,([^"]+)".*?width:(\d+)px;height:(\d+)px', text)
    return [(decoded(base64.b64decode(data)), int(width), int(height)) for data, width, height in found]


# --- One line --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (head("RAS"), "Image(5x6x7 float32 intensity, spacing 1 x 2 x 3 mm, RAS)"),
        (head(metadata=Metadata(modality="CT")), "Image(5x6x7 float32 intensity, spacing 1 x 2 x 3 mm, LPS, CT)"),
        (mj.stack([head(), head()]), "Image(batch (2,) of 5x6x7 float32 intensity)"),
        (
            Image.from_array(np.zeros((2, 3, 4, 5), np.int16), spacing=0.123456, kind="label"),
            "Image(2x3x4 int16 label, channels 5, spacing 0.1235 x 0.1235 x 0.1235 mm, LPS)",
        ),
        (Image(0, None), "Image(voxels=0, affine=None, kind='intensity')"),
    ],
)
def test_repr_is_one_line_that_says_what_it_is(image: Image, expected: str) -> None:
    assert repr(image) == expected


def test_repr_names_no_patient() -> None:
    image = head(metadata=Metadata(modality="PT", patient_id="ID-4711", extra={"PatientName": "Doe^Jane"}))
    assert not re.search("4711|Doe", repr(image) + html(image))


def test_repr_under_transformations() -> None:
    seen = []

    def look(image: Image) -> Any:
        seen.append((repr(image), html(image)))
        return image.voxels

    jax.jit(look)(head())
    jax.vmap(look)(mj.stack([head(), head()]))
    assert seen == [(text, f"<code>{text}</code>") for text in ["Image(5x6x7 float32 intensity, traced)"] * 2]


# --- Panels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES)
def test_panels_look_the_same_however_the_image_is_stored(code: str) -> None:
    for shown, expected in zip(panels(head(code)), panels(head()), strict=True):
        np.testing.assert_array_equal(shown.pixels, expected.pixels)
        assert shown.edges == expected.edges
        np.testing.assert_allclose(shown.extent, expected.extent, rtol=0, atol=1e-12)


def test_panels_are_in_radiological_view() -> None:
    """Seen from the feet and from the front: left of the patient at the right, anterior and superior at the top."""
    axial, coronal, sagittal = panels(head())
    assert [panel.name for panel in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    assert axial.edges == ("R", "L", "P", "A")
    assert coronal.edges == ("R", "L", "I", "S")
    assert sagittal.edges == ("A", "P", "I", "S")
    assert axial.pixels.shape == (6, 5)
    assert axial.pixels[3, 4] == 1.0  # the left mark, at the right
    assert axial.pixels[5, 2] == 2.0  # the back mark, at the bottom
    assert coronal.pixels[0, 2] == 3.0  # the top mark, at the top
    assert coronal.pixels[3, 4] == 1.0
    assert sagittal.pixels[0, 3] == 3.0
    assert sagittal.pixels[3, 5] == 2.0


def test_panels_are_in_true_proportion_and_place() -> None:
    """Extents in mm from the point that was asked for, outer face to outer face."""
    image = head()
    center = np.array(image.origin)  # the centre of voxel (0, 0, 0)
    axial, coronal, _ = panels(image, center)
    assert axial.extent == (-0.5, 4.5, 11.0, -1.0)  # 5 voxels of 1 mm across, 6 of 2 mm down
    assert coronal.extent == (-0.5, 4.5, -1.5, 19.5)
    assert (axial.millimetres, coronal.millimetres) == ((5.0, 12.0), (5.0, 21.0))
    np.testing.assert_array_equal(axial.pixels, np.asarray(image.voxels)[:, :, 0].T)


def test_panels_of_an_oblique_scan_follow_its_axes() -> None:
    turn = Rotation.from_euler("xyz", (12, -8, 20), degrees=True).as_matrix()
    image = Image.from_array(head().voxels, direction=turn, spacing=(1, 2, 3), origin=(-40, 7, 90))
    for shown, expected in zip(panels(image), panels(head()), strict=True):
        np.testing.assert_array_equal(shown.pixels, expected.pixels)
        np.testing.assert_allclose(shown.extent, expected.extent, atol=1e-12)


def test_a_point_outside_shows_the_nearest_slice() -> None:
    far = panels(head(), np.array([1e6, 1e6, 1e6]))
    np.testing.assert_array_equal(far[0].pixels, np.asarray(head().voxels)[:, :, -1].T)


# --- Grey values, colours, PNG ---------------------------------------------------------------------------------------


def panel_of(values: Any) -> Panel:
    return Panel("axial", np.atleast_2d(values), (0.0, 1.0, 0.0, 1.0), ("R", "L", "P", "A"))


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.arange(1001.0), 5.0, 995.0),
        ([np.nan, np.inf, -np.inf, 2.0, 4.0], 2.01, 3.99),
        ([np.nan], 0.0, 1.0),
        ([3.0, 3.0], 3.0, 4.0),
        ([0.0] * 999 + [7.0], 0.0, 7.0),  # mostly background
        (np.array([True, False]), 0.005, 0.995),
        (np.array([-1000, 3000], np.int16), -980.0, 2980.0),
    ],
)
def test_grey_range(values: Any, low: float, high: float) -> None:
    assert grey_range([panel_of(values)]) == pytest.approx((low, high))


def test_greys_are_clamped_and_gaps_are_black() -> None:
    values = np.array([[-5.0, 0.0, 5.0, 10.0, 20.0, np.nan, np.inf, -np.inf]])
    assert to_grey(values, 0.0, 10.0).tolist() == [[0, 0, 127, 255, 255, 0, 255, 0]]


def test_labels_have_distinct_colours_and_the_background_is_black() -> None:
    labels = np.arange(24).reshape(4, 6)
    colours = to_colours(labels)
    assert colours.shape == (4, 6, 3)
    assert not colours[0, 0].any()
    flat = colours.reshape(-1, 3).astype(int)
    apart = [np.abs(a - b).max() for a, b in itertools.combinations(flat[:12], 2)]
    assert min(apart) > 20  # of 255: a dozen labels are told apart by eye
    assert len({tuple(colour) for colour in flat}) == 24
    np.testing.assert_array_equal(to_colours(labels[2:3]), colours[2:3])  # a colour belongs to the label, not the slice
    assert to_colours(np.array([[False, True]])).any(axis=-1).tolist() == [[False, True]]
    assert to_colours(np.array([[-3, 2**40]])).any(axis=-1).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 31), (2, 4, 3)])
def test_png_holds_the_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(decoded(png(pixels)), pixels)


def test_png_is_read_by_matplotlib(tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.image")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    (tmp_path / "x.png").write_bytes(png(pixels))
    np.testing.assert_array_equal(np.round(pyplot.imread(tmp_path / "x.png") * 255), pixels)


# --- In a notebook ---------------------------------------------------------------------------------------------------


def test_notebook_shows_three_slices_in_true_proportion() -> None:
    text = head("SRA")._repr_html_()
    assert repr(head("SRA")) in text
    shown = pictures(text)
    sizes = [(width, height) for _, width, height in shown]
    assert sizes == [(38, 91), (38, 160), (91, 160)]  # 5 x 12, 5 x 21, 12 x 21 mm, the longest 160 pixels
    for (pixels, _, _), panel in zip(shown, panels(head()), strict=True):
        np.testing.assert_array_equal(pixels, to_grey(panel.pixels, *grey_range(panels(head()))))


@pytest.mark.parametrize(
    "image",
    [
        mj.stack([head(), head()]),
        jax.device_put(head()),
        Image.from_array(np.asarray(head().voxels)[..., None] * np.ones(3), spacing=(1.0, 2.0, 3.0)),
    ],
    ids=["batch", "device", "channels"],
)
def test_notebook_shows_the_first_of_several(image: Image) -> None:
    for (pixels, _, _), (expected, _, _) in zip(pictures(html(image)), pictures(html(head())), strict=True):
        np.testing.assert_array_equal(pixels, expected)


def test_notebook_shows_labels_in_colour() -> None:
    labels = Image.from_array(np.asarray(head().voxels, np.uint8), spacing=(1.0, 2.0, 3.0), kind="label")
    for (pixels, _, _), panel in zip(pictures(html(labels)), panels(labels), strict=True):
        np.testing.assert_array_equal(pixels, to_colours(panel.pixels))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 500, 1), (400, 2, 3)])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, jnp.bfloat16, np.float64])
def test_notebook_shows_any_shape_and_dtype(shape: tuple[int, ...], dtype: Any) -> None:
    shown = pictures(html(Image.from_array(np.ones(shape, dtype), spacing=(0.1, 1.0, 10.0))))
    assert len(shown) == 3
    assert all(1 <= side <= 160 for _, width, height in shown for side in (width, height))


def test_notebook_of_a_large_image_stays_small() -> None:
    voxels = np.random.default_rng(0).integers(0, 255, (500, 400, 40), np.uint8)
    assert len(html(Image.from_array(voxels))) < 200_000


def test_complex_images_have_text_only() -> None:
    image = Image.from_array(np.ones((2, 3, 4), np.complex64))
    assert html(image) == f"<code>{image!r}</code>"


# --- The figure that compares two images -----------------------------------------------------------------------------


def shown_by(before: Image, after: Image, path: Path, **options: Any) -> np.ndarray:
    image = pytest.importorskip("matplotlib.image")
    save_comparison(before, after, path, **options)
    return np.round(image.imread(path)[..., :3] * 255).astype(int)


def test_comparison_of_an_image_with_itself_shows_it_twice(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    image = Image.from_array(rng.normal(size=(9, 8, 6)), spacing=(3.0, 2.0, 4.0))
    pixels = shown_by(image, mj.change_orientation(image, "SRA"), tmp_path / "same.png")
    body = pixels[48:]
    columns = np.flatnonzero((body == body[:1]).all(axis=(0, 2)))
    assert columns.size  # black gaps between and beside the panels
    period = round((5.2 + 0.3) * 120)
    left = body[:, 30 : 30 + period - 60]
    right = body[:, 30 + period : 30 + 2 * period - 60]
    np.testing.assert_allclose(left, right, atol=2)  # rounding of the panels' places


def test_comparison_keeps_field_of_view_and_window(tmp_path: Path) -> None:
    """What is cropped away is black in the second column, and what stays has the place and the grey it had."""
    left, _, up = np.mgrid[:10, :10, :10].astype(float)
    image = Image.from_array(10 * left + up, spacing=2.0)
    half = mj.crop(image, (5, 0, 0), (5, 10, 10))
    pixels = shown_by(image, half, tmp_path / "crop.png")[..., 0]
    period, gap, side = round(5.5 * 120), 36, round(5.2 * 120)
    voxel = side / 10
    centers = ((np.arange(10) + 0.5) * voxel).astype(int)
    row = 48 + side // 4  # of the axial panels, beside the letters
    before, after = pixels[row, gap + centers], pixels[row, gap + period + centers]
    low, high = grey_range(panels(image))
    np.testing.assert_allclose(
        before, 255 * (10.0 * np.arange(10) + 5 - low).clip(0, high - low) / (high - low), atol=2
    )
    np.testing.assert_array_equal(after[5:], before[5:])
    assert not after[:5].any()
    column = pixels[48 + side + 18 + centers, gap + round(2.5 * voxel)]  # of the first coronal panel
    assert (np.diff(column.astype(int)) < 0).all()  # superior, which is brighter, at the top


def test_comparison_has_captions_and_takes_labels_and_devices(tmp_path: Path) -> None:
    image = head()
    labels = image.with_voxels(np.asarray(image.voxels, np.uint8)).with_kind("label")
    pixels = shown_by(jax.device_put(labels), labels, tmp_path / "labels.png", titles=("this", "that"))
    spread = pixels.max(axis=-1) - pixels.min(axis=-1)
    assert (spread > 80).sum() > 1000  # colours
    assert pixels[:40].max() > 200  # white text


def test_comparison_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    backend, figures = pyplot.get_backend(), pyplot.get_fignums()
    save_comparison(head(), head("RAS"), tmp_path / "x.png")
    assert (pyplot.get_backend(), pyplot.get_fignums()) == (backend, figures)
