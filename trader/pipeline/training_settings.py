"""``config/training.yaml`` as typed values; every field has a default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from trader.utils.paths import bundled_dir
from trader.utils.typed_yaml import load_typed

Positive = Annotated[float, msgspec.Meta(gt=0)]
PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class _Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A block of settings: immutable, no unknown keys."""


class DataSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which bars to learn from."""

    symbols: tuple[str, ...] = ()               # empty: everything there is in the timeframe
    timeframe: str = "15Min"
    start: str | None = None                    # ISO date; null: `months` before the end
    end: str | None = None                      # exclusive; null: as far as there are bars
    months: PositiveInt = 24                    # length of the history where no start is given


class EventSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which bars become samples."""

    method: Literal["stride", "cusum"] = "stride"
    stride: PositiveInt = 4                     # every n-th bar of a symbol
    cusum_threshold: Positive = 2.0             # in units of the bar volatility


class LabelSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The triple barrier: what the probabilities will be probabilities of."""

    profit_taking: Positive = 3.0               # in units of the bar volatility when volatility_scaled, else a fraction
    stop_loss: Positive = 3.0
    max_holding_periods: PositiveInt = 20       # bars
    volatility_scaled: bool = True
    volatility_span: Annotated[int, msgspec.Meta(ge=2)] = 100
    use_high_low: bool = False
    close_at_session_end: bool = False
    per_symbol: bool = False                    # take each symbol's values from triple_barrier_params.yaml

    def __post_init__(self) -> None:
        for name in ("profit_taking", "stop_loss"):
            if not self.volatility_scaled and getattr(self, name) >= 1:
                raise ValueError(f"{name} is a fraction without volatility_scaled: 0.02 is 2 %")


class ModelSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ensemble."""

    members: tuple[Literal["catboost", "xgboost", "lightgbm"], ...] = ("catboost", "xgboost", "lightgbm")
    voting: Literal["soft", "hard", "weighted", "stacking"] = "soft"
    iterations: PositiveInt = 200
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05
    depth: Annotated[int, msgspec.Meta(ge=1, le=12)] = 5
    feature_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0     # of the features, drawn for each tree
    row_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0         # of the samples, drawn for each tree
    l2: Annotated[float, msgspec.Meta(ge=0)] | None = None              # ridge on leaf values; null: the library's own
    min_rows: PositiveInt | None = None                                 # of a leaf; null: the library's own
    early_stopping_rounds: PositiveInt = 25
    min_iterations: PositiveInt = 10            # of the final model, whatever early stopping says

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("members must name at least one model")


class ValidationSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Purged k-fold."""

    n_splits: Annotated[int, msgspec.Meta(ge=2, le=20)] = 3
    embargo_bars: Annotated[int, msgspec.Meta(ge=0)] = 26
    holdout_share: Share = 0.15                 # of a fold's training labels, the last, for early stopping
    cost_bps: Annotated[float, msgspec.Meta(ge=0, lt=1000)] = 5.0       # of a round trip, in the report's returns


class WeightSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much each label counts."""

    uniqueness: bool = True
    by_return: bool = False                     # labels count by the return that is theirs alone
    sequential_bootstrap: bool = False          # drawn with replacement, the less likely the more they overlap
    oldest: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0    # weight of the oldest label against the newest


class CalibrationSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Candidates of the calibration."""

    methods: tuple[Literal["none", "temperature", "platt", "beta", "isotonic", "venn_abers"], ...] = (
        "none", "temperature", "platt", "beta", "isotonic")


class ImportanceSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which features the model lives on, by what it loses out of fold when one is shuffled."""

    mda: bool = True
    repeats: PositiveInt = 2                    # shuffles of each feature in each fold
    max_rows: Annotated[int, msgspec.Meta(ge=50)] = 2000        # of a fold's test rows, evenly taken


class MetaSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Meta-labels: a rule gives the side, the model learns whether its bets pay."""

    primary: str | None = None                  # a strategy that needs no model; null: labels of the long side
    params: dict[str, Any] = {}


class StalenessSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the model counts as old."""

    max_age_days: Positive = 30.0
    drift_window_rows: Annotated[int, msgspec.Meta(ge=50)] = 2000


class TrainingSettings(_Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what a training produces, beside the bars and the code."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_]{1,40}$")] = "ml_momentum"
    seed: Annotated[int, msgspec.Meta(ge=0)] = 7
    data: DataSettings = DataSettings()
    events: EventSettings = EventSettings()
    labels: LabelSettings = LabelSettings()
    weights: WeightSettings = WeightSettings()
    model: ModelSettings = ModelSettings()
    validation: ValidationSettings = ValidationSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    importance: ImportanceSettings = ImportanceSettings()
    meta: MetaSettings = MetaSettings()
    staleness: StalenessSettings = StalenessSettings()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def load_training_settings(home: Path, config: Path | None = None) -> TrainingSettings:
    """The named file, else ``<home>/config/training.yaml``, else the one that ships."""
    if config is None:
        own = home / "config" / "training.yaml"
        config = own if own.is_file() else bundled_dir("config") / "training.yaml"
    return load_typed(config, TrainingSettings)
