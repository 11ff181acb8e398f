"""A split's work at the venue: shares, cost, open orders, statistics.

Open orders follow FINRA rule 5330: before a forward split prices are divided (a buyer's and a stop seller's down,
the others' up to the next tick) and quantities multiplied; a reverse split cancels them. A position of whole
shares keeps whole shares, the rest is paid in cash at the adjusted price.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import TYPE_CHECKING

import numpy as np

from trader.core.money import MICRO_SHARE, SHARE, to_tick
from trader.core.panel import BarPanel
from trader.exchange.exits import follow
from trader.exchange.hours import Hours
from trader.exchange.statistics import DailyStatistics
from trader.exchange.types import ZERO, Entry, Split, VenueOrder

if TYPE_CHECKING:
    from trader.exchange.venue import Venue

_PRICE_QUANTUM = Decimal("0.000001")        # every digit of a quotient would leave crumbs in the sum of reserves


def apply_split(venue: Venue, symbol: str, ratio: Decimal) -> Split:
    """Split ``symbol`` before the next bar; see `Venue.apply_split`."""
    column = venue.panel.column(symbol)
    if not (ratio.is_finite() and 0 < ratio <= 1000) or ratio == 1:
        raise ValueError(f"ratio of the split of {symbol} is {ratio}; expected new shares for one old, above 0, not 1")
    if venue.hours.inside_day(venue.index):
        raise ValueError(f"{symbol} cannot split inside a session; step to the end of the session first")
    split = Split(id=venue.desk.ids.next(), symbol=symbol, index=venue.index, ts_ns=venue.now_ns, ratio=ratio)
    _split_orders(venue, symbol, ratio)
    price = to_tick(venue.last_price(column) / ratio)
    delta, cash = venue.accounts_book.split(symbol, ratio, price)
    for kind, qty, amount in (("SPLIT", delta, ZERO), ("CIL", ZERO, cash)):
        if qty or amount:
            venue.entries.append(Entry(
                id=venue.desk.ids.next(), ts_ns=venue.now_ns, index=venue.index, type=kind, symbol=symbol, qty=qty,
                net_amount=amount, price=price, description=f"{symbol} splits {ratio} for 1",
            ))
    note_split(venue, split)
    return split


def note_split(venue: Venue, split: Split) -> None:
    """Let prices and statistics know of a split: a new one, or one of a restored venue."""
    venue.splits.append(split)
    column = venue.panel.column(split.symbol)
    venue.price_book.split(column, split)
    learn_anew(venue, column, split.index)
    venue.valuation.forget()


def learn_anew(venue: Venue, column: int, first: int) -> None:
    """Let a symbol's statistics count its bars and splits as they are now, from the session of bar ``first`` on."""
    venue.statistics.replace(column, adjusted_statistics(venue.panel, venue.hours, column, venue.splits), first)


def adjusted_statistics(panel: BarPanel, hours: Hours, column: int, splits: list[Split]) -> DailyStatistics:
    """A symbol's statistics in the shares of after its last split."""
    factor = np.ones((len(panel), 1))
    for split in splits:
        if split.symbol == panel.symbols[column]:
            factor[: split.index] *= float(split.ratio)
    one = np.s_[:, column : column + 1]
    bars = BarPanel(
        (panel.symbols[column],), panel.timeframe, panel.ts_ns, panel.available_ns, panel.open[one] / factor,
        panel.high[one] / factor, panel.low[one] / factor, panel.close[one] / factor, panel.volume[one] * factor,
    )
    return DailyStatistics(bars, hours.numbers)


def _split_orders(venue: Venue, symbol: str, ratio: Decimal) -> None:
    desk = venue.desk
    for order in desk.open_orders():
        if order.symbol != symbol or not order.is_open:
            continue
        if ratio < 1 or order.status == "pending_new":
            desk.finish(order, "canceled", venue.now_ns)
        else:
            _split_order(order, ratio)
            desk.reserve(order)
            desk.announce("restated", order, venue.now_ns)
    desk.sort_anew(venue.panel.column(symbol))


def _split_order(order: VenueOrder, ratio: Decimal) -> None:
    if order.qty is not None:
        quantum = SHARE if order.qty % SHARE == 0 else MICRO_SHARE
        left = (order.remaining * ratio).quantize(quantum, rounding=ROUND_DOWN)     # whole shares stay whole
        filled = (order.filled_qty * ratio).quantize(quantum, rounding=ROUND_DOWN)
        order.qty, order.filled_qty = filled + left, filled
        if order.filled_avg_price is not None:
            order.filled_avg_price = (order.filled_avg_price / ratio).quantize(_PRICE_QUANTUM)
            order.filled_value = filled * order.filled_avg_price
    down = "down" if order.sign > 0 else "up"
    if order.limit_price is not None:
        order.limit_price = to_tick(order.limit_price / ratio, toward=down)
        order.limit_level = float(order.limit_price)
    if order.stop_price is not None:
        order.stop_price = to_tick(order.stop_price / ratio, toward="up" if order.sign > 0 else "down")
        order.stop_level = float(order.stop_price)
    if order.collar_price is not None:
        order.collar_price = to_tick(order.collar_price / ratio, toward=down)
    order.reserve_price = (order.reserve_price / ratio).quantize(_PRICE_QUANTUM, rounding=ROUND_UP)
    if order.hwm is not None:
        order.hwm = (order.hwm / ratio).quantize(_PRICE_QUANTUM)
        if order.trail_price is not None:
            order.trail_price = to_tick(order.trail_price / ratio)
        follow(order)
