from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trader.utils.errors import UserError
from trader.utils.session_file import (
    SessionInfo,
    SessionLock,
    own_process_start,
    process_start,
    read_session,
    running_sessions,
)


def info(mode: str = "sim") -> SessionInfo:
    return SessionInfo(mode, "run-1", os.getpid(), own_process_start(), 1, "/j.sqlite", "127.0.0.1", 9, "s3cret-token")


def test_published_session_is_found_until_released(home: Path) -> None:
    assert running_sessions(home) == []
    with SessionLock(home, "sim") as lock:
        lock.publish(info())
        assert running_sessions(home) == [info()]
        assert lock.info_path.stat().st_mode & 0o777 == 0o600
    assert running_sessions(home) == []
    lock.release()


def test_second_session_of_a_mode_is_refused_by_pid_and_another_mode_is_not(home: Path) -> None:
    with SessionLock(home, "sim") as lock:
        lock.publish(info())
        with pytest.raises(UserError, match=rf"already runs in this home \(pid {os.getpid()}\)"):
            SessionLock(home, "sim").acquire()
        with SessionLock(home, "paper"):
            pass
        assert running_sessions(home) == [info()]       # the refused one did not remove the file
    SessionLock(home, "sim").acquire()


def test_a_killed_session_leaves_no_lock_and_counts_as_gone(home: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from trader.utils.session_file import *\n"
        "home = Path(sys.argv[1]); lock = SessionLock(home, 'sim'); lock.acquire()\n"
        "lock.publish(SessionInfo('sim', 'r', os.getpid(), own_process_start(), 1, 'j', '127.0.0.1', 9, 't'))\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert [s.pid for s in running_sessions(home)] == [child.pid]
        with pytest.raises(UserError, match=f"pid {child.pid}"):
            SessionLock(home, "sim").acquire()
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert running_sessions(home) == []
    with SessionLock(home, "sim") as lock:
        assert not lock.info_path.exists()


def test_a_reused_pid_is_another_process(home: Path) -> None:
    with SessionLock(home, "sim") as lock:
        lock.publish(dataclasses.replace(info(), process_start="12345"))
        assert running_sessions(home) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"unknown": 1}'])
def test_damaged_files_are_passed_over(home: Path, content: str) -> None:
    path = home / "state" / "session-sim.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert read_session(path) is None
    assert running_sessions(home) == []


def test_no_process_has_no_start() -> None:
    assert process_start(2**22 + 12345) == ""
    assert process_start(os.getpid()) == own_process_start() != ""


def test_the_token_is_never_printed() -> None:
    assert "s3cret" not in repr(info())


def test_an_unwritable_home_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        SessionLock(tmp_path, "sim").acquire()
