"""The session's figures for Prometheus, read from its status at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from trader.core.ladder import RUNGS

Status = Callable[[], Mapping[str, Any]]


class Figure(NamedTuple):
    """One number of the status as a metric."""

    key: str
    metric: str
    help: str
    counts: bool = False


FIGURES = (
    Figure("bars", "bars", "Bar slices that the engine has seen", True),
    Figure("orders", "orders", "Orders sent to the broker", True),
    Figure("fills", "fills", "Executions", True),
    Figure("vetoes", "vetoes", "Orders refused by a risk layer", True),
    Figure("halts", "halts", "Emergency halts", True),
    Figure("equity", "equity_dollars", "Equity of the account"),
    Figure("cash", "cash_dollars", "Cash of the account"),
    Figure("drawdown", "drawdown_ratio", "Equity below its peak, as a fraction of the peak"),
    Figure("positions", "positions", "Open positions"),
    Figure("open_orders", "open_orders", "Orders that are not finished"),
    Figure("gross_exposure", "gross_exposure_dollars", "Absolute market value of all positions"),
    Figure("data_age_s", "data_age_seconds", "Age of the newest bar"),
    Figure("loop_lag_ms", "loop_lag_milliseconds", "How late the engine's event loop runs"),
    Figure("halted", "halted", "1 while the halt latch is set"),
)


class SessionCollector(Collector):
    """Turns the status into metrics; a figure that the status does not have, or not as a number, is left out."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def describe(self) -> list[Any]:
        """Nothing in advance: what there is depends on the status."""
        return []

    def collect(self) -> Iterator[Any]:
        status = self._status()
        for figure in FIGURES:
            value = _number(status.get(figure.key))
            if value is not None:
                family = CounterMetricFamily if figure.counts else GaugeMetricFamily
                yield family(f"alphatrade_{figure.metric}", figure.help, value=value)
        level = status.get("level")
        if level in RUNGS:
            rung = GaugeMetricFamily("alphatrade_degradation_level", "0 NORMAL, 1 CAUTIOUS, 2 EXIT_ONLY, 3 HALTED")
            rung.add_metric([], RUNGS.index(level))
            yield rung
        named = {key: str(status[key]) for key in ("mode", "run_id", "strategy", "source") if status.get(key)}
        if named:
            about = GaugeMetricFamily("alphatrade_session", "The session that runs", labels=list(named))
            about.add_metric(list(named.values()), 1)
            yield about


def session_registry(status: Status) -> CollectorRegistry:
    """A registry of its own for one session (several may live in one process), with the process's own figures."""
    from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

    registry = CollectorRegistry()
    registry.register(SessionCollector(status))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def _number(value: Any) -> float | None:
    if isinstance(value, (list, tuple, dict)):
        return float(len(value))
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
