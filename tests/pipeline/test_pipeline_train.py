"""Training from bars to artefact, on small simulated panels with and without something to find."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy.stats import t as student

from trader.cli.main import main
from trader.core.clock import DAY_NS, MINUTE_NS
from trader.core.panel import REAL, SYNTHETIC_INTRADAY, BarPanel, FloatArray
from trader.models.artifact import ModelArtifact, read_manifest
from trader.models.registry import latest_model
from trader.pipeline.barriers import calibrate_barriers, load_barriers, write_barriers
from trader.pipeline.train import TrainProgress, cross_validate, train_model
from trader.pipeline.training_importance import importance_facts
from trader.pipeline.training_report import score_predictions
from trader.pipeline.training_samples import build_samples, panel_hash
from trader.pipeline.training_settings import (
    EventSettings,
    ImportanceSettings,
    LabelSettings,
    ModelSettings,
    TrainingSettings,
    ValidationSettings,
    load_training_settings,
)
from trader.utils.errors import UserError

SMALL = TrainingSettings(
    events=EventSettings(stride=2), model=ModelSettings(iterations=25, learning_rate=0.15, depth=3),
    validation=ValidationSettings(n_splits=3, embargo_bars=10),
    labels=LabelSettings(max_holding_periods=6, profit_taking=2.0, stop_loss=2.0),
)


class PlainFeatures:
    """Stands in for the shipped set: a few returns and a volatility, nothing to fit."""

    names = ("ret_1", "ret_3", "volume", "noise")
    lookback, warmup = 10, 10

    def fit(self, panel: BarPanel) -> PlainFeatures:
        return self

    def transform(self, panel: BarPanel) -> FloatArray:
        out = np.full((*panel.close.shape, 4), np.nan)
        out[1:, :, 0] = np.diff(np.log(panel.close), axis=0)
        out[3:, :, 1] = np.log(panel.close[3:] / panel.close[:-3])
        out[:, :, 2] = panel.volume
        out[:, :, 3] = np.sin(np.arange(panel.close.size) * 7.3).reshape(panel.close.shape)
        return out

    def fingerprint(self) -> str:
        return "plain"

    def to_dict(self) -> dict:
        return {"format": 1, "features": []}


def panel(n_bars: int = 1500, n_symbols: int = 3, seed: int = 0, signal: float = 0.0, source: str = REAL) -> BarPanel:
    """Random walks; with a signal, a bar's volume leans towards where the next six bars go."""
    rng = np.random.default_rng(seed)
    steps = 0.002 * rng.standard_normal((n_bars, n_symbols))
    lead = np.repeat(rng.standard_normal((n_bars // 6 + 1, n_symbols)), 6, axis=0)[:n_bars]
    steps[1:] += signal * 0.002 * lead[:-1]
    close = 100.0 * np.exp(np.cumsum(steps, axis=0))
    opened = np.vstack((close[:1], close[:-1]))
    index = np.arange(n_bars)
    ts = 1_704_205_800 * 10**9 + index // 26 * DAY_NS + index % 26 * 15 * MINUTE_NS
    volume = 1e5 * np.exp(lead if signal else rng.standard_normal((n_bars, n_symbols)))
    return BarPanel(
        ("AAA", "BBB", "CCC")[:n_symbols], "15Min", ts, ts + 15 * MINUTE_NS, opened, np.maximum(opened, close),
        np.minimum(opened, close), close, volume, source,
    )


def train(bars: BarPanel, home, settings: TrainingSettings = SMALL, **more):
    return train_model(bars, settings, home, features=PlainFeatures(), **more)


def test_noise_gets_chance_accuracy_and_an_honest_verdict(tmp_path):
    manifest = read_manifest(train(panel(), tmp_path))
    direction = manifest["scores"]["direction"]
    assert direction["accuracy_low"] < max(0.5, direction["base_rate"])
    assert abs(direction["accuracy"] - 0.5) < 0.08
    assert not manifest["scores"]["edge"]
    assert manifest["scores"]["verdict"].startswith("no edge beyond chance")


def test_a_planted_signal_is_found_and_calibrated(tmp_path):
    manifest = read_manifest(train(panel(n_bars=2500, signal=0.6), tmp_path))
    scores = manifest["scores"]
    assert scores["direction"]["accuracy_low"] > scores["direction"]["base_rate"] + 0.05
    assert scores["edge"]
    found = scores["importance"]
    assert found["gain"][0][0] == found["mda"][0][0] == "volume"
    assert sum(share for _, share in found["gain"]) == pytest.approx(1.0)
    assert found["mda"][0][1] > 2 * found["mda"][0][2]
    assert found["beyond_noise"] >= 1
    assert (found["features"], found["folds"], len(found["mda"])) == (4, 3, 4)
    assert scores["calibration"]["after"]["ece"] < 0.06


def test_importance_is_of_the_seed_and_can_be_left_out(tmp_path):
    bars = panel(n_bars=900, signal=0.6)
    first, again = (read_manifest(train(bars, tmp_path / name))["scores"] for name in "ab")
    assert first["importance"] == again["importance"]
    plain = msgspec.structs.replace(SMALL, importance=ImportanceSettings(mda=False))
    without = read_manifest(train(bars, tmp_path / "c", plain))["scores"]
    assert "mda" not in without["importance"]
    assert without["importance"]["gain"] == first["importance"]["gain"]
    assert without["log_loss"] == first["log_loss"]


def test_noise_is_not_called_important():
    """Between so few folds luck lifts some worthless features; on average no more than the report says."""
    bars = panel(n_bars=900)
    beyond = []
    for seed in range(6):
        X = np.random.default_rng(seed).normal(size=(*bars.close.shape, 12))
        samples = build_samples(bars, X, SMALL, 10)
        folds = cross_validate(samples, SMALL, seed)
        facts = importance_facts([f"f{k}" for k in range(12)], {}, folds.rises, [])
        beyond.append(facts["beyond_noise"])
    assert facts["by_luck"] == pytest.approx(12 * student.sf(2.0, 2))
    assert np.mean(beyond) < 12 * 0.25


def test_synthetic_bars_never_claim_an_edge(tmp_path):
    scores = read_manifest(train(panel(2500, signal=0.6, source=SYNTHETIC_INTRADAY), tmp_path))["scores"]
    assert not scores["edge"]
    assert scores["verdict"].startswith("no edge can be claimed on synthetic-intraday")


def test_symbols_that_move_together_count_for_little():
    """Ten copies of one symbol are no more evidence than the symbol: the interval stays as wide."""
    rng = np.random.default_rng(0)
    n = 1200
    y, said = rng.integers(0, 3, n), rng.dirichlet([4, 4, 4], n)
    prior, t0 = np.full((n, 3), 1 / 3), np.arange(n)
    copies = [np.repeat(x, 10, axis=0) for x in (said, prior, y, t0, np.ones(n))]
    one = score_predictions(said, prior, y, t0, np.ones(n), REAL)
    many = score_predictions(*copies, REAL)
    assert many["accuracy"] == one["accuracy"]
    assert many["n"] == 10 * one["n"]
    assert many["n_effective"] < 2.5 * n
    assert many["accuracy_high"] - many["accuracy_low"] > 0.6 * (one["accuracy_high"] - one["accuracy_low"])
    assert many["log_loss_gain_t"] == pytest.approx(one["log_loss_gain_t"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shuffled_labels_give_chance(seed):
    bars = panel(n_bars=2000, signal=0.6)
    samples = build_samples(bars, PlainFeatures().transform(bars), SMALL, 10)
    shuffled = np.random.default_rng(seed).permutation(samples.y)
    folds = cross_validate(replace(samples, y=shuffled), SMALL, seed)
    scores = score_predictions(folds.probability, folds.prior, shuffled, samples.t0, np.ones(len(samples)), REAL)
    n, best = len(samples), max(scores["class_shares"])
    assert scores["accuracy"] < best + 3.0 * np.sqrt(best * (1 - best) / n)
    assert abs(scores["direction"]["accuracy"] - 0.5) < 3.5 * 0.5 / np.sqrt(scores["direction"]["n"])
    assert not scores["edge"]


def test_training_twice_gives_the_same_bytes(tmp_path):
    first = train(panel(), tmp_path / "a")
    second = train(panel(), tmp_path / "b")
    assert first.name == second.name
    for path in sorted(p for p in first.rglob("*") if p.is_file()):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()
    other = train(panel(), tmp_path / "b", seed=99)
    assert other.name != first.name
    assert latest_model(tmp_path / "b") == other


def test_the_artefact_predicts_and_says_what_it_knows(tmp_path):
    bars = panel()
    model = ModelArtifact.load(train(bars, tmp_path))
    batch = model.predict(PlainFeatures().transform(bars)[-1])
    np.testing.assert_allclose(batch.calibrated.sum(axis=1), 1.0)
    assert model.trained_through_ns == bars.available_ns[-1]
    assert model.manifest["data"]["hash"] == panel_hash(bars)
    assert model.labels["max_holding_periods"] == 6
    assert model.feature_names == PlainFeatures.names


def test_no_sample_knows_anything_after_its_bars(tmp_path):
    bars = panel()
    samples = build_samples(bars, PlainFeatures().transform(bars), SMALL, 10)
    assert samples.t1.max() < len(bars)
    assert np.all((samples.t1 > samples.t0) & (samples.t1 <= samples.t0 + 6))
    cut = bars.rows(0, 800)
    early = build_samples(cut, PlainFeatures().transform(cut), SMALL, 10)
    same = samples.rows(np.flatnonzero(samples.t1 < 800))
    for name in ("X", "y", "t0", "t1", "symbol"):
        np.testing.assert_array_equal(getattr(same, name), getattr(early, name))


def test_missing_bars_are_not_labelled_through():
    bars = panel(n_bars=400)
    for name in ("open", "high", "low", "close", "volume"):
        getattr(bars, name)[100:120, 1] = np.nan
    samples = build_samples(bars, PlainFeatures().transform(bars), SMALL, 10)
    of_symbol = samples.rows(np.flatnonzero(samples.symbol == 1))
    assert not np.isin(of_symbol.t0, np.arange(100, 120)).any()
    assert not np.isin(of_symbol.t1, np.arange(100, 120)).any()
    assert (np.diff(samples.t0) >= 0).all()


def test_progress_reaches_the_end(tmp_path):
    steps: list[TrainProgress] = []
    train(panel(), tmp_path, progress=steps.append)
    assert [s.done for s in steps] == sorted(s.done for s in steps)
    assert (steps[0].stage, steps[-1].stage, steps[-1].done) == ("features", "done", steps[-1].total)
    assert steps[0].eta_seconds is None
    assert all(s.eta_seconds >= 0 for s in steps[1:])


def test_too_few_bars_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match="at least 300 labelled samples"):
        train(panel(n_bars=150), tmp_path)
    assert not (tmp_path / "models").exists()


def test_barriers_are_chosen_written_and_used(tmp_path):
    bars = panel(n_bars=1500)
    found = calibrate_barriers(bars)
    assert set(found.symbols) == {"AAA", "BBB", "CCC"}
    for own in found.symbols.values():
        assert sum(own.class_shares) == pytest.approx(1.0, abs=1e-3)
        assert min(own.class_shares) > 0.1
    path = tmp_path / "triple_barrier_params.yaml"
    write_barriers(path, found)
    loaded = load_barriers(path, LabelSettings())
    assert loaded["AAA"].profit_taking == found.symbols["AAA"].profit_taking
    manifest = read_manifest(train(bars, tmp_path, per_symbol=loaded))
    assert manifest["labels"]["per_symbol"]["AAA"]["max_holding_periods"] == found.symbols["AAA"].max_holding_periods


def test_settings_that_ship_are_the_defaults(tmp_path):
    assert load_training_settings(tmp_path) == TrainingSettings()


@pytest.mark.parametrize(("text", "message"), [
    ("model:\n  depth: 40\n", r"training.yaml:2: .*depth"),
    ("labels:\n  take_profit: 2\n", r"training.yaml:2: unknown key labels.take_profit"),
    ("events:\n  method: random\n", "cusum"),
])
def test_wrong_settings_name_file_and_line(tmp_path, text, message):
    path = tmp_path / "training.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_training_settings(tmp_path, path)


def test_the_command_trains_on_the_sample_and_speaks_json_lines(tmp_path, capsys):
    config = tmp_path / "training.yaml"
    config.write_text("model: {members: [catboost], iterations: 10, depth: 3}\n")
    words = ["train", "--home", str(tmp_path), "--config", str(config), "--start", "2011-09-01", "--end", "2012-03-01",
             "--symbols", "AAPL,IBM,MSFT", "--progress", "json"]
    assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(line) for line in lines[:-1]] == [{"stage", "done", "total", "eta_seconds"}] * (len(lines) - 1)
    assert lines[-1]["stage"] == "done"
    manifest = read_manifest(lines[-1]["model"])
    assert manifest["data"]["source"] == SYNTHETIC_INTRADAY
    assert manifest["data"]["end"] < "2012-03-01"
    assert manifest["data"]["start"].startswith("2011-09-01")
    report = json.loads((tmp_path / "results" / "training_report.json").read_text())
    assert report["verdict"] == lines[-1]["verdict"] == manifest["scores"]["verdict"]


def test_a_feature_that_sees_the_future_is_refused_before_training(tmp_path, capsys):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.yaml").write_text("features:\n  extra: ['mine.py:tomorrow']\n")
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom trader.features.feature import feature\n\n"
        "@feature(lookback=2)\ndef tomorrow(bars):\n    return np.append(bars.close[1:] / bars.close[:-1], np.nan)\n"
    )
    assert main(["train", "--home", str(tmp_path), "--symbols", "IBM", "--progress", "json"]) == 2
    assert "tomorrow" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_per_symbol_barriers_come_from_the_home(tmp_path, capsys):
    days = ["--symbols", "IBM", "--start", "2011-03-01", "--end", "2012-03-01", "--home", str(tmp_path)]
    assert main(["calibrate-barriers", *days]) == 0
    assert "IBM" in capsys.readouterr().out
    (tmp_path / "config" / "training.yaml").write_text(
        "labels: {per_symbol: true}\nmodel: {members: [catboost], iterations: 10, depth: 3}\n")
    (tmp_path / "config" / "settings.yaml").write_text("mode: sim\n")
    assert main(["train", *days, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    chosen = load_barriers(tmp_path / "config" / "triple_barrier_params.yaml", LabelSettings())["IBM"]
    assert told["labels"]["per_symbol"]["IBM"]["profit_taking"] == chosen.profit_taking
    assert main(["train", *days]) == 0
    assert "verdict      no edge can be claimed" in capsys.readouterr().out


def test_the_commands_name_what_is_wrong(tmp_path, capsys):
    assert main(["train", "--home", str(tmp_path), "--symbols", "NOPE", "--progress", "json"]) == 2
    output = capsys.readouterr()
    assert json.loads(output.out)["stage"] == "failed"
    assert "NOPE" in output.err
    assert main(["calibrate-barriers", "--home", str(tmp_path), "--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_calibrate_barriers_writes_the_file_of_the_home(tmp_path, capsys):
    words = ["calibrate-barriers", "--home", str(tmp_path), "--symbols", "IBM,MSFT", "--start", "2011-09-01",
             "--end", "2012-03-01", "--calibrate", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["symbols"]) == {"IBM", "MSFT"}
    assert load_barriers(tmp_path / "config" / "triple_barrier_params.yaml", LabelSettings()).keys() == {"IBM", "MSFT"}


def test_settings_survive_json():
    assert msgspec.convert(SMALL.to_dict(), TrainingSettings) == SMALL
