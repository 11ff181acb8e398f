"""``alphatrade models``: which trained models there are, which is in use, and how to change that."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from trader.cli.arguments import add_home, add_json, home_of, print_json
from trader.utils.errors import UserError

NAME = "ml_momentum"


def add_parser(subparsers: Any) -> None:
    """Register the command and its three verbs."""
    models = subparsers.add_parser("models", help="list trained models, promote one, roll back to the one before")
    verbs = models.add_subparsers(dest="verb", metavar="list|promote|rollback", required=True)

    listed = verbs.add_parser("list", help="every stored model, the champion first")
    listed.add_argument("--name", metavar="NAME", help="only models of this name")
    listed.set_defaults(run=run_list)

    promoted = verbs.add_parser("promote", help="make a stored model the champion that sessions load")
    promoted.add_argument("model", metavar="MODEL", help="its name, or the beginning of its version")
    promoted.set_defaults(run=run_promote)

    back = verbs.add_parser("rollback", help="return to the champion before")
    back.add_argument("--name", default=NAME, metavar="NAME", help=f"models of this name (default {NAME})")
    back.set_defaults(run=run_rollback)
    for verb in (listed, promoted, back):
        add_home(verb)
        add_json(verb)


def run_list(arguments: argparse.Namespace) -> int:
    """Print champion and challengers."""
    from trader.models.registry import refused_models

    home = home_of(arguments)
    rows, refused = _rows(home, arguments.name), refused_models(home)
    if arguments.json:
        print_json({"models": rows, "refused": refused})
        return 0
    for directory, why in refused.items():
        print(f"✗ {directory} must not be used: {why}")
    if not rows:
        print("no model is stored; train one: alphatrade train")
        return 0
    print(f"{'':2}{'model':<28}{'trained through':<17}{'bars':<27}{'log-loss':>9}{'direction':>11}{'trials':>8}")
    for row in rows:
        right = "–" if row["direction"] is None else f"{row['direction']:.1%}"
        bars = f"{row['timeframe']}, {row['source']}"
        print(f"{'★' if row['champion'] else ' '} {row['model_id']:<28}{row['trained_through'][:10]:<17}{bars:<27}"
              f"{row['log_loss']:>9.4f}{right:>11}{row['n_trials']:>8}")
    print("★ champion: what sessions load. Others are challengers: alphatrade models promote MODEL")
    return 0


def run_promote(arguments: argparse.Namespace) -> int:
    """Make a challenger the champion."""
    from trader.models.artifact import ArtifactError, ModelArtifact
    from trader.models.registry import champion, models_dir, promote

    home = home_of(arguments)
    row = _one(home, arguments.model)
    try:
        ModelArtifact.load(models_dir(home) / row["model_id"])      # a champion that does not load helps nobody
    except ArtifactError as error:
        raise UserError(f"{row['model_id']} cannot be promoted: {error}") from None
    before = champion(home, row["name"])
    promote(home, row["name"], row["model_id"])
    return _told(arguments, row["name"], row["model_id"], before)


def run_rollback(arguments: argparse.Namespace) -> int:
    """Return to the champion before."""
    from trader.models.artifact import ArtifactError
    from trader.models.registry import champion, rollback

    home = home_of(arguments)
    before = champion(home, arguments.name)
    try:
        now = rollback(home, arguments.name).name
    except ArtifactError as error:
        raise UserError(f"nothing to roll back to: {error}") from None
    return _told(arguments, arguments.name, now, before)


def _rows(home: Path, name: str | None) -> list[dict[str, Any]]:
    """What is told of each model, champions first, then the newest first."""
    from trader.core.clock import iso
    from trader.models.registry import champion, list_models

    manifests = list_models(home, name)
    champions = {champion(home, own) for own in {m["name"] for m in manifests}}
    rows = []
    for manifest in manifests:
        model_id, scores, data = f"{manifest['name']}-{manifest['version']}", manifest["scores"], manifest["data"]
        rows.append({
            "model_id": model_id, "name": manifest["name"], "champion": model_id in champions,
            "created": manifest["created"], "trained_through": iso(manifest["trained_through_ns"]),
            "timeframe": data["timeframe"], "source": data["source"], "symbols": data["symbols"],
            "log_loss": scores["log_loss"], "direction": scores.get("direction", {}).get("accuracy"),
            "n_trials": scores.get("n_trials", 1), "verdict": scores["verdict"],
        })
    return sorted(rows, key=lambda row: not row["champion"])


def _one(home: Path, wanted: str) -> dict[str, Any]:
    """The one model that a person means."""
    from trader.models.registry import refused_models

    refused = refused_models(home)
    if wanted in refused:
        raise UserError(f"{wanted} must not be used: {refused[wanted]}")
    rows = _rows(home, None)
    exact = [row for row in rows if row["model_id"] == wanted]
    found = exact or [row for row in rows if wanted and row["model_id"].split("-")[-1].startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{wanted!r} could be {', '.join(row['model_id'] for row in found)}; write more of it")
    known = ", ".join(row["model_id"] for row in rows) or "none; train one: alphatrade train"
    raise UserError(f"no stored model is {wanted!r}; there are {known}")


def _told(arguments: argparse.Namespace, name: str, now: str, before: str | None) -> int:
    if arguments.json:
        print_json({"name": name, "champion": now, "before": before})
    elif now == before:
        print(f"{now} was the champion already")
    else:
        print(f"{now} is the champion now{f'; before: {before}' if before else ''}. Sessions that run keep their model")
    return 0
