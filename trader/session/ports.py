"""How a session is reached from outside: the control port, and health and metrics over HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from trader.session.control import ControlServer

if TYPE_CHECKING:
    from trader.config import HealthSettings
    from trader.core.health_check import HealthCheckServer
    from trader.core.probe import HealthCheck

HALT_WAIT_SECONDS = 3.0                 # a command line hears so soon how far the halt has come; the halt goes on


class Session(Protocol):
    """What may be asked of a session."""

    def status(self) -> dict[str, Any]: ...
    def request_stop(self, reason: str) -> None: ...
    async def resume(self, by: str, reason: str) -> None: ...
    async def emergency_halt(self, source: str = ..., reason: str = ..., *, wait_s: float = ...) -> dict[str, Any]: ...


class Ports:
    """Loopback only unless the settings say otherwise; whoever commands needs ``token``."""

    def __init__(self, session: Session) -> None:
        self.token = secrets.token_urlsafe(24)
        self.control = ControlServer(self.token, {
            "status": self._status, "halt": self._halt, "flatten": self._halt, "resume": self._resume,
            "stop": self._stop,
        })
        self._session = session
        self._health: HealthCheckServer | None = None

    @property
    def health_port(self) -> int | None:
        """Where health is served; None where it is not."""
        return self._health.port if self._health is not None else None

    async def open_health(
        self, settings: HealthSettings, critical: Mapping[str, HealthCheck], others: Mapping[str, HealthCheck],
    ) -> list[str]:
        """Serve health and metrics; a line for every usual port that was busy. UserError when a chosen one is."""
        from trader.core.health_check import HealthCheckRegistry, HealthCheckServer

        registry = HealthCheckRegistry()
        for name, check in critical.items():
            registry.register(name, check)
        for name, check in others.items():
            registry.register(name, check, critical=False)
        health = HealthCheckServer(
            registry, settings.port, metrics_port=settings.metrics_port, host=settings.host,
            status=self._session.status, halt=self._http_halt, token=self.token)
        await health.start()
        self._health = health
        return health.warnings

    async def close(self) -> None:
        """Close all ports; safe to call twice."""
        await self.control.stop()
        if self._health is not None:
            await self._health.stop()

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"status": self._session.status()}

    async def _halt(self, asked: dict[str, Any]) -> dict[str, Any]:
        result = await self._session.emergency_halt(
            str(asked.get("source") or "command"), str(asked.get("reason") or "halt by command"),
            wait_s=HALT_WAIT_SECONDS)
        return {**result, "halted": True}

    async def _resume(self, asked: dict[str, Any]) -> dict[str, Any]:
        await self._session.resume(str(asked.get("by") or "command"), str(asked.get("reason") or ""))
        return {"halted": False}

    async def _stop(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._session.request_stop(str(asked.get("reason") or "stopped by command"))
        return {"stopping": True}

    async def _http_halt(self, reason: str) -> dict[str, Any]:
        return await self._session.emergency_halt("http", reason)
