"""Risk of a run as its journal leaves it: the halt latch, the breakers, degradation, the model and the limits."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from trader.core import events as ev
from trader.core.clock import iso
from trader.core.fold import Fold
from trader.risk.correlation_breaker import ACTIONS, MULTIPLIERS, BreakerState

CALM = "normal"


class Cause(NamedTuple):
    """Something that holds trading back."""

    what: str
    state: str
    position_multiplier: float
    recommended_action: str
    detail: str


class Reader:
    """The fold knows it all; this reads it out."""

    def __init__(self, fold: Fold, hours: float | None = None) -> None:
        del hours
        self._fold = fold

    def take(self, event: ev.AnyEvent) -> None:
        """One event, after the fold has it; nothing more to remember."""

    def report(self) -> dict[str, Any]:
        """The whole system's status under the guide's names, and the same for the correlation breaker alone.

        ``state`` is that of the cause which leaves the least of a position; ``causes`` lists them all.
        """
        fold = self._fold
        causes = sorted(_causes(fold), key=lambda cause: cause.position_multiplier)
        near = [gauge for gauge in fold.gauges.values() if gauge.state != "ok"]
        return {
            "state": causes[0].state if causes else CALM, "is_triggered": bool(causes),
            "position_multiplier": causes[0].position_multiplier if causes else 1.0,
            "recommended_action": "; ".join(dict.fromkeys(c.recommended_action for c in causes)) or "none",
            "causes": [cause._asdict() for cause in causes],
            "correlation": _correlation(fold),
            "breakers": [_breaker(fold, breaker) for breaker in fold.breakers.values()],
            "halted": fold.halt.latched,
            "limits": [msgspec.to_builtins(gauge) for gauge in fold.gauges.values()],
            "limits_near_or_breached": [gauge.rule for gauge in near],
            "vetoes": {f"{layer}:{rule}": tally.vetoes for (layer, rule), tally in sorted(fold.tallies.items())
                       if tally.vetoes},
            "equity": round(fold.book.equity, 2), "open_positions": len(fold.book.positions),
        }


def _causes(fold: Fold) -> list[Cause]:
    found = []
    halt = fold.halt
    if halt.latched:
        mode = fold.session.mode if fold.session else "sim"
        found.append(Cause(
            "halt", "halted", 0.0, f"mend the cause, then `alphatrade resume --mode {mode}`",
            f"{halt.source}: {halt.reason}, since {iso(halt.since or 0)[:19]}Z"))
    for breaker in fold.breakers.values():
        if breaker.state != CALM:
            found.append(Cause(breaker.breaker, breaker.state, breaker.multiplier, breaker.action, breaker.detail))
    degraded = fold.degradation
    if degraded is not None and degraded.level != "NORMAL":
        found.append(Cause(
            "degradation", degraded.level, degraded.multiplier, f"look after {degraded.component} (alphatrade doctor)",
            degraded.reason))
    for health in fold.health.values():
        if health.multiplier < 1.0:
            found.append(Cause(
                "model", health.level, health.multiplier, "see `alphatrade report model`", "; ".join(health.reasons)))
    return found


def _breaker(fold: Fold, breaker: ev.BreakerChanged) -> dict[str, Any]:
    gauge = next((g for g in fold.gauges.values() if g.rule == breaker.breaker), None)
    return {
        "breaker": breaker.breaker, "state": breaker.state, "is_triggered": breaker.state != CALM,
        "position_multiplier": breaker.multiplier, "recommended_action": breaker.action or "none",
        "value": gauge.used if gauge else breaker.value, "limit": breaker.limit, "detail": breaker.detail,
        "since": iso(breaker.ts), "until": None if breaker.until is None else iso(breaker.until),
    }


def _correlation(fold: Fold) -> dict[str, Any]:
    """What ``circuit_breaker.get_status()`` said when the journal ended."""
    told = fold.breakers.get("correlation")
    state = BreakerState(told.state) if told else BreakerState.NORMAL
    return {
        "state": state.value, "is_triggered": state is not BreakerState.NORMAL,
        "position_multiplier": MULTIPLIERS[state], "recommended_action": ACTIONS[state].value,
    }


def lines(facts: dict[str, Any]) -> list[str]:
    """The same for people."""
    text = [
        f"state        {facts['state'].upper()}, positions × {facts['position_multiplier']:g}",
        f"action       {facts['recommended_action']}",
        f"equity       {facts['equity']:,.2f}, {facts['open_positions']} open positions",
    ]
    text += [f"because      {c['what']} {c['state']}: {c['detail']}" for c in facts["causes"]]
    if facts["breakers"]:
        text += ["", f"{'breaker':<16}{'state':<10}{'×':>5}{'reading':>10}{'limit':>10}"]
        text += [
            f"{b['breaker']:<16}{b['state']:<10}{b['position_multiplier']:>5g}{b['value']:>10.4g}{b['limit']:>10.4g}"
            for b in facts["breakers"]]
    if facts["limits"]:
        text += ["", f"{'layer limit':<24}{'used':>14}{'of':>14}  {'':<6}{'vetoes':>6}"]
        text += [_limit(gauge, facts["vetoes"]) for gauge in facts["limits"]]
    return text


def _limit(gauge: dict[str, Any], vetoes: dict[str, int]) -> str:
    scale, unit = (100.0, " %") if gauge.get("unit") == "%" else (1.0, f" {gauge.get('unit', '')}".rstrip())
    used, limit = (f"{gauge[name] * scale:,.4g}{unit}" for name in ("used", "limit"))
    refused = vetoes.get(f"{gauge['layer']}:{gauge['rule']}", 0)
    word = "" if gauge.get("state", "ok") == "ok" else str(gauge["state"]).upper()
    return f"{gauge['layer']}     {gauge['rule']:<18}{used:>14}{limit:>14}  {word:<6}{refused or '':>6}"
