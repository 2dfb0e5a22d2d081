"""Runs a chain of steps over files: what `apply` and its aliases share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._device import use_device
from medjax._cli._failure import NO_OUTPUT, USAGE, Failure, writing
from medjax._cli._files import Job, check_writable, jobs_of, one_input, prepare, refuse_conflicts
from medjax._cli._headers import header_of, rough_bytes
from medjax._cli._talk import Talk, for_each
from medjax._errors import printable
from medjax._pipeline._grammar import Step

__all__ = ["FILE_OPTIONS", "label_map", "run_chain", "takes_chain"]

FILE_OPTIONS = ("like", "to_mask", "transform", "landmarks")
"""Options of steps that name a file."""


def takes_chain(parser: Parser) -> None:
    """Adds the options of commands that run steps."""
    parser.takes_lists()
    parser.takes_outputs()
    parser.takes_json()
    parser.takes_device()
    parser.add_argument(
        "--labels", nargs=2, metavar=("IN", "OUT"), help="carry a label map through the same grid (nearest)"
    )
    parser.add_argument("--no-compress", action="store_true", help="write .nrrd, .mha and .h5 without compression")
    parser.add_argument("--save-pipeline", metavar="TOML", help="write the steps to a file")


def run_chain(steps: Sequence[Step], paths: Sequence[str], options: Any, talk: Talk) -> int:
    """Reads each input, applies the steps and writes its output.

    Args:
        steps: In order.
        paths: Inputs, and without `-o` the output as the last.
        options: Of `takes_chain`.
        talk: Says what happens.

    Returns:
        The exit code.
    """
    jobs = jobs_of(paths, options)
    reads = _files_of(steps)
    labels = _labels(options, jobs)
    if labels is not None:
        reads.append(labels.input)
        taken = {os.path.realpath(path) for path in (*jobs[0], labels.input)}
        if os.path.realpath(labels.output) in taken:
            raise Failure(NO_OUTPUT, f"{printable(labels.output)}: is an input or the output as well", "name another")
        check_writable(labels.output, force=options.force)
    left = refuse_conflicts(jobs, options, reads=reads)
    if options.save_pipeline:
        check_writable(options.save_pipeline, force=options.force)
    for path in reads:
        if not os.path.lexists(path):
            raise FileNotFoundError(2, "no such file", path)
    use_device(options.device)
    if options.dry_run:
        return for_each(talk, left, lambda job: _outline(steps, job, options, talk), _input, options.workers)
    from medjax._pipeline._pipeline import Pipeline

    pipeline = Pipeline(tuple(steps))
    if options.save_pipeline:
        with writing(options.save_pipeline):
            pipeline.save(prepare(options.save_pipeline))
    return for_each(talk, left, lambda job: _done(pipeline, job, labels, options, talk), _input, options.workers)


def _input(job: Job) -> str:
    return job.input


def _files_of(steps: Sequence[Step]) -> list[str]:
    return [step.options[name] for step in steps for name in FILE_OPTIONS if name in step.options]


def _labels(options: Any, jobs: Sequence[Job]) -> Job | None:
    if options.labels is None:
        return None
    if len(jobs) != 1:
        raise Failure(USAGE, f"--labels goes with one input, there are {len(jobs)}", "medjax cohort takes many")
    path, output = options.labels
    return Job(one_input(path), jobs_of([path, output], _ALONE)[0].output)


class _ALONE:
    output = None


def _done(pipeline: Any, job: Job, labels: Job | None, options: Any, talk: Talk) -> None:
    from medjax.io._open import load_image, save_image

    images = {"image": load_image(job.input)}
    if labels is not None:
        images["labels"] = label_map(labels.input)
    out = pipeline(images)
    for name, target in [("image", job)] + ([] if labels is None else [("labels", labels)]):
        path = prepare(target.output)
        with writing(path):
            save_image(out[name], path, compress=not options.no_compress)
        _report(target, images[name], out[name], options, talk)


def label_map(path: str) -> Any:
    """A label map, also where the file does not say that it is one: its voxels are integers."""
    import numpy as np

    from medjax.io._open import load_image

    image = load_image(path)
    if image.kind == "label":
        return image
    voxels = np.asarray(image.voxels)
    if voxels.dtype.kind == "f" and np.isfinite(voxels).all() and (voxels == np.round(voxels)).all():
        return load_image(path, kind="label", dtype=np.int32)
    return load_image(path, kind="label")


def _report(job: Job, before: Any, after: Any, options: Any, talk: Talk) -> None:
    if options.json:
        talk.json(f"medjax.{talk.command}/1", path=job.input, output=job.output, **_fields(before, after))


def _fields(before: Any, after: Any) -> dict[str, Any]:
    return {
        "shape_before": list(before.grid.shape),
        "shape": list(after.grid.shape),
        "spacing_before": list(before.grid.spacing),
        "spacing": list(after.grid.spacing),
        "dtype": str(after.dtype),
        "kind": after.kind,
    }


def _outline(steps: Sequence[Step], job: Job, options: Any, talk: Talk) -> None:
    """Says what would be made of an input, from headers alone."""
    from medjax._pipeline._pipeline import Pipeline

    header = header_of(job.input)
    references = {
        step.options["like"]: header_of(step.options["like"]).grid for step in steps if "like" in step.options
    }
    after = Pipeline(tuple(steps)).outline(header, references=references)
    needed = rough_bytes(header, {"image": after})
    if options.json:
        fields = _fields(header, after)
        talk.json(f"medjax.{talk.command}.plan/1", path=job.input, output=job.output, **fields, peak_bytes=needed)
        return
    grids = " -> ".join(_grid(one) for one in (header, after))
    talk.out(f"{printable(job.input)}: {grids}  ->  {printable(job.output)}  about {needed / 1e6:.0f} MB")


def _grid(one: Any) -> str:
    shape, spacing = "x".join(map(str, one.grid.shape)), "x".join(f"{x:.4g}" for x in one.grid.spacing)
    return f"{shape} {one.dtype} of {spacing} mm"
