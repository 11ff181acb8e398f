"""Orders, open first, and the whole life of one of them."""

from __future__ import annotations

from typing import Any

from console.panes.base import Facts, Pane
from console.widgets import figures as f
from console.widgets.line_table import Cell, Column, cell
from trader.frames import Frame, OrderRow

# state → word, tone
STATES: dict[str, tuple[str, str]] = {
    "intent": ("intent", "muted"), "approved": ("approved", "muted"), "submitting": ("submitting", "accent"),
    "unknown": ("? UNKNOWN", "alarm"), "held": ("held", "accent"), "working": ("● working", "accent"),
    "partial": ("◐ partial", "warn"), "pending_cancel": ("cancelling", "warn"), "filled": ("✓ filled", "good"),
    "canceled": ("– cancelled", "muted"), "expired": ("– expired", "muted"), "replaced": ("– replaced", "muted"),
    "denied": ("✗ vetoed", "bad"), "rejected": ("✗ rejected", "bad_strong"),
}
ROLES = {"take_profit": "target", "stop_loss": "stop"}


def state_cell(state: str) -> Cell:
    """An order's state as sign, word and tone."""
    return cell(*STATES.get(state, (state, "")))


def _price(row: OrderRow) -> Cell:
    if row.is_open or row.average_price is None:
        asked = row.limit_price if row.limit_price is not None else row.stop_price
        return cell("market", "muted") if asked is None else cell(f.number(asked))
    return cell(f.number(row.average_price), "")


def _shares(row: OrderRow) -> Cell:
    if 0 < row.filled_quantity < row.quantity:
        return ((f"{f.quantity(row.filled_quantity)}/", "warn"), (f.quantity(row.quantity), ""))
    return cell(f.quantity(row.quantity))


def _side(row: OrderRow) -> Cell:
    return cell("▲ buy" if row.side == "buy" else "▼ sell", "" if row.is_open else "muted")


class OrdersPane(Pane):
    """What is working at the broker and what lately happened to the rest."""

    NAME = "orders"
    TITLE = "Orders"
    EMPTY = "no order yet"
    COLUMNS = (
        Column("time", "Time", lambda r: cell(f.weekday_time(r.updated_ns), "muted"), left=True, drop=4,
               order=lambda r: r.updated_ns),
        Column("symbol", "Symbol", lambda r: cell(r.symbol, "strong" if r.is_open else ""), left=True),
        Column("side", "Side", _side, left=True),
        Column("role", "Role", lambda r: cell(ROLES.get(r.role, r.role), "muted"), left=True, drop=5),
        Column("type", "Type", lambda r: cell(r.order_type, "muted"), left=True, drop=7),
        Column("quantity", "Shares", _shares, order=lambda r: r.quantity),
        Column("price", "Price", _price, order=lambda r: r.limit_price or r.stop_price or r.average_price),
        Column("state", "State", lambda r: state_cell(r.state), left=True),
        Column("reason", "Reason", lambda r: cell(r.reason, "muted"), left=True, drop=8, flex=True, at_least=16),
    )

    @staticmethod
    def row_key(row: OrderRow) -> Any:
        return row.client_order_id

    def summary(self, frame: Frame) -> str:
        working = sum(order.is_open for order in frame.orders)
        unknown = sum(order.state == "unknown" for order in frame.orders)
        return f"{working} working" + (f"  ⚠ {unknown} unknown" if unknown else "")

    def facts(self, row: OrderRow, frame: Frame) -> Facts:
        facts: Facts = [
            (f"{row.symbol} {row.side} {f.quantity(row.quantity)}", []),
            ("state", list(state_cell(row.state))),
            ("role", [(row.role.replace("_", " "), "")]),
            ("type", [(f"{row.order_type} {row.time_in_force}", "")]),
            ("limit", [(f.number(row.limit_price), "")]),
            ("stop", [(f.number(row.stop_price), "")]),
            ("filled", [(f"{f.quantity(row.filled_quantity)} of {f.quantity(row.quantity)}", "strong"),
                        (f"  at {f.number(row.average_price)}", "")]),
            ("strategy", [(row.strategy or f.UNKNOWN, "")]),
            ("reason", [(row.reason or f.UNKNOWN, "")]),
            ("client order id", [(row.client_order_id, "muted")]),
            ("broker order id", [(row.broker_order_id or f.UNKNOWN, "muted")]),
            ("Life", []),
        ]
        before = row.created_ns
        for ts_ns, state, detail in row.history:
            waited = f"+{f.wait(ts_ns - before)}" if ts_ns >= before else ""
            facts.append((f.day_time(ts_ns), [*_padded(state_cell(state), 12), (f"{waited:>14}  ", "muted"),
                                              (detail, "")]))
            before = ts_ns
        facts.append(("Risk checks", []))
        for layer, rule, action, code, used, limit, unit in row.checks:
            tone = {"allow": "good", "shrink": "warn", "veto": "bad_strong"}.get(action, "")
            facts.append((f"{layer} {rule.replace('_', ' ')}", [
                (f"{action:<8}", tone), (f"{f.in_unit(used, unit):>10} of {f.in_unit(limit, unit):<10}", ""),
                (code, "muted")]))
        fills = [fill for fill in frame.fills if fill.client_order_id == row.client_order_id]
        facts.append((f"Fills  {len(fills)}", []))
        facts += [(f.day_time(fill.ts_ns), [(f"{f.quantity(fill.quantity)} at {f.number(fill.price)}", ""),
                   (f"  slippage {f.number(fill.slippage_bps, 1)} bps", "muted")]) for fill in fills]
        return facts


def _padded(parts: Cell, width: int) -> list[tuple[str, str]]:
    return [(f"{text:<{width}}", tone) for text, tone in parts]
