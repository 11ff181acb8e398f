"""``alphatrade doctor``: every part that a session needs, whether it works, and how to mend what does not."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trader.cli.arguments import add_config, add_home, add_json, add_mode, home_of, print_json
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.config import Loaded

SIGNS = {"ok": "✓", "failed": "✗", "fallback": "~"}
LEAST_FREE_BYTES = 1_000_000_000
LARGEST_SKEW_S = 2.0            # Alpaca stamps bars and fills; the engine compares them with this clock
CHECK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; ``mend`` says what to do about anything but ``ok``."""

    name: str
    status: Literal["ok", "failed", "fallback"]
    detail: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined."""

    home: Path
    loaded: Loaded
    mode: str

    def broker(self) -> Any:
        """The broker of this mode, with its keys."""
        from trader.execution.broker_api import AlpacaBroker

        secrets = self.loaded.secrets
        if not secrets.complete:
            raise UserError("ALPACA_API_KEY or ALPACA_SECRET_KEY is not set")
        return AlpacaBroker(secrets.api_key, secrets.secret_key, secrets.trading_url(self.mode))


Answer = tuple[str, str, str]                   # status, detail, mend
Check = Callable[[Patient], Answer | Awaitable[Answer]]

_KEYS = "put the keys of this account into .env (see .env.example); https://app.alpaca.markets makes new ones"

_REACH = "check the network, ALPACA_BASE_URL and that the keys belong to this account"
_REPORT = "please report it"
REMOTE = frozenset({"broker", "clock", "data feed"})


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser("doctor", help="check broker, data, model, Redis, journal, configuration, clock …")
    add_mode(parser, text="examine what this mode needs (default: the settings' mode)")
    add_config(parser)
    add_home(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line per part; 1 when something that is needed does not work."""
    silence = logging.NullHandler()                 # the findings say it all
    logging.getLogger("alphatrade").addHandler(silence)
    try:
        findings = asyncio.run(examine(home_of(arguments), arguments.config, arguments.mode))
    finally:
        logging.getLogger("alphatrade").removeHandler(silence)
    failed = [finding for finding in findings if finding.status == "failed"]
    if arguments.json:
        print_json({"healthy": not failed, "checks": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            print(f"{SIGNS[finding.status]} {finding.name:<9} {finding.detail}")
            if finding.mend:
                print(f"  {'':<9} → {finding.mend}")
    return 1 if failed else 0


async def examine(home: Path, config: Path | None = None, mode: str | None = None) -> list[Finding]:
    """All findings; the checks that need the configuration are left out where that is what is broken."""
    try:
        loaded, answer = _config(home, config)
    except UserError as error:
        return [Finding("config", "failed", str(error), "mend that line; `config/settings.yaml` may also be left out")]
    patient = Patient(home, loaded, mode or loaded.settings.mode)
    findings = [Finding("config", "ok", answer)]
    for name, check in CHECKS.items():
        findings.append(await _examined(name, check, patient))
    return findings


async def _examined(name: str, check: Check, patient: Patient) -> Finding:
    """A check's finding; whatever it raises is a failure of the part, not of the doctor."""
    try:
        answer = check(patient)
        if not isinstance(answer, tuple):
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                answer = await answer
    except UserError as error:
        answer = ("failed", str(error), _KEYS if "ALPACA" in str(error) else "")
    except TimeoutError:
        answer = ("failed", f"no answer within {CHECK_TIMEOUT_S:g} s", _REACH)
    except Exception as error:
        answer = ("failed", f"{type(error).__name__}: {error}", _REACH if name in REMOTE else _REPORT)
    status, detail, mend = answer
    return Finding(name, status, " ".join(detail.split()), mend)  # type: ignore[arg-type]


def _config(home: Path, config: Path | None) -> tuple[Loaded, str]:
    from trader.config import load_settings, load_typed
    from trader.pipeline.training_settings import TrainingSettings
    from trader.risk.params import RiskParams

    loaded = load_settings(home, config)
    for path, kind in ((loaded.risk_path, RiskParams), (loaded.training_path, TrainingSettings)):
        if path is not None:
            load_typed(path, kind)
    return loaded, f"{loaded.path or 'built-in defaults'}, mode {loaded.settings.mode}"


def _disk(patient: Patient) -> Answer:
    place = patient.home
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return "failed", f"{place} is not writable", "choose a writable --home"
    free = shutil.disk_usage(place).free
    detail = f"{patient.home}, {free / 1e9:.1f} GB free"
    if free < LEAST_FREE_BYTES:
        return "failed", detail, "free some space: journals and logs must never hit a full disk"
    return "ok", detail, ""


def _calendar(patient: Patient) -> Answer:
    from trader.core.clock import SystemClock, iso
    from trader.core.sessions import is_open, next_close, next_open

    now = SystemClock().now_ns()
    if is_open(now):
        return "ok", f"New York is open until {iso(next_close(now))[:16]}Z", ""
    return "ok", f"New York opens {iso(next_open(now))[:16]}Z", ""


async def _broker(patient: Patient) -> Answer:
    if patient.mode == "sim":
        return "ok", "the embedded exchange; no keys needed", ""
    broker = patient.broker()
    try:
        healthy, detail = await broker.health_check()
    finally:
        await broker.close()
    return ("ok", f"{broker.base_url}: {detail}", "") if healthy else (
        "failed", f"{broker.base_url}: {detail}", _REACH)


async def _clock(patient: Patient) -> Answer:
    if patient.mode == "sim":
        return "ok", "simulated time; nothing to compare with", ""
    from trader.core.clock import SECOND_NS, SystemClock

    broker = patient.broker()
    try:
        before = SystemClock().now_ns()
        theirs = (await broker.clock()).ts_ns
        ours = (before + SystemClock().now_ns()) // 2
    finally:
        await broker.close()
    skew = (ours - theirs) / SECOND_NS
    if abs(skew) > LARGEST_SKEW_S:
        return "failed", f"this clock is {skew:+.1f} s off the broker's", "synchronise it (timedatectl set-ntp true)"
    return "ok", f"{skew:+.2f} s off the broker's", ""


async def _data_feed(patient: Patient) -> Answer:
    if patient.mode == "sim":
        from trader.data.catalog import load_panel

        panel = load_panel(patient.home, patient.loaded.settings.sim.symbols or None, "1Day")
        return "ok", f"{len(panel):,} daily bars of {', '.join(panel.symbols)} ({panel.source})", ""
    from trader.data.alpaca_client import AlpacaDataClient

    secrets = patient.loaded.secrets
    client = AlpacaDataClient(secrets.api_key or "", secrets.secret_key or "", secrets.trading_url(patient.mode))
    try:
        bars = await client.get_latest_bars(patient.loaded.symbols[:1])
    finally:
        await client.close()
    return "ok", f"{len(bars)} latest bar of {patient.loaded.symbols[0]}", ""


def _model(patient: Patient) -> Answer:
    import numpy as np

    from trader.models.artifact import ArtifactError, ModelArtifact
    from trader.models.registry import latest_model
    from trader.strategy.registry import strategy_class

    settings = patient.loaded.settings
    strategy = strategy_class(settings.strategy.name)
    directory = latest_model(patient.home, settings.model.name or strategy.model_name)
    if directory is None:
        if settings.model.train_on_start:
            return "fallback", f"none yet; {settings.strategy.fallback} trades until the first is trained", ""
        return "failed", "there is none, and model.train_on_start is off", "alphatrade train"
    try:
        artifact = ModelArtifact.load(directory)
        batch = artifact.predict(np.zeros((1, len(artifact.feature_names))), np.ones(1))
    except ArtifactError as error:
        return "failed", str(error), "alphatrade train"
    if not np.isfinite(batch.calibrated).all():
        return "failed", f"{directory.name} predicts no numbers", "alphatrade train"
    if batch.degraded:
        return "fallback", f"{directory.name} without {', '.join(batch.failures)}", "alphatrade train"
    return "ok", f"{directory.name}, trained {artifact.created}", ""


async def _redis(patient: Patient) -> Answer:
    from trader.core.state_manager import RedisStateManager

    address = patient.loaded.redis_address
    if address is None:
        return "fallback", "not wanted; the state is kept in the home (one machine only)", ""
    manager = RedisStateManager(*address)
    await manager.initialize()
    missing = manager.in_fallback
    await manager.end_session()
    if missing:
        return "fallback", f"{address[0]}:{address[1]} does not answer: using in-memory fallback", (
            "start Redis, mend REDIS_HOST and REDIS_PORT, or set redis.enabled: false")
    return "ok", f"{address[0]}:{address[1]} answers", ""


def _journal(patient: Patient) -> Answer:
    from trader.cli.run_files import journal_of, list_runs
    from trader.core.journal import check

    runs = [run for run in list_runs(patient.home) if journal_of(Path(run["path"])).is_file()]
    if not runs:
        return "ok", "no runs yet", ""
    trouble = check(journal_of(Path(runs[0]["path"])))
    if trouble is not None:
        return "failed", f"{runs[0]['run_id']}: {trouble}", "the next session keeps the sound part and says so"
    return "ok", f"{runs[0]['run_id']} is sound", ""


def _halt(patient: Patient) -> Answer:
    from trader.utils.latch import latch_of

    latch = latch_of(patient.home, patient.mode).read()
    if latch is None:
        return "ok", f"{patient.mode} is not halted", ""
    lift = f"`alphatrade resume --mode {patient.mode}` lifts it"
    return "fallback", f"{patient.mode} is halted: {latch.reason}", lift


CHECKS: dict[str, Check] = {
    "disk": _disk,
    "calendar": _calendar,
    "broker": _broker,
    "clock": _clock,
    "data feed": _data_feed,
    "model": _model,
    "redis": _redis,
    "journal": _journal,
    "halt": _halt,
}
