"""A user's own features: one file, one line of configuration, verified when loaded."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from trader.features.feature import CrossSectionalFeature, Feature
from trader.features.feature_check import verify_cross_section, verify_feature
from trader.features.probe import probe_panel, probe_values
from trader.utils.errors import UserError

PLACE = "features.extra"


def load_user_features(specs: Sequence[str], base: Path | None = None) -> tuple[Feature, ...]:
    """Load and verify features named as ``path/to/file.py:NAME``.

    Parameters
    ----------
    specs
        ``NAME`` is a `Feature`, of one symbol or over all, or a class of features that needs no arguments.
    base
        Directory from which relative paths count; the current one by default.

    Raises
    ------
    UserError
        One line: the specification, what is wrong with it, and for a feature that looks ahead, where and why.
    """
    return tuple(_load(spec, base or Path.cwd()) for spec in specs)


def _load(spec: str, base: Path) -> Feature:
    path_text, _, name = spec.rpartition(":")
    if not path_text or not name.isidentifier():
        raise UserError(f"{PLACE}: {spec!r} should read path/to/file.py:NAME")
    path = Path(path_text).expanduser()
    path = path if path.is_absolute() else base / path
    if not path.is_file():
        raise UserError(f"{PLACE}: {spec!r}: there is no file {path}")
    module = _module(path, spec)
    if not hasattr(module, name):
        raise UserError(f"{PLACE}: {spec!r}: {path.name} defines no {name}")
    found = getattr(module, name)
    try:
        feature = found() if isinstance(found, type) else found
    except TypeError as error:
        raise UserError(f"{PLACE}: {spec!r}: {name} cannot be made without arguments: {error}") from None
    if not isinstance(feature, Feature):
        raise UserError(
            f"{PLACE}: {spec!r}: {name} is a {type(feature).__name__}; expected a feature, such as a function "
            "decorated with @feature(lookback=…) or @cross_feature(of=…) from trader.features.feature"
        )
    try:
        if isinstance(feature, CrossSectionalFeature):
            findings = verify_cross_section(feature, probe_values())
        else:
            findings = verify_feature(feature, probe_panel(max(900, 3 * feature.memory)))
    except Exception as error:
        raise UserError(f"{PLACE}: {spec!r}: it failed on trial bars: {type(error).__name__}: {error}") from error
    if findings:
        raise UserError(f"{PLACE}: {spec!r}: {findings[0]}")
    return feature


def _module(path: Path, spec: str) -> Any:
    name = f"alphatrade_user_{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"
    described = importlib.util.spec_from_file_location(name, path)
    if described is None or described.loader is None:
        raise UserError(f"{PLACE}: {spec!r}: {path} is not a Python file")
    module = importlib.util.module_from_spec(described)
    sys.modules[name] = module          # dataclasses and pickling look their module up by name
    try:
        described.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"{PLACE}: {spec!r}: {path.name} failed to load: {type(error).__name__}: {error}") from error
    return module
