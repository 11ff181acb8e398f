from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trader.config import (
    LIVE_URL,
    PAPER_URL,
    Secrets,
    Settings,
    SymbolsFile,
    load_secrets,
    load_settings,
    load_typed,
)
from trader.options import parse_speed
from trader.utils.errors import UserError


class Barrier(msgspec.Struct):
    """A struct of another room, without settings of its own about unknown keys."""

    profit_taking: float
    max_holding_periods: int = 10


class Barriers(msgspec.Struct):
    symbols: dict[str, Barrier]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def write(home: Path, name: str, text: str) -> Path:
    path = home / "config" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# --- one value out of place: the file, the line, the key, the value, what was expected -----------------------

@pytest.mark.parametrize(("text", "line", "words"), [
    ("mode: sim\nmod: sim", 2, "unknown key mod; did you mean mode?"),
    ("log:\n  levels: INFO", 2, "unknown key log.levels; did you mean level?"),
    ("halt:\n  zzz: 1", 2, "unknown key halt.zzz; known here: flatten"),
    ("\n\nmode: simm", 3, "mode is 'simm': expected one of live, paper, sim"),
    ("mode: on", 1, "mode is 'on': expected one of live, paper, sim"),
    ("mode:", 1, "mode is null: expected text (one of live, paper, sim)"),
    ("sim:\n  seed: 1.5", 2, "sim.seed is 1.5: expected a whole number"),
    ("sim:\n  seed: -1", 2, "sim.seed is -1: expected a whole number >= 0"),
    ("sim:\n  cash: lots", 2, "sim.cash is 'lots': expected a number"),
    ("sim:\n  symbols: [AAPL]\n  cash: -5", 3, "sim.cash must be above 0, not -5"),
    ("sim:\n  speed: fast", 2, "sim.speed 'fast' is not a speed"),
    ("sim: {symbols: AAPL}", 1, "sim.symbols is 'AAPL': expected a list"),
    ("sim:\n  symbols:\n    - AAPL\n    - [B]", 4, "sim.symbols[1] is ['B']: expected text"),
    ("sim: 3", 1, "sim is 3: expected a block of keys"),
    ("- 1", 1, "the file is [1]: expected a block of keys"),
    ("health:\n  port: 99999", 2, "health.port is 99999: expected a whole number <= 65535"),
    ("health:\n  port: a", 2, "health.port is 'a': expected a whole number or null"),
    ("halt:\n  flatten: maybe", 2, "halt.flatten is 'maybe': expected true or false"),
    ("console:\n  refresh_hz: .nan", 2, "console.refresh_hz is '.nan': expected a finite number"),
    ("console:\n  refresh_hz: nan", 2, "console.refresh_hz is 'nan': expected a number"),
    ("console:\n  keys:\n    quit: q\n    halt: [f12]", 4, "console.keys.halt is ['f12']: expected text"),
    ("mode: sim\nmode: live", 2, "mode is given twice (first in line 1); keep one"),
    ("mode: !!python/name:os.system", 1, "mode carries the tag os.system; write a plain value"),
    ("sim: &x\n  cash: *x", 2, "aliases"),
])
def test_every_mistake_names_its_line(file: Path, text: str, line: int, words: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load_typed(file, Settings)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "place"), [("a: [1,\n}", ":2:1"), ("a: 1\n\tb: 2", ":2:1"), ("a: 'open", ":1:9"),
                                             ("a: {b: 1", ":1:9")])
def test_malformed_yaml_names_line_and_column(file: Path, text: str, place: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=rf"settings.yaml{place}: not valid YAML"):
        load_typed(file, Settings)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"mode: \x00", "mode: ä".encode("latin-1"), b"%YAML 3.0\n---\na"])
def test_what_is_no_text_is_one_clear_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"settings\.yaml"):
        load_typed(file, Settings)


def test_missing_files_and_folders(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_typed(file, Settings)
    with pytest.raises(UserError, match="cannot be read"):
        load_typed(tmp_path, Settings)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["mode", "sim", "cash", "symbols", "keys", "console", "port", "x"]), inner, max_size=4),
    max_leaves=12))
def test_any_document_gives_settings_or_one_clear_line(document: Any) -> None:
    path = Path(os.environ["ALPHATRADE_HOME"]) / "any.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    complaint = ""
    try:
        assert isinstance(load_typed(path, Settings), Settings)
    except UserError as error:
        complaint = str(error)
    assert not complaint or complaint.startswith(f"{path}:")
    assert "\n" not in complaint


# --- values ------------------------------------------------------------------------------------------------

def test_words_stay_words_where_text_is_expected(file: Path) -> None:
    file.write_text("symbols: [ON, NO, TRUE, Y, BRK.B]\nsectors: {ON: off}")
    listing = load_typed(file, SymbolsFile)
    assert (listing.symbols, listing.sectors) == (("ON", "NO", "TRUE", "Y", "BRK.B"), {"ON": "off"})


def test_dates_numbers_and_decimals_keep_their_digits(file: Path) -> None:
    file.write_text(
        "sim: {start: 2012-06-01, speed: 900, cash: 100000.10, margin: 1}\nconsole: {refresh_hz: 1e1}\n"
        "strategy: {params: {a: 1e-3, b: 010, c: yes, d: x}}")
    settings = load_typed(file, Settings)
    assert (settings.sim.start, settings.sim.speed, settings.sim.cash) == ("2012-06-01", "900", Decimal("100000.10"))
    assert settings.console.refresh_hz == 10
    assert settings.strategy.params == {"a": 0.001, "b": 10, "c": True, "d": "x"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "~", "sim:\nlog:\n", "---\n..."])
def test_an_empty_file_is_all_defaults(file: Path, text: str) -> None:
    file.write_text(text)
    assert load_typed(file, Settings) == Settings()


def test_required_fields_and_nested_dicts_of_other_structs(file: Path) -> None:
    file.write_text("symbols:\n  AAPL:\n    profit_taking: 2\n  MSFT:\n    max_holding_periods: 5\n")
    with pytest.raises(UserError, match=r":4: symbols\.MSFT\.profit_taking is missing"):
        load_typed(file, Barriers)
    file.write_text("symbols:\n  AAPL:\n    profit_taking: 2\n  MSFT:\n    profit_taking: high\n")
    with pytest.raises(UserError, match=r":5: symbols\.MSFT\.profit_taking is 'high': expected a number"):
        load_typed(file, Barriers)
    file.write_text("symbols:\n  MSFT:\n    profit_takin: 1\n")
    with pytest.raises(UserError, match=r":3: unknown key symbols\.MSFT\.profit_takin; did you mean profit_taking"):
        load_typed(file, Barriers)


@pytest.mark.parametrize(("text", "factor"), [("900", 900), ("×900", 900), ("2x", 2), ("0.5", 0.5), ("real", 1),
                                              ("MAX", float("inf"))])
def test_speeds(text: str, factor: float) -> None:
    assert parse_speed(text) == factor


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "x", "fast", "ma"])
def test_no_speeds(text: str) -> None:
    with pytest.raises(UserError, match="write a number above 0"):
        parse_speed(text)


# --- finding the files -------------------------------------------------------------------------------------

def test_what_ships_is_the_documentation_of_the_defaults(repository: Path) -> None:
    shipped = repository / "config" / "settings.yaml"
    assert load_typed(shipped, Settings) == Settings()

    def keys(value: Any, prefix: str = "") -> set[str]:
        return {path for name, inner in value.items() for path in {prefix + name} | (
            keys(inner, f"{prefix}{name}.") if isinstance(inner, dict) else set())}

    assert keys(yaml.safe_load(shipped.read_text())) == keys(msgspec.to_builtins(Settings()))


def test_no_file_at_all_works(home: Path) -> None:
    loaded = load_settings(home)
    assert loaded.settings == Settings()
    assert loaded.symbols == ("AAPL", "MSFT", "NVDA", "GOOGL", "AMZN", "META", "TSLA")
    assert loaded.config_dir == home / "config"
    assert not home.exists()


def test_the_homes_files_go_before_those_that_ship(home: Path) -> None:
    write(home, "settings.yaml", "mode: paper")
    symbols = write(home, "symbols.yaml", "symbols: [IBM]")
    risk = write(home, "risk_params.yaml", "intraday_loss_warning: 0.005")
    loaded = load_settings(home)
    assert (loaded.settings.mode, loaded.symbols, loaded.symbols_path, loaded.risk_path) == (
        "paper", ("IBM",), symbols, risk)


def test_a_file_named_by_the_user_must_exist_and_may_stand_elsewhere(home: Path, tmp_path: Path) -> None:
    write(home, "settings.yaml", "mode: sim\nsymbols_file: mine.yaml")
    with pytest.raises(UserError, match=r"symbols_file names .*mine\.yaml, which does not exist"):
        load_settings(home)
    write(home, "mine.yaml", "symbols: [IBM]")
    assert load_settings(home).symbols == ("IBM",)
    elsewhere = write(tmp_path / "other", "settings.yaml", "timeframe: 1Day")
    write(tmp_path / "other", "symbols.yaml", "symbols: [FB]")
    loaded = load_settings(home, elsewhere)
    assert (loaded.settings.timeframe, loaded.symbols, loaded.path) == ("1Day", ("FB",), elsewhere)
    with pytest.raises(UserError, match="no such file"):
        load_settings(home, tmp_path / "nowhere.yaml")


def test_the_hash_follows_what_decides_about_trading(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_settings(home).settings_hash
    assert load_settings(home).settings_hash == first
    monkeypatch.setenv("ALPACA_API_KEY", "PKSECRET")
    assert load_settings(home).settings_hash == first
    write(home, "risk_params.yaml", "x: 1")
    second = load_settings(home).settings_hash
    write(home, "symbols.yaml", "symbols: [IBM]")
    assert len({first, second, load_settings(home).settings_hash}) == 3


@pytest.mark.parametrize("listing", ["[]", "[aapl]", "[A, A]", "['']", "[A-B]"])
def test_lists_of_symbols_are_checked(home: Path, listing: str) -> None:
    path = write(home, "symbols.yaml", f"symbols: {listing}")
    with pytest.raises(UserError, match=str(path)):
        load_settings(home)


# --- secrets -----------------------------------------------------------------------------------------------

def test_the_environment_goes_before_the_file_and_nothing_is_exported(
    home: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    home.mkdir()
    (home / ".env").write_text(
        "ALPACA_API_KEY=from-file\nALPACA_SECRET_KEY='quoted'\nREDIS_HOST=box\nREDIS_PORT=7000\n")
    monkeypatch.setenv("ALPACA_API_KEY", "from-environment")
    secrets = load_secrets(home)
    assert (secrets.api_key, secrets.secret_key, secrets.redis_host, secrets.redis_port) == (
        "from-environment", "quoted", "box", 7000)
    assert "ALPACA_SECRET_KEY" not in os.environ
    assert load_settings(home).redis_address == ("box", 7000)
    assert set(secrets.values()) == {"from-environment", "quoted"}


def test_secrets_are_never_printed(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", "PKVISIBLE")
    monkeypatch.setenv("ALPACA_SECRET_KEY", "hidden-thing")
    loaded = load_settings(home)
    for text in (repr(loaded), str(loaded), repr(loaded.secrets), f"{loaded.secrets}"):
        assert "PKVISIBLE" not in text
        assert "hidden-thing" not in text


def test_the_examples_placeholders_are_no_keys(home: Path, repository: Path) -> None:
    home.mkdir()
    (home / ".env").write_text((repository / ".env.example").read_text())
    secrets = load_secrets(home)
    assert not secrets.complete
    assert secrets.base_url == PAPER_URL
    assert load_settings(home).redis_address is None


@pytest.mark.parametrize("port", ["abc", "0", "70000", "-1", "٣"])
def test_a_bad_redis_port_is_one_clear_line(home: Path, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("REDIS_PORT", port)
    with pytest.raises(UserError, match=r"REDIS_PORT is .* from 1 to 65535"):
        load_secrets(home)


def test_a_paper_session_never_reaches_the_live_account_and_the_other_way_round() -> None:
    assert Secrets().trading_url("paper") == PAPER_URL
    assert Secrets().trading_url("live") == LIVE_URL
    assert Secrets(base_url=PAPER_URL + "/v2/").trading_url("paper") == PAPER_URL
    assert Secrets(base_url="http://127.0.0.1:9000").trading_url("paper") == "http://127.0.0.1:9000"
    with pytest.raises(UserError, match="but the mode is paper"):
        Secrets(base_url=LIVE_URL + "/").trading_url("paper")
    with pytest.raises(UserError, match="but the mode is live"):
        Secrets(base_url=PAPER_URL).trading_url("live")
