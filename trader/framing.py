"""From the fold to Frames: parts that did not change stay the same objects."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from trader.core import events as ev
from trader.core.book import Order, Position
from trader.core.fold import Fill, Fold
from trader.frames import (
    AccountRow,
    BreakerRow,
    CandleSeries,
    CheckRow,
    DegradationRow,
    FillRow,
    Frame,
    HaltRow,
    LogRow,
    ModelRow,
    OrderRow,
    PlaybackRow,
    PositionRow,
    RiskRow,
    SlippageRow,
    StatusRow,
    TrainingRow,
)

T = TypeVar("T")
CLOSED_ORDERS_SHOWN = 60
EQUITY_POINTS_SHOWN = 500


@dataclass(slots=True)
class Surroundings:
    """What the journal does not know: the host's own readings. A replay leaves them at None."""

    now_ns: int | None = None
    market_open: bool | None = None
    market_change_ns: int | None = None
    data_age_s: float | None = None
    loop_lag_ms: float | None = None
    speed: str = ""


class Framer:
    """Builds Frames from one fold; call :meth:`frame` from the thread that owns the fold."""

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self._seq = 0
        self._last = Frame()
        self._checks: dict[str, tuple[CheckRow, ...]] = {}      # of the orders shown; a verdict never changes
        fold.dirty |= {"orders", "positions", "risk", "breakers", "slippage", "models", "log", "charts"}

    def frame(self, around: Surroundings | None = None, playback: PlaybackRow | None = None) -> Frame:
        """The present state as an immutable value."""
        fold, last = self.fold, self._last
        around = around or Surroundings()
        dirty, fold.dirty = fold.dirty, set()
        self._seq += 1
        charts = "charts" in dirty
        fills = tuple(_fill(f) for f in fold.fills) if "slippage" in dirty or charts else last.fills
        self._last = Frame(
            seq=self._seq,
            now_ns=around.now_ns if around.now_ns is not None else fold.now_ns,
            status=_keep(last.status, self._status(around)),
            halt=_keep(last.halt, self._halt()),
            degradation=_keep(last.degradation, self._degradation()),
            account=_keep(last.account, self._account()),
            positions=_keep(last.positions, self._positions()) if "positions" in dirty else last.positions,
            orders=_keep(last.orders, self._orders()) if "orders" in dirty else last.orders,
            risk=_keep(last.risk, self._risk()) if "risk" in dirty else last.risk,
            breakers=_keep(last.breakers, self._breakers()) if "breakers" in dirty else last.breakers,
            slippage=_keep(last.slippage, self._slippage()) if "slippage" in dirty else last.slippage,
            models=_keep(last.models, self._models()) if "models" in dirty else last.models,
            training=_keep(last.training, self._training()),
            log=tuple(LogRow(*row) for row in fold.log) if "log" in dirty else last.log,
            fills=_keep(last.fills, fills),
            equity=self._equity() if charts else last.equity,
            candles=self._candles() if charts else last.candles,
            playback=playback,
        )
        return self._last

    def _status(self, around: Surroundings) -> StatusRow:
        fold = self.fold
        session = fold.session
        return StatusRow(
            mode=session.mode if session else "sim",
            run_id=session.run_id if session else "",
            source=session.source if session else "real",
            timeframe=session.timeframe if session else "15Min",
            strategy=fold.strategy,
            connections=tuple((c.component, c.state, c.detail) for c in fold.connections.values()),
            market_open=around.market_open,
            market_change_ns=around.market_change_ns,
            data_age_s=around.data_age_s,
            loop_lag_ms=around.loop_lag_ms,
            bars=fold.bars,
            ended=fold.ended,
            speed=around.speed,
        )

    def _halt(self) -> HaltRow:
        halt = self.fold.halt
        return HaltRow(halt.latched, halt.since, halt.source, halt.reason, halt.step, halt.orders_cancelled,
                       halt.positions_closed, halt.failures)

    def _degradation(self) -> DegradationRow:
        change = self.fold.degradation
        if change is None:
            return DegradationRow()
        return DegradationRow(change.level, change.multiplier, change.component, change.reason, change.ts)

    def _account(self) -> AccountRow:
        book = self.fold.book
        limits = self.fold.session.limits if self.fold.session else {}
        day = book.equity - book.day_start_equity
        realized = float(book.realized - book.fees)
        unrealized = sum((_mark(self.fold, p) - float(p.average_price)) * float(p.quantity)
                         for p in book.positions.values())
        return AccountRow(
            equity=book.equity, cash=float(book.cash), buying_power=book.buying_power, gross_exposure=book.gross,
            net_exposure=book.net, day_pnl=day,
            day_pnl_pct=day / book.day_start_equity if book.day_start_equity else 0.0,
            realized_pnl=realized, unrealized_pnl=unrealized, fees=float(book.fees),
            drawdown=max(0.0, 1 - book.equity / book.peak_equity) if book.peak_equity > 0 else 0.0,
            intraday_loss_warning=limits.get("intraday_loss_warning", 0.005),
            intraday_loss_circuit_breaker=limits.get("intraday_loss_circuit_breaker", 0.01),
            trades=len(book.closed_trades), wins=book.wins,
        )

    def _positions(self) -> tuple[PositionRow, ...]:
        return tuple(self._position(p) for _, p in sorted(self.fold.book.positions.items()))

    def _position(self, position: Position) -> PositionRow:
        book = self.fold.book
        quantity, average, last = float(position.quantity), float(position.average_price), _mark(self.fold, position)
        closing = "sell" if quantity > 0 else "buy"
        exits = [o for o in book.open_orders_of(position.symbol) if o.side == closing]
        stops = [float(o.stop_price) for o in exits if o.stop_price is not None]
        targets = [float(o.limit_price) for o in exits if o.limit_price is not None and o.stop_price is None]
        pnl = (last - average) * quantity
        cost = abs(average * quantity)
        return PositionRow(
            symbol=position.symbol, quantity=quantity, average_price=average, last_price=last,
            market_value=last * quantity, unrealized_pnl=pnl, unrealized_pct=pnl / cost if cost else 0.0,
            share_of_equity=last * quantity / book.equity if book.equity else 0.0, opened_ns=position.opened_ts,
            take_profit=targets[0] if targets else None, stop_loss=stops[0] if stops else None,
            strategy=position.strategy, bars_held=position.bars_held,
            fills=tuple(FillRow(f.ts, f.client_order_id, f.symbol, f.side, float(f.quantity), float(f.price),
                                float(f.commission)) for f in position.fills[-20:]),
        )

    def _orders(self) -> tuple[OrderRow, ...]:
        book = self.fold.book
        known, self._checks = self._checks, {}

        def row(order: Order) -> OrderRow:
            key = order.client_order_id
            checks = known.get(key) or tuple(
                (c.layer, c.rule, c.action, c.code, c.used, c.limit, c.unit) for c in book.checks_of(order))
            self._checks[key] = checks
            return _order(order, checks)

        opened = [row(order) for order in reversed(book.open_orders.values())]
        closed = []
        for order in reversed(book.orders.values()):
            if not order.is_open:
                closed.append(row(order))
                if len(closed) == CLOSED_ORDERS_SHOWN:
                    break
        return tuple(opened + closed)

    def _risk(self) -> tuple[RiskRow, ...]:
        fold = self.fold
        rows = []
        rules = dict.fromkeys([*fold.gauges, *fold.tallies])        # in the order of the pipeline
        for key in sorted(rules, key=lambda k: k[0]):
            gauge = fold.gauges.get(key) or ev.Gauge(key[0], key[1], 0.0, 0.0)
            tally = fold.tallies.get(key)
            counted = (tally.vetoes, tally.shrinks, tally.last_veto_ts, tally.last_veto) if tally else (0, 0, None, "")
            rows.append(RiskRow(gauge.layer, gauge.rule, gauge.used, gauge.limit, gauge.unit, gauge.state,
                                gauge.detail, *counted))
        return tuple(rows)

    def _breakers(self) -> tuple[BreakerRow, ...]:
        gauges = {gauge.rule: gauge for gauge in self.fold.gauges.values()}
        rows = []
        for b in self.fold.breakers.values():
            gauge = gauges.get(b.breaker)           # fresher than the breaker's last change
            value, words = (gauge.used, gauge.detail) if gauge else (b.value, "")
            rows.append(BreakerRow(b.breaker, b.state, b.multiplier, value, b.limit, b.action, b.until,
                                   b.detail or words))
        return tuple(rows)

    def _slippage(self) -> tuple[SlippageRow, ...]:
        fold = self.fold
        rows = []
        for row in fold.slippage.rows():
            waits = (fold.latencies_ms.get(row.symbol, []) if row.symbol != "ALL"
                     else [w for values in fold.latencies_ms.values() for w in values])
            latency = median(waits) if waits else None
            rows.append(SlippageRow(row.symbol, row.executions, row.mean_bps, row.median_bps, row.p95_bps, row.cost,
                                    row.fill_rate, row.beat_vwap, latency))
        return tuple(rows)

    def _models(self) -> tuple[ModelRow, ...]:
        rows = []
        for model in self.fold.models.values():
            health = self.fold.health.get(model.model_id)
            rows.append(ModelRow(
                model_id=model.model_id, level=health.level if health else "FRESH",
                multiplier=health.multiplier if health else 1.0,
                age_days=health.age_days if health else max(0.0, (self.fold.now_ns - model.trained_through) / 8.64e13),
                windows=health.windows if health else (),
                estimated_accuracy=health.estimated_accuracy if health else None,
                drifted=health.drifted if health else (), reasons=health.reasons if health else (),
                trained_through_ns=model.trained_through, source=model.source, summary=model.summary,
            ))
        return tuple(rows)

    def _training(self) -> TrainingRow | None:
        training = self.fold.training
        if training is None:
            return None
        return TrainingRow(training.state, training.stage, training.done, training.total, training.eta_seconds,
                           training.message)

    def _equity(self) -> tuple[tuple[int, float], ...]:
        points = self.fold.equity
        stride = max(1, -(-len(points) // EQUITY_POINTS_SHOWN))
        thinned = points[::stride]
        last = (self.fold.last_slice_ts or self.fold.now_ns, self.fold.book.equity)
        return (*thinned, last) if not thinned or thinned[-1] != last else tuple(thinned)

    def _candles(self) -> tuple[CandleSeries, ...]:
        by_symbol: dict[str, list[FillRow]] = {}
        for fill in self.fold.fills:
            by_symbol.setdefault(fill.event.symbol, []).append(_fill(fill))
        result = []
        for symbol, series in self.fold.candles.items():
            columns = list(zip(*series.rows, strict=True)) or [(), (), (), ()]
            result.append(CandleSeries(symbol, tuple(series.ts), columns[0], columns[1], columns[2], columns[3],
                                       tuple(by_symbol.get(symbol, ())), tuple(series.probability)))
        return tuple(result)


def _keep(old: T, new: T) -> T:
    """The old object when nothing changed, so that readers can compare by identity."""
    return old if old == new else new


def _mark(fold: Fold, position: Position) -> float:
    return fold.book.marks.get(position.symbol, float(position.average_price))


def _fill(fill: Fill) -> FillRow:
    e = fill.event
    return FillRow(e.ts, e.client_order_id, e.symbol, e.side, float(e.quantity), float(e.price), float(e.commission),
                   fill.slippage_bps)


def _order(order: Order, checks: tuple[CheckRow, ...]) -> OrderRow:
    average = order.average_price
    return OrderRow(
        client_order_id=order.client_order_id, broker_order_id=order.broker_order_id, symbol=order.symbol,
        side=order.side, role=order.role, order_type=order.order_type, time_in_force=order.time_in_force,
        quantity=float(order.quantity), filled_quantity=float(order.filled_quantity),
        limit_price=float(order.limit_price) if order.limit_price is not None else None,
        stop_price=float(order.stop_price) if order.stop_price is not None else None,
        average_price=float(average) if average is not None else None, state=order.state.value, is_open=order.is_open,
        created_ns=order.created_ts, updated_ns=order.updated_ts, strategy=order.strategy, reason=order.reason,
        history=tuple(order.history),
        checks=checks,
    )
