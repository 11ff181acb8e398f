"""Talking to a running session: one JSON line there, one JSON line back, over loopback."""

from __future__ import annotations

import json
import socket
from typing import Any

from trader.utils.errors import UserError
from trader.utils.session_file import SessionInfo

_LARGEST_ANSWER = 16 * 1024 * 1024


class ControlError(UserError):
    """The session did not answer, or refused."""


def request(info: SessionInfo, command: str, *, timeout_s: float = 5.0, **fields: Any) -> dict[str, Any]:
    """Send ``status``, ``halt``, ``resume``, ``stop`` or ``flatten`` to a session and return its answer.

    Raises
    ------
    ControlError
        If there is no answer within ``timeout_s`` seconds, or the answer says ``error``.
    """
    who = f"the {info.mode} session (pid {info.pid})"
    line = json.dumps({"token": info.token, "command": command, **fields}).encode() + b"\n"
    try:
        with socket.create_connection((info.control_host, info.control_port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(line)
            answer = json.loads(_line(connection))
    except (OSError, ValueError) as error:
        why = str(error) or type(error).__name__
        raise ControlError(f"{who} does not answer to {command}: {why}", exit_code=4) from None
    if not isinstance(answer, dict):
        raise ControlError(f"{who} answered to {command} with {answer!r}; expected an object", exit_code=4)
    if answer.get("error"):
        raise ControlError(f"{who} refused {command}: {answer['error']}", exit_code=4)
    return answer


def _line(connection: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        part = connection.recv(65536)
        if not part:
            break
        received += part
        if len(received) > _LARGEST_ANSWER:
            raise ValueError("the answer is too long")
    if not received:
        raise ValueError("it closed the connection")
    return bytes(received)
