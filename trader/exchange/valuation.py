"""What the account and its positions are worth at the market's last prices, and what they may still buy."""

from __future__ import annotations

from decimal import Decimal

from trader.core.money import SHARE
from trader.core.panel import BarPanel
from trader.exchange.account import Account
from trader.exchange.desk import Desk
from trader.exchange.prices import Prices
from trader.exchange.types import BUY, SELL, ZERO, VenueRules
from trader.exchange.views import AccountView, PositionView


class Valuation:
    """Figures of one account; every question names ``played``, the number of bars behind it."""

    def __init__(
        self, panel: BarPanel, columns: dict[str, int], book: Account, desk: Desk, prices: Prices
    ) -> None:
        self._panel = panel
        self._columns = columns
        self._book = book
        self._desk = desk
        self._prices = prices
        self._values = (ZERO, ZERO)
        self._values_at = (-1, -1)
        self._rough = (0.0, 0.0)
        self._rough_at = (-1, -1)

    def forget(self) -> None:
        """Compute the next answer anew: something else than a bar or a fill changed."""
        self._values_at = self._rough_at = (-1, -1)

    def market_values(self, played: int) -> tuple[Decimal, Decimal]:
        """Long and short (negative) market value; computed once between two fills of one bar."""
        key = (played, self._book.fills)
        if self._values_at != key:
            long_value = short_value = ZERO
            for symbol, holding in self._book.holdings.items():
                value = holding.qty * self._prices.last(self._columns[symbol], played)
                if value > 0:
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

    def account(self, played: int, multiplier: Decimal, rules: VenueRules, last_equity: Decimal) -> AccountView:
        """The account; ``multiplier`` counts from the minimum equity for margin on."""
        long_value, short_value = self.market_values(played)
        cash = self._book.cash
        equity = cash + long_value + short_value
        applied = multiplier if equity >= rules.margin_minimum_equity else SHARE
        power = applied * equity - long_value + short_value - self._desk.reserved
        return AccountView(
            cash, equity, last_equity, long_value, short_value, max(ZERO, power), applied,
            self._desk.reserved, self._book.fees,
        )

    def sure_power(self, played: int, multiplier: Decimal, rules: VenueRules) -> float:
        """Buying power in floating point less a margin for its error; 0 where only the exact figures can tell."""
        key = (played, self._book.fills)
        if self._rough_at != key:
            self._rough, self._rough_at = self._rough_values(played), key
        equity, gross = self._rough
        if not equity > 1.01 * float(rules.margin_minimum_equity):        # NaN: a symbol without this bar
            return 0.0
        return (float(multiplier) * equity - gross - float(self._desk.reserved)) * 0.999 - 1.0

    def _rough_values(self, played: int) -> tuple[float, float]:
        """Equity and gross value in floating point; zero where the last bar's closes are not today's prices."""
        if not played or self._prices.split_at == played:
            return 0.0, 0.0
        row = self._panel.close[played - 1]
        net = gross = 0.0
        for symbol, holding in self._book.holdings.items():
            value = float(holding.qty) * float(row[self._columns[symbol]])
            net += value
            gross += abs(value)
        return float(self._book.cash) + net, gross

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
