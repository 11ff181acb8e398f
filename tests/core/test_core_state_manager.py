from __future__ import annotations

import contextlib
import logging
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trader.core.clock import SECOND_NS, VirtualClock
from trader.core.state_manager import RedisStateManager
from trader.utils.errors import UserError

BINARY = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(BINARY is None, reason="redis-server is not installed (apt-get install redis-server)")


def free_port() -> int:
    """A port that nobody listens on, below those that the system deals out to whoever asks for any."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def start(port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [str(BINARY), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL)
    for _ in range(1_200):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return process
        except OSError:
            time.sleep(0.05)
    raise AssertionError("redis-server did not start")


@pytest.fixture
def redis_port() -> Iterator[int]:
    port = free_port()
    process = start(port)
    yield port
    process.kill()
    process.wait()


@needs_redis
async def test_a_crashed_session_is_found_and_an_ended_one_is_not(redis_port: int) -> None:
    first = RedisStateManager("127.0.0.1", redis_port, account="paper", lease_s=50.0)
    await first.initialize()
    assert not first.in_fallback
    assert await first._redis.ping()                                            # type: ignore[union-attr]
    assert (await first.recover_state())["previous_session"] is None
    await first.start_session(session_id="run-1", equity=100_000)
    assert await first.heartbeat(equity=99_000)

    left = await first._redis.pttl(first._lease_key)                             # type: ignore[union-attr]
    assert 0 < left <= 50_000
    await first._redis.pexpire(first._lease_key, 0)                             # type: ignore[union-attr]  it "dies"
    second = RedisStateManager("127.0.0.1", redis_port, account="paper")
    await second.initialize()
    previous = (await second.recover_state())["previous_session"]
    assert (previous.session_id, previous.details) == ("run-1", {"equity": 99_000})
    await second.start_session(session_id="run-2")
    await second.end_session()
    await second.end_session()

    third = RedisStateManager("127.0.0.1", redis_port, account="paper")
    await third.initialize()
    state = await third.recover_state()
    assert state["previous_session"] is None
    assert state["last_session"].session_id == "run-2"
    await third.end_session()
    await first._store.close()                                                  # type: ignore[union-attr]


@needs_redis
async def test_one_writer_per_account(redis_port: int) -> None:
    one = RedisStateManager("127.0.0.1", redis_port, account="live")
    two = RedisStateManager("127.0.0.1", redis_port, account="live")
    other = RedisStateManager("127.0.0.1", redis_port, account="paper")
    for manager in (one, two, other):
        await manager.initialize()
    await one.start_session("a")
    await other.start_session("b")
    with pytest.raises(UserError, match="account live is traded by another session"):
        await two.start_session("c")
    assert await one.heartbeat()
    await one.end_session()
    await two.start_session("c")
    for manager in (two, other):
        await manager.end_session()


@needs_redis
async def test_a_lease_that_another_took_is_noticed(redis_port: int) -> None:
    one = RedisStateManager("127.0.0.1", redis_port)
    await one.initialize()
    await one.start_session("a")
    await one._redis.set(one._lease_key, "elsewhere:1:x")                       # type: ignore[union-attr]
    assert not await one.heartbeat()
    await one.end_session()
    assert one._store is None


@needs_redis
async def test_redis_dies_and_comes_back_in_mid_session(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port, clock = free_port(), VirtualClock(0)
    process = start(port)
    try:
        manager = RedisStateManager("127.0.0.1", port, fallback_path=tmp_path / "state.sqlite", clock=clock)
        await manager.initialize()
        await manager.start_session("a")
        process.kill()
        process.wait()
        with caplog.at_level(logging.WARNING, "alphatrade"):
            assert await manager.heartbeat()
        assert "Using in-memory fallback" in caplog.text
        assert manager.in_fallback
        assert await manager.health_check() == (True, "Using in-memory fallback")
        process = start(port)
        clock.advance_to(31 * SECOND_NS)
        assert await manager.heartbeat()
        assert not manager.in_fallback
        assert (await manager.recover_state())["last_session"].heartbeat_ns == 31 * SECOND_NS
        await manager.end_session()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("place", [lambda folder: None, lambda folder: folder / "state.sqlite"], ids=["memory", "file"])
async def test_without_redis_it_goes_on_and_says_so(
    place: Callable[[Path], Path | None], tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:
    where, port = place(tmp_path), free_port()
    with caplog.at_level(logging.WARNING, "alphatrade"):
        manager = RedisStateManager("127.0.0.1", port, fallback_path=where)
        await manager.initialize()
    assert "Using in-memory fallback" in caplog.text
    with pytest.raises(AttributeError):
        await manager._redis.ping()                         # type: ignore[union-attr]
    await manager.start_session("a")
    assert await manager.heartbeat()

    successor = RedisStateManager("127.0.0.1", port, fallback_path=where)
    await successor.initialize()
    previous = (await successor.recover_state())["previous_session"]
    assert (previous.session_id if previous else None) == ("a" if where else None)
    await successor.end_session()
    await manager.end_session()


async def test_switched_off_it_does_not_even_try(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "alphatrade"):
        manager = RedisStateManager(use_redis=False)
        await manager.initialize()
    assert manager.in_fallback
    assert [record.levelname for record in caplog.records] == ["INFO"]
    await manager.end_session()


async def test_order_of_calls_is_checked() -> None:
    manager = RedisStateManager(use_redis=False)
    with pytest.raises(RuntimeError, match="initialize"):
        await manager.start_session("a")
    await manager.initialize()
    with pytest.raises(RuntimeError, match="start_session"):
        await manager.heartbeat()
    await manager.end_session()


async def test_an_unwritable_fallback_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(UserError, match="choose a writable --home"):
        await RedisStateManager(use_redis=False, fallback_path=tmp_path / "state" / "x.sqlite").initialize()
