"""What an earlier session of the same account left: read from its journal, carried into the next one."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from trader.core.book import Order
from trader.core.events import CarriedOrder, CarriedPosition
from trader.core.snapshots import recover
from trader.utils.run_dir import JOURNAL_FILE, RUN_FILE, read_facts


@dataclass(frozen=True, slots=True)
class Carried:
    """The end of a session as the start of the next."""

    run_id: str
    cash: Decimal
    orders: tuple[CarriedOrder, ...]
    positions: tuple[CarriedPosition, ...]
    peak_equity: float
    day_start_equity: float
    day: int
    halt_done: bool                     # it was halted and flat: nothing of the halt is left to do
    ended_in_order: bool
    mended: str | None


def last_state(home: Path, mode: str, account: str) -> Carried | None:
    """The end of this account's newest run that got as far as its first event; None when there is none.

    A session that died before its start was durable left nothing behind: the one before it counts.
    """
    for run in runs_of(home, mode, account):
        carried = carry_over(run)
        if carried is not None:
            return carried
    return None


def runs_of(home: Path, mode: str, account: str) -> list[Path]:
    """The directories of this account's runs, newest first."""
    found: list[tuple[int, Path]] = []
    for file in (home / "runs").glob(f"*/{RUN_FILE}"):
        facts = read_facts(file.parent) or {}
        if facts.get("mode") == mode and facts.get("account") == account and (file.parent / JOURNAL_FILE).is_file():
            found.append((int(facts.get("started_ns", 0)), file.parent))
    return [path for _, path in sorted(found, reverse=True)]


def carry_over(run: Path) -> Carried | None:
    """Read a run's journal back to its end; None when it holds nothing. A damaged tail is quarantined first."""
    fold, _, mended = recover(run / JOURNAL_FILE)
    if fold.session is None:
        return None
    book = fold.book
    return Carried(
        run_id=fold.session.run_id,
        cash=book.cash,
        orders=tuple(_carried(order) for order in book.open_orders.values()),
        positions=tuple(
            CarriedPosition(symbol=p.symbol, quantity=p.quantity, average_price=p.average_price,
                            opened_ts=p.opened_ts, strategy=p.strategy)
            for p in book.positions.values()
        ),
        peak_equity=book.peak_equity,
        day_start_equity=book.day_start_equity,
        day=book.day,
        halt_done=fold.halt.latched and fold.halt.step == "flat",
        ended_in_order=bool(fold.ended),
        mended=mended,
    )


def _carried(order: Order) -> CarriedOrder:
    return CarriedOrder(
        client_order_id=order.client_order_id, symbol=order.symbol, side=order.side, quantity=order.quantity,
        order_type=order.order_type, state=order.state.value, role=order.role,
        broker_order_id=order.broker_order_id, parent_client_order_id=order.parent,
        filled_quantity=order.filled_quantity, average_price=order.average_price or Decimal(0),
        limit_price=order.limit_price, stop_price=order.stop_price, take_profit=order.take_profit,
        stop_loss=order.stop_loss, time_in_force=order.time_in_force, strategy=order.strategy,
        created_ts=order.created_ts, executions=tuple(sorted(order.executions)),
    )
