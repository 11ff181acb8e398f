"""The one fill model: what an execution costs, part by part, in basis points; pure and deterministic.

The venue's matching core, the backtest and the guide's examples all price their fills here.

A fill's price is its reference price moved against the trader by four parts:

- spread: half the quoted spread, paid by every order that takes liquidity;
- permanent impact, ``permanent_impact_coef × 1e4 × sigma × sqrt(Q / ADV)``: the information given away;
- temporary impact, ``temporary_impact_coef × 1e4 × sigma × sqrt(Q / ADV)``: the liquidity consumed;
- adverse selection, ``adverse_selection_coef × worked share of the bar × favourable move``: an order that
  needs part of the bar pays for the drift meanwhile, and only when the prediction was right.

Here ``sigma`` is the daily volatility, ``Q`` the quantity, ``ADV`` the average daily volume. The law is
the empirical one of Tóth et al., "Anomalous price impact and the critical nature of liquidity" (2011). The
coefficient 0.5 of adverse selection is the mean of a linear drift over the time that the order works.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

BPS = 1e4
SIDES = {"buy": 1, "sell": -1}
# The power of ``Q / ADV`` with which a model's impact grows; None for those without impact.
IMPACT_POWERS: dict[str, float | None] = {"sqrt_impact": 0.5, "linear_impact": 1.0, "fixed": None, "none": None}


class FillCosts(NamedTuple):
    """The parts of a fill's cost in basis points of the reference price; positive is against the trader."""

    spread_bps: float
    permanent_bps: float
    temporary_bps: float
    adverse_selection_bps: float

    @property
    def market_impact_bps(self) -> float:
        """Permanent and temporary impact together."""
        return self.permanent_bps + self.temporary_bps

    @property
    def total_bps(self) -> float:
        """All parts together."""
        return self.spread_bps + self.permanent_bps + self.temporary_bps + self.adverse_selection_bps


_tuple = tuple.__new__
NO_COSTS = FillCosts(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class SimulatedFill:
    """One simulated execution and everything that its price is made of.

    ``slippage_bps`` is the whole distance from ``signal_price`` to ``fill_price`` in the trade's direction,
    ``delay_bps + spread_bps + market_impact_bps + adverse_selection_bps``, in bps of the signal price.
    ``commission`` is in dollars and is not part of the price.
    """

    symbol: str
    side: str
    requested_quantity: float
    filled_quantity: float
    signal_price: float
    reference_price: float
    fill_price: float
    slippage_bps: float
    delay_bps: float
    spread_bps: float
    market_impact_bps: float
    permanent_impact_bps: float
    temporary_impact_bps: float
    adverse_selection_bps: float
    commission: float
    participation_rate: float

    @property
    def fill_rate(self) -> float:
        """Filled over requested quantity."""
        return self.filled_quantity / self.requested_quantity

    @property
    def is_partial(self) -> bool:
        """Whether something of the order is left."""
        return self.filled_quantity < self.requested_quantity


class RealisticFillSimulator:
    """Prices fills; holds parameters and no state.

    Parameters
    ----------
    slippage_model : {'sqrt_impact', 'linear_impact', 'fixed', 'none'}
        How impact grows with size; ``fixed`` charges ``fixed_slippage_bps`` alone, ``none`` nothing.
    permanent_impact_coef, temporary_impact_coef, adverse_selection_coef : float
        See the module's table; all at least 0.
    commission_per_share : float
        Dollars a share.
    min_fill_rate : float
        In (0, 1]. An order of which the bar's capacity covers at least this share is filled completely (its
        tail walks the book and pays the impact of its full size); below it the fill is partial.
    max_participation : float
        In (0, 1]: the share of a bar's volume that all of the account's orders together may take.
    half_spread_bps : float
        Half the quoted spread.
    default_volatility : float
        Daily volatility where none is known.
    bars_per_day : float
        How a bar's volume is scaled to a day's where no ADV is known.
    fixed_slippage_bps : float
        The charge of the ``fixed`` model.

    Raises
    ------
    ValueError
        For a parameter outside its range, naming it, the value and the range.
    """

    def __init__(
        self,
        slippage_model: str = "sqrt_impact",
        permanent_impact_coef: float = 0.1,
        temporary_impact_coef: float = 0.2,
        adverse_selection_coef: float = 0.5,
        commission_per_share: float = 0.005,
        min_fill_rate: float = 0.85,
        max_participation: float = 0.10,
        half_spread_bps: float = 1.5,
        default_volatility: float = 0.02,
        bars_per_day: float = 26.0,
        fixed_slippage_bps: float = 5.0,
    ) -> None:
        if slippage_model not in IMPACT_POWERS:
            raise ValueError(f"slippage_model is {slippage_model!r}; expected one of {', '.join(IMPACT_POWERS)}")
        for name, value in (
            ("permanent_impact_coef", permanent_impact_coef),
            ("temporary_impact_coef", temporary_impact_coef),
            ("adverse_selection_coef", adverse_selection_coef),
            ("commission_per_share", commission_per_share),
            ("half_spread_bps", half_spread_bps),
            ("default_volatility", default_volatility),
            ("fixed_slippage_bps", fixed_slippage_bps),
        ):
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} is {value!r}; expected a number of at least 0")
        for name, value in (("min_fill_rate", min_fill_rate), ("max_participation", max_participation)):
            if not 0.0 < value <= 1.0:
                raise ValueError(f"{name} is {value!r}; expected a share above 0 and at most 1")
        if not (math.isfinite(bars_per_day) and bars_per_day >= 1.0):
            raise ValueError(f"bars_per_day is {bars_per_day!r}; expected a number of at least 1")
        self.slippage_model = slippage_model
        self.permanent_impact_coef = permanent_impact_coef
        self.temporary_impact_coef = temporary_impact_coef
        self.adverse_selection_coef = adverse_selection_coef
        self.commission_per_share = commission_per_share
        self.min_fill_rate = min_fill_rate
        self.max_participation = max_participation
        self.half_spread_bps = half_spread_bps
        self.default_volatility = default_volatility
        self.bars_per_day = bars_per_day
        self.fixed_slippage_bps = fixed_slippage_bps
        self._power = IMPACT_POWERS[slippage_model]

    def costs(
        self, sign: int, quantity: float, reference_price: float, bar_close: float, bar_volume: float,
        adv: float, volatility: float,
    ) -> FillCosts:
        """The parts of the cost of taking ``quantity`` at ``reference_price``: scalars in, scalars out.

        ``sign`` is +1 for a buy and -1 for a sell; ``adv`` in shares and ``volatility`` as a daily fraction
        may be NaN or not positive, then the bar's volume and ``default_volatility`` stand in.
        """
        power = self._power
        if power is None:
            return FillCosts(0.0, 0.0, self.fixed_slippage_bps, 0.0) if self.slippage_model == "fixed" else NO_COSTS
        if not adv > 0.0:
            adv = bar_volume * self.bars_per_day
        if not volatility > 0.0:
            volatility = self.default_volatility
        share = (quantity / adv) if adv > 0.0 else 1.0
        unit = BPS * volatility * (math.sqrt(share) if power == 0.5 else share)
        adverse = 0.0
        move = sign * (bar_close / reference_price - 1.0)
        if move > 0.0 and bar_volume > 0.0:
            worked = quantity / (self.max_participation * bar_volume)
            adverse = BPS * self.adverse_selection_coef * (worked if worked < 1.0 else 1.0) * move
        return _tuple(FillCosts, (           # what `FillCosts` does itself, at a third of its time
            self.half_spread_bps, self.permanent_impact_coef * unit, self.temporary_impact_coef * unit, adverse,
        ))

    def capacity(self, bar_volume: float) -> float:
        """Shares of a bar that the account may take."""
        return self.max_participation * bar_volume if bar_volume > 0.0 else 0.0

    def fillable(self, quantity: float, capacity: float) -> float:
        """How much of ``quantity`` fills when ``capacity`` shares are left: all, or whole shares of it."""
        if quantity * self.min_fill_rate <= capacity:
            return quantity
        return float(math.floor(capacity))

    def simulate_fill(
        self,
        symbol: str,
        side: str,
        quantity: float,
        signal_price: float,
        current_bar: Any,
        adv: float | None = None,
        volatility: float | None = None,
        reference_price: float | None = None,
    ) -> SimulatedFill:
        """Fill a market order within a bar.

        Parameters
        ----------
        symbol, side, quantity
            ``side`` is ``buy`` or ``sell`` in any case; ``quantity`` is positive, in shares.
        signal_price : float
            The price at which the decision was taken; slippage is measured from it.
        current_bar
            The bar in which the order executes: a mapping, a pandas row or a namedtuple with ``high``,
            ``low``, ``close`` and ``volume``, optionally ``adv`` and ``volatility``.
        adv, volatility : float, optional
            Average daily volume in shares, daily volatility as a fraction; else the bar's own, else defaults.
        reference_price : float, optional
            Where the market stood when the order arrived; by default the signal price, brought into the range
            that the bar traded (a price that never printed cannot be had).

        Raises
        ------
        ValueError
            Unknown side, or a quantity or price that is not positive.
        """
        sign = SIDES.get(side.lower() if isinstance(side, str) else "")
        if sign is None:
            raise ValueError(f"side is {side!r}; expected 'buy' or 'sell'")
        for name, value in (("quantity", quantity), ("signal_price", signal_price)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} of {symbol} is {value!r}; expected a positive number")
        volume = _field(current_bar, "volume", math.nan)
        close = _field(current_bar, "close", signal_price)
        if reference_price is None:
            low, high = _field(current_bar, "low", -math.inf), _field(current_bar, "high", math.inf)
            reference_price = min(max(signal_price, low), high)
        filled = quantity if math.isnan(volume) else min(
            quantity, self.fillable(quantity, self.capacity(volume))
        )
        parts = self.costs(
            sign, filled, reference_price, close, volume,
            _field(current_bar, "adv", math.nan) if adv is None else adv,
            _field(current_bar, "volatility", math.nan) if volatility is None else volatility,
        ) if filled > 0 else NO_COSTS
        scale = reference_price / signal_price        # parts are quoted on the signal price: they add up
        fill_price = reference_price * (1.0 + sign * parts.total_bps / BPS)
        return SimulatedFill(
            symbol=symbol, side=side, requested_quantity=quantity, filled_quantity=filled,
            signal_price=signal_price, reference_price=reference_price, fill_price=fill_price,
            slippage_bps=sign * (fill_price / signal_price - 1.0) * BPS,
            delay_bps=sign * (scale - 1.0) * BPS,
            spread_bps=parts.spread_bps * scale,
            market_impact_bps=parts.market_impact_bps * scale,
            permanent_impact_bps=parts.permanent_bps * scale,
            temporary_impact_bps=parts.temporary_bps * scale,
            adverse_selection_bps=parts.adverse_selection_bps * scale,
            commission=filled * self.commission_per_share,
            participation_rate=filled / volume if volume > 0 else 0.0,
        )


def _field(bar: Any, name: str, default: float) -> float:
    """A bar's field as a float, whatever the bar is; ``default`` where it has none."""
    value = bar.get(name) if hasattr(bar, "get") else getattr(bar, name, None)
    return default if value is None else float(value)
