"""What the account and its positions are worth at the market's last prices, and what they may still buy."""

from __future__ import annotations

from decimal import Decimal

from trader.core.money import SHARE
from trader.exchange.account import Account
from trader.exchange.desk import Desk
from trader.exchange.prices import Prices
from trader.exchange.types import BUY, SELL, ZERO, Configurations, VenueRules
from trader.exchange.views import AccountView, EquityPoint, PositionView

MULTIPLIERS = {"1": Decimal(1), "2": Decimal(2), "4": Decimal(4)}
_NONE = Decimal(-1)
_ALL, _USUAL = SHARE, Decimal("0.3")
_CHEAP_LONG, _CHEAP_SHORT = Decimal("2.5"), Decimal(5)          # dollars a share


def maintenance_rate(price: Decimal, *, short: bool) -> Decimal:
    """What part of a position's value has to stay covered, by Alpaca's table: more for cheap shares and cheap shorts.

    A long at $2.50 or above needs 30 %, below all of it; a short at $5 or above $5 a share or 30 %, below $2.50 a
    share or all of it, whichever is more.
    """
    if not short:
        return _ALL if price < _CHEAP_LONG else _USUAL
    return max(_CHEAP_LONG / price, _ALL) if price < _CHEAP_SHORT else max(_CHEAP_SHORT / price, _USUAL)


def margin(rules: VenueRules, configured: Configurations) -> Decimal:
    """How many times its equity an account may hold: what the broker and the account's owner allow."""
    return min(rules.margin_multiplier, MULTIPLIERS[configured.max_margin_multiplier])


class Valuation:
    """Figures of one account; every question names ``played``, the number of bars behind it."""

    def __init__(
        self, columns: dict[str, int], book: Account, desk: Desk, prices: Prices
    ) -> None:
        self._columns = columns
        self._book = book
        self._desk = desk
        self._prices = prices
        self._values = (ZERO, ZERO)
        self._values_at = (-1, -1)
        self._power, self._applied = ZERO, SHARE
        self._closing_only = False
        self._power_at: tuple[int, int, VenueRules | None, Configurations | None] = (-1, -1, None, None)

    def forget(self) -> None:
        """Compute the next answer anew: something else than a bar or a fill changed."""
        self._values_at = (-1, -1)
        self._power_at = (-1, -1, None, None)

    def market_values(self, played: int) -> tuple[Decimal, Decimal]:
        """Long and short (negative) market value; computed once between two fills of one bar."""
        key = (played, self._book.fills)
        if self._values_at != key:
            long_value = short_value = ZERO
            known, columns = self._prices.known(played), self._columns
            for symbol, holding in self._book.holdings.items():
                column = columns[symbol]
                price = known.get(column)
                value = holding.qty * (self._prices.last(column, played) if price is None else price)
                if value > ZERO:
                    long_value += value
                else:
                    short_value += value
            self._values, self._values_at = (long_value, short_value), key
        return self._values

    def equity(self, played: int) -> Decimal:
        """Cash and positions."""
        return self._book.cash + sum(self.market_values(played))

    def gross(self, played: int) -> Decimal:
        """The value of all positions, whatever their side."""
        long_value, short_value = self.market_values(played)
        return long_value - short_value

    def maintenance(self, played: int) -> Decimal:
        """What all positions together require."""
        required = ZERO
        for symbol, holding in self._book.holdings.items():
            price = self._prices.last(self._columns[symbol], played)
            required += abs(holding.qty) * price * maintenance_rate(price, short=holding.qty < ZERO)
        return required

    def account(self, played: int, rules: VenueRules, configured: Configurations, last: EquityPoint) -> AccountView:
        """The account; margin counts from the minimum equity for it on."""
        long_value, short_value = self.market_values(played)
        cash = self._book.cash
        equity = cash + long_value + short_value
        power = self.buying_power(played, rules, configured)
        return AccountView(
            cash, equity, last, long_value, short_value, power, self._applied,
            self._desk.reserved, self._book.fees,
        )

    def power(self, played: int, rules: VenueRules, configured: Configurations) -> Decimal:
        """Buying power before what orders reserve; computed once between two fills of one bar."""
        fills = self._book.fills
        at, since, under, by = self._power_at
        if at != played or since != fills or under is not rules or by is not configured:
            self._power_at = played, fills, rules, configured
            long_value, short_value = self.market_values(played)
            equity = self._book.cash + long_value + short_value
            self._applied = margin(rules, configured) if equity >= rules.margin_minimum_equity else SHARE
            self._power = self._applied * equity - long_value + short_value
            self._closing_only = long_value - short_value > rules.closing_only_above * equity
        return self._power

    def buying_power(self, played: int, rules: VenueRules, configured: Configurations) -> Decimal:
        """What opening orders may still reserve."""
        return max(ZERO, self.power(played, rules, configured) - self._desk.reserved)

    def room(self, played: int, rules: VenueRules, configured: Configurations) -> Decimal:
        """What opening orders may reserve all together; below 0 for an account that may only close positions."""
        power = self.power(played, rules, configured)
        return _NONE if self._closing_only else power

    def position(self, symbol: str, played: int) -> PositionView:
        """One position; KeyError when flat."""
        holding = self._book.holdings[symbol]
        column = self._columns[symbol]
        exit_side = SELL if holding.qty > 0 else BUY
        price = self._prices.last(column, played)
        return PositionView(
            symbol, holding.qty, abs(holding.qty) - self._desk.held_quantity(column, exit_side),
            holding.average_price, holding.cost, price, self._prices.of_session_before(column, played) or price,
            holding.day_cost,
        )
