"""The venue: one account's market over stored bars, in process, deterministic, without I/O.

Time moves only in `Venue.step`, one bar at a time. An order entered after bar *k* can act from the open of bar
*k + 1*. Whatever changed is told by `Venue.drain`, in order, each event with ids that are the same in every run.
"""

from __future__ import annotations

from bisect import bisect_right
from decimal import ROUND_DOWN, Decimal

import numpy as np

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.money import MICRO_SHARE, SHARE
from trader.core.panel import BarPanel, Slice
from trader.exchange.account import Account
from trader.exchange.checks import BOOK_CHECKS, SHAPE_CHECKS, Situation
from trader.exchange.desk import Desk
from trader.exchange.errors import VenueError, refusal
from trader.exchange.exits import entry_legs, oco_leg
from trader.exchange.identifiers import IdSource
from trader.exchange.matching import Bar, play_bar
from trader.exchange.prices import Prices, session_numbers
from trader.exchange.replacing import replacement
from trader.exchange.statistics import DailyStatistics
from trader.exchange.types import (
    BUY,
    NEEDS_ENTRY,
    OPPOSITE,
    SELL,
    SIGN,
    ZERO,
    Activity,
    OrderRequest,
    VenueEvent,
    VenueOrder,
    VenueRules,
)
from trader.exchange.views import AccountView, EquityPoint, PositionView


class Venue:
    """A deterministic exchange and broker for one account.

    Parameters
    ----------
    panel : BarPanel
        The market. Bars before ``start_index`` are history.
    start_index : int
        The first bar to play.
    cash : Decimal
        Deposit.
    fill_model : RealisticFillSimulator
        Prices every execution.
    seed : int
        Of the ids; runs with the same seed give the same ids.
    rules : VenueRules
        Margin, shorting, wash trades.
    """

    def __init__(
        self,
        panel: BarPanel,
        *,
        start_index: int = 0,
        cash: Decimal = Decimal(100_000),
        fill_model: RealisticFillSimulator,
        seed: int = 0,
        rules: VenueRules | None = None,
    ) -> None:
        if not 0 <= start_index <= len(panel):
            raise ValueError(f"start_index is {start_index}; the panel has bars 0 to {len(panel)}")
        self.panel = panel
        self.fill_model = fill_model
        self.rules = rules or VenueRules()
        self.accounts_book = Account(cash)
        self.desk = Desk(IdSource(seed))
        self.account_id = self.desk.ids.next()
        self.equity_history: list[EquityPoint] = []
        self._columns = {symbol: column for column, symbol in enumerate(panel.symbols)}
        self._starts: list[int] = panel.ts_ns.tolist()
        self._ends: list[int] = panel.available_ns.tolist()
        sessions = session_numbers(panel)
        self._session: list[int] = sessions.tolist()
        self._closes_session: list[bool] = np.append(np.diff(sessions) > 0, True)[: len(panel)].tolist()
        self._statistics = DailyStatistics(panel, sessions)
        self._prices = Prices(panel, self._session)
        self._values = (ZERO, ZERO)
        self._values_at = (-1, -1)
        self.index = self.now_ns = 0
        self.go_to(start_index)

    # --- time ---------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether every bar has been played."""
        return self.index >= len(self._starts)

    @property
    def in_session(self) -> bool:
        """Whether the next bar belongs to the session of the last one: the market is open now."""
        i = self.index
        return 0 < i < len(self._starts) and self._session[i] == self._session[i - 1]

    def step(self) -> Slice:
        """Play bar ``index`` against all working orders and move to its end; IndexError when all are played."""
        i = self.index
        if i >= len(self._starts):
            raise IndexError(f"all {len(self._starts)} bars have been played")
        desk = self.desk
        if desk.book:
            self._play(i)
        self.index = i + 1
        self.now_ns = self._ends[i]
        if self._closes_session[i]:
            self._close_session(i)
        return self.panel.slice(i)

    def go_to(self, index: int) -> None:
        """Stand before bar ``index`` without playing what lies between: a fresh or restored venue's place."""
        self.index = index
        self.now_ns = self._ends[index - 1] if index else (self._starts[0] if self._starts else 0)

    def _play(self, i: int) -> None:
        desk = self.desk
        if i == 0 or self._closes_session[i - 1]:
            queued = [order for orders in desk.book.values() for order in orders.values()]
            for order in sorted(queued, key=lambda order: order.number):
                if order.status == "accepted":
                    desk.open_up(order, self._starts[i])
        panel = self.panel
        play_bar(
            desk, self.accounts_book, self.fill_model, panel.low[i].tolist(), panel.high[i].tolist(),
            lambda column: self._bar(i, column),
        )

    def _bar(self, i: int, column: int) -> Bar | None:
        panel = self.panel
        close = float(panel.close[i, column])
        if close != close:
            return None
        session = self._session[i]
        return Bar(
            float(panel.open[i, column]), float(panel.high[i, column]), float(panel.low[i, column]), close,
            float(panel.volume[i, column]), self._starts[i], self._ends[i],
            float(self._statistics.adv[session, column]), float(self._statistics.volatility[session, column]),
        )

    def _close_session(self, i: int) -> None:
        """Day orders of this session expire; the account's worth is noted."""
        desk = self.desk
        if desk.book:
            session = self._session[i]
            due = [
                order for orders in desk.book.values() for order in orders.values()
                if order.time_in_force == "day" and order.session <= session
            ]
            for order in sorted(due, key=lambda order: order.number):
                if order.is_open:
                    desk.finish(order, "expired", self.now_ns)
        self.equity_history.append(EquityPoint(self.now_ns, self._equity()))

    # --- orders -------------------------------------------------------------------------------------------

    def submit(self, request: OrderRequest) -> VenueOrder:
        """Take an order or refuse it.

        Returns
        -------
        VenueOrder
            The order itself (it goes on changing; copy it to keep a moment). The legs of a bracket are in
            ``orders`` under the ids in ``legs``.

        Raises
        ------
        VenueError
            With Alpaca's HTTP status, code and message.
        """
        desk = self.desk
        if request.client_order_id is not None and request.client_order_id in desk.by_client_id:
            raise refusal("duplicate_client_order_id")
        for check_shape in SHAPE_CHECKS:
            check_shape(request)
        column = self._column(request.symbol)
        situation = self._situation(request, column)
        for check in BOOK_CHECKS:
            check(request, situation)
        order = self._order(request, column, situation)
        legs: list[VenueOrder] = []
        if request.order_class in NEEDS_ENTRY:
            legs = entry_legs(order, request, desk.ids, len(desk.orders))
        elif request.order_class == "oco":
            legs = oco_leg(order, request, desk.ids, len(desk.orders))
        desk.enter(order)
        desk.announce(order.status, order, self.now_ns)
        for leg in legs:
            desk.enter(leg)
            if leg.status != "held":
                desk.announce(leg.status, leg, self.now_ns)
        return order

    def cancel(self, order_id: str) -> None:
        """Cancel an order and its group; VenueError 404 when unknown, 422 when it has ended."""
        order = self.order(order_id)
        if not order.is_open:
            raise refusal("not_cancelable", status=order.status)
        self.desk.finish(order, "canceled", self.now_ns)

    def cancel_all(self) -> list[str]:
        """Cancel everything open; the ids that were, in order of arrival."""
        orders = self.desk.open_orders()
        for order in orders:
            if order.is_open:
                self.desk.finish(order, "canceled", self.now_ns)
        return [order.id for order in orders]

    def replace(
        self,
        order_id: str,
        *,
        qty: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
        time_in_force: str | None = None,
        client_order_id: str | None = None,
    ) -> VenueOrder:
        """Put a changed order in place of an open one; the new order.

        ``qty`` is the new total: what the old order filled stays filled in the new one (FIX semantics).
        The larger of the old and the new reserve must be covered.
        """
        old = self.order(order_id)
        if not old.is_open:
            raise refusal("not_replaceable", status=old.status)
        if client_order_id is not None and client_order_id in self.desk.by_client_id:
            raise refusal("duplicate_client_order_id")
        new = replacement(
            old, self.desk, len(self.desk.orders), self.now_ns, qty=qty, limit_price=limit_price,
            stop_price=stop_price, time_in_force=time_in_force, client_order_id=client_order_id,
        )
        if new.closing:
            room = abs(self.accounts_book.quantity(new.symbol)) - self.desk.held_quantity(new.column, new.side)
            if old.status != "held" and new.remaining - old.remaining > room:
                available = room + old.remaining
                raise refusal("qty_available", requested=new.remaining, available=available)
        else:
            extra = new.reserve_price * new.remaining - old.reserved
            if extra > self.account().buying_power:
                raise refusal("buying_power")
        self.desk.swap(old, new, self.now_ns)
        return new

    def close_position(
        self, symbol: str, qty: Decimal | None = None, percentage: Decimal | None = None
    ) -> VenueOrder:
        """A market order that closes a position, or ``qty`` shares or ``percentage`` (0–100) of it."""
        held = self.accounts_book.quantity(symbol)
        if not held:
            raise refusal("position_not_found", {"symbol": symbol})
        wanted = abs(held)
        if percentage is not None:
            if not 0 < percentage <= 100:
                raise refusal("invalid", detail="percentage must be above 0 and at most 100")
            whole = held % SHARE == 0
            wanted = (wanted * percentage / 100).quantize(SHARE if whole else MICRO_SHARE, rounding=ROUND_DOWN)
        elif qty is not None:
            wanted = qty
        return self.submit(OrderRequest(symbol=symbol, side=SELL if held > 0 else BUY, qty=wanted))

    def close_all(self, *, cancel_orders: bool = False) -> list[tuple[str, VenueOrder | VenueError]]:
        """Close every position; what became of each, by symbol."""
        if cancel_orders:
            self.cancel_all()
        results: list[tuple[str, VenueOrder | VenueError]] = []
        for symbol in sorted(self.accounts_book.holdings):
            try:
                results.append((symbol, self.close_position(symbol)))
            except VenueError as error:
                results.append((symbol, error))
        return results

    # --- questions ----------------------------------------------------------------------------------------

    def order(self, order_id: str) -> VenueOrder:
        """An order by id; VenueError 404."""
        order = self.desk.orders.get(order_id)
        if order is None:
            raise refusal("order_not_found", id=order_id)
        return order

    def order_by_client_id(self, client_order_id: str) -> VenueOrder:
        """An order by client order id; VenueError 404."""
        order_id = self.desk.by_client_id.get(client_order_id)
        if order_id is None:
            raise refusal("order_not_found", id=client_order_id)
        return self.desk.orders[order_id]

    def orders(self, status: str = "open") -> list[VenueOrder]:
        """Orders in order of arrival; ``status`` is ``open``, ``closed`` or ``all``."""
        if status == "open":
            return self.desk.open_orders()
        every = self.desk.orders.values()
        return [order for order in every if status == "all" or not order.is_open]

    def position(self, symbol: str) -> PositionView:
        """One position; VenueError 404 when flat."""
        holding = self.accounts_book.holdings.get(symbol)
        if holding is None:
            raise refusal("position_not_found", {"symbol": symbol})
        column = self._columns[symbol]
        exit_side = SELL if holding.qty > 0 else BUY
        price = self.last_price(column)
        return PositionView(
            symbol, holding.qty, abs(holding.qty) - self.desk.held_quantity(column, exit_side),
            holding.average_price, holding.cost, price, self._prices.of_session_before(column, self.index) or price,
        )

    def positions(self) -> list[PositionView]:
        """All positions, by symbol."""
        return [self.position(symbol) for symbol in sorted(self.accounts_book.holdings)]

    def account(self) -> AccountView:
        """Cash, equity and buying power now."""
        long_value, short_value = self._market_values()
        cash = self.accounts_book.cash
        equity = cash + long_value + short_value
        multiplier = self.rules.margin_multiplier if equity >= self.rules.margin_minimum_equity else SHARE
        power = multiplier * equity - long_value + short_value - self.desk.reserved
        history = self.equity_history
        last_equity = history[-1].equity if self.in_session and history else (
            history[-2].equity if len(history) > 1 else self.accounts_book.deposited
        )
        return AccountView(
            cash, equity, last_equity, long_value, short_value, max(ZERO, power), multiplier,
            self.desk.reserved, self.accounts_book.fees,
        )

    @property
    def activities(self) -> list[Activity]:
        """Every execution, oldest first."""
        return self.desk.activities

    def drain(self) -> list[VenueEvent]:
        """The events since the last call, in order."""
        events = self.desk.events
        self.desk.events = []
        return events

    def last_price(self, column: int) -> Decimal:
        """The last close; before a symbol's first bar the open of its next; VenueError when there is none."""
        return self._prices.last(column, self.index)

    def column(self, symbol: str) -> int | None:
        """A symbol's column; None for one that does not trade here."""
        return self._columns.get(symbol)

    def next_open_close(self) -> tuple[int, int]:
        """The next opening and the next close after now: the panel's own sessions, then the exchange calendar's."""
        sessions, i, count = self._session, self.index, len(self._session)
        last = bisect_right(sessions, sessions[i]) - 1 if i < count else count
        opening = last + 1 if self.in_session else i
        if opening < count:
            last = last if self.in_session else bisect_right(sessions, sessions[opening]) - 1
            return self._starts[opening], self._ends[last]
        from trader.core.sessions import next_close, next_open

        return next_open(self.now_ns), self._ends[last] if last < count else next_close(self.now_ns)

    # --- inside -------------------------------------------------------------------------------------------

    def _column(self, symbol: str) -> int:
        column = self._columns.get(symbol)
        if column is None:
            raise refusal("unknown_symbol", symbol=symbol)
        return column

    def _equity(self) -> Decimal:
        return self.accounts_book.cash + sum(self._market_values())

    def _sure_power(self) -> float:
        """Buying power in floating point less a margin for its error; 0 where only the exact figures can tell."""
        if not self.index:
            return 0.0
        row = self.panel.close[self.index - 1]
        net = gross = 0.0
        for symbol, holding in self.accounts_book.holdings.items():
            value = float(holding.qty) * float(row[self._columns[symbol]])
            net += value
            gross += abs(value)
        equity = float(self.accounts_book.cash) + net
        if not equity > 1.01 * float(self.rules.margin_minimum_equity):        # NaN: a symbol without this bar
            return 0.0
        power = float(self.rules.margin_multiplier) * equity - gross - float(self.desk.reserved)
        return power * 0.999 - 1.0

    def _market_values(self) -> tuple[Decimal, Decimal]:
        """Long and short (negative) market value; computed once between two fills of one bar."""
        key = (self.index, self.accounts_book.fills)
        if self._values_at != key:
            long_value = short_value = ZERO
            for symbol, holding in self.accounts_book.holdings.items():
                value = holding.qty * self.last_price(self._columns[symbol])
                if value > 0:
                    long_value += value
                else:
                    short_value += value
            self._values, self._values_at = (long_value, short_value), key
        return self._values

    def _situation(self, request: OrderRequest, column: int) -> Situation:
        last = self.last_price(column)
        reserve = request.limit_price or request.stop_price or last
        if request.side == SELL:
            reserve = max(request.limit_price or ZERO, last * self.rules.short_reserve_factor)
        position = self.accounts_book.quantity(request.symbol)
        closes = position * SIGN[request.side] < 0
        return Situation(
            self.rules, last, position, self.desk.held_quantity(column, request.side) if closes else ZERO,
            self._equity, lambda: self.account().buying_power, 0.0 if closes else self._sure_power(), reserve,
            self.desk.on_side(column, request.side), self.desk.on_side(column, OPPOSITE[request.side]),
        )

    def _order(self, request: OrderRequest, column: int, situation: Situation) -> VenueOrder:
        ids = self.desk.ids
        order_id = ids.next()
        limit = request.take_profit if request.order_class == "oco" else request.limit_price
        session = self._session[self.index] if not self.done else len(self._session)
        return VenueOrder(
            id=order_id, client_order_id=request.client_order_id or ids.next(),
            number=len(self.desk.orders) + 1, symbol=request.symbol, column=column, side=request.side,
            sign=SIGN[request.side], type=request.type, working_type=request.type,
            time_in_force=request.time_in_force, order_class=request.order_class,
            status="new" if self.in_session else "accepted", session=session,
            created_ns=self.now_ns, updated_ns=self.now_ns, qty=request.qty, notional=request.notional,
            limit_price=limit, stop_price=request.stop_price, limit_level=float(limit or 0),
            stop_level=float(request.stop_price or 0), closing=situation.closes(request.side),
            extended_hours=request.extended_hours, reserve_price=situation.reserve_price,
        )
