"""The table of commands: each with the module that does it, imported when it runs, and a line of help."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

__all__ = ["COMMANDS", "Command"]


class Command(NamedTuple):
    """A command.

    Attributes:
        module: In this folder. It has `parser(name) -> ArgumentParser` and `run(arguments, talk) -> int`.
        line: What it does, in one line.
        group: The heading that it stands under in the help.
    """

    module: str
    line: str
    group: str

    def load(self) -> Any:
        return importlib.import_module(f"medjax._cli.{self.module}")


_LOOK, _CHANGE, _MEASURE, _REST = "look", "change", "measure", "and"

COMMANDS = {
    "info": Command("_info", "shape, spacing, orientation and type of files, from their headers", _LOOK),
    "check": Command("_check", "find what is wrong with files, by code", _LOOK),
    "compare": Command("_compare", "tell what differs between two images", _LOOK),
    "view": Command("_view", "show three slices, in the terminal or as a picture", _LOOK),
    "convert": Command("_convert", "write an image in another format, without loss", _CHANGE),
    "apply": Command("_apply", "apply a chain of steps, as one interpolation", _CHANGE),
    "resample": Command("_alias", "change the spacing, or fill the grid of another image", _CHANGE),
    "reorient": Command("_alias", "reorder and flip the axes, exactly", _CHANGE),
    "crop": Command("_alias", "cut out a box, or the box that holds a mask", _CHANGE),
    "pad": Command("_alias", "add voxels around an image", _CHANGE),
    "normalize": Command("_alias", "normalise intensities by their own statistics", _CHANGE),
    "window": Command("_alias", "map a window of intensities onto a range", _CHANGE),
    "suv": Command("_suv", "turn the activity of a PET into standardised uptake values", _MEASURE),
    "segstats": Command("_segstats", "measure every label of a segmentation", _MEASURE),
    "data": Command("_data", "list and make sample data", _REST),
    "doctor": Command("_doctor", "say what is installed, and test it", _REST),
    "demo": Command("_demo", "resample and reorient a real oblique scan", _REST),
    "completion": Command("_completion", "print what completes commands in a shell", _REST),
}
