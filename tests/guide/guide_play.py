"""Plays the guide's snippets: as they stand, with the names that the guide leaves open defined beforehand."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SNIPPETS = Path(__file__).parent / "snippets"


@dataclass(frozen=True)
class Played:
    """The names that a snippet left behind, and what it printed."""

    names: dict[str, Any]
    printed: str

    def __getitem__(self, name: str) -> Any:
        return self.names[name]

    def line(self, start: str) -> str:
        """What was printed behind ``start``."""
        found = [line.strip()[len(start):].strip() for line in self.printed.splitlines()
                 if line.strip().startswith(start)]
        assert found, f"nothing was printed behind {start!r}:\n{self.printed}"
        return found[0]


def snippet(name: str) -> Path:
    """The file of a snippet, by its name without the number."""
    (path,) = SNIPPETS.glob(f"[0-9][0-9]_{name}.py")
    return path


async def play(name: str, replace: tuple[str, str] | None = None, **open_names: Any) -> Played:
    """Run a snippet within the running loop; its awaits may stand at the top."""
    path = snippet(name)
    source = path.read_text(encoding="utf-8")
    if replace is not None:
        assert replace[0] in source
        source = source.replace(*replace)
    names: dict[str, Any] = {"__name__": "__main__", **open_names}
    code = compile(source, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result
    return Played(names, printed.getvalue())


def play_alone(name: str, **open_names: Any) -> Played:
    """Run a snippet that starts a loop of its own, or needs none."""
    path = snippet(name)
    if "asyncio.run(" not in path.read_text(encoding="utf-8"):
        return asyncio.run(play(name, **open_names))
    names: dict[str, Any] = {"__name__": "__main__", **open_names}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return Played(names, printed.getvalue())
