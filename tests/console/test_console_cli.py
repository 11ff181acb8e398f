"""The command line: what it refuses, and what it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from console import cli


@pytest.mark.parametrize(("words", "said"), [
    (["--replay", "a", "--attach", "b"], "exclude each other"),
    (["--replay", "latest", "--no-ui"], "needs a screen"),
    (["--replay", "latest", "--mode", "sim"], "give one of them"),
    (["--stop-after", "0"], "--stop-after 0"),
    (["--mode", "margin"], "invalid choice"),
    (["--nonsense"], "--nonsense"),
    ([], "needs a terminal"),
    (["--no-ui", "--symbols", ","], "--symbols"),
    (["--no-ui", "--speed", "quick"], "speed 'quick'"),
])
def test_mistakes_are_one_line_and_a_code(words, said, capsys, tmp_path):
    code = cli.main([*words, "--home", str(tmp_path)])
    captured = capsys.readouterr()
    assert code == 2
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    assert left.value.code == 0
    assert "--replay latest" in capsys.readouterr().out


def imported(code):
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_version_imports_neither_screen_nor_engine():
    names = imported("from console.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass")
    assert not names & {"textual", "rich", "numpy", "pandas", "trader.config", "trader.host"}


def test_the_headless_path_and_the_engine_never_import_textual():
    names = imported("import console.cli, trader.headless")
    assert "trader.headless" in names
    assert not names & {"textual", "rich"}


def test_the_screen_needs_no_heavy_library():
    names = imported("import console.app, console.screens.live, console.screens.replay")
    assert "textual" in names
    assert not names & {"numpy", "pandas", "sklearn", "plotext", "alpaca", "trader.host", "trader.core.engine"}
