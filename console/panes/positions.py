"""Open positions."""

from __future__ import annotations

from typing import Any

from console.panes.base import Facts, Pane
from console.widgets import figures as f
from console.widgets.line_table import Cell, Column, cell
from trader.frames import Frame, PositionRow


def _side(row: PositionRow) -> Cell:
    return cell("long" if row.quantity > 0 else "short", "muted" if row.quantity > 0 else "accent")


def _stop(row: PositionRow) -> Cell:
    return cell("⚠ NONE", "alarm") if row.stop_loss is None else cell(f.number(row.stop_loss))


def _gain(row: PositionRow) -> Cell:
    tone = f.gain_tone(row.unrealized_pnl)
    return ((f"{f.arrow(row.unrealized_pnl)} ", tone), (f.signed(row.unrealized_pnl), tone))


class PositionsPane(Pane):
    """What is held, what it is worth, where it is protected."""

    NAME = "positions"
    TITLE = "Positions"
    EMPTY = "flat: no open position"
    COLUMNS = (
        Column("symbol", "Symbol", lambda r: cell(r.symbol, "strong"), left=True),
        Column("side", "Side", _side, left=True, drop=6),
        Column("quantity", "Shares", lambda r: cell(f.quantity(r.quantity)), order=lambda r: r.quantity),
        Column("average", "Entry", lambda r: cell(f.number(r.average_price)), drop=5, order=lambda r: r.average_price),
        Column("last", "Last", lambda r: cell(f.number(r.last_price)), order=lambda r: r.last_price),
        Column("pnl", "P&L $", _gain, order=lambda r: r.unrealized_pnl),
        Column("pct", "P&L", lambda r: cell(f.signed_percent(r.unrealized_pct), f.gain_tone(r.unrealized_pct, 4)),
               order=lambda r: r.unrealized_pct),
        Column("stop", "Stop", _stop, order=lambda r: r.stop_loss),
        Column("target", "Target", lambda r: cell(f.number(r.take_profit)), drop=3, order=lambda r: r.take_profit),
        Column("share", "Equity", lambda r: cell(f.percent(r.share_of_equity, 1)), drop=4,
               order=lambda r: r.share_of_equity),
        Column("value", "Value $", lambda r: cell(f.number(r.market_value, 0)), drop=7, order=lambda r: r.market_value),
        Column("bars", "Bars", lambda r: cell(f.number(r.bars_held, 0)), drop=8, order=lambda r: r.bars_held),
        Column("opened", "Opened", lambda r: cell(f.short_day_time(r.opened_ns), "muted"), drop=9,
               order=lambda r: r.opened_ns),
    )

    @staticmethod
    def row_key(row: PositionRow) -> Any:
        return row.symbol

    def summary(self, frame: Frame) -> str:
        bare = sum(row.stop_loss is None for row in frame.positions)
        words = str(len(frame.positions))
        return f"{words}  ⚠ {bare} without a stop" if bare else words

    def facts(self, row: PositionRow, frame: Frame) -> Facts:
        working = [order for order in frame.orders if order.symbol == row.symbol and order.is_open]
        facts: Facts = [
            (f"{row.symbol} {'long' if row.quantity > 0 else 'short'}", []),
            ("shares", [(f.quantity(abs(row.quantity)), "strong")]),
            ("average entry", [(f.number(row.average_price), "")]),
            ("last price", [(f.number(row.last_price), "")]),
            ("market value", [(f"{f.dollars(row.market_value)}", ""),
                              (f"  {f.percent(row.share_of_equity)} of equity", "muted")]),
            ("unrealised P&L", [*_gain(row), (f"  {f.signed_percent(row.unrealized_pct)}",
                                              f.gain_tone(row.unrealized_pct, 4))]),
            ("held", [(f"{row.bars_held} bars", ""), (f"  since {f.day_time(row.opened_ns)}", "muted")]),
            ("strategy", [(row.strategy or f.UNKNOWN, "")]),
            ("Bracket", []),
            ("take profit", [(f.number(row.take_profit), ""), *_distance(row, row.take_profit)]),
            ("stop loss", [*_stop(row), *_distance(row, row.stop_loss)]),
        ]
        if row.stop_loss is not None:
            risk = (row.average_price - row.stop_loss) * row.quantity
            facts.append(("at risk to the stop", [(f"{f.dollars(risk)}", ""),
                                                  *([(f"  {f.percent(risk / frame.account.equity)} of equity", "muted")]
                                                    if frame.account.equity else [])]))
        facts.append((f"Working orders  {len(working)}", []))
        facts += [(order.role.replace("_", " "), [(f"{order.side} {f.quantity(order.quantity)}", ""),
                   (f"  {order.order_type} {f.number(order.limit_price or order.stop_price)}  {order.state}", "muted")])
                  for order in working]
        facts.append((f"Fills  {len(row.fills)}", []))
        facts += [(f.day_time(fill.ts_ns), [(f"{fill.side} {f.quantity(fill.quantity)} at {f.number(fill.price)}", ""),
                   (f"  commission {f.number(fill.commission)}", "muted"),
                   (f"  slippage {f.number(fill.slippage_bps, 1)} bps", "muted")])
                  for fill in row.fills]
        return facts


def _distance(row: PositionRow, level: float | None) -> list[tuple[str, str]]:
    if level is None or not row.last_price:
        return []
    return [(f"  {f.signed_percent(level / row.last_price - 1)} from last", "muted")]
