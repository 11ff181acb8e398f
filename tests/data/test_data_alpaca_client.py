"""The market data client over loopback: pages, columns, retries of GETs, time-outs, refusals in plain words."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from trader.data.alpaca_client import AlpacaDataClient, MarketDataError
from trader.utils.errors import UserError

BAR = {"t": "2024-11-27T14:30:00Z", "o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 100, "n": 7, "vw": 1.25}
COLUMNS = ["timestamp", "open", "high", "low", "close", "volume", "vwap", "trade_count"]
ACCOUNT = {
    "id": "11111111-1111-1111-1111-111111111111", "account_number": "A1", "status": "ACTIVE", "buying_power": "400000",
}


class Fake:
    """A loopback server: answers are taken from a list per path, the last one again and again."""

    def __init__(self):
        self.requests, self.answers = [], {}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                split = urlsplit(self.path)
                fake.requests.append((split.path, parse_qs(split.query), dict(self.headers)))
                answers = fake.answers[split.path]
                status, body = answers.pop(0) if len(answers) > 1 else answers[0]
                if callable(body):
                    body = body()
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def fake():
    made = Fake()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def client(fake):
    return AlpacaDataClient("KEY", "SECRET", fake.url + "/v2", backoff_s=0.01)


BARS, LATEST, ACCOUNT_PATH = "/v2/stocks/bars", "/v2/stocks/bars/latest", "/v2/account"


async def test_bars_of_all_pages(fake, client):
    second = {**BAR, "t": "2024-11-27T14:45:00Z"}
    fake.answers[BARS] = [
        (200, {"bars": {"AAPL": [BAR]}, "next_page_token": "more"}),
        (200, {"bars": {"AAPL": [second]}, "next_page_token": None}),
    ]
    frame = await client.get_historical_bars(
        symbol="AAPL", timeframe="15Min", start="2024-11-27", end="2024-11-27", feed="iex", adjustment="all")
    assert frame.columns.tolist() == COLUMNS
    assert frame["timestamp"].astype(str).tolist() == ["2024-11-27 14:30:00+00:00", "2024-11-27 14:45:00+00:00"]
    assert frame.iloc[0, 1:].tolist() == [1.0, 2.0, 0.5, 1.5, 100.0, 1.25, 7.0]
    path, query, headers = fake.requests[0]
    assert (path, query["timeframe"], query["feed"], query["adjustment"]) == (BARS, ["15Min"], ["iex"], ["all"])
    assert query["start"][0].startswith("2024-11-27T00:00:00")
    assert query["end"][0].startswith("2024-11-27T23:59:59.99")          # a bare end includes its day
    assert headers["APCA-API-KEY-ID"] == "KEY"
    assert fake.requests[1][1]["page_token"] == ["more"]


async def test_no_bars_is_an_empty_frame(fake, client):
    fake.answers[BARS] = [(200, {"bars": {}, "next_page_token": None})]
    frame = await client.get_historical_bars("AAPL", "1d")
    assert frame.columns.tolist() == COLUMNS
    assert frame.empty
    assert str(frame["timestamp"].dtype) == "datetime64[ns, UTC]"


async def test_latest_bars_and_account(fake, client):
    fake.answers[LATEST] = [(200, {"bars": {"MSFT": BAR, "AAPL": BAR}})]
    fake.answers[ACCOUNT_PATH] = [(200, ACCOUNT)]
    latest = await client.get_latest_bars(["AAPL", "MSFT", "NONE"])
    assert latest.columns.tolist() == ["symbol", *COLUMNS]
    assert latest["symbol"].tolist() == ["AAPL", "MSFT"]
    account = await client.get_account()
    assert (account.status.value, account.buying_power) == ("ACTIVE", "400000")
    assert (await client.health_check()).healthy
    await client.close()


@pytest.mark.parametrize("status", [429, 502, 504])
async def test_gets_are_repeated(fake, client, status):
    fake.answers[BARS] = [(status, b"<html>"), (status, b"<html>"), (200, {"bars": {"AAPL": [BAR]}})]
    assert len(await client.get_historical_bars("AAPL")) == 1
    assert len(fake.requests) == 3


async def test_for_ever_failing_is_said(fake, client):
    fake.answers[BARS] = [(503, b"<html>busy</html>")]
    with pytest.raises(MarketDataError, match="answered HTTP 503"):
        await client.get_historical_bars("AAPL")
    assert len(fake.requests) == 5


async def test_refusals_are_the_users_to_mend(fake, client):
    fake.answers[BARS] = [(403, {"code": 40310000, "message": "subscription does not permit querying recent SIP data"})]
    with pytest.raises(UserError, match=r"does not permit querying recent SIP data.*check ALPACA_API_KEY"):
        await client.get_historical_bars("AAPL")
    fake.answers[BARS] = [(422, {"message": "invalid symbol"})]
    with pytest.raises(UserError, match=r"HTTP 422.*invalid symbol"):
        await client.get_historical_bars("A?PL")


async def test_a_mute_server_does_not_hang(fake):
    over = threading.Event()
    fake.answers[ACCOUNT_PATH] = [(200, lambda: over.wait(60) and {})]
    client = AlpacaDataClient("KEY", "SECRET", fake.url, read_timeout_s=0.1, retries=1, backoff_s=0.01)
    with pytest.raises(MarketDataError, match="no answer from http://127"):
        await client.get_account()
    health = await client.health_check()
    over.set()
    assert not health.healthy
    assert "no answer" in health.detail


async def test_answers_that_cannot_be_read(fake, client):
    fake.answers[BARS] = [(200, b"<html>maintenance</html>")]
    with pytest.raises(MarketDataError):
        await client.get_historical_bars("AAPL")


async def test_mistakes_in_arguments(fake, client, monkeypatch):
    for wrong in ({"feed": "nyse"}, {"adjustment": "none"}, {"timeframe": "90m"}, {"timeframe": "x"}, {"start": "x"}):
        with pytest.raises(UserError):
            await client.get_historical_bars("AAPL", **wrong)
    assert fake.requests == []
    with pytest.raises(UserError, match="set ALPACA_API_KEY and ALPACA_SECRET_KEY"):
        await AlpacaDataClient().get_account()
    monkeypatch.setenv("ALPACA_API_KEY", "a")
    monkeypatch.setenv("ALPACA_SECRET_KEY", "b")
    assert AlpacaDataClient().base_url == "https://paper-api.alpaca.markets"
    assert AlpacaDataClient().data_url is None
