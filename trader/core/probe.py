"""Asking a component how it is: one shape for the many ways in which a health check may answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

HealthCheck = Callable[[], Any | Awaitable[Any]]

_WORDS = frozenset({"ok", "healthy", "up", "alive", "fallback"})


class Health(NamedTuple):
    """Whether a component is well, and a word about it."""

    healthy: bool
    detail: str = ""


async def ask(check: HealthCheck, timeout_s: float = 5.0) -> Health:
    """Run a check, plain or async; an exception or a time-out is an unhealthy answer.

    A check may return a bool, ``(bool, detail)``, a mapping with ``healthy`` (or ``ok``, ``status``) and ``detail``,
    an object with those attributes, or None, which means that it had nothing to complain about.
    """
    try:
        answer = check()
        if inspect.isawaitable(answer):
            async with asyncio.timeout(timeout_s):
                answer = await answer
    except TimeoutError:
        return Health(False, f"no answer within {timeout_s:g} s")
    except Exception as error:
        return Health(False, str(error) or type(error).__name__)
    return understand(answer)


def understand(answer: Any) -> Health:
    """A check's answer as `Health`."""
    if answer is None or isinstance(answer, bool):
        return Health(answer is not False)
    if isinstance(answer, str):
        return Health(answer.lower() in _WORDS, answer)
    if isinstance(answer, tuple) and len(answer) == 2:
        return Health(bool(answer[0]), str(answer[1]))

    def get(name: str) -> Any:
        return answer.get(name) if isinstance(answer, Mapping) else getattr(answer, name, None)

    detail = next((str(get(name)) for name in ("detail", "message", "error", "reason") if get(name)), "")
    for name in ("healthy", "ok", "is_healthy", "status"):
        value = get(name)
        if value is not None:
            return Health(value.lower() in _WORDS if isinstance(value, str) else bool(value), detail)
    return Health(False, f"the check answered {answer!r}, which says neither healthy nor not")
