"""`AlpacaBroker`: the account at Alpaca (or at the embedded exchange) through alpaca-py, off the event loop.

What alpaca-py leaves open is closed here: every call has time-outs and a deadline, nothing is retried behind our
back (a POST that is sent twice is two orders), answers are read defensively, and every ending is one of the few that
`broker_errors` names. Reads may be repeated once after a broken connection; writes never.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from trader.core.clock import from_ns
from trader.core.commands import Submit
from trader.core.probe import Health
from trader.execution.broker_errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnauthorized,
    BrokerUnreachable,
    is_duplicate,
)
from trader.execution.broker_lane import Lane
from trader.execution.broker_records import (
    BrokerAccount,
    BrokerClock,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    CancelResult,
    Unreadable,
    flatten,
    parse_account,
    parse_cancel_result,
    parse_clock,
    parse_fill,
    parse_order,
    parse_position,
)
from trader.execution.http_guard import guarded, hardened
from trader.execution.order_request import order_request, price, quantity
from trader.execution.outcomes import Accepted, Duplicate, Rejected, SubmitOutcome, Unknown
from trader.utils.alpaca_urls import addresses
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from alpaca.trading.client import TradingClient

Result = TypeVar("Result")

PAGE = 500
ACTIVITY_PAGE = 100


class AlpacaBroker:
    """One account, asynchronously.

    Parameters
    ----------
    api_key, secret_key : str | None
        Default: ``ALPACA_API_KEY`` and ``ALPACA_SECRET_KEY``.
    base_url : str | None
        Trading address, with or without ``/v2``; default ``ALPACA_BASE_URL``, else Alpaca's paper address.
    data_url : str | None
        Market data address; default ``ALPACA_DATA_URL``, else Alpaca's, or ``base_url`` where that is not Alpaca's.
    connect_timeout_s, read_timeout_s : float
        Limits of one silence on the wire.
    deadline_s : float
        Limit of one whole call.
    """

    def __init__(
        self,
        api_key: str | None = None,
        secret_key: str | None = None,
        base_url: str | None = None,
        data_url: str | None = None,
        *,
        connect_timeout_s: float = 3.0,
        read_timeout_s: float = 10.0,
        deadline_s: float = 20.0,
    ) -> None:
        self._key = api_key if api_key is not None else os.environ.get("ALPACA_API_KEY", "")
        self._secret = secret_key if secret_key is not None else os.environ.get("ALPACA_SECRET_KEY", "")
        self.base_url, self.data_url = addresses(base_url, data_url)
        self._timeout = (connect_timeout_s, read_timeout_s)
        # Orders, cancels and reads do not wait for one another.
        self._orders = Lane("orders", self._trading_client, deadline_s)
        self._cancels = Lane("cancels", self._trading_client, deadline_s)
        self._reads = Lane("reads", self._trading_client, deadline_s)
        self._prices = Lane("prices", self._data_client, deadline_s)

    # --- the link ----------------------------------------------------------------------------------------

    async def connect(self) -> BrokerAccount:
        """Check keys and address by reading the account; UserError names what is wrong and the mend."""
        if not self._key or not self._secret:
            raise UserError(
                "no broker keys: set ALPACA_API_KEY and ALPACA_SECRET_KEY (in the environment or in .env), "
                "or use --mode sim"
            )
        try:
            return await self.get_account()
        except BrokerUnauthorized as error:
            raise UserError(
                f"{self.base_url} refused the keys ({error.message}): check ALPACA_API_KEY and ALPACA_SECRET_KEY, "
                "and that paper keys go to the paper address and live keys to the live one"
            ) from error
        except BrokerUnreachable as error:
            raise UserError(
                f"cannot reach the broker at {self.base_url} ({error.reason}): check ALPACA_BASE_URL and the network"
            ) from error

    async def health_check(self) -> Health:
        """Whether the account answers and may trade; never raises for a broker's or network's failure."""
        started = time.monotonic()
        try:
            account = await self.get_account()
        except BrokerError as error:
            return Health(False, str(error))
        latency = (time.monotonic() - started) * 1000
        blocked = account.trading_blocked or account.account_blocked
        words = ", trading blocked" if blocked else f", {latency:.0f} ms"
        return Health(account.status == "ACTIVE" and not blocked, f"account {account.status}{words}")

    async def close(self) -> None:
        """Let the lanes end; a broker that is used again starts them again."""
        for lane in (self._orders, self._cancels, self._reads):
            lane.close()
        self._prices.close()

    # --- reads -------------------------------------------------------------------------------------------

    async def get_account(self) -> BrokerAccount:
        """Cash, equity, buying power, status."""
        return await self._read(lambda client: parse_account(client.get_account()))

    async def get_positions(self) -> list[BrokerPosition]:
        """All open positions; quantities signed."""
        return await self._read(lambda client: [parse_position(raw) for raw in _rows(client.get_all_positions())])

    async def clock(self) -> BrokerClock:
        """The broker's clock."""
        return await self._read(lambda client: parse_clock(client.get_clock()))

    async def get_orders(
        self, status: str = "open", *, symbols: Sequence[str] | None = None, after_ns: int | None = None
    ) -> list[BrokerOrder]:
        """All orders of a status (``open``, ``closed``, ``all``), oldest first, legs nested; pages as far as needed."""
        found: dict[str, BrokerOrder] = {}
        after = after_ns
        while True:
            page = await self._read(partial(_order_page, status=status, symbols=symbols, after_ns=after))
            fresh = [order for order in page if order.id not in found]
            found.update((order.id, order) for order in fresh)
            # The limit may count legs or not; a page that is full in either sense may have a successor.
            if len(flatten(page)) < PAGE:
                return list(found.values())
            if not fresh:
                raise BrokerUnreachable(f"the list of {status} orders does not end: {PAGE} orders share one time")
            # The next page overlaps by a microsecond, because orders of the same moment may sit on both sides.
            after = max(order.submitted_ns for order in page) - 1000

    async def get_order(self, broker_order_id: str) -> BrokerOrder | None:
        """One order with its legs by the broker's id; None after a clean 404."""
        return await self._read_one(f"/orders/{quote(broker_order_id, safe='')}", {"nested": True})

    async def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """One order by our id; None after a clean 404. A network error is raised, it never means "not there"."""
        return await self._read_one("/orders:by_client_order_id", {"client_order_id": client_order_id, "nested": True})

    async def get_fill_activities(self, after_ns: int | None = None) -> list[BrokerFill]:
        """Executions of the account, oldest first: the truth that the trade stream may have lost."""
        fills: list[BrokerFill] = []
        token: str | None = None
        while True:
            query: dict[str, Any] = {"direction": "asc", "page_size": ACTIVITY_PAGE}
            if after_ns is not None:
                query["after"] = from_ns(after_ns).isoformat()
            if token is not None:
                query["page_token"] = token
            page = await self._read(partial(_fill_page, query=query))
            fills.extend(page)
            if len(page) < ACTIVITY_PAGE or page[-1].activity_id == token:
                return fills
            token = page[-1].activity_id

    async def latest_price(self, symbol: str) -> Decimal:
        """Close of the symbol's latest bar."""
        from alpaca.data.requests import StockLatestBarRequest

        def read(client: Any) -> Decimal:
            raw = client.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols=symbol))
            try:
                return Decimal(str(raw[symbol]["c"]))
            except (KeyError, TypeError, ArithmeticError):
                raise Unreadable(f"no latest bar of {symbol} in {raw!r:.120}") from None

        return await _via(self._prices, read)

    # --- writes ------------------------------------------------------------------------------------------

    async def submit(self, command: Submit, *, one_cancels_other: bool = False) -> SubmitOutcome:
        """Send an order once and say how it ended; never raises for what the wire or the broker did.

        ValueError means that the command itself cannot be sent (nothing was).
        """
        request = order_request(command, one_cancels_other=one_cancels_other)
        try:
            order = await _via(self._orders, lambda client: parse_order(client.submit_order(request)))
        except BrokerUnreachable as error:
            return Unknown(error.reason, never_left=error.never_left)
        except BrokerRefused as error:
            if not is_duplicate(error):
                return Rejected(error.status, error.code, error.message, error.retry_after_s, error.details)
            return await self._read_back(command.client_order_id)
        if order.client_order_id != command.client_order_id:
            return Unknown(f"the answer speaks of order {order.client_order_id!r}")
        return Accepted(order)

    async def _read_back(self, client_order_id: str) -> SubmitOutcome:
        try:
            order = await self.get_order_by_client_id(client_order_id)
        except BrokerError as error:
            return Unknown(f"the client order id is taken, and reading the order back failed: {error}")
        if order is None:
            return Unknown("the client order id is taken, yet the broker shows no such order")
        return Duplicate(order)

    async def cancel(self, broker_order_id: str) -> None:
        """Ask for a cancel; its success is only told by the order's own news."""
        path = f"/orders/{quote(broker_order_id, safe='')}"
        await _via(self._cancels, lambda client: client.delete(path))

    async def cancel_all(self) -> list[CancelResult]:
        """Ask for a cancel of every open order of the account."""
        return await _via(
            self._cancels, lambda client: [parse_cancel_result(raw) for raw in _rows(client.cancel_orders())]
        )

    async def replace(
        self, broker_order_id: str, *, new_quantity: Decimal | None = None, limit_price: Decimal | None = None,
        stop_price: Decimal | None = None, client_order_id: str | None = None,
    ) -> BrokerOrder:
        """Ask for another order in this one's place; the answer is the new order, which may still be rejected."""
        body: dict[str, Any] = {}
        if new_quantity is not None:
            body["qty"] = quantity(new_quantity)
        if limit_price is not None:
            body["limit_price"] = price(limit_price)
        if stop_price is not None:
            body["stop_price"] = price(stop_price)
        if client_order_id is not None:
            body["client_order_id"] = client_order_id
        if not body:
            raise ValueError("replace needs a quantity or a price")
        path = f"/orders/{quote(broker_order_id, safe='')}"
        return await _via(self._orders, lambda client: parse_order(client.patch(path, body)))

    async def close_position(self, symbol: str, shares: Decimal | None = None) -> BrokerOrder:
        """Close a position (or so many shares of it) at market; returns the closing order."""
        path = f"/positions/{quote(symbol, safe='')}"
        query = {} if shares is None else {"qty": str(shares)}
        return await _via(self._orders, lambda client: parse_order(client.delete(path, query)))

    async def close_all(self, *, cancel_orders: bool = True) -> list[CancelResult]:
        """Close every position at market, cancelling open orders first."""
        def close(client: Any) -> list[CancelResult]:
            return [parse_cancel_result(raw) for raw in _rows(client.close_all_positions(cancel_orders or None))]

        return await _via(self._orders, close)

    # --- inside ------------------------------------------------------------------------------------------

    def _trading_client(self) -> TradingClient:
        from alpaca.trading.client import TradingClient

        client = TradingClient(self._key, self._secret, raw_data=True, url_override=self.base_url)
        return hardened(client, self._timeout)

    def _data_client(self) -> Any:
        from alpaca.data.historical.stock import StockHistoricalDataClient

        client = StockHistoricalDataClient(self._key, self._secret, raw_data=True, url_override=self.data_url)
        return hardened(client, self._timeout)

    async def _read(self, work: Callable[[Any], Result]) -> Result:
        try:
            return await _via(self._reads, work)
        except BrokerUnreachable as error:
            if not error.broken_link:
                raise
        # A kept-alive connection that the server has closed meanwhile costs the first request after a pause.
        return await _via(self._reads, work)

    async def _read_one(self, path: str, query: dict[str, Any]) -> BrokerOrder | None:
        try:
            return await self._read(lambda client: parse_order(client.get(path, query)))
        except BrokerRefused as error:
            if error.status == 404 and error.code == 40410000:
                return None
            raise


async def _via(lane: Lane[Any], work: Callable[[Any], Result]) -> Result:
    return await lane.call(lambda client: guarded(work, client))


def _order_page(client: Any, status: str, symbols: Iterable[str] | None, after_ns: int | None) -> list[BrokerOrder]:
    from alpaca.common.enums import Sort
    from alpaca.trading.enums import QueryOrderStatus
    from alpaca.trading.requests import GetOrdersRequest

    request = GetOrdersRequest(
        status=QueryOrderStatus(status), limit=PAGE, direction=Sort.ASC, nested=True,
        symbols=None if symbols is None else list(symbols),
        after=None if after_ns is None else from_ns(after_ns),
    )
    return [parse_order(raw) for raw in _rows(client.get_orders(request))]


def _fill_page(client: Any, query: dict[str, Any]) -> list[BrokerFill]:
    return [parse_fill(raw) for raw in _rows(client.get("/account/activities/FILL", query))]


def _rows(raw: Any) -> list[Any]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise Unreadable(f"expected a JSON array, got {raw!r:.120}")
    return raw
