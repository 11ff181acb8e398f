// Drives the exchange with @alpacahq/alpaca-trade-api 3.x: node drive3.cjs FOLDER BASE CONTROL; prints one JSON object.
const { createRequire } = require("node:module");
const [folder, base, control] = process.argv.slice(2);
const Alpaca = createRequire(`${folder}/`)("@alpacahq/alpaca-trade-api");

const step = (count = 1) => fetch(`${control}/v1/step`, { method: "POST", body: JSON.stringify({ count }) }).then((r) => r.json());
const market = (name, body) => fetch(`${control}/v1/market/${name}`, { method: "POST", body: JSON.stringify(body) });
async function until(what, condition) {
  for (let i = 0; i < 1500; i++) {
    if (condition()) return;
    await new Promise((done) => setTimeout(done, 10));
  }
  throw new Error(`waited in vain for ${what}`);
}
const refused = (promise) => promise.then(() => null, (error) => [error.response.status, error.response.data.code]);

async function main() {
  const alpaca = new Alpaca({ keyId: "key", secretKey: "secret", baseUrl: base, dataBaseUrl: base, feed: "iex" });
  const seen = { updates: [], messages: {}, errors: [] };
  const keep = (kind) => (message) => (seen.messages[kind] ??= []).push(message.Symbol ?? message.S);

  const data = alpaca.data_stream_v2;
  data.session.url = `${base.replace("http", "ws")}/v2/iex`;
  data.onConnect(() => {
    data.subscribeForTrades(["AAPL"]);
    data.subscribeForQuotes(["AAPL"]);
    data.subscribeForBars(["*"]);
    data.subscribeForDailyBars(["MSFT"]);
    data.subscribeForUpdatedBars(["AAPL"]);
    data.subscribeForStatuses(["*"]);
    data.subscribeForLulds(["AAPL"]);
  });
  data.onStockTrade(keep("trade"));
  data.onStockQuote(keep("quote"));
  data.onStockBar(keep("bar"));
  data.onStockDailyBar(keep("dailyBar"));
  data.onStockUpdatedBar(keep("updatedBar"));
  data.onStatuses(keep("status"));
  data.onLulds(keep("luld"));
  data.onError((error) => seen.errors.push(String(error)));
  data.connect();

  const trading = alpaca.trade_ws;
  let listening = false;
  trading.onConnect(() => { trading.subscribe(["trade_updates"]); listening = true; });
  trading.onOrderUpdate((update) => seen.updates.push([update.event, update.order.symbol, update.position_qty ?? null]));
  trading.connect();
  await until("both streams", () => listening && data.getSubscriptions().lulds.length === 1);
  for (let ready = false; !ready;) {
    const listeners = (await (await fetch(`${control}/v1/state`)).json()).listeners;
    ready = listeners.trade_updates === 1 && listeners.bars === 1;
  }

  const result = {};
  result.account = (await alpaca.getAccount()).cash;
  result.configurations = typeof (await alpaca.getAccountConfigurations()).no_shorting;
  result.clock = (await alpaca.getClock()).is_open;
  result.calendar = (await alpaca.getCalendar({ start: new Date("2024-07-02"), end: new Date("2024-07-05") })).map((d) => d.close);
  result.assets = (await alpaca.getAssets({ status: "active" })).map((a) => a.symbol);
  result.asset = (await alpaca.getAsset("MSFT")).fractionable;
  const order = await alpaca.createOrder({ symbol: "AAPL", qty: 10, side: "buy", type: "market", time_in_force: "day", client_order_id: "three" });
  result.order = order.status;
  result.duplicate = await refused(alpaca.createOrder({ symbol: "AAPL", qty: 1, side: "buy", type: "market", time_in_force: "day", client_order_id: "three" }));
  const limit = await alpaca.createOrder({ symbol: "MSFT", qty: 5, side: "buy", type: "limit", limit_price: 90, time_in_force: "gtc" });
  const replaced = await alpaca.replaceOrder(limit.id, { qty: "6", limit_price: "91" });
  result.replaced = [replaced.replaces === limit.id, replaced.qty, replaced.limit_price];
  result.open = (await alpaca.getOrders({ status: "open" })).length;
  await alpaca.cancelOrder(replaced.id);
  result.cancelAgain = await refused(alpaca.cancelOrder(replaced.id));
  result.unknown = await refused(alpaca.getOrder("00000000-0000-4000-a000-000000000000"));
  await step();
  result.filled = (await alpaca.getOrderByClientId("three")).filled_avg_price;
  result.position = (await alpaca.getPosition("AAPL")).qty;
  result.activities = (await alpaca.getAccountActivities({ activityTypes: "FILL" })).length;
  result.history = (await alpaca.getPortfolioHistory({ period: "1M", timeframe: "1D" })).equity.length > 0;
  await market("halt", { symbol: "MSFT" });
  await market("resume", { symbol: "MSFT" });
  await market("correct", { symbol: "AAPL", close: 100.25 });
  const bars = [];
  for await (const bar of alpaca.getBarsV2("AAPL", { timeframe: "15Min", start: "2024-01-08T14:00:00Z", end: "2024-01-08T18:00:00Z" })) bars.push(bar.ClosePrice);
  result.bars = bars;
  result.latestQuote = (await alpaca.getLatestQuote("AAPL")).AskPrice > 100;
  result.latestTrade = (await alpaca.getLatestTrade("AAPL")).Price;
  result.snapshot = (await alpaca.getSnapshot("AAPL")).DailyBar.OpenPrice;
  result.closed = (await alpaca.closePosition("AAPL")).side;
  await step();
  result.positions = await alpaca.getPositions();
  await alpaca.cancelAllOrders();
  await until("the last fill", () => seen.updates.filter(([event]) => event === "fill").length === 2);
  await until("the corrected bar", () => (seen.messages.updatedBar ?? []).length === 1);
  await until("two slices of bars", () => (seen.messages.bar ?? []).length === 4);
  data.disconnect();
  trading.disconnect();
  console.log(JSON.stringify({ result, seen }));
  process.exit(0);
}
main().catch((error) => { console.error(error); process.exit(1); });
