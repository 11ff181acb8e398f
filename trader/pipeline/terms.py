"""The terms on which a strategy trades: what a validated backtest and a live session must have in common."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader.config import Loaded


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Sixteen hex digits stand for what is too long to name."""

    strategy: str
    parameters: str             # of the strategy, with its code where that is the user's own
    features: str               # the user's own, by name and code
    risk: str                   # limits and sizing
    barriers: str               # per-symbol ones
    timeframe: str
    model: str | None
    symbols: tuple[str, ...]


_WORDS = {
    "strategy": "strategy", "parameters": "strategy parameters or code", "features": "own features",
    "risk": "risk limits", "barriers": "barriers", "timeframe": "timeframe", "model": "model",
}
_HASHED = frozenset({"parameters", "features", "risk", "barriers"})


def terms_of(
    loaded: Loaded, *, timeframe: str, symbols: Sequence[str], strategy: str | None = None, model: str | None = None,
) -> Terms:
    """The terms that settings and choices make.

    Parameters
    ----------
    strategy : name of another one than the settings', with its default parameters
    model : the model's id; None: the current one, where the strategy needs any
    """
    from trader.data.timeframe import parse_timeframe
    from trader.risk.params import load_risk_params
    from trader.strategy.registry import strategy_class

    settings = loaded.settings
    name = strategy or settings.strategy.name
    kind = strategy_class(name)
    params = settings.strategy.params if name == settings.strategy.name else {}
    frame = parse_timeframe(timeframe).name
    if kind.needs_model and model is None:
        from trader.models.registry import latest_model

        directory = latest_model(loaded.home, settings.model.name or kind.model_name, frame)
        model = directory.name if directory is not None else None
    barriers = loaded.barriers_path
    return Terms(
        strategy=name, parameters=_digest(params, _code(name)), risk=_digest(load_risk_params(loaded.risk_path)),
        features=_digest(settings.features.extra, *map(_code, settings.features.extra)),
        barriers=_digest(barriers.read_bytes() if barriers is not None else b""),
        timeframe=frame, model=model if kind.needs_model else None, symbols=tuple(sorted(symbols)),
    )


def differences(validated: Terms, wanted: Terms) -> tuple[str, ...]:
    """In what the wanted terms go beyond the validated ones, in words; empty when the validation covers them."""
    found = []
    for name, word in _WORDS.items():
        was, now = getattr(validated, name), getattr(wanted, name)
        if was != now:
            found.append(f"other {word}" if name in _HASHED else f"{word} {now or 'none'} in place of {was or 'none'}")
    beyond = sorted(set(wanted.symbols) - set(validated.symbols))
    if beyond:
        found.append(f"symbols that it did not trade ({', '.join(beyond)})")
    return tuple(found)


def _digest(*parts: object) -> str:
    encoded = [part if isinstance(part, bytes) else msgspec.json.encode(part, order="sorted") for part in parts]
    return hashlib.sha256(b"\0".join(encoded)).hexdigest()[:16]


def _code(name: str) -> bytes:
    """The file behind ``path/to/file.py:Name``; nothing for what the program ships."""
    path = Path(name.rpartition(":")[0]).expanduser()
    return path.read_bytes() if ":" in name and path.is_file() else b""
