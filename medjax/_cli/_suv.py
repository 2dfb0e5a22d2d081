"""`medjax suv`: standardised uptake values of a PET, and how they came about."""

from __future__ import annotations

from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._commands import COMMANDS
from medjax._cli._device import use_device
from medjax._cli._failure import USAGE, Failure, writing
from medjax._cli._files import Job, inputs_of, jobs_of, prepare, refuse_conflicts
from medjax._cli._headers import header_of
from medjax._cli._talk import Talk, for_each
from medjax._errors import printable
from medjax._pipeline._steps import KINDS

__all__ = ["parser", "run"]

# Option, DICOM keyword, and what it is.
_OVERRIDES = (
    ("weight_kg", "PatientWeight", "body weight in kg"),
    ("height_m", "PatientSize", "height in m"),
    ("dose_bq", "RadionuclideTotalDose", "injected dose in Bq"),
    ("half_life_s", "RadionuclideHalfLife", "half-life in s"),
)


def parser(name: str) -> Parser:
    made = Parser(name, COMMANDS[name].line)
    norms = KINDS["suv"].parameters["norm"].choices
    made.add_argument("words", nargs="*", metavar="PET OUT", help="a PET and an output; with -o or --explain PETs")
    made.takes_lists()
    made.takes_outputs()
    made.takes_json()
    made.takes_device()
    made.add_argument("--norm", choices=norms, default="bw", help="the normaliser of the dose (default: bw)")
    made.add_argument(
        "--explain", action="store_true", help="print every value and rule that was used; OUT may be missing"
    )
    for option, _, text in _OVERRIDES:
        flag = f"--{option.replace('_', '-')}"
        made.add_argument(flag, type=float, metavar="NUMBER", help=f"{text}, in place of the header's; it is recorded")
    made.add_argument("--no-compress", action="store_true", help="write .nrrd, .mha and .h5 without compression")
    return made


def run(options: Any, talk: Talk) -> int:
    tags = {}
    for option, keyword, _ in _OVERRIDES:
        value = getattr(options, option)
        if value is not None:
            if not value > 0:
                raise Failure(USAGE, f"--{option.replace('_', '-')} must be above 0, got {value:g}")
            tags[keyword] = value
    paths = inputs_of(options.words, options)
    if options.explain and options.output is None and len(paths) == 1:
        return for_each(talk, paths, lambda path: _explain(_factor(path, options, tags)[1], path, options, talk))
    jobs = refuse_conflicts(jobs_of(paths, options), options)
    use_device(options.device)
    if options.dry_run:
        return for_each(talk, jobs, lambda job: _outline(job, talk), lambda job: job.input)
    return for_each(talk, jobs, lambda job: _convert(job, options, tags, talk), lambda job: job.input, options.workers)


def _outline(job: Job, talk: Talk) -> None:
    header = header_of(job.input)
    shape = "x".join(map(str, header.grid.shape))
    talk.out(f"{printable(job.input)}: {shape} {header.dtype} -> float32  ->  {printable(job.output)}")


def _factor(path: str, options: Any, tags: dict[str, float]) -> tuple[Any, Any]:
    from medjax._pet import suv_factor
    from medjax.io._open import load_image

    image = load_image(path)
    return image, suv_factor(image, options.norm, tags=tags or None)


def _convert(job: Job, options: Any, tags: dict[str, float], talk: Talk) -> None:
    from medjax._pet import to_suv
    from medjax.io._open import save_image

    image, factor = _factor(job.input, options, tags)
    out = to_suv(image, options.norm, tags=tags or None)
    path = prepare(job.output)
    with writing(path):
        save_image(out, path, compress=not options.no_compress)
    if options.explain or options.json:
        _explain(factor, job.input, options, talk, job.output)


def _explain(factor: Any, path: str, options: Any, talk: Talk, output: str | None = None) -> None:
    fields = factor.to_dict()
    if options.json:
        talk.json("medjax.suv/1", path=path, output=output, **fields)
        return
    talk.table([(name, _short(value)) for name, value in fields.items() if name != "notes"])
    for note in fields.get("notes", ()):
        talk.note(str(note))


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{_short(value[0])} ... {_short(value[-1])} ({len(value)} values)"
    return f"{value:.8g}" if isinstance(value, float) else printable(str(value))
