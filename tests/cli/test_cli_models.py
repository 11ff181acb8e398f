"""``alphatrade models`` on two small models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from trader.cli.main import main
from trader.models.registry import latest_model

CONFIG = "model: {{members: [lightgbm], iterations: 5, depth: 2}}\nseed: {seed}\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an older and a newer model."""
    home = tmp_path_factory.mktemp("home")
    for seed in (1, 2):
        config = home / f"training{seed}.yaml"
        config.write_text(CONFIG.format(seed=seed))
        assert main(["train", "--home", str(home), "--config", str(config), "--symbols", "IBM", "--start", "2011-09-01",
                     "--end", "2012-03-01", "--progress", "none", "--json"]) == 0
    return home


def run(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> dict:
    capsys.readouterr()
    assert main(["models", *words, "--home", str(home), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_promotion_and_rollback_change_what_sessions_load(home, capsys):
    newer, older = run(capsys, home, "list")["models"]
    assert (newer["champion"], older["champion"]) == (True, False)
    assert latest_model(home).name == newer["model_id"]
    told = run(capsys, home, "promote", older["model_id"].split("-")[1][:8])
    assert told == {"name": "ml_momentum", "champion": older["model_id"], "before": newer["model_id"]}
    assert latest_model(home).name == older["model_id"]
    assert [m["champion"] for m in run(capsys, home, "list")["models"]] == [True, False]
    assert run(capsys, home, "rollback")["champion"] == newer["model_id"]
    assert latest_model(home).name == newer["model_id"]


def test_the_list_is_a_table_with_the_champion_marked(home, capsys):
    capsys.readouterr()
    assert main(["models", "list", "--home", str(home)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"★ {latest_model(home).name}")
    assert "synthetic-intraday" in lines[1]
    assert lines[2].startswith("  ml_momentum-")


@pytest.mark.parametrize(("words", "message"), [
    (["promote", "nothing"], "no stored model is 'nothing'; there are ml_momentum-"),
    (["rollback", "--name", "other"], "nothing to roll back to"),
])
def test_what_is_wrong_is_named(home, capsys, words, message):
    assert main(["models", *words, "--home", str(home)]) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_model_is_not_promoted(home, capsys, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    older = run(capsys, copy, "list")["models"][1]["model_id"]
    (copy / "models" / older / "calibrator.json").write_text("{}")
    assert main(["models", "promote", older, "--home", str(copy)]) == 2
    assert "calibrator.json is not the file that was trained" in capsys.readouterr().err
    assert latest_model(copy).name != older


def test_an_edited_manifest_is_listed_as_refused_and_says_why(home, capsys, tmp_path):
    shutil.copytree(home / "models", tmp_path / "models")
    broken = latest_model(tmp_path)
    path = broken / "manifest.json"
    path.write_text(path.read_text().replace('"max_holding_periods": 20', '"max_holding_periods": 21', 1))
    told = run(capsys, tmp_path, "list")
    assert [row["model_id"] for row in told["models"]] != []
    assert broken.name not in {row["model_id"] for row in told["models"]}
    assert "field 'labels' is not what was stored" in told["refused"][broken.name]
    assert main(["models", "list", "--home", str(tmp_path)]) == 0
    assert f"✗ {broken.name} must not be used" in capsys.readouterr().out
    assert main(["models", "promote", broken.name, "--home", str(tmp_path)]) == 2
    assert "field 'labels' is not what was stored" in capsys.readouterr().err


def test_an_empty_home_says_how_to_begin(tmp_path, capsys):
    assert main(["models", "list", "--home", str(tmp_path)]) == 0
    assert "alphatrade train" in capsys.readouterr().out
