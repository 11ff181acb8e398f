"""``TripleBarrierLabeler``: bars in, classes out (0 loss, 1 neutral, 2 profit)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader.models.labels import (
    TripleBarrierLabels,
    barrier_volatility,
    meta_labels,
    session_last_index,
    triple_barrier,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TripleBarrierLabeler", "TripleBarrierLabels", "meta_labels", "triple_barrier"]


class TripleBarrierLabeler:
    """Labels every bar of one symbol by what would have followed a position taken at its close.

    Parameters
    ----------
    profit_taking, stop_loss : distance of the barriers, as a fraction of the entry price (0.02 is 2 %); with
        ``volatility_scaled`` as a multiple of the volatility known at entry
    max_holding_periods : bars until the vertical barrier
    volatility_scaled : barriers in units of ``barrier_volatility(close, volatility_span)``
    use_high_low : judge touches by highs and lows, the stop first when a bar spans both
    volatility_span : span in bars of the volatility
    close_at_session_end : the vertical barrier comes no later than the last bar of the entry's New York date
    side : +1 long, -1 short
    drop_unresolved : leave bars without an outcome out, instead of NaN

    Attributes
    ----------
    outcomes_ : TripleBarrierLabels of the last ``transform``, one per row of its input
    """

    def __init__(
        self,
        profit_taking: float = 0.02,
        stop_loss: float = 0.01,
        max_holding_periods: int = 20,
        volatility_scaled: bool = False,
        use_high_low: bool = False,
        *,
        volatility_span: int = 100,
        close_at_session_end: bool = False,
        side: int = 1,
        drop_unresolved: bool = False,
    ) -> None:
        for name, value in (("profit_taking", profit_taking), ("stop_loss", stop_loss)):
            if not value > 0:
                raise ValueError(f"{name} must be positive (0.02 is 2 %); got {value}")
        if max_holding_periods < 1:
            raise ValueError(f"max_holding_periods must be at least 1 bar; got {max_holding_periods}")
        if side not in (-1, 1):
            raise ValueError(f"side must be 1 (long) or -1 (short); got {side}")
        self.profit_taking = profit_taking
        self.stop_loss = stop_loss
        self.max_holding_periods = max_holding_periods
        self.volatility_scaled = volatility_scaled
        self.use_high_low = use_high_low
        self.volatility_span = volatility_span
        self.close_at_session_end = close_at_session_end
        self.side = side
        self.drop_unresolved = drop_unresolved
        self.outcomes_: TripleBarrierLabels | None = None

    def fit(self, df: pd.DataFrame, y: object = None) -> TripleBarrierLabeler:
        """Nothing is learnt from the data; present so that the labeler fits into pipelines."""
        del df, y
        return self

    def fit_transform(self, df: pd.DataFrame, y: object = None) -> pd.Series:
        """The same as ``transform``."""
        return self.fit(df, y).transform(df)

    def transform(self, df: pd.DataFrame) -> pd.Series:
        """Classes 0, 1, 2 on the index of ``df`` (float; NaN where the outcome lies beyond the data).

        ``df`` has the column ``close`` (``open, high, low`` too for ``use_high_low``);
        ``close_at_session_end`` needs a column ``timestamp`` or a time index. Rows with a NaN close get
        NaN; paths skip them.
        """
        import pandas as pd

        needed = ["close", *(["open", "high", "low"] if self.use_high_low else [])]
        missing = [name for name in needed if name not in df.columns]
        if missing:
            have = ", ".join(map(str, df.columns))
            raise ValueError(f"the bars lack {', '.join(missing)}; they have {have}")
        present = np.flatnonzero(np.isfinite(df["close"].to_numpy(dtype=np.float64, na_value=np.nan)))
        bars = {name: df[name].to_numpy(dtype=np.float64)[present] for name in needed}
        close = bars["close"]
        unit = np.ones(len(close))
        if self.volatility_scaled:
            unit = barrier_volatility(close, self.volatility_span)
        last = session_last_index(_new_york_dates(df)[present]) if self.close_at_session_end else None
        found = triple_barrier(
            close, np.arange(len(close)),
            profit_taking=self.profit_taking * unit, stop_loss=self.stop_loss * unit,
            max_holding_periods=self.max_holding_periods, last_index=last,
            side=np.full(len(close), self.side), open=bars.get("open"), high=bars.get("high"),
            low=bars.get("low"),
        )
        self.outcomes_ = _spread(found, present, len(df))
        classes = np.where(self.outcomes_.resolved, self.outcomes_.label, np.nan)
        labels = pd.Series(classes, index=df.index, name="label")
        return labels.dropna() if self.drop_unresolved else labels


def _spread(found: TripleBarrierLabels, present: np.ndarray, n_rows: int) -> TripleBarrierLabels:
    """Outcomes on the rows of the frame they came from; touches name rows of the frame."""
    label, barrier = np.full(n_rows, -1, dtype=np.int8), np.full(n_rows, -1, dtype=np.int8)
    touch, ret = np.full(n_rows, -1, dtype=np.int64), np.full(n_rows, np.nan)
    label[present], barrier[present], ret[present] = found.label, found.barrier, found.ret
    touch[present] = np.where(found.touch_index >= 0, present[np.maximum(found.touch_index, 0)], -1)
    return TripleBarrierLabels(label, touch, ret, barrier)


def _new_york_dates(df: pd.DataFrame) -> np.ndarray:
    """The trading date of each row as a number."""
    import pandas as pd

    moments = df["timestamp"] if "timestamp" in df.columns else df.index
    stamps = pd.DatetimeIndex(pd.to_datetime(moments, utc=True))
    return stamps.tz_convert("America/New_York").normalize().asi8
