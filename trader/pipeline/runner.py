"""Runs a stage and whatever of its needs is stale; what is fresh is skipped, and it is said why."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from trader.core.clock import iso
from trader.pipeline.context import FOLDER, Context
from trader.pipeline.leftovers import sweep
from trader.pipeline.parallel import SERIAL, Workers
from trader.pipeline.stage_table import STAGES, Stage, chain
from trader.pipeline.state import Finished, code_hash, file_hash, save_state, value_hash
from trader.utils.atomic import atomic_write_text
from trader.utils.errors import UserError
from trader.utils.session_file import SessionLock

REPORTS = Path("results") / "pipeline"


@dataclass(frozen=True, slots=True)
class StageReport:
    """What became of a stage in this command; ``reason`` says why it ran or was skipped, ``note`` how it went."""

    stage: str
    status: Literal["fresh", "stale", "ran", "failed"]
    reason: str
    text: str = ""
    ok: bool = True
    seconds: float = 0.0
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    note: str = ""


class Listener:
    """Hears what a run does; does nothing itself."""

    def begins(self, stage: str, reason: str) -> None:
        """A stage begins to run."""

    def ticks(self, stage: str, text: str, done: int, total: int) -> None:
        """It has done so many of its units."""

    def ends(self, report: StageReport) -> None:
        """It was skipped, has run, or has failed."""


def run_stage(context: Context, name: str, *, force: bool = False, listener: Listener | None = None,
              ) -> list[StageReport]:
    """Run a stage after everything stale that it depends on.

    Returns
    -------
    One report a stage, in order; the run stops at the first whose verdict is no.

    Raises
    ------
    UserError
        A stage failed (its report under ``results/pipeline`` says so too), or another pipeline runs in this home.
    """
    hear = listener or Listener()
    reports: list[StageReport] = []
    lock = SessionLock(context.home, "pipeline")
    try:
        lock.acquire()
    except UserError as error:
        if error.exit_code != 3:
            raise
        raise UserError(
            f"another pipeline runs in {context.home}; wait for it, or choose another --home", exit_code=3) from None
    try:
        sweep(context.home / folder for folder in (FOLDER, REPORTS, REPORTS.parent, "models", "state"))
        for stage in chain(name):
            inputs = inputs_of(stage, context)
            stale = why_stale(stage, inputs, context)
            forced = force and stage.name == name
            if stale is None and not forced:
                report = _fresh(stage, context)
            else:
                if forced:
                    stage.forget(context)
                report = _run(stage, inputs, "forced" if forced else str(stale), context, hear)
            hear.ends(report)
            reports.append(report)
            if not report.ok and stage.blocks and stage.name != name:
                break
    finally:
        lock.release()
    return reports


def survey(context: Context, names: Sequence[str] = tuple(STAGES)) -> list[StageReport]:
    """What a run would do with each stage, without running any."""
    reports: list[StageReport] = []
    waiting: set[str] = set()
    for name in names:
        stage, stored = STAGES[name], context.state.stages.get(name)
        behind = [need for need in stage.needs if need in waiting]
        if behind:
            reason: str | None = f"{behind[0]} must run first"
        elif not stage.cached:
            reason = "looks at the present"
        else:
            reason = why_stale(stage, inputs_of(stage, context), context)
        if reason is None:
            reports.append(_fresh(stage, context))
        else:
            waiting.add(name)
            reports.append(StageReport(name, "stale", reason, stored.text if stored else ""))
    return reports


def inputs_of(stage: Stage, context: Context) -> dict[str, str]:
    """Hashes of everything that decides a stage's result; its needs must have run."""
    needs = {}
    for need in stage.needs:
        if need in context.state.stages:
            wanted = stage.reads.get(need)
            found = context.state.stages[need].outputs
            needs[need] = value_hash({p: h for p, h in found.items() if wanted in (None, Path(p).name)})
    own = {f"its {name}": value_hash(value) for name, value in stage.settings(context).items()}
    return {"its code": code_hash(stage.code), **own, **needs}


def why_stale(stage: Stage, inputs: dict[str, str], context: Context) -> str | None:
    """Why a stage must run; None where its inputs and outputs are what they were when it ran."""
    if not stage.cached:
        return "looks at the present"
    before = context.state.stages.get(stage.name)
    if before is None:
        return "has not run yet"
    changed = [name for name in inputs if before.inputs.get(name) != inputs[name]]
    if changed:
        return ", ".join(f"{name} gave another result" if name in STAGES else f"{name} changed" for name in changed)
    for path, digest in before.outputs.items():
        found = file_hash(context.home / path)
        if found != digest:
            return f"{path} is missing" if found is None else f"{path} was changed"
    return None


def _fresh(stage: Stage, context: Context) -> StageReport:
    stored = context.state.stages[stage.name]
    report = StageReport(
        stage.name, "fresh", f"inputs and outputs unchanged since {stored.finished_at[:16].replace('T', ' ')} UTC",
        stored.text, stored.ok, stored.seconds, stored.facts)
    _write(context, report, stored)
    return report


def _run(stage: Stage, inputs: dict[str, str], reason: str, context: Context, hear: Listener) -> StageReport:
    hear.begins(stage.name, reason)
    started = time.monotonic()
    watched = dataclasses.replace(
        context, tick=lambda text, done, total: hear.ticks(stage.name, text, done, total),
        key=value_hash(inputs)[:12])
    try:
        result = stage.run(watched)
    except Exception as error:
        report = StageReport(
            stage.name, "failed", reason, " ".join(str(error).split()) or type(error).__name__, False,
            round(time.monotonic() - started, 3))
        with contextlib.suppress(UserError):        # where the disk refuses, the first error is the one to tell
            _write(context, report, None)
        hear.ends(report)
        if isinstance(error, UserError):
            raise UserError(f"stage {stage.name}: {error}", exit_code=error.exit_code) from error
        raise
    seconds = round(time.monotonic() - started, 3)
    finished = Finished(
        ok=result.ok, text=result.text, inputs=inputs,
        outputs={context.relative(path): file_hash(path) or "" for path in result.outputs},
        facts=json.loads(json.dumps(result.facts, default=str)), finished_at=iso(time.time_ns()), seconds=seconds,
        reason=reason, note=result.note,
    )
    context.state.stages[stage.name] = finished
    save_state(context.home, context.state)
    report = StageReport(stage.name, "ran", reason, result.text, result.ok, seconds, finished.facts, result.note)
    _write(context, report, finished)
    return report


def _write(context: Context, report: StageReport, finished: Finished | None) -> None:
    """``results/pipeline/<stage>.json``: equal inputs give equal bytes, whenever, wherever and by whom it was run.

    When a stage ran, how long it took and why are in the state file; the home is called ``<home>``.
    """
    record: dict[str, Any] = {"stage": report.stage, "status": "ran" if finished else "failed", "ok": report.ok,
                              "text": report.text, "facts": report.facts}
    if finished is not None:
        record |= {"inputs": finished.inputs, "outputs": finished.outputs}
    text = json.dumps(_portable(record, str(context.home)), indent=1, default=str) + "\n"
    path = context.home / REPORTS / f"{report.stage}.json"
    if not path.is_file() or path.read_bytes() != text.encode():
        atomic_write_text(path, text)


def _portable(value: Any, home: str) -> Any:
    """A JSON value without the place of the home in its texts."""
    if isinstance(value, dict):
        return {key: _portable(item, home) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(item, home) for item in value]
    return value.replace(home, "<home>") if isinstance(value, str) else value


def make_context(
    home: Path, config: Path | None, given: dict[str, Any], *, forget_choices: bool = False,
    workers: Workers = SERIAL,
) -> Context:
    """Settings, remembered choices and those that are given now; nothing is written yet.

    Raises
    ------
    UserError
        A mistake in the settings.
    """
    from trader.config import load_settings
    from trader.pipeline.state import Choices, load_state
    from trader.pipeline.training_settings import load_training_settings

    loaded = load_settings(home, config)
    training = load_training_settings(home, loaded.training_path)
    state = load_state(home)
    before = Choices() if forget_choices else state.choices
    state.choices = before.updated(given)
    return Context(home, loaded, training, state, workers=workers)


def plain(report: StageReport) -> dict[str, Any]:
    """For ``--json``."""
    facts: dict[str, Any] = msgspec.to_builtins(dataclasses.asdict(report))
    return facts

