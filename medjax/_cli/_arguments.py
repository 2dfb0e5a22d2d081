"""Options: what all commands share, and the parser that raises instead of leaving the process."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from medjax._cli._failure import USAGE, Failure

__all__ = ["HelpAsked", "Parser", "joined", "vector"]


class HelpAsked(Exception):  # noqa: N818, no error
    """The text that `--help` asked for."""


class Parser(argparse.ArgumentParser):
    """A parser of one command."""

    def __init__(self, command: str, line: str, **more: Any):
        super().__init__(
            prog=f"medjax {command}",
            description=f"{line[:1].upper()}{line[1:]}.",
            allow_abbrev=False,
            add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **more,
        )
        self.shared = self.add_argument_group("of every command")
        self.shared.add_argument("-h", "--help", action=_ShowHelp, help="show this help")
        self.shared.add_argument("-q", "--quiet", action="store_true", help="no progress")
        self.shared.add_argument("--strict", action="store_true", help="take notes about a file for errors")
        self.shared.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def error(self, message: str) -> NoReturn:
        hint = f"{self.prog} --help lists the options"
        raise Failure(USAGE, re.sub(r"^argument ", "", message), hint)

    def takes_inputs(self, name: str = "inputs", metavar: str = "FILE", help: str = "images; folders of DICOM") -> None:
        """Adds inputs, as many as there are, and where else they may come from."""
        self.add_argument(name, nargs="*", metavar=metavar, help=f"{help}; a quoted pattern with * or ** is expanded")
        self.takes_lists()

    def takes_lists(self) -> None:
        """Adds the options that read the names of inputs from a file."""
        self.add_argument(
            "--files-from", metavar="LIST", help="read names of inputs, one a line, from a file; -: stdin"
        )
        self.add_argument("-0", "--null", action="store_true", help="names of --files-from end with NUL")
        self.add_argument(
            "-j",
            "--workers",
            type=_workers,
            default=1,
            metavar="N",
            help="work on so many inputs at a time (default: 1)",
        )

    def takes_json(self) -> None:
        self.add_argument("--json", action="store_true", help="one JSON object a line")

    def takes_outputs(self) -> None:
        """Adds what a command that writes images takes."""
        self.add_argument(
            "-o", "--output", metavar="OUT", help="a folder, or a name with {stem}, {name} or {parent} of each input"
        )
        self.add_argument("-f", "--force", action="store_true", help="overwrite outputs")
        self.add_argument("--skip-existing", action="store_true", help="leave out inputs whose output is there")
        self.add_argument("-n", "--dry-run", action="store_true", help="read headers only, and say what would be done")

    def takes_device(self) -> None:
        self.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu or gpu")


class _ShowHelp(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any):
        super().__init__(option_strings, dest, nargs=0, **more)

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> NoReturn:
        raise HelpAsked(parser.format_help())


_NUMBERS = re.compile(r"-(\d|\.\d)[\d.,eE+-]*(mm)?")


def joined(arguments: Sequence[str]) -> list[str]:
    """Joins an option with the negative numbers after it, which argparse would take for an option.

    Example:
        >>> joined(["a.nii", "--offset", "-3,0,0", "-n"])
        ['a.nii', '--offset=-3,0,0', '-n']
    """
    out: list[str] = []
    for place, argument in enumerate(arguments):
        if argument == "--":
            return [*out, *arguments[place:]]
        before = out[-1] if out else ""
        if _NUMBERS.fullmatch(argument) and argument != "-0" and before.startswith("--") and "=" not in before:
            out[-1] = f"{before}={argument}"
        else:
            out.append(argument)
    return out


def vector(text: str) -> tuple[float, ...]:
    """Reads numbers with commas between them, for argparse."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"numbers with commas between them, such as 1,1,2.5; got {text!r}") from None


def _workers(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, got {text!r}")
    return int(text)
