"""A slow accountant: hears trade updates and REST answers as JSON, knows the bars, and believes nothing else."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal as D
from fractions import Fraction
from typing import Any

from trader.core.panel import BarPanel

Json = dict[str, Any]
ENDS = {"filled", "canceled", "expired", "replaced", "rejected"}
FILLS = {"fill", "partial_fill"}
# The states in which each event leaves its order; of events that are not here any.
LEAVES = {
    **{event: {event} for event in (
        "accepted", "pending_new", "pending_cancel", "pending_replace", "done_for_day", "suspended", "canceled",
        "expired", "replaced", "rejected",
    )},
    "new": {"new", "partially_filled"}, "fill": {"filled"},
    "partial_fill": {"partially_filled", "pending_cancel", "pending_replace"},
}
CONSTANT = ("client_order_id", "symbol", "side", "type", "order_class", "created_at", "replaces")
TOLD = ("status", "qty", "filled_qty", "filled_avg_price", "limit_price", "replaces")


def nanoseconds(text: str) -> int:
    """RFC 3339 as ns UTC."""
    whole, _, rest = text.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9 + int(rest.ljust(9, "0") or 0)


def sign_of(order: Json) -> int:
    return 1 if order["side"] == "buy" else -1


@dataclass
class Record:
    """What is known of an order, and what its fills add up to."""

    last: Json
    parent: str | None = None
    filled: D = D(0)
    value: D = D(0)
    touched: bool = False           # its stop lies in the range of a bar that it saw
    traded: bool = False            # has fills of its own, not only those of the order that it replaced

    @property
    def over(self) -> bool:
        return self.last["status"] in ENDS

    @property
    def left(self) -> D:
        return D(self.last["qty"] or 0) - D(self.last["filled_qty"])


class Accountant:
    """Checks while it listens. ``share`` and ``rate`` are the fill model's share of a bar and least fill rate."""

    def __init__(self, cash: D, share: float, rate: float) -> None:
        self.cash = self.deposit = cash
        self.fees = D(0)
        self.shares: dict[str, D] = defaultdict(D)
        self.cost: dict[str, Fraction] = defaultdict(Fraction)
        self.realized = Fraction(0)
        self.orders: dict[str, Record] = {}
        self.names: set[str] = set()
        self.fills: list[tuple[str, str, str]] = []
        self._executions: set[str] = set()
        self._seq = self._now = 0
        self._share, self._rate = share, rate
        self._bar: tuple[BarPanel, int] | None = None
        self._taken: dict[str, float] = {}
        self._before: dict[str, Json] = {}

    # --- listening ----------------------------------------------------------------------------------------------

    def meet(self, order: Json, parent: str | None = None) -> Record:
        """An order as an answer or an update shows it."""
        for leg in order["legs"] or ():
            self.meet(leg, order["id"])
        known = self.orders.get(order["id"])
        if known is None:
            assert order["client_order_id"] not in self.names, "two orders of one name"
            self.names.add(order["client_order_id"])
            known = self.orders[order["id"]] = Record(order, parent)
            old = self.orders.get(order["replaces"] or "")
            if old is not None:
                known.parent, known.touched = old.parent, old.touched
        for name in CONSTANT:
            assert known.last[name] == order[name], (name, known.last, order)
        assert not known.over or order["status"] == known.last["status"], ("left its end", known.last, order)
        assert nanoseconds(order["updated_at"]) >= nanoseconds(known.last["updated_at"])
        filled, qty = D(order["filled_qty"]), order["qty"]
        assert filled >= D(known.last["filled_qty"]), "filled_qty fell"
        assert (filled > 0) == (order["filled_avg_price"] is not None)
        assert qty is not None or D(order["notional"]) >= 1
        assert qty is None or 0 <= filled <= D(qty)
        assert (order["status"] == "filled") == (qty is not None and filled == D(qty))
        if qty is not None and D(qty) % 1 and not order["position_intent"].endswith("close"):
            assert (order["time_in_force"], order["order_class"]) == ("day", "simple")
        known.last = {**order, "legs": order["legs"] or known.last["legs"]}
        return known

    def hear(self, data: Json) -> None:
        """One trade update."""
        order, event, now = data["order"], data["event"], nanoseconds(data["timestamp"])
        assert data["seq"] == self._seq + 1
        assert now >= self._now, "time went back"
        assert data["execution_id"] not in self._executions
        self._seq, self._now = data["seq"], now
        self._executions.add(data["execution_id"])
        if self._bar is not None:
            panel, i = self._bar
            assert panel.ts_ns[i] <= now <= panel.available_ns[i], "told before or after its bar"
        assert order["status"] in LEAVES.get(event, {order["status"]}), (event, order)
        known = self.meet(order)
        replaced = self.orders.get(order["replaces"] or "")
        if replaced is not None and not known.traded and event not in FILLS:
            known.filled, known.value = replaced.filled, replaced.value         # an heir goes on with its fills
        assert (event in FILLS) == ("qty" in data)
        if event in FILLS:
            self._fill(known, data)
        if order["status"] not in ("pending_new", "rejected"):
            assert D(order["filled_qty"]) == known.filled

    def _fill(self, known: Record, data: Json) -> None:
        order, qty, price, fee = data["order"], D(data["qty"]), D(data["price"]), D(data["commission"])
        assert self._bar is not None, "a fill between bars"
        panel, i = self._bar
        symbol, sign = order["symbol"], sign_of(order)
        opens, high, low, volume = (
            getattr(panel, name).item(i, panel.column(symbol)) for name in ("open", "high", "low", "volume")
        )
        assert volume > 0
        self._taken[symbol] = self._taken.get(symbol, 0.0) + float(qty)
        assert self._taken[symbol] <= self._share * volume / self._rate + 1e-6, "more than there was"
        wide, paid = 1 + sum(data["costs_bps"].values()) / 1e4, float(price)
        assert min(data["costs_bps"].values()) >= 0
        best, worst = (low, high * wide) if sign > 0 else (high, low * (2 - wide))
        assert sign * (paid - best) >= -0.011, ("better than the bar", data)
        assert sign * (worst - paid) >= -0.011, ("worse than the bar and its costs", data)
        if order["limit_price"] is not None:
            limit, was = D(order["limit_price"]), self._before.get(order["id"])
            assert sign * (limit - price) >= 0, "beyond its limit"
            works = was is not None and was["status"] in ("new", "partially_filled")
            if order["type"] == "limit" and works and order["time_in_force"] in ("day", "gtc"):
                resting = sign * (opens - float(limit)) > 0
                assert price == limit if resting else sign * (paid - opens) >= -0.011, "better than it could be"
        if order["type"] in ("stop", "stop_limit"):
            stop = float(order["stop_price"])
            assert known.touched or known.filled or (high >= stop if sign > 0 else low <= stop), "nobody touched it"
            known.touched = True
        if known.parent is not None and order["order_class"] != "oco":
            assert self.orders[known.parent].last["status"] in ("filled", "replaced"), "a leg before its entry"
        assert order["time_in_force"] != "fok" or (not known.filled and data["event"] == "fill")
        known.traded = True
        known.filled, known.value = known.filled + qty, known.value + qty * price
        assert abs(D(order["filled_avg_price"]) - known.value / known.filled) < D("1e-6")
        self._book(symbol, sign * qty, price, fee)
        assert D(data["position_qty"]) == self.shares[symbol]
        if order["position_intent"].endswith("close"):
            assert self.shares[symbol] * sign <= 0, "what closes turned the position"
        self.fills.append((data["execution_id"], data["qty"], data["price"]))

    def _book(self, symbol: str, qty: D, price: D, fee: D) -> None:
        held = self.shares[symbol]
        self.cash -= qty * price + fee
        self.fees += fee
        closed = D(0) if held * qty >= 0 else min(abs(qty), abs(held)).copy_sign(qty)
        if closed:
            part = self.cost[symbol] * Fraction(abs(closed)) / Fraction(abs(held))
            self.realized -= Fraction(closed) * Fraction(price) + part
            self.cost[symbol] -= part
        self.cost[symbol] += Fraction(qty - closed) * Fraction(price)
        self.shares[symbol] = held + qty

    # --- bars ---------------------------------------------------------------------------------------------------

    def begin(self, panel: BarPanel, i: int) -> None:
        """A bar is about to be played."""
        self._bar, self._taken = (panel, i), {}
        self._before = {key: known.last for key, known in self.orders.items() if not known.over}

    def end(self, *, closes: bool) -> None:
        """It was played; ``closes`` says that its session is over."""
        assert self._bar is not None
        panel, i = self._bar
        for known in self.orders.values():
            order, column = known.last, panel.column(known.last["symbol"])
            if order["type"] in ("stop", "stop_limit") and order["status"] != "held" and not known.over:
                edge = (panel.high if order["side"] == "buy" else panel.low).item(i, column)
                known.touched |= sign_of(order) * (edge - float(order["stop_price"])) >= 0
        for key, was in self._before.items():
            known = self.orders[key]
            order = known.last
            if was["status"] in ("new", "partially_filled") and order["time_in_force"] in ("ioc", "fok"):
                assert known.over, "it rests"
            if closes and was["status"] != "held" and order["time_in_force"] in ("day", "cls"):
                assert known.over, ("it outlives its session", order)
        self._bar = None

    # --- looking ------------------------------------------------------------------------------------------------

    def compare(self, account: Json, positions: list[Json], listed: list[Json]) -> None:
        """What REST shows is what was heard, to the cent."""
        assert D(account["cash"]) == self.cash
        assert D(account["equity"]) == self.cash + sum((D(held["market_value"]) for held in positions), D(0))
        assert D(account["buying_power"]) >= 0
        assert {held["symbol"]: D(held["qty"]) for held in positions} == {s: q for s, q in self.shares.items() if q}
        gone = Fraction(self.deposit) + self.realized - Fraction(self.fees)
        assert Fraction(self.cash) + sum(self.cost.values(), Fraction(0)) == gone
        for held in positions:
            assert abs(Fraction(D(held["cost_basis"])) - self.cost[held["symbol"]]) < Fraction(1, 10**5)
        for symbol, held in self.shares.items():
            wanted: dict[tuple[str, str], D] = {}
            for key, known in self.orders.items():
                order = known.last
                works = not known.over and order["status"] not in ("held", "pending_new") and order["qty"] is not None
                if works and order["symbol"] == symbol and order["position_intent"].endswith("close"):
                    group = order["side"], self.root(known.parent or key) if order["order_class"] != "simple" else key
                    assert wanted.setdefault(group, known.left) == known.left, "exits of a group differ"
            for side, covered in (("sell", max(held, D(0))), ("buy", max(-held, D(0)))):
                assert sum((left for (of, _), left in wanted.items() if of == side), D(0)) <= covered
        shown = {order["id"]: order for order in listed}
        for key, known in self.orders.items():
            assert (key in shown) is not known.over, ("listed as open", known.last)
            if key in shown and known.last["status"] != "held":
                assert [known.last[name] for name in TOLD] == [shown[key][name] for name in TOLD]

    def root(self, key: str) -> str:
        """The first order of a chain of replacements."""
        while self.orders[key].last["replaces"] is not None:
            key = self.orders[key].last["replaces"]
        return key

    def check_chains(self) -> None:
        """Nobody is replaced twice; who was replaced has a successor, and none but the replaced."""
        heirs = [
            known.last["replaces"] for known in self.orders.values()
            if known.last["replaces"] and known.last["status"] != "rejected"
        ]
        assert len(set(heirs)) == len(heirs)
        assert set(heirs) >= {key for key, known in self.orders.items() if known.last["status"] == "replaced"}
