"""The search: what it prunes, what it counts, and what the luck of having tried costs."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from test_pipeline_train import SMALL, PlainFeatures, panel

from trader.core.panel import SYNTHETIC_INTRADAY
from trader.models.artifact import read_manifest
from trader.pipeline.search import BATCH, luck_of, search_settings
from trader.pipeline.train import train_model
from trader.pipeline.training_returns import Trials, daily_returns, judge_following, judge_returns
from trader.pipeline.training_samples import build_samples
from trader.utils.errors import UserError


def test_a_search_keeps_the_best_and_drops_the_laggards():
    bars = panel(n_bars=900, signal=0.6)
    samples = build_samples(bars, PlainFeatures().transform(bars), SMALL, 10)
    found = search_settings(samples, bars, SMALL, 5, 12)
    assert found.tried[0].model == SMALL.model          # the settings as they are come first
    whole = [t for t in found.tried if not t.dropped]
    dropped = [t for t in found.tried if t.dropped]
    assert dropped
    assert all(len(t.gains) < 3 for t in dropped)
    assert all(len(t.gains) == 3 for t in whole)
    best = max(whole, key=lambda t: t.gain)
    assert found.settings.model == best.model
    assert found.settings.labels == SMALL.labels
    assert found.trials.n == 12
    assert found.trials.variance_of_sharpe > 0
    assert 0 <= found.trials.overfitting <= 1


def test_trials_are_in_the_manifest_and_deflate_the_sharpe_ratio(tmp_path):
    bars = panel(n_bars=700, signal=0.6)
    scores = read_manifest(train_model(bars, SMALL, tmp_path, features=PlainFeatures(), search=BATCH))["scores"]
    assert scores["n_trials"] == scores["returns"]["n_trials"] == len(scores["search"]) == BATCH
    assert scores["returns"]["dsr"] < scores["returns"]["psr"]
    assert scores["returns"]["luck"] > 0
    plain = read_manifest(train_model(bars, SMALL, tmp_path, features=PlainFeatures()))["scores"]
    assert plain["n_trials"] == 1
    assert plain["returns"]["dsr"] == plain["returns"]["psr"]
    assert plain["search"] == []
    made = panel(n_bars=600, source=SYNTHETIC_INTRADAY)
    told = read_manifest(train_model(made, SMALL, tmp_path, features=PlainFeatures()))["scores"]["returns"]
    assert (plain["returns"]["evidence"], told["evidence"]) == (True, False)


def test_returns_follow_the_likelier_side():
    bars = panel(n_bars=700, signal=0.0)
    samples = build_samples(bars, PlainFeatures().transform(bars), SMALL, 10)
    knowing = np.column_stack((samples.ret < 0, np.zeros(len(samples)), samples.ret > 0)).astype(float)
    right = daily_returns(knowing, samples, bars)
    assert right.sum() == pytest.approx((np.abs(samples.ret) * samples.unique).sum() / 3)
    assert right.min() >= 0
    wrong = daily_returns(knowing[:, ::-1], samples, bars)
    np.testing.assert_allclose(wrong, -right)
    dear = daily_returns(knowing, samples, bars, cost_bps=10.0)
    share = samples.unique / len(bars.symbols)
    assert right.sum() - dear.sum() == pytest.approx(0.001 * share.sum())
    beside = judge_following(knowing, samples, bars, Trials(), 10.0)
    assert beside["sharpe"] > beside["net"][0] > beside["blind"][0]
    assert beside["net"][0] == pytest.approx(judge_returns(dear)["sharpe"])
    assert beside["blind"][0] == pytest.approx(judge_returns(daily_returns(
        np.tile([0.0, 0.0, 1.0], (len(samples), 1)), samples, bars))["sharpe"])
    judged = judge_returns(right)
    assert judged["sharpe_low"] < judged["sharpe"] < judged["sharpe_high"]
    assert judged["psr"] > 0.999
    assert judge_returns(wrong)["days_needed"] is None


def test_luck_grows_with_the_trials():
    rng = np.random.default_rng(0)
    returns = rng.normal(0.0, 0.01, (300, 40))
    trials = luck_of(returns, 60)
    assert trials.n == 60
    assert trials.variance_of_sharpe == pytest.approx(1 / 300, rel=0.5)
    best = returns[:, np.argmax(returns.mean(axis=0) / returns.std(axis=0))]
    assert judge_returns(best)["psr"] > 0.95                # the best of forty worthless ones looks fine alone
    assert judge_returns(best, trials)["dsr"] < 0.9
    few = judge_returns(best, Trials(2, trials.variance_of_sharpe))["dsr"]
    many = judge_returns(best, Trials(500, trials.variance_of_sharpe))["dsr"]
    assert many < few
    assert luck_of(returns[:, :1], 9) == Trials(9)


def test_without_optuna_the_mend_is_said(monkeypatch):
    bars = panel(n_bars=500)
    samples = build_samples(bars, PlainFeatures().transform(bars), SMALL, 10)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"alphatrade\[cluster\]"):
        search_settings(samples, bars, SMALL, 1, 2)
