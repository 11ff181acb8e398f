from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from trader.utils.control_client import ControlError, request
from trader.utils.session_file import SessionInfo


@contextmanager
def session(answer: Callable[[bytes], bytes | None]) -> Iterator[SessionInfo]:
    """A peer that answers one request; None means silence."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                got = answer(connection.makefile("rb").readline())
                if got is None:
                    over.wait(60)
                else:
                    connection.sendall(got)

        thread = threading.Thread(target=serve)
        thread.start()
        yield SessionInfo("sim", "r", 7, "", 0, "j", "127.0.0.1", server.getsockname()[1], "tok")
        over.set()
        thread.join()


def test_sends_token_and_fields_and_returns_the_answer() -> None:
    with session(lambda line: json.dumps({"echo": json.loads(line)}).encode() + b"\n") as info:
        assert request(info, "halt", reason="x") == {"echo": {"token": "tok", "command": "halt", "reason": "x"}}


@pytest.mark.parametrize(("answer", "message"), [
    (b'{"error": "wrong token"}\n', "refused status: wrong token"),
    (b"[1]\n", "expected an object"),
    (b"{nonsense\n", "does not answer"),
    (b"", "closed the connection"),
    (None, "timed out"),
])
def test_everything_else_is_one_clear_error(answer: bytes | None, message: str) -> None:
    with (session(lambda _: answer) as info,
          pytest.raises(ControlError, match=rf"the sim session \(pid 7\).*{message}")):
        request(info, "status", timeout_s=0.2 if answer is None else 60)


def test_nobody_listens() -> None:
    with socket.socket() as held:                   # bound, so that nobody else gets the port, and deaf
        held.bind(("127.0.0.1", 0))
        info = SessionInfo("sim", "r", 7, "", 0, "j", "127.0.0.1", held.getsockname()[1], "tok")
        with pytest.raises(ControlError, match="does not answer to halt"):
            request(info, "halt")
