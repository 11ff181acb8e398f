"""A hand-made frame of a busy morning, and feeds that need no engine. Time stands still."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from console.feed import Abilities
from trader.frames import (
    AccountRow,
    BreakerRow,
    CandleSeries,
    DegradationRow,
    FillRow,
    Frame,
    HaltRow,
    LogRow,
    ModelRow,
    OrderRow,
    PlaybackRow,
    PositionRow,
    RiskRow,
    SlippageRow,
    StatusRow,
    TrainingRow,
)

MINUTE = 60_000_000_000
NOW = int(datetime(2013, 6, 3, 10, 45, tzinfo=ZoneInfo("America/New_York")).timestamp()) * 1_000_000_000
OPEN = NOW - 75 * MINUTE

FILLS = (
    FillRow(NOW - 61 * MINUTE, "at-0601-AAPL-1", "AAPL", "buy", 220, 448.11, 1.10, 1.8),
    FillRow(NOW - 46 * MINUTE, "at-0601-MSFT-1", "MSFT", "buy", 300, 34.92, 1.50, 2.4),
    FillRow(NOW - 45 * MINUTE, "at-0601-MSFT-1", "MSFT", "buy", 260, 34.93, 1.30, 3.1),
    FillRow(NOW - 31 * MINUTE, "at-0601-GOOG-1", "GOOG", "sell", 24, 871.40, 0.35, -0.6),
    FillRow(NOW - 16 * MINUTE, "at-0601-IBM-1", "IBM", "buy", 90, 207.32, 0.45, 4.9),
)


def order(name: str, symbol: str, side: str, role: str, kind: str, quantity: float, filled: float, limit: float | None,
          stop: float | None, average: float | None, state: str, is_open: bool, minutes: int,
          reason: str = "") -> OrderRow:
    created = NOW - minutes * MINUTE
    return OrderRow(
        client_order_id=name, broker_order_id=f"b-{name}", symbol=symbol, side=side, role=role, order_type=kind,
        time_in_force="day", quantity=quantity, filled_quantity=filled, limit_price=limit, stop_price=stop,
        average_price=average, state=state, is_open=is_open, created_ns=created, updated_ns=created + 2_400_000,
        strategy="ml_momentum", reason=reason,
        history=((created, "intent", "p=0.61, edge 14 bps"), (created + 210_000, "approved", "11 rules"),
                 (created + 1_100_000, "submitting", "journaled"), (created + 2_400_000, state, "")),
        checks=((1, "position_limit", "allow", "OK", 0.081, 0.2, "%"),
                (1, "impact", "shrink", "IMPACT_BPS", 12.4, 10.0, "bps"),
                (3, "value_at_risk", "allow", "OK", 0.011, 0.02, "%")),
    )


ORDERS = (
    order("at-0601-IBM-2", "IBM", "buy", "entry", "limit", 60, 20, 207.10, None, 207.08, "partial", True, 1),
    order("at-0601-AAPL-2", "AAPL", "sell", "take_profit", "limit", 220, 0, 457.07, None, None, "working", True, 61),
    order("at-0601-AAPL-3", "AAPL", "sell", "stop_loss", "stop", 220, 0, None, 443.63, None, "held", True, 61),
    order("at-0601-MSFT-2", "MSFT", "sell", "take_profit", "limit", 560, 0, 35.62, None, None, "working", True, 45),
    order("at-0601-MSFT-3", "MSFT", "sell", "stop_loss", "stop", 560, 0, None, 34.58, None, "held", True, 45),
    order("at-0601-GOOG-2", "GOOG", "buy", "stop_loss", "stop", 24, 0, None, 880.11, None, "working", True, 31),
    order("at-0601-FB-1", "FB", "buy", "entry", "market", 1200, 0, None, None, None, "denied", False, 2,
          "SYMBOL_EXPOSURE 24.1% of 20.0%"),
    order("at-0601-IBM-1", "IBM", "buy", "entry", "market", 90, 90, None, None, 207.32, "filled", False, 16),
    order("at-0601-MSFT-1", "MSFT", "buy", "entry", "limit", 560, 560, 34.94, None, 34.92, "filled", False, 46),
    order("at-0601-FB-0", "FB", "buy", "entry", "limit", 400, 0, 23.80, None, None, "canceled", False, 47,
          "not filled in 2 bars"),
)

POSITIONS = (
    PositionRow("AAPL", 220, 448.11, 450.88, 99193.60, 609.40, 0.0062, 0.2411, NOW - 61 * MINUTE, 457.07, 443.63,
                "ml_momentum", 4, FILLS[:1]),
    PositionRow("GOOG", -24, 871.40, 869.15, -20859.60, 54.00, 0.0026, -0.0507, NOW - 31 * MINUTE, 858.90, 880.11,
                "ml_momentum", 2, FILLS[3:4]),
    PositionRow("IBM", 110, 207.28, 206.15, 22676.50, -124.30, -0.0055, 0.0551, NOW - 16 * MINUTE, None, None,
                "ml_momentum", 1, FILLS[4:]),
    PositionRow("MSFT", 560, 34.92, 34.87, 19527.20, -28.00, -0.0014, 0.0475, NOW - 46 * MINUTE, 35.62, 34.58,
                "ml_momentum", 3, FILLS[1:3]),
)

RISK = (
    RiskRow(1, "position_limit", 0.2411, 0.25, "%", "warn", vetoes=1, shrinks=3, last_veto_ns=NOW - 20 * MINUTE,
            last_veto="AAPL 300 → 0: POSITION_LIMIT 33.1% of 25.0%"),
    RiskRow(1, "symbol_exposure", 0.2411, 0.30, "%", "ok", vetoes=2, last_veto_ns=NOW - 2 * MINUTE,
            last_veto="FB 1,200 → 0: SYMBOL_EXPOSURE 34.1% of 30.0%"),
    RiskRow(1, "gross_exposure", 1.6143, 2.0, "%", "ok"),
    RiskRow(1, "buying_power", 41_203.0, 182_400.0, "$", "ok"),
    RiskRow(1, "impact", 6.2, 10.0, "bps", "ok", shrinks=5),
    RiskRow(2, "bracket_required", 1.0, 0.0, "level", "breach", detail="IBM has no stop", vetoes=0),
    RiskRow(2, "rejections", 0.02, 0.10, "%", "ok"),
    RiskRow(2, "order_rate", 14.0, 200.0, "/min", "ok"),
    RiskRow(3, "value_at_risk", 0.0113, 0.02, "%", "ok", detail="historical, 95%, one day"),
    RiskRow(3, "drawdown", 0.0061, 0.10, "%", "ok"),
    RiskRow(3, "intraday_loss", 0.0, 0.01, "%", "ok"),
    RiskRow(3, "correlation", 0.62, 0.80, "x", "warn", detail="first component 71%"),
    RiskRow(4, "degradation", 0.0, 2.0, "level", "ok"),
    RiskRow(4, "data_age", 0.4, 60.0, "s", "ok"),
    RiskRow(4, "halt_latch", 0.0, 1.0, "level", "ok"),
)

BREAKERS = (
    BreakerRow("intraday_loss", "normal", 1.0, 0.0, 0.01),
    BreakerRow("drawdown", "normal", 1.0, 0.0061, 0.10),
    BreakerRow("correlation", "elevated", 0.5, 0.62, 0.80, action="halve new positions", until_ns=NOW + 12 * MINUTE,
               detail="first component 71%"),
    BreakerRow("rejection_rate", "normal", 1.0, 0.0, 5.0),
    BreakerRow("connection", "normal", 1.0, 0.0, 1.0),
)

SLIPPAGE = (
    SlippageRow("ALL", 41, 2.31, 1.90, 7.82, 118.40, 0.962, 0.54, 4.1),
    SlippageRow("AAPL", 14, 1.62, 1.40, 4.11, 41.03, 0.991, 0.57, 3.9),
    SlippageRow("GOOG", 7, -0.61, -0.40, 2.02, -4.80, 1.0, 0.71, 4.0),
    SlippageRow("IBM", 9, 4.92, 4.10, 9.90, 52.11, 0.912, 0.44, 4.4),
    SlippageRow("MSFT", 11, 2.80, 2.22, 6.71, 30.06, 0.948, 0.50, 4.2),
)

MODELS = (
    ModelRow("ml_momentum-20130531", "AGING", 0.75, 3.2, (("1d", 0.541, 132), ("5d", 0.530, 610), ("20d", 0.524, 2410)),
             0.528, ("vpin", "kyle_lambda"), ("2 features drifted: vpin, kyle_lambda",), NOW - 4600 * MINUTE,
             "synthetic-intraday", "3 boosters, soft vote, isotonic"),
)

LOG = tuple(LogRow(seq, NOW - (30 - seq) * MINUTE, level, source, text) for seq, (level, source, text) in enumerate((
    ("info", "session", "reconciled: 4 positions, 6 orders, no difference"),
    ("fill", "orders", "GOOG sold 24 at 871.40, -0.6 bps"),
    ("info", "models", "training boosters, fold 3 of 5"),
    ("veto", "risk", "AAPL buy 300 → 0: POSITION_LIMIT 33.1% of 25.0%"),
    ("warning", "breakers", "correlation elevated: first component 71%, size ×0.50"),
    ("fill", "orders", "IBM bought 90 at 207.32, 4.9 bps"),
    ("error", "protection", "IBM: the stop was rejected, sent again"),
    ("warning", "models", "ml_momentum-20130531 is AGING: 2 features drifted"),
    ("veto", "risk", "FB buy 1,200 → 0: SYMBOL_EXPOSURE 34.1% of 30.0%"),
    ("info", "orders", "IBM buy 60 limit 207.10 accepted in 2.4 ms"),
    ("fill", "orders", "IBM bought 20 of 60 at 207.08, -0.9 bps"),
), 1))

EQUITY = tuple((OPEN + i * MINUTE, 100_000 + 420 * math.sin(i / 9) + 7 * i) for i in range(76))


def candles(symbol: str, price: float, fills: tuple[FillRow, ...] = ()) -> CandleSeries:
    closes = [price * (1 + 0.004 * math.sin(i / 5) + 0.0001 * i) for i in range(78)]
    opens = [closes[0], *closes[:-1]]
    spread = [0.0012 * price * (1 + math.cos(i) ** 2) for i in range(78)]
    return CandleSeries(
        symbol, tuple(NOW - (77 - i) * 15 * MINUTE for i in range(78)), tuple(opens),
        tuple(max(o, c) + s for o, c, s in zip(opens, closes, spread, strict=True)),
        tuple(min(o, c) - s for o, c, s in zip(opens, closes, spread, strict=True)), tuple(closes), fills,
        tuple(None if i < 10 else 0.5 + 0.12 * math.sin(i / 4) for i in range(78)),
    )


CANDLES = (candles("AAPL", 449.0, FILLS[:1]), candles("MSFT", 34.9, FILLS[1:3]))


def busy() -> Frame:
    """A session with something of everything."""
    return Frame(
        seq=812, now_ns=NOW,
        status=StatusRow(
            mode="sim", run_id="sim-20261122-0939", source="synthetic-intraday", timeframe="15Min",
            strategy="ml_momentum",
            connections=(("trading", "up", ""), ("market data", "up", ""), ("journal", "up", "")), market_open=True,
            market_change_ns=NOW + 315 * MINUTE, data_age_s=0.4, loop_lag_ms=1.2, bars=12_345, speed="×900"),
        degradation=DegradationRow("CAUTIOUS", 0.5, "market data", "one late bar", NOW - 3 * MINUTE),
        account=AccountRow(
            equity=100_511.10, cash=20_113.40, buying_power=182_400.0, gross_exposure=162_256.90,
            net_exposure=120_537.70, day_pnl=-318.20, day_pnl_pct=-0.0032, realized_pnl=-829.30,
            unrealized_pnl=511.10, fees=12.40, drawdown=0.0061, trades=41, wins=22),
        positions=POSITIONS, orders=ORDERS, risk=RISK, breakers=BREAKERS, slippage=SLIPPAGE, models=MODELS,
        training=TrainingRow("running", "boosters", 3, 5, 72.0), log=LOG, fills=FILLS, equity=EQUITY, candles=CANDLES,
    )


def halted() -> Frame:
    """The same session after the key."""
    frame = busy()
    return replace(
        frame, seq=900, positions=(), orders=tuple(row for row in ORDERS if not row.is_open),
        degradation=DegradationRow("HALTED", 0.0, "halt", "f12", NOW),
        halt=HaltRow(True, NOW - MINUTE, "console", "f12", "flat", 6, 4))


def replayed(**changes: object) -> Frame:
    """The same session, played again."""
    marks = ((0.05, "fill"), (0.08, "fill"), (0.2, "veto"), (0.21, "fill"), (0.4, "breaker"), (0.55, "fill"),
             (0.7, "error"), (0.9, "fill"), (0.97, "halt"))
    playback = PlaybackRow(12_240, 36_000, NOW, OPEN, NOW + 300 * MINUTE, False, 1.0, marks)
    return replace(busy(), playback=replace(playback, **changes))


class StillClock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeFeed:
    """A feed that records what is asked of it."""

    def __init__(self, frame: Frame | None = None, **can: bool) -> None:
        self.current = frame or busy()
        self.can = Abilities(**(can or {"live": True, "resume": True, "command": True}))
        self.source = "live"
        self.problem: str | None = None
        self.halts: list[str] = []
        self.resumes: list[tuple[str, str]] = []
        self.commands: list[tuple[str, dict[str, object]]] = []
        self.resume_answer: str | None = None
        self.reads = 0

    def frame(self) -> Frame:
        self.reads += 1
        return self.current

    def error(self) -> str | None:
        return self.problem

    def refused(self) -> bool:
        return False

    def notices(self) -> list[str]:
        return []

    def halt(self, reason: str) -> str | None:
        self.halts.append(reason)
        return None if self.can.live else "this is a replay: nothing is live"

    def resume(self, by: str, reason: str) -> str | None:
        self.resumes.append((by, reason))
        return self.resume_answer

    def command(self, name: str, **args: object) -> None:
        self.commands.append((name, args))

    def close(self) -> None: ...


class FakePlayer:
    """A player over nothing: keeps a place, a speed, and what it was told."""

    def __init__(self) -> None:
        self.place, self.playing, self.pace = 12_240, False, 1.0
        self.told: list[object] = []
        self.symbols = ("AAPL",)
        self._frame: Frame | None = None

    def frame(self) -> Frame:
        wanted = (self.place, self.playing, self.pace)
        if self._frame is None or (self._frame.playback.position, self._frame.playback.playing,
                                   self._frame.playback.speed) != wanted:
            self._frame = replayed(position=self.place, playing=self.playing, speed=self.pace,
                                   at_end=self.place >= 36_000)
        return self._frame

    def play(self) -> None:
        self.playing = True

    def pause(self) -> None:
        self.playing = False

    def set_speed(self, speed: float) -> None:
        self.pace = speed

    def tick(self, elapsed_s: float) -> None:
        if self.playing:
            self.place = min(36_000, self.place + 100)

    def step(self, slices: int) -> None:
        self.told.append(("step", slices))
        self.place += slices * 10

    def seek_fraction(self, place: float) -> None:
        self.told.append(("fraction", place))
        self.place = int(36_000 * place)

    def seek_time(self, ts_ns: int) -> None:
        self.told.append(("time", ts_ns))

    def run_to(self, kind: str) -> bool:
        self.told.append(("run_to", kind))
        return kind != "breaker"
