from __future__ import annotations

from pathlib import Path

import pytest
from importlinter.cli import lint_imports


def test_rooms_import_in_the_allowed_direction_only(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(repository)
    code = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert code == 0, capsys.readouterr().out
