"""The default strategy: the model's edge, confirmed by the price's own direction."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from trader.strategy.base_strategy import StrategyContext, StrategyParams
from trader.strategy.ml_strategy import MLParams, MLStrategy


class MLMomentumParams(MLParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``momentum_bars``: the return over so many bars must not point against the wish by more than the tolerance."""

    momentum_bars: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 26
    momentum_tolerance: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0


class MLMomentum(MLStrategy):
    """:class:`MLStrategy` that buys strength and (where allowed) sells weakness only."""

    name: ClassVar[str] = "ml_momentum"
    Params: ClassVar[type[StrategyParams]] = MLMomentumParams
    params: MLMomentumParams

    @property
    def warmup(self) -> int:
        return max(super().warmup, self.params.momentum_bars + 1)

    def confirms(self, ctx: StrategyContext, wish: NDArray[np.int64]) -> NDArray[np.bool_]:
        close = ctx.history.close(self.params.momentum_bars + 1)
        momentum = close[-1] / close[0] - 1.0
        return np.asarray(wish * momentum >= -self.params.momentum_tolerance, bool)
