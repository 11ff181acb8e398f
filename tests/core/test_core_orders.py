"""The order table: every pair of state and news is a transition or an anomaly, never an exception."""

import pytest

from trader.core.orders import AT_BROKER, OPEN, TERMINAL, TRANSITIONS, News, OrderState, advance


@pytest.mark.parametrize("state", list(OrderState))
@pytest.mark.parametrize("news", list(News))
def test_every_pair_has_an_answer(state, news):
    after = advance(state, news)
    assert after is None or after in OrderState


@pytest.mark.parametrize("state", sorted(TERMINAL - {OrderState.DENIED}))
def test_late_fills_are_legal_from_every_terminal_state_at_the_broker(state):
    assert advance(state, News.FILL_ALL) is OrderState.FILLED


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_nothing_but_a_fill_reopens_what_has_ended(state):
    for news in News:
        after = advance(state, news)
        if after is not None and news not in (News.FILL, News.FILL_ALL):
            assert after is state


def test_a_denied_order_stays_denied():
    assert TRANSITIONS[OrderState.DENIED] == {}


def test_unknown_orders_count_as_exposure_and_are_not_at_the_broker():
    assert OrderState.UNKNOWN in OPEN
    assert OrderState.UNKNOWN not in AT_BROKER
    assert not OPEN & TERMINAL


@pytest.mark.parametrize("state", sorted(AT_BROKER | {OrderState.SUBMITTING, OrderState.UNKNOWN}))
def test_whatever_the_broker_says_of_a_live_order_is_legal(state):
    for news in (News.ACCEPT, News.HOLD, News.FILL, News.FILL_ALL, News.CANCEL, News.EXPIRE, News.REPLACE, News.REJECT):
        assert advance(state, news) is not None


@pytest.mark.parametrize("state", list(OrderState))
def test_repeated_news_changes_nothing_more(state):
    for news in News:
        once = advance(state, news)
        if once is None or news is News.FILL:
            continue
        assert advance(once, news) in (once, None)
