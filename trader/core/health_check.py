"""Health over HTTP for people, containers and Prometheus: /health, /health/live, /health/ready, /metrics, /halt."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from trader.core.http_endpoint import Handler, HttpEndpoint, Request, Response, text
from trader.core.probe import Health, HealthCheck, ask

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Status = Callable[[], Mapping[str, Any]]
HealthReport = tuple[str, dict[str, dict[str, Any]]]

USUAL_PORT = 8080
USUAL_METRICS_PORT = 8081


class HealthCheckRegistry:
    """The components whose health is asked for."""

    def __init__(self, timeout_s: float = 5.0) -> None:
        self._checks: dict[str, tuple[HealthCheck, bool]] = {}
        self._timeout_s = timeout_s

    def register(self, name: str, check: HealthCheck, *, critical: bool = True) -> None:
        """Add a component. Without a critical one the session is not ready; without another it is degraded."""
        self._checks[name] = (check, critical)

    async def check(self) -> HealthReport:
        """Ask all components at once: ``healthy``, ``degraded`` or ``unhealthy``, and every component's answer."""
        names = list(self._checks)
        answers: list[Health] = await asyncio.gather(*(ask(self._checks[n][0], self._timeout_s) for n in names))
        failing = [self._checks[n][1] for n, health in zip(names, answers, strict=True) if not health.healthy]
        word = "unhealthy" if any(failing) else "degraded" if failing else "healthy"
        return word, {
            name: {"healthy": health.healthy, "critical": self._checks[name][1], "detail": health.detail}
            for name, health in zip(names, answers, strict=True)
        }


class HealthCheckServer:
    """The two HTTP ports of a session, on loopback unless told otherwise.

    Parameters
    ----------
    registry : HealthCheckRegistry
        Whose components decide on ``/health`` and ``/health/ready``.
    port, metrics_port : int, optional
        None takes 8080 and 8081, or any free port with a ``warnings`` line where those are busy; a number insists.
    status : callable, optional
        The session's figures, shown under ``session`` and turned into metrics; ``halted`` makes it not ready.
    metrics : CollectorRegistry, optional
        Served at ``/metrics``; by default one made from ``status``.
    halt : callable, optional
        Called with a reason on ``POST /halt``; its answer is sent back as JSON. Needs ``token``.
    token : str, optional
        What ``POST /halt`` must carry as ``Authorization: Bearer …``.
    """

    def __init__(
        self, registry: HealthCheckRegistry, port: int | None = None, *, metrics_port: int | None = None,
        host: str = "127.0.0.1", status: Status | None = None, metrics: CollectorRegistry | None = None,
        halt: Callable[[str], Any | Awaitable[Any]] | None = None, token: str | None = None,
    ) -> None:
        self.registry = registry
        self._status = status if status is not None else dict
        self._metrics = metrics
        self._halt = halt
        self._token = token
        routes: dict[tuple[str, str], Handler] = {
            ("GET", "/health"): self._overall,
            ("GET", "/health/live"): self._live,
            ("GET", "/health/ready"): self._ready,
        }
        if halt is not None and token:
            routes["POST", "/halt"] = self._halt_now
        self._health = HttpEndpoint("health", routes, host, port, USUAL_PORT)
        self._scrape = HttpEndpoint("metrics", {("GET", "/metrics"): self._expose}, host, metrics_port,
                                    USUAL_METRICS_PORT)

    @property
    def port(self) -> int:
        """Where health is served, once started."""
        return self._health.port

    @property
    def metrics_port(self) -> int:
        """Where metrics are served, once started."""
        return self._scrape.port

    @property
    def warnings(self) -> list[str]:
        """One line for every usual port that was busy."""
        return [endpoint.warning for endpoint in (self._health, self._scrape) if endpoint.warning]

    async def start(self) -> None:
        """Listen on both ports; UserError when a chosen one is busy."""
        if self._metrics is None:
            from trader.core.session_metrics import session_registry

            self._metrics = session_registry(self._status)
        await self._health.start()
        try:
            await self._scrape.start()
        except BaseException:
            await self._health.stop()
            raise

    async def stop(self) -> None:
        """Stop listening; safe to call twice."""
        await self._health.stop()
        await self._scrape.stop()

    async def _overall(self, _: Request) -> Response:
        word, components = await self.registry.check()
        return _json(503 if word == "unhealthy" else 200, {
            "status": word, "components": components, "session": dict(self._status())})

    async def _live(self, _: Request) -> Response:
        return _json(200, {"status": "alive"})      # that the loop answers at all is the proof

    async def _ready(self, _: Request) -> Response:
        word, components = await self.registry.check()
        halted = bool(self._status().get("halted"))
        waiting = [name for name, answer in components.items() if answer["critical"] and not answer["healthy"]]
        ready = word != "unhealthy" and not halted
        return _json(200 if ready else 503, {"ready": ready, "waiting_for": waiting, "halted": halted})

    async def _halt_now(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), str(self._token).encode()):
            return text(401, "POST /halt wants the session's token as Authorization: Bearer …")
        assert self._halt is not None
        reason = request.body.decode(errors="replace").strip()[:500] or "halted over HTTP"
        answer = self._halt(reason)
        if inspect.isawaitable(answer):
            answer = await answer
        return _json(200, answer)

    async def _expose(self, request: Request) -> Response:
        from prometheus_client.exposition import choose_encoder

        assert self._metrics is not None
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(200, encode(self._metrics), content_type)


def _json(status: int, value: Any) -> Response:
    return Response(status, json.dumps(value, default=str).encode() + b"\n")
