"""Broken frames into the feature engines: a named error or clean values, never a wrong number in silence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trader.features.institutional import InstitutionalFeatureEngine
from trader.features.point_in_time import PointInTimeFeatureEngine
from trader.features.probe import probe_panel

FIELDS = ("open", "high", "low", "close", "volume")
VALUES = (0.0, -1.0, np.nan, np.inf, -np.inf, 1e308, "x", None)
TIMES = (None, "soon", "2024-07-02T15:00:00+01:00", "99999-01-01", pd.NaT)


def good(n: int) -> pd.DataFrame:
    panel = probe_panel(max(n, 2))
    frame = pd.DataFrame({name: getattr(panel, name)[:, 0] for name in FIELDS})
    frame.insert(0, "timestamp", pd.to_datetime(panel.ts_ns, utc=True))
    return frame.dropna().iloc[:n].reset_index(drop=True)


@st.composite
def broken(draw: st.DrawFn) -> pd.DataFrame:
    frame = good(draw(st.sampled_from([0, 1, 2, 150])))
    for fault in draw(st.lists(st.sampled_from(
        ["drop", "double", "value", "time", "order", "repeat", "swap", "naive", "index"]), max_size=3)):
        n = len(frame)
        if fault == "drop":
            frame = frame.drop(columns=draw(st.sampled_from(list(frame.columns))))
        elif fault == "double" and "close" in frame:
            frame = pd.concat([frame, frame[["close"]]], axis=1)
        elif fault == "value" and n:
            name = draw(st.sampled_from(FIELDS))
            if list(frame.columns).count(name) == 1:
                column = frame[name].astype(object)
                column.iloc[draw(st.integers(0, n - 1))] = draw(st.sampled_from(VALUES))
                frame[name] = column
        elif fault == "time" and n and "timestamp" in frame:
            column = frame["timestamp"].astype(object)
            column.iloc[draw(st.integers(0, n - 1))] = draw(st.sampled_from(TIMES))
            frame["timestamp"] = column
        elif fault == "order":
            frame = frame.iloc[::-1]
        elif fault == "repeat" and n:
            frame = pd.concat([frame, frame.iloc[[draw(st.integers(0, n - 1))]]])
        elif fault == "swap" and {"high", "low"} <= set(frame) and not frame.columns.duplicated().any():
            frame = frame.assign(high=frame["low"], low=frame["high"])
        elif fault == "naive" and "timestamp" in frame and isinstance(frame["timestamp"].dtype, pd.DatetimeTZDtype):
            frame["timestamp"] = frame["timestamp"].dt.tz_localize(None)
        elif fault == "index" and "timestamp" in frame:
            frame = frame.set_index("timestamp")
    return frame


def answer(work, kinds=ValueError):
    try:
        return work(), ""
    except kinds as error:
        return None, str(error)


@settings(max_examples=60)
@given(broken())
def test_institutional_engine(frame):
    before = frame.copy(deep=True)
    values, said = answer(lambda: InstitutionalFeatureEngine().generate_all_features(frame))
    pd.testing.assert_frame_equal(frame, before)
    if values is None:
        assert len(said) > 15
        assert "\n" not in said
        return
    assert len(values) == len(frame)
    assert not np.isinf(values.to_numpy()).any()
    # rows that hold no bar have no values, and the others are those of the bars alone
    bars = np.isfinite(frame[list(FIELDS)].to_numpy(dtype=float)).all(axis=1)
    assert values[~bars].isna().all(axis=None)
    alone = InstitutionalFeatureEngine().generate_all_features(frame[bars]) if bars.any() else values
    if bars.sum() > 2:
        np.testing.assert_array_equal(values[bars].to_numpy(), alone.to_numpy())


@settings(max_examples=40)
@given(broken())
@example(good(150).drop(columns="close"))
@example(good(2).drop(columns="close").iloc[::-1])
def test_point_in_time_engine(frame):
    engine = PointInTimeFeatureEngine()
    engine.add_feature("change", lambda df: pd.to_numeric(df["close"], errors="coerce").diff(), 1)
    values, said = answer(lambda: engine.compute_all(frame), (ValueError, TypeError, KeyError))
    if values is None:                              # of several faults one is named
        assert len(said) > 10 or ("close" in said and "close" not in frame.columns)
        return
    expected = pd.to_numeric(frame["close"], errors="coerce").diff().to_numpy()
    np.testing.assert_array_equal(values["change"].to_numpy(), expected)


class TestAvailability:
    """Rows are the future of each other by the moment at which they may be used."""

    def long(self) -> pd.DataFrame:
        """Three symbols side by side in one frame, every bar available at its end."""
        panel = probe_panel(200)
        parts = []
        for k in range(3):
            part = pd.DataFrame({"close": np.nan_to_num(panel.close[:, 0], nan=100.0) + k})
            part["timestamp"] = pd.to_datetime(panel.ts_ns, utc=True)
            part["available_at"] = pd.to_datetime(panel.available_ns, utc=True)
            part["symbol"] = f"S{k}"
            parts.append(part)
        return pd.concat(parts).sort_values(["available_at", "symbol"]).reset_index(drop=True)

    def test_symbols_of_one_moment_may_be_compared(self):
        def rank(df):
            return df.groupby("timestamp")["close"].rank()

        engine = PointInTimeFeatureEngine()
        engine.add_feature("rank", rank, 2)
        assert engine.verify(self.long()) == []
        assert engine.verify(self.long().drop(columns="available_at"))        # row by row it reads later rows

    def test_the_next_moment_may_not(self):
        engine = PointInTimeFeatureEngine()
        engine.add_feature("ahead", lambda df: df.groupby("symbol")["close"].shift(-1), 3)
        (finding,) = engine.verify(self.long())
        assert finding.kind == "look-ahead"

    def test_a_late_row_is_the_future_until_it_comes(self):
        """A daily value dated by its day's start, available at its end, used by date alone."""
        frame = good(400)
        frame["available_at"] = frame["timestamp"] + pd.Timedelta(minutes=15)
        frame["kind"] = "bar"
        day = frame["timestamp"].dt.normalize()
        daily = frame.groupby(day, as_index=False).agg(close=("close", "last"), available_at=("available_at", "max"))
        daily["timestamp"] = daily["available_at"].dt.normalize()
        daily["kind"] = "day"
        both = pd.concat([frame, daily]).sort_values("available_at", kind="stable").reset_index(drop=True)

        def by_date(df):
            days = df[df["kind"] == "day"].set_index("timestamp")["close"]
            return df["timestamp"].dt.normalize().map(days)

        def by_availability(df):
            days = df["close"].where(df["kind"] == "day")
            return days.ffill().shift(1)

        engine = PointInTimeFeatureEngine()
        engine.add_feature("by_date", by_date, None)
        engine.add_feature("by_availability", by_availability, None)
        assert [finding.feature for finding in engine.verify(both)] == ["by_date"]

    @pytest.mark.parametrize(("change", "said"), [
        (lambda f: f.assign(available_at=f["timestamp"] - pd.Timedelta(minutes=1)), "before its own timestamp"),
        (lambda f: f.iloc[::-1], "order of available_at"),
        (lambda f: f.assign(available_at="soon"), "does not hold times"),
        (lambda f: f.assign(available_at=pd.NaT), "known for every row"),
    ])
    def test_nonsense_is_named(self, change, said):
        engine = PointInTimeFeatureEngine()
        engine.add_feature("x", lambda df: df["close"], 0)
        with pytest.raises(ValueError, match=said):
            engine.verify(change(self.long()))
