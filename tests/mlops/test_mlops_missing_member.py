"""A member of the ensemble fails in the middle of the engine's loop: the others go on, and it is said."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from trader.backtest.engine import BacktestEngine
from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core import events as ev
from trader.core.journal import read_events
from trader.data.catalog import load_panel
from trader.mlops.monitoring import ModelMonitor
from trader.pipeline.train import train_model
from trader.pipeline.training_settings import ModelSettings, TrainingSettings
from trader.prediction import HealthWatch, LivePredictor, load_model
from trader.strategy.registry import make_strategy

FAILS_AT, MENDS_AT = 20, 40


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    panel = load_panel(home, ("IBM", "MSFT"), "15Min", "2011-06-01", "2012-03-01")
    settings = msgspec.structs.replace(
        TrainingSettings(), model=ModelSettings(members=("catboost", "lightgbm"), iterations=5, depth=2))
    cut = len(panel) - 60
    return panel, cut, *load_model(train_model(panel.rows(0, cut), settings, home))


def play(world, tmp_path, monkeypatch, broken: tuple[str, ...]):
    """Every event of the last sixty bars, members failing for twenty of them; and the probabilities seen."""
    panel, cut, artifact, features = world
    predictor = LivePredictor(artifact, features, panel.rows(0, cut))
    monitor = ModelMonitor(artifact.manifest, panel.symbols)
    monitor.prime(panel.rows(0, cut))
    seen, predict = [], predictor.predict

    def counted(bar):
        with monkeypatch.context() as patch:
            if FAILS_AT <= len(seen) < MENDS_AT:
                for name in broken:
                    patch.setattr(artifact.model.members[name], "predict_proba", fail)
            seen.append(None)
            seen[-1] = predict(bar)
            return seen[-1]

    def fail(values):
        raise OSError("library gone")

    monkeypatch.setattr(predictor, "predict", counted)
    path = tmp_path / "journal.db"
    BacktestEngine(100_000.0, RealisticFillSimulator()).run(
        make_strategy("ml_momentum", {}), panel.rows(cut, len(panel)), predictor=predictor,
        monitor=HealthWatch(monitor, predictor), journal=path)
    return [event for _, event in read_events(path)], seen


def test_the_session_goes_on_and_says_who_is_missing(world, tmp_path, monkeypatch):
    events, seen = play(world, tmp_path, monkeypatch, ("catboost",))
    health = [event for event in events if isinstance(event, ev.ModelHealth)]
    missing = [h for h in health if any(r == "predicts without catboost (OSError: library gone)" for r in h.reasons)]
    assert missing
    assert all(h.level != "FRESH" and h.multiplier < 1.0 for h in missing)
    assert all(np.isfinite(p).all() for p in seen)
    assert not any("catboost" in reason for reason in health[-1].reasons)


def test_without_any_member_there_are_no_predictions_and_the_ladder_knows(world, tmp_path, monkeypatch):
    events, seen = play(world, tmp_path, monkeypatch, ("catboost", "lightgbm"))
    assert [p is None for p in seen] == [FAILS_AT <= k < MENDS_AT for k in range(len(seen))]
    notes = [event for event in events if isinstance(event, ev.Note) and event.source == "model"]
    assert len(notes) == MENDS_AT - FAILS_AT
    assert "no member of the ensemble could predict" in notes[0].text
    assert any(isinstance(event, ev.DegradationChanged) and event.level != "NORMAL" for event in events)
