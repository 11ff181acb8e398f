"""The features the project ships, and the names by which stored sets find them again."""

from __future__ import annotations

from trader.features.calendar_time import RelativeVolume, TimeOfDay
from trader.features.columns import is_intraday
from trader.features.cross_section import CrossSectionalRank
from trader.features.entropy import MatchEntropy, SignEntropy, SizeEntropy
from trader.features.feature import Feature
from trader.features.fracdiff import FracDiff
from trader.features.microstructure import Illiquidity, KyleLambda
from trader.features.regime import HMMRegime
from trader.features.returns import OvernightGap, SessionReturns
from trader.features.spreads import Spreads
from trader.features.technical import EmaRatios, Ichimoku, Oscillators
from trader.features.volatility import EwmVolatility, RangeVolatility, VolatilityRatio
from trader.features.vpin import VPIN

FEATURE_TYPES: dict[str, type[Feature]] = {
    kind.__name__: kind
    for kind in (
        SessionReturns, OvernightGap, TimeOfDay, RelativeVolume, FracDiff, VPIN, KyleLambda, Illiquidity, Spreads,
        RangeVolatility, EwmVolatility, VolatilityRatio, HMMRegime, SignEntropy, SizeEntropy, MatchEntropy,
        Oscillators, EmaRatios, Ichimoku, CrossSectionalRank,
    )
}

# windows counted in bars; daily bars have shorter histories, so theirs are shorter
_INTRADAY: tuple[Feature, ...] = (
    SessionReturns(), OvernightGap(), TimeOfDay(), RelativeVolume(), FracDiff(), VPIN(), KyleLambda(), Illiquidity(),
    Spreads(), RangeVolatility(), EwmVolatility(), VolatilityRatio(), HMMRegime(), SignEntropy(), SizeEntropy(),
    MatchEntropy(), Oscillators(), EmaRatios(), Ichimoku(),
)
# a bar of one minute is a 390th of a day: the paper's buckets, and a day and a week where bars of 15 minutes have them
_MINUTES: dict[type[Feature], Feature] = {
    SessionReturns: SessionReturns((1, 5, 15, 60, 390)), VPIN: VPIN.of_minutes(),
    HMMRegime: HMMRegime(window=390, short=30), RelativeVolume: RelativeVolume(window=1950),
    VolatilityRatio: VolatilityRatio(short=30, long=390),
}
_DAILY: tuple[Feature, ...] = (
    SessionReturns((1, 2, 5, 10, 21, 63)), OvernightGap(), TimeOfDay(), RelativeVolume(window=20, at_least=20),
    FracDiff(threshold=1e-3), VPIN(buckets=50, bucket_bars=1.0, sigma_window=21), KyleLambda(), Illiquidity(),
    Spreads(), RangeVolatility(window=21), EwmVolatility(span=32), VolatilityRatio(short=5, long=63),
    HMMRegime(window=63), SignEntropy(), SizeEntropy(), MatchEntropy(), Oscillators(), EmaRatios(), Ichimoku(),
)


def default_features_of(timeframe: str) -> tuple[Feature, ...]:
    """The shipped features with windows for a timeframe, unfitted."""
    chosen = _INTRADAY if is_intraday(timeframe) else _DAILY
    if timeframe in ("1Min", "1m"):
        chosen = tuple(_MINUTES.get(type(feature), feature) for feature in chosen)
    month = chosen[0].names[-2]
    return (*chosen, *(CrossSectionalRank(of) for of in (month, "relative_volume", "vol_yang_zhang")))
