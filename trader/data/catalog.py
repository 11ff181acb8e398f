"""Where bars come from: the user's store first, else the bundled sample.

One request is answered from one place. When every wanted symbol is in the store, the store answers; else, when every
one is in the sample, the sample does (its daily bars as they are, 15-minute bars made inside them). A request that
neither place covers alone is refused: real and synthetic bars, or eras ten years apart, would stand side by side.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from trader.core.clock import DAY_NS, from_ns, to_ns
from trader.core.panel import FIELDS, REAL, SYNTHETIC_INTRADAY, BarPanel
from trader.data import sample
from trader.data.bars import split_panel
from trader.data.store import BarStore, DatasetInfo
from trader.data.synthesize import CONSTRUCTION, intraday_panel
from trader.data.timeframe import DAILY, FIFTEEN, Timeframe, available_at, parse_timeframe
from trader.utils.atomic import atomic_write_bytes
from trader.utils.errors import UserError
from trader.utils.paths import bundled_dir

CACHE_FILES = 8             # panels kept under data/cache, some megabytes each; the oldest go


def load_panel(
    home: Path, symbols: Sequence[str] | None, timeframe: str, start: str | None = None, end: str | None = None,
    *, synth_seed: int = 7,
) -> BarPanel:
    """Bars of the wanted symbols, from the store or the sample.

    Parameters
    ----------
    symbols : Sequence[str] | None
        None: everything the store holds in this timeframe, or else the whole sample.
    timeframe : str
        ``15Min``, ``15m``, ``1Day``, ``1d`` …
    start, end : str | None
        ISO dates or times (UTC unless they say otherwise). A bare date as ``end`` includes that day; a time does not
        include itself. None leaves that side open.
    synth_seed : int
        Seed of the synthetic 15-minute bars inside the sample's days.

    Raises
    ------
    UserError
        Unknown symbol, malformed date, no bars in the range; the message says what there is.
    """
    frame = parse_timeframe(timeframe)
    start_ns, end_ns = parse_range(start, end)
    store = BarStore(home)
    stored = [d.symbol for d in store.datasets() if d.timeframe == frame.name]
    wanted = _wanted(symbols, stored)
    if all(s in stored for s in wanted):
        panel = store.read(wanted, frame.name, start_ns, end_ns)
        span = _span(d for d in store.datasets() if d.timeframe == frame.name and d.symbol in wanted)
    elif all(s in sample.SYMBOLS for s in wanted) and (frame.daily or frame == FIFTEEN):
        panel = _from_sample(home, wanted, frame, start_ns, end_ns, synth_seed)
        span = _span(d for d in _sample_datasets() if d.symbol in wanted)
    else:
        raise UserError(_nowhere(wanted, stored, frame))
    if not len(panel):
        raise UserError(
            f"no {frame.name} bars of {', '.join(wanted)} from {start or 'the beginning'} to {end or 'the end'}; "
            f"there are bars from {span[0]} to {span[1]}"
        )
    return panel


def synthetic_panel(
    symbols: Sequence[str] | None, start: str | None, end: str | None, seed: int = 7
) -> BarPanel:
    """Synthetic 15-minute bars inside the sample's days, freshly made; the arguments are those of `load_panel`."""
    wanted = list(sample.SYMBOLS) if symbols is None else _wanted(symbols, [])
    panel = _synthetic(sample.daily_panel(wanted), *parse_range(start, end), seed)
    if not len(panel):
        span = _span(d for d in _sample_datasets() if d.symbol in wanted)
        raise UserError(f"the sample has no days from {start} to {end}; it runs from {span[0]} to {span[1]}")
    return panel


def available(home: Path) -> list[DatasetInfo]:
    """Everything that `load_panel` can answer from: the store's datasets, then the sample's."""
    return BarStore(home).datasets() + _sample_datasets()


def parse_range(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """``start`` and ``end`` as ns UTC, the end exclusive; a bare end date includes its day."""
    start_ns, end_ns = _moment(start, "start", False), _moment(end, "end", True)
    if start_ns is not None and end_ns is not None and start_ns >= end_ns:
        raise UserError(f"the range from {start} to {end} is empty: the start must come before the end")
    return start_ns, end_ns


def _moment(text: str | None, name: str, whole_day: bool) -> int | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise UserError(f"{name} {text!r} is not a date; write it as 2012-03-01 or 2012-03-01T14:30") from None
        return to_ns(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return to_ns(datetime(day.year, day.month, day.day, tzinfo=UTC)) + (DAY_NS if whole_day else 0)


def _wanted(symbols: Sequence[str] | None, stored: list[str]) -> list[str]:
    if symbols is None:
        return stored or list(sample.SYMBOLS)
    if not symbols:
        raise UserError("no symbols were given; name at least one, as in --symbols AAPL,MSFT")
    return list(dict.fromkeys(s.strip().upper() for s in symbols))


def _nowhere(wanted: list[str], stored: list[str], frame: Timeframe) -> str:
    in_sample = list(sample.SYMBOLS) if frame.daily or frame == FIFTEEN else []
    missing = [s for s in wanted if s not in stored and s not in in_sample]
    places = (
        f"the store holds {', '.join(stored) or 'none'}, the bundled sample {', '.join(in_sample) or 'none'}"
    )
    if missing:
        return (
            f"no {frame.name} bars of {', '.join(missing)}: {places}; "
            "import them with `alphatrade data import FILE` or download them with the data stage"
        )
    return (
        f"{', '.join(wanted)}: no one place has {frame.name} bars of them all ({places}), and the two are never mixed; "
        "choose symbols of one, or import the others"
    )


def _from_sample(
    home: Path, symbols: list[str], frame: Timeframe, start_ns: int | None, end_ns: int | None, seed: int
) -> BarPanel:
    daily = sample.daily_panel(symbols)
    if frame.daily:
        return _listed(daily.between(start_ns, end_ns))
    parts = "|".join(map(str, (CONSTRUCTION, seed, start_ns, end_ns, *symbols, _sample_hash())))
    path = home / "data" / "cache" / f"synthetic-15Min-{hashlib.sha256(parts.encode()).hexdigest()[:20]}.npz"
    cached = _read_cache(path, symbols, frame)
    if cached is not None:
        return cached
    panel = _synthetic(daily, start_ns, end_ns, seed)
    _write_cache(path, panel)
    return panel


def _synthetic(daily: BarPanel, start_ns: int | None, end_ns: int | None, seed: int) -> BarPanel:
    # a time as the start may cut a day: its bars before the start are made and left out
    first_day = None if start_ns is None else start_ns - DAY_NS
    return _listed(intraday_panel(daily, seed, first_day, end_ns).between(start_ns, end_ns))


def _listed(panel: BarPanel) -> BarPanel:
    """The panel without the times before the first and after the last bar of any of its symbols."""
    there = np.flatnonzero(np.isfinite(panel.close).any(axis=1))
    return panel.rows(int(there[0]), int(there[-1]) + 1) if len(there) else panel.rows(0, 0)


def _read_cache(path: Path, symbols: list[str], frame: Timeframe) -> BarPanel | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {name: stored[name] for name in ("ts_ns", "available_ns", *FIELDS)}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None         # absent or damaged: it is only a cache
    return BarPanel(tuple(symbols), frame.name, **values, source=SYNTHETIC_INTRADAY)


def _write_cache(path: Path, panel: BarPanel) -> None:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(panel, name) for name in ("ts_ns", "available_ns", *FIELDS)})
    with contextlib.suppress(UserError, OSError):       # a read-only or full home costs time, not the answer
        atomic_write_bytes(path, buffer.getvalue())
        by_age = sorted(path.parent.glob("synthetic-*.npz"), key=lambda p: p.stat().st_mtime_ns)
        for old in by_age[:-CACHE_FILES]:
            old.unlink(missing_ok=True)


def _sample_hash() -> str:
    folder = bundled_dir("data/sample")
    return hashlib.sha256((folder / "daily.parquet").read_bytes() + (folder / "splits.csv").read_bytes()).hexdigest()


def _sample_datasets() -> list[DatasetInfo]:
    digest, out = _sample_hash(), []
    for symbol, bars in split_panel(sample.daily_panel()).items():
        counts = (available_at(bars.ts_ns, DAILY) - bars.ts_ns) // FIFTEEN.step_ns
        first, last, origin = int(bars.ts_ns[0]), int(bars.ts_ns[-1]), "bundled sample (Quandl WIKI, public domain)"
        out.append(DatasetInfo(symbol, "1Day", REAL, "split", origin, first, last, len(bars), digest, "sample"))
        out.append(DatasetInfo(
            symbol, FIFTEEN.name, SYNTHETIC_INTRADAY, "split", f"made inside the days of the {origin}",
            first, last + (int(counts[-1]) - 1) * FIFTEEN.step_ns, int(counts.sum()), digest, "sample",
        ))
    return out


def _span(datasets: Iterable[DatasetInfo]) -> tuple[date, date]:
    found = list(datasets)
    return from_ns(min(d.first_ns for d in found)).date(), from_ns(max(d.last_ns for d in found)).date()
