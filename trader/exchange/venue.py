"""The venue: one account's market over stored bars, in process, deterministic, without I/O.

Time moves only in `Venue.step`, one bar at a time. An order entered after bar *k* can act from the open of bar
*k + 1*. Whatever changed is told by `Venue.drain`, in order, each event with ids that are the same in every run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.money import MICRO_SHARE, SHARE
from trader.core.panel import BarPanel
from trader.exchange.account import Account
from trader.exchange.checks import check_client_id, plan
from trader.exchange.day import reinstate, send_home, suspend, wake
from trader.exchange.desk import ACCOUNT, Desk
from trader.exchange.errors import VenueError, refusal
from trader.exchange.exits import entry_legs, oco_leg
from trader.exchange.halts import VALUES, Standstill, end_pauses, learn_of_standstill, stand_still, watch_bands
from trader.exchange.hours import Hours
from trader.exchange.identifiers import IdSource
from trader.exchange.luld import Pause
from trader.exchange.matching import Bar, Matcher, sweep
from trader.exchange.orders import new_order
from trader.exchange.path import Path, bar_path
from trader.exchange.prices import Prices
from trader.exchange.replacing import bear, cover, replacement
from trader.exchange.rows import Rows
from trader.exchange.situation import situation_of
from trader.exchange.splits import apply_split
from trader.exchange.statistics import DailyStatistics
from trader.exchange.types import (
    BUY,
    PENDING_STATUSES,
    SELL,
    Activity,
    Configurations,
    Entry,
    OrderRequest,
    Split,
    VenueEvent,
    VenueOrder,
    VenueRules,
)
from trader.exchange.valuation import Valuation
from trader.exchange.views import AccountView, EquityPoint, PositionView

if TYPE_CHECKING:
    from trader.exchange.watchlists import Watchlist

MOMENT_NS = 1_000           # between two orders: clients page through lists by time, to the microsecond
UNCHANGEABLE = PENDING_STATUSES | {"accepted", "accepted_for_bidding", "pending_review", "stopped"}


class Venue:
    """A deterministic exchange and broker for one account.

    Parameters
    ----------
    panel : BarPanel
        The market. Bars before ``start_index`` are history. Its arrays are shared, and never changed: a venue whose
        market's events change bars has its own from then on (`own_bars`).
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

    Attributes
    ----------
    entries : list of Entry
        What happened to the account besides executions.
    halted, hard_to_borrow : set of str
        Symbols that do not trade now; symbols that cannot be sold short.
    paused, reopened : dict
        Symbol to the moment that ends its volatility pause; to the first bar after its last halt.
    last_order_ns : int
        When the last order came; no two come at one moment.
    pauses : list of Pause
        Volatility pauses that began or ended; whoever tells them empties it.
    standstills : list of Standstill
        The bars that halts have left out so far.
    corrected : dict
        Bar and column to the prices along a bar of which a trade was corrected; the others stay as they were told.
    canceled : set
        Bar and column of the bars whose last trade was taken back.
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
        self.panel = panel = dataclasses.replace(panel)         # its arrays are shared until something changes them
        self.fill_model = fill_model
        self.rules = rules or VenueRules()
        self.accounts_book = Account(cash)
        self.desk = Desk(IdSource(seed))
        self.matcher = Matcher(self.desk, self.accounts_book, fill_model)
        self.account_id = self.desk.ids.next()
        self.equity_history: list[EquityPoint] = []
        self._columns = {symbol: column for column, symbol in enumerate(panel.symbols)}
        self._starts: list[int] = panel.ts_ns.tolist()
        self._ends: list[int] = panel.available_ns.tolist()
        self.hours = Hours(panel)
        self.statistics = DailyStatistics(panel, self.hours.numbers)
        self._rows = Rows(panel)
        self.price_book = Prices(panel, self._rows, self.hours.session, self.hours.regular)
        self.valuation = Valuation(self._columns, self.accounts_book, self.desk, self.price_book)
        self.configurations = Configurations()
        self.start_index = start_index
        self.splits: list[Split] = []
        self.watchlists: dict[str, Watchlist] = {}
        self.halted: set[str] = set()
        self.paused: dict[str, int] = {}
        self.reopened: dict[str, int] = {}
        self.pauses: list[Pause] = []
        self.standstills: list[Standstill] = []
        self.corrected: dict[tuple[int, int], Path] = {}
        self.canceled: set[tuple[int, int]] = set()
        self._owns_bars = False
        self.hard_to_borrow: set[str] = set(self.rules.hard_to_borrow)
        self.index = self.now_ns = self.last_order_ns = 0
        self.go_to(start_index)
        self.entries = [Entry(
            id=self.account_id, ts_ns=self.now_ns, index=start_index, type="JNLC", net_amount=cash,
            description="deposit",
        )]

    # --- time ---------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether every bar has been played."""
        return self.index >= len(self._starts)

    @property
    def in_session(self) -> bool:
        """Whether the next bar belongs to the session of the last one: the market is open now."""
        return self.hours.open_at[self.index]

    def step(self) -> int:
        """Play bar ``index`` against all working orders and move to its end; IndexError when all are played.

        Returns
        -------
        int
            The number of the bar that was played.
        """
        i = self.index
        if i >= len(self._starts):
            raise IndexError(f"all {len(self._starts)} bars have been played")
        desk = self.desk
        if i and self.hours.ends[i - 1] and self.accounts_book.holdings:
            self.accounts_book.begin_day(self._day_before(i))
        if self.rules.luld:
            watch_bands(self, i)
        if self.halted:
            stand_still(self, i)
        if desk.working or desk.changes:
            self._play(i)
        self.index = i + 1
        self.now_ns = self._ends[i]
        if self.paused:
            end_pauses(self, closes=self.hours.closes[i])
        if self.hours.closes[i] or self.hours.ends[i]:
            self._close(i)
        return i

    def go_to(self, index: int) -> None:
        """Stand before bar ``index`` without playing what lies between: a fresh or restored venue's place."""
        self.index = index
        self.now_ns = self._ends[index - 1] if index else (self._starts[0] if self._starts else 0)

    def _play(self, i: int) -> None:
        desk, hours, end = self.desk, self.hours, self._ends[i]
        start = max(self._starts[i], self.now_ns)       # nothing happens before what was asked for last
        regular, opens, closes = hours.regular[i], hours.opens[i], hours.closes[i]
        desk.bar = i
        if desk.queued and (opens or not regular):
            wake(desk, start, regular=regular)
        if self.halted:
            for symbol in sorted(self.halted):
                suspend(desk, self._columns[symbol], start)
        row, figures = self._rows.at(i), self.statistics.of_session(hours.session[i])

        def bar_of(column: int) -> Bar | None:
            """A symbol's bar; None where there is none."""
            open_, high, low, close, volume = row[column]
            if close != close:
                return None
            return Bar(open_, high, low, close, volume, start, end, *figures[column], opens, closes)

        first, first_activity = len(desk.events), len(desk.activities)
        mingled = self.matcher.play_row(row, bar_of, extended=not regular) > 1
        if desk.fleeting and regular:
            sweep(desk, start, end, opens=opens, closes=closes)
            mingled = True
        if desk.changes:
            desk.settle(end)
        if mingled and len(desk.events) - first > 1:
            desk.sort_events(first, first_activity)

    def _day_before(self, i: int) -> Callable[[str], Decimal]:
        """A symbol's price at the close of the session before that of bar ``i``."""
        def price_of(symbol: str) -> Decimal:
            column = self._columns[symbol]
            return self.price_book.of_session_before(column, i + 1) or self.last_price(column)

        return price_of

    def _close(self, i: int) -> None:
        """At the close day orders expire (extended ones at the day's end) and the account's worth is noted."""
        closes = self.hours.closes[i]
        send_home(
            self.desk, self.hours.session[i], self.now_ns, closes=closes, ends=self.hours.ends[i],
            tell=self.rules.done_for_day,
        )
        if closes:
            self.equity_history.append(EquityPoint(self.now_ns, self.equity(), self.maintenance()))

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
        checks = plan(request)
        if request.client_order_id is not None:
            if request.client_order_id in desk.by_client_id:
                raise refusal("duplicate_client_order_id")
            check_client_id(request.client_order_id)
        for check_shape in checks.shape:
            check_shape(request)
        column = self._columns.get(request.symbol)
        if column is None:
            raise refusal("unknown_symbol", symbol=request.symbol)
        situation = situation_of(self, request, column)
        for check in checks.book:
            check(request, situation)
        self._next_moment()
        order = new_order(request, column, situation, desk, self.hours, self.index, self.now_ns)
        legs: Sequence[VenueOrder] = ()
        if request.order_class != "simple":
            make_legs = oco_leg if request.order_class == "oco" else entry_legs
            legs = make_legs(order, request, desk.ids, len(desk.orders), self.rules.held_stops)
        desk.enter(order)
        desk.announce(order.status, order, self.now_ns)
        for leg in legs:
            desk.enter(leg)
            if leg.status != "held":
                desk.announce(leg.status, leg, self.now_ns)
        if request.symbol in self.halted:
            suspend(desk, column, self.now_ns)
        return order

    def cancel(self, order_id: str) -> None:
        """Cancel an order and its group; VenueError 404 when unknown, 422 when it has ended."""
        order = self.order(order_id)
        if not order.is_open or order.status in PENDING_STATUSES:
            raise refusal("not_cancelable", status=order.status)
        self._cancel(order)

    def _cancel(self, order: VenueOrder) -> None:
        if self.rules.slow_changes and order.status != "held":
            self.desk.pend(order, None, self.now_ns)
        else:
            self.desk.finish(order, "canceled", self.now_ns)

    def cancel_all(self) -> list[tuple[str, bool]]:
        """Cancel everything open: the ids in order of arrival, and whether each could be cancelled."""
        orders = self.desk.open_orders()
        results: list[tuple[str, bool]] = []
        for order in orders:
            possible = order.status not in PENDING_STATUSES
            if possible and order.is_open and not self._waits_for_another(order):
                self._cancel(order)
            results.append((order.id, possible))
        return results

    def _waits_for_another(self, order: VenueOrder) -> bool:
        """Whether a pending cancel of its group takes this order along."""
        return any(other.status == "pending_cancel" for other in self.desk.group_of(order))

    def reject(self, order_id: str) -> None:
        """Let the market refuse an open order after the venue had taken it, as exchanges sometimes do."""
        order = self.order(order_id)
        if not order.is_open:
            raise refusal("not_cancelable", status=order.status)
        self.desk.finish(order, "rejected", self.now_ns)

    def replace(
        self,
        order_id: str,
        *,
        qty: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
        trail: Decimal | None = None,
        time_in_force: str | None = None,
        client_order_id: str | None = None,
    ) -> VenueOrder:
        """Put a changed order in place of an open one; the new order.

        ``qty`` is the new total: what the old order filled stays filled in the new one (FIX semantics).
        The larger of the old and the new reserve must be covered.
        """
        old = self.order(order_id)
        if not old.is_open or old.status in UNCHANGEABLE:
            raise refusal("not_replaceable", status=old.status)
        if client_order_id is not None and client_order_id in self.desk.by_client_id:
            raise refusal("duplicate_client_order_id")
        last = self.price_book.last(old.column, self.index)
        new = replacement(
            old, self.desk, self.rules, last, qty=qty, limit_price=limit_price,
            stop_price=stop_price, trail=trail, time_in_force=time_in_force, client_order_id=client_order_id,
        )
        cover(self, new, old, last)
        self._next_moment()
        bear(new, old, self.desk, client_order_id, self.now_ns)
        if self.rules.slow_changes and old.status != "held":
            self.desk.pend(old, new, self.now_ns)
        else:
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

    # --- the market's ways ----------------------------------------------------------------------------------

    def halt(self, symbol: str) -> None:
        """Stop trading in a symbol until `resume`; VenueError for an unknown symbol.

        Its orders are ``suspended``, new ones too, and its bars are left out. A pause does not end a halt any more.
        """
        suspend(self.desk, self._column(symbol), self.now_ns)
        self.halted.add(symbol)
        self.paused.pop(symbol, None)
        self.desk.dirty.add(ACCOUNT)

    def resume(self, symbol: str) -> None:
        """Let a halted symbol trade again, from the next bar on."""
        column = self._column(symbol)
        if symbol in self.halted:
            self.halted.discard(symbol)
            self.paused.pop(symbol, None)
            self.reopened[symbol] = self.index
            learn_of_standstill(self, symbol)
        reinstate(self.desk, column, self.now_ns)
        self.desk.dirty.add(ACCOUNT)

    def configure(self, configurations: Configurations) -> None:
        """Let the account's owner have other settings from the next order on."""
        self.configurations = configurations
        self.valuation.forget()
        self.desk.dirty.add(ACCOUNT)

    def own_bars(self) -> None:
        """Let the venue have its bars for itself; from then on they may be changed in place."""
        if not self._owns_bars:
            for name in VALUES:
                values = getattr(self.panel, name)
                if values is not None:
                    object.__setattr__(self.panel, name, values.copy())
            self._owns_bars = True
            self._rows.forget()

    def forget_prices(self) -> None:
        """Read prices anew: bars that were played have changed."""
        self._rows.forget()
        self.price_book.forget()
        self.valuation.forget()

    def set_rules(self, rules: VenueRules) -> None:
        """Let the broker have other rules from the next order on; for the newly hard to borrow see `set_borrow`."""
        changed = self.rules.hard_to_borrow ^ rules.hard_to_borrow
        self.rules = rules
        self.valuation.forget()
        for symbol in sorted(changed & set(self._columns)):
            self.set_borrow(symbol, easy=symbol not in rules.hard_to_borrow)

    def set_borrow(self, symbol: str, *, easy: bool) -> None:
        """Make a symbol easy or hard to borrow; the latter cancels the orders that would open a short."""
        column = self._column(symbol)
        self.desk.dirty.add(ACCOUNT)
        if easy:
            self.hard_to_borrow.discard(symbol)
            return
        self.hard_to_borrow.add(symbol)
        for order in tuple(self.desk.side(column, SELL).orders.values()):
            if order.is_open and not order.closing and self.accounts_book.quantity(symbol) <= 0:
                self.desk.finish(order, "canceled", self.now_ns)

    def apply_split(self, symbol: str, ratio: Decimal) -> Split:
        """``ratio`` new shares for each old one (2, or 0.1 for one for ten), effective before the next bar.

        The bars from here on must be in new shares. What becomes of positions and orders says
        `trader.exchange.splits`. ValueError inside a session, for another symbol or an impossible ratio.
        """
        self.desk.dirty.add(ACCOUNT)
        return apply_split(self, symbol, ratio)

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
        if symbol not in self.accounts_book.holdings:
            raise refusal("position_not_found", {"symbol": symbol})
        return self.valuation.position(symbol, self.index)

    def positions(self) -> list[PositionView]:
        """All positions, by symbol."""
        return [self.position(symbol) for symbol in sorted(self.accounts_book.holdings)]

    def account(self) -> AccountView:
        """Cash, equity and buying power now."""
        return self.valuation.account(self.index, self.rules, self.configurations, self.last_close())

    def last_close(self) -> EquityPoint:
        """What the account was worth at the close of the day before this one; the deposit at first."""
        hours, history, played = self.hours, self.equity_history, self.index
        closed = not played or hours.closes_ns[hours.session[played - 1]] <= self.now_ns
        behind = 2 if closed else 1             # the night belongs to the day before it
        return history[-behind] if len(history) >= behind else EquityPoint(
            self.entries[0].ts_ns, self.accounts_book.deposited,
        )

    def equity(self) -> Decimal:
        """Cash and positions at the market's last prices."""
        return self.valuation.equity(self.index)

    def gross(self) -> Decimal:
        """The value of all positions, whatever their side."""
        return self.valuation.gross(self.index)

    def maintenance(self) -> Decimal:
        """What the positions require the account to be worth."""
        return self.valuation.maintenance(self.index)

    def buying_power(self) -> Decimal:
        """What opening orders may still reserve."""
        return self.valuation.buying_power(self.index, self.rules, self.configurations)

    def shut(self, time_in_force: str) -> bool:
        """Whether the venue takes no orders for an auction now."""
        return self.hours.shut(time_in_force, self.index, self.now_ns)

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
        return self.price_book.last(column, self.index)

    def column(self, symbol: str) -> int | None:
        """A symbol's column; None for one that does not trade here."""
        return self._columns.get(symbol)

    def next_open_close(self) -> tuple[int, int]:
        """The next opening and the next close after now: the panel's own sessions, then the exchange calendar's."""
        return self.hours.next_open_close(self.index, self.now_ns)

    def path_of(self, i: int, column: int) -> Path | None:
        """The prices along a bar, as corrections left them; None where a symbol has no bar."""
        panel = self.panel
        close = panel.close.item(i, column)
        if close != close:
            return None
        corrected = self.corrected.get((i, column))
        if corrected is not None:
            return corrected
        return bar_path(panel.open.item(i, column), panel.high.item(i, column), panel.low.item(i, column), close)

    # --- inside -------------------------------------------------------------------------------------------

    def _column(self, symbol: str) -> int:
        column = self._columns.get(symbol)
        if column is None:
            raise refusal("unknown_symbol", symbol=symbol)
        return column

    def _next_moment(self) -> None:
        """Let time pass where an order has come at this moment already."""
        if self.now_ns <= self.last_order_ns:
            self.now_ns = self.last_order_ns + MOMENT_NS
        self.last_order_ns = self.now_ns
