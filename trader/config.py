"""The settings of a session: ``config/settings.yaml``, its sibling files, and the secrets of ``.env``.

Every field has a default, so that no file at all is a valid configuration. Risk limits, training and barriers have
files of their own whose types belong to their rooms; this module only finds those files.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from trader.options import parse_speed
from trader.utils.alpaca_urls import LIVE_URL, PAPER_URL
from trader.utils.errors import UserError
from trader.utils.paths import bundled_dir
from trader.utils.typed_yaml import load_typed

__all__ = ["Loaded", "Secrets", "Settings", "SymbolsFile", "load_secrets", "load_settings", "load_typed"]

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]



class _Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A block of settings: immutable, named arguments, no unknown keys."""


class SimSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The embedded exchange of ``sim`` mode."""

    cash: Decimal = Decimal(100_000)            # dollars on a new account
    speed: str = "900"                          # simulated seconds per second; max (lock-step), real
    symbols: tuple[str, ...] = ()               # empty: what the bundled sample holds at the start
    start: str = "2012-06-15"                   # first day; all five symbols of the sample trade from here on
    end: str | None = None                      # last day; null: as far as there are bars
    history_bars: Count = 2_000                 # bars before the start that features and training may see
    seed: Count = 7
    persist: bool = False                       # keep the account between sessions
    margin: Annotated[float, msgspec.Meta(ge=1, le=4)] = 2.0    # buying power as a multiple of equity

    def __post_init__(self) -> None:
        if self.cash <= 0:
            raise ValueError(f"cash must be above 0, not {self.cash}")
        try:
            parse_speed(self.speed)
        except UserError as error:
            raise ValueError(str(error)) from None


class StrategySettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which strategy trades."""

    name: str = "ml_momentum"                   # a built-in, or path/to/file.py:ClassName of your own
    fallback: str = "trend"                     # trades while there is no model fit to trade
    params: dict[str, Any] = msgspec.field(default_factory=dict)


class ModelSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model predicts, and whether a session trains one that is missing."""

    name: str | None = None                     # under <home>/models; null: the strategy's own, ml_momentum or ml_meta
    train_on_start: bool = True                 # train in a process of its own when no model is there
    training_months: Annotated[int, msgspec.Meta(ge=1, le=240)] = 24   # how much history that training uses


class FeatureSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Features beyond the built-in set."""

    extra: tuple[str, ...] = ()                 # path/to/file.py:NAME of your own features


class ExecutionSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Time limits towards the broker and the feed."""

    reconcile_interval_s: Positive = 30.0
    submit_timeout_s: Positive = 10.0
    connect_timeout_s: Positive = 15.0
    grace_ms: Count = 750                       # a slice waits so long for symbols whose bar is late


class HaltSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the emergency halt does beyond cancelling orders and latching."""

    flatten: bool = True                        # close all positions at market


class HealthSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HTTP health and metrics. A port left out is the guide's if it is free, else any free one."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port | None = None                    # 8080
    metrics_port: Port | None = None            # 8081


class RedisSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shared state. REDIS_HOST and REDIS_PORT of the environment go first."""

    enabled: bool | None = None                 # null: when REDIS_HOST is set
    host: str = "localhost"
    port: Port = 6379


class JournalSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The event journal."""

    group_commit_ms: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 50


class LogSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``logs/trading.log``, ``execution.log``, ``risk.log``."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"
    max_bytes: Annotated[int, msgspec.Meta(ge=10_000)] = 10_000_000
    backups: Count = 5


class ConsoleSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The screen."""

    theme: str | None = None                    # null: the console's own
    refresh_hz: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10.0
    keys: dict[str, str] = msgspec.field(default_factory=dict)      # action: key


class Settings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``config/settings.yaml``."""

    mode: Literal["sim", "paper", "live"] = "sim"
    symbols_file: str = "symbols.yaml"
    risk_file: str = "risk_params.yaml"
    training_file: str = "training.yaml"
    barriers_file: str = "triple_barrier_params.yaml"
    timeframe: str = "15Min"
    sim: SimSettings = SimSettings()
    strategy: StrategySettings = StrategySettings()
    model: ModelSettings = ModelSettings()
    features: FeatureSettings = FeatureSettings()
    execution: ExecutionSettings = ExecutionSettings()
    halt: HaltSettings = HaltSettings()
    health: HealthSettings = HealthSettings()
    redis: RedisSettings = RedisSettings()
    journal: JournalSettings = JournalSettings()
    log: LogSettings = LogSettings()
    console: ConsoleSettings = ConsoleSettings()


class SymbolsFile(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``config/symbols.yaml``: what ``paper`` and ``live`` trade, and the sector of each symbol."""

    symbols: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = (
        "AAPL", "MSFT", "NVDA", "GOOGL", "AMZN", "META", "TSLA",
    )
    sectors: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for symbol in self.symbols:
            if not symbol or symbol != symbol.upper() or not symbol.replace(".", "").isalnum():
                raise ValueError(f"symbol {symbol!r} is not a ticker; write it in capitals, as AAPL or BRK.B")
        twice = {s for s in self.symbols if self.symbols.count(s) > 1}
        if twice:
            raise ValueError(f"symbols holds {', '.join(sorted(twice))} more than once")


@dataclass(frozen=True)
class Secrets:
    """Keys of the broker and the address of Redis, from the environment and ``<home>/.env``. Never printed."""

    api_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    redis_host: str | None = None
    redis_port: int | None = None

    @property
    def complete(self) -> bool:
        """Whether both keys are there."""
        return bool(self.api_key and self.secret_key)

    def values(self) -> tuple[str, ...]:
        """What a log must never show."""
        return tuple(v for v in (self.api_key, self.secret_key) if v)

    def trading_url(self, mode: str) -> str:
        """Alpaca's trading address for ``paper`` or ``live``.

        Raises
        ------
        UserError
            If ``ALPACA_BASE_URL`` is the other account's address: a paper session must never reach real money.
        """
        own, other = (LIVE_URL, PAPER_URL) if mode == "live" else (PAPER_URL, LIVE_URL)
        url = (self.base_url or own).rstrip("/").removesuffix("/v2")
        if url == other:
            raise UserError(f"ALPACA_BASE_URL is {url}, but the mode is {mode}; set it to {own} or change the mode")
        return url


@dataclass(frozen=True)
class Loaded:
    """Settings with everything that was found beside them.

    ``risk_path``, ``training_path`` and ``barriers_path`` are None where no such file exists: the types' defaults
    then hold. ``config_dir`` is where commands write configuration; it may not exist yet.
    """

    settings: Settings
    secrets: Secrets
    home: Path
    path: Path | None
    config_dir: Path
    symbols: tuple[str, ...]
    sectors: dict[str, str]
    symbols_path: Path | None
    risk_path: Path | None
    training_path: Path | None
    barriers_path: Path | None
    settings_hash: str

    @property
    def redis_address(self) -> tuple[str, int] | None:
        """Host and port, or None where Redis is not wanted."""
        redis = self.settings.redis
        wanted = self.secrets.redis_host is not None if redis.enabled is None else redis.enabled
        if not wanted:
            return None
        return self.secrets.redis_host or redis.host, self.secrets.redis_port or redis.port


def load_settings(home: Path, config_path: Path | None = None) -> Loaded:
    """Settings from ``config_path``, else ``home/config/settings.yaml``, else those that the program ships.

    Raises
    ------
    UserError
        One line with file, line, key, value and what was expected.
    """
    path, folders = _find(home, config_path)
    settings = load_typed(path, Settings) if path else Settings()
    named = {
        name: _sibling(getattr(settings, name), _DEFAULT_NAMES[name], folders, path, name) for name in _DEFAULT_NAMES
    }
    symbols_path = named["symbols_file"]
    listing = load_typed(symbols_path, SymbolsFile) if symbols_path else SymbolsFile()
    return Loaded(
        settings, load_secrets(home), home, path, folders[0], listing.symbols, listing.sectors, symbols_path,
        named["risk_file"], named["training_file"], named["barriers_file"],
        _hash(settings, listing, [named[n] for n in ("risk_file", "training_file", "barriers_file")]),
    )


_DEFAULT_NAMES = {
    name: str(getattr(Settings(), name)) for name in ("symbols_file", "risk_file", "training_file", "barriers_file")
}


def _find(home: Path, config_path: Path | None) -> tuple[Path | None, list[Path]]:
    """The settings file, and the folders where its siblings are looked for; the first is where commands write."""
    bundled = _bundled()
    own = home / "config"
    if config_path is not None:
        given = config_path.expanduser().absolute()
        if given.is_dir():
            given = given / "settings.yaml"
        return given, [given.parent, own, *bundled]
    for folder in (own, *bundled):
        if (folder / "settings.yaml").is_file():
            return folder / "settings.yaml", [own, *bundled]
    return None, [own, *bundled]


def _bundled() -> list[Path]:
    try:
        return [bundled_dir("config")]
    except FileNotFoundError:
        return []


def _sibling(name: str, default: str, folders: list[Path], path: Path | None, key: str) -> Path | None:
    """A file named in the settings: relative to them, else (default names only) from the home or the program."""
    for folder in folders:
        candidate = folder / Path(name).expanduser()
        if candidate.is_file():
            return candidate
        if name != default:
            raise UserError(f"{path}: {key} names {candidate}, which does not exist; mend the name or leave it out")
    return None


def _hash(settings: Settings, listing: SymbolsFile, files: list[Path | None]) -> str:
    """Sixteen hex digits over everything that decides how a session trades; secrets are no part of it."""
    digest = hashlib.sha256(msgspec.json.encode((settings, listing), order="sorted"))
    for file in files:
        digest.update(b"\0" + (file.read_bytes() if file else b""))
    return digest.hexdigest()[:16]


def load_secrets(home: Path) -> Secrets:
    """Keys from the environment, else from ``home/.env``; the example's placeholders count as not set.

    Raises
    ------
    UserError
        If ``REDIS_PORT`` is no port number, or ``.env`` cannot be read.
    """
    from dotenv import dotenv_values

    dotenv = home / ".env"
    try:
        found = dict(dotenv_values(dotenv)) if dotenv.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{dotenv}: cannot be read: {error}") from None
    found.update(os.environ)

    def get(name: str) -> str | None:
        value = (found.get(name) or "").strip()
        return None if not value or value.startswith("your_") else value

    port = get("REDIS_PORT")
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UserError(f"REDIS_PORT is {port!r}; expected a port number from 1 to 65535")
    return Secrets(
        get("ALPACA_API_KEY"), get("ALPACA_SECRET_KEY"), get("ALPACA_BASE_URL"),
        get("REDIS_HOST"), int(port) if port else None,
    )
