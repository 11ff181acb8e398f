"""Every limit and coefficient of the risk rooms, typed, with its default and its valid range."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from trader.utils.typed_yaml import load_typed

Share = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Multiple = Annotated[float, msgspec.Meta(gt=0.0, le=100.0)]
Amount = Annotated[float, msgspec.Meta(gt=0.0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Probability = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]

DEFAULT_SECTORS: dict[str, str] = {
    "AAPL": "technology", "MSFT": "technology", "IBM": "technology", "NVDA": "technology", "AMD": "technology",
    "ADBE": "technology", "XLK": "technology",
    "GOOG": "communication", "GOOGL": "communication", "FB": "communication", "META": "communication",
    "NFLX": "communication", "DIS": "communication",
    "AMZN": "consumer", "TSLA": "consumer", "COST": "consumer", "PEP": "consumer", "WMT": "consumer",
    "JPM": "financial", "MA": "financial", "V": "financial",
    "UNH": "health", "JNJ": "health", "XOM": "energy",
    "SPY": "index", "QQQ": "index", "IWM": "index",
}


class RiskParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of ``config/risk_params.yaml``; shares are fractions of equity unless the name says otherwise."""

    # --- sizing ----------------------------------------------------------------------------------------
    kelly_fraction: Share = 0.25                     # of the full Kelly stake
    max_position_pct: Share = 0.20                   # one position, of equity
    min_observations: Count = 20                     # closed trades of a strategy before Kelly speaks
    kelly_quantile: Probability = 0.25               # of the posterior win rate: the price of not knowing
    kelly_forgetting: Share = 0.99                   # weight of a trade after one more trade
    initial_position_pct: Share = 0.05               # before min_observations
    probe_position_pct: NonNegative = 0.02           # when Kelly sees no edge: enough to notice its return
    target_volatility: Amount = 0.10                 # of the portfolio, a year

    # --- layer 1, pre-trade ----------------------------------------------------------------------------
    max_symbol_exposure: Multiple = 0.25             # position and orders on the way
    max_sector_exposure: Multiple = 0.60
    max_gross_exposure: Multiple = 1.5
    max_net_exposure: Multiple = 1.0
    max_leverage: Multiple = 2.0                     # gross over equity, orders on the way included
    max_order_value: Amount = 100_000.0              # dollars
    max_impact_to_alpha_ratio: Share = 0.5           # expected cost over expected alpha
    max_impact_bps: Amount = 25.0                    # where no alpha is stated
    max_participation: Share = 0.05                  # of average daily volume
    adv_days: Count = 20
    assumed_spread_bps: NonNegative = 3.0
    permanent_impact_coef: NonNegative = 0.1
    temporary_impact_coef: NonNegative = 0.2
    sectors: dict[str, str] = msgspec.field(default_factory=lambda: dict(DEFAULT_SECTORS))

    # --- layer 2, execution ----------------------------------------------------------------------------
    require_bracket: bool = True                     # an entry names its stop and its target
    min_bracket_distance_pct: NonNegative = 0.0005   # of the price; closer is noise
    max_stop_loss_pct: Share = 0.15
    max_orders_per_minute: Count = 120
    reserved_orders_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 40      # kept for exits
    rejection_warning: Count = 3                     # rejections within the window
    rejection_limit: Count = 5
    rejection_window_s: Amount = 3600.0
    rejection_cooldown_s: NonNegative = 1800.0

    # --- layer 3, portfolio ----------------------------------------------------------------------------
    var_method: Literal["historical", "parametric", "ewma", "cornish_fisher"] = "historical"
    var_confidence: Probability = 0.95
    var_limit_pct: Share = 0.03                      # of equity, one day
    var_window_days: Annotated[int, msgspec.Meta(ge=20)] = 250
    var_min_days: Annotated[int, msgspec.Meta(ge=5)] = 40
    var_every_bars: Count = 26
    intraday_loss_warning: Share = 0.005
    intraday_loss_circuit_breaker: Share = 0.01
    drawdown_warning: Share = 0.10
    max_drawdown: Share = 0.20
    warning_size_multiplier: Share = 0.5
    correlation_spike_threshold: Amount = 0.25       # rise of the mean correlation, relative to the baseline
    crisis_threshold: Amount = 0.40
    first_pc_threshold: Share = 0.55
    flatten_threshold: Share = 0.95                  # mean correlation at which everything is one bet
    correlation_minimum: NonNegative = 0.45          # below it a rise alarms nobody
    correlation_window_bars: Annotated[int, msgspec.Meta(ge=20)] = 130
    correlation_baseline_bars: Annotated[int, msgspec.Meta(ge=40)] = 780
    correlation_every_bars: Count = 26
    correlation_persistence: Count = 2               # readings in a row

    # --- layer 4, system -------------------------------------------------------------------------------
    max_data_age_bars: Amount = 3.0
    gauge_tolerance: Share = 0.05                    # of a limit: less movement is not written down
    gauge_every_bars: Count = 4

    def __post_init__(self) -> None:
        ordered = (
            ("intraday_loss_warning", "intraday_loss_circuit_breaker"), ("drawdown_warning", "max_drawdown"),
            ("correlation_spike_threshold", "crisis_threshold"), ("rejection_warning", "rejection_limit"),
            ("reserved_orders_per_minute", "max_orders_per_minute"),
        )
        for low, high in ordered:
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} ({getattr(self, low)}) must be below {high} ({getattr(self, high)})")


LIMITS = (
    "max_position_pct", "max_symbol_exposure", "max_sector_exposure", "max_gross_exposure", "max_net_exposure",
    "max_leverage", "max_order_value", "max_impact_to_alpha_ratio", "max_impact_bps", "max_participation",
    "max_orders_per_minute", "var_limit_pct", "intraday_loss_warning", "intraday_loss_circuit_breaker",
    "drawdown_warning", "max_drawdown", "correlation_spike_threshold", "crisis_threshold", "first_pc_threshold",
    "max_data_age_bars",
)


def load_risk_params(path: Path | None) -> RiskParams:
    """The settings of a ``risk_params.yaml``; None: the defaults.

    Raises
    ------
    UserError
        The file is missing, is not YAML, or a name or value in it is not valid; says file, line and range.
    """
    return RiskParams() if path is None else load_typed(path, RiskParams)
