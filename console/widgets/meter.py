"""Bars of text: full glyphs differ from empty ones, so they read without colour."""

from __future__ import annotations

Part = tuple[str, str]                      # text, tone


def meter(share: float, width: int, tone: str) -> tuple[Part, ...]:
    """A bar ``width`` cells wide; ``share`` is clipped to 0…1. Half cells are drawn."""
    if share != share:
        return (("─" * width, "faint"),)
    halves = round(min(1.0, max(0.0, share)) * width * 2)
    if halves == 0 and share > 0:
        halves = 1
    full, half = divmod(halves, 2)
    filled = "━" * full + ("╾" if half else "")
    return tuple(part for part in ((filled, tone), ("─" * (width - full - half), "faint")) if part[0])


def loss_gauge(share: float, warning: float, limit: float, width: int) -> tuple[Part, ...]:
    """The day's result between its loss limit (left end), zero (``┃``) and an equal gain (right end).

    ``share`` is the day's P&L as a share of the day's starting equity; ``warning`` and ``limit`` are positive. The
    place of the warning carries a tick.
    """
    half = max(4, (width - 1) // 2)
    reach = min(1.0, abs(share) / limit) if limit > 0 else 0.0
    filled = min(half, round(reach * half)) or (1 if share else 0)
    tick = half - max(1, min(half - 1, round(warning / limit * half))) if limit > 0 else 0
    losing = share < 0
    tone = "good" if not losing else "bad" if -share >= limit else "warn" if -share >= warning else "strong"
    parts: list[Part] = []
    for place in range(half):                                   # from the limit towards zero
        inside = losing and place >= half - filled
        glyph = "┿" if inside and place == tick else "━" if inside else "┼" if place == tick else "─"
        parts.append((glyph, tone if inside else "muted" if place == tick else "faint"))
    parts.append(("┃", "muted"))
    parts += [("━" if not losing and place < filled else "─", tone if not losing and place < filled else "faint")
              for place in range(half)]
    return _merge(parts)


def _merge(parts: list[Part]) -> tuple[Part, ...]:
    merged: list[Part] = []
    for text, tone in parts:
        if merged and merged[-1][1] == tone:
            merged[-1] = (merged[-1][0] + text, tone)
        else:
            merged.append((text, tone))
    return tuple(merged)
