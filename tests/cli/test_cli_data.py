"""``alphatrade data`` from the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from trader.cli.main import main


def run(capsys, *words, code=0):
    assert main(["data", *map(str, words)]) == code
    return capsys.readouterr()


def test_list_shows_the_sample(capsys):
    rows = json.loads(run(capsys, "list", "--json").out)
    assert {(r["symbol"], r["timeframe"], r["source"]) for r in rows} >= {
        ("AAPL", "1Day", "real"), ("AAPL", "15Min", "synthetic-intraday"),
    }
    assert "synthetic-intraday" in run(capsys, "list").out


def test_synthesize_then_list_and_check(capsys, home):
    written = json.loads(run(
        capsys, "synthesize", "--symbols", "IBM,MSFT", "--start", "2012-01-03", "--end", "2012-02-29", "--json").out)
    assert [(w["symbol"], w["source"], w["rows"]) for w in written] == [
        ("IBM", "synthetic-intraday", 40 * 26), ("MSFT", "synthetic-intraday", 40 * 26),
    ]
    assert (home / "data" / "raw" / "15Min" / "IBM" / "manifest.json").is_file()
    report = json.loads(run(capsys, "check", "--json").out)
    assert report["ok"]
    assert [d["symbol"] for d in report["datasets"]] == ["IBM", "MSFT"]
    other = run(capsys, "synthesize", "--symbols", "IBM", "--seed", "8", "--start", "2012-03-01", code=2)
    assert "must not be mixed" in other.err


def test_import_and_check_with_errors(capsys, home, tmp_path):
    rows = "".join(f"2024-11-{day}T00:00:00Z,100,101,99,100,5000\n" for day in ("25", "26", "27"))
    path = tmp_path / "XYZ.csv"
    path.write_text("timestamp,open,high,low,close,volume\n" + rows + "2024-11-29T00:00:00Z,50,50.5,49.5,50,10000\n")
    (result,) = json.loads(run(capsys, "import", path, "--json").out)
    assert (result["symbol"], result["timeframe"], result["rows_written"]) == ("XYZ", "1Day", 4)
    shown = run(capsys, "check", "--timeframe", "1d", code=1)
    assert "split_not_adjusted" in shown.out
    assert (home / "results" / "data_quality_report.json").is_file()


def test_check_takes_a_list_of_symbols_from_yaml(capsys, tmp_path):
    listed = tmp_path / "symbols.yaml"
    listed.write_text("symbols: [IBM]\n")
    report = json.loads(run(capsys, "check", "--symbols", listed, "--timeframe", "1d", "--json").out)
    assert [d["symbol"] for d in report["datasets"]] == ["IBM"]


def test_resample_builds_longer_bars_and_goes_on(capsys):
    run(capsys, "synthesize", "--symbols", "IBM,MSFT", "--start", "2012-01-03", "--end", "2012-01-31")
    hours = json.loads(run(capsys, "resample", "--to", "1h", "--json").out)
    assert [(h["symbol"], h["timeframe"], h["rows"]) for h in hours] == [("IBM", "60Min", 140), ("MSFT", "60Min", 140)]
    assert hours[0]["source"] == "synthetic-intraday"
    assert "140 bars in the store" in run(capsys, "resample", "--to", "1h", "--symbols", "ibm").out
    assert "cannot be built" in run(capsys, "resample", "--to", "20m", code=2).err
    assert "no 30Min bars of any symbol" in run(capsys, "resample", "--timeframe", "30m", "--to", "1h", code=2).err


@pytest.mark.parametrize(("words", "said"), [
    (["import", "none.csv"], "none.csv: no such file"),
    (["synthesize", "--symbols", "NVDA"], "not in the bundled sample"),
    (["synthesize", "--start", "2020-01-01"], "it runs from 2000-03-01 to 2013-03-01"),
    (["synthesize", "--start", "soon"], "start 'soon' is not a date"),
    (["check", "--symbols", "none.yaml"], "none.yaml cannot be read"),
    (["check", "--timeframe", "fortnight"], "is not a bar size"),
    (["nonsense"], "invalid choice"),
])
def test_mistakes_are_one_line(capsys, words, said):
    shown = run(capsys, *words, code=2)
    assert said in shown.err
    assert shown.err.count("\n") == 1


def test_a_home_that_cannot_be_written(capsys, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    shown = run(capsys, "check", "--symbols", "IBM", "--timeframe", "1d", "--home", blocked / "home", code=2)
    assert "cannot write" in shown.err


def test_help_needs_no_heavy_imports():
    code = (
        "import sys\nfrom trader.cli.main import parse\n"
        "try: parse(['data', 'import', '--help'])\nexcept SystemExit: pass\n"
        "sys.exit(bool({'pandas', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
