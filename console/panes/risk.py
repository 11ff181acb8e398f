"""The four risk layers, rule by rule: how much of each limit is used, and what it last refused."""

from __future__ import annotations

from typing import Any

from console.panes.base import Facts, Pane
from console.widgets import figures as f
from console.widgets.line_table import Cell, Column, cell
from console.widgets.meter import meter
from trader.frames import Frame, RiskRow

LAYERS = {1: "Pre-trade", 2: "Execution", 3: "Portfolio", 4: "System"}
STATES = {"ok": ("ok", "good"), "warn": ("▲ warn", "warn_strong"), "breach": ("■ BREACH", "alarm")}
_BAR = {"ok": "accent", "warn": "warn", "breach": "bad"}
BAR_WIDTH = 8


def _share(row: RiskRow) -> float:
    if row.limit:
        return row.used / row.limit
    return 1.0 if row.used else 0.0


def _tally(row: RiskRow) -> Cell:
    parts: list[tuple[str, str]] = [(f.number(row.vetoes, 0), "bad" if row.vetoes else "faint")]
    if row.shrinks:
        parts.append((f" ~{row.shrinks}", "muted"))
    return tuple(parts)


def _last(row: RiskRow) -> Cell:
    if row.last_veto:
        return ((f"{f.clock_time(row.last_veto_ns)} ", "muted"), (row.last_veto, ""))
    return cell(row.detail, "muted")


class RiskPane(Pane):
    """Every rule between a wish and an order."""

    NAME = "risk"
    TITLE = "Risk layers"
    EMPTY = "no rule has been asked yet"
    COLUMNS = (
        Column("layer", "Layer", lambda r: cell(f"{r.layer} {LAYERS.get(r.layer, '')}", "muted"), left=True, quiet=True,
               drop=5, order=lambda r: r.layer),
        Column("rule", "Rule", lambda r: cell(r.rule.replace("_", " ")), left=True),
        Column("used", "Used", lambda r: cell(f.in_unit(r.used, r.unit), "strong"), order=_share),
        Column("limit", "Limit", lambda r: cell(f.in_unit(r.limit, r.unit), "muted"), drop=3, order=lambda r: r.limit),
        Column("bar", "", lambda r: meter(_share(r), BAR_WIDTH, _BAR.get(r.state, "accent")), left=True, order=_share),
        Column("state", "State", lambda r: cell(*STATES.get(r.state, (r.state, ""))), left=True),
        Column("vetoes", "Vetoes", _tally, drop=6, order=lambda r: r.vetoes),
        Column("last", "Last veto", _last, left=True, drop=7, flex=True, at_least=24,
               order=lambda r: r.last_veto_ns),
    )

    @staticmethod
    def row_key(row: RiskRow) -> Any:
        return (row.layer, row.rule)

    def rows(self, frame: Frame) -> list[RiskRow]:
        return sorted(frame.risk, key=lambda row: (row.layer, row.rule))

    def summary(self, frame: Frame) -> str:
        vetoes = sum(row.vetoes for row in frame.risk)
        tight = [row for row in frame.risk if row.state != "ok"]
        words = f"{vetoes} vetoes" if vetoes != 1 else "1 veto"
        words += f"  ▲ {len(tight)} near or over" if tight else ""
        last = max((row for row in frame.risk if row.last_veto), key=lambda row: row.last_veto_ns or 0, default=None)
        if last is not None:
            said = f"  last {f.clock_time(last.last_veto_ns)} {last.last_veto}"
            if len(self.TITLE) + len(words) + len(said) + 12 <= self.size.width:
                words += said
        return words

    def facts(self, row: RiskRow, frame: Frame) -> Facts:
        facts: Facts = [
            (f"Layer {row.layer} {LAYERS.get(row.layer, '')}: {row.rule.replace('_', ' ')}", []),
            ("state", [STATES.get(row.state, (row.state, ""))]),
            ("used", [(f.in_unit(row.used, row.unit), "strong"), (f" of {f.in_unit(row.limit, row.unit)}  ", "muted"),
                      *meter(_share(row), 24, _BAR.get(row.state, "accent")), (f"  {f.percent(_share(row), 1)}", "")]),
            ("detail", [(row.detail or f.UNKNOWN, "")]),
            ("vetoes", [(f.number(row.vetoes, 0), "")]),
            ("shrinks", [(f.number(row.shrinks, 0), "")]),
            ("last veto", [(row.last_veto or "none yet", ""),
                           (f"  {f.day_time(row.last_veto_ns)}" if row.last_veto_ns else "", "muted")]),
            ("Orders that this rule spoke on", []),
        ]
        spoke = [(order, check) for order in frame.orders for check in order.checks
                 if check[1] == row.rule and check[2] != "allow"]
        for order, (_, _, action, code, used, limit, unit) in spoke[:40]:
            facts.append((f.day_time(order.created_ns), [
                (f"{action} ", "warn" if action == "shrink" else "bad"),
                (f"{order.symbol} {order.side} {f.quantity(order.quantity)}  ", ""),
                (f"{code} {f.in_unit(used, unit)} of {f.in_unit(limit, unit)}", "muted")]))
        return facts
