"""Strategies by name: the ones that ship, and a user's own as ``path/to/file.py:ClassName`` or ``module:ClassName``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from trader.strategy.base_strategy import BaseStrategy
from trader.utils.errors import UserError

BUILT_IN = {
    "trend": "trader.strategy.trend:Trend",
    "sma_cross": "trader.strategy.sma_cross:SmaCross",
    "ml": "trader.strategy.ml_strategy:MLStrategy",
    "ml_momentum": "trader.strategy.ml_momentum:MLMomentum",
    "ml_meta": "trader.strategy.ml_meta:MLMeta",
}


def strategy_class(name: str, *, base_dir: Path | None = None) -> type[BaseStrategy]:
    """The class behind a name or a ``file.py:ClassName``.

    Parameters
    ----------
    base_dir : where a relative file is looked for; None: the current directory.

    Raises
    ------
    UserError
        An unknown name, a missing file or class, a file that cannot be imported, or a class that is not a
        :class:`BaseStrategy`.
    """
    spec = BUILT_IN.get(name)
    if spec is not None:
        module, _, attribute = spec.partition(":")
        found: type[BaseStrategy] = getattr(importlib.import_module(module), attribute)
        return found
    file, colon, attribute = name.rpartition(":")
    if not colon:
        close = get_close_matches(name, BUILT_IN, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        known = ", ".join(BUILT_IN)
        raise UserError(f"strategy {name!r} is not known{hint} (known: {known}, or path/to/file.py:ClassName)")
    found = _attribute(_module(file, base_dir), attribute, file)
    if not (isinstance(found, type) and issubclass(found, BaseStrategy)):
        raise UserError(f"{file}: {attribute} is not a strategy; derive it from {BaseStrategy.__module__}.BaseStrategy")
    missing = getattr(found, "__abstractmethods__", None)
    if missing:
        raise UserError(f"{file}: {attribute} lacks {', '.join(sorted(missing))}")
    if not found.name:
        found.name = attribute
    return found


def make_strategy(
    name: str, params: dict[str, Any] | None = None, *, base_dir: Path | None = None, **extra: Any,
) -> BaseStrategy:
    """A strategy with its parameters checked; ``extra`` goes to the constructor (``barriers`` of the ML ones).

    Raises
    ------
    UserError
        As :func:`strategy_class`, or a parameter that the strategy does not have or does not allow.
    """
    cls = strategy_class(name, base_dir=base_dir)
    try:
        checked = msgspec.convert(params or {}, cls.Params)
    except msgspec.ValidationError as error:
        known = ", ".join(cls.Params.__struct_fields__) or "none"
        raise UserError(f"strategy {name!r}: {error}; its parameters: {known}") from None
    return cls(checked, **extra)


def _module(file: str, base_dir: Path | None) -> ModuleType:
    try:
        if not file.endswith(".py"):
            return importlib.import_module(file)
        path = Path(file).expanduser()
        if not path.is_absolute():
            path = (base_dir or Path.cwd()) / path
        if not path.is_file():
            raise UserError(f"strategy file {path} does not exist; give path/to/file.py:ClassName")
        return _run(path)
    except UserError:
        raise
    except Exception as error:                       # whatever a user's module may raise while it is imported
        raise UserError(f"strategy file {file} cannot be imported: {type(error).__name__}: {error}") from None


def _run(path: Path) -> ModuleType:
    name = f"alphatrade_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"strategy file {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _attribute(module: ModuleType, attribute: str, file: str) -> Any:
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise UserError(f"strategy file {file} has no class {attribute!r}") from None
