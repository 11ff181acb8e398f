"""What the market data stream says, made from bars: trades and quotes along a bar's path, bars, days, bands, statuses.

Everything follows from the bar alone, so two runs say the same. The trades of a bar add up to it: their first price
is its open, their extremes its high and low, their last price its close, their sizes its volume. A message carries
its moment ``t`` as nanoseconds; `encode` writes it as RFC 3339 or as msgpack's own extension.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from trader.core.clock import SECOND_NS
from trader.core.panel import BarPanel
from trader.exchange.bars import BarColumns, bar_label, day_so_far
from trader.exchange.luld import is_wide, luld_band, reference_price
from trader.exchange.path import Path, bar_path
from trader.exchange.wire import rfc3339

Message = dict[str, Any]
TIMESTAMP_EXT = -1                  # msgpack's extension type for moments
TAPE = "C"
_CORNERS = 4
_TICKS = {"q": "quotes", "t": "trades"}


class BarMessage(msgspec.Struct, gc=False):
    """A bar as it is told; ``n`` and ``vw`` are None where the bars do not know them.

    ``t`` is the bar's label as the format writes it: a text, an extension, or plain ns while it may still change.
    ``i`` is the number of the slice, ``seq`` that of the message; both are additions to Alpaca's fields.
    """

    T: str
    S: str
    o: float
    h: float
    l: float
    c: float
    v: int | float
    n: int | None
    vw: float | None
    t: str | msgspec.msgpack.Ext | int | None
    i: int
    seq: int


class Outgoing(NamedTuple):
    """A message on its way, with the channel that it belongs to."""

    channel: str
    symbol: str
    message: Message


def timestamp_ext(ns: int) -> msgspec.msgpack.Ext:
    """A moment as msgpack's timestamp extension, in the shortest of its forms.

    32 bits of seconds; 30 of nanoseconds and 34 of seconds; or 32 and 64, which are signed.
    """
    seconds, rest = divmod(ns, SECOND_NS)
    if 0 <= seconds < 1 << 34:
        packed = rest << 34 | seconds
        return msgspec.msgpack.Ext(TIMESTAMP_EXT, packed.to_bytes(4 if packed < 1 << 32 else 8, "big"))
    return msgspec.msgpack.Ext(TIMESTAMP_EXT, rest.to_bytes(4, "big") + seconds.to_bytes(8, "big", signed=True))


_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode


def encode(message: Message, *, binary: bool) -> bytes:
    """One message in JSON or msgpack."""
    moment = message.get("t")
    if isinstance(moment, int):
        message = {**message, "t": timestamp_ext(moment) if binary else rfc3339(moment)}
    return _to_msgpack(message) if binary else _to_json(message)


def array_of(parts: list[bytes], *, binary: bool) -> bytes:
    """Encoded messages as one array."""
    if not binary:
        return b"[" + b",".join(parts) + b"]"
    count = len(parts)
    head = bytes((0x90 | count,)) if count < 16 else (
        b"\xdc" + count.to_bytes(2, "big") if count < 65_536 else b"\xdd" + count.to_bytes(4, "big")
    )
    return head + b"".join(parts)


def number_json(value: float) -> int | float:
    """Whole numbers without a point."""
    return int(value) if value.is_integer() else value


def bar_values(bars: BarColumns, row: int) -> Message:
    """A bar's numbers; ``n`` and ``vw`` are None where the market's data does not know them."""
    count, vwap = float(bars.trades[row]), float(bars.vwap[row])
    return {
        "o": float(bars.open[row]), "h": float(bars.high[row]), "l": float(bars.low[row]),
        "c": float(bars.close[row]), "v": number_json(float(bars.volume[row])),
        "n": None if math.isnan(count) else int(count), "vw": None if math.isnan(vwap) else vwap,
    }


class SliceMessages:
    """The messages of bar ``i``; each method gives one channel of one column.

    ``half_spread_bps`` is the fill model's, ``seq`` the number of the first bar message of the slice.
    """

    def __init__(self, panel: BarPanel, i: int, half_spread_bps: float) -> None:
        self._panel = panel
        self._symbols = panel.symbols
        self._i = i
        self._half = half_spread_bps / 1e4
        self.label_ns = bar_label(panel, i)
        self.end_ns = int(panel.available_ns[i])
        self._open, self._high = panel.open[i].tolist(), panel.high[i].tolist()
        self._low, self._close = panel.low[i].tolist(), panel.close[i].tolist()
        self._volume = panel.volume[i].tolist()
        self._vwap = None if panel.vwap is None else panel.vwap[i].tolist()
        self._count = None if panel.trade_count is None else panel.trade_count[i].tolist()
        self.columns = [column for column, close in enumerate(self._close) if close == close]

    def bar_message(
        self, column: int, seq: int, moment: str | msgspec.msgpack.Ext | int | None, kind: str = "b"
    ) -> BarMessage:
        """The completed bar; ``moment`` is its label."""
        volume = self._volume[column]
        vwap = math.nan if self._vwap is None else self._vwap[column]
        count = math.nan if self._count is None else self._count[column]
        return BarMessage(
            kind, self._symbols[column], self._open[column], self._high[column], self._low[column],
            self._close[column], int(volume) if volume.is_integer() else volume,
            None if count != count else int(count), None if vwap != vwap else vwap, moment, self._i, seq,
        )

    def bar(self, column: int, seq: int, kind: str = "b") -> Message:
        """The completed bar as a message that may still be changed."""
        fields: Message = msgspec.to_builtins(self.bar_message(column, seq, self.label_ns, kind))
        return fields

    def encoded_bars(self, numbered: list[tuple[int, int]], *, binary: bool) -> list[bytes]:
        """Bars in JSON or msgpack, by column and ``seq``."""
        if binary:
            moment = timestamp_ext(self.label_ns)
            return [_to_msgpack(self.bar_message(column, seq, moment)) for column, seq in numbered]
        written = rfc3339(self.label_ns)
        return [_to_json(self.bar_message(column, seq, written)) for column, seq in numbered]

    def daily_bar(self, column: int, first: int) -> Message:
        """The session so far, from bar ``first`` of the panel on: the day's bar as REST gives it at this moment."""
        day = day_so_far(self._panel, column, first, self._i + 1)
        return {"T": "d", "S": self._symbols[column], **bar_values(day, -1), "t": int(day.ts_ns[-1])}

    def ticks(self, column: int, *, trades: bool, quotes: bool) -> list[Outgoing]:
        """Quotes and trades at the four corners of the path, each quote just before its trade."""
        corners = self._open[column], self._high[column], self._low[column], self._close[column]
        found = bar_ticks(
            self._panel, self._i, column, bar_path(*corners), self._volume[column], self._half, trades=trades,
            quotes=quotes,
        )
        return [Outgoing(_TICKS[message["T"]], message["S"], message) for message in found]

    def luld(self, column: int) -> Message:
        """The price band that holds after this bar."""
        reference = reference_price(self._panel, column, self._i + 1, self.end_ns)
        down, up = luld_band(reference, wide=is_wide(self.end_ns))
        return {
            "T": "l", "S": self._panel.symbols[column], "u": up, "d": down, "i": "B", "t": self.end_ns, "z": TAPE,
        }


def bar_ticks(
    panel: BarPanel, i: int, column: int, path: Path, volume: float, half: float, *, trades: bool, quotes: bool,
) -> list[Message]:
    """Quotes and trades along the path of one bar of one symbol, and of its volume; oldest first."""
    symbol = panel.symbols[column]
    share, left = divmod(int(volume), _CORNERS)
    start_ns = panel.ts_ns.item(i)
    span_ns = panel.available_ns.item(i) - 1 - start_ns
    found: list[Message] = []
    for corner, price in enumerate(path):
        moment = start_ns + span_ns * corner // (_CORNERS - 1)
        number = (i * len(panel.symbols) + column) * _CORNERS + corner + 1
        if quotes:
            bid, ask = quote_around(price, half)
            found.append({
                "T": "q", "S": symbol, "ax": "V", "ap": ask, "as": number * 7 % 9 + 1, "bx": "V", "bp": bid,
                "bs": number * 5 % 9 + 1, "c": ["R"], "t": moment, "z": TAPE,
            })
        size = share + left if corner == _CORNERS - 1 else share
        if trades and size:
            found.append({
                "T": "t", "S": symbol, "i": number, "x": "V", "p": price, "s": size, "c": ["@"], "t": moment, "z": TAPE,
            })
    return found


def imbalance_messages(panel: BarPanel, i: int, *, opens: bool, closes: bool) -> list[Outgoing]:
    """The auctions' imbalances around bar ``i``: each has the price that the auction then finds, and no size."""
    auctions = (
        (opens, panel.open[i].tolist(), int(panel.ts_ns[i])),
        (closes, panel.close[i].tolist(), int(panel.available_ns[i])),
    )
    return [
        Outgoing("imbalances", symbol, {"T": "i", "S": symbol, "p": price, "z": TAPE, "t": moment})
        for held, prices, moment in auctions if held
        for symbol, price in zip(panel.symbols, prices, strict=True) if price == price
    ]


def quote_around(price: float, half: float) -> tuple[float, float]:
    """Bid and ask at ``half`` (a share of the price) on either side, outward on the tick."""
    ticks = 100 if price >= 1 else 10_000
    bid = math.floor(price * (1 - half) * ticks + 1e-6) / ticks
    return max(bid, 1 / ticks), math.ceil(price * (1 + half) * ticks - 1e-6) / ticks


# Why a symbol stands still or trades, in the words of the tapes.
STATUS_MEANINGS = {"H": "Trading Halt", "T": "Trading Resumption", "P": "Volatility Trading Pause"}
REASON_MEANINGS = {
    "": "", "LUDP": "Volatility Trading Pause", "T1": "Halt - News Pending", "T2": "Halt - News Dissemination",
    "T12": "Halt - Additional Information Requested by NASDAQ", "H10": "Halt - SEC Trading Suspension",
    "C3": "Resumption - News and Resumption Times", "MWC1": "Market Wide Circuit Breaker Halt - Level 1",
}


def status_message(symbol: str, status: str, reason: str, ts_ns: int) -> Outgoing:
    """A trading status: ``H`` halted, ``P`` paused, ``T`` trading."""
    return Outgoing("statuses", symbol, {
        "T": "s", "S": symbol, "sc": status, "sm": STATUS_MEANINGS[status], "rc": reason,
        "rm": REASON_MEANINGS.get(reason, reason), "t": ts_ns, "z": TAPE,
    })


def correction_message(trade: Message, price: float, ts_ns: int) -> Outgoing:
    """A trade that was reported at a wrong price: its correction."""
    return Outgoing("corrections", trade["S"], {
        "T": "c", "S": trade["S"], "x": trade["x"], "oi": trade["i"], "op": trade["p"], "os": trade["s"],
        "oc": trade["c"], "ci": trade["i"], "cp": price, "cs": trade["s"], "cc": trade["c"], "t": ts_ns, "z": TAPE,
    })


def cancel_message(trade: Message, ts_ns: int) -> Outgoing:
    """A trade that is taken back."""
    return Outgoing("cancelErrors", trade["S"], {
        "T": "x", "S": trade["S"], "i": trade["i"], "x": trade["x"], "p": trade["p"], "s": trade["s"], "a": "C",
        "t": ts_ns, "z": TAPE,
    })


Tamper = Callable[[list[Outgoing]], None]
