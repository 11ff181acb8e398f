"""From the rule-based strategy to the model's: train beside the session, take over when the model is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from trader.core import events as ev
from trader.core.clock import DAY_NS, Clock
from trader.core.engine import Engine
from trader.session.learner import Learner, LoadedModel
from trader.session.plan import SIM, SessionPlan
from trader.strategy.registry import strategy_class
from trader.utils.tasks import end

HANDOVER_SLICE = 260                # in lock-step a new model takes over so many slices after its training began
STALE_LEVELS = ("STALE", "CRITICAL")
RETRAIN_PAUSE_NS = 5 * DAY_NS


class Handover:
    """Finds or trains the session's model and hands it to ``use``.

    In lock-step nothing that is journaled may depend on how fast the machine trains: the model takes over at a fixed
    slice, and the training's progress is told from that slice on.
    """

    def __init__(self, plan: SessionPlan, engine: Engine, clock: Clock, stop: asyncio.Event,
                 use: Callable[[LoadedModel, str], None]) -> None:
        settings = plan.loaded.settings
        self._plan = plan
        self._engine = engine
        self._clock = clock
        self._stop = stop
        self._use = use
        self._may_train = settings.model.train_on_start
        strategy = strategy_class(settings.strategy.name)
        self._learner = Learner(
            plan.home, settings.model.name or strategy.model_name, strategy, symbols=plan.symbols,
            timeframe=plan.timeframe, extra=settings.features.extra, months=settings.model.training_months,
            seed=settings.sim.seed, config=plan.loaded.training_path, waited_for=plan.lock_step)
        self._learning: asyncio.Task[LoadedModel | None] | None = None
        self._trained_at = 0
        self._take_over_at = 0
        self._held: list[ev.TrainingProgress] = []

    async def begin(self) -> None:
        """Take the stored model, or begin to train one; the rule-based strategy trades meanwhile."""
        before = self._clock.now_ns()
        stored = await self._learner.stored(before)
        if stored is not None:
            self._use(stored, "the stored model fits")
            return
        if self._learner.refused:
            self._engine.note("warning", "model", self._learner.refused)
        if self._may_train:
            self._train(before)

    async def before_slice(self) -> None:
        """Let a freshly trained model decide, or train anew where the model has grown stale."""
        if self._learning is None:
            self._renew_stale_model()
            return
        if self._plan.lock_step:
            if not self._due():
                return
            self._tell_held()
            await self._until_trained_or_stopped()
        if not self._learning.done():
            return
        learning, self._learning = self._learning, None
        try:
            loaded = learning.result()
        except Exception as error:
            self._engine.note("error", "training", f"{type(error).__name__}: {error}")
            return
        if loaded is not None:
            self._use(loaded, "the model is trained")

    async def cancel(self) -> None:
        """End a training that is under way."""
        if self._learning is not None:
            await end(self._learning)
            self._learning = None

    def _train(self, before: int) -> None:
        """Begin a training on bars before a moment; `before_slice` takes its model."""
        self._trained_at = before
        self._take_over_at = self._engine.book.slices + HANDOVER_SLICE
        self._engine.record(self._learner.announcement(before))
        self._learning = asyncio.create_task(self._learner.train(before, self._report, self._clock.now_ns))

    def _renew_stale_model(self) -> None:
        """In a simulated session a stale model is trained anew on the bars up to now; elsewhere a person decides."""
        if self._plan.mode != SIM or not self._may_train:
            return
        stale = self._engine.risk.system.model_level in STALE_LEVELS
        if stale and self._clock.now_ns() - self._trained_at > RETRAIN_PAUSE_NS:
            self._train(self._clock.now_ns())

    def _due(self) -> bool:
        return self._engine.book.slices >= self._take_over_at

    def _report(self, event: ev.TrainingProgress) -> None:
        if self._plan.lock_step and not self._due():
            self._held.append(event)
        else:
            self._engine.record(event)

    def _tell_held(self) -> None:
        for event in self._held:
            self._engine.record(msgspec.structs.replace(event, ts=self._clock.now_ns()))
        self._held.clear()

    async def _until_trained_or_stopped(self) -> None:
        assert self._learning is not None
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({self._learning, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
