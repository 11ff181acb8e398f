"""`AlphaTradeSystem`: builds one session from settings, runs it, stops it, halts it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from trader.core import events as ev
from trader.core.book import Book
from trader.core.clock import DAY_NS, Clock, SystemClock, VirtualClock
from trader.core.engine import Engine
from trader.core.fold import Fold
from trader.core.graceful_degradation import ComponentType, GracefulDegradationManager
from trader.core.history import History
from trader.core.ids import ClientIds, new_run_id
from trader.core.journal import Journal
from trader.core.orders import OrderState
from trader.core.panel import Slice
from trader.frames import Frame
from trader.framing import Framer, Surroundings
from trader.options import SessionOptions
from trader.session.broker_link import BrokerLink
from trader.session.carrier import Carrier
from trader.session.halt_switch import HaltSwitch
from trader.session.handover import Handover
from trader.session.learner import LoadedModel
from trader.session.loops import FreeRun, LockStep
from trader.session.market import MarketFeed
from trader.session.plan import SIM, SessionPlan, make_plan
from trader.session.ports import Ports
from trader.session.previous import Carried, last_state
from trader.session.recorder import Recorder
from trader.session.venue_control import VenueControl
from trader.session.venue_thread import VenueThread, build_venue
from trader.utils.control_client import request
from trader.utils.errors import UserError
from trader.utils.latch import latch_of
from trader.utils.paths import home_dir
from trader.utils.run_dir import JOURNAL_FILE, create_run, write_facts
from trader.utils.session_file import SessionInfo, SessionLock, own_process_start, running_sessions
from trader.utils.tasks import end

log = logging.getLogger("alphatrade.session")

SIM_KEYS = ("sim", "sim")                   # the embedded exchange takes any pair
MAX_STALENESS_S = 60.0                      # of the newest bar when it is decided on
MARGIN = 2.0                                # Alpaca's for accounts of $2,000 and more
HALT_SECONDS = 60.0                         # a caller of emergency_halt waits so long for "flat"
TRADE_STREAM_SECONDS = 15.0
RECOVER_SECONDS = 10.0                      # for the fate of orders that were being sent when the last session died


class AlphaTradeSystem:
    """One session: ``initialize``, ``run``, ``shutdown``; ``emergency_halt`` at any time in between.

    The console and ``--no-ui`` host it in a thread (`trader.host`); a script may use it directly. All coroutines
    belong to one event loop; ``halt_switch.latch_now``, ``frame``, ``status`` and ``summary`` may be called from any
    thread.
    """

    def __init__(self, options: SessionOptions | None = None) -> None:
        self.options = options or SessionOptions(home=home_dir())
        self.loop_lag_ms: float | None = None
        self.book = Book()
        self.fold = Fold(self.book)
        self._framer = Framer(self.fold)
        self._stop = asyncio.Event()
        self._stop_reason = ""
        self._running = False
        self._clock: Clock = SystemClock()
        self.halt_switch = HaltSwitch(self.fold, lambda: self._clock.now_ns())
        self._run_id = ""
        self._directory: Path | None = None
        self._elsewhere: SessionInfo | None = None      # the session that trades this account in another process
        self._refused: UserError | None = None          # why this process runs none
        self._around = Surroundings()
        self._last_slice_s: float | None = None
        self._closers: list[Callable[[], Any]] = []     # run in reverse, awaited where they are coroutines
        self._handover: Handover | None = None
        self._engine: Engine | None = None
        self._recorder: Recorder | None = None
        self._initialized = False
        self._ports: Ports | None = None
        self.unwritten = 0                              # events that the disk refused until the end
        self._venue_control: VenueControl | None = None

    # --- life --------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Everything up to the first slice. UserError names what is wrong; nothing is left half-made.

        A stop that is asked for meanwhile ends it; `run` then returns at once.
        """
        try:
            self._initialized = await self._unless_stopped(self._initialize())
        except BaseException as error:
            if self._engine is not None:
                self._engine.record(ev.SessionEnded(ts=self._clock.now_ns(), reason=f"did not start: {error}"))
            await self.shutdown()
            raise

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do the work, or break it off when a stop is asked for; whether it was done."""
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            return task.done()
        finally:
            await end(task, stopped)

    async def _initialize(self) -> None:
        from trader.utils.logger import setup_logging

        plan = self.plan = await asyncio.to_thread(make_plan, self.options)
        settings = plan.loaded.settings
        self.halt_switch.use_latch(latch_of(plan.home, plan.mode))
        lock = SessionLock(plan.home, plan.mode)
        try:
            lock.acquire()
        except UserError as error:
            self._elsewhere = next((s for s in running_sessions(plan.home) if s.mode == plan.mode), None)
            if self._elsewhere is None:
                raise
            self._refused = error                       # nothing runs here, but the one that runs can be halted
            return
        self._closers.append(lock.release)
        self._closers.append(setup_logging(plan.home, settings.log, plan.loaded.secrets.values()).close)
        url, data_url = await self._open_venue(plan)
        if self._venue_control is not None:
            self._clock = VirtualClock(int((await self._venue_control.state())["now_ns"]))
        key, secret = SIM_KEYS if plan.mode == SIM else (
            plan.loaded.secrets.api_key or "", plan.loaded.secrets.secret_key or "")
        self.link = BrokerLink(key=key, secret=secret, base_url=url, data_url=data_url, clock=self._clock)
        self._closers.append(self.link.stop)
        account = await self.link.broker.connect()
        self._run_id = new_run_id(plan.mode)
        account_key = account.account_number if plan.persist else self._run_id
        carried = await asyncio.to_thread(last_state, plan.home, plan.mode, account_key)
        self._open_journal(plan, account_key)
        market = self.market = MarketFeed(
            plan, key=key, secret=secret, base_url=url, data_url=data_url, clock=self._clock,
            on_wake=self._wake, on_event=self._take, grace_ms=settings.execution.grace_ms)
        self._closers.append(market.stop)
        history = await market.load_history(settings.sim.history_bars)
        await self._build_engine(plan, history, account.cash, carried, account_key)
        await self._connect(plan, carried)
        await self._open_ports(plan, lock, account_key)

    async def _open_venue(self, plan: SessionPlan) -> tuple[str, str | None]:
        """The addresses of trading and market data; a simulated session starts its exchange first."""
        if plan.mode != SIM:
            return plan.loaded.secrets.trading_url(plan.mode), None
        if plan.venue_url is not None:
            assert plan.venue_control is not None       # the plan asked it already
            self._venue_control = VenueControl.at(plan.venue_control)
            self._closers.append(self._venue_control.close)
            return plan.venue_url, plan.venue_url
        venue = VenueThread(lambda after: build_venue(plan, after))
        self._closers.append(lambda: asyncio.to_thread(venue.stop))
        await asyncio.to_thread(venue.start)
        self._venue_control = VenueControl("127.0.0.1", venue.control_port)
        self._closers.append(self._venue_control.close)
        return venue.url, venue.url

    def _open_journal(self, plan: SessionPlan, account_key: str) -> None:
        facts = {
            "mode": plan.mode, "account": account_key, "symbols": list(plan.symbols), "timeframe": plan.timeframe,
            "source": plan.source, "started_ns": time.time_ns(), "settings_hash": plan.loaded.settings_hash,
            "pid": os.getpid(),
        }
        self._directory = create_run(plan.home, self._run_id, facts)
        self._facts = {"run_id": self._run_id, **facts}
        self._recorder = Recorder(Journal(self._directory / JOURNAL_FILE), self.fold)

    async def _build_engine(self, plan: SessionPlan, history: History, cash: Decimal, carried: Carried | None,
                            account_key: str) -> None:
        from trader.strategy.registry import make_strategy
        from trader.wiring import Parts, build_engine

        assert self._recorder is not None
        settings = plan.loaded.settings
        self._wanted_strategy = make_strategy(settings.strategy.name, settings.strategy.params)
        strategy = self._wanted_strategy
        if strategy.needs_model:
            strategy = make_strategy(settings.strategy.fallback)
        # Somebody watches: every slice tells how far each limit is used, however little it moved.
        risk_params = msgspec.structs.replace(plan.risk_params, gauge_every_bars=1, gauge_tolerance=0.0)
        parts = Parts(plan.symbols, plan.timeframe, strategy, risk_params, settings.halt.flatten,
                      max_staleness_s=MAX_STALENESS_S * self._pace)
        engine = self._engine = build_engine(
            parts, book=self.book, apply=self.fold.apply, sink=self._recorder.sink, history=history,
            ids=ClientIds(self._run_id))
        self.halt_switch.use_engine(engine)
        engine.start(ev.SessionStarted(
            ts=self._clock.now_ns(), run_id=self._run_id, mode=plan.mode, account=account_key, symbols=plan.symbols,
            timeframe=plan.timeframe, source=plan.source, cash=carried.cash if carried else cash,
            strategy=strategy.name, margin=settings.sim.margin if plan.mode == SIM else MARGIN,
            settings_hash=plan.loaded.settings_hash, limits=engine.risk.limits(),
            previous_run_id=carried.run_id if carried else "", orders=carried.orders if carried else (),
            positions=carried.positions if carried else (), peak_equity=carried.peak_equity if carried else 0.0,
            day_start_equity=carried.day_start_equity if carried else 0.0, day=carried.day if carried else 0,
        ))
        engine.risk.system.size_factor = plan.size_factor
        for refusal in plan.overridden:
            engine.note("warning", "live gate", f"overridden: {refusal}")
        if carried is not None and carried.mended:
            engine.note("warning", "journal", carried.mended)
        orders = self.link.attach(
            lambda: self._carrier, self.book, still_wanted=self._still_wanted,
            on_halt=lambda reason: self.halt_switch.halt("rejection", reason),
            reconcile_interval_s=settings.execution.reconcile_interval_s,
            fills_after_ns=min([self._clock.now_ns(), *(o.created_ts for o in self.book.open_orders.values())])
            - DAY_NS)
        self._carrier = Carrier(engine, self._recorder, orders, self._clock.now_ns)

    async def _connect(self, plan: SessionPlan, carried: Carried | None) -> None:
        """Streams up, books green, latch honoured."""
        engine = self.engine
        for order in list(self.book.open_orders.values()):
            if order.state is OrderState.APPROVED:
                engine.record(ev.OrderCanceled(
                    ts=self._clock.now_ns(), client_order_id=order.client_order_id, reason="never left"))
        await self.link.start(TRADE_STREAM_SECONDS)
        await self.market.start(TRADE_STREAM_SECONDS)
        await self.link.recover(self.book, RECOVER_SECONDS)
        engine.risk.system.reconciled = False           # no entries before the first green comparison
        green = await self.link.reconcile()
        await self._carrier.settle()
        if not green:
            engine.note("error", "reconcile", "our books and the broker's still differ; no entries until they agree")
        self.halt_switch.arm(self._carrier, earlier_halt_done=carried is None or carried.halt_done)
        self._degradation = self._watch_components()
        self._recorder_commit()

    def _watch_components(self) -> GracefulDegradationManager:
        """The components whose health is asked for every few seconds; their failures move the engine's ladder."""
        manager = GracefulDegradationManager(self.engine.ladder, self._clock, self.engine.report_component)
        manager.register_component("broker", ComponentType.BROKER, self.link.broker.health_check)
        manager.register_component("data_feed", ComponentType.DATA, self.market.live.health_check)
        return manager

    async def _open_ports(self, plan: SessionPlan, lock: SessionLock, account_key: str) -> None:
        from trader.core.state_manager import RedisStateManager

        ports = self._ports = Ports(self)
        self._closers.append(ports.close)
        await ports.control.start()
        assert self._directory is not None
        lock.publish(SessionInfo(
            mode=plan.mode, run_id=self._run_id, pid=os.getpid(), process_start=own_process_start(),
            started_ns=time.time_ns(), journal=str(self._directory / JOURNAL_FILE), control_host=ports.control.host,
            control_port=ports.control.port, token=ports.token))
        redis = plan.loaded.redis_address
        self.state_manager = RedisStateManager(
            *(redis or (None, None)), fallback_path=plan.home / "state" / "sessions.sqlite",
            account=f"{plan.mode}:{account_key}", use_redis=redis is not None, book=self.book)
        await self.state_manager.initialize()
        self._closers.append(self.state_manager.end_session)
        recovered = await self.state_manager.recover_state()
        if recovered["previous_session"] is not None:
            self.engine.note("info", "session", f"recovered from session {recovered['previous_session'].session_id}")
        await self.state_manager.start_session(session_id=self._run_id)
        if plan.loaded.settings.health.enabled:
            warnings = await ports.open_health(
                plan.loaded.settings.health, {"broker": self.link.broker.health_check},
                {"state": self.state_manager.health_check})
            for warning in warnings:
                self.engine.note("info", "health", warning)

    async def run(self) -> None:
        """Run until the market data end, the wanted slices are done, or somebody asks to stop."""
        if self._refused is not None:
            raise self._refused
        if not self._initialized:
            if not self._stop.is_set():
                raise UserError("the session is not initialized; await system.initialize() first")
            return
        plan = self.plan
        if self._wanted_strategy.needs_model:
            self._handover = Handover(plan, self.engine, self._clock, self._stop, self._use_model)
            await self._handover.begin()
        background = [asyncio.create_task(self._commit_group()), asyncio.create_task(self._beat())]
        if not plan.lock_step:
            background.append(asyncio.create_task(self.link.reconciler.run(
                lambda why: self._report_failure("reconciliation", why))))
        self._running = True
        try:
            if plan.lock_step:
                assert self._venue_control is not None
                loop = LockStep(self._venue_control, self.link.stream, self.market, self._carrier, self._on_slice)
                reason = await loop.run(self._stop, plan.stop_after)
            else:
                self._free_run = FreeRun(self.market, self._on_slice, self._every_second)
                reason = await self._free_run.run(self._stop, plan.stop_after)
        finally:
            self._running = False
            await end(*background)
        await self._carrier.settle()
        self._carrier.closed = True
        self.engine.record(ev.SessionEnded(ts=self._clock.now_ns(), reason=self._stop_reason or reason))

    async def shutdown(self) -> None:
        """Close everything that was opened, in reverse; the journal last. Safe to call twice."""
        if self._handover is not None:
            await self._handover.cancel()
        while self._closers:
            closer = self._closers.pop()
            if not self._closers:
                self._close_journal()               # before the lock is released
            try:
                result = closer()
                if inspect.isawaitable(result):
                    async with asyncio.timeout(10):
                        await result
            except Exception as error:              # one part that will not close must not keep the others open
                log.warning("closing: %s: %s", type(error).__name__, error)

    def _close_journal(self) -> None:
        if self._recorder is None or self._directory is None:
            return
        self._carry_nothing_more()
        with contextlib.suppress(sqlite3.Error):
            self._recorder.store_summary(self.summary())
        try:
            self._recorder.journal.close()
        except sqlite3.Error as error:
            self.unwritten = self._recorder.journal.pending
            log.error("%d events could not be written at the end: %s", self.unwritten, error)
        if not self._initialized and not self._recorder.traded:
            shutil.rmtree(self._directory, ignore_errors=True)      # it never began: no run to look at
            self._directory = None
            return
        with contextlib.suppress(UserError):
            write_facts(self._directory, {**self._facts, "ended_ns": time.time_ns(), "summary": self.summary()})

    def _carry_nothing_more(self) -> None:
        carrier = getattr(self, "_carrier", None)
        if carrier is not None:
            carrier.closed = True

    def request_stop(self, reason: str) -> None:
        """End the session in order, once, whatever arrives meanwhile."""
        if not self._stop.is_set():
            self._stop_reason = reason
            self._stop.set()
            self._wake()

    @property
    def _pace(self) -> float:
        """Simulated seconds a second: what ages in seconds of a person's time ages that much faster on the clock."""
        return 1.0 if self.plan.lock_step else max(1.0, self.plan.speed)

    # --- slices ------------------------------------------------------------------------------------------

    async def _on_slice(self, bar: Slice) -> None:
        if isinstance(self._clock, VirtualClock):
            self._clock.advance_to(bar.available_ns)
        if self._handover is not None:
            await self._handover.before_slice()
            if self._stop.is_set() and self.plan.lock_step:
                return                                  # stopped while it waited for a training
        self._last_slice_s = time.monotonic()
        engine = self.engine
        engine.risk.system.data_age_s = max(0.0, (self._clock.now_ns() - bar.available_ns) / 1e9 / self._pace)
        commands = engine.on_slice(bar)
        while engine.halt_requests:
            reason = engine.halt_requests.pop(0)
            self.halt_switch.latch_now("breaker", reason)
            commands += engine.halt("breaker", reason, engine.now_ns)
        await self._carrier.carry_out(commands)
        if self.plan.lock_step and self.book.slices % 64 == 0:
            self._recorder_commit()

    def _report_failure(self, component: str, why: str) -> None:
        self.engine.report_component(component, False, self._clock.now_ns(), why)

    def _take(self, event: ev.Event) -> None:
        if self._engine is not None:
            self._carrier.take(event)

    def _wake(self) -> None:
        loop = getattr(self, "_free_run", None)
        if loop is not None:
            loop.wake.set()

    async def _commit_group(self) -> None:
        """What may wait is on the disk within the group-commit time."""
        pause = self.plan.loaded.settings.journal.group_commit_ms / 1000
        while True:
            await asyncio.sleep(pause)
            self._recorder_commit()

    def _recorder_commit(self) -> None:
        assert self._recorder is not None
        try:
            self._recorder.commit()
        except sqlite3.Error as error:
            self.engine.report_component("journal", False, self._clock.now_ns(), str(error))
            return
        refused = "journal" in self.engine.ladder.failing
        self.engine.report_component("journal", True, self._clock.now_ns())
        if refused and self.fold.halt.step == "failed":         # its closing orders could not be sent; now they can
            self.halt_switch.act("journal", "finishing the halt")

    async def _beat(self) -> None:
        """Heartbeat and the summary for those who look from outside."""
        assert self._recorder is not None
        while True:
            await asyncio.sleep(2.0)
            with contextlib.suppress(sqlite3.Error):
                self._recorder.store_summary(self.summary())
            alone = await self.state_manager.heartbeat(equity=self.book.equity, bars=self.book.slices)
            if not alone and not self.engine.halted:
                self.halt_switch.halt("lease", "another session has taken this account")
            if not self.plan.lock_step:
                await self._degradation.check_all()

    async def _every_second(self) -> None:
        """Readings that no event brings: the venue's pace and end, the market's hours."""
        self._around.speed = "real time"
        if self._venue_control is not None:
            try:
                state = await self._venue_control.state()
            except (OSError, asyncio.IncompleteReadError, ConnectionError) as error:
                self.engine.report_component("venue", False, self._clock.now_ns(), str(error))
                return
            self.engine.report_component("venue", True, self._clock.now_ns())
            self._around.speed = "paused" if state["paused"] else f"×{state['speed']:g}"
            self._around.market_open = bool(state["in_session"])
            if state["done"] and not self.market.due():
                self.request_stop("all bars played")
        else:
            await asyncio.to_thread(self._read_market_hours)

    def _read_market_hours(self) -> None:
        from trader.core import sessions

        now = self._clock.now_ns()
        self._around.market_open = sessions.is_open(now)
        change = sessions.next_close if self._around.market_open else sessions.next_open
        self._around.market_change_ns = change(now)

    # --- the model ---------------------------------------------------------------------------------------

    def _use_model(self, loaded: LoadedModel, reason: str) -> None:
        from trader.mlops.monitoring import ModelMonitor
        from trader.prediction import HealthWatch, LivePredictor, model_loaded
        from trader.strategy.registry import make_strategy

        settings, engine = self.plan.loaded.settings, self.engine
        predictor = LivePredictor(loaded.artifact, loaded.features, self.market.seen(engine.history))
        monitor = ModelMonitor(loaded.artifact.manifest, self.plan.symbols)
        monitor.prime(self.market.seen(engine.history))
        engine.predictor = predictor
        engine.monitor = HealthWatch(monitor, predictor)
        engine.record(model_loaded(loaded.artifact, self._clock.now_ns()))
        strategy = make_strategy(
            settings.strategy.name, settings.strategy.params, barriers=loaded.barriers(self.plan.symbols))
        engine.use_strategy(strategy, reason, self._clock.now_ns())

    # --- halt --------------------------------------------------------------------------------------------

    async def emergency_halt(
        self, source: str = "command", reason: str = "emergency halt", *, wait_s: float = HALT_SECONDS,
    ) -> dict[str, Any]:
        """Cancel all orders, close all positions, latch trading off until a person resumes.

        Where another process runs this account's session, that one is told to.

        Returns
        -------
        dict
            ``orders_cancelled``, ``positions_closed``, and ``failures`` with what could not be and why. Where the
            market is closed or stands still, positions close when it opens: ``failures`` then says what is waiting.
        """
        if self._elsewhere is not None:
            self.halt_switch.latch_now(source, reason)
            answer = await asyncio.to_thread(
                request, self._elsewhere, "halt", source=source, reason=reason, timeout_s=wait_s)
            return {key: answer[key] for key in ("orders_cancelled", "positions_closed", "failures")}
        self.halt_switch.halt(source, reason)
        # A venue in lock-step stands still without `run`.
        return await self.halt_switch.outcome(wait_s, lambda: self._running or not self.plan.lock_step)

    async def resume(self, by: str, reason: str) -> None:
        """Lift the latch; UserError while the halt is still at work."""
        self.halt_switch.lift(by, reason)
        if self._recorder is not None:
            self._recorder_commit()

    def _still_wanted(self, client_order_id: str) -> bool:
        """Whether an order that did not land may be sent again: not after a halt, and never from an earlier session."""
        order = self.book.orders.get(client_order_id)
        return bool(order and client_order_id.startswith(self._run_id) and not self.engine.halted)

    # --- commands from outside ---------------------------------------------------------------------------

    def venue_command(self, name: str, **arguments: Any) -> None:
        """``set_speed``, ``pause_venue`` or ``resume_venue``; ignored outside free-running simulations."""
        control = self._venue_control
        if control is None or self.plan.lock_step:
            return
        calls: dict[str, Callable[[], Any]] = {
            "set_speed": lambda: control.set_speed(float(arguments["speed"])),
            "pause_venue": control.pause, "resume_venue": control.resume,
        }
        task = asyncio.get_running_loop().create_task(calls[name]())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    # --- looking -----------------------------------------------------------------------------------------

    @property
    def health_port(self) -> int | None:
        """Where health is served; None where it is not."""
        return self._ports.health_port if self._ports is not None else None

    @property
    def engine(self) -> Engine:
        """The engine, once initialized."""
        if self._engine is None:
            raise UserError("the session is not initialized yet")
        return self._engine

    def frame(self) -> Frame:
        """The present picture; call in the loop's thread."""
        around = self._around
        live = isinstance(self._clock, SystemClock)
        around.now_ns = self._clock.now_ns() if live or self.fold.session is None else None
        around.loop_lag_ms = self.loop_lag_ms
        around.data_age_s = None if self._last_slice_s is None else time.monotonic() - self._last_slice_s
        return self._framer.frame(around)

    def status(self) -> dict[str, Any]:
        """Figures for health, metrics and ``alphatrade status``."""
        book = self.book
        age = None if self._last_slice_s is None else round(time.monotonic() - self._last_slice_s, 3)
        return {
            **self.summary(), "drawdown": round(max(0.0, 1 - book.equity / book.peak_equity), 6)
            if book.peak_equity else 0.0, "open_orders": len(book.open_orders),
            "gross_exposure": round(book.gross, 2), "data_age_s": age, "loop_lag_ms": self.loop_lag_ms,
            "halted": self.fold.halt.latched, "degradation": self.fold.degradation.level
            if self.fold.degradation else "NORMAL", "strategy": self.fold.strategy, "health_port": self.health_port,
        }

    def summary(self) -> dict[str, Any]:
        """What happened, in one flat object."""
        counts, book = self.fold.counts, self.book
        return {
            "run_id": self._run_id, "mode": self.plan.mode if hasattr(self, "plan") else self.options.mode,
            "source": self.fold.session.source if self.fold.session else None, "bars": book.slices,
            "orders": counts["orders"], "fills": counts["fills"], "vetoes": counts["vetoes"],
            "halts": counts["halts"], "equity": round(book.equity, 2), "cash": str(book.cash),
            "positions": {symbol: str(p.quantity) for symbol, p in sorted(book.positions.items())},
            "trades": len(book.closed_trades), "errors": counts["errors"], "anomalies": counts["anomalies"],
            "ended": self.fold.ended, "journal": str(self._directory / JOURNAL_FILE) if self._directory else None,
        }

    def commit_now(self) -> None:
        """Put on the disk what is not there yet; for a process that is about to leave at once."""
        if self._recorder is not None:
            with contextlib.suppress(sqlite3.Error):
                self._recorder.commit()

    def log_crash(self, error: BaseException) -> None:
        """Keep the traceback of what ended the engine."""
        log.critical("the engine failed: %s", json.dumps(str(error)), exc_info=error)


