"""A user's feature: one file, one line; verified when loaded, refused with one clear line."""

from __future__ import annotations

import numpy as np
import pytest

from trader.features.feature import feature
from trader.features.feature_set import default_features
from trader.features.live import LiveFeatures
from trader.features.user_features import load_user_features
from trader.utils.errors import UserError

GOOD = """
import numpy as np
from trader.features.feature import feature
from trader.features.rolling import rolling_mean

@feature(lookback=9)
def mean_body(bars):
    return rolling_mean((bars.close - bars.open) / bars.close, 10)
"""
BAD = """
from trader.features.feature import feature

@feature(lookback=0)
def of_all(bars):
    return bars.close / bars.close.max()

@feature(lookback=3)
def forgetful(bars):
    return bars.close / bars.close.cumsum()

@feature(lookback=0)
def broken(bars):
    return bars.no_such_column

number = 7
"""


def test_a_user_feature_joins_the_set_in_batch_and_live(tmp_path, probe):
    (tmp_path / "mine.py").write_text(GOOD)
    features = load_user_features(["mine.py:mean_body"], tmp_path)
    feature_set = default_features(extra=features)
    assert feature_set.names[-1] == "mean_body"
    batch = feature_set.transform(probe)[700, :, -1]
    live = LiveFeatures(feature_set, probe.rows(0, 700)).push(probe.slice(700))[:, -1]
    np.testing.assert_allclose(live, batch, rtol=1e-9)
    assert np.isfinite(batch).any()


def test_its_code_is_part_of_the_fingerprint(tmp_path):
    (tmp_path / "one.py").write_text(GOOD)
    (tmp_path / "two.py").write_text(GOOD.replace("bars.open", "bars.low"))
    one, two = (default_features(extra=load_user_features([f"{n}.py:mean_body"], tmp_path)) for n in ("one", "two"))
    assert one.fingerprint() != two.fingerprint()


@pytest.mark.parametrize(("spec", "words"), [
    ("bad.py:of_all", "look-ahead first at bar"),
    ("bad.py:forgetful", "more than the 3 bars"),
    ("bad.py:broken", "failed on trial bars: AttributeError"),
    ("bad.py:number", "expected a feature, such as"),
    ("bad.py:nothing", "defines no nothing"),
    ("none.py:x", "there is no file"),
    ("bad.py", "should read path/to/file.py:NAME"),
    ("syntax.py:x", "failed to load: SyntaxError"),
])
def test_what_is_wrong_is_said_in_one_line(tmp_path, spec, words):
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "syntax.py").write_text("def x(:")
    with pytest.raises(UserError) as caught:
        load_user_features([spec], tmp_path)
    message = str(caught.value)
    assert words in message
    assert message.startswith("features.extra: ")
    assert "\n" not in message


def test_infinite_memory_must_be_declared_whole():
    with pytest.raises(ValueError, match="needs warmup= and memory="):
        feature(lookback=None)
    with pytest.raises(ValueError, match="0 or more"):
        feature(lookback=-1)
