from trader.data.alpaca_client import AlpacaDataClient

client = AlpacaDataClient()
account = await client.get_account()
print(f"Account Status: {account.status}")
print(f"Buying Power: ${account.buying_power}")
