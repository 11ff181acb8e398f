"""Training on a rule's bets: labels of the side taken, what choosing among them is worth, and what is refused."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from test_pipeline_train import SMALL, PlainFeatures, panel

from trader.cli.main import main
from trader.core.bets import OPINION
from trader.core.panel import REAL, BarPanel
from trader.models.artifact import ArtifactError, ModelArtifact, read_manifest
from trader.models.labels import barrier_volatility
from trader.pipeline.train import train_model
from trader.pipeline.training_samples import build_samples, rule_opinions
from trader.pipeline.training_settings import MetaSettings, TrainingSettings
from trader.prediction import require_use, rule_of
from trader.strategy.ml_meta import MLMeta
from trader.strategy.ml_momentum import MLMomentum
from trader.utils.errors import UserError

RULE = '''
import numpy as np
from trader.core.signals import Signal
from trader.strategy.base_strategy import BaseStrategy

class Coin(BaseStrategy):
    """Bets on either side by the cents of the price: knows nothing."""
    name = "coin"
    def on_slice(self, ctx):
        cents = np.nan_to_num(ctx.slice.close * 1e4 % 8).astype(int)
        return [Signal(s, 1 if cents[i] % 2 else -1, 0.5, 1.0) for i, s in enumerate(ctx.history.symbols)
                if cents[i] < 4 and ctx.ok[i]]
'''


def of_coins(tmp_path) -> TrainingSettings:
    (tmp_path / "coin.py").write_text(RULE)
    return msgspec.structs.replace(SMALL, name="ml_meta", meta=MetaSettings(primary=f"{tmp_path}/coin.py:Coin"))


def train(bars: BarPanel, home, settings: TrainingSettings):
    return train_model(bars, settings, home, features=PlainFeatures())


def test_labels_are_outcomes_of_the_side_that_the_rule_takes(tmp_path):
    settings, bars = of_coins(tmp_path), panel(n_bars=700)
    samples = build_samples(bars, PlainFeatures().transform(bars), settings, 10)
    said = rule_opinions(bars, settings)
    assert samples.bets
    assert {-0.5, 0.5} == set(samples.opinion)
    np.testing.assert_array_equal(samples.opinion, said[samples.t0, samples.symbol])
    np.testing.assert_array_equal(samples.X[:, -1], samples.opinion)
    sigma = np.column_stack([barrier_volatility(bars.close[:, j]) for j in range(3)])
    for y, t0, t1, ret, j, opinion in zip(
            samples.y, samples.t0, samples.t1, samples.ret, samples.symbol, samples.opinion, strict=True):
        far = 2.0 * sigma[t0, j]
        for t in range(t0 + 1, t0 + 7):                     # by hand, one bar after the other
            value = np.sign(opinion) * (bars.close[t, j] / bars.close[t0, j] - 1.0)
            outcome = 2 if value > far else 0 if value < -far else 1
            if outcome != 1:
                break
        assert (y, t1) == (outcome, t)
        assert ret == pytest.approx(value)


def test_bets_that_can_be_told_apart_are_and_the_choice_pays(tmp_path):
    """Volume leans to where the next bars go, so with the side it tells which bets pay."""
    bars = panel(n_bars=2500, signal=0.6)
    directory = train(bars, tmp_path, of_coins(tmp_path))
    manifest = read_manifest(directory)
    scores, bets = manifest["scores"], manifest["scores"]["bets"]
    assert scores["edge"]
    assert scores["verdict"].startswith("an edge on these labels, before costs: paying bets told from losing ones in")
    assert abs(bets["all"]["return_bps"]) < 4.0
    assert bets["chosen"]["paid_low"] > bets["all"]["paid_high"]
    assert bets["chosen"]["return_bps"] > 5.0
    assert bets["t"] > 4.0
    assert scores["returns"]["sharpe_low"] > 0.0
    assert {name for name, _ in scores["importance"]["gain"][:2]} == {"volume", OPINION}


def test_bets_on_noise_claim_nothing(tmp_path):
    scores = read_manifest(train(panel(n_bars=1500), tmp_path, of_coins(tmp_path)))["scores"]
    assert not scores["edge"]
    assert abs(scores["bets"]["t"]) < 3.5
    every, chosen = scores["bets"]["all"], scores["bets"]["chosen"]
    assert every["paid_low"] < chosen["paid"] < every["paid_high"] + 0.1


def test_a_meta_model_predicts_bets_alone_and_is_refused_with_another_rule(tmp_path):
    bars, settings = panel(n_bars=900), of_coins(tmp_path)
    directory = train(bars, tmp_path, settings)
    model = ModelArtifact.load(directory)
    assert model.model.feature_names_in_ == (*PlainFeatures.names, OPINION)
    assert model.feature_names == PlainFeatures.names
    rows = PlainFeatures().transform(bars)[-1]
    batch = model.predict(rows, np.array([0.5, 0.0, -0.5]))
    assert np.isnan(batch.calibrated[1]).all()
    np.testing.assert_allclose(batch.calibrated[[0, 2]].sum(axis=1), 1.0)
    assert not np.array_equal(model.predict(rows, np.full(3, 0.5)).raw, model.predict(rows, np.full(3, -0.5)).raw)
    with pytest.raises(ValueError, match="pass its opinion"):
        model.predict(rows)
    assert model.health_check().healthy
    rule_of(model)
    require_use(model, MLMeta)
    with pytest.raises(ArtifactError, match=r"judges the bets of .*coin.py:Coin; strategy ml_momentum needs"):
        require_use(model, MLMomentum)
    (tmp_path / "coin.py").write_text(RULE.replace("< 4", "< 6"))
    with pytest.raises(ArtifactError, match=r"was trained on bets of .*that rule is .* now: train it again"):
        rule_of(model)
    (tmp_path / "coin.py").unlink()
    with pytest.raises(ArtifactError, match=r"coin.py does not exist"):
        rule_of(model)


def test_a_plain_model_is_no_judge_of_bets(tmp_path):
    model = ModelArtifact.load(train(panel(n_bars=900), tmp_path, SMALL))
    assert model.meta is None
    assert read_manifest(model.directory)["scores"]["bets"] is None
    require_use(model, MLMomentum)
    with pytest.raises(ArtifactError, match=r"set name: ml_meta and meta.primary: trend in training.yaml"):
        require_use(model, MLMeta)


def test_a_rule_that_cannot_be_is_named(tmp_path):
    for primary, words in (("ml", "needs a model itself"), ("nonesuch", "is not known")):
        with pytest.raises(UserError, match=words):
            train(panel(n_bars=900), tmp_path, msgspec.structs.replace(SMALL, meta=MetaSettings(primary=primary)))
    assert not (tmp_path / "models").exists()
    assert panel().source == REAL


def test_from_training_to_backtest_by_commands(tmp_path, capsys):
    config = tmp_path / "meta.yaml"
    config.write_text("name: ml_meta\nmeta: {primary: trend}\nmodel: {members: [lightgbm], iterations: 10, depth: 3}\n"
                      "importance: {mda: false}\n")
    home = ["--home", str(tmp_path), "--symbols", "AAPL,IBM,MSFT"]
    played = [*home, "--strategy", "ml_meta", "--start", "2012-03-01", "--end", "2012-03-20", "--json"]
    assert main(["backtest", *played]) == 2
    assert "holds none of the name ml_meta" in capsys.readouterr().err
    assert main(["train", *home, "--config", str(config), "--start", "2011-06-01", "--end", "2012-03-01"]) == 0
    told = capsys.readouterr().out
    assert "of trend: " in told
    assert "choosing adds t = " in told
    assert main(["backtest", *played]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["strategy"], report["model"][:8], report["in_sample"]) == ("ml_meta", "ml_meta-", False)
    played[played.index("ml_meta")] = "ml_momentum"
    (tmp_path / "config").mkdir(exist_ok=True)
    (tmp_path / "config" / "settings.yaml").write_text("model: {name: ml_meta}\n")
    assert main(["backtest", *played]) == 2
    assert "use the strategy ml_meta, or train without meta.primary" in capsys.readouterr().err
