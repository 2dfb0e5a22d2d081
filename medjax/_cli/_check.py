"""`medjax check`: what is wrong with files, by code."""

from __future__ import annotations

from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._commands import COMMANDS
from medjax._cli._failure import ANSWER_NO, DONE, USAGE, Failure
from medjax._cli._files import inputs_of
from medjax._cli._talk import Talk, for_each
from medjax._errors import printable

__all__ = ["parser", "run"]


def parser(name: str) -> Parser:
    made = Parser(name, COMMANDS[name].line, epilog="--codes lists every code and what it finds.")
    made.takes_inputs()
    made.takes_json()
    made.add_argument("--labels", metavar="0,1,2", help="the files are label maps that may hold these; any: any labels")
    made.add_argument(
        "--select", metavar="CODES", help="look for these alone: codes, or their beginnings, such as V,L03"
    )
    made.add_argument("--ignore", metavar="CODES", help="leave these out")
    made.add_argument("--codes", action="store_true", help="list the codes")
    return made


def run(options: Any, talk: Talk) -> int:
    from medjax.data._check_file import CODES, check_file

    if options.codes:
        for code, text in CODES.items():
            talk.out(f"{code}  {text}")
        return DONE
    select, ignore = (_codes(text, CODES) for text in (options.select, options.ignore))
    expected = _labels(options.labels)
    paths = inputs_of(options.inputs, options)
    levels: list[str] = []

    def check(path: str) -> None:
        found = check_file(path, labels=expected, has_labels=options.labels is not None)
        found = [one for one in found if not select or one.code.startswith(select)]
        found = [one for one in found if not (ignore and one.code.startswith(ignore))]
        if options.json:
            fields = [{"code": one.code, "level": one.level, "text": one.text} for one in found]
            talk.json("medjax.check/1", path=path, findings=fields)
        else:
            for one in found:
                talk.out(f"{printable(path)}: {one.code} {one.level}: {printable(one.text)}")
        levels.append(min((one.level for one in found), default="nothing"))

    found_none = for_each(talk, paths, check, workers=options.workers)
    fine, warned, errors = (levels.count(level) for level in ("nothing", "warning", "error"))
    if not talk.quiet:
        talk.say(f"{len(paths)} checked: {fine} without a finding, {warned} with warnings, {errors} with errors")
    return found_none or (ANSWER_NO if errors or (warned and talk.strict) else DONE)


def _codes(text: str | None, known: Any) -> tuple[str, ...]:
    wanted = tuple(code.strip() for code in text.split(",")) if text else ()
    for code in wanted:
        if not code or not any(one.startswith(code) for one in known):
            raise Failure(USAGE, f"there is no code {code!r}", "medjax check --codes lists them")
    return wanted


def _labels(text: str | None) -> set[int] | None:
    if text is None or text == "any":
        return None
    try:
        return {int(word) for word in text.split(",")}
    except ValueError:
        raise Failure(USAGE, f"--labels takes whole numbers, such as 0,1,2, or any; got {text!r}") from None
