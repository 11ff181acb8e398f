"""A training's report as text: what was learnt from what, what it is worth, how sure that is."""

from __future__ import annotations

from typing import Any

from trader.cli.importance_text import importance_lines
from trader.pipeline.training_importance import importance_verdict

_CLASSES = ("loss", "neutral", "profit")
_WIDTH = 13


def training_text(report: dict[str, Any]) -> str:
    """The whole report."""
    scores, data = report["scores"], report["data"]
    shares = ", ".join(f"{name} {share:.1%}" for name, share in zip(_CLASSES, scores["class_shares"], strict=True))
    facts = {
        "model": report["model_id"],
        "stored in": report["model"],
        "bars": f"{data['bars']:,} of {data['timeframe']}, {data['source']}, {data['start'][:10]} to "
                f"{data['end'][:10]}",
        "symbols": ", ".join(data["symbols"]),
        "samples": f"{scores['n']:,} (as good as {scores['n_effective']:,.0f} independent ones); {shares}",
        "judged": f"out of fold, {scores['folds']} purged folds; {_trials(scores['n_trials'])}",
        "accuracy": f"{_rate(scores)} over three classes",
        "skill": f"log-loss {scores['log_loss']:.4f}, class shares alone {scores['log_loss_prior']:.4f}: "
                 f"{_skill(scores['skill'], scores['log_loss_gain_t'])}",
        "direction": f"{_rate(scores['direction'])} of the barriers touched: "
                     f"{_skill(scores['direction']['skill'], scores['direction']['t'])}",
        **_bets(report["meta"], scores["bets"]),
        "calibration": _calibration(scores["calibration"]),
        **_returns(scores["returns"], scores["bets"] is not None),
        "importance": importance_verdict(scores["importance"]),
    }
    lines = [f"{name:<{_WIDTH - 1}} {value}" for name, value in facts.items()]
    lines += importance_lines(scores["importance"])
    lines.append(f"{'confusion':<{_WIDTH}}{'came, said':<9}" + "".join(f"{name:>9}" for name in _CLASSES))
    for name, counts in zip(_CLASSES, scores["confusion"], strict=True):
        lines.append(f"{'':<{_WIDTH}}{name:<10}" + "".join(f"{count:>9,}" for count in counts))
    return "\n".join([*lines, f"{'verdict':<{_WIDTH - 1}} {report['verdict']}"])


def _trials(n: int) -> str:
    return f"{n} {'trial' if n == 1 else 'trials'}"


def _rate(scores: dict[str, Any]) -> str:
    low, high = scores["accuracy_low"], scores["accuracy_high"]
    return f"{scores['accuracy']:.1%} [{low:.1%}, {high:.1%}], base rate {scores['base_rate']:.1%}"


def _skill(share: float, t: float) -> str:
    worth = "better" if share > 0.0 else "worse"
    doubt = ", no more than chance" if abs(t) < 2.0 else ""
    return f"{abs(share):.2%} {worth} than class shares (t = {t:+.1f}{doubt})"


def _bets(rule: dict[str, Any] | None, found: dict[str, Any] | None) -> dict[str, str]:
    if rule is None or found is None:
        return {}

    def told(name: str) -> str:
        if name not in found:
            return "none"
        own = found[name]
        return (f"{own['paid']:.1%} [{own['paid_low']:.1%}, {own['paid_high']:.1%}] paid, "
                f"{own['return_bps']:+.1f} bps each before costs")

    return {"bets": f"{found['n']:,} of {rule['primary']}: {told('all')}",
            "chosen": f"{found['taken']:.0%} of them: {told('chosen')}; choosing adds t = {found['t']:+.1f}"}


def _calibration(found: dict[str, Any]) -> str:
    before, after = found["before"], found["after"]
    return (f"{found['method']}, chosen forward in time by log-loss ({before['log_loss']:.4f} before, "
            f"{after['log_loss']:.4f} after); ECE {before['ece']:.4f} before, {after['ece']:.4f} after, "
            f"{found['ece_by_chance']:.4f} by chance alone")


def _returns(found: dict[str, Any], bets: bool) -> dict[str, str]:
    if "sharpe" not in found:
        return {"returns": f"{found['n_days']} sessions are too few to judge"}
    made = "" if found["evidence"] else " on made prices, which is no evidence"
    n = found["n_trials"]
    luck = f" (the best of as many worthless ones would show {found['luck']:.2f})" if n > 1 else ""
    sure = f"positive with {found['psr']:.0%}, deflated for {_trials(n)} {found['dsr']:.0%}{luck}"
    if found["overfitting"] is not None:
        sure += f"; overfitted with {found['overfitting']:.0%}"
    own = [found["sharpe"], found["sharpe_low"], found["sharpe_high"]]
    every = "every bet taken" if bets else "always long"
    return {
        "returns": f"following it{made}: Sharpe {_sharpe(own)} a year over {found['n_days']} sessions before costs; "
                   f"{sure}",
        "beside": f"after {found['cost_bps']:g} bps a position {_sharpe(found['net'])}; {every}, before costs, "
                  f"{_sharpe(found['blind'])}",
    }


def _sharpe(found: list[float] | None) -> str:
    return "not defined" if found is None else f"{found[0]:.2f} [{found[1]:.2f}, {found[2]:.2f}]"
