"""The three logs: ``trading.log`` with everything, ``execution.log`` and ``risk.log`` with their rooms' lines.

Loggers are named ``alphatrade.<room>.<subject>``. Files and folders come into being with the first line; what a log
must never hold (keys, tokens) is blotted out on the way.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Protocol

ROOT = "alphatrade"
FILES = {                       # logger: the file that its lines go to
    ROOT: "trading.log",
    f"{ROOT}.execution": "execution.log",
    f"{ROOT}.risk": "risk.log",
}
BLOT = "***"

_NAMED_SECRET = re.compile(
    r"""(?ix)
    ( \b (?: apca-api-(?:secret-)?key(?:-id)? | (?:alpaca_)?(?:api|secret)_key
            | authorization | token | password | secret )
      ["']? \s* [:=] \s* ["']? (?: bearer \s+ | basic \s+ )? )
    [^\s"',;}\])]+ """)
_ALPACA_KEY = re.compile(r"\b[PAC]K[A-Z0-9]{16,26}\b")


_active: Logging | None = None


class Redactor:
    """Blots out known secrets and whatever stands where a secret would."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if secret for form in (secret, json.dumps(secret)[1:-1])}
        self._known = sorted(known, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, BLOT)
        return _ALPACA_KEY.sub(BLOT, _NAMED_SECRET.sub(rf"\1{BLOT}", text))


class TextFormatter(logging.Formatter):
    """``2024-01-02 03:04:05.678 INFO execution.orders: …``, UTC."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._redact = redact

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _moment(record).isoformat(" ", "milliseconds").removesuffix("+00:00")

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts, level, logger, message`` and, after an exception, ``error``."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": _moment(record).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname, "logger": record.name, "message": self._redact(record.getMessage()),
        }
        if record.exc_info:
            line["error"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class LazyFile(RotatingFileHandler):
    """A rotating file that is made with its first line; where it cannot be, the lines go to stderr."""

    def __init__(self, path: Path, max_bytes: int, backups: int, complaint: Complaint) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", delay=True)
        self._complaint = complaint

    def _open(self):  # type: ignore[no-untyped-def]
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._complaint.once(f"cannot write {self.baseFilename}: {error.strerror}; the log goes on here")
            if self is self._complaint.main:
                print(self.format(record), file=sys.stderr)
        else:
            super().handleError(record)


class Complaint:
    """Says one time that the logs cannot be written; only the main log's lines then go on to stderr."""

    def __init__(self) -> None:
        self.main: logging.Handler | None = None
        self._said = False

    def once(self, text: str) -> None:
        if not self._said:
            self._said = True
            print(f"{ROOT}: {text}", file=sys.stderr)


class Logging:
    """The handlers of one session; ``close`` takes them off again."""

    def __init__(self, handlers: dict[str, list[logging.Handler]], level_before: int) -> None:
        self._handlers = handlers
        self._level_before = level_before

    def close(self) -> None:
        """Flush and detach; safe to call twice."""
        for name, handlers in self._handlers.items():
            for handler in handlers:
                logging.getLogger(name).removeHandler(handler)
                handler.close()
        if self._handlers:
            logging.getLogger(ROOT).setLevel(self._level_before)
        self._handlers = {}


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """What `setup_logging` needs to know; the ``log`` block of the settings has the same fields."""

    level: str = "INFO"                     # logging.getLogger("alphatrade").setLevel changes it later
    format: str = "text"                    # text | json (one object a line)
    max_bytes: int = 10_000_000
    backups: int = 5


class Policy(Protocol):
    """Anything with the fields of `LogPolicy`."""

    @property
    def level(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def backups(self) -> int: ...


def setup_logging(
    home: Path, policy: Policy | None = None, secrets: Iterable[str] = (), *, stderr: bool = False,
) -> Logging:
    """Send the ``alphatrade`` loggers to ``home/logs``; a second call in one process takes over from the first.

    Parameters
    ----------
    policy : Policy, optional
        Level, format and rotation.
    secrets : iterable of str
        Values that must never appear; well-known names of secrets are blotted out in any case.
    stderr : bool
        Warnings and worse on stderr as well, for headless sessions.
    """
    global _active
    if _active is not None:
        _active.close()
    policy = policy if policy is not None else LogPolicy()
    formatter = (JsonFormatter if policy.format == "json" else TextFormatter)(Redactor(secrets))
    complaint = Complaint()
    handlers: dict[str, list[logging.Handler]] = {
        name: [LazyFile(home / "logs" / file, policy.max_bytes, policy.backups, complaint)]
        for name, file in FILES.items()
    }
    complaint.main = handlers[ROOT][0]
    if stderr:
        screen = logging.StreamHandler()
        screen.setLevel(logging.WARNING)
        handlers[ROOT].append(screen)
    root = logging.getLogger(ROOT)
    before = root.level
    root.setLevel(policy.level)
    for name, group in handlers.items():
        for handler in group:
            handler.setFormatter(formatter)
            logging.getLogger(name).addHandler(handler)
    _active = Logging(handlers, before)
    return _active


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
