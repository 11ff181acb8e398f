"""Fifteen-minute bars inside real days: the day's open, high, low, close and volume kept exactly, no edge planted.

Construction
------------
A path that is bridged to a known close, high and low leaks them through its drift. So nothing is bridged. For
every day many candidate days are drawn from a driftless walk: independent increments with symmetric signs, a
stochastic volatility that knows no signs, New York's profile of volatility over the day, extremes by the law of the
Brownian bridge. Each stands also for its mirror image. The candidate nearest to the real day is scaled onto it, where
near means: open and close stand alike between low and high, and the range is as surprising (against the ranges of
the days before, which is what a trader can scale by). That is rejection sampling from the walk's law given the
day (approximate Bayesian computation); a martingale drawn given some of its features is a martingale again when
the features' distribution is its own. The walk's parameters are set so that it nearly is: the log surprise of the
range spreads by 0.38 beside the real 0.37 to 0.41; mean square net move over mean square range is 0.353 beside 0.345.
What remains of lean is taken out at the choice (see `_lean`), and measured by the tests. The rest of the distance to
the day is spread evenly over it.

Only integers, additions, multiplications, comparisons and square roots are used, all of which IEEE 754 fixes to the
last bit, and every day draws from a counter keyed by (seed, symbol, date). Hence any range of days gives the
same bytes on every machine.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trader.core.panel import SYNTHETIC_INTRADAY, BarPanel, FloatArray, IntArray
from trader.core.sessions import session_index, session_table
from trader.data.bars import SymbolBars, assemble, split_panel
from trader.data.timeframe import FIFTEEN

CONSTRUCTION = "walks-6"        # part of every cache key; another construction gets another name
CANDIDATES = 384                # walks drawn per day; each counts twice, with its mirror image
RANGE_WEIGHT = 0.3              # how much a range off by 100 % counts beside a shape off by 100 % (squared)
WALK_RANGE = 11_190.0           # the walk's range on a day that is as wide as expected, in its own units
# Weights of steps towards the middle of the range so far, onward from the opening, and of both where that range is
# wide: the roots at which the four mean leans of the chosen walks over the sample's days vanish (seeds 601 to 704).
LEAN = (0.0022, 0.0025, 0.0023, -0.0048)
FITTING_ROUNDS = 2              # more change nothing; the rest, some 2 % of the range, goes into the last bar
DAYS_AT_ONCE = 24               # keeps the working arrays within a few megabytes
WICK = 1.03                     # extremes reach 3 % beyond a diffusion's: it makes the walk's ranges as wide beside
                                # its net moves as the real days' are, without which paths would revert
SHORT_WINDOW, LONG_WINDOW = 3, 22
# Share of a session's variance and volume per 15-minute bar (permille), opening to close, as liquid US shares trade.
VARIANCE_PROFILE = (
    200, 84, 74, 60, 46, 40, 36, 31, 29, 26, 24, 22, 21, 20, 20, 21, 20, 19, 19, 19, 19, 20, 21, 22, 26, 45,
)
VOLUME_PROFILE = (
    120, 62, 53, 46, 41, 37, 34, 32, 30, 28, 27, 26, 25, 24, 24, 24, 24, 25, 25, 26, 27, 29, 32, 36, 42, 110,
)
# Volatility as a walk on levels a quarter octave apart; the two bits drawn per bar move it by -1, 0, 0 or +1.
LEVELS = np.array([16, 19, 23, 27, 32, 38, 45, 54, 64, 76, 91, 108, 128, 152, 181, 215, 256], dtype=np.float32)
_BITS_MOVE = np.array([-1, 0, 0, 1], dtype=np.int64)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

UintArray = NDArray[np.uint64]


def intraday_panel(
    daily: BarPanel, seed: int = 7, start_ns: int | None = None, end_ns: int | None = None
) -> BarPanel:
    """Synthetic 15-minute bars inside real daily bars.

    Parameters
    ----------
    daily : BarPanel
        Daily bars that start at their session's opening.
    seed : int
        Another seed gives other days with the same open, high, low, close and volume.
    start_ns, end_ns : int | None
        Only days that open in ``[start_ns, end_ns)``; their bars are the same bytes as in any other range
        (of one ``daily``: the 22 days before a day tell how wide it was expected to be).

    Returns
    -------
    BarPanel
        ``15Min`` bars over each session's real length, ``source="synthetic-intraday"``. Prices lie on the
        coarsest tick that holds the day's own four prices (a cent, or the part of a cent that a split left).
    """
    bars = {}
    for symbol, days in split_panel(daily).items():
        surprise = _range_surprise(days)
        low, high = (None if ns is None else int(np.searchsorted(days.ts_ns, ns)) for ns in (start_ns, end_ns))
        bars[symbol] = _symbol_bars(days.take(slice(low, high)), surprise[low:high], symbol, seed)
    return assemble(bars, FIFTEEN, SYNTHETIC_INTRADAY)


def _range_surprise(days: SymbolBars) -> FloatArray:
    """Each day's range over what the days before it let expect; 1 on the first day."""
    ranges = (days.high - days.low) / days.open
    expected = 0.5 * (_mean_before(ranges, SHORT_WINDOW) + _mean_before(ranges, LONG_WINDOW))
    return np.divide(ranges, expected, out=np.ones_like(ranges), where=expected > 0)


def _mean_before(values: FloatArray, window: int) -> FloatArray:
    """Mean of up to ``window`` values before each one; added in a fixed order, 0 where there is none."""
    total = np.zeros_like(values)
    for lag in range(1, window + 1):
        total[lag:] += values[:-lag]
    return total / np.maximum(np.minimum(np.arange(len(values)), window), 1)


def _symbol_bars(days: SymbolBars, surprise: FloatArray, symbol: str, seed: int) -> SymbolBars:
    """All days of one symbol, grouped by their number of bars and worked off in small blocks."""
    table = session_table()
    rows = session_index(days.ts_ns)
    if (rows < 0).any():
        raise ValueError(f"{symbol}: daily bars must start at their sessions' openings")
    counts = (table.closes[rows] - table.opens[rows]) // FIFTEEN.step_ns
    first = np.cumsum(counts) - counts
    total = int(counts.sum())
    out = {name: np.empty(total) for name in ("open", "high", "low", "close", "volume")}
    starts = np.empty(total, dtype=np.int64)
    keys = _day_keys(seed, symbol, table.days[rows])
    for n_bars in np.unique(counts).tolist():
        chosen = np.flatnonzero(counts == n_bars)
        for block in np.split(chosen, range(DAYS_AT_ONCE, len(chosen), DAYS_AT_ONCE)):
            at = first[block][:, None] + np.arange(n_bars)
            starts[at] = days.ts_ns[block][:, None] + np.arange(n_bars) * FIFTEEN.step_ns
            for name, values in _days(days.take(block), surprise[block], keys[block], n_bars).items():
                out[name][at] = values
    return SymbolBars(starts, **out)


def _days(day: SymbolBars, surprise: FloatArray, keys: UintArray, n_bars: int) -> dict[str, FloatArray]:
    """Bars of shape (n_days, n_bars) for days of equal length."""
    span = day.high - day.low
    flat = span == 0.0
    span_or_one = np.where(flat, 1.0, span)
    open_at = np.where(flat, 0.5, (day.open - day.low) / span_or_one)
    close_at = np.where(flat, 0.5, (day.close - day.low) / span_or_one)
    closes, highs, lows = _nearest_walks(open_at, close_at, surprise, keys, n_bars)
    volume = _volumes(day.volume, highs - lows, keys, n_bars)

    tick = _ticks(day)[:, None]
    bottom, top = day.low[:, None], day.high[:, None]

    def priced(unit: FloatArray) -> FloatArray:
        steps = np.rint((bottom + unit * span[:, None]) * tick)
        within: FloatArray = np.clip(steps / tick, bottom, top)
        return within

    close = priced(closes)
    close[:, -1] = day.close
    open_ = np.column_stack([day.open, close[:, :-1]])
    high = np.maximum(priced(highs), np.maximum(open_, close))
    low = np.minimum(priced(lows), np.minimum(open_, close))
    every = np.arange(len(keys))
    high[every, np.argmax(highs, axis=1)] = day.high
    low[every, np.argmin(lows, axis=1)] = day.low
    return {"open": open_, "high": high, "low": low, "close": close, "volume": volume}


def _nearest_walks(
    open_at: FloatArray, close_at: FloatArray, surprise: FloatArray, keys: UintArray, n_bars: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Closes, highs and lows, (n_days, n_bars) within [0, 1], of the candidates nearest to the days' shapes."""
    closes, highs, lows = _walks(keys, n_bars)
    top, bottom = highs.max(axis=2), lows.min(axis=2)
    span = top - bottom
    opened, closed = -bottom / span, (closes[:, :, -1] - bottom) / span
    o, c = open_at[:, None], close_at[:, None]
    straight = (opened - o) * (opened - o) + (closed - c) * (closed - c)
    mirrored = (1.0 - opened - o) * (1.0 - opened - o) + (1.0 - closed - c) * (1.0 - closed - c)
    ratio = span / (surprise[:, None] * WALK_RANGE)
    wide = 0.25 * RANGE_WEIGHT * (ratio - 1.0 / ratio) * (ratio - 1.0 / ratio)      # about the log ratio, squared
    wide += _lean(closes, highs, lows)
    pick = np.argmin(np.concatenate([straight + wide, mirrored + wide], axis=1), axis=1)
    candidate, flip = pick % CANDIDATES, (pick >= CANDIDATES)[:, None]
    every = np.arange(len(keys))
    base, width = bottom[every, candidate][:, None], span[every, candidate][:, None]

    def unit(values: FloatArray) -> FloatArray:
        scaled = (values[every, candidate] - base) / width
        turned: FloatArray = np.where(flip, 1.0 - scaled, scaled)
        return turned

    path, up, down = unit(closes), unit(highs), unit(lows)
    up, down = np.where(flip, down, up), np.where(flip, up, down)
    started = np.where(flip[:, 0], 1.0 - opened[every, candidate], opened[every, candidate])
    # What is missing to the day's open and close is spread evenly over the bars, then the range is filled again, and
    # so on. Cutting the path off at the range's ends instead would show when it stands at the day's high.
    share = np.arange(1, n_bars + 1) / n_bars
    for _ in range(FITTING_ROUNDS):
        at_start, at_end = (open_at - started)[:, None], (close_at - path[:, -1])[:, None]
        drift = at_start * (1.0 - share) + at_end * share
        started, path, up, down = open_at, path + drift, up + drift, down + drift
        top, bottom = np.maximum(up.max(axis=1), started), np.minimum(down.min(axis=1), started)
        width = (top - bottom)[:, None]
        started = (started - bottom) / width[:, 0]
        path, up, down = ((values - bottom[:, None]) / width for values in (path, up, down))
    return path, up, down


def _lean(closes: FloatArray, highs: FloatArray, lows: FloatArray) -> FloatArray:
    """How far a walk's steps followed the leans of `LEAN`, each with its weight: (n_days, candidates).

    Zero on average over walks, but not over those that are chosen: real days' shapes are not quite the walk's. Days
    that stay narrow go on a little more than a walk does, wide ones turn back a little more. Choosing by this too tilts
    the choice (an exponential tilt, as good as) until, over the sample's days, no step leans on what came before it.
    """
    top = np.maximum(np.maximum.accumulate(highs, axis=2), 0)[:, :, :-1]
    bottom = np.minimum(np.minimum.accumulate(lows, axis=2), 0)[:, :, :-1]
    path = closes[:, :, :-1]
    wide = np.minimum((top - bottom) * np.float32(1.0 / WALK_RANGE), np.float32(2.0)) - np.float32(0.8)
    to_middle, onward, to_middle_if_wide, onward_if_wide = (np.float32(weight) for weight in LEAN)
    pull = (to_middle + to_middle_if_wide * wide) * (np.float32(0.5) * (top + bottom) - path)
    pull += (onward + onward_if_wide * wide) * path
    steps = np.sign(closes[:, :, 1:] - path)
    total: FloatArray = np.cumsum(steps * pull, axis=2)[:, :, -1]       # cumsum adds in order
    return total / np.float32(WALK_RANGE * steps.shape[2])


def _walks(keys: UintArray, n_bars: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Closes, highs and lows of the candidate walks from 0, shape (n_days, CANDIDATES, n_bars)."""
    lanes = np.arange(CANDIDATES, dtype=np.uint64) + np.uint64(1)
    walk_keys = _mix(keys[:, None] + lanes * _GOLDEN)[:, :, None]
    draws = _mix(walk_keys + np.arange(1, n_bars + 1, dtype=np.uint64) * _GOLDEN)
    scale = _volatility(_mix(~walk_keys[:, :, 0]), n_bars) * _sd_profile(n_bars).astype(np.float32)
    # the number of ones among 40 fair bits, spread by 8 more: near-normal, symmetric, sd 3.18
    ones = np.bitwise_count(draws >> np.uint64(24)).astype(np.float32)
    dither = ((draws >> np.uint64(16)) & np.uint64(255)).astype(np.float32)
    steps = (ones - 20.0 + (dither - 127.5) / 256.0) * scale
    closes = np.cumsum(steps, axis=2)
    middle = closes - 0.5 * steps
    variance = scale * scale * 10.083
    moved = steps * steps
    table = _minus_two_log().astype(np.float32)
    rise = table[draws.astype(np.uint8)]
    fall = table[(draws >> np.uint64(8)).astype(np.uint8)]
    # extremes of a Brownian bridge between a bar's open and close (inverse of its distribution function)
    highs = middle + 0.5 * WICK * np.sqrt(moved + variance * rise)
    lows = middle - 0.5 * WICK * np.sqrt(moved + variance * fall)
    return closes, highs, lows


def _volatility(bits: UintArray, n_bars: int) -> FloatArray:
    """Levels of volatility, one per bar, from 64 bits per walk: a reflected walk that knows no signs of returns."""
    last = len(LEVELS) - 1
    level = np.full(bits.shape, last // 2, dtype=np.int64)
    out = np.empty((*bits.shape, n_bars), dtype=np.float32)
    for bar in range(n_bars):
        out[..., bar] = LEVELS[level]
        move = _BITS_MOVE[((bits >> np.uint64(2 * bar)) & np.uint64(3)).astype(np.intp)]
        level = np.clip(level + move, 0, last)
    return out


def _volumes(total: FloatArray, ranges: FloatArray, keys: UintArray, n_bars: int) -> FloatArray:
    """Whole shares per bar that add up to the day's: profile × (range of the bar) × noise, in integers."""
    draws = _mix(~keys[:, None] + np.arange(1, n_bars + 1, dtype=np.uint64) * _GOLDEN)
    noise = (np.bitwise_count(draws).astype(np.int64) - 32) * 6 + 100          # 100 +- 24
    usual = _sd_profile(n_bars) / np.sqrt(_squares(_sd_profile(n_bars)))
    activity = np.rint(160.0 + 100.0 * np.minimum(ranges / usual, 4.0)).astype(np.int64)
    weights = _stretch(VOLUME_PROFILE, n_bars).astype(np.int64) * np.maximum(noise, 20) * activity >> 6
    running = np.cumsum(weights, axis=1)
    whole = np.floor(total).astype(np.int64)
    shares = whole[:, None] * running // running[:, -1:]
    out: FloatArray = np.diff(shares, axis=1, prepend=0).astype(np.float64)
    out[:, -1] += total - whole
    return out


def _ticks(day: SymbolBars) -> FloatArray:
    """Ticks per dollar, one per day: 100 where all four prices are on cents, else what a split made of them."""
    out = np.full(len(day), 1e6)
    prices = np.stack([day.open, day.high, day.low, day.close])
    for per_dollar in (40_000.0, 20_000.0, 10_000.0, 2_000.0, 1_000.0, 400.0, 200.0, 100.0):
        steps = prices * per_dollar
        fits = (np.abs(steps - np.rint(steps)) < 1e-5).all(axis=0)
        out[fits] = per_dollar
    return out


@lru_cache(maxsize=8)
def _sd_profile(n_bars: int) -> FloatArray:
    profile: FloatArray = np.sqrt(_stretch(VARIANCE_PROFILE, n_bars))
    return profile


def _stretch(profile: tuple[int, ...], n_bars: int) -> FloatArray:
    """The profile for a session of another length: its first two thirds and its last third, the middle left out."""
    tail = n_bars // 3
    padded = profile if n_bars <= len(profile) else (*profile[:13], *[profile[13]] * (n_bars - 26), *profile[13:])
    return np.array([*padded[: n_bars - tail], *padded[len(padded) - tail :]], dtype=np.float64)


def _squares(values: FloatArray) -> float:
    return float(np.cumsum(values * values)[-1])        # cumsum adds in order; sum may add in any


@lru_cache(maxsize=1)
def _minus_two_log() -> FloatArray:
    """-2 ln u at 256 midpoints, cut to 1/1024 so that no machine's logarithm shows."""
    table: FloatArray = np.rint(-2.0 * np.log((np.arange(256) + 0.5) / 256.0) * 1024.0) / 1024.0
    return table


def _day_keys(seed: int, symbol: str, days: IntArray) -> UintArray:
    """One 64-bit key per day from (seed, symbol, date)."""
    name = np.uint64(zlib.crc32(symbol.encode()) << 32)
    base = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64) ^ name)
    return _mix(base + days.astype(np.uint64) * _GOLDEN)


def _mix(x: UintArray) -> UintArray:
    """The finisher of SplitMix64 (Steele, Lea and Flood 2014): a bijection that scrambles all bits."""
    z = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scrambled: UintArray = z ^ (z >> np.uint64(31))
    return scrambled
