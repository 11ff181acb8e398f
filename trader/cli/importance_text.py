"""Importance of features as lines for people; `alphatrade train` and `alphatrade report model` show the same."""

from __future__ import annotations

from typing import Any

from trader.models.importance import Importance

_SHOWN = 8
_NAMED = 3          # members of a family


def importance_lines(facts: dict[str, Any], shown: int = _SHOWN) -> list[str]:
    """The features and families that matter most; a star: more than two standard errors from nothing."""
    gain = dict(facts["gain"])
    if "mda" not in facts:
        return [f"{'':<13}{name:<34}{share:>8.1%} of the gain" for name, share in facts["gain"][:shown]]
    lines = [f"{'':<13}{'feature':<34}{'log-loss lost when shuffled':>30}{'gain':>9}"]
    lines += [f"{'':<13}{name:<34}{_lost(mean, error):>30}{gain.get(name, 0.0):>9.1%}"
              for name, mean, error in facts["mda"][:shown]]
    families = facts["families"][:shown // 2]
    if families:
        lines.append(f"{'':<13}{'families of correlated features, shuffled together':<34}")
        lines += [f"{'':<13}{_family(names):<34}{_lost(mean, error):>30}{sum(gain.get(n, 0.0) for n in names):>9.1%}"
                  for names, mean, error in families]
    return lines


def _lost(mean: float, error: float) -> str:
    star = "*" if Importance(mean, error).beyond_noise else " "
    return f"{mean:+.5f} ± {error:.5f} {star}"


def _family(names: list[str]) -> str:
    more = len(names) - _NAMED
    text = ", ".join(names[:_NAMED])
    return f"{text} and {more} more" if more > 0 else text
