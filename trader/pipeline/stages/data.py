"""data: the bars of training and backtest, loaded, checked and cut in two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trader.core.clock import from_ns, iso
from trader.core.days import days_of
from trader.core.panel import BarPanel
from trader.data.bars import split_panel
from trader.data.catalog import available, load_panel, parse_range
from trader.data.check import check_bars
from trader.pipeline.context import Context, StageResult
from trader.pipeline.tables import join_panels, read_panel, write_panel
from trader.pipeline.training_bars import exclusive, months_before
from trader.pipeline.training_samples import panel_hash
from trader.utils.errors import UserError

TRAINING, UNSEEN = "training.npz", "unseen.npz"     # bars before the split, and from it on
TEST_SHARE = 0.2                # of the sessions, the last, where no split is given


def settings(context: Context) -> Mapping[str, Any]:
    """What was asked for, and what is stored of it."""
    frame = context.timeframe
    wanted = context.symbols
    stored = [
        (d.symbol, d.place, d.source, d.sha256) for d in available(context.home)
        if d.timeframe == frame and (wanted is None or d.symbol in wanted)
    ]
    choices = context.choices
    return {
        "choice of bars": [wanted, frame, choices.start, choices.split, choices.end],
        "data settings": context.training.data, "seed of synthesized bars": context.loaded.settings.sim.seed,
        "stored bars": stored,
    }


def run(context: Context) -> StageResult:
    """Load, find the day of the split, check, store."""
    context.tick("loading bars", 0, 2)
    panel = _load(context)
    split_ns = _split(context, panel)
    context.tick("checking bars", 1, 2)
    findings = [
        {"symbol": symbol, **finding.as_dict()}
        for symbol, bars in split_panel(panel).items() for finding in check_bars(bars, panel.timeframe)
    ]
    counts = {s: sum(f["severity"] == s for f in findings) for s in ("error", "warning", "info")}
    train = panel.between(None, split_ns)
    paths = context.path(TRAINING), context.path(UNSEEN)
    write_panel(paths[0], train)
    write_panel(paths[1], panel.between(split_ns, None), split_ns=np.int64(split_ns))
    facts: dict[str, Any] = {
        "source": panel.source, "symbols": list(panel.symbols), "timeframe": panel.timeframe, "bars": len(panel),
        "start": iso(int(panel.ts_ns[0])), "split": iso(split_ns), "end": iso(int(panel.available_ns[-1])),
        "training_bars": len(train), "backtest_bars": len(panel) - len(train), "hash": panel_hash(panel),
        "quality": counts, "findings": findings,
    }
    text = (
        f"{len(panel):,} {panel.timeframe} bars ({panel.source}) of {', '.join(panel.symbols)}, "
        f"{facts['start'][:10]} to {facts['end'][:10]}; training sees none from {facts['split'][:10]} on; "
        f"quality: {counts['error']} kinds of errors, {counts['warning']} of warnings"
    )
    if counts["error"]:
        worst = next(f for f in findings if f["severity"] == "error")
        text += f"; first: {worst['symbol']} {worst['check']}, {worst['advice']}"
    return StageResult(text, paths, facts, ok=not counts["error"])


def training_bars(context: Context) -> BarPanel:
    """The bars that training may see."""
    return read_panel(context.path(TRAINING))[0]


def stored_bars(context: Context) -> tuple[BarPanel, int]:
    """All bars, and the moment from which training saw none."""
    unseen, more = read_panel(context.path(UNSEEN))
    return join_panels(training_bars(context), unseen), int(more["split_ns"])


def _load(context: Context) -> BarPanel:
    choices, data = context.choices, context.training.data
    split = choices.split or data.end
    start = choices.start or data.start
    if start is None:
        test = 1.0 / (1.0 - TEST_SHARE) if split is None else 1.0
        start = months_before(
            context.home, context.symbols, context.timeframe, split or _after(choices.end), data.months * test)
    return load_panel(
        context.home, context.symbols, context.timeframe, start, choices.end,
        synth_seed=context.loaded.settings.sim.seed)


def _split(context: Context, panel: BarPanel) -> int:
    """Where training ends and the backtest begins; both sides hold bars."""
    asked = context.choices.split or context.training.data.end
    if asked is None:
        days, first = np.unique(days_of(panel.available_ns), return_index=True)
        if len(days) < 2:
            raise UserError(f"{len(days)} day of bars cannot be split into training and backtest; give more history")
        row = int(first[min(len(days) - 1, int(len(days) * (1.0 - TEST_SHARE)))])
        day = from_ns(int(panel.ts_ns[row])).date().isoformat()
        split_ns = parse_range(day, None)[0]
    else:
        split_ns = parse_range(None, exclusive(asked))[1]
    assert split_ns is not None
    if not panel.ts_ns[0] < split_ns <= panel.ts_ns[-1]:
        raise UserError(
            f"the split {iso(split_ns)[:10]} leaves nothing on one side: the bars run from "
            f"{iso(int(panel.ts_ns[0]))[:10]} to {iso(int(panel.ts_ns[-1]))[:10]}; choose another --split")
    return split_ns


def _after(last_day: str | None) -> str | None:
    """The day after the last one."""
    until = parse_range(None, last_day)[1]
    return None if until is None else from_ns(until).date().isoformat()
