"""The guide's broker, state, health and diagnostics snippets against the embedded exchange and a real Redis."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.error
import urllib.request
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from guide_play import play, play_alone
from guide_world import Exchange, free_port

from trader.core import graceful_degradation as degradation
from trader.core.book import Book
from trader.core.commands import Submit
from trader.core.state_manager import RedisStateManager
from trader.data.alpaca_client import AlpacaDataClient
from trader.execution.broker_api import AlpacaBroker
from trader.execution.reconciliation import ReconciliationEngine
from trader.models.ml_model import XGBoostModel


async def buy(broker: AlpacaBroker, exchange: Exchange, symbol: str, quantity: int) -> None:
    await broker.submit(Submit(
        client_order_id=f"guide-{symbol}", symbol=symbol, side="buy", quantity=Decimal(quantity)))
    exchange.step()


def small_model() -> XGBoostModel:
    rng = np.random.default_rng(0)
    return XGBoostModel(iterations=5).fit(rng.standard_normal((60, 3)), rng.integers(0, 3, 60))


async def test_protected_position(exchange: Exchange) -> None:
    broker = AlpacaBroker()
    played = await play("protected_position", broker_api=broker)
    position = played["position"]
    assert played["success"], position.error
    assert played.line("Position opened:") == position.position_id
    exchange.step()
    legs = {order.id: order for order in await broker.get_orders("open")}
    legs |= {leg.id: leg for order in list(legs.values()) for leg in order.legs}
    price = await broker.latest_price("AAPL")
    stop, target = legs[played.line("Stop Loss Order:")], legs[played.line("Take Profit Order:")]
    assert float(stop.stop_price / price) == pytest.approx(0.98, abs=0.01)
    assert float(target.limit_price / price) == pytest.approx(1.04, abs=0.01)
    assert exchange.held == {"AAPL": 100}
    await broker.close()


async def test_a_position_that_cannot_be_opened_says_why(exchange: Exchange) -> None:
    class Poor(AlpacaBroker):
        """Asks for a symbol that the exchange does not have."""

        async def latest_price(self, symbol: str) -> Decimal:
            return await super().latest_price("NOPE")

    broker = Poor()
    played = await play("protected_position", broker_api=broker)
    assert not played["success"]
    assert played.line("Failed to open position:")
    await broker.close()


async def test_reconcile_brings_an_empty_state_to_the_brokers(exchange: Exchange, redis_or_not: str) -> None:
    broker, state = AlpacaBroker(), RedisStateManager()
    await state.initialize()
    await buy(broker, exchange, "AAPL", 10)
    played = await play("reconcile", broker_api=broker, state_manager=state)
    report = played["report"]
    assert played["reconciler"].reconcile_interval == 30
    assert played.line("Found") == f"{len(report.discrepancies)} discrepancies:"
    assert {d.subject for d in report.discrepancies} >= {"position", "cash"}
    assert all(f"- {d.type}: {d.details}" in played.printed for d in report.discrepancies)
    assert {symbol: p.quantity for symbol, p in state.book.positions.items()} == {"AAPL": 10}
    again = await ReconciliationEngine(broker_api=broker, local_state=state, confirm_after=0).reconcile()
    assert not again.has_discrepancies
    await state.end_session()
    await broker.close()


async def test_a_state_that_cannot_be_compared_is_named(exchange: Exchange) -> None:
    broker = AlpacaBroker()
    with pytest.raises(ValueError, match="local_state is int; expected a Book"):
        await ReconciliationEngine(broker_api=broker, local_state=7).reconcile()
    assert not (await ReconciliationEngine(broker, lambda: Book(cash=Decimal(100_000))).reconcile()).has_discrepancies
    await broker.close()


async def test_graceful_degradation(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = AlpacaDataClient()
    names = {name: getattr(degradation, name) for name in ("ComponentType", "FallbackConfig", "FallbackAction")}
    manager = (await play("graceful_degradation", data_feed=feed, **names))["degradation_manager"]
    (component,) = manager.components
    assert component.fallback_config.max_cache_age_seconds == 300
    assert (await manager.check_all())["data_feed"].healthy
    assert manager.position_multiplier == 1.0

    async def prices() -> Any:
        return await feed.get_latest_bars(["AAPL"])

    async def broken() -> Any:
        raise ConnectionError("the feed is gone")

    bars = await manager.call("data_feed", prices)
    assert await manager.call("data_feed", broken) is bars           # 1. cached data
    assert manager.position_multiplier == 0.5                       # 2. smaller positions
    await feed.close()


async def test_health_checks(exchange: Exchange, redis_or_not: str) -> None:
    broker, feed, state, model = AlpacaBroker(), AlpacaDataClient(), RedisStateManager(), small_model()
    await state.initialize()
    # the guide's port may be somebody's on this machine
    played = await play(
        "health_checks", replace=("port=8080", f"port={free_port()}"), broker_api=broker, data_feed=feed,
        state_manager=state, model=model)
    server = played["server"]
    try:
        status, health = await asyncio.to_thread(get, server.port, "/health")
        assert (status, health["status"]) == (200, "healthy")
        assert set(health["components"]) == {"broker_api", "data_feed", "redis", "model"}
        detail = health["components"]["redis"]["detail"]
        assert ("Using in-memory fallback" in detail) == (redis_or_not == "fallback")
        assert await asyncio.to_thread(get, server.port, "/health/live") == (200, {"status": "alive"})
        assert (await asyncio.to_thread(get, server.port, "/health/ready"))[1]["ready"]
        played["registry"].register("model", XGBoostModel().health_check)
        assert (await asyncio.to_thread(get, server.port, "/health/ready"))[0] == 503
    finally:
        await server.stop()
        await state.end_session()
        await feed.close()
        await broker.close()


def get(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


async def test_broker_connection(exchange: Exchange) -> None:
    played = await play("broker_connection_failed")
    assert played.line("API Key set:") == played.line("Secret Key set:") == "True"
    assert played.line("Connected! Status:") == "AccountStatus.ACTIVE"


async def test_broker_connection_without_keys() -> None:
    played = await play("broker_connection_failed")
    assert played.line("API Key set:") == played.line("Secret Key set:") == "False"
    assert played.line("Connection failed:").startswith("no Alpaca keys: set ALPACA_API_KEY and ALPACA_SECRET_KEY")


async def test_broker_connection_with_wrong_keys(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange.server, "_keys", {"other": "pair"})
    played = await play("broker_connection_failed")
    assert "check ALPACA_API_KEY and ALPACA_SECRET_KEY" in played.line("Connection failed:")


async def test_redis_connection(redis_or_not: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "alphatrade"):
        manager = (await play("redis_connection_failed"))["manager"]
    assert manager.in_fallback == (redis_or_not == "fallback")
    assert ("Using in-memory fallback" in caplog.text) == manager.in_fallback
    await manager.start_session(session_id="guide")
    assert (await manager.recover_state())["previous_session"].session_id == "guide"
    await manager.end_session()


async def test_diagnostics_when_all_is_well(exchange: Exchange, redis_or_not: str) -> None:
    broker, feed, state = AlpacaBroker(), AlpacaDataClient(), RedisStateManager()
    await state.initialize()
    played = await play(
        "diagnostics", broker_api=broker, data_feed=feed, state_manager=state, model=small_model(),
        sample_features=np.zeros((1, 3)))
    assert played.printed.splitlines() == [
        "✓ broker: OK - ACTIVE", "✓ data_feed: OK - 1 bars", "✓ model: OK - predictions working",
        "✓ redis: OK" if redis_or_not == "redis" else "✓ redis: FALLBACK - using in-memory",
    ]
    await state.end_session()
    await feed.close()
    await broker.close()


async def test_diagnostics_of_an_untrained_model(exchange: Exchange) -> None:
    broker, feed = AlpacaBroker(), AlpacaDataClient()
    played = await play(
        "diagnostics", broker_api=broker, data_feed=feed, state_manager=RedisStateManager(use_redis=False),
        model=XGBoostModel(), sample_features=np.zeros((1, 3)))
    assert "✗ model: FAILED - XGBoostModel is not trained yet" in played.printed
    await feed.close()
    await broker.close()


def test_close_all_positions(exchange: Exchange) -> None:
    async def prepare() -> None:
        broker = AlpacaBroker()
        await buy(broker, exchange, "AAPL", 10)
        await buy(broker, exchange, "MSFT", 5)
        await broker.close()

    asyncio.run(prepare())
    assert exchange.held == {"AAPL": 10, "MSFT": 5}
    played = play_alone("close_all_positions", asyncio=asyncio)
    assert played.printed.split() == ["Closed", "AAPL", "Closed", "MSFT"]
    exchange.step()
    assert exchange.held == {}
