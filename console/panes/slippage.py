"""What execution costs, over all and by symbol."""

from __future__ import annotations

from typing import Any

from console.panes.base import Facts, Pane
from console.widgets import figures as f
from console.widgets.line_table import Cell, Column, cell
from trader.frames import Frame, SlippageRow


def _bps(value: float | None) -> Cell:
    if value is None:
        return cell(f.UNKNOWN, "muted")
    return cell(f.signed(value, 1), "bad" if value > 0.05 else "good" if value < -0.05 else "")


class SlippagePane(Pane):
    """Basis points against the price at decision; positive ones cost money."""

    NAME = "slippage"
    TITLE = "Slippage"
    EMPTY = "no execution yet"
    COLUMNS = (
        Column("symbol", "Symbol", lambda r: cell(r.symbol, "strong" if r.symbol == "ALL" else ""), left=True),
        Column("executions", "Fills", lambda r: cell(f.number(r.executions, 0)), order=lambda r: r.executions),
        Column("mean", "Mean bp", lambda r: _bps(r.mean_bps), order=lambda r: r.mean_bps),
        Column("median", "Median", lambda r: _bps(r.median_bps), drop=4, order=lambda r: r.median_bps),
        Column("p95", "p95", lambda r: _bps(r.p95_bps), order=lambda r: r.p95_bps),
        Column("cost", "Cost $", lambda r: cell(f.number(r.cost)), order=lambda r: r.cost),
        Column("rate", "Filled", lambda r: cell(f.percent(r.fill_rate, 1)), drop=3, order=lambda r: r.fill_rate),
        Column("vwap", "<VWAP", lambda r: cell(f.percent(r.beat_vwap, 0)), drop=6, order=lambda r: r.beat_vwap),
        Column("latency", "Ack ms", lambda r: cell(f.number(r.latency_ms, 1)), drop=5, order=lambda r: r.latency_ms),
    )

    @staticmethod
    def row_key(row: SlippageRow) -> Any:
        return row.symbol

    def summary(self, frame: Frame) -> str:
        total = next((row for row in frame.slippage if row.symbol == "ALL"), None)
        return "" if total is None else f"{f.dollars(total.cost)} in {total.executions} fills"

    def facts(self, row: SlippageRow, frame: Frame) -> Facts:
        fills = [fill for fill in frame.fills if row.symbol in ("ALL", fill.symbol)]
        facts: Facts = [
            ("all symbols" if row.symbol == "ALL" else row.symbol, []),
            ("executions", [(f.number(row.executions, 0), "strong")]),
            ("mean", [*_bps(row.mean_bps), (" bps", "muted")]),
            ("median", [*_bps(row.median_bps), (" bps", "muted")]),
            ("95th percentile", [*_bps(row.p95_bps), (" bps", "muted")]),
            ("cost", [(f"{f.dollars(row.cost)}", "")]),
            ("fill rate", [(f.percent(row.fill_rate), "")]),
            ("better than the bar's VWAP", [(f.percent(row.beat_vwap, 1), "")]),
            ("median submit to acknowledge", [(f"{f.number(row.latency_ms, 1)} ms", "")]),
            ("Latest fills", []),
        ]
        for fill in reversed(fills[-40:]):
            facts.append((f.day_time(fill.ts_ns), [
                (f"{fill.symbol} {fill.side} {f.quantity(fill.quantity)} at {f.number(fill.price)}  ", ""),
                *_bps(fill.slippage_bps), (" bps", "muted")]))
        return facts
