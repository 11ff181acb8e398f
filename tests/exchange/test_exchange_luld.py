"""Price bands and the pauses that they bring about."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal as D
from pathlib import Path

import numpy as np
import pytest
from exchange_markets import FREE, MONDAY_OPEN, panel_of
from exchange_raw import Raw, json_of, stream

from trader.core.clock import MINUTE_NS
from trader.core.panel import BarPanel
from trader.exchange.fault_script import FaultScript
from trader.exchange.luld import is_wide, luld_band, outside_bands, reference_price
from trader.exchange.persist import VenueStore
from trader.exchange.server import ExchangeServer
from trader.exchange.types import OrderRequest, VenueRules
from trader.exchange.venue import Venue

Market = Callable[..., Venue]
CALM = (100.0, 100.5, 99.5, 100.0)
HIGH = (106.0, 106.5, 105.5, 106.0)
RULES = VenueRules(luld=True)


def minutes_panel(closes: list[float]) -> BarPanel:
    """One symbol's minute bars from 10:00 on, each at one price."""
    ts = MONDAY_OPEN + 30 * MINUTE_NS + np.arange(len(closes)) * MINUTE_NS
    price = np.array(closes)[:, None]
    return BarPanel(
        ("AAPL",), "1Min", ts, ts + MINUTE_NS, price.copy(), price.copy(), price.copy(), price.copy(),
        np.full_like(price, 1e6),
    )


@pytest.mark.parametrize(
    ("reference", "wide", "band"),
    [(100.0, False, (95.0, 105.0)), (100.0, True, (90.0, 110.0)), (3.0, False, (2.4, 3.6)), (2.0, True, (1.2, 2.8)),
     (0.5, False, (0.35, 0.65)), (0.1, False, (0.025, 0.175)), (0.1, True, (0.0001, 0.25))],
)
def test_the_tiers(reference: float, wide: bool, band: tuple[float, float]) -> None:
    assert luld_band(reference, wide=wide) == band


def test_the_reference_is_the_mean_of_five_minutes() -> None:
    nan = float("nan")
    panel = minutes_panel([100, 101, 102, 103, 104, 105, 106, nan, nan, nan, nan, nan, nan])
    assert reference_price(panel, 0, 7, int(panel.ts_ns[7])) == np.mean([102, 103, 104, 105, 106])
    assert reference_price(panel, 0, 10, int(panel.ts_ns[10])) == np.mean([105, 106])
    assert reference_price(panel, 0, 13, int(panel.available_ns[12])) == 106        # nothing of late: the last one
    assert np.isnan(reference_price(panel, 0, 0, int(panel.ts_ns[0])))


def test_the_opening_and_the_close_are_wide() -> None:
    at = [0, 14, 15, 120, 364, 365, 390, 391]
    assert [is_wide(MONDAY_OPEN + minute * MINUTE_NS) for minute in at] == [
        True, True, False, False, False, True, True, False,
    ]
    assert not is_wide(MONDAY_OPEN - 2 * 86_400 * 10**9)                            # a Saturday
    half_day = 1_720_013_400_000_000_000                                            # 2024-07-03 09:30, shut at 13:00
    assert [is_wide(half_day + minute * MINUTE_NS) for minute in (184, 185, 211)] == [False, True, False]


def test_a_bar_that_opens_beyond_its_bands_is_found() -> None:
    panel = panel_of({"AAPL": [CALM] * 4 + [HIGH], "MSFT": [CALM] * 4 + [(104.9, 105, 104, 104.5)]})
    assert outside_bands(panel, 4) == [(0, (95.0, 105.0))]
    assert outside_bands(panel, 3) == []


def test_orders_wait_while_a_symbol_pauses(market: Market) -> None:
    venue = market([CALM] * 4 + [HIGH] * 4, rules=RULES)
    for _ in range(3):
        venue.step()
    order = venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(10)))
    venue.step()
    assert (order.status, venue.halted) == ("new", set())            # suspended while the bar lasted
    assert [event.event for event in venue.drain()] == ["new", "suspended", "new"]
    venue.step()
    assert order.filled_avg_price == 106                             # the pause ended: the bands are around 106


def test_without_the_rule_nothing_pauses(market: Market) -> None:
    venue = market([CALM] * 4 + [HIGH] * 4)
    for _ in range(3):
        venue.step()
    order = venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(10)))
    venue.step()
    assert order.status == "filled"


def test_a_gap_over_night_is_the_auctions_affair(market: Market) -> None:
    venue = market([CALM] * 4 + [HIGH] * 4, per_day=4, rules=RULES)
    for _ in range(3):
        venue.step()
    order = venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(10)))
    venue.step()
    assert order.filled_avg_price == 106
    assert venue.pauses == []


@pytest.mark.parametrize("what", ["gap", "split"])
def test_a_late_opening_is_the_auctions_affair_too(market: Market, what: str) -> None:
    """Whoever first trades some bars after the bell has no bands of today."""
    never = (float("nan"),) * 5
    venue = market({"AAPL": [CALM] * 4 + [never] * 2 + [HIGH] * 2, "MSFT": [CALM] * 8}, per_day=4, rules=RULES)
    while venue.index < 4:
        venue.step()
    if what == "split":
        venue.apply_split("AAPL", D(2))
    while venue.index < 6:
        venue.step()
    order = venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(10)))
    venue.step()
    assert (order.filled_avg_price, venue.pauses) == (106, [])


def test_a_pause_lasts_five_minutes() -> None:
    venue = Venue(
        minutes_panel([100.0] * 10 + [110.0] * 12), start_index=8, fill_model=FREE, rules=RULES,
    )
    order = venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(10)))
    venue.cancel(order.id)
    venue.step()
    venue.step()
    waiting = venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(10)))
    paused = 0
    while not waiting.filled_qty:
        venue.step()
        paused += bool(venue.halted)
    assert paused == 4                              # after the fifth minute it trades again
    assert venue.index == 16
    assert [pause.band is None for pause in venue.pauses] == [False, True]


async def test_the_stream_tells_bands_and_pauses(tmp_path: Path) -> None:
    panel = panel_of({"AAPL": [CALM] * 4 + [HIGH] * 4, "MSFT": [CALM] * 8})
    server = ExchangeServer(
        Venue(panel, start_index=1, fill_model=FREE), faults=FaultScript(rules={"luld": True}),
        persist=VenueStore(tmp_path / "venue.db"),
    )
    await server.start()
    socket = await stream(server, "/v2/sip")
    for message in ('{"action":"auth","key":"a","secret":"b"}',
                    '{"action":"subscribe","statuses":["*"],"lulds":["AAPL"]}'):
        await socket.recv()
        await socket.send(message)
    await socket.recv()
    client = await Raw.to(server.port)
    said = []
    for _ in range(5):
        server.advance()
        said += await json_of(socket)
    while said[-1]["T"] != "l" or said[-1]["t"] != "2024-01-08T16:00:00Z":
        said += await json_of(socket)
    statuses = [(message["S"], message["sc"], message["rc"], message["t"][11:16]) for message in said
                if message["T"] == "s"]
    assert statuses == [("AAPL", "P", "LUDP", "15:30"), ("AAPL", "T", "LUDP", "15:45")]
    bands = [(message["d"], message["u"], message["i"]) for message in said if message["T"] == "l"]
    assert bands == [(95.0, 105.0, "B")] * 3 + [(95.0, 105.0, "D"), (100.7, 111.3, "B")]     # none of the pause
    client.writer.close()
    await socket.close()
    await server.stop()


def test_a_pause_outlives_a_crash(tmp_path: Path) -> None:
    """Whenever the exchange is killed, the same bars are paused: the first after a pause sets new bands."""
    panel = minutes_panel([100.0] * 10 + [110.0] * 5 + [125.0] * 7)

    def halts(killed_after: int) -> list[set[str]]:
        venue, found = Venue(panel, start_index=9, fill_model=FREE, rules=RULES), []
        for step in range(12):
            venue.step()
            found.append(set(venue.halted))
            if step == killed_after:
                with VenueStore(tmp_path / f"{step}.db") as store:
                    store.save(venue)
                venue = Venue(panel, start_index=9, fill_model=FREE, rules=RULES)
                with VenueStore(tmp_path / f"{step}.db") as store:
                    store.load(venue)
        return found

    whole = halts(-1)
    assert {"AAPL"} in whole
    assert not whole[-1]
    assert all(halts(step) == whole for step in range(12))
