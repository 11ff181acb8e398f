"""What every command line promises: one clear line for a mistake, no traceback, a meaningful exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from trader.utils.errors import UserError

UNEXPECTED = 70                 # EX_SOFTWARE
INTERRUPTED = 130               # 128 + SIGINT
BROKEN_PIPE = 141               # 128 + SIGPIPE


def guarded(program: str, action: Callable[[], int], home: Callable[[], Path]) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    program : str
        Name in front of the error line.
    action : callable
        The command; its return value is the exit code.
    home : callable
        Where the traceback of an unexpected error is kept (in ``logs/``).
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]    # ✓ on a terminal without it
    try:
        code = action()
        sys.stdout.flush()
        return code
    except UserError as error:
        say(program, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # the reader went away; the interpreter's own flush at exit must not complain about it either
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except Exception as error:
        say(program, f"unexpected {type(error).__name__}: {error}; {_keep_traceback(home)}")
        return UNEXPECTED
    finally:
        # CPython remembers an interrupt that has passed an exec() of text, caught or not, until the next one begins;
        # a program run by `python -m` would end by SIGINT, whatever its exit code.
        exec("")


def say(program: str, message: str) -> None:
    """One line on stderr."""
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)


def _keep_traceback(home: Callable[[], Path]) -> str:
    text = traceback.format_exc()
    try:
        folder = home() / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"crash-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
        path.write_text(text, encoding="utf-8")
    except (OSError, UserError):
        return f"the home is not writable, so here it is: {text}"
    return f"please report it with {path}"
