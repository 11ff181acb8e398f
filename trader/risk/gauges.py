"""How much of each limit is used, for the screen and the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trader.core.book import Book
from trader.core.events import Gauge
from trader.core.orders import OrderState
from trader.risk.breakers import Breaker
from trader.risk.case import ENTRY, order_value
from trader.risk.layer4_system import LEVELS, MODEL_LEVELS
from trader.risk.params import RiskParams
from trader.risk.state import SystemState

WARN = 0.8                        # of a limit


@dataclass(slots=True)
class Worst:
    """The largest readings of the rules that speak per order; kept since the day began."""

    order_value: float = 0.0
    participation: float = 0.0
    impact_bps: float = 0.0


def measure(
    book: Book, params: RiskParams, state: SystemState, breakers: Mapping[str, Breaker], var_dollars: float,
    orders_last_minute: int, worst: Worst,
) -> tuple[Gauge, ...]:
    """One gauge a rule, in the order of the layers."""
    equity = book.equity if book.equity > 0.0 else 1.0
    held = book.values()
    pending: dict[str, float] = {}
    stops: set[str] = set()
    entries = unknown = 0
    for order in book.open_orders.values():
        if order.role == ENTRY:
            pending[order.symbol] = pending.get(order.symbol, 0.0) + order_value(order, book)
            entries += 1
        elif order.role in ("stop_loss", "protect"):
            stops.add(order.symbol)
        unknown += order.state is OrderState.UNKNOWN
    exposure = {s: abs(held.get(s, 0.0)) + abs(pending.get(s, 0.0)) for s in {*held, *pending}}
    sectors: dict[str, float] = {}
    for symbol, value in sorted(exposure.items()):
        sector = params.sectors.get(symbol, symbol)
        sectors[sector] = sectors.get(sector, 0.0) + value
    largest, by = _largest({s: abs(v) for s, v in held.items()})
    symbol_use, by_symbol = _largest(exposure)
    sector_use, by_sector = _largest(sectors)
    on_order = sum(map(abs, pending.values()))
    gross, net = book.gross + on_order, abs(book.net + sum(pending.values()))
    power = book.mode_margin * equity
    naked = sorted(set(held) - stops) if params.require_bracket else []
    loss, drawdown = breakers["intraday_loss"], breakers["drawdown"]
    alike, rejected, link = breakers["correlation"], breakers["rejection_rate"], breakers["connection"]
    halted, age_limit = int(state.halted), params.max_data_age_bars * state.bar_span_s
    return (
        _gauge(1, "order_value", worst.order_value, params.max_order_value, "$"),
        _gauge(1, "position_limit", largest / equity, params.max_position_pct, "%", by),
        _gauge(1, "symbol_exposure", symbol_use / equity, params.max_symbol_exposure, "%", by_symbol),
        _gauge(1, "sector_exposure", sector_use / equity, params.max_sector_exposure, "%", by_sector),
        _gauge(1, "gross_exposure", gross / equity, params.max_gross_exposure, "%"),
        _gauge(1, "net_exposure", net / equity, params.max_net_exposure, "%"),
        _gauge(1, "leverage", gross / equity, params.max_leverage, "x"),
        _gauge(1, "buying_power", gross, power, "$"),
        _gauge(1, "participation", worst.participation, params.max_participation, "%"),
        _gauge(1, "impact", worst.impact_bps, params.max_impact_bps, "bps"),
        _flag(2, "bracket_required", len(naked), "count", "warn", ", ".join(naked)),
        _gauge(2, "rate_limit", orders_last_minute, params.max_orders_per_minute, "/min"),
        Gauge(2, "working_order", entries, len(book.symbols), "count"),
        _flag(2, "unknown_order", unknown, "count", "breach"),
        Gauge(2, "rejection_rate", rejected.value, rejected.limit, "count", _word(rejected)),
        _gauge(3, "var", var_dollars / equity, params.var_limit_pct, "%"),
        Gauge(3, "drawdown", drawdown.value, params.max_drawdown, "%", _word(drawdown)),
        Gauge(3, "intraday_loss", loss.value, params.intraday_loss_circuit_breaker, "%", _word(loss)),
        Gauge(3, "correlation", alike.value, alike.limit, "%", _word(alike), alike.words),
        _flag(4, "halt_latch", halted, "level", "breach"),
        Gauge(4, "degradation", LEVELS[state.degradation_level], 2, "level",
              ("ok", "warn", "breach", "breach")[LEVELS[state.degradation_level]], state.degradation_level),
        _gauge(4, "data_age", state.data_age_s, age_limit, "s"),
        Gauge(4, "model", MODEL_LEVELS[state.model_level], 3, "level",
              ("ok", "ok", "warn", "breach")[MODEL_LEVELS[state.model_level]], state.model_level),
        _flag(4, "connection", int(link.value), "count", "breach"),
        Gauge(4, "ramp_up", state.size_factor, 1.0, "x", "ok" if state.size_factor >= 1.0 else "warn"),
        _flag(4, "reconciliation", int(not state.reconciled), "count", "breach"),
    )


# Rules that judge an order's form alone; they have verdicts but nothing that could be half full.
FORM_RULES = frozenset({"sanity", "reversal", "reduce_only", "bracket_geometry"})


def moved(before: tuple[Gauge, ...], after: tuple[Gauge, ...], tolerance: float) -> bool:
    """Whether any gauge changed its state or moved by more than ``tolerance`` of its limit."""
    if len(before) != len(after):
        return True
    return any(
        a.state != b.state or a.detail != b.detail or abs(a.used - b.used) > tolerance * (b.limit or 1.0)
        for a, b in zip(before, after, strict=True)
    )


def _gauge(layer: int, rule: str, used: float, limit: float, unit: str, detail: str = "") -> Gauge:
    state = "breach" if used > limit else "warn" if used >= WARN * limit else "ok"
    return Gauge(layer, rule, used, limit, unit, state, detail)


def _flag(layer: int, rule: str, count: int, unit: str, word: str, detail: str = "") -> Gauge:
    return Gauge(layer, rule, count, 0, unit, word if count else "ok", detail)


def _word(breaker: Breaker) -> str:
    return "breach" if breaker.tripped else "ok" if breaker.state == "normal" else "warn"


def _largest(values: dict[str, float]) -> tuple[float, str]:
    if not values:
        return 0.0, ""
    name = max(values, key=lambda key: (values[key], key))
    return values[name], name
