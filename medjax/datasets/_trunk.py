"""The anatomy of a PET/CT from the head to the thighs: shapes, attenuation, uptake of FDG.

LPS mm before the patient's own size is applied: x to the left, y to the back, z to the head, the origin in front of the
second lumbar vertebra. Sizes of organs are those of textbooks; Hounsfield units and uptakes are usual values. Each
patient differs in stature, girth, positions, sizes and uptakes.
"""

from __future__ import annotations

from collections.abc import Mapping

from medjax.datasets._build import Build, Knots
from medjax.datasets._phantom import Lesion, Phantom
from medjax.datasets._random import Draws
from medjax.datasets._shapes import Ellipsoid, Folds, Outside, turn_about

__all__ = ["FIRST_LESION", "LABELS", "SITES", "trunk"]

_NAMES = (
    *("background", "fat", "muscle", "bone", "spine", "lung_right", "lung_left", "airway", "heart", "blood", "liver"),
    *("spleen", "kidney_right", "kidney_left", "bladder", "stomach", "bowel", "gas", "brain_grey", "brain_white"),
    *("fluid", "gallbladder"),
)
LABELS = dict(enumerate(_NAMES))
FIRST_LESION = 31

# Attenuation in Hounsfield units, and uptake of FDG in g/ml.
_TISSUE = {
    "fat": (-100, 0.25),
    "muscle": (55, 0.7),
    "bone": (480, 0.9),
    "marrow": (190, 1.3),
    "spine": (230, 1.8),
    "disc": (80, 0.8),
    "lung": (-830, 0.45),
    "airway": (-990, 0.2),
    "heart": (110, 4.0),
    "blood": (150, 1.7),
    "liver": (105, 2.3),
    "spleen": (115, 2.0),
    "kidney": (170, 3.2),
    "pelvis": (25, 9.0),
    "bladder": (8, 18.0),
    "stomach": (45, 1.6),
    "bowel": (40, 1.3),
    "gas": (-900, 0.3),
    "grey": (38, 9.0),
    "white": (30, 3.5),
    "fluid": (8, 0.4),
    "gallbladder": (10, 0.6),
}
# Where lesions may lie, in even surroundings: centre, largest radius, uptake around, HU of the lesion.
SITES: Mapping[str, tuple[tuple[float, float, float], float, str, float]] = {
    "lung_right_upper": ((-62, 32, 146), 12.0, "lung", 40),
    "liver_segment_8": ((-88, -24, 4), 13.0, "liver", 70),
    "lung_left_lower": ((80, 42, 62), 12.0, "lung", 40),
    "liver_segment_6": ((-90, 14, -36), 12.0, "liver", 65),
    "lung_right_lower": ((-74, 44, 84), 11.0, "lung", 40),
    "gluteus_left": ((84, 69, -262), 9.0, "muscle", 50),
    "gluteus_right": ((-84, 69, -262), 9.0, "muscle", 50),
    "thigh_left": ((82, 50, -425), 12.0, "muscle", 50),
}


class _Body(Build):
    """A patient's size, girth and uptakes."""

    def __init__(self, seed: int):
        draws = Draws(seed, "body")
        width, depth = draws.uniform(0.92, 1.06), draws.uniform(0.9, 1.08)
        stature = draws.uniform(0.94, 1.04)
        self.fat_mm = draws.uniform(11.0, 24.0)
        uptake = {name: suv for name, (_, suv) in _TISSUE.items()}
        for name, low, high in (("heart", 0.5, 1.7), ("bladder", 0.5, 2.0), ("pelvis", 0.6, 1.5), ("grey", 0.8, 1.2)):
            uptake[name] *= draws.uniform(low, high)
        for name in ("liver", "spleen", "blood", "spine", "muscle", "kidney", "stomach", "bowel"):
            uptake[name] *= draws.uniform(0.88, 1.12)
        tissues = {name: {"hu": float(hu), "suv": uptake[name]} for name, (hu, _) in _TISSUE.items()}
        super().__init__(draws, (width, depth, stature), LABELS, tissues)
        self.liver_size, self.liver_lift = draws.uniform(0.95, 1.04), draws.uniform(-6.0, 4.0)


def trunk(seed: int, lesions: int, visit: int = 1) -> Phantom:
    """A patient with so many lesions, at a visit."""
    body = _Body(seed)
    _outline(body)
    _head(body)
    _skeleton(body)
    _chest(body)
    _abdomen(body)
    _pelvis(body)
    found = _lesions(seed, body, lesions, visit)
    names = {**LABELS, **{one.label: f"lesion_{n + 1}" for n, one in enumerate(found)}}
    air = {"hu": -1000.0, "suv": 0.0}
    return Phantom(tuple(body.layers), names, air, lesions=found, volumes_ml=body.volumes_ml)


# Outline of the trunk without its fat: z, centre x and y, half axes. The shoulders are wide, the waist is narrow.
_TRUNK = (
    (-350.0, 0, 14, 156, 92),
    (-250.0, 0, 14, 158, 100),
    (-150.0, 0, 6, 142, 94),
    (-60.0, 0, 2, 138, 92),
    (60.0, 0, 4, 150, 100),
    (150.0, 0, 6, 158, 92),
    (205.0, 0, 12, 172, 72),
    (246.0, 0, 18, 110, 52),
)


def _outline(body: _Body) -> None:
    """Skin and fat, muscle, the fat of the belly; neck, arms above the head, thighs."""
    f = body.fat_mm
    fat = [(t, x, y + (0 if t > 0 else -2), a + f, b + f * 0.9) for t, x, y, a, b in _TRUNK]
    body.add("fat", "fat", body.loft(2, fat, (44, 55)))
    limbs = []
    for side in (-1, 1):
        legs = ((-640.0, side * 88, 18, 62, 66), (-420.0, side * 86, 20, 78, 82), (-262.0, side * 78, 14, 80, 90))
        arm: Knots = ((150.0, side * 150, 22, 36, 38), (230.0, side * 172, 12, 42, 42), (330.0, side * 152, 2, 40, 42))
        arm += ((500.0, side * 118, -12, 36, 38), (620.0, side * 92, -20, 34, 36))
        limbs += [(side, legs, (30.0, 70.0)), (side, arm, (60.0, 40.0))]
    for grown in (f * 0.7, 0.0):
        tissue = "fat" if grown else "muscle"
        for _, knots, caps in limbs:
            body.add(
                tissue, tissue, body.loft(2, [(t, x, y, a + grown - 8, b + grown - 8) for t, x, y, a, b in knots], caps)
            )
    neck = ((196.0, 0, 20, 72, 52), (250.0, 0, 14, 58, 58), (330.0, 0, 2, 56, 64), (372.0, 0, 6, 56, 62))
    body.add("fat", "fat", body.loft(2, [(t, x, y, a + 5, b + 5) for t, x, y, a, b in neck], (30, 40)))
    body.add("muscle", "muscle", body.loft(2, _TRUNK, (44, 50)))
    body.add("muscle", "muscle", body.loft(2, neck, (30, 40)))
    cavity = ((-205.0, 0, -12, 96, 58), (-130.0, 0, -20, 116, 64), (-50.0, 0, -16, 120, 72), (40.0, 0, -8, 124, 82))
    body.add("fat", "fat", body.loft(2, cavity, (70, 60)))


def _head(body: _Body) -> None:
    """Scalp, skull, brain with a grey rind and folds, ventricles, face, jaw and airways."""
    cortex = Folds(24.0, (0.13, 0.41, 0.27), 0.42, 9.0)
    body.add(
        "fat",
        "fat",
        body.ball((0, 2, 420), (80, 100, 98)),
    )
    body.add("muscle", "muscle", body.ball((0, -46, 352), (58, 54, 66)))
    body.add("muscle", "muscle", body.ball((0, 2, 420), (76, 96, 94)))
    body.add("bone", "bone", body.ball((0, 2, 422), (74, 94, 91)))
    brain = body.ball((0, 2, 424), (67, 86, 83))
    body.add("fluid", "fluid", brain)
    body.add("muscle", "muscle", brain, body.bands((0.0, 0.0, 1.0), 300.0, 170.0))
    grey = body.ball((0, 2, 425), (64, 83, 80))
    above = Outside(body.bands((0.0, 0.0, 1.0), 300.0, 176.0))
    body.add("brain_grey", "grey", grey, above)
    body.add("brain_white", "white", body.ball((0, 2, 425), (58, 77, 74)), above, cortex)
    body.add("brain_white", "white", body.ball((0, 2, 430), (44, 62, 50)), above)
    for side in (-1, 1):
        body.add("brain_grey", "grey", body.ball((side * 24, 2, 424), (12, 24, 14), turn_about(2, 0.12 * side)))
        body.add("fluid", "fluid", body.ball((side * 11, -4, 440), (6, 34, 11), turn_about(2, 0.08 * side)))
        body.add("brain_grey", "grey", body.ball((side * 38, -8, 379), (20, 38, 19)))
        body.add("brain_white", "white", body.ball((side * 38, -8, 379), (11, 27, 11)))
    base = body.bands((0.0, 0.0, 1.0), 350.0, 14.0)
    body.add("bone", "bone", body.ball((0, -20, 350), (60, 62, 30)), base)
    body.add("brain_grey", "grey", body.ball((0, 52, 376), (46, 30, 21)))
    body.add("brain_white", "white", body.ball((0, 22, 374), (14, 14, 34)))
    for side in (-1, 1):
        body.add("bone", "bone", body.ball((side * 32, -72, 388), (19, 22, 18)))
        body.add("fat", "fat", body.ball((side * 32, -74, 388), (17, 24, 16)))
        body.add("fluid", "fluid", body.ball((side * 32, -84, 388), (12, 12, 12)))
        body.add("bone", "bone", body.ball((side * 27, -66, 352), (20, 24, 20)))
        body.add("airway", "airway", body.ball((side * 27, -66, 352), (17, 21, 17)))
        body.add("bone", "bone", body.ball((side * 38, -46, 310), (6, 40, 12), turn_about(2, -0.3 * side)))
    body.add("airway", "airway", body.ball((0, -70, 360), (9, 26, 18)))
    body.add(
        "airway",
        "airway",
        body.loft(2, ((238.0, 0, -14, 8, 8), (300.0, 0, -14, 11, 8), (356.0, 0, -30, 11, 9)), (12, 12)),
    )
    body.add("muscle", "muscle", body.ball((0, -56, 318), (22, 30, 14)))


def _skeleton(body: _Body) -> None:
    """Ribs, breastbone, collar and shoulder bones, arm bones, pelvis, thigh bones."""
    cage = ((-70.0, 0, 2, 132, 84), (60.0, 0, 4, 132, 88), (150.0, 0, 10, 112, 76), (222.0, 0, 22, 62, 44))
    outer = body.loft(2, cage, (30, 40))
    inner = body.loft(2, [(t, x, y, a - 8, b - 8) for t, x, y, a, b in cage], (30, 40))
    ribs = body.bands((0.0, -0.5, 1.0), 4.0, 10.5, 27.0)
    body.add("bone", "bone", outer, Outside(inner), ribs, Outside(body.ball((0, -92, -66), (100, 70, 100))))
    body.add(
        "bone",
        "marrow",
        body.loft(2, ((52.0, 0, -86, 17, 6), (120.0, 0, -72, 15, 6), (196.0, 0, -38, 24, 7)), (20, 12)),
    )
    for side in (-1, 1):
        body.add("bone", "bone", body.ball((side * 72, -24, 214), (66, 8, 7), turn_about(2, side * 0.22)))
        body.add("bone", "bone", body.ball((side * 112, 66, 150), (38, 6, 62), turn_about(2, side * -0.22)))
        body.add("bone", "bone", body.ball((side * 158, 18, 212), (25, 25, 25)))
        body.add(
            "bone",
            "bone",
            body.loft(
                2,
                ((206.0, side * 160, 16, 13, 13), (340.0, side * 148, 2, 11, 11), (520.0, side * 110, -14, 12, 12)),
                (12, 12),
            ),
        )
        wing = body.ball((side * 92, 32, -192), (12, 62, 64), turn_about(2, side * 0.36))
        body.add("bone", "bone", wing)
        body.add("bone", "marrow", body.ball((side * 92, 32, -192), (8, 57, 58), turn_about(2, side * 0.36)))
        body.add("bone", "bone", body.ball((side * 88, 14, -268), (32, 30, 32)))
        body.add("bone", "bone", body.ball((side * 34, -50, -292), (42, 11, 13), turn_about(2, side * 0.2)))
        body.add("bone", "bone", body.ball((side * 50, 34, -312), (14, 20, 30)))
        body.add("muscle", "muscle", body.ball((side * 90, 12, -270), (26.5, 26, 26.5)))
        body.add("bone", "marrow", body.ball((side * 90, 12, -270), (24, 24, 24)))
        shaft = ((-520.0, side * 88, 12, 14, 14), (-350.0, side * 112, 14, 17, 17), (-296.0, side * 122, 18, 20, 20))
        body.add("bone", "bone", body.loft(2, shaft, (10, 24)))
        body.add("bone", "bone", body.ball((side * 106, 14, -284), (27, 13, 12), turn_about(1, side * 0.35)))
        body.add("fat", "fat", body.loft(2, [(t, x, y, 7, 7) for t, x, y, _, _ in shaft], (10, 24)))
    _spine(body)


def _spine(body: _Body) -> None:
    """Vertebrae with discs between, arches and spinous processes around a canal, the sacrum."""
    line: Knots = ((-172.0, 0, 38, 24, 18), (-120.0, 0, 24, 25, 18), (-40.0, 0, 26, 24, 18), (60.0, 0, 42, 19, 16))
    line += ((150.0, 0, 48, 15, 13), (240.0, 0, 26, 12, 9), (330.0, 0, 16, 11, 8))
    discs = body.bands((0.0, 0.0, 1.0), -172.0, 7.0, 33.0)
    behind = [(t, x, y + b + 12, a * 0.75, 15) for t, x, y, a, b in line]
    process = [(t, x, y + b + 24, 4, 17) for t, x, y, a, b in line]
    gaps = body.bands((0.0, 0.35, 1.0), -160.0, 15.0, 33.0)
    body.add("spine", "spine", body.loft(2, process, (8, 8)), Outside(gaps))
    wide = [(t, x, y + b + 6, a * 1.75, 5) for t, x, y, a, b in line]
    body.add("spine", "spine", body.loft(2, wide, (8, 8)), body.bands((0.0, 0.0, 1.0), -155.0, 13.0, 33.0))
    body.add("spine", "spine", body.loft(2, behind, (8, 8)), Outside(gaps))
    body.add("spine", "spine", body.loft(2, line, (8, 8)))
    body.add("muscle", "disc", body.loft(2, line, (8, 8)), discs)
    sacrum = ((-282.0, 0, 84, 14, 8), (-230.0, 0, 80, 36, 16), (-170.0, 0, 50, 48, 22))
    body.add("spine", "spine", body.loft(2, sacrum, (16, 14)))
    body.add("fluid", "fluid", body.loft(2, [(t, x, y + b + 11, 9, 8) for t, x, y, _, b in line], (8, 8)))
    body.add("muscle", "disc", body.loft(2, [(t, x, y + b + 11, 5, 4.5) for t, x, y, _, b in line[2:]], (8, 8)))


def _chest(body: _Body) -> None:
    """Lungs, what lies between them, the heart with its chambers, the great vessels, the windpipe."""
    lungs = {
        -1: ((-10.0, -76, 22, 44, 58), (60.0, -70, 10, 48, 70), (140.0, -60, 18, 42, 58), (216.0, -38, 30, 22, 30)),
        1: ((-18.0, 76, 26, 42, 54), (60.0, 74, 16, 44, 66), (140.0, 60, 20, 41, 56), (214.0, 38, 30, 22, 30)),
    }
    for side, knots in lungs.items():
        body.add("lung_right" if side < 0 else "lung_left", "lung", body.loft(2, knots, (24, 44)))
    body.add("fat", "fat", body.loft(2, ((20.0, 4, 0, 28, 56), (120.0, 2, 0, 26, 44), (200.0, 0, 6, 26, 26)), (20, 20)))
    turn = turn_about(2, 0.36) @ turn_about(1, 0.3)
    body.add("fat", "fat", body.ball((22, -26, 62), (62, 46, 48), turn))
    body.add("heart", "blood", body.ball((16, -28, 64), (57, 41, 43), turn))
    body.add("heart", "heart", body.organ((40, -32, 54), (44, 31, 32), turn, 2.0))
    body.add("blood", "blood", body.ball((36, -30, 58), (32, 19, 20), turn))
    body.add("blood", "blood", body.ball((6, 6, 80), (36, 20, 26)))
    arch = ((84.0, 0, -16, 14, 14), (124.0, -12, -22, 15, 15), (152.0, -6, -12, 15, 16))
    body.add("blood", "blood", body.loft(2, arch, (14, 14)))
    body.add("blood", "blood", body.ball((6, 6, 150), (20, 36, 13), turn_about(2, -0.18)))
    aorta = ((-138.0, 4, -4, 9, 9), (-60.0, 10, 0, 10, 10), (40.0, 16, 20, 11, 11), (152.0, 18, 30, 12, 12))
    body.add("blood", "blood", body.loft(2, aorta, (6, 12)))
    body.add("blood", "blood", body.ball((14, -14, 112), (34, 12, 12), turn_about(2, -0.2)))
    body.add("blood", "blood", body.loft(2, ((92.0, -24, -8, 10, 10), (200.0, -22, -10, 9, 9)), (10, 14)))
    body.add("muscle", "muscle", body.loft(2, ((20.0, 4, 18, 7, 6), (240.0, 2, 16, 8, 6)), (8, 8)))
    body.add("airway", "airway", body.loft(2, ((128.0, 0, 4, 8, 8), (250.0, 0, -6, 9, 9)), (8, 8)))
    for side in (-1, 1):
        body.add("airway", "airway", body.ball((side * 22, 8, 120), (26, 6, 6), turn_about(1, side * 0.3)))
        vessels = ((side * 40, 6, 104, 30, 0.2), (side * 46, 20, 84, 36, 0.75), (side * 50, 2, 126, 32, -0.6))
        for x, y, z, length, tilt in vessels:
            body.add("blood", "blood", body.ball((x, y, z), (length, 4.5, 4.5), turn_about(1, tilt * side)))


def _abdomen(body: _Body) -> None:
    """Liver and gallbladder, spleen, stomach, bowel, kidneys, the vena cava."""
    wall = body.loft(2, ((-225.0, 0, -14, 84, 46), (-120.0, 0, -26, 104, 52), (-40.0, 0, -24, 110, 50)), (50, 24))
    low = Outside(body.ball((0, 60, -90), (140, 58, 150)))
    loops = (0.1, 0.35, 0.6)
    body.add("bowel", "bowel", wall, low, Folds(66.0, loops, 0.33, 9.0))
    body.add("gas", "gas", wall, low, Folds(66.0, loops, 1.2, 9.0), Outside(body.ball((0, 20, -100), (140, 46, 150))))
    for side in (-1, 1):
        colon = ((-165.0, side * 96, -6, 20, 19), (-70.0, side * 104, 4, 18, 18))
        body.add("bowel", "bowel", body.loft(2, colon, (20, 20)))
        body.add("gas", "gas", body.loft(2, [(t, x, y - 6, 11, 9) for t, x, y, _, _ in colon], (20, 20)))
        psoas = ((-230.0, side * 62, -2, 17, 18), (-150.0, side * 46, 16, 22, 22), (-50.0, side * 32, 28, 12, 12))
        body.add("muscle", "muscle", body.loft(2, psoas, (16, 20)))
    body.add("muscle", "muscle", body.ball((74, 12, -6), (56, 62, 22)))
    body.add(
        "blood",
        "blood",
        body.loft(2, ((-140.0, -22, 0, 11, 9), (-60.0, -24, 2, 12, 10), (-30.0, -24, 4, 12, 10)), (8, 8)),
    )
    stomach = body.organ((52, -34, -20), (34, 34, 46), turn_about(1, -0.3))
    body.add("stomach", "stomach", stomach)
    body.add("gas", "gas", body.ball((58, -52, -6), (20, 12, 18)))
    size, lift = body.liver_size, body.liver_lift
    liver = body.loft(0, [(t, p, q + lift, a * size, b * size) for t, p, q, a, b in _LIVER], (30, 34))
    body.add("liver", "liver", liver)
    body.keep_volume("liver", liver)
    spleen = body.organ((104, 44, -4), (22, 38, 46), turn_about(2, 0.3))
    body.add("spleen", "spleen", spleen)
    body.keep_volume("spleen", spleen)
    for side, label in ((-1, "kidney_right"), (1, "kidney_left")):
        z = -112 if side < 0 else -86
        turn = turn_about(2, side * 0.3)
        kidney = body.organ((side * 60, 50, z), (25, 30, 52), turn, 2.0)
        body.add(label, "kidney", kidney)
        middle = [c / s for c, s in zip(kidney.center, body.scale, strict=True)]
        body.add(label, "pelvis", body.ball((middle[0] - side * 8, middle[1] - 4, middle[2]), (9, 9, 22), turn))
        body.keep_volume(label, kidney)


# The liver along x, from the right flank to the left lobe: centre in y and z, half axes.
_LIVER = (
    (-128.0, 0, -22, 48, 54),
    (-84.0, -6, -16, 64, 64),
    (-40.0, -18, -10, 54, 48),
    (0.0, -40, -6, 34, 34),
    (46.0, -52, -2, 14, 20),
)


def _pelvis(body: _Body) -> None:
    """Bladder, rectum, gallbladder."""
    body.add("fat", "fat", body.ball((0, 6, -262), (58, 56, 46)))
    bladder = body.organ((0, -24, -262), (38, 31, 30), None, 3.0)
    i, j, k = bladder.half
    body.add("muscle", "muscle", Ellipsoid(bladder.center, (i + 3.0, j + 3.0, k + 3.0)))
    body.add("bladder", "bladder", bladder)
    body.keep_volume("bladder", bladder)
    body.add("bowel", "bowel", body.loft(2, ((-310.0, 0, 46, 15, 14), (-240.0, 0, 52, 19, 17)), (16, 18)))
    body.add("gas", "gas", body.ball((0, 46, -252), (9, 7, 12)))
    gall = body.organ((-52, -46, -94), (14, 15, 26), turn_about(1, 0.2), 2.0)
    body.add("gallbladder", "gallbladder", gall)
    body.keep_volume("gallbladder", gall)


def _lesions(seed: int, body: _Body, count: int, visit: int) -> tuple[Lesion, ...]:
    draws, change = Draws(seed, "lesions"), Draws(seed, f"lesions at visit {visit}")
    order = draws.shuffled(len(SITES))[:count]
    found = []
    for n, site in enumerate(order):
        name = list(SITES)[site]
        center, most, tissue, hu = SITES[name]
        radius = round(draws.uniform(0.45 * most, most), 2)
        at = tuple(round(c * s + draws.uniform(-3.0, 3.0), 2) for c, s in zip(center, body.scale, strict=True))
        suv = round(draws.uniform(6.0, 16.0), 2)
        if visit > 1:
            radius = round(min(most, radius * change.uniform(0.7, 1.15)), 2)
            suv = round(suv * change.uniform(0.5, 1.2), 2)
        around = body.tissues[tissue]["suv"]
        found.append(Lesion(FIRST_LESION + n, name, at, radius, suv, around, float(hu)))  # type: ignore[arg-type]
    return tuple(found)
