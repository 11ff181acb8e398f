"""The four layers as one pipeline: every intent passes all rules in order, live and in a backtest alike."""

from __future__ import annotations

from collections import deque

from trader.core.book import Book
from trader.core.clock import MINUTE_NS
from trader.core.events import (
    AnyEvent,
    BreakerChanged,
    Gauge,
    OrderIntent,
    RiskGauges,
    RiskRules,
    RiskVerdict,
    RuleCheck,
    RuleName,
)
from trader.core.history import History
from trader.core.money import ZERO
from trader.core.panel import Slice
from trader.risk import layer1_pre_trade, layer2_execution, layer3_portfolio, layer4_system
from trader.risk.breakers import Breaker, ConnectionBreaker, RejectionBreaker, Step
from trader.risk.case import ENTRY, ImpactModel, Rule, build_case
from trader.risk.correlation_guard import CorrelationGuard
from trader.risk.facts import MarketFacts
from trader.risk.gauges import Worst, measure, moved
from trader.risk.params import LIMITS, RiskParams
from trader.risk.state import SystemState
from trader.risk.tail import TailRisk
from trader.risk.verdicts import Word, check_of

ENTRY_RULES: tuple[Rule, ...] = (
    *layer1_pre_trade.ENTRY_RULES, *layer2_execution.ENTRY_RULES, *layer3_portfolio.ENTRY_RULES,
    *layer4_system.ENTRY_RULES,
)
EXIT_RULES: tuple[Rule, ...] = (*layer1_pre_trade.EXIT_RULES, *layer2_execution.EXIT_RULES)
_NAMES = [rule.name for rule in ENTRY_RULES]
_ORDER_VALUE, _PARTICIPATION, _IMPACT = map(_NAMES.index, ("order_value", "participation", "impact"))
# The tables of the journal: what an entry meets, and what everything else does.
OTHER = "exit"
TABLES: dict[str, tuple[RuleName, ...]] = {
    name: tuple(RuleName(rule.layer, rule.name, rule.unit) for rule in rules)
    for name, rules in ((ENTRY, ENTRY_RULES), (OTHER, EXIT_RULES))
}
_ENTRY_JUDGES, _EXIT_JUDGES = (tuple(rule.judge for rule in rules) for rules in (ENTRY_RULES, EXIT_RULES))


class RiskPipeline:
    """Vets intents and watches the account.

    Deterministic: what it says depends on the events so far and nothing else; no clock, no chance. What
    reduces risk (every role but ``entry``) meets only the rules that keep it sound; it is never held up by a
    limit, a breaker or the latch.

    Parameters
    ----------
    params : the limits.
    symbols : the session's symbols, in the order of the history's columns.
    impact : the pre-trade cost model.
    system : the facts of layer 4, set by the engine as events arrive.
    """

    def __init__(
        self, params: RiskParams, symbols: tuple[str, ...], impact: ImpactModel, system: SystemState | None = None,
    ) -> None:
        self.params = params
        self.symbols = symbols
        self.impact = impact
        self.system = system or SystemState()
        self.facts = MarketFacts(symbols, params.adv_days, params.var_window_days)
        self.tail = TailRisk(params, symbols)
        self.intraday = Breaker("intraday_loss", (
            Step(params.intraday_loss_warning, "warning", params.warning_size_multiplier, "halve new positions"),
            Step(params.intraday_loss_circuit_breaker, "tripped", 0.0, "halt trading"),
        ), latched=True)
        self.drawdown = Breaker("drawdown", (
            Step(params.drawdown_warning, "warning", params.warning_size_multiplier, "halve new positions"),
            Step(params.max_drawdown, "tripped", 0.0, "halt trading"),
        ), latched=True)
        self.correlation = CorrelationGuard(params)
        self.rejections = RejectionBreaker(
            params.rejection_warning, params.rejection_limit, params.rejection_window_s, params.rejection_cooldown_s,
            params.warning_size_multiplier,
        )
        self.connection = ConnectionBreaker()
        self.breakers: dict[str, Breaker] = {
            breaker.name: breaker
            for breaker in (self.intraday, self.drawdown, self.correlation, self.rejections, self.connection)
        }
        self._recent: deque[int] = deque()
        self._waiting: list[BreakerChanged] = []
        self._worst = Worst()
        self._gauges: tuple[Gauge, ...] = ()
        self._last = (-1.0, -1.0, -1.0, -1.0)           # loss, drawdown, gross, net of the last gauges
        self._quiet = tuple(params.gauge_tolerance * limit for limit in (
            params.intraday_loss_circuit_breaker, params.max_drawdown, params.max_gross_exposure,
            params.max_net_exposure))
        self._slices = 0
        self._day = 0
        self._day_base: float | None = None             # set when a halt was lifted: losses count from there
        self._peak_base: float | None = None

    # --- vetting -----------------------------------------------------------------------------------------

    def vet(self, intent: OrderIntent, book: Book, history: History) -> RiskVerdict:
        """All rules in order on one intent; stops at the first veto. The quantity only ever shrinks.

        An approved intent counts toward the rate limit at its ``ts``.
        """
        self.facts.update(history)
        self.tail.refresh(self.facts, history)
        entry = intent.role == ENTRY
        loss, drawdown = self._losses(book)
        case = build_case(
            intent, book, history, self.params, self.system, self.facts, self.impact, self.breakers, self.tail,
            self._orders_since(intent.ts - MINUTE_NS), loss, drawdown,
        )
        quantity = intent.quantity
        readings: list[tuple[float, float]] = []        # used, limit
        checks: list[RuleCheck] = []
        action = "allow"
        table = ENTRY if entry else OTHER
        for judge in _ENTRY_JUDGES if entry else _EXIT_JUDGES:
            ruling = judge(case, quantity)
            if type(ruling) is tuple:
                readings.append(ruling)
                continue
            assert isinstance(ruling, Word)
            checks.append(check_of(TABLES[table][len(readings)], ruling))
            readings.append((ruling.used, ruling.limit))
            quantity = ruling.quantity
            if ruling.action != "allow":
                action = ruling.action
                if action == "veto":
                    break
        if action == "veto":
            quantity = ZERO
        else:
            self._recent.append(intent.ts)
        used, limits = map(list, zip(*readings, strict=True))
        if entry:
            self._keep_worst(used)
        return RiskVerdict(
            ts=intent.ts, client_order_id=intent.client_order_id, symbol=intent.symbol, action=action,
            quantity_asked=intent.quantity, quantity=quantity, checks=tuple(checks), rules=table, used=used,
            limits=limits,
        )

    def _orders_since(self, start: int) -> int:
        recent = self._recent
        while recent and recent[0] <= start:
            recent.popleft()
        return len(recent)

    def _keep_worst(self, used: list[float]) -> None:
        worst, reached = self._worst, len(used)
        if reached > _ORDER_VALUE:
            worst.order_value = max(worst.order_value, used[_ORDER_VALUE])
        if reached > _PARTICIPATION:
            worst.participation = max(worst.participation, used[_PARTICIPATION])
        if reached > _IMPACT:
            worst.impact_bps = max(worst.impact_bps, used[_IMPACT])

    def _losses(self, book: Book) -> tuple[float, float]:
        equity = book.equity
        start = book.day_start_equity if self._day_base is None else self._day_base
        peak = book.peak_equity
        if self._peak_base is not None:
            peak = self._peak_base = max(self._peak_base, equity)
        return (
            1.0 - equity / start if equity < start else 0.0,
            1.0 - equity / peak if equity < peak else 0.0,
        )

    def opening(self, ts: int) -> list[AnyEvent]:
        """The rules' tables, and every breaker's state, so that a screen shows them from the first moment."""
        return [RiskRules(ts=ts, tables=TABLES), *(breaker.reading(ts) for breaker in self.breakers.values())]

    # --- watching ----------------------------------------------------------------------------------------

    def on_slice(self, bar: Slice, book: Book, history: History) -> list[AnyEvent]:
        """Advance breakers and gauges; what changed, as events. Call after the book has folded the slice."""
        ts = bar.available_ns
        self._slices += 1
        out: list[AnyEvent] = []
        if self._waiting:
            out += self._waiting
            self._waiting.clear()
        self.facts.update(history)
        new_day = self.facts.day != self._day
        if new_day:
            self._day = self.facts.day
            self._day_base = None
            self._worst = Worst()
            change = self.intraday.reset(ts, "a new session")
            if change is not None:
                out.append(change)
        loss, drawdown = self._losses(book)
        for change in (
            self.intraday.update(ts, loss), self.drawdown.update(ts, drawdown),
            self.correlation.on_slice(ts, history), self.rejections.tick(ts),
        ):
            if change is not None:
                out.append(change)
        gauges = self._fresh_gauges(ts, book, history, (loss, drawdown), new_day or bool(out))
        if gauges is not None:
            out.append(RiskGauges(ts=ts, gauges=gauges))
        return out

    def _fresh_gauges(
        self, ts: int, book: Book, history: History, losses: tuple[float, float], force: bool,
    ) -> tuple[Gauge, ...] | None:
        """All gauges, when they moved enough to be worth writing down."""
        params = self.params
        if not force and self._slices % params.gauge_every_bars:
            return None
        equity = book.equity or 1.0
        now = (*losses, book.gross / equity, book.net / equity)
        if not force:
            last, quiet = self._last, self._quiet
            if (abs(now[0] - last[0]) <= quiet[0] and abs(now[1] - last[1]) <= quiet[1]
                    and abs(now[2] - last[2]) <= quiet[2] and abs(now[3] - last[3]) <= quiet[3]):
                return None
        self._last = now
        gauges = self.gauges(ts, book, history)
        if not force and not moved(self._gauges, gauges, params.gauge_tolerance):
            return None
        self._gauges = gauges
        return gauges

    def gauges(self, ts: int, book: Book, history: History) -> tuple[Gauge, ...]:
        """The state of every limit now."""
        self.tail.refresh(self.facts, history)
        tail = self.tail.var(self.tail.exposures(book.values(), {})) if book.positions else 0.0
        return measure(
            book, self.params, self.system, self.breakers, tail, self._orders_since(ts - MINUTE_NS), self._worst,
        )

    def on_rejection(self, ts: int) -> None:
        """The broker refused an order. A change of the breaker is told with the next slice."""
        self._keep(self.rejections.reject(ts))

    def on_connection(self, component: str, state: str, ts: int) -> None:
        """A component's link is up, down or reconnecting. A change is told with the next slice."""
        self._keep(self.connection.report(ts, component, state))

    def on_halt_lifted(self, book: Book, ts: int) -> None:
        """A person resumed trading: loss breakers start again, counting from today's equity."""
        self._day_base = self._peak_base = book.equity
        for breaker in (self.intraday, self.drawdown, self.correlation):
            self._keep(breaker.reset(ts, "resumed by hand"))

    def _keep(self, change: BreakerChanged | None) -> None:
        if change is not None:
            self._waiting.append(change)

    # --- reading -----------------------------------------------------------------------------------------

    @property
    def halt_reason(self) -> str | None:
        """Why trading must halt now; None while it need not."""
        if not (self.intraday.tripped or self.drawdown.tripped or self.correlation.tripped):
            return None
        for breaker, words in ((self.intraday, "intraday loss"), (self.drawdown, "drawdown")):
            if breaker.tripped:
                return f"{words} {breaker.value:.2%} reached its limit {breaker.limit:.2%}"
        return f"correlations left no diversification: {self.correlation.circuit.alert().message}"

    def limits(self) -> dict[str, float]:
        """The limits by name, for the journal's first event."""
        return {name: float(getattr(self.params, name)) for name in LIMITS}
