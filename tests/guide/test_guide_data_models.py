"""The guide's data, feature, model and backtest snippets, on the sample's prices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from guide_play import play, play_alone
from guide_world import Exchange, frame_of

from trader.core.panel import BarPanel
from trader.data.live_validator import LiveDataValidator
from trader.features.point_in_time import LookAheadBiasError
from trader.models.ml_model import XGBoostModel
from trader.strategy.registry import make_strategy

BARS = ["timestamp", "open", "high", "low", "close", "volume", "vwap", "trade_count"]


@pytest.fixture(scope="module")
def df(recent: BarPanel) -> pd.DataFrame:
    return frame_of(recent, "AAPL")


async def test_account(exchange: Exchange) -> None:
    played = await play("account")
    assert played.line("Account Status:") == "AccountStatus.ACTIVE"
    assert played.line("Buying Power: $") == "200000"


async def test_fetch_bars_over_two_pages(exchange: Exchange, guide_panel: BarPanel) -> None:
    df = (await play("fetch_bars"))["df"]
    assert list(df.columns) == BARS
    assert 12_000 < len(df) == len(guide_panel.between(None, int(df["timestamp"].iloc[-1].value) + 1))
    assert str(df["timestamp"].dt.tz) == "UTC"
    assert df["timestamp"].is_monotonic_increasing
    assert df["timestamp"].iloc[-1] < pd.Timestamp("2024-12-02", tz="UTC")
    assert df["close"].iloc[0] == pytest.approx(guide_panel.close[0, 0], abs=0.01)


def test_validate_bars(df: pd.DataFrame) -> None:
    old = play_alone("validate_bars", df=df)
    assert [issue.type for issue in old["result"].issues] == ["stale_data"]
    assert "Validation failed" in old.printed

    moved = df.assign(timestamp=df["timestamp"] + (pd.Timestamp.now("UTC") - df["timestamp"].iloc[-1]))
    fresh = moved.iloc[-26:].assign(timestamp=moved["timestamp"].iloc[-26:] - pd.Timedelta("15min"))
    assert play_alone("validate_bars", df=fresh).printed == "Data validation passed\n"

    spiked = fresh.copy()
    row = spiked.index[10]
    spiked.loc[row, ["high", "close"]] = spiked["close"].iloc[9] * 1.2
    issues = play_alone("validate_bars", df=spiked)["result"].issues
    assert [issue.type for issue in issues] == ["price_spike", "price_spike"]


def test_institutional_features(df: pd.DataFrame) -> None:
    played = play_alone("institutional_features", df=df)
    features = played["features"]
    assert played.printed.startswith(f"Generated {len(features.columns)} features")
    assert len(features) == len(df)
    names = " ".join(features.columns)
    for part in ("ffd", "vpin", "kyle", "regime", "spread"):
        assert part in names, names
    alone = [name for name in features.columns if not name.startswith("rank_")]      # ranks want several symbols
    assert features[alone].iloc[-26:].notna().all(axis=None)


def test_point_in_time_features(df: pd.DataFrame) -> None:
    played = play_alone("point_in_time_features", df=df)
    features = played["features"]
    assert list(features.columns) == ["sma_20", "volatility"]
    assert features["sma_20"].iloc[-1] == pytest.approx(df["close"].iloc[-20:].mean())
    engine = played["pit_engine"]
    engine.add_feature(name="tomorrow", calculation=lambda df: df["close"].shift(-1), lookback=0)
    with pytest.raises(LookAheadBiasError, match="tomorrow"):
        engine.compute_all(df, validate=True)


def test_look_ahead_detected() -> None:
    assert play_alone("look_ahead_detected")["engine"].names == ()


@pytest.fixture(scope="module")
def trained(df: pd.DataFrame) -> Any:
    """The training snippet on what the labelling and feature snippets gave."""
    labels = play_alone("label", df=df)["labels"]
    features = play_alone("institutional_features", df=df)["features"]
    chosen = features.loc[:, features.iloc[200:].notna().all()].iloc[:, :8]
    return play_alone("train", features=chosen.iloc[200:], labels=labels.iloc[200:])


def test_label(df: pd.DataFrame) -> None:
    played = play_alone("label", df=df)
    labels = played["labels"]
    assert set(labels.dropna().unique()) <= {0.0, 1.0, 2.0}
    assert labels.notna().sum() >= len(df) - 20
    assert "Label distribution:" in played.printed


def test_train(trained: Any) -> None:
    assert 0.0 <= trained["accuracy"] <= 1.0
    assert trained.line("Validation Accuracy:").endswith("%")
    assert list(trained["ensemble"].members) == ["catboost", "xgboost", "lightgbm"]
    probabilities = trained["ensemble"].predict_proba(trained["X_val"])
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(probabilities)))
    assert trained["model"].best_iteration_ <= 500


def test_calibrate(trained: Any) -> None:
    played = play_alone(
        "calibrate", model=trained["model"], X_val=trained["X_val"], y_val=trained["y_val"], X_new=trained["X_val"])
    assert played["calibrated_prob"].shape == played["raw_prob"].shape
    assert ((played["calibrated_prob"] >= 0) & (played["calibrated_prob"] <= 1)).all()
    assert 0 <= float(played.line("ECE (Expected Calibration Error):")) <= 1
    assert 0 <= float(played.line("Brier Score:")) <= 1


def test_backtest(guide_panel: BarPanel) -> None:
    data = guide_panel.between(None, None)
    first = int(np.searchsorted(data.ts_ns, pd.Timestamp("2023-11-20", tz="UTC").value))
    historical = {symbol: frame_of(data.rows(first, len(data)), symbol) for symbol in data.symbols}
    played = play_alone("backtest", my_strategy=make_strategy("sma_cross", {}), historical_data=historical)
    results = played["results"]
    assert results.counts["trades"] == len(results.trades) > 0
    assert results.total_return == pytest.approx(results.equity[-1] / 100_000 - 1)
    assert 0 <= results.max_drawdown < 1
    assert 0 <= results.win_rate <= 1
    assert played.line("Total Return:") == f"{results.total_return:.2%}"
    assert played.line("Sharpe Ratio:") == f"{results.sharpe_ratio:.2f}"
    days = pd.to_datetime(results.equity_ts_ns, utc=True).tz_convert("America/New_York")
    assert str(days[0].date()) == "2024-01-02"
    assert str(days[-1].date()) == "2024-05-31"


def test_fill_model() -> None:
    bar = {"open": 175.0, "high": 175.6, "low": 174.8, "close": 175.2, "volume": 200_000, "adv": 5_000_000,
           "volatility": 0.02}
    played = play_alone("fill_model", bar_data=bar)
    fill = played["fill"]
    # the guide's formula: sigma × sqrt(Q / V) × coefficient, in basis points
    assert fill.market_impact_bps == pytest.approx(1e4 * 0.02 * (1000 / 5_000_000) ** 0.5 * (0.1 + 0.2))
    assert fill.fill_price == pytest.approx(175 * (1 + fill.slippage_bps / 1e4))
    parts = fill.delay_bps + fill.spread_bps + fill.market_impact_bps + fill.adverse_selection_bps
    assert fill.slippage_bps == pytest.approx(parts)
    assert played.line("Market Impact:") == f"{fill.market_impact_bps:.1f} bps"


def test_models_say_whether_they_are_well(trained: Any) -> None:
    assert trained["model"].health_check().healthy
    assert trained["ensemble"].health_check().healthy
    assert not XGBoostModel().health_check().healthy


def test_the_defaults_of_the_validator_are_the_guides() -> None:
    validator = LiveDataValidator()
    assert (validator.max_price_change_pct, validator.min_volume, validator.max_staleness_seconds) == (0.10, 1000, 60)
