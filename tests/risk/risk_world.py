"""A small account on made-up bars for the tests of the risk rooms."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from trader.core import events as ev
from trader.core.book import Book
from trader.core.history import History
from trader.core.panel import BarPanel
from trader.execution.impact_model import AlmgrenChrissModel
from trader.risk.params import RiskParams
from trader.risk.pipeline import TABLES, RiskPipeline

SYMBOLS = ("AAPL", "MSFT", "GOOG", "FB", "XYZ")
BAR_NS = 900 * 10**9
BARS = 26


class World:
    """Bars, history, book and pipeline; every symbol starts at 100 with 26 × 10,000 shares a day."""

    def __init__(self, params: RiskParams | None = None, *, days: int = 30, cash: int = 100_000, margin: float = 2.0,
                 seed: int = 1, moves: np.ndarray | None = None) -> None:
        n = days * BARS
        if moves is None:
            moves = np.random.default_rng(seed).normal(0.0, 0.001, (n, len(SYMBOLS)))
        close = 100.0 * np.exp(np.cumsum(moves, axis=0))
        ts = np.arange(len(close)) * BAR_NS
        self.days = np.repeat(np.arange(20240101, 20240101 + -(-len(close) // BARS)), BARS)[:len(close)]
        self.panel = BarPanel(SYMBOLS, "15Min", ts, ts + BAR_NS, close, close * 1.001, close * 0.999, close,
                              np.full_like(close, 10_000.0))
        self.history = History.over(self.panel, self.days, float(BARS))
        self.book = Book(SYMBOLS, Decimal(cash))
        self.risk = RiskPipeline(params or RiskParams(), SYMBOLS, AlmgrenChrissModel())
        self.book.apply(ev.SessionStarted(
            ts=0, run_id="t", mode="backtest", account="a", symbols=SYMBOLS, timeframe="15Min", source="real",
            cash=Decimal(cash), strategy="s", margin=margin,
        ))
        self.count = 0
        self.i = 0

    def play(self, bars: int) -> list[ev.AnyEvent]:
        """Let bars pass; all events of the pipeline."""
        out: list[ev.AnyEvent] = []
        for _ in range(bars):
            bar = self.panel.slice(self.i)
            day = int(self.days[self.i])
            self.i += 1
            self.history.append(bar, day)
            self.book.apply(ev.SliceClosed(
                ts=bar.available_ns, index=bar.index, bar_ts=bar.ts_ns, day=day, open=bar.open.tolist(),
                high=bar.high.tolist(), low=bar.low.tolist(), close=bar.close.tolist(), volume=bar.volume.tolist(),
            ))
            out += self.risk.on_slice(bar, self.book, self.history)
        return out

    @property
    def now(self) -> int:
        return self.book.now_ns

    def price(self, symbol: str) -> float:
        return float(self.panel.close[self.i - 1, SYMBOLS.index(symbol)])

    def intent(self, symbol: str = "XYZ", side: str = "buy", quantity: object = 10, role: str = "entry",
               bracket: bool = True, **more: object) -> ev.OrderIntent:
        self.count += 1
        price = self.price(symbol)
        up, down = Decimal(f"{price * 1.04:.2f}"), Decimal(f"{price * 0.98:.2f}")
        if side == "sell":
            up, down = Decimal(f"{price * 0.96:.2f}"), Decimal(f"{price * 1.02:.2f}")
        fields: dict = {
            "ts": self.now, "client_order_id": f"c{self.count}", "symbol": symbol, "side": side,
            "quantity": Decimal(str(quantity)), "role": role, "strategy": "s", "signal_price": price,
            "take_profit": up if bracket and role == "entry" else None,
            "stop_loss": down if bracket and role == "entry" else None,
        }
        return ev.OrderIntent(**(fields | more))

    def vet(self, *args: object, **more: object) -> ev.RiskVerdict:
        return self.risk.vet(self.intent(*args, **more), self.book, self.history)

    def fill(self, symbol: str, side: str, quantity: int, price: float | None = None) -> None:
        self.count += 1
        self.book.apply(ev.OrderFilled(
            ts=self.now, client_order_id=f"f{self.count}", execution_id=f"x{self.count}", symbol=symbol, side=side,
            quantity=Decimal(quantity), price=Decimal(str(round(price or self.price(symbol), 2))),
        ))

    def working(self, symbol: str, side: str, quantity: int, role: str = "entry", unknown: bool = False,
                **more: object) -> str:
        """An order that is open in the book."""
        intent = self.intent(symbol, side, quantity, role, **more)
        key = intent.client_order_id
        self.book.apply(intent)
        self.book.apply(ev.RiskVerdict(
            ts=self.now, client_order_id=key, symbol=symbol, action="allow", quantity_asked=intent.quantity,
            quantity=intent.quantity, checks=(),
        ))
        self.book.apply(ev.OrderSubmitting(ts=self.now, client_order_id=key))
        if unknown:
            self.book.apply(ev.OrderUnknown(ts=self.now, client_order_id=key, message="timeout"))
        else:
            self.book.apply(ev.OrderAccepted(ts=self.now, client_order_id=key, broker_order_id=f"b{key}"))
        return key


def checks_of(verdict: ev.RiskVerdict) -> tuple[ev.RuleCheck, ...]:
    """Every rule's word."""
    return ev.checks_of(verdict, TABLES)


def last(verdict: ev.RiskVerdict) -> ev.RuleCheck:
    """The check that decided."""
    checks = checks_of(verdict)
    decided = [check for check in checks if check.action != "allow"]
    return decided[-1] if decided else checks[-1]


def check_of(verdict: ev.RiskVerdict, rule: str) -> ev.RuleCheck:
    return next(check for check in checks_of(verdict) if check.rule == rule)
