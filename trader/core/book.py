"""Orders, positions and cash, folded from events: the engine's own accounts, and the screen's."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from operator import mul

import msgspec

from trader.core import events as ev
from trader.core.money import ZERO
from trader.core.orders import OPEN, TERMINAL, TRANSITIONS, News, OrderState

SIGN = {"buy": 1, "sell": -1}
ENTRY_ROLES = frozenset({"entry"})
_NONE: dict[str, Order] = {}


class Order(msgspec.Struct, gc=False):
    """One order of ours, or one leg of it at the broker."""

    client_order_id: str
    symbol: str
    side: str
    quantity: Decimal
    role: str
    order_type: str = "market"
    time_in_force: str = "day"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    strategy: str = ""
    signal_price: float = 0.0
    probability: float | None = None
    reason: str = ""
    state: OrderState = OrderState.INTENT
    broker_order_id: str = ""
    parent: str = ""
    filled_quantity: Decimal = ZERO
    filled_value: Decimal = ZERO
    commission: Decimal = ZERO
    created_ts: int = 0
    submitted_ts: int = 0
    accepted_ts: int = 0
    updated_ts: int = 0
    executions: set[str] = set()
    legs: list[str] = []
    verdict: ev.RiskVerdict | None = None
    history: list[tuple[int, str, str]] = []

    @property
    def remaining(self) -> Decimal:
        """Shares not filled yet."""
        return self.quantity - self.filled_quantity

    @property
    def average_price(self) -> Decimal | None:
        """Mean price of the fills."""
        return self.filled_value / self.filled_quantity if self.filled_quantity else None

    @property
    def is_open(self) -> bool:
        """Whether it may still trade."""
        return self.state in OPEN


class Position(msgspec.Struct, gc=False):
    """Shares held (signed) and what the round trip has cost so far."""

    symbol: str
    quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    opened_ts: int = 0
    bars_held: int = 0
    strategy: str = ""
    entry_quantity: Decimal = ZERO          # of the round trip that is under way
    entry_value: Decimal = ZERO
    exit_quantity: Decimal = ZERO
    exit_value: Decimal = ZERO
    fees: Decimal = ZERO
    realized: Decimal = ZERO
    signal_price: float = 0.0
    fills: list[ev.OrderFilled] = []


class ClosedTrade(msgspec.Struct, frozen=True, gc=False):
    """A round trip from flat to flat. ``pnl`` is net of fees; ``side`` is that of the entry: long | short."""

    symbol: str
    side: str
    quantity: float
    entry_price: float
    exit_price: float
    entry_ts: int
    exit_ts: int
    pnl: float
    fees: float
    strategy: str
    exit_role: str
    bars_held: int
    signal_price: float


class OrderCounts(msgspec.Struct, gc=False):
    """How many there were; a bracket's legs count by their fills alone."""

    intents: int = 0
    vetoes: int = 0
    orders: int = 0                         # that went to the broker
    fills: int = 0

    def add(self, order: Order) -> None:
        """One more."""
        self.fills += len(order.executions)
        if not order.parent:
            self.intents += 1
            self.vetoes += order.state is OrderState.DENIED
            self.orders += order.submitted_ts > 0


class Book:
    """The accounts. ``apply`` takes any event and never raises over what the broker says.

    Average-cost positions, exact decimal cash. An execution counts once, whatever the order's state was.
    """

    def __init__(self, symbols: tuple[str, ...] = (), cash: Decimal = ZERO) -> None:
        self.symbols = symbols
        self.cash = cash
        self.mode_margin = 1.0
        self.now_ns = 0
        self.day = 0
        self.marks: dict[str, float] = {}
        self.positions: dict[str, Position] = {}
        self.orders: dict[str, Order] = {}
        self.open_orders: dict[str, Order] = {}
        self.open_entries: dict[str, Order] = {}        # of them, those that add exposure
        self.stopped_entries: dict[str, Order] = {}     # a symbol's newest entry that named a stop
        # As backtests do: keep no word on how orders came about, and of those that have ended only their number.
        self.lean = False
        self._ended = OrderCounts()
        self.changes = 0                                # of orders, positions or cash; a slice is none
        self.shares: dict[str, float] = {}              # signed, of the positions, in their order
        self._open_by_symbol: dict[str, dict[str, Order]] = {}
        self.by_broker_id: dict[str, str] = {}
        self.rules: dict[str, tuple[ev.RuleName, ...]] = {}     # what the verdicts' numbers stand for
        self.closed_trades: list[ClosedTrade] = []
        self.wins = 0                                   # of them, with a profit net of fees
        self.realized = ZERO
        self.fees = ZERO
        self.equity = float(cash)
        self.gross = 0.0
        self.net = 0.0
        self.peak_equity = float(cash)
        self.day_start_equity = float(cash)
        self.slices = 0
        self._on_slice = self._slice_closed
        self._handlers: dict[type, Callable[..., None]] = {
            ev.SessionStarted: self._session_started, ev.SliceClosed: self._on_slice,
            ev.RiskRules: self._told_rules, ev.OrderIntent: self._intent, ev.RiskVerdict: self._verdict,
            ev.OrderSubmitting: self._submitting, ev.OrderAccepted: self._accepted,
            ev.OrderRejected: self._rejected, ev.OrderUnknown: self._unknown, ev.LegKnown: self._leg,
            ev.OrderAdopted: self._adopted, ev.OrderFilled: self._filled,
            ev.OrderCancelRequested: self._cancel_requested, ev.OrderCanceled: self._canceled,
            ev.OrderExpired: self._expired, ev.OrderWorking: self._working, ev.OrderReplaced: self._replaced,
            ev.CashAdjusted: self._cash_adjusted, ev.PositionAdjusted: self._position_adjusted,
        }

    # --- reading -----------------------------------------------------------------------------------------

    @property
    def buying_power(self) -> float:
        """Dollars for new exposure: margin times equity, less what is held and what is on order."""
        pending = sum(map(self._order_value, self.open_entries.values()))
        return max(0.0, self.mode_margin * self.equity - self.gross - pending)

    def quantity(self, symbol: str) -> Decimal:
        """Signed shares held."""
        position = self.positions.get(symbol)
        return position.quantity if position else ZERO

    def values(self) -> dict[str, float]:
        """Signed dollars held by symbol, at marks; before its first bar a position counts at what it cost."""
        marks = self.marks
        return {symbol: held * (marks[symbol] if symbol in marks else float(self.positions[symbol].average_price))
                for symbol, held in self.shares.items()}

    def counts(self) -> OrderCounts:
        """All orders so far, those included that a lean book has forgotten."""
        ended = self._ended
        counts = OrderCounts(ended.intents, ended.vetoes, ended.orders, ended.fills)
        for order in self.orders.values():
            counts.add(order)
        return counts

    def checks_of(self, order: Order) -> tuple[ev.RuleCheck, ...]:
        """What the risk layers said to an order, rule by rule; nothing for one that they never saw."""
        return () if order.verdict is None else ev.checks_of(order.verdict, self.rules)

    def open_orders_of(self, symbol: str) -> list[Order]:
        """Open orders of a symbol, legs included."""
        return list(self._open_by_symbol.get(symbol, _NONE).values())

    def _order_value(self, order: Order) -> float:
        price = order.limit_price or order.stop_price
        return float(order.remaining) * (float(price) if price else self.marks.get(order.symbol, order.signal_price))

    def restore(
        self, orders: dict[str, Order], opened: list[str], stopped: dict[str, str], positions: list[Position],
        closed_trades: list[ClosedTrade],
    ) -> None:
        """Take up orders, positions and trades of a snapshot; open and stopped orders are named by client ids."""
        self.orders, self.closed_trades = orders, closed_trades
        for key in opened:
            self._open(orders[key])
        self.stopped_entries = {symbol: orders[key] for symbol, key in stopped.items()}
        self.by_broker_id = {o.broker_order_id: o.client_order_id for o in orders.values() if o.broker_order_id}
        self.positions = {position.symbol: position for position in positions}
        self.shares = {position.symbol: float(position.quantity) for position in positions}

    # --- folding -----------------------------------------------------------------------------------------

    def apply(self, event: ev.AnyEvent) -> None:
        """Fold one event."""
        self.now_ns = event.ts
        handler = self._handlers.get(type(event))
        if handler is not None:
            if handler is not self._on_slice:
                self.changes += 1
            handler(event)

    def accepts(self, event: ev.AnyEvent) -> bool:
        """Whether the order's table has a place for this news; what has none is an anomaly."""
        news = NEWS.get(type(event))
        if news is None:
            return True
        order = self.orders.get(getattr(event, "client_order_id", ""))
        if order is None:
            return False
        return (self._fill_news(order, event) if news is News.FILL else news) in TRANSITIONS[order.state]

    @staticmethod
    def _fill_news(order: Order, event: ev.AnyEvent) -> News:
        assert isinstance(event, ev.OrderFilled)
        return News.FILL_ALL if order.filled_quantity + event.quantity >= order.quantity else News.FILL

    def _move(self, order: Order, news: News, ts: int, detail: str = "") -> bool:
        state = TRANSITIONS[order.state].get(news)
        if state is None:
            return False
        order.updated_ts = ts
        if (state is not order.state or detail) and not self.lean:
            order.history.append((ts, state.value, detail))
        order.state = state
        if state not in TERMINAL:
            self._open(order)
        else:
            key = order.client_order_id
            if self.open_orders.pop(key, None) is not None:
                self.open_entries.pop(key, None)
                del self._open_by_symbol[order.symbol][key]
            if self.lean:
                self._forget(order)
        return True

    def _forget(self, order: Order) -> None:
        if self.orders.pop(order.client_order_id, None) is not None:
            self.by_broker_id.pop(order.broker_order_id, None)
            self._ended.add(order)

    def _open(self, order: Order) -> None:
        key = order.client_order_id
        if key in self.open_orders:
            return
        self.open_orders[key] = self._open_by_symbol.setdefault(order.symbol, {})[key] = order
        if order.role in ENTRY_ROLES:
            self.open_entries[key] = order

    def _session_started(self, event: ev.SessionStarted) -> None:
        self.symbols = event.symbols
        self.cash = event.cash
        self.mode_margin = event.margin
        self.day = event.day
        for carried in event.positions:
            self.positions[carried.symbol] = Position(
                carried.symbol, carried.quantity, carried.average_price, carried.opened_ts,
                strategy=carried.strategy, entry_quantity=abs(carried.quantity),
                entry_value=abs(carried.quantity) * carried.average_price,
            )
            self.shares[carried.symbol] = float(carried.quantity)
        for old in event.orders:
            order = Order(
                old.client_order_id, old.symbol, old.side, old.quantity, old.role, old.order_type, old.time_in_force,
                old.limit_price, old.stop_price, old.take_profit, old.stop_loss, old.strategy,
                state=OrderState(old.state), broker_order_id=old.broker_order_id, parent=old.parent_client_order_id,
                filled_quantity=old.filled_quantity, filled_value=old.filled_quantity * old.average_price,
                created_ts=old.created_ts, updated_ts=event.ts, executions=set(old.executions),
            )
            self._add(order)
            if order.parent in self.orders:
                self.orders[order.parent].legs.append(order.client_order_id)
        self._revalue()
        self.peak_equity = event.peak_equity or self.equity
        self.day_start_equity = event.day_start_equity or self.equity

    def _add(self, order: Order) -> None:
        self.orders[order.client_order_id] = order
        if order.state in OPEN or order.state is OrderState.INTENT:
            self._open(order)
        self._note_stop(order)
        if order.broker_order_id:
            self.by_broker_id[order.broker_order_id] = order.client_order_id

    def _slice_closed(self, event: ev.SliceClosed) -> None:
        if event.day != self.day:
            self.day = event.day
            if self.slices:
                self.day_start_equity = self.equity
        self.slices += 1
        marks = self.marks
        if None in event.close:
            marks.update((symbol, close) for symbol, close in zip(self.symbols, event.close, strict=True)
                         if close is not None)
        else:
            marks.update(zip(self.symbols, event.close, strict=True))       # type: ignore[arg-type]
        for position in self.positions.values():
            position.bars_held += 1
        self._revalue()
        if self.equity > self.peak_equity:
            self.peak_equity = self.equity

    def _revalue(self) -> None:
        shares = self.shares
        try:
            values = list(map(mul, shares.values(), map(self.marks.__getitem__, shares)))
        except KeyError:                                # before its first bar a position counts at what it cost
            values = list(self.values().values())
        self.net = sum(values, 0.0)
        self.gross = self.net if not values or min(values) >= 0.0 else sum(map(abs, values), 0.0)
        self.equity = float(self.cash) + self.net

    def _intent(self, event: ev.OrderIntent) -> None:
        order = Order(
            event.client_order_id, event.symbol, event.side, event.quantity, event.role, event.order_type,
            event.time_in_force, event.limit_price, event.stop_price, event.take_profit, event.stop_loss,
            event.strategy, event.signal_price, event.probability, event.reason,
            created_ts=event.ts, updated_ts=event.ts,
        )
        if not self.lean:
            order.history.append((event.ts, OrderState.INTENT.value, event.reason))
        self.orders[order.client_order_id] = order
        self._note_stop(order)

    def _note_stop(self, order: Order) -> None:
        if order.stop_loss is not None and order.role in ENTRY_ROLES:
            self.stopped_entries[order.symbol] = order

    def _told_rules(self, event: ev.RiskRules) -> None:
        self.rules = event.tables

    def _verdict(self, event: ev.RiskVerdict) -> None:
        order = self.orders[event.client_order_id]
        if not self.lean:
            order.verdict = event
        last = event.checks[-1].code if event.checks and event.action != "allow" else ""
        self._move(order, News.DENY if event.action == "veto" else News.APPROVE, event.ts, last)
        order.quantity = event.quantity if event.action != "veto" else order.quantity

    def _submitting(self, event: ev.OrderSubmitting) -> None:
        order = self.orders[event.client_order_id]
        order.submitted_ts = order.submitted_ts or event.ts
        self._move(order, News.SUBMIT, event.ts)

    def _accepted(self, event: ev.OrderAccepted) -> None:
        order = self.orders.get(event.client_order_id)
        if order is None:
            return
        if not order.broker_order_id:
            order.broker_order_id = event.broker_order_id
            self.by_broker_id[event.broker_order_id] = order.client_order_id
            order.accepted_ts = event.ts
        self._move(order, News.ACCEPT if event.working else News.HOLD, event.ts)

    def _news(self, client_order_id: str, news: News, ts: int, detail: str = "") -> None:
        order = self.orders.get(client_order_id)
        if order is not None:
            self._move(order, news, ts, detail)

    def _rejected(self, event: ev.OrderRejected) -> None:
        self._news(event.client_order_id, News.REJECT, event.ts, f"{event.code} {event.message}")

    def _unknown(self, event: ev.OrderUnknown) -> None:
        self._news(event.client_order_id, News.LOSE, event.ts, event.message)

    def _cancel_requested(self, event: ev.OrderCancelRequested) -> None:
        self._news(event.client_order_id, News.ASK_CANCEL, event.ts, event.reason)

    def _canceled(self, event: ev.OrderCanceled) -> None:
        self._news(event.client_order_id, News.CANCEL, event.ts, event.reason)

    def _expired(self, event: ev.OrderExpired) -> None:
        self._news(event.client_order_id, News.EXPIRE, event.ts)

    def _leg(self, event: ev.LegKnown) -> None:
        if event.client_order_id in self.orders:
            return
        parent = self.orders.get(event.parent_client_order_id)
        order = Order(
            event.client_order_id, event.symbol, event.side, event.quantity, event.role, event.order_type, "gtc",
            event.limit_price, event.stop_price, strategy=parent.strategy if parent else "",
            state=OrderState.WORKING if event.working else OrderState.HELD, broker_order_id=event.broker_order_id,
            parent=event.parent_client_order_id, created_ts=event.ts, submitted_ts=event.ts, accepted_ts=event.ts,
            updated_ts=event.ts,
        )
        if not self.lean:
            order.history.append((event.ts, order.state.value, f"leg of {event.parent_client_order_id}"))
        self._add(order)
        if parent is not None:
            parent.legs.append(order.client_order_id)

    def _adopted(self, event: ev.OrderAdopted) -> None:
        if event.client_order_id in self.orders:
            return
        order = Order(
            event.client_order_id, event.symbol, event.side, event.quantity, event.role, event.order_type, "day",
            event.limit_price, event.stop_price, state=OrderState.WORKING, broker_order_id=event.broker_order_id,
            created_ts=event.ts, submitted_ts=event.ts, accepted_ts=event.ts, updated_ts=event.ts,
        )
        order.history.append((event.ts, order.state.value, "found at the broker"))
        self._add(order)

    def _working(self, event: ev.OrderWorking) -> None:
        order = self.orders.get(event.client_order_id)
        if order is None:
            return
        self._move(order, News.ACCEPT, event.ts)
        order.quantity = order.quantity if event.quantity is None else event.quantity
        order.limit_price = event.limit_price or order.limit_price
        order.stop_price = event.stop_price or order.stop_price

    def _replaced(self, event: ev.OrderReplaced) -> None:
        old = self.orders.get(event.client_order_id)
        if old is None:
            return
        self._move(old, News.REPLACE, event.ts, f"by {event.new_client_order_id}")
        if event.new_client_order_id in self.orders:
            return
        new = Order(
            event.new_client_order_id, old.symbol, old.side, event.quantity, old.role, old.order_type,
            old.time_in_force, event.limit_price or old.limit_price, event.stop_price or old.stop_price,
            strategy=old.strategy, signal_price=old.signal_price, state=OrderState.WORKING,
            broker_order_id=event.new_broker_order_id, parent=old.parent, created_ts=event.ts,
            submitted_ts=event.ts, accepted_ts=event.ts, updated_ts=event.ts,
        )
        new.history.append((event.ts, new.state.value, f"in place of {old.client_order_id}"))
        self._add(new)
        if old.parent in self.orders:
            self.orders[old.parent].legs.append(new.client_order_id)

    # --- money -------------------------------------------------------------------------------------------

    def _filled(self, event: ev.OrderFilled) -> None:
        order = self.orders.get(event.client_order_id)
        if order is not None:
            if event.execution_id in order.executions:
                return
            order.executions.add(event.execution_id)
            news = self._fill_news(order, event)
            order.filled_quantity += event.quantity
            order.filled_value += event.quantity * event.price
            order.commission += event.commission
            self._move(order, news, event.ts, "" if self.lean else f"{event.quantity} at {event.price}")
        signed = event.quantity * SIGN[event.side]
        self.cash -= signed * event.price + event.commission
        self.fees += event.commission
        position = self.positions.get(event.symbol)
        if position is None:
            position = self.positions[event.symbol] = Position(event.symbol)
        self._trade(position, signed, event, order)
        self._hold(event.symbol)
        self._revalue()

    def _hold(self, symbol: str) -> None:
        """A position has changed, come or gone."""
        position = self.positions.get(symbol)
        if position is None:
            self.shares.pop(symbol, None)
        else:
            self.shares[symbol] = float(position.quantity)

    def _trade(self, position: Position, signed: Decimal, event: ev.OrderFilled, order: Order | None) -> None:
        held = position.quantity
        position.fills.append(event)
        if held == 0 or (held > 0) == (signed > 0):
            if held == 0:
                position.opened_ts = event.ts
                position.bars_held = 0
                position.strategy = order.strategy if order else ""
                position.signal_price = order.signal_price if order else 0.0
            cost = position.average_price * abs(held) + event.price * abs(signed)
            position.average_price = cost / abs(held + signed)
            position.quantity = held + signed
            position.entry_quantity += abs(signed)
            position.entry_value += abs(signed) * event.price
            position.fees += event.commission
            return
        closing = min(abs(held), abs(signed))
        direction = 1 if held > 0 else -1
        profit = (event.price - position.average_price) * closing * direction
        commission = event.commission * closing / abs(signed)
        position.realized += profit
        position.fees += commission
        position.exit_quantity += closing
        position.exit_value += closing * event.price
        position.quantity = held - direction * closing
        self.realized += profit
        if position.quantity == 0:
            self._close(position, direction, event, order)
            over = abs(signed) - closing
            if over:
                fresh = self.positions[event.symbol] = Position(event.symbol)
                rest = ev.OrderFilled(
                    ts=event.ts, client_order_id=event.client_order_id, execution_id=event.execution_id,
                    symbol=event.symbol, side=event.side, quantity=over, price=event.price,
                    commission=event.commission - commission,
                )
                self._trade(fresh, over * SIGN[event.side], rest, order)

    def _close(self, position: Position, direction: int, event: ev.OrderFilled, order: Order | None) -> None:
        self.wins += position.realized > position.fees
        self.closed_trades.append(ClosedTrade(
            position.symbol, "long" if direction > 0 else "short", float(position.entry_quantity),
            float(position.entry_value / position.entry_quantity), float(position.exit_value / position.exit_quantity),
            position.opened_ts, event.ts, float(position.realized - position.fees), float(position.fees),
            position.strategy, order.role if order else "external", position.bars_held, position.signal_price,
        ))
        del self.positions[position.symbol]
        self.shares.pop(position.symbol, None)          # so that both keep the same order

    def _cash_adjusted(self, event: ev.CashAdjusted) -> None:
        self.cash += event.amount
        self._revalue()

    def _position_adjusted(self, event: ev.PositionAdjusted) -> None:
        if event.quantity == 0:
            self.positions.pop(event.symbol, None)
        else:
            self.positions[event.symbol] = Position(
                event.symbol, event.quantity, event.average_price, event.ts,
                entry_quantity=abs(event.quantity), entry_value=abs(event.quantity) * event.average_price,
            )
        self._hold(event.symbol)
        self._revalue()


NEWS: dict[type, News] = {
    ev.OrderSubmitting: News.SUBMIT, ev.OrderAccepted: News.ACCEPT, ev.OrderRejected: News.REJECT,
    ev.OrderUnknown: News.LOSE, ev.OrderFilled: News.FILL, ev.OrderCancelRequested: News.ASK_CANCEL,
    ev.OrderCanceled: News.CANCEL, ev.OrderExpired: News.EXPIRE, ev.OrderReplaced: News.REPLACE,
    ev.OrderWorking: News.ACCEPT,
}
