"""`medjax data`: sample data that is made here, from formulas."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

from medjax._cli._arguments import Parser, vector
from medjax._cli._cache import cache_folder
from medjax._cli._commands import COMMANDS
from medjax._cli._failure import DONE, NO_OUTPUT, USAGE, Failure, writing
from medjax._cli._files import check_writable
from medjax._cli._talk import Talk
from medjax._errors import printable

__all__ = ["parser", "run"]

_MADE = {
    "pet_ct": ("CT, PET in SUV, organs and lesions of one patient", "made, CC0-1.0"),
    "head_mr": ("T1-weighted MR of a head, with its tissues", "made, CC0-1.0"),
    "cohort": ("PET/CT of several patients with a manifest, and defects if wanted", "made, CC0-1.0"),
}


def parser(name: str) -> Parser:
    made = Parser(name, COMMANDS[name].line)
    made.add_argument("action", choices=("list", "make", "where"), metavar="list|make|where", help="what to do")
    made.add_argument("what", nargs="?", metavar="NAME", help=f"with make: {', '.join(_MADE)}")
    made.takes_json()
    made.add_argument("-o", "--output", metavar="FOLDER", help="with make: where to write")
    made.add_argument("-f", "--force", action="store_true", help="overwrite files")
    made.add_argument("--seed", type=int, default=0, help="which patient (default: 0)")
    made.add_argument("--spacing", type=vector, metavar="MM", help="voxel size, one number or three")
    made.add_argument("--cases", type=int, default=4, help="of a cohort: patients (default: 4)")
    made.add_argument("--defects", default="", metavar="A,B", help="of a cohort: each spoils one case")
    made.add_argument("--dicom", action="store_true", help="of a cohort: series of DICOM files")
    return made


def run(options: Any, talk: Talk) -> int:
    if options.action == "where":
        folder = os.environ.get("MEDJAX_DATA") or str(cache_folder() / "data")
        if options.json:
            talk.json("medjax.data.where/1", folder=folder)
        else:
            talk.out(folder)
        return DONE
    if options.action == "list":
        rows = [(name, text, state) for name, (text, state) in (_MADE | _in_wheels()).items()]
        if options.json:
            for name, text, state in rows:
                talk.json("medjax.data.list/1", name=name, holds=text, origin=state)
        else:
            talk.table(rows)
        return DONE
    if options.what not in _MADE:
        raise Failure(USAGE, f"make takes {', '.join(_MADE)}; got {options.what or 'nothing'}")
    if options.output is None:
        raise Failure(USAGE, "there is no folder to write to", "give -o FOLDER")
    spacing = options.spacing
    if spacing is not None and (len(spacing) not in (1, 3) or not min(spacing) > 0):
        raise Failure(USAGE, "--spacing takes one number or three, above 0")
    return _make(options, None if spacing is None else spacing[0] if len(spacing) == 1 else spacing, talk)


def _in_wheels() -> dict[str, tuple[str, str]]:
    """Scans inside packages that are installed."""
    from medjax._cli._demo import example_scan

    try:
        return {str(example_scan()): ("oblique functional MR, 4-D", "in nibabel, PDDL")}
    except ModuleNotFoundError:
        return {}


def _make(options: Any, spacing: Any, talk: Talk) -> int:
    folder, given = options.output, {} if spacing is None else {"spacing": spacing}
    if options.what == "cohort":
        if Path(folder).exists() and (not Path(folder).is_dir() or any(Path(folder).iterdir())):
            raise Failure(NO_OUTPUT, f"{printable(folder)}: exists already", "a cohort is written to a new folder")
        check_writable(str(Path(folder, "cohort.csv")), force=False)
        from medjax.datasets._cohort import Defect, cohort

        defects = [one for one in options.defects.split(",") if one]
        for one in defects:
            if one not in get_args(Defect):
                raise Failure(USAGE, f"there is no defect {one!r}", f"there are {', '.join(get_args(Defect))}")
        try:
            with writing(folder):
                manifest = cohort(
                    options.cases, folder, seed=options.seed, defects=defects, as_dicom=options.dicom, **given
                )
        except ValueError as error:
            raise Failure(USAGE, str(error)) from error
        talk.out(str(manifest))
        return DONE
    names = {"pet_ct": ("ct", "pet", "labels", "lesions"), "head_mr": ("mr", "labels")}[options.what]
    paths = {name: str(Path(folder, f"{name}.nii.gz")) for name in names}
    for path in paths.values():
        check_writable(path, force=options.force)
    from medjax._cli._files import prepare
    from medjax.datasets._head_mr import head_mr
    from medjax.datasets._pet_ct import pet_ct
    from medjax.io._open import save_image

    if spacing is not None and options.what == "pet_ct":
        given["pet_spacing"] = spacing
    make: Any = {"pet_ct": pet_ct, "head_mr": head_mr}[options.what]
    try:
        sample = make(options.seed, **given)
    except ValueError as error:
        raise Failure(USAGE, str(error)) from error
    for name, path in paths.items():
        with writing(path):
            save_image(sample.images[name], prepare(path))
        talk.out(path)
    return DONE
