"""The lines that are always there: status, account, alarm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.content import Content
from textual.widget import Widget

from console.widgets import figures as f
from console.widgets.meter import loss_gauge
from console.widgets.words import Part, content, fit
from trader.frames import Frame

MODES = {"sim": "badge", "backtest": "badge", "replay": "badge", "paper": "caution", "live": "alarm"}
CONNECTION = {"up": ("●", "good"), "reconnecting": ("◌", "warn"), "down": ("✗", "bad_strong")}
LEVELS = {"NORMAL": "good", "CAUTIOUS": "warn_strong", "EXIT_ONLY": "caution", "HALTED": "alarm"}


@dataclass(frozen=True, slots=True)
class Moment:
    """What the screen itself knows beside the frame."""

    source: str = "live"                    # live | replay | attached
    error: str | None = None
    stale_s: float | None = None            # age of the frame, where a newer one was due
    frozen_s: float | None = None           # how long the panes have been frozen
    halt_requested: bool = False


def badge(frame: Frame, moment: Moment) -> list[Part]:
    """The mode in words."""
    mode = frame.status.mode
    word = {"replay": "REPLAY", "attached": f"ATTACHED {mode.upper()}"}.get(moment.source, mode.upper())
    return [(f" {word} ", MODES.get("replay" if moment.source == "replay" else mode, "badge"))]


def trading(frame: Frame, moment: Moment) -> list[Part]:
    """May it trade?"""
    if frame.halt.latched:
        return [(" ■ HALTED ", "alarm")]
    if moment.halt_requested:
        return [(" ■ HALT REQUESTED ", "alarm")]
    if moment.error:
        return [(" ✗ ENGINE DOWN ", "alarm")]
    if frame.status.ended:
        return [(" ENDED ", "caution")]
    if moment.source == "replay":
        return [("recorded run", "muted")]
    if not frame.seq:
        return [("◌ ", "warn"), ("starting", "warn_strong")]
    return [("● ", "good"), ("trading on", "good_strong")]


def connection(frame: Frame, names: bool) -> list[Part]:
    """Each component with its sign; names only where there is room or trouble."""
    rows = frame.status.connections
    if not rows:
        return []
    if not names and all(state == "up" for _, state, _ in rows):
        return [("● ", "good"), ("connected", "")]
    parts: list[Part] = []
    for name, state, detail in rows:
        sign, tone = CONNECTION.get(state, ("?", "warn"))
        word = name if state == "up" else f"{name} {state.upper()}{' ' + detail if detail and names else ''}"
        parts += [(f"{sign} ", tone), (f"{word}  ", "" if state == "up" else tone)]
    parts[-1] = (parts[-1][0].rstrip(), parts[-1][1])
    return parts


def market(frame: Frame) -> list[Part]:
    """Open or closed, and for how long."""
    status = frame.status
    if status.market_open is None:
        return []
    change = ""
    if status.market_change_ns:
        left = (status.market_change_ns - frame.now_ns) / 1e9
        change = f" {'closes' if status.market_open else 'opens'} in {f.span(left)}" if left >= 60 else (
            f" {'closes' if status.market_open else 'opens'} in {f.countdown(left)}" if left > 0 else "")
    return [("market ", "muted"), ("open", "good") if status.market_open else ("closed", "warn"), (change, "muted")]


def status_lines(frame: Frame, moment: Moment, room: int) -> tuple[list[Part], list[Part]]:
    """Both lines, cut to ``room`` by importance."""
    status, degradation = frame.status, frame.degradation
    stale_data = status.data_age_s is not None and status.data_age_s > 60
    level_tone = LEVELS.get(degradation.level, "warn")
    synthetic = status.source == "synthetic-intraday"
    first = fit([
        (100, badge(frame, moment)),
        (99, trading(frame, moment)),
        (80, connection(frame, room >= 150)),
        (95, [(f.clock_time(frame.now_ns), "strong"), (f" {f.ZONE}", "muted")]),
        (70, [(f.weekday(frame.now_ns), "")]),
        (75, market(frame)),
        (60, [("run ", "muted"), (status.run_id, "")] if status.run_id else []),
    ], room)
    second = fit([
        (98, [(" SYNTHETIC-INTRADAY ", "caution")] if synthetic else [("source ", "muted"), (status.source, "")]),
        (90, [("level ", "muted"), (degradation.level, level_tone), (f" ×{degradation.multiplier:.2f}", "muted"),
              (f" {degradation.component}" if degradation.component else "", "warn")]),
        (85, [] if status.data_age_s is None else [
            ("data ", "muted"), ("▲ " if stale_data else "", "warn"),
            (f"{f.span(status.data_age_s):<5}", "warn_strong" if stale_data else "")]),
        (70, [] if status.loop_lag_ms is None else [
            ("lag ", "muted"),
            (f"{f.number(status.loop_lag_ms, 1):>4} ms", "warn" if status.loop_lag_ms > 100 else "")]),
        (80, [("speed ", "muted"), (status.speed, "")] if status.speed and moment.source != "replay" else []),
        (65, [("bar ", "muted"), (f.number(status.bars, 0), ""), (f" {status.timeframe}", "muted")]),
        (60, [("strategy ", "muted"), (status.strategy, "")] if status.strategy else []),
        (99, [(f" FROZEN {f.span(moment.frozen_s)} ", "caution")] if moment.frozen_s is not None else []),
    ], room)
    return first, second


def account_line(frame: Frame, room: int) -> list[Part]:
    """Money; the day's result against its limits keeps its place whatever else goes."""
    account = frame.account
    warn, limit = account.intraday_loss_warning, account.intraday_loss_circuit_breaker
    share, tone = account.day_pnl_pct, f.gain_tone(account.day_pnl)
    gauge = 33 if room >= 160 else 25 if room >= 110 else 17
    word = ""
    if share <= -limit:
        word = " ■ LIMIT"
    elif share <= -warn:
        word = " ▲ WARNING"
    gross, net = ((money / account.equity if account.equity else None)
                  for money in (account.gross_exposure, account.net_exposure))
    win_rate = f" {account.wins / account.trades * 100:.0f}% won" if account.trades else ""
    return fit([
        (99, [("Equity ", "muted"), (f"{f.dollars(account.equity)}", "strong")]),
        (100, [("Day ", "muted"), (f"{f.arrow(account.day_pnl)} {f.signed(account.day_pnl)}",
                                   f"{tone}_strong" if tone else "strong"), (f" {f.signed_percent(share)}", tone),
               (word, "alarm" if "LIMIT" in word else "warn_strong")]),
        (98, [(f"-{f.percent(limit, 1)} ", "muted"), *loss_gauge(share, warn, limit, gauge),
              *([(f" warn -{f.percent(warn, 1)}", "muted")] if room >= 130 else [])]),
        (80, [("DD ", "muted"), (f.percent(account.drawdown), "")]),
        (75, [("gross ", "muted"), (f.percent(gross, 1), "")]),
        (70, [("cash ", "muted"), (f"{f.dollars(account.cash, 0)}", "")]),
        (65, [("power ", "muted"), (f"{f.dollars(account.buying_power, 0)}", "")]),
        (60, [("open ", "muted"), (f.signed(account.unrealized_pnl), f.gain_tone(account.unrealized_pnl))]),
        (55, [("closed ", "muted"), (f.signed(account.realized_pnl), f.gain_tone(account.realized_pnl))]),
        (50, [("fees ", "muted"), (f.number(account.fees), "")]),
        (45, [("net ", "muted"), (f.signed_percent(net, 1), "")]),
        (40, [("trades ", "muted"), (f.number(account.trades, 0), ""), (win_rate, "muted")]),
    ], room)


def alarm(frame: Frame, moment: Moment, resume_key: str, room: int) -> tuple[str, list[Part]] | None:
    """The banner: its tone and its words; None where nothing needs one. The worst comes first."""
    halt = frame.halt
    said: list[tuple[int, str]] = []
    tone = "alarm"
    if moment.error:
        said = [(100, f"✗ THE ENGINE STOPPED: {moment.error}"),
                (50, "the console stays; positions keep their stops at the broker")]
    elif halt.latched:
        said = [
            (100, f"■ HALTED since {f.clock_time(halt.since_ns)}"),
            (80, f"by {halt.source}: {halt.reason}" if halt.source else ""),
            (85, halt.step),
            (90, "" if halt.orders_cancelled is None else f"{halt.orders_cancelled} orders cancelled"),
            (91, "" if halt.positions_closed is None else f"{halt.positions_closed} positions closed"),
            *((95, f"⚠ {failure}") for failure in halt.failures),
            (99, f"{resume_key} resumes" if moment.source == "live" else ""),
        ]
    elif moment.halt_requested:
        said = [(100, "■ HALT REQUESTED"), (90, "not confirmed by the engine yet")]
    elif moment.stale_s is not None:
        tone = "caution"
        said = [(100, f"▲ no news from the engine for {f.span(moment.stale_s)}"), (90, "what you see is old")]
    elif frame.status.ended and moment.source != "replay":
        tone = "caution"
        said = [(100, f"the session ended: {frame.status.ended}")]
    else:
        return None
    return tone, fit([(rank, [(words, tone)]) for rank, words in said if words], room, gap="   ", gap_tone=tone)


class _Line(Widget):
    """A widget that repaints only when its words change."""

    ALLOW_SELECT = False

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._frame = Frame()
        self._moment = Moment()
        self._lines: object = None

    def make(self, room: int) -> list[list[Part]]:
        raise TypeError("a line makes its words")

    def paint(self, frame: Frame, moment: Moment) -> None:
        """Take a frame."""
        self._frame, self._moment = frame, moment
        lines = self.make(self.content_size.width or self.size.width)
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def render(self) -> Content:
        lines = self.make(self.content_size.width)
        return Content("\n").join(content(line) for line in lines)


class StatusBar(_Line):
    """Two lines on top."""

    def make(self, room: int) -> list[list[Part]]:
        return list(status_lines(self._frame, self._moment, room))


class AccountLine(_Line):
    """One line of money."""

    def make(self, room: int) -> list[list[Part]]:
        return [account_line(self._frame, room)]


class Banner(_Line):
    """What must not be missed; not there while all is well."""

    resume_key = "r"

    def make(self, room: int) -> list[list[Part]]:
        said = alarm(self._frame, self._moment, self.resume_key, room)
        return [said[1]] if said else []

    def paint(self, frame: Frame, moment: Moment) -> None:
        said = alarm(frame, moment, self.resume_key, 500)
        self.display = said is not None
        self.set_class(said is not None and said[0] == "alarm", "-alarm")
        super().paint(frame, moment)
