"""The shipped features for one symbol's DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader.core.panel import FIELDS, BarPanel
from trader.features.feature_set import FeatureSet, default_features

if TYPE_CHECKING:
    import pandas as pd

_DAY_NS = 86_400_000_000_000


class InstitutionalFeatureEngine:
    """Features after *Advances in Financial Machine Learning* for a frame of bars.

    Parameters
    ----------
    feature_set
        What to compute; by default the shipped set for the bar size that the timestamps show. Unfitted, it uses
        declared priors (order of differencing 0.4, a plain regime model), so nothing is estimated on the bars that
        it is shown; `fit` estimates on training bars.
    """

    def __init__(self, feature_set: FeatureSet | None = None) -> None:
        self.feature_set = feature_set

    def fit(self, df: pd.DataFrame) -> InstitutionalFeatureEngine:
        """Estimate what can be estimated (order of differencing, regimes) on these bars: training bars only."""
        panel = frame_to_panel(df)
        self.feature_set = (self.feature_set or default_features(panel.timeframe)).fit(panel)
        return self

    def generate_all_features(self, df: pd.DataFrame) -> pd.DataFrame:
        """All features: a frame with the index of ``df`` and a float column for each; NaN during warm-up.

        Parameters
        ----------
        df
            Bars of one symbol, oldest first: ``open high low close volume`` and times in a column ``timestamp`` or the
            index (naive times are taken as UTC).

        Raises
        ------
        ValueError
            For missing columns or times, rows out of order, values that are not numbers or no bars. A row in which a
            value is NaN or infinite counts as no bar: it stays NaN, and the others do not see it.
        """
        import pandas as pd

        panel = frame_to_panel(df)
        feature_set = self.feature_set or default_features(panel.timeframe)
        return pd.DataFrame(feature_set.transform(panel)[:, 0, :], index=df.index, columns=list(feature_set.names))


def frame_to_panel(df: pd.DataFrame, symbol: str = "SYMBOL") -> BarPanel:
    """A frame of one symbol's bars as a panel; the bar size is the commonest distance between timestamps."""
    import pandas as pd

    missing = [name for name in FIELDS if name not in df.columns]
    doubled = sorted({str(name) for name in df.columns[df.columns.duplicated()]} & {*FIELDS, "timestamp"})
    if doubled:
        raise ValueError(f"the frame has two columns {', '.join(doubled)}; it needs one of each")
    if missing:
        raise ValueError(f"the frame lacks {', '.join(missing)}; it needs {', '.join(FIELDS)} and timestamps")
    source = df["timestamp"] if "timestamp" in df.columns else df.index
    if isinstance(source, pd.RangeIndex) or pd.api.types.is_numeric_dtype(source):
        raise ValueError("the frame has no times; give a column 'timestamp' or a DatetimeIndex")
    try:
        moments = pd.DatetimeIndex(pd.to_datetime(source, utc=True)).as_unit("ns")
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"the timestamps cannot be read: {str(error).splitlines()[0]}") from None
    if moments.hasnans:
        raise ValueError(f"row {int(np.argmax(moments.isna()))} has no timestamp; drop the rows without one")
    ts_ns = moments.asi8
    steps = np.diff(ts_ns)
    if np.any(steps <= 0):
        row = int(np.argmax(steps <= 0)) + 1
        raise ValueError(f"timestamps must increase; row {row} is not later than the row before. Sort and de-duplicate")
    try:
        fields = [df[name].to_numpy(dtype=np.float64)[:, None] for name in FIELDS]
    except (TypeError, ValueError) as error:
        raise ValueError(f"prices and volume must be numbers: {str(error).splitlines()[0]}") from None
    for name, values in zip(FIELDS[:4], fields[:4], strict=True):
        bad = np.flatnonzero(values[:, 0] <= 0)
        if len(bad):
            raise ValueError(f"{name} must be above 0; row {bad[0]} holds {values[bad[0], 0]:g}")
    if np.any(fields[4] < 0):
        raise ValueError("volume must not be negative")
    opened, high, low, close = (values[:, 0] for values in fields[:4])
    top, bottom = np.fmax(opened, close) * (1.0 - 1e-9), np.fmin(opened, close) * (1.0 + 1e-9)
    wrong = (high < top) | (low > bottom) | (high < low)
    if wrong.any():
        raise ValueError(f"row {int(np.argmax(wrong))} is no bar: its high or low lies inside of its open and close")
    values, counts = np.unique(steps, return_counts=True)
    step = int(values[np.argmax(counts)]) if len(steps) else _DAY_NS
    timeframe = "1Day" if step >= _DAY_NS else f"{max(step // 60_000_000_000, 1)}Min"
    o, h, l, c, v = fields
    return BarPanel((symbol,), timeframe, ts_ns, ts_ns + step, o, h, l, c, v)
