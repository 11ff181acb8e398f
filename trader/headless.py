"""A session without a screen: one line per event of note, one line of JSON at the end, clean signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from typing import Any

from trader.core.clock import iso
from trader.host import EngineHost
from trader.options import SessionOptions

EXIT_CODES = {
    0: "stopped in order",
    2: "a mistake in input or surroundings",
    3: "another session of this mode runs in this home",
    70: "the engine failed",
}


def run(options: SessionOptions) -> int:
    """Run until the session ends or a signal arrives; returns the exit code (see ``EXIT_CODES``)."""
    host = EngineHost.from_options(options)
    stopping = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        if stopping.is_set():
            host.system.commit_now()
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, lambda *_: host.halt("signal", "SIGUSR1"))
    host.start()
    _notify("READY=1")
    printer = _Printer(host, as_json=options.log_format == "json")
    while not host.wait(0.2):
        printer.print_new()
        if stopping.is_set():
            _notify("STOPPING=1")
            if not host.stop(reason="signal"):
                _leave_at_once(host)
            break
    return _end(host, printer)


def follow(host: EngineHost, options: SessionOptions) -> int:
    """Go on printing a session whose screen has been closed, until it ends."""
    printer = _Printer(host, as_json=options.log_format == "json")
    try:
        while not host.wait(0.2):
            printer.print_new()
    except KeyboardInterrupt:
        if not host.stop(reason="signal"):
            _leave_at_once(host)
    return _end(host, printer)


def _end(host: EngineHost, printer: _Printer) -> int:
    """The last lines, and the exit code."""
    printer.print_new()
    if host.user_error is not None:
        print(f"alphatrade-tui: {host.user_error}", file=sys.stderr)
        return host.user_error.exit_code
    if host.error is not None:
        print(f"alphatrade-tui: the engine failed: {host.error} (see logs/trading.log)", file=sys.stderr)
        return 70
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(host.system.summary()), flush=True)
    if host.system.unwritten:
        print(f"alphatrade-tui: the journal could not be written: its last {host.system.unwritten} events are lost; "
              "free the disk, then compare orders and positions with the broker's", file=sys.stderr)
        return 70
    return 0


def _leave_at_once(host: EngineHost) -> None:
    host.system.commit_now()
    print("alphatrade-tui: the engine did not stop in time; what it has journaled is kept", file=sys.stderr)
    sys.stdout.flush()
    os._exit(70)


class _Printer:
    """Prints the log lines that it has not printed yet."""

    def __init__(self, host: EngineHost, *, as_json: bool) -> None:
        self._host = host
        self._as_json = as_json
        self._seen = 0

    def print_new(self) -> None:
        rows = self._host.frame().log
        missed = rows[0].seq - self._seen - 1 if rows else 0
        if missed > 0:
            self._line({"level": "info", "source": "log", "text": f"{missed} lines not shown; the journal has them"})
        for row in rows:
            if row.seq > self._seen:
                self._line({"time": iso(row.ts_ns), "level": row.level, "source": row.source, "text": row.text})
                self._seen = row.seq

    def _line(self, fields: dict[str, Any]) -> None:
        text = json.dumps({"log": fields}) if self._as_json else (
            f"{fields.get('time', ''):27} {fields['level']:7} {fields['source']:10} {fields['text']}")
        try:
            print(text, flush=True)
        except BrokenPipeError:
            self._seen = sys.maxsize


def _notify(state: str) -> None:
    """Tell systemd, where it listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.send(state.encode())
        except OSError:
            return
