"""The anatomy of a head for MR: scalp, skull, fluid, a folded cortex, white matter, ventricles, deep nuclei, face.

LPS mm, the origin in the middle of the brain: x to the left, y to the back, z up. Values are those of a T1-weighted
scan at 3 T, in arbitrary units. A capsule of oil marks the right side, as radiographers stick one to the skin.
"""

from __future__ import annotations

from medjax.datasets._build import Build, Knots
from medjax.datasets._phantom import Phantom
from medjax.datasets._random import Draws
from medjax.datasets._shapes import Folds, Outside, Shape, turn_about

__all__ = ["HEAD_LABELS", "head"]

_NAMES = (
    *("background", "skin", "muscle", "skull", "csf", "grey", "white", "deep_grey", "ventricles", "cerebellum"),
    *("brainstem", "eyes", "airway", "marker"),
)
HEAD_LABELS = dict(enumerate(_NAMES))
_T1 = {
    "skin": 620.0,
    "muscle": 300.0,
    "skull": 70.0,
    "marrow": 420.0,
    "csf": 110.0,
    "grey": 340.0,
    "white": 520.0,
    "deep_grey": 400.0,
    "eyes": 130.0,
    "airway": 15.0,
    "marker": 700.0,
}


def head(seed: int) -> Phantom:
    """A head that differs in size, in the folds and in the ventricles."""
    draws = Draws(seed, "head")
    scale = (draws.uniform(0.95, 1.05), draws.uniform(0.95, 1.05), draws.uniform(0.95, 1.05))
    phase = (draws.uniform(0.0, 1.0), draws.uniform(0.0, 1.0), draws.uniform(0.0, 1.0))
    ventricles = draws.uniform(0.75, 1.35)
    build = Build(draws, scale, HEAD_LABELS, {name: {"t1": value} for name, value in _T1.items()})
    _wrapping(build)
    _cerebrum(build, phase)
    _depth(build, ventricles)
    _below(build, phase)
    _face(build)
    marker = build.ball((-83, 10, 10), (6, 6, 6))
    build.add("marker", "marker", marker)
    build.keep_volume("marker", marker)
    return Phantom(tuple(build.layers), HEAD_LABELS, {"t1": 8.0}, volumes_ml=build.volumes_ml)


def _wrapping(build: Build) -> None:
    """Scalp, neck, muscle, skull with marrow between its tables, fluid."""
    build.add("skin", "skin", build.ball((0, 0, 4), (80, 100, 94)))
    build.add("skin", "skin", build.ball((0, -52, -62), (58, 54, 74)))
    neck = ((-190.0, 0, 24, 64, 66), (-110.0, 0, 16, 60, 66), (-60.0, 0, 10, 62, 74))
    build.add("skin", "skin", build.loft(2, neck, (30, 30)))
    build.add("muscle", "muscle", build.loft(2, [(t, x, y, a - 5, b - 5) for t, x, y, a, b in neck], (30, 30)))
    build.add("muscle", "muscle", build.ball((0, -50, -60), (52, 50, 68)))
    build.add("muscle", "muscle", build.ball((0, 0, -8), (76, 90, 72)))
    build.add("skull", "skull", build.ball((0, 0, 5), (74, 94, 87)))
    build.add("skull", "marrow", build.ball((0, 0, 5.5), (72, 92, 85)), build.bands((0.0, 0.0, 1.0), 60.0, 100.0))
    build.add("skull", "skull", build.ball((0, 0, 6), (69.5, 89.5, 82.5)))
    build.add("csf", "csf", build.ball((0, 0, 6), (67.5, 87.5, 80.5)))
    build.add("muscle", "muscle", build.ball((0, 0, 6), (69, 88, 81)), build.bands((0.0, 0.0, 1.0), -100.0, 100.0))
    build.add("skull", "skull", build.ball((0, -10, -50), (60, 66, 30)), build.bands((0.0, 0.2, 1.0), -55.0, 10.0))


def _lobes(build: Build, shrink: float) -> list[tuple[Shape, ...]]:
    """The cerebrum above its base, and the temporal lobes, smaller by so many mm."""
    floor = Outside(build.bands((0.0, -0.1, 1.0), -120.0 + shrink / 2, 200.0 + shrink))
    lobes: list[tuple[Shape, ...]] = [(build.ball((0, 0, 13), (64.5 - shrink, 84 - shrink, 70 - shrink)), floor)]
    for side in (-1, 1):
        half = (25 - shrink, 42 - shrink, 23 - shrink)
        lobes.append((build.ball((side * 39, -12, -26), half, turn_about(2, side * -0.06)),))
    return lobes


def _cerebrum(build: Build, phase: tuple[float, float, float]) -> None:
    """A rind of grey matter: at the surface and along furrows that are filled with fluid and reach into the depth."""
    furrows, banks = Folds(31.0, phase, -1.0, 0.085), Folds(31.0, phase, -1.0, 0.52)
    for whole, within, deep in zip(*(_lobes(build, mm) for mm in (0.0, 3.2, 16.0)), strict=True):
        build.add("grey", "grey", *whole)
        build.add("white", "white", *within, Outside(banks))
        build.add("white", "white", *deep)
    for whole, (bottom, *_) in zip(_lobes(build, 0.0), _lobes(build, 14.0), strict=True):
        build.add("csf", "csf", *whole, furrows, Outside(bottom))
    for side in (-1, 1):  # the lateral fissure, above the temporal lobe
        main, tilt = _lobes(build, 0.0)[0][0], turn_about(0, 0.15)
        build.add("grey", "grey", build.ball((side * 50, -14, -3), (17, 34, 5.5), tilt), main)
        build.add("csf", "csf", build.ball((side * 53, -14, -3), (14, 31, 1.8), tilt), main)
    floor = _lobes(build, 0.0)[0][1]
    inner = Outside(build.ball((0, 4, 8), (30, 46, 25)))
    build.add("grey", "grey", build.ball((0, 0, 12), (5, 82, 68)), inner, floor)
    build.add("csf", "csf", build.ball((0, 0, 14), (1.5, 86, 70)), inner, floor)
    build.add("white", "white", build.ball((0, 4, 21), (24, 42, 13)))


def _depth(build: Build, ventricles: float) -> None:
    """Ventricles, thalamus, caudate, putamen."""
    for side in (-1, 1):
        build.add("deep_grey", "deep_grey", build.ball((side * 12, 8, 6), (9, 17, 11), turn_about(2, side * -0.2)))
        build.add("deep_grey", "deep_grey", build.ball((side * 27, -4, 5), (6, 18, 12), turn_about(2, side * 0.16)))
        build.add("deep_grey", "deep_grey", build.ball((side * 14, -24, 12), (6.5, 11, 12)))
        v = ventricles
        body: Knots = (
            (-34.0, side * 9, 14, 6 * v, 7 * v),
            (-4.0, side * 9, 22, 6 * v, 5 * v),
            (36.0, side * 22, 12, 8 * v, 9 * v),
        )
        body += ((52.0, side * 26, 6, 5 * v, 6 * v),)
        build.add("ventricles", "csf", build.loft(1, body, (12, 14)))
    build.add("ventricles", "csf", build.ball((0, 4, 3), (1.8 * ventricles, 15, 9)))
    build.add("white", "white", build.ball((0, -2, 24), (1.2, 30, 5)))


def _below(build: Build, phase: tuple[float, float, float]) -> None:
    """Tentorium, cerebellum with its leaves, brainstem, fourth ventricle, cord."""
    build.add("csf", "csf", build.ball((0, 50, -38), (54, 38, 27)))
    leaves = build.bands((0.0, 0.45, 1.0), 0.7, 1.2, 6.5)
    stem = (
        (-170.0, 0, 28, 6, 5),
        (-80.0, 0, 24, 8, 7),
        (-52.0, 0, 18, 13, 13),
        (-34.0, 0, 12, 17, 15),
        (-6.0, 0, 8, 14, 11),
    )
    build.add("csf", "csf", build.loft(2, [(t, x, y, a + 4, b + 4) for t, x, y, a, b in stem[:4]], (10, 10)))
    for side in (-1, 1):
        half = build.ball((side * 23, 50, -39), (29, 33, 22))
        inner = build.ball((side * 18, 46, -39), (17, 18, 11))
        build.add("cerebellum", "grey", half)
        build.add("cerebellum", "csf", half, leaves, Outside(build.ball((side * 23, 50, -39), (24, 28, 17))))
        build.add("cerebellum", "white", inner)
        build.add(
            "cerebellum",
            "white",
            half,
            build.bands((0.0, 0.45, 1.0), 3.95, 1.6, 6.5),
            build.ball((side * 21, 48, -39), (25, 29, 18)),
        )
    build.add("brainstem", "white", build.loft(2, stem, (8, 8)))
    build.add("ventricles", "csf", build.ball((0, 30, -40), (7, 4, 12)))


def _face(build: Build) -> None:
    """Eyes in their fat, the nose with its cavities, jaws, the throat."""
    build.add("skin", "skin", build.ball((0, -102, -56), (12, 17, 24), turn_about(0, 0.25)))
    for side in (-1, 1):
        socket = build.ball((side * 33, -70, -30), (20, 26, 18), turn_about(2, side * 0.12))
        build.add("skull", "skull", socket)
        build.add("skin", "skin", build.ball((side * 33, -72, -30), (18, 26, 16), turn_about(2, side * 0.12)))
        build.add("muscle", "muscle", build.ball((side * 26, -58, -30), (3, 18, 3), turn_about(2, side * 0.24)))
        eye = build.ball((side * 33, -83, -30), (12, 12, 12))
        build.add("eyes", "eyes", eye)
        build.add("eyes", "muscle", build.ball((side * 33, -92, -30), (5, 2.4, 5)))
        build.add("airway", "airway", build.ball((side * 28, -68, -60), (15, 19, 15)))
        build.add("airway", "airway", build.ball((side * 5, -74, -58), (3, 28, 16)))
        build.add("skull", "skull", build.ball((side * 36, -56, -108), (7, 40, 14), turn_about(2, side * -0.26)))
        build.add("skull", "marrow", build.ball((side * 36, -56, -108), (4, 36, 10), turn_about(2, side * -0.26)))
    build.add("muscle", "muscle", build.ball((0, -56, -98), (24, 32, 18)))
    build.add(
        "airway",
        "airway",
        build.loft(2, ((-185.0, 0, -8, 9, 8), (-120.0, 0, -14, 11, 6), (-62.0, 0, -28, 11, 8)), (8, 8)),
    )
    spine = ((-190.0, 0, 14, 13, 9), (-84.0, 0, 2, 12, 9))
    build.add("skull", "marrow", build.loft(2, spine, (6, 6)), Outside(build.bands((0.0, 0.0, 1.0), -86.0, 4.0, 19.0)))
