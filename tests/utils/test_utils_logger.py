from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from trader.utils.logger import Logging, LogPolicy, Redactor, setup_logging

SECRET = 'sEcr"et/äVALUE+42'


@pytest.fixture
def logs(home: Path) -> Iterator[Path]:
    handle = setup_logging(home, secrets=[SECRET])
    yield home / "logs"
    handle.close()
    handle.close()


def log(name: str, text: str, level: int = logging.INFO) -> None:
    logging.getLogger(name).log(level, text)


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*"))}


def test_nothing_is_made_before_the_first_line_and_rooms_have_their_own_file(logs: Path) -> None:
    assert not logs.exists()
    log("alphatrade.core.engine", "started")
    assert list(read(logs)) == ["trading.log"]
    log("alphatrade.execution.orders", "sent")
    log("alphatrade.risk.pipeline", "vetoed")
    log("alphatrade.execution.orders", "detail", logging.DEBUG)
    files = read(logs)
    assert [len(text.splitlines()) for text in files.values()] == [1, 1, 3]
    assert "alphatrade.execution.orders: sent" in files["execution.log"]
    assert "vetoed" in files["risk.log"]
    assert all(word in files["trading.log"] for word in ("started", "sent", "vetoed"))


def test_the_level_can_be_changed_as_the_guide_shows(logs: Path) -> None:
    logging.getLogger("alphatrade").setLevel(logging.DEBUG)
    log("alphatrade.data.feed", "detail", logging.DEBUG)
    assert "detail" in read(logs)["trading.log"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_never_reach_a_file(home: Path, log_format: str) -> None:
    handle = setup_logging(home, LogPolicy(format=log_format), [SECRET])
    try:
        logger = logging.getLogger("alphatrade.execution.broker")
        logger.info("headers %s", {"APCA-API-KEY-ID": "PKABCDEFGHIJKLMNOPQR", "APCA-API-SECRET-KEY": "zyx987/+secret"})
        logger.info("sent %s and {'k': %r}", SECRET, SECRET)
        try:
            raise ValueError(f"bad key {SECRET}, token=abc123 Authorization: Bearer qwerty")
        except ValueError:
            logger.exception("failed")
    finally:
        handle.close()
    everything = "".join(read(home / "logs").values())
    assert "failed" in everything
    for secret in (SECRET, json.dumps(SECRET)[1:-1], "PKABCDEFGHIJKLMNOPQR", "zyx987", "abc123", "qwerty"):
        assert secret not in everything


def test_ordinary_words_stay() -> None:
    text = "AAPL 120 → 0: POSITION_LIMIT 21.0% of 20.0%, key f12 pressed, monkey business, run 20240102-PKX"
    assert Redactor(["", "s3cret"])(text) == text


def test_json_lines(home: Path) -> None:
    handle = setup_logging(home, LogPolicy(format="json"))
    log("alphatrade.risk.x", "zwei\nZeilen ä")
    handle.close()
    (line,) = read(home / "logs")["risk.log"].splitlines()
    facts = json.loads(line)
    assert (facts["level"], facts["logger"], facts["message"]) == ("INFO", "alphatrade.risk.x", "zwei\nZeilen ä")
    assert facts["ts"].endswith("Z")


def test_files_rotate_and_old_ones_go(home: Path) -> None:
    handle = setup_logging(home, LogPolicy(max_bytes=500, backups=2))
    for number in range(40):
        log("alphatrade.core", f"line {number} " + "x" * 60)
    handle.close()
    files = read(home / "logs")
    assert sorted(files) == ["trading.log", "trading.log.1", "trading.log.2"]
    assert all(len(text.encode()) <= 500 for text in files.values())
    assert "line 39" in files["trading.log"]


def test_a_home_that_cannot_be_written_is_said_once_and_the_log_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    handle: Logging = setup_logging(tmp_path)
    log("alphatrade.execution.orders", "first")
    log("alphatrade.core", "second")
    handle.close()
    err = capsys.readouterr().err
    assert err.count("cannot write") == 1
    assert err.count("first") == 1
    assert err.count("second") == 1


def test_closing_takes_everything_off(home: Path) -> None:
    before = logging.getLogger("alphatrade").level
    handle = setup_logging(home, LogPolicy(level="ERROR"), stderr=True)
    handle.close()
    assert logging.getLogger("alphatrade").handlers == []
    assert logging.getLogger("alphatrade").level == before


def test_a_second_set_up_takes_over(tmp_path: Path) -> None:
    setup_logging(tmp_path / "one")
    handle = setup_logging(tmp_path / "two")
    log("alphatrade.core", "once")
    handle.close()
    assert not (tmp_path / "one").exists()
    assert read(tmp_path / "two" / "logs")["trading.log"].count("once") == 1
