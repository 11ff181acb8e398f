# Check API keys are set
import os

print(f"API Key set: {bool(os.getenv('ALPACA_API_KEY'))}")
print(f"Secret Key set: {bool(os.getenv('ALPACA_SECRET_KEY'))}")

# Verify URL is correct
# Paper: https://paper-api.alpaca.markets
# Live: https://api.alpaca.markets

# Test connection
from trader.data.alpaca_client import AlpacaDataClient
client = AlpacaDataClient()
try:
    account = await client.get_account()
    print(f"Connected! Status: {account.status}")
except Exception as e:
    print(f"Connection failed: {e}")
