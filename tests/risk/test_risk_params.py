"""The risk settings: the shipped file is the defaults, and mistakes are told with their line."""

from pathlib import Path

import pytest

from trader.risk.params import RiskParams, load_risk_params
from trader.utils.errors import UserError
from trader.utils.paths import bundled_dir


def test_the_shipped_file_says_the_defaults_and_every_one_of_them():
    path = bundled_dir("config") / "risk_params.yaml"
    assert load_risk_params(path) == RiskParams()
    text = path.read_text()
    assert [name for name in RiskParams.__struct_fields__ if f"\n{name}:" not in text] == []
    assert load_risk_params(None) == RiskParams()


@pytest.mark.parametrize(("text", "words"), [
    ("max_position_pct: 2\n", ["1: max_position_pct", "<= 1"]),
    ("# x\nmax_positon_pct: 0.2\n", ["2:", "max_positon_pct", "did you mean max_position_pct"]),
    ("var_method: guess\n", ["1: var_method", "historical"]),
    ("kelly_fraction: 0.5\nintraday_loss_warning: 0.5\n", ["2: intraday_loss_warning", "must be below"]),
    ("max_position_pct: [\n", ["not valid YAML"]),
    ("kelly_fraction: much\n", ["1: kelly_fraction", "number"]),
])
def test_mistakes_name_line_and_range(tmp_path: Path, text, words):
    path = tmp_path / "risk_params.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_risk_params(path)
    assert all(word in str(caught.value) for word in [str(path), *words]), str(caught.value)
