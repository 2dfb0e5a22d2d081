"""What a command says: data on stdout; notes, errors and progress on stderr. Neither names a patient."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from medjax._cli._failure import DONE, SOME_FAILED, UNREADABLE, Failure, explained
from medjax._errors import printable

__all__ = ["Talk", "as_json", "for_each"]

_SECONDS_BEFORE_PROGRESS = 1.0
_SECONDS_BETWEEN_LINES = 60.0


class Talk:
    """The voice of one run of a command, and the count of what it did.

    Attributes:
        command: Its name, such as "resample".
        quiet: Whether to leave out progress.
        debug: Whether errors come with their traceback.
        strict: Whether warnings are errors.
    """

    def __init__(self, command: str, *, quiet: bool = False, debug: bool = False, strict: bool = False):
        self.command, self.quiet, self.debug, self.strict = command, quiet, debug, strict
        self._said: set[str] = set()
        self._line = ""
        self._kept = threading.local()  # what a thread of several says, until its turn comes

    # --- data --------------------------------------------------------------------------------------------------------

    def out(self, text: str = "") -> None:
        """Prints a line of data."""
        self._print(text, is_data=True)

    def json(self, schema: str, **fields: Any) -> None:
        """Prints an object on a line, its schema first."""
        self._print(as_json({"schema": schema} | fields), is_data=True)

    def table(self, rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> None:
        """Prints rows in columns; those whose number is in `right` end flush."""
        widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
        to_right = set(right)
        for row in rows:
            cells = [
                c.rjust(w) if n in to_right else c.ljust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True))
            ]
            self.out("  ".join(cells).rstrip())

    # --- talk --------------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Prints a line on stderr."""
        self._print(text, is_data=False)

    def _print(self, text: str, *, is_data: bool) -> None:
        kept = getattr(self._kept, "lines", None)
        if kept is not None:
            kept.append((text, is_data))
            return
        self.clear()
        print(text, file=sys.stdout if is_data else sys.stderr, flush=True)

    def keeping(self, work: Callable[[], Any]) -> tuple[list[tuple[str, bool]], Any]:
        """Does work in this thread and keeps what it says, for `repeat`."""
        lines: list[tuple[str, bool]] = []
        self._kept.lines = lines
        try:
            return lines, work()
        finally:
            self._kept.lines = None

    def repeat(self, lines: Iterable[tuple[str, bool]]) -> None:
        """Says what was kept."""
        for text, is_data in lines:
            self._print(text, is_data=is_data)

    def note(self, text: str) -> None:
        """Says something once that need not stop anybody."""
        if text not in self._said:
            self._said.add(text)
            self.say(f"note: {text}")

    def fail(self, failure: Failure) -> None:
        """Says what went wrong, with its hint on a line of its own."""
        prefix = f"medjax {self.command}" if self.command else "medjax"
        self.say(f"{prefix}: {failure.reason}")
        if failure.hint:
            self.say(f"  hint: {failure.hint}")
        if self.debug:
            import traceback

            self.say("".join(traceback.format_exception(failure.__cause__ or failure)).rstrip())

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Prints warnings of the library as notes, or raises them where they are errors."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error" if self.strict else "always", UserWarning)
            warnings.showwarning = lambda message, *rest, **more: self.note(str(message))  # type: ignore[assignment]
            yield

    # --- progress ----------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Takes the line of progress away, so that something else can be printed."""
        if self._line:
            sys.stderr.write("\r" + " " * len(self._line) + "\r")
            sys.stderr.flush()
            self._line = ""

    def draw(self, line: str) -> None:
        """Draws the line of progress in the place of the last one."""
        width = _width(sys.stderr)
        line = line[: width - 1]
        sys.stderr.write("\r" + line + " " * (len(self._line) - len(line)))
        sys.stderr.flush()
        self._line = line


class Count:
    """How many inputs are done, drawn while the work lasts.

    Attributes:
        failed: The codes of those that failed.
        done: Number of the others.
    """

    def __init__(self, talk: Talk, total: int):
        self._talk, self._total = talk, total
        self._start = self._last = time.monotonic()
        self.done, self.failed = 0, list[int]()
        self._is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def begin(self, name: str) -> None:
        """Shows what is worked on, where the work has lasted and there is more than one."""
        now, finished = time.monotonic(), self.done + len(self.failed)
        elapsed = now - self._start
        if self._talk.quiet or self._total < 2 or elapsed < _SECONDS_BEFORE_PROGRESS:
            return
        pace = elapsed / max(finished, 1)
        left = int(pace * (self._total - finished))
        failed = f"  {len(self.failed)} failed" if self.failed else ""
        counted = f"{finished}/{self._total}{failed}  {pace:.1f} s/scan  {left // 60}:{left % 60:02} left"
        if self._is_terminal:
            self._talk.draw(f"{counted}  {printable(name)}")
        elif now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            self._talk.say(counted)

    def add(self, failure: Failure | None) -> None:
        """Counts an input that is finished."""
        if failure is None:
            self.done += 1
        else:
            self.failed.append(failure.code)

    def code(self) -> int:
        """The exit code of all inputs together."""
        self._talk.clear()
        if not self.failed:
            return DONE
        if self.done:
            return SOME_FAILED
        return self.failed[0] if len(set(self.failed)) == 1 else UNREADABLE


def for_each(
    talk: Talk, items: Sequence[Any], work: Callable[[Any], None], name: Callable[[Any], str] = str, workers: int = 1
) -> int:
    """Works on each item; one that fails is named and does not stop the others.

    Args:
        talk: Says what fails.
        items: Inputs.
        work: Called with an item.
        name: The path that an item is known by.
        workers: Threads; what they say comes in the order of the items.

    Returns:
        The exit code.
    """

    def attempt(item: Any) -> Failure | None:
        try:
            work(item)
        except BrokenPipeError:  # of stdout: nobody reads on
            raise
        except Exception as error:
            failure = explained(error, name(item))
            if failure is None:
                raise
            failure.__cause__ = None if failure is error else error
            talk.fail(failure)
            return failure
        return None

    count = Count(talk, len(items))
    if workers < 2 or len(items) < 2:
        for item in items:
            count.begin(name(item))
            count.add(attempt(item))
        return count.code()
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(workers)
    try:
        started = [pool.submit(talk.keeping, functools.partial(attempt, item)) for item in items]
        for item, future in zip(items, started, strict=True):
            count.begin(name(item))
            said, failure = future.result()
            talk.repeat(said)
            count.add(failure)
    finally:
        pool.shutdown(cancel_futures=True)
    return count.code()


def _width(stream: Any) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80


def as_json(fields: dict[str, Any]) -> str:
    """Writes an object as one line of JSON: floats by `repr`; what is not finite as null, and counted.

    Example:
        >>> as_json({"schema": "a/1", "low": float("nan"), "sizes": (1, 2.5)})
        '{"schema": "a/1", "low": null, "sizes": [1, 2.5], "nonfinite": 1}'
    """
    count = 0

    def plain(value: Any) -> Any:
        nonlocal count
        if isinstance(value, dict):
            return {str(key): plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        if hasattr(value, "tolist"):  # of NumPy
            return plain(value.tolist())
        if isinstance(value, float) and not math.isfinite(value):
            count += 1
            return None
        return value if isinstance(value, str | int | float | None) else str(value)

    out = plain(fields)
    return json.dumps(out | ({"nonfinite": count} if count else {}), ensure_ascii=False, allow_nan=False)
