from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trader.core import health_check
from trader.core.health_check import HealthCheckRegistry, HealthCheckServer
from trader.core.probe import Health
from trader.utils.errors import UserError

STATUS: dict[str, Any] = {
    "mode": "sim", "run_id": "r1", "equity": 101_234.5, "bars": 42, "fills": 3, "positions": {"AAPL": 10},
    "halted": False, "level": "CAUTIOUS", "note": "x",
}


class Redis:
    well = True

    async def health_check(self) -> Health:
        return Health(self.well, "Using in-memory fallback")


@pytest.fixture
async def served() -> AsyncIterator[tuple[HealthCheckServer, dict[str, bool], dict[str, Any], list[str]]]:
    registry, well, status, reasons = HealthCheckRegistry(), {"broker": True}, dict(STATUS), []
    registry.register("broker_api", lambda: (well["broker"], "account ACTIVE"))
    registry.register("redis", Redis().health_check, critical=False)

    async def halt(reason: str) -> Mapping[str, Any]:
        reasons.append(reason)
        return {"orders_cancelled": 2}

    server = HealthCheckServer(
        registry, port=0, metrics_port=0, status=lambda: status, halt=halt, token="tok")
    await server.start()
    yield server, well, status, reasons
    await server.stop()
    await server.stop()


async def fetch(port: int, path: str, method: str = "GET", body: bytes | None = None,
                headers: dict[str, str] | None = None) -> tuple[int, bytes, str]:
    """An independent client, in a thread of its own."""
    def get() -> tuple[int, bytes, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read(), answer.headers["Content-Type"]
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers["Content-Type"]

    return await asyncio.to_thread(get)


async def test_health_tells_every_component_and_the_session(served: Any) -> None:
    server, *_ = served
    code, body, kind = await fetch(server.port, "/health")
    facts = json.loads(body)
    assert (code, kind, facts["status"]) == (200, "application/json", "healthy")
    assert facts["components"]["broker_api"] == {"healthy": True, "critical": True, "detail": "account ACTIVE"}
    assert facts["session"]["equity"] == 101_234.5


async def test_a_critical_part_decides_another_degrades(served: Any) -> None:
    server, well, _, _ = served
    Redis.well = False
    try:
        code, body, _ = await fetch(server.port, "/health")
        assert (code, json.loads(body)["status"]) == (200, "degraded")
        assert (await fetch(server.port, "/health/ready"))[0] == 200
    finally:
        Redis.well = True
    well["broker"] = False
    assert (await fetch(server.port, "/health"))[0] == 503
    code, body, _ = await fetch(server.port, "/health/ready")
    assert (code, json.loads(body)) == (503, {"ready": False, "waiting_for": ["broker_api"], "halted": False})
    assert (await fetch(server.port, "/health/live"))[:2] == (200, b'{"status": "alive"}\n')


async def test_a_halted_session_is_not_ready(served: Any) -> None:
    server, _, status, _ = served
    status["halted"] = True
    assert (await fetch(server.port, "/health/ready"))[0] == 503


async def test_halt_wants_the_token(served: Any) -> None:
    server, _, _, reasons = served
    assert (await fetch(server.port, "/halt", "POST", b"x"))[0] == 401
    assert (await fetch(server.port, "/halt", "POST", b"x", {"Authorization": "Bearer wrong"}))[0] == 401
    assert reasons == []
    code, body, _ = await fetch(
        server.port, "/halt", "POST", b"fire", {"Authorization": "Bearer tok"})
    assert (code, json.loads(body), reasons) == (200, {"orders_cancelled": 2}, ["fire"])


async def test_metrics_parse_with_prometheus_own_parser(served: Any) -> None:
    server, *_ = served
    code, body, _ = await fetch(server.metrics_port, "/metrics")
    samples = {s.name: s for family in text_string_to_metric_families(body.decode()) for s in family.samples}
    assert code == 200
    assert samples["alphatrade_equity_dollars"].value == 101_234.5
    assert samples["alphatrade_bars_total"].value == 42
    assert samples["alphatrade_positions"].value == 1
    assert samples["alphatrade_degradation_level"].value == 1
    assert samples["alphatrade_session"].labels == {"mode": "sim", "run_id": "r1"}
    assert "process_cpu_seconds_total" in samples or "python_info" in samples
    assert "alphatrade_cash_dollars" not in samples


@pytest.mark.parametrize(("method", "path", "code"), [
    ("GET", "/", 404), ("GET", "/metrics", 404), ("POST", "/health", 405), ("GET", "/halt", 405),
    ("HEAD", "/health", 200), ("GET", "/health?x=1", 200),
])
async def test_other_paths_and_methods(served: Any, method: str, path: str, code: int) -> None:
    server, *_ = served
    assert (await fetch(server.port, path, method))[0] == code


@pytest.mark.parametrize(("sent", "code"), [
    (b"nonsense\r\n\r\n", b"400"), (b"GET /health\r\n\r\n", b"400"), (b"", b"400"),
    (b"GET /health HTTP/1.1\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
    (b"POST /halt HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413"),
    (b"POST /halt HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"413"),
    (b"POST /halt HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", b"400"),
])
async def test_garbage_is_answered_and_the_server_lives(served: Any, sent: bytes, code: bytes) -> None:
    server, *_ = served
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    writer.write_eof()
    assert (await reader.read()).split(b" ")[1] == code
    writer.close()
    assert (await fetch(server.port, "/health/live"))[0] == 200


async def test_a_busy_usual_port_is_a_warning_and_a_chosen_one_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        monkeypatch.setattr(health_check, "USUAL_PORT", port)
        server = HealthCheckServer(HealthCheckRegistry(), metrics_port=0)
        await server.start()
        assert server.port not in (0, port)
        assert server.warnings == [f"port {port} is busy: health is on 127.0.0.1:{server.port}"]
        assert (await fetch(server.port, "/health/live"))[0] == 200
        await server.stop()
        with pytest.raises(UserError, match=rf"cannot listen on 127.0.0.1:{port}"):
            await HealthCheckServer(HealthCheckRegistry(), port, metrics_port=0).start()
        with pytest.raises(UserError, match="metrics cannot listen"):
            await HealthCheckServer(HealthCheckRegistry(), 0, metrics_port=port).start()
