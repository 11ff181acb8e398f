from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trader.cli.main import main
from trader.utils.latch import latch_of


def examine(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    code = main(["doctor", "--json", *words])
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["healthy"] == (code == 0)
    return code, {check["name"]: check for check in report["checks"]}


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses: bound, but nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_the_simulation_needs_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = examine(capsys)
    assert code == 0
    assert {name: check["status"] for name, check in checks.items()} == {
        "config": "ok", "disk": "ok", "calendar": "ok", "broker": "ok", "clock": "ok", "data feed": "ok",
        "model": "fallback", "redis": "fallback", "journal": "ok", "halt": "ok"}
    assert "AAPL" in checks["data feed"]["detail"]
    assert not (home / "state").exists()


def test_paper_without_keys_says_where_keys_go(capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = examine(capsys, "--mode", "paper")
    assert code == 1
    for name in ("broker", "clock", "data feed"):
        assert checks[name]["status"] == "failed"
        assert ".env" in checks[name]["mend"]


def test_an_address_that_refuses_and_no_redis(
    closed_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", "PKTEST")
    monkeypatch.setenv("ALPACA_SECRET_KEY", "very-secret")
    monkeypatch.setenv("ALPACA_BASE_URL", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
    monkeypatch.setenv("REDIS_PORT", str(closed_port))
    code, checks = examine(capsys, "--mode", "paper")
    assert code == 1
    assert checks["broker"]["status"] == "failed"
    assert str(closed_port) in checks["broker"]["detail"]
    assert "ALPACA_BASE_URL" in checks["broker"]["mend"]
    assert checks["redis"]["status"] == "fallback"
    assert "using in-memory fallback" in checks["redis"]["detail"]
    assert "very-secret" not in json.dumps(checks)


def test_a_paper_mode_with_the_live_address_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", "PKTEST")
    monkeypatch.setenv("ALPACA_SECRET_KEY", "x")
    monkeypatch.setenv("ALPACA_BASE_URL", "https://api.alpaca.markets")
    _, checks = examine(capsys, "--mode", "paper")
    assert "but the mode is paper" in checks["broker"]["detail"]


@pytest.mark.parametrize(("name", "text", "words"), [
    ("settings.yaml", "mod: sim", "did you mean mode?"),
    ("risk_params.yaml", "max_position_pc: 1", "unknown key"),
    ("symbols.yaml", "symbols: [", "not valid YAML"),
])
def test_a_broken_configuration_is_the_one_finding(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, words: str,
) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / name).write_text(text)
    code, checks = examine(capsys)
    assert (code, list(checks)) == (1, ["config"])
    assert words in checks["config"]["detail"]
    assert f"{name}:1" in checks["config"]["detail"]


def test_a_damaged_journal_and_a_halt_are_found(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = home / "runs" / "r1"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"started_ns": 1}')
    (folder / "journal.sqlite").write_bytes(b"not a database" * 50)
    latch_of(home, "sim").set("key", "f12", 1)
    code, checks = examine(capsys)
    assert code == 1
    assert checks["journal"]["status"] == "failed"
    assert (checks["halt"]["status"], checks["halt"]["detail"]) == ("fallback", "sim is halted: f12")


def test_a_home_in_the_way_of_a_file_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    code = main(["--home", str(tmp_path / "file" / "home"), "doctor"])
    out = capsys.readouterr().out
    assert code == 1
    assert "✗ disk" in out
    assert "→ choose a writable --home" in out
