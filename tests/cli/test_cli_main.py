from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trader import __version__
from trader.cli.guard import guarded
from trader.cli.main import COMMANDS, main
from trader.utils.errors import UserError


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--version"], ["--help"], ["status", "--help"]):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0
    out = capsys.readouterr().out
    assert __version__ in out
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize(("words", "message"), [
    ([], "which command? one of status"),
    (["statsu"], "unknown command 'statsu'; did you mean status?"),
    (["zzz"], "unknown command 'zzz'; known: status, halt"),
    (["--home"], "expected one argument"),
    (["status", "--bogus"], "unrecognized arguments: --bogus"),
    (["halt", "--mode", "moon"], "invalid choice: 'moon'"),
    (["resume"], "required: --mode"),
])
def test_mistakes_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("alphatrade: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.parametrize("words", [["--home", "{}", "status"], ["status", "--home", "{}"], ["--home={}", "status"]])
def test_home_may_stand_before_or_after_the_command(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([word.format(tmp_path) for word in words]) == 0
    assert str(tmp_path) in capsys.readouterr().out


def raising(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(("error", "code"), [
    (UserError("bad\ninput", exit_code=3), 3), (KeyboardInterrupt(), 130),
])
def test_exit_codes(error: BaseException, code: int, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded("alphatrade", lambda: raising(error), lambda: home) == code
    assert capsys.readouterr().err in ("", "alphatrade: bad input\n")


def test_the_unexpected_is_one_line_and_its_traceback_a_file(
    home: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert guarded("alphatrade", lambda: raising(ZeroDivisionError("oops")), lambda: home) == 70
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    (crash,) = (home / "logs").glob("crash-*.txt")
    assert str(crash) in err
    assert "raise error" in crash.read_text()


def test_the_unexpected_in_a_home_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").write_text("")
    assert guarded("alphatrade", lambda: raising(ZeroDivisionError("oops")), lambda: tmp_path) == 70
    assert "ZeroDivisionError: oops" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(repository: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trader.cli.guard import guarded\n"
        "def many():\n    for _ in range(100_000): print('x' * 100)\n    return 0\n"
        "sys.exit(guarded('p', many, Path))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""})
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 141
    process.stderr.close()


def test_an_interrupt_within_an_exec_does_not_change_the_exit_code(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom trader.cli.guard import guarded\n"
        "from trader.utils.errors import UserError\n"
        "def action():\n"
        "    try:\n        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n        raise UserError('ended', exit_code=143) from None\n"
        "sys.exit(guarded('p', action, Path))\n")
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stderr) == (143, "p: ended\n")
