"""Errors that a person can act on: what was given, what was expected, how to mend it."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in input or surroundings; shown as one line, never as a traceback.

    The message names the input, what was expected and the mend. ``exit_code`` is what the process returns.
    """

    def __init__(self, message: str, *, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code
