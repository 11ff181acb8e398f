"""The guide's main loop and its emergency stop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from guide_play import play, snippet
from guide_world import Exchange, frame_of

from trader.core.book import Book
from trader.core.clock import VirtualClock
from trader.core.days import days_of
from trader.core.graceful_degradation import ComponentType, GracefulDegradationManager
from trader.core.history import History
from trader.core.ids import new_run_id
from trader.core.state_manager import RedisStateManager
from trader.data.alpaca_client import AlpacaDataClient
from trader.data.live_validator import LiveDataValidator
from trader.execution.broker_api import AlpacaBroker
from trader.execution.impact_model import AlmgrenChrissModel
from trader.execution.order_manager import OrderManager
from trader.features.institutional import InstitutionalFeatureEngine
from trader.models.calibration import ProbabilityCalibrationManager
from trader.models.meta_labeling import TripleBarrierLabeler
from trader.models.ml_model import XGBoostModel
from trader.risk.params import RiskParams
from trader.risk.pipeline import RiskPipeline
from trader.risk.risk_manager import RiskManager
from trader.strategy.base_strategy import StrategyContext
from trader.strategy.ml_strategy import MLParams, MLStrategy

COLUMNS = ["ret_1", "ret_4", "vol_ewm", "rsi"]
HISTORY = 400


class Loop:
    """The parts of the guide's main loop, real ones, with the simplified calls that the guide's loop makes."""

    def __init__(self, exchange: Exchange, bars: int) -> None:
        self.exchange, self.left, self.venue = exchange, bars, exchange.server.venue
        self.symbols = self.venue.panel.symbols
        self.clock = VirtualClock(self.venue.now_ns)
        self.broker, self.client = AlpacaBroker(), AlpacaDataClient()
        self.orders = OrderManager(self.broker)
        self.book = Book(self.symbols, Decimal(100_000))
        self.history = History.over(
            self.venue.panel, days_of(self.venue.panel.available_ns), 26.0, seen=self.venue.index)
        self.pipeline = RiskPipeline(RiskParams(), self.symbols, AlmgrenChrissModel())
        self.risk = RiskManager(self.pipeline, self.book, self.history)
        self.strategy_ = MLStrategy(MLParams(
            min_edge=0.0, cost_bps=0.0, allow_short=True, profit_taking=2.0, stop_loss=2.0))
        self.validator = LiveDataValidator(max_staleness_seconds=901, clock=self.clock)
        self.submitted: list[Any] = []
        past = self.venue.panel.rows(self.venue.index - HISTORY, self.venue.index)
        self.frames = {symbol: frame_of(past, symbol) for symbol in self.symbols}
        self._learn()

    def _learn(self) -> None:
        engine, labeler = InstitutionalFeatureEngine(), TripleBarrierLabeler(0.004, 0.004, 10)
        frame = self.frames["AAPL"]
        features, labels = engine.generate_all_features(frame)[COLUMNS], labeler.fit_transform(frame)
        self.trained = XGBoostModel(iterations=10).fit(features.iloc[150:], labels.iloc[150:])
        known = labels.iloc[150:].dropna()
        self.calibrator = ProbabilityCalibrationManager(auto_select=False, method="temperature").fit(
            self.trained.predict_proba(features.loc[known.index]), known)
        self.engine = engine

    # --- what the loop calls ---------------------------------------------------------------------------------

    def market_is_open(self) -> bool:
        """Plays the next bar while there are some to play."""
        if not self.left:
            return False
        self.left -= 1
        self.exchange.step()
        self.clock.advance_to(self.venue.now_ns)
        self.history.append(self.venue.panel.slice(self.venue.index - 1), 0)
        return True

    async def get_latest_bars(self) -> pd.DataFrame:
        return await self.client.get_latest_bars(list(self.symbols))

    def generate(self, bars: pd.DataFrame) -> pd.DataFrame:
        rows = []
        for symbol in self.symbols:
            new = bars[bars["symbol"] == symbol].drop(columns="symbol")
            self.frames[symbol] = pd.concat([self.frames[symbol], new], ignore_index=True)
            rows.append(self.engine.generate_all_features(self.frames[symbol])[COLUMNS].iloc[-1])
        return pd.DataFrame(rows)

    def predict(self, features: pd.DataFrame) -> Any:
        return self.trained.predict_proba(features)

    def generate_signals(self, probabilities: Any) -> list[Any]:
        bar = self.venue.panel.slice(self.venue.index - 1)
        context = StrategyContext(
            slice=bar, history=self.history, book=self.book, probabilities=probabilities,
            ok=np.ones(len(self.symbols), bool))
        return [replace(signal, shares=10) for signal in self.strategy_.generate_signals(context)]

    def estimate_impact(self, signal: Any) -> Any:
        return AlmgrenChrissModel().should_execute(
            quantity=signal.shares, price=signal.price, adv=5_000_000, volatility=0.02,
            expected_alpha_bps=signal.expected_alpha_bps)

    async def submit(self, signal: Any) -> None:
        self.submitted.append(await self.orders.submit(signal))


class Named:
    """A part under the name that the loop has for it."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


async def run_loop(loop: Loop, state: RedisStateManager, degradation: Any) -> None:
    async def initialize_system() -> None:
        await state.initialize()

    played = await play(
        "main_loop", asyncio=asyncio, logger=logging.getLogger("alphatrade.guide"), bar_interval=0,
        initialize_system=initialize_system, state_manager=state, generate_session_id=lambda: new_run_id("guide"),
        market_is_open=loop.market_is_open, data_feed=loop, validator=loop.validator, feature_engine=loop, model=loop,
        calibrator=loop.calibrator, risk_manager=loop.risk, strategy=Named(generate_signals=loop.generate_signals),
        impact_model=loop, order_manager=loop, graceful_degradation=degradation)
    try:
        await played["main"]()
    finally:
        await loop.orders.close()
        await loop.client.close()
        await loop.broker.close()


@pytest.fixture
def loop(exchange: Exchange) -> Loop:
    return Loop(exchange, bars=2)


async def test_main_loop_trades_and_ends_its_session(loop: Loop, tmp_path: Path) -> None:
    degradation = GracefulDegradationManager()
    state = RedisStateManager(fallback_path=tmp_path / "state.sqlite", use_redis=False)
    await run_loop(loop, state, degradation)
    assert loop.submitted
    assert {order.state.value for order in loop.submitted} <= {"accepted", "working", "filled", "held"}
    assert degradation.position_multiplier == 1.0
    after = RedisStateManager(fallback_path=tmp_path / "state.sqlite", use_redis=False)
    await after.initialize()
    recovered = await after.recover_state()
    assert recovered["previous_session"] is None                    # it ended in order
    assert recovered["last_session"].session_id.startswith("guide-")
    await after.end_session()


async def test_main_loop_stops_at_a_limit_and_survives_errors(
    loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "state.sqlite"
    crashed = RedisStateManager(fallback_path=path, use_redis=False)
    await crashed.initialize()
    await crashed.start_session(session_id="crashed")

    loop.pipeline.system.halted = True
    degradation = GracefulDegradationManager()
    degradation.register_component("model", ComponentType.MODEL)
    with caplog.at_level(logging.INFO, "alphatrade"):
        await run_loop(loop, RedisStateManager(fallback_path=path, use_redis=False), degradation)
    assert "Recovered from session: crashed" in caplog.text
    assert "Risk limit hit: trading is halted until it is resumed by hand" in caplog.text
    assert loop.submitted == []

    loop.left, loop.pipeline.system.halted = 1, False
    loop.trained = XGBoostModel()
    with caplog.at_level(logging.INFO, "alphatrade"):
        await run_loop(loop, RedisStateManager(fallback_path=path, use_redis=False), degradation)
    assert "Error in main loop: XGBoostModel is not trained yet" in caplog.text
    assert degradation.position_multiplier == 0.5


def test_emergency_stop_as_a_script(home: Path, repository: Path) -> None:
    script = snippet("emergency_stop").read_text(encoding="utf-8")
    environment = {**os.environ, "ALPHATRADE_HOME": str(home), "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=200, env=environment, cwd=repository)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "Cancelled orders: 0\nClosed positions: 0\n"
    status = subprocess.run(
        [sys.executable, "-m", "trader.cli.main", "status", "--json"], capture_output=True, text=True, timeout=200,
        env=environment, cwd=repository, check=True)
    assert "sim" in json.loads(status.stdout)["halted"]              # until a manual reset
