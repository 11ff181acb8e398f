from __future__ import annotations

from pathlib import Path

import pytest

from trader.utils.paths import bundled_dir, home_dir


def test_the_flag_goes_before_the_environment(tmp_path: Path, home: Path) -> None:
    assert home_dir(tmp_path) == tmp_path
    assert home_dir() == home


def test_a_folder_with_settings_is_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPHATRADE_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.chdir(tmp_path)
    elsewhere = home_dir()
    assert elsewhere != tmp_path
    assert elsewhere.name == "alphatrade"
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.yaml").write_text("")
    assert home_dir() == tmp_path


def test_what_ships_is_found_and_what_does_not_is_named() -> None:
    assert (bundled_dir("config") / "settings.yaml").is_file()
    with pytest.raises(FileNotFoundError, match="no-such-folder"):
        bundled_dir("no-such-folder")
