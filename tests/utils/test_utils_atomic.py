from __future__ import annotations

import os
from pathlib import Path

import pytest

from trader.utils.atomic import atomic_write_bytes, atomic_write_text
from trader.utils.errors import UserError


def test_writes_and_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "file.json"
    atomic_write_text(target, "ä1")
    atomic_write_text(target, "ä2")
    assert target.read_text(encoding="utf-8") == "ä2"
    assert list(target.parent.iterdir()) == [target]


def test_the_mode_is_that_of_the_file(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "token", b"x", mode=0o600)
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


def test_a_crash_before_the_rename_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    atomic_write_text(target, "old")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        atomic_write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.glob(".file.*")) == []


def test_synced_before_and_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("rename"), replace(a, b))[1])
    atomic_write_text(tmp_path / "file", "x")
    assert steps == ["fsync", "rename", "fsync"]


def test_a_refusing_disk_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"cannot write .*occupied/file: .*choose a writable --home"):
        atomic_write_text(tmp_path / "occupied" / "file", "x")
