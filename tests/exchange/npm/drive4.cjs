// Drives the exchange with @alpacahq/alpaca-trade-api 4.x: node drive4.cjs FOLDER BASE CONTROL; prints one JSON object.
const { createRequire } = require("node:module");
const [folder, base, control] = process.argv.slice(2);
const sdk = createRequire(`${folder}/`)("@alpacahq/alpaca-trade-api");
const { trading, marketData, streaming } = sdk;

const step = (count = 1) => fetch(`${control}/v1/step`, { method: "POST", body: JSON.stringify({ count }) }).then((r) => r.json());
const market = (name, body) => fetch(`${control}/v1/market/${name}`, { method: "POST", body: JSON.stringify(body) });
async function until(what, condition) {
  for (let i = 0; i < 1500; i++) {
    if (await condition()) return;
    await new Promise((done) => setTimeout(done, 10));
  }
  throw new Error(`waited in vain for ${what}`);
}
async function refused(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    const response = error.response ?? error.cause?.response;
    let code = error.code;
    try { code = (await response.clone().json()).code; } catch { /* the body was read */ }
    return [error.status ?? response.status, code];
  }
}

async function main() {
  const headers = { "APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret" };
  const configuration = new trading.Configuration({ basePath: base, headers });
  const dataConfiguration = new marketData.Configuration({ basePath: base, headers });
  const orders = new trading.OrdersApi(configuration);
  const positions = new trading.PositionsApi(configuration);
  const stocks = new marketData.StockApi(dataConfiguration);
  const seen = { updates: [], messages: {}, errors: [] };
  const keep = (kind) => (message) => (seen.messages[kind] ??= []).push(message.symbol ?? message.S);

  const ws = base.replace("http", "ws");
  const data = new streaming.StockDataStream({ credentials: { keyId: "key", secret: "secret" }, url: `${ws}/v2/iex`, feed: "iex" });
  data.onTrade(keep("trade")).onQuote(keep("quote")).onBar(keep("bar")).onDailyBar(keep("dailyBar"))
    .onUpdatedBar(keep("updatedBar")).onStatus(keep("status")).onLuld(keep("luld")).onCorrection(keep("correction"));
  data.onConnect(() => {
    data.subscribeForTrades(["AAPL"]);
    data.subscribeForQuotes(["AAPL"]);
    data.subscribeForBars(["*"]);
    data.subscribeForDailyBars(["MSFT"]);
    data.subscribeForUpdatedBars(["AAPL"]);
    data.subscribeForStatuses(["*"]);
    data.subscribeForLulds(["AAPL"]);
  });
  data.onError((error) => seen.errors.push(String(error)));
  data.connect();
  const stream = new streaming.TradingStream({ credentials: { keyId: "key", secret: "secret" }, url: `${ws}/stream` });
  stream.onTradeUpdate((update) => seen.updates.push([update.event, update.order.symbol, String(update.positionQty ?? update.position_qty ?? "") || null]));
  stream.onError((error) => seen.errors.push(String(error)));
  stream.onConnect(() => stream.subscribeTradeUpdates());
  stream.connect();
  await until("both streams", async () => {
    const listeners = (await (await fetch(`${control}/v1/state`)).json()).listeners;
    return listeners.trade_updates === 1 && listeners.bars === 1 && data.getSubscriptions().lulds.length === 1;
  });

  const result = {};
  result.account = (await new trading.AccountsApi(configuration).getAccount()).cash;
  result.clock = (await new trading.ClockApi(configuration).legacyClock()).isOpen;
  result.calendar = (await new trading.CalendarApi(configuration).legacyCalendar({ start: new Date("2024-07-02"), end: new Date("2024-07-05") })).map((d) => d.close);
  const assets = new trading.AssetsApi(configuration);
  result.assets = (await assets.getV2Assets({ status: "active" })).map((a) => a.symbol);
  result.asset = (await assets.getV2AssetsSymbolOrAssetId({ symbolOrAssetId: "MSFT" })).fractionable;
  const post = (postOrderRequest) => orders.postOrder({ postOrderRequest });
  result.order = (await post({ symbol: "AAPL", qty: "10", side: "buy", type: "market", timeInForce: "day", clientOrderId: "four" })).status;
  result.duplicate = await refused(post({ symbol: "AAPL", qty: "1", side: "buy", type: "market", timeInForce: "day", clientOrderId: "four" }));
  const limit = await post({ symbol: "MSFT", qty: "5", side: "buy", type: "limit", limitPrice: "90", timeInForce: "gtc" });
  const replaced = await orders.patchOrderByOrderId({ orderId: limit.id, patchOrderRequest: { qty: "6", limitPrice: "91" } });
  result.replaced = [replaced.replaces === limit.id, replaced.qty, replaced.limitPrice];
  result.open = (await orders.getAllOrders({ status: "open" })).length;
  await orders.deleteOrderByOrderID({ orderId: replaced.id });
  result.cancelAgain = await refused(orders.deleteOrderByOrderID({ orderId: replaced.id }));
  result.unknown = await refused(orders.getOrderByOrderID({ orderId: "00000000-0000-4000-a000-000000000000" }));
  await step();
  result.filled = (await orders.getOrderByClientOrderId({ clientOrderId: "four" })).filledAvgPrice;
  result.position = (await positions.getOpenPosition({ symbolOrAssetId: "AAPL" })).qty;
  result.activities = (await new trading.AccountActivitiesApi(configuration).getAccountActivitiesByActivityType({ activityType: "FILL" })).length;
  result.history = (await new trading.PortfolioHistoryApi(configuration).getAccountPortfolioHistory({ period: "1M", timeframe: "1D" })).equity.length > 0;
  await market("halt", { symbol: "MSFT" });
  await market("resume", { symbol: "MSFT" });
  await market("correct", { symbol: "AAPL", close: 100.25 });
  const page = await stocks.stockBars({ symbols: "AAPL", timeframe: "15Min", start: new Date("2024-01-08T14:00:00Z"), end: new Date("2024-01-08T18:00:00Z") });
  result.bars = page.bars.AAPL.map((bar) => bar.c);
  result.latestQuote = (await stocks.stockLatestQuotes({ symbols: "AAPL" })).quotes.AAPL.ap > 100;
  result.latestTrade = (await stocks.stockLatestTrades({ symbols: "AAPL" })).trades.AAPL.p;
  result.snapshot = Object.values(await stocks.stockSnapshots({ symbols: "AAPL" }))[0].dailyBar.o;
  result.closed = (await positions.deleteOpenPosition({ symbolOrAssetId: "AAPL" })).side;
  await step();
  result.positions = await positions.getAllOpenPositions();
  await orders.deleteAllOrders();
  await until("the last fill", () => seen.updates.filter(([event]) => event === "fill").length === 2);
  await until("the corrected bar", () => (seen.messages.updatedBar ?? []).length === 1);
  await until("two slices of bars", () => (seen.messages.bar ?? []).length === 4);
  data.disconnect?.();
  stream.disconnect?.();
  console.log(JSON.stringify({ result, seen }));
  process.exit(0);
}
main().catch((error) => { console.error(error); process.exit(1); });
