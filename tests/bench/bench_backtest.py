"""The backtest against a plain Python loop on the same bars in the same run: ``python -m tests.bench.bench_backtest``.

Options: sets (s, m, l; default s; l takes minutes) and a number of rounds, as in ``s m 3``. Memory is measured in a
process of its own a mix: what a run adds at its peak to the bars that it is given.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.bench.bench_data import bars
from tests.bench.bench_floors import CASH, PlainLoop
from tests.bench.bench_table import interleave, ratio, table
from trader.backtest.engine import BacktestEngine, BacktestResult
from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.panel import BarPanel
from trader.risk.params import RiskParams
from trader.strategy.base_strategy import BaseStrategy
from trader.strategy.sma_cross import SmaCross, SmaCrossParams
from trader.strategy.trend import Trend

# The same orders on the same bars by every engine that was ever compared: orders, final equity at exact prices.
KNOWN = {"s": (1955, Decimal("10010600.81"))}


def plain(panel: BarPanel, journal: Path | None) -> BacktestResult:
    """The comparison's strategy: both means, 100 shares, next open, 5 bps, half a cent a share; all risk layers."""
    strategy = SmaCross(SmaCrossParams(take_profit_pct=None, stop_loss_pct=None))
    return _run(strategy, panel, journal, RiskParams(require_bracket=False), CASH, RealisticFillSimulator("fixed"))


def bracket(panel: BarPanel, journal: Path | None) -> BacktestResult:
    """The same with a stop 2 % and a target 4 % away."""
    return _run(SmaCross(), panel, journal, RiskParams(), CASH, RealisticFillSimulator())


def trend(panel: BarPanel, journal: Path | None) -> BacktestResult:
    """Breakouts with ATR brackets, Kelly sizes, VaR, breakers: an order every few slices."""
    return _run(Trend(), panel, journal, RiskParams(), 100_000.0, RealisticFillSimulator())


def _run(strategy: BaseStrategy, panel: BarPanel, journal: Path | None, params: RiskParams, cash: float,
         fills: RealisticFillSimulator) -> BacktestResult:
    if journal is not None:
        journal.unlink(missing_ok=True)
    return BacktestEngine(cash, fills, risk_params=params).run(strategy, panel, journal=journal)


MIXES: dict[str, Callable[[BarPanel, Path | None], BacktestResult]] = {
    "plain": plain, "bracket": bracket, "trend": trend,
}


def measure(name: str = "s", rounds: int = 5) -> tuple[str, dict[str, Any]]:
    """The table, and each contestant's last result."""
    panel = bars(name)
    count = panel.close.size
    with tempfile.TemporaryDirectory() as folder:
        times = interleave({
            "plain Python loop": lambda: PlainLoop(panel.symbols).run(panel),
            "ours": lambda: plain(panel, None),
            "ours, journal": lambda: plain(panel, Path(folder) / "plain.db"),
            "ours, brackets": lambda: bracket(panel, None),
            "ours, brackets, journal": lambda: bracket(panel, Path(folder) / "bracket.db"),
            "ours, trend, journal": lambda: trend(panel, Path(folder) / "trend.db"),
        }, rounds, warm=rounds > 1)
    rows = []
    for contestant, timing in times.items():
        orders = len(timing.result.fills) if contestant.startswith("plain") else timing.result.counts["orders"]
        rows.append((contestant, timing.median, count / timing.median, ratio(times, contestant, "plain Python loop"),
                     orders, timing.median / orders * 1e6))
    title = (f"backtest, set {name}: {len(panel.symbols)} symbols, {count:,} bars; CPU seconds, median of {rounds}")
    header = ("contestant", "s", "bars/s", "× loop", "orders", "µs/order, all in")
    return table(title, header, rows), {contestant: timing.result for contestant, timing in times.items()}


def measure_memory(name: str) -> str:
    """What each mix adds at its peak to the bars, as a multiple of them."""
    size = 5 * bars(name).close.size * 8 / 2**20
    rows = []
    for mix in MIXES:
        for journal in ("", "journal"):
            script = f"from tests.bench.bench_backtest import peak_of; print(peak_of({name!r}, {mix!r}, {journal!r}))"
            said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
            before, peak = map(float, said.stdout.split())
            rows.append((mix + (", journal" if journal else ""), before, peak, (peak - before + size) / size))
    return table(f"memory, set {name}: {size:,.0f} MB of bars", ("mix", "MB before", "MB peak", "× the bars"), rows)


def peak_of(name: str, mix: str, journal: str) -> str:
    """This process's resident megabytes with everything loaded, and at the peak of one run."""
    panel = bars(name)
    MIXES[mix](panel.rows(0, 200), None)                # imports and caches
    with open("/proc/self/clear_refs", "w") as reset:   # the peak counts from here
        reset.write("5")
    before = _resident("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        MIXES[mix](panel, Path(folder) / "j.db" if journal else None)
    return f"{before} {_resident('VmHWM')}"


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


@pytest.mark.bench
def test_the_backtest_does_the_loops_work() -> None:
    text, results = measure(rounds=3)
    print(text)
    loop, ours = results["plain Python loop"], results["ours"]
    assert ours.counts["orders"] == len(loop.fills) == KNOWN["s"][0]
    assert ours.equity[-1] == pytest.approx(loop.curve[-1][1], abs=0.005)
    assert results["ours, journal"].equity.tobytes() == ours.equity.tobytes()
    assert float(KNOWN["s"][1]) == pytest.approx(loop.curve[-1][1], abs=1.0)      # there fills are not rounded


if __name__ == "__main__":
    sets = [argument for argument in sys.argv[1:] if not argument.isdigit()] or ["s"]
    times_each = next((int(argument) for argument in sys.argv[1:] if argument.isdigit()), 5)
    for chosen in sets:
        print(measure(chosen, times_each)[0])
        print(measure_memory(chosen))
