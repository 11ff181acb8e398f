"""The look-ahead judge: guilty, careless, impure and honest calculations, each with its verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trader.features.point_in_time import (
    ImpureFeatureError,
    LookAheadBiasError,
    LookbackError,
    PointInTimeFeatureEngine,
)
from trader.features.probe import probe_panel


@pytest.fixture(scope="module")
def df() -> pd.DataFrame:
    panel = probe_panel(640)
    frame = pd.DataFrame({name: getattr(panel, name)[:, 0] for name in ("open", "high", "low", "close", "volume")})
    frame.insert(0, "timestamp", pd.to_datetime(panel.ts_ns, utc=True))
    return frame.dropna().reset_index(drop=True)


def day(df):
    return df["timestamp"].dt.tz_convert("America/New_York").dt.date


def resampled_hour(df):
    hourly = df.set_index("timestamp")["close"].resample("1h", label="left").last()
    return hourly.reindex(df["timestamp"].dt.floor("1h")).to_numpy()


def joined_forward(df):
    quotes = df[["timestamp", "close"]].iloc[::4].rename(columns={"close": "quote"})
    return pd.merge_asof(df[["timestamp"]], quotes, on="timestamp", direction="forward")["quote"].to_numpy()


def joined_backward(df):
    quotes = df[["timestamp", "close"]].iloc[::4].rename(columns={"close": "quote"})
    return pd.merge_asof(df[["timestamp"]], quotes, on="timestamp", direction="backward")["quote"].to_numpy()


def viterbi(df):
    r = df["close"].pct_change().fillna(0.0).to_numpy()
    size = np.abs(r) / 0.004
    scores = -np.stack([size, 0.4 * size + 0.5], axis=1)
    best, back = scores[0], []
    for row in scores[1:]:
        options = best[:, None] + np.log([[0.95, 0.05], [0.05, 0.95]])
        back.append(options.argmax(axis=0))
        best = options.max(axis=0) + row
    path = [int(best.argmax())]
    for choice in reversed(back):
        path.append(int(choice[path[-1]]))
    return np.array(path[::-1], dtype=float)


def bulk_volume(df, sigma):
    from scipy.special import ndtr

    return df["volume"] * ndtr((df["close"].diff() / sigma).to_numpy())


def mutating(df):
    df["close"] = df["close"].round(1)
    return df["close"]


class Remembering:
    def __init__(self):
        self.calls = 0

    def __call__(self, df):
        self.calls += 1
        return df["close"] * 0.0 + self.calls


def polynomial_trend(df):
    x = np.linspace(-1, 1, len(df))
    return df["close"].to_numpy() - np.polyval(np.polyfit(x, df["close"], 3), x)


def spectrum(df):
    wave = np.fft.rfft(df["close"].to_numpy())
    wave[8:] = 0
    return np.fft.irfft(wave, len(df))


close = "close"
LEAKING = {
    "chikou": (lambda d: d[close].shift(-26), 26),
    "next_return": (lambda d: d[close].pct_change().shift(-1), 2),
    "centred_mean": (lambda d: d[close].rolling(21, center=True).mean(), 21),
    "back_fill": (lambda d: d[close].where(d[close].diff() > 0).bfill(), 50),
    "interpolation": (lambda d: d[close].where(np.arange(len(d)) % 5 == 0).interpolate(), 5),
    "whole_sample_score": (lambda d: (d[close] - d[close].mean()) / d[close].std(), None),
    "whole_sample_range": (lambda d: (d[close] - d[close].min()) / (d[close].max() - d[close].min()), None),
    "whole_sample_rank": (lambda d: d["volume"].rank(pct=True), None),
    "whole_sample_quantile": (lambda d: (d["volume"] > d["volume"].quantile(0.9)).astype(float), None),
    "whole_sample_sigma": (lambda d: bulk_volume(d, d[close].diff().std()), 1),
    "whole_sample_bins": (lambda d: pd.qcut(d["volume"], 10, labels=False, duplicates="drop"), 0),
    "day_close": (lambda d: d.groupby(day(d))[close].transform("last"), 26),
    "day_high": (lambda d: d["high"].groupby(day(d)).transform("max"), 26),
    "day_volume_share": (lambda d: d["volume"] / d["volume"].groupby(day(d)).transform("sum"), 26),
    "day_count": (lambda d: d[close].groupby(day(d)).transform("size"), 26),
    "hour_close": (resampled_hour, 4),
    "forward_join": (joined_forward, 4),
    "viterbi_states": (viterbi, None),
    "two_way_smoothing": (lambda d: d[close][::-1].ewm(span=10).mean()[::-1], None),
    "reversed_sum": (lambda d: d["volume"][::-1].cumsum()[::-1], None),
    "last_price": (lambda d: d[close] / d[close].iloc[-1], None),
    "detrended": (polynomial_trend, None),
    "low_pass": (spectrum, None),
    "gradient": (lambda d: np.gradient(d[close].to_numpy()), 2),
    "length": (lambda d: np.arange(len(d)) / len(d), None),
    "next_open": (lambda d: d["open"].shift(-1).fillna(d[close]), 1),
    "same_weekday_mean": (lambda d: d["volume"].groupby(d["timestamp"].dt.day_of_week).transform("mean"), None),
    "swing_high": (lambda d: (d["high"] == d["high"].rolling(5, center=True).max()).astype(float), 5),
}
UNDERSTATED = {
    "mean_50_says_20": (lambda d: d[close].rolling(50).mean(), 20),
    "ewm_says_20": (lambda d: d[close].ewm(span=20, adjust=False).mean(), 20),
    "running_sum_says_100": (lambda d: d["volume"].cumsum(), 100),
    "expanding_says_60": (lambda d: d[close].expanding().max(), 60),
    "return_10_says_5": (lambda d: d[close].pct_change(10), 5),
}
IMPURE = {
    "mutates": (mutating, 0),
    "random": (lambda d: np.random.default_rng().normal(size=len(d)), 0),
    "remembers": (Remembering(), 0),
    "drops_rows": (lambda d: d[close].diff().dropna(), 1),
}
CLEAN = {
    "sma_20": (lambda d: d[close].rolling(20).mean(), 20),
    "volatility": (lambda d: d[close].pct_change().rolling(20).std(), 20),
    "expanding_score": (lambda d: (d[close] - d[close].expanding().mean()) / d[close].expanding().std(), None),
    "rolling_rank": (lambda d: d[close].rolling(50).rank(), 50),
    "ewm": (lambda d: d[close].ewm(span=20).mean(), None),
    "ewm_with_its_memory": (lambda d: d[close].ewm(span=5, adjust=False).mean(), 120),
    "day_so_far": (lambda d: d["high"].groupby(day(d)).cummax(), 26),
    "day_open": (lambda d: d["open"].groupby(day(d)).transform("first"), 26),
    "bar_of_day": (lambda d: d[close].groupby(day(d)).cumcount(), 26),
    "backward_join": (joined_backward, None),
    "rolling_sigma": (lambda d: bulk_volume(d, d[close].diff().rolling(50).std()), 50),
    "forward_fill": (lambda d: d[close].where(d[close].diff() > 0).ffill(), 60),
    "cloud": (lambda d: ((d["high"].rolling(52).max() + d["low"].rolling(52).min()) / 2).shift(26), 77),
    "constant": (lambda d: np.ones(len(d)), 0),
    "minute": (lambda d: d["timestamp"].dt.minute, 0),
    "all_nan": (lambda d: np.full(len(d), np.nan), 0),
}


def judge(df, name, case):
    engine = PointInTimeFeatureEngine()
    engine.add_feature(name, case[0], case[1])
    return engine.compute_all(df)


@pytest.mark.parametrize("name", LEAKING)
def test_a_leak_is_found(df, name):
    with pytest.raises(LookAheadBiasError, match=name) as caught:
        judge(df, name, LEAKING[name])
    assert 0 <= caught.value.bar < len(df)
    assert "UTC" in str(caught.value)
    assert caught.value.cause


@pytest.mark.parametrize("name", UNDERSTATED)
def test_understated_memory_is_found(df, name):
    with pytest.raises(LookbackError, match=f"{UNDERSTATED[name][1]} bars"):
        judge(df, name, UNDERSTATED[name])


@pytest.mark.parametrize("name", IMPURE)
def test_impurity_is_found(df, name):
    with pytest.raises(ImpureFeatureError, match=name):
        judge(df, name, IMPURE[name])


@pytest.mark.parametrize("name", CLEAN)
def test_honest_calculations_pass(df, name):
    pd.testing.assert_index_equal(judge(df, name, CLEAN[name]).index, df.index)


@pytest.mark.parametrize(("name", "words"), [
    ("chikou", "26 ahead: a negative shift"),
    ("centred_mean", "10 ahead"),
    ("back_fill", "back-filling"),
    ("whole_sample_score", "statistic of the whole sample"),
    ("day_close", "whole session"),
    ("day_high", "whole session"),
    ("interpolation", "back-filling, interpolation"),
])
def test_the_likely_cause_is_named(df, name, words):
    with pytest.raises(LookAheadBiasError) as caught:
        judge(df, name, LEAKING[name])
    assert words in caught.value.cause


def test_the_first_differing_bar_is_the_first(df):
    engine = PointInTimeFeatureEngine()
    engine.add_feature("peek", lambda d: d["close"].where(np.arange(len(d)) != 100, d["close"].iloc[-1]), 0)
    (finding,) = engine.verify(df)
    assert finding.bar == 100


def test_values_are_those_of_the_calculations_and_validation_is_optional(df):
    engine = PointInTimeFeatureEngine()
    engine.add_feature(name="sma_20", calculation=lambda df: df["close"].rolling(20).mean(), lookback=20)
    engine.add_feature(name="ahead", calculation=lambda df: df["close"].shift(-1), lookback=1)
    values = engine.compute_all(df, validate=False)
    pd.testing.assert_series_equal(values["sma_20"], df["close"].rolling(20).mean(), check_names=False)
    assert [finding.feature for finding in engine.verify(df)] == ["ahead"]


def test_times_may_stand_in_the_index_or_be_absent(df):
    for frame in (df.set_index("timestamp"), df.drop(columns="timestamp")):
        judge(frame, "sma", (lambda d: d["close"].rolling(5).mean(), 5))
        with pytest.raises(LookAheadBiasError):
            judge(frame, "ahead", (lambda d: d["close"].shift(-1), 1))


def test_bad_use_is_told_clearly(df):
    engine = PointInTimeFeatureEngine()
    engine.add_feature("x", lambda d: d["close"], 0)
    with pytest.raises(ValueError, match="'x' has been added already"):
        engine.add_feature("x", lambda d: d["close"], 0)
    with pytest.raises(ValueError, match="whole number of bars"):
        engine.add_feature("y", lambda d: d["close"], -1)
    with pytest.raises(ValueError, match="not in the order of time"):
        engine.compute_all(df.iloc[::-1])
    engine.add_feature("words", lambda d: ["a"] * len(d), 0)
    with pytest.raises(ValueError, match="'words' must return numbers"):
        engine.compute_all(df)
