"""`medjax view`: three orthogonal slices, in the terminal or as a PNG."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from medjax._cli._arguments import Parser, vector
from medjax._cli._commands import COMMANDS
from medjax._cli._failure import USAGE, Failure, writing
from medjax._cli._files import check_writable, one_input, prepare
from medjax._cli._talk import Talk

__all__ = ["parser", "run"]

WINDOWS = {"ct-soft": (40.0, 400.0), "ct-lung": (-600.0, 1500.0), "ct-bone": (400.0, 1800.0), "pet": (5.0, 10.0)}
"""Centre and width, in HU and in SUV."""


def parser(name: str) -> Parser:
    made = Parser(name, COMMANDS[name].line)
    made.add_argument("image", metavar="FILE", help="an image")
    made.add_argument("-o", "--output", metavar="PNG", help="write a picture with letters and window; needs matplotlib")
    made.add_argument("-f", "--force", action="store_true", help="overwrite the output")
    made.add_argument("--terminal", action="store_true", help="draw in the terminal (the default where stdout is one)")
    made.add_argument(
        "--at", type=vector, metavar="X,Y,Z", help="cut through this point in mm, LPS (default: the centre)"
    )
    made.add_argument("--window", metavar="C,W|NAME", help=f"centre and width of the greys, or {', '.join(WINDOWS)}")
    made.add_argument("--labels", metavar="SEG", help="colour the labels of a label map on it")
    made.add_argument("--size", type=vector, metavar="COLUMNS,LINES", help="of the picture in the terminal")
    return made


def run(options: Any, talk: Talk) -> int:
    path = one_input(options.image)
    if options.at is not None and len(options.at) != 3:
        raise Failure(USAGE, f"--at takes three numbers, got {len(options.at)}")
    if options.size is not None and (len(options.size) != 2 or min(options.size) < 4):
        raise Failure(USAGE, "--size takes columns and lines, at least 4 of each")
    window = _window(options.window)
    if options.output is None and not options.terminal and not sys.stdout.isatty():
        raise Failure(USAGE, "stdout is no terminal", "give -o scan.png, or --terminal to draw in any case")
    if options.output is not None:
        if not options.output.lower().endswith(".png"):
            raise Failure(USAGE, f"{options.output}: pictures are PNG", "choose a name that ends in .png")
        check_writable(options.output, force=options.force)
    from medjax._cli._chain import label_map
    from medjax.io._open import load_image

    image = load_image(path)
    labels = None if options.labels is None else label_map(one_input(options.labels))
    if options.output is not None:
        from medjax._show._figure import save_ortho

        target = prepare(options.output)
        with writing(target):
            save_ortho(image, target, center=options.at, window=window, labels=labels)
    if options.output is None or options.terminal:
        _draw(image, labels, window, options, talk)
    return 0


def _window(text: str | None) -> tuple[float, float] | None:
    """Lowest and highest value shown."""
    if text is None:
        return None
    if text in WINDOWS:
        center, width = WINDOWS[text]
    else:
        try:
            center, width = (float(word) for word in text.split(","))
        except ValueError:
            names = ", ".join(WINDOWS)
            raise Failure(USAGE, f"--window takes centre and width, or {names}; got {text!r}") from None
        if not width > 0:
            raise Failure(USAGE, f"--window: the width must be above 0, got {width:g}")
    return center - width / 2, center + width / 2


def _draw(image: Any, labels: Any, window: tuple[float, float] | None, options: Any, talk: Talk) -> None:
    import numpy as np

    from medjax._cli._terminal import drawn, has_colour, sampled, side_by_side
    from medjax._show._slices import slices_of

    shown = slices_of(image, options.at, window, labels)
    columns, lines = shutil.get_terminal_size((80, 24)) if options.size is None else map(int, options.size)
    free = max(1, lines - 4)  # letters above and below, the caption, and the shell's next line
    sizes = side_by_side([panel.millimetres for panel in shown.panels], columns, free)
    pictures = [sampled(colours, *size) for colours, size in zip(shown.colours, sizes, strict=True)]
    is_coloured = has_colour()
    edges = [panel.edges for panel in shown.panels]
    widths = [picture.shape[1] for picture in pictures]
    talk.out("  ".join(top.center(width) for (_, _, _, top), width in zip(edges, widths, strict=True)).rstrip())
    for line in drawn([np.asarray(picture) for picture in pictures], is_coloured=is_coloured):
        talk.out(line)
    under = []
    for (left, right, bottom, _), width in zip(edges, widths, strict=True):
        under.append(left + bottom.center(max(1, width - 2)) + right)
    talk.out("  ".join(under).rstrip())
    talk.out(shown.caption[: max(columns, 20)])
