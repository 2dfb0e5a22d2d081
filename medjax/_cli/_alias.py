"""`resample`, `reorient`, `crop`, `pad`, `normalize` and `window`: one step, its options as options of a command."""

from __future__ import annotations

from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._chain import run_chain, takes_chain
from medjax._cli._commands import COMMANDS
from medjax._cli._failure import USAGE, Failure
from medjax._cli._files import inputs_of
from medjax._cli._talk import Talk
from medjax._pipeline._grammar import from_table
from medjax._pipeline._signatures import REQUIRED, Parameter
from medjax._pipeline._steps import KINDS

__all__ = ["parser", "run"]

# The value that stands without its name, before the files or after them: `medjax normalize zscore IN OUT`.
_LEADING = {"normalize": "method", "reorient": "orientation"}


def parser(name: str) -> Parser:
    kind = KINDS[name]
    made = Parser(name, COMMANDS[name].line)
    leading = _LEADING.get(name)
    metavar, text = "IN OUT", "input and output; with -o inputs"
    if leading is not None:
        parameter = kind.parameters[leading]
        words = "|".join(parameter.choices) if len(parameter.choices) in range(1, 9) else leading.upper()
        metavar, text = f"{words} IN OUT", f"{parameter.help}; input and output, with -o inputs"
    made.add_argument("words", nargs="*", metavar=metavar, help=text.replace("%", "%%"))
    for option in kind.parameters.values():
        if option.name == leading:
            continue
        flag = f"--{option.name.replace('_', '-')}"
        text = option.help.replace("%", "%%")
        if option.default not in (REQUIRED, None) and not option.is_flag:
            text += f" (default: {option.default})"
        if option.is_flag:
            made.add_argument(flag, dest=f"step_{option.name}", action="store_const", const="true", help=text)
        else:
            metavar = "|".join(option.choices) if option.choices else option.name.upper()
            made.add_argument(flag, dest=f"step_{option.name}", metavar=metavar, help=text)
    takes_chain(made)
    return made


def run(options: Any, talk: Talk) -> int:
    kind = KINDS[talk.command]
    given = {name: getattr(options, f"step_{name}", None) for name in kind.parameters}
    leading = _LEADING.get(talk.command)
    words = list(options.words)
    if leading is not None:
        given[leading] = _taken(words, kind.parameters[leading])
    try:
        step = from_table({talk.command: {name: value for name, value in given.items() if value is not None}})
    except ValueError as error:
        raise Failure(USAGE, _as_option(str(error)), f"medjax {talk.command} --help lists the options") from None
    return run_chain([step], inputs_of(words, options), options, talk)


def _taken(words: list[str], parameter: Parameter) -> str | None:
    """Takes the value of a parameter out of the words: the first or the last one, whichever has its form."""
    for place in (0, -1) if words else ():
        try:
            parameter.form(words[place : place + 1 or None])
        except ValueError:
            continue
        return words.pop(place)
    if len(words) > 2:  # the value is there and wrong
        return words[0]
    return None


def _as_option(text: str) -> str:
    """An error of the grammar, without the name of the step that the command has already said."""
    head, colon, rest = text.partition(": ")
    return rest if colon and head.split(":")[0] in KINDS else text
