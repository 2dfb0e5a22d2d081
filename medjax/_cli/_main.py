"""`medjax COMMAND ...`: finds the command, runs it, and turns what happens into an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from medjax._cli._commands import COMMANDS
from medjax._cli._failure import BUG, CLOSED_PIPE, DONE, INTERRUPTED, USAGE, Failure, explained

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code.

    0: done. 1: the answer is no. 2: usage. 3: no input could be read. 4: an output exists or cannot be written. 5: some
    inputs failed. 70: a bug. 130: interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatched(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\nmedjax: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        return _without_stdout()


def _dispatched(words: list[str]) -> int:
    first = words[0] if words else ""
    if first in ("-h", "--help"):
        print(overview())
        return DONE
    if first == "--version":
        from medjax._cli._doctor import version

        print(version(is_long="-v" in words or "--verbose" in words))
        return DONE
    if not words:
        print(overview(), file=sys.stderr)
        return USAGE
    if first not in COMMANDS:
        return _unknown(first)
    return _run(first, words[1:])


def _unknown(first: str) -> int:
    import difflib

    near = difflib.get_close_matches(first, COMMANDS, 1)
    what = f"there is no option {first}" if first.startswith("-") else "there is no such command"
    print(f"medjax: {what}" + (f"; did you mean {near[0]}?" if near else ""), file=sys.stderr)
    print("  hint: medjax --help lists the commands", file=sys.stderr)
    return USAGE


def _run(name: str, words: list[str]) -> int:
    from medjax._cli._arguments import HelpAsked, joined
    from medjax._cli._talk import Talk

    command = COMMANDS[name].load()
    talk = Talk(name, debug="--debug" in words)
    try:
        options = command.parser(name).parse_intermixed_args(joined(words))
        talk = Talk(name, quiet=options.quiet, debug=options.debug, strict=options.strict)
        _choose_device(options)
        with talk.listening():
            return command.run(options, talk)
    except HelpAsked as text:
        print(text)
        return DONE
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001, what is nobody's mistake is reported as a bug
        failure = explained(error)
        if failure is None:
            return _bug(error, talk)
        failure.__cause__ = None if failure is error else error
        talk.fail(failure)
        return failure.code
    finally:
        talk.clear()


def _choose_device(options: Any) -> None:
    """Says which device JAX is to use, before it loads; compiled programs of a command are kept for the next one."""
    if "jax" in sys.modules:
        return
    from medjax._cli._cache import compiled_folder

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled_folder()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    device = getattr(options, "device", "auto")
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"


def _bug(error: BaseException, talk: Any) -> int:
    """Says that medjax is at fault, and where the traceback lies: it may quote a file, so it is for the user alone."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile("w", prefix="medjax-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(text)
    failure = Failure(BUG, f"unexpected {type(error).__name__}: this is a bug in medjax", f"its traceback: {file.name}")
    failure.__cause__ = error
    talk.fail(failure)
    return BUG


def _without_stdout() -> int:
    """Lets Python end in peace: it flushes stdout, which leads nowhere."""
    with contextlib.suppress(OSError, ValueError):  # stdout is no file, as under a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLOSED_PIPE


def overview() -> str:
    """The help of `medjax` itself."""
    lines = ["usage: medjax COMMAND INPUT... [OUTPUT] [options]", "", "Medical images for JAX.", ""]
    width = max(map(len, COMMANDS))
    group = ""
    for name, command in COMMANDS.items():
        if command.group != group:
            group = command.group
            lines += [f"{group}:"]
        lines.append(f"  {name.ljust(width)}  {command.line}")
    lines += [
        "",
        "medjax COMMAND --help shows the options of a command; medjax --version [-v] the versions.",
        "Exit codes: 0 done, 1 the answer is no, 2 usage, 3 no input could be read, 4 an output exists or cannot be",
        "written, 5 some inputs failed, 70 a bug, 130 interrupted.",
    ]
    return "\n".join(lines)
