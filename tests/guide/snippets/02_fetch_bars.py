from trader.data.alpaca_client import AlpacaDataClient

# Create client
client = AlpacaDataClient()

# Fetch data (last 2 years, 15-minute bars)
df = await client.get_historical_bars(
    symbol='AAPL',
    timeframe='15Min',
    start='2023-01-01',
    end='2024-12-01'
)

# Output: DataFrame with columns
# [timestamp, open, high, low, close, volume, vwap, trade_count]
print(df.head())
