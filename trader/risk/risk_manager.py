"""One question over the whole pipeline: may the account take new risk now?"""

from __future__ import annotations

from dataclasses import dataclass

from trader.core.book import Book
from trader.core.history import History
from trader.risk.pipeline import RiskPipeline


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """The answer. ``size_multiplier`` is what the breakers and the system leave of a new position's size."""

    passed: bool
    reason: str
    size_multiplier: float
    breaches: tuple[str, ...] = ()


class RiskManager:
    """Reads the pipeline's own gauges, breakers and system state; it has no rules of its own.

    A limit that is used up (position, exposure, VaR) stops what would add to it in :meth:`RiskPipeline.vet`;
    here it fails the check only when it is breached, since then everything new waits.
    """

    def __init__(self, pipeline: RiskPipeline, book: Book, history: History) -> None:
        self._pipeline = pipeline
        self._book = book
        self._history = history

    def check_all_limits(self) -> LimitCheck:
        """Halts first, then breached gauges, then the multipliers' minimum."""
        pipeline = self._pipeline
        system = pipeline.system
        multipliers = [breaker.multiplier for breaker in pipeline.breakers.values()]
        multiplier = min((*multipliers, system.degradation_multiplier, system.model_multiplier))
        if system.halted:
            return LimitCheck(False, "trading is halted until it is resumed by hand", 0.0, ("halt_latch",))
        if pipeline.halt_reason is not None:
            return LimitCheck(False, pipeline.halt_reason, 0.0)
        gauges = pipeline.gauges(self._book.now_ns, self._book, self._history)
        breached = tuple(gauge.rule for gauge in gauges if gauge.state == "breach")
        if breached:
            first = next(gauge for gauge in gauges if gauge.state == "breach")
            detail = f" ({first.detail})" if first.detail else ""
            reason = f"{first.rule} at {first.used:g} of {first.limit:g} {first.unit}{detail}"
            return LimitCheck(False, reason, multiplier, breached)
        return LimitCheck(True, "", multiplier)
