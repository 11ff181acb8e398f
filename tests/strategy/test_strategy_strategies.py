"""What the shipped strategies do on bars whose story is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from trader.core.history import History
from trader.core.panel import BarPanel
from trader.strategy.base_strategy import StrategyContext
from trader.strategy.ml_momentum import MLMomentum, MLMomentumParams
from trader.strategy.ml_strategy import MLParams, MLStrategy, barrier_volatility
from trader.strategy.sma_cross import SmaCross, SmaCrossParams
from trader.strategy.trend import Trend, TrendParams

SYMBOLS = ("AAA", "BBB", "CCC")


class Stage:
    """Plays a panel to a strategy; positions follow the signals at once."""

    def __init__(self, close: np.ndarray, probabilities: np.ndarray | None = None) -> None:
        n = len(close)
        ts = np.arange(n) * 900 * 10**9
        self.panel = BarPanel(SYMBOLS, "15Min", ts, ts + 900 * 10**9, close, close * 1.0005, close * 0.9995, close,
                              np.full_like(close, 1e5))
        self.history = History.over(self.panel, np.repeat(np.arange(n), 26)[:n], 26.0)
        self.book = SimpleNamespace(positions={}, shares={}, changes=0)
        self.probabilities = probabilities
        self.signals: list[tuple[int, object]] = []

    def play(self, strategy, until: int | None = None, obey: bool = True, ok: np.ndarray | None = None):
        for i in range(self.history.n, until or len(self.panel)):
            bar = self.panel.slice(i)
            self.history.append(bar, 0)
            for position in self.book.positions.values():
                position.bars_held += 1
            probabilities = None if self.probabilities is None else self.probabilities[i]
            good = np.isfinite(bar.close) if ok is None else ok
            for signal in strategy.on_slice(StrategyContext(bar, self.history, self.book, probabilities, good)):
                self.signals.append((i, signal))
                self.book.changes += obey
                if obey and signal.direction:
                    self.book.positions[signal.symbol] = SimpleNamespace(quantity=10 * signal.direction, bars_held=0)
                    self.book.shares[signal.symbol] = 10.0 * signal.direction
                elif obey:
                    del self.book.positions[signal.symbol], self.book.shares[signal.symbol]
        return self.signals


def walk(n: int = 600, seed: int = 0, scale: float = 0.003) -> np.ndarray:
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, scale, (n, 3)), axis=0))


def test_sma_cross_holds_exactly_while_fast_is_above_slow():
    close = walk()
    stage = Stage(close)
    plain = SmaCross(SmaCrossParams(take_profit_pct=None, stop_loss_pct=None))
    signals = stage.play(plain)
    held = np.zeros((600, 3), bool)
    for column, symbol in enumerate(SYMBOLS):
        state, changes = False, {i: s.direction for i, s in signals if s.symbol == symbol}
        for i in range(600):
            state = bool(changes.get(i, state))
            held[i, column] = state
    kernel = np.lib.stride_tricks.sliding_window_view
    slow = kernel(close, 50, axis=0).mean(axis=-1)
    fast = kernel(close, 20, axis=0).mean(axis=-1)[30:]
    assert (held[49:] == (fast > slow + 1e-9)).all()
    assert not held[:49].any()
    assert all(s.shares == 100 for _, s in signals if s.direction)


def test_sma_cross_with_brackets_waits_for_the_next_upswing():
    stage = Stage(walk())
    strategy = SmaCross()
    stage.play(strategy, 200)
    entries = [s for _, s in stage.signals if s.direction]
    assert entries[0].take_profit_pct == 0.04
    symbol = next(iter(stage.book.positions))
    del stage.book.positions[symbol]                       # its bracket closed it
    seen = len(stage.signals)
    stage.play(strategy, 201)
    assert all(s.symbol != symbol for _, s in stage.signals[seen:])


def test_sma_cross_recovers_from_slices_that_it_did_not_see():
    close = walk(300)
    late, steady = Stage(close), Stage(close)
    first, second = SmaCross(), SmaCross()
    late.play(first, 150, obey=False)
    for i in range(150, 180):
        late.history.append(late.panel.slice(i), 0)
    late.play(first, 181, obey=False)
    steady.play(second, 181, obey=False)
    assert first._sums[0] == pytest.approx(second._sums[0], abs=1e-9)


def test_trend_trades_within_dozens_of_bars_on_some_of_five_symbols():
    hits = []
    for seed in range(20):
        signals = Stage(walk(80, seed)).play(Trend())
        hits.append(any(s.direction == 1 for _, s in signals))
    assert sum(hits) >= 18


def test_trend_enters_beyond_the_range_with_a_bracket_around_the_price_and_leaves_by_the_channel():
    close = np.full((60, 3), 100.0) + np.random.default_rng(1).normal(0, 0.01, (60, 3))
    close[40:50, 0] = 101 + np.arange(10) * 0.3
    close[50:, 0] = 99.0
    signals = Stage(close).play(Trend())
    bought = [(i, s) for i, s in signals if s.symbol == "AAA"]
    assert next((i, s.direction) for i, s in bought) == (40, 1)
    assert bought[1][1].direction == 0
    assert bought[1][0] == 50
    entry = bought[0][1]
    assert entry.take_profit_pct / entry.stop_loss_pct == pytest.approx(4.0 / 2.5)
    assert 0 < entry.strength <= 1
    assert entry.expected_alpha_bps > 0


def test_trend_shorts_only_when_allowed_and_ages_out():
    close = np.full((120, 3), 100.0)
    close[30:, 1] = 98.0 - 0.05 * np.arange(90)
    assert not [s for _, s in Stage(close).play(Trend()) if s.direction < 0]
    signals = Stage(close).play(Trend(TrendParams(allow_short=True, max_bars=20)))
    mine = [(i, s.direction) for i, s in signals if s.symbol == "BBB"]
    assert mine[0] == (30, -1)
    assert mine[1] == (50, 0)


def test_nothing_is_said_about_unsound_symbols_or_before_the_warm_up():
    close = walk(300)
    assert Stage(close).play(Trend(), ok=np.zeros(3, bool)) == []
    assert min(i for i, _ in Stage(close).play(Trend())) >= Trend().warmup - 1
    close[:, 0] = np.nan
    assert all(s.symbol != "AAA" for _, s in Stage(close).play(Trend()))
    assert all(s.symbol != "AAA" for _, s in Stage(close).play(SmaCross()))


def probable(n: int, loss: float, profit: float) -> np.ndarray:
    out = np.full((n, 3, 3), np.nan)
    out[:, 0] = [loss, 1 - loss - profit, profit]
    out[:, 1] = [profit, 1 - loss - profit, loss]
    return out


def test_ml_enters_on_a_sufficient_edge_and_names_its_alpha():
    close = walk(200)
    strategy = MLStrategy(MLParams(max_holding_periods=500))
    signals = Stage(close, probable(200, 0.2, 0.6)).play(strategy)
    assert [(i, s.symbol, s.direction) for i, s in signals] == [(100, "AAA", 1)]
    signal = signals[0][1]
    sigma = barrier_volatility(close[:101])[0]
    assert signal.take_profit_pct == pytest.approx(2 * sigma)
    assert signal.stop_loss_pct == pytest.approx(sigma)
    assert signal.expected_alpha_bps == pytest.approx((0.6 * 2 - 0.2) * sigma * 1e4)
    assert signal.probability == pytest.approx(0.6)
    assert signal.strength == 1.0


def test_ml_stays_out_below_the_edge_below_costs_and_without_predictions():
    close = walk(200)
    assert Stage(close, probable(200, 0.34, 0.36)).play(MLStrategy()) == []
    assert Stage(close, probable(200, 0.2, 0.6)).play(MLStrategy(MLParams(cost_bps=1e5))) == []
    assert Stage(close).play(MLStrategy()) == []
    shorts = Stage(close, probable(200, 0.2, 0.6)).play(MLStrategy(MLParams(allow_short=True, max_holding_periods=500)))
    assert {(s.symbol, s.direction) for _, s in shorts} == {("AAA", 1), ("BBB", -1)}


def test_ml_leaves_by_age_per_symbol_and_by_decay():
    close = walk(260)
    aged = Stage(close, probable(260, 0.2, 0.6)).play(MLStrategy(barriers={"AAA": (2.0, 1.0, 30)}))
    assert [(i, s.direction) for i, s in aged][:2] == [(100, 1), (130, 0)]
    probabilities = probable(260, 0.2, 0.6)
    probabilities[120:, 0] = [0.5, 0.3, 0.2]
    decayed = Stage(close, probabilities).play(MLStrategy(MLParams(max_holding_periods=500)))
    assert [(i, s.direction) for i, s in decayed] == [(100, 1), (120, 0)]
    assert "decayed" in decayed[1][1].reason


def test_ml_momentum_buys_strength_only():
    falling = np.full((200, 3), 100.0) * np.exp(-0.001 * np.arange(200))[:, None]
    falling *= np.exp(np.random.default_rng(0).normal(0, 1e-3, falling.shape))
    assert Stage(falling, probable(200, 0.1, 0.8)).play(MLMomentum()) == []
    assert Stage(1e4 / falling, probable(200, 0.1, 0.8)).play(MLMomentum(MLMomentumParams(max_holding_periods=500)))


def test_barrier_volatility_is_the_ewm_of_pandas():
    import pandas as pd

    close = walk(101)
    want = pd.DataFrame(close).pct_change().ewm(span=100).std().iloc[-1].to_numpy()
    assert barrier_volatility(close) == pytest.approx(want, rel=1e-12)
