"""`medjax apply`: a chain of steps as one interpolation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._chain import run_chain, takes_chain
from medjax._cli._commands import COMMANDS
from medjax._cli._failure import USAGE, Failure
from medjax._cli._files import inputs_of
from medjax._cli._talk import Talk
from medjax._pipeline._grammar import Step, from_text, from_toml, is_step
from medjax._pipeline._steps import KINDS

__all__ = ["parser", "run"]


def parser(name: str) -> Parser:
    made = Parser(name, COMMANDS[name].line, epilog=_steps_text())
    made.add_argument(
        "words", nargs="*", metavar="IN OUT STEP", help="input, output and steps; with -o inputs and steps"
    )
    made.add_argument("--pipeline", metavar="TOML", help="take the steps from a file, in place of STEP")
    takes_chain(made)
    return made


def _steps_text() -> str:
    lines = ["A step is name:value,... or name:key=value,...:", ""]
    for kind in KINDS.values():
        options = [f"{name}=" for name in kind.parameters if name not in kind.positional]
        lines.append(f"  {kind.name}{':' if kind.positional else ''}{','.join(kind.positional)}")
        if options:
            lines.append(f"      {' '.join(options)}")
    lines += ["", "All spatial steps are one interpolation. Lengths are in mm; vectors run along the image's i, j, k."]
    return "\n".join(lines)


def run(options: Any, talk: Talk) -> int:
    paths, texts = _split(options.words)
    if options.pipeline and texts:
        raise Failure(USAGE, "--pipeline and steps are given", "take one of them")
    steps = _read(options.pipeline) if options.pipeline else _parsed(texts)
    if not steps:
        raise Failure(
            USAGE, "no step is given", "for example: medjax apply in.nii.gz out.nii.gz reorient:RAS resample:1.5"
        )
    return run_chain(steps, inputs_of(paths, options), options, talk)


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Inputs, and the steps that begin with the first word of their form that is no file."""
    for place, word in enumerate(words):
        if is_step(word) and not os.path.lexists(word):
            return words[:place], words[place:]
    return words, []


def _parsed(texts: list[str]) -> list[Step]:
    try:
        return [from_text(text) for text in texts]
    except ValueError as error:
        raise Failure(USAGE, str(error), "medjax apply --help lists the steps") from None


def _read(path: str) -> list[Step]:
    text = Path(path).read_text(encoding="utf-8")
    try:
        return from_toml(text)
    except ValueError as error:
        raise Failure(USAGE, f"{path}: {error}") from None
