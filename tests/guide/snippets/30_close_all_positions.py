# Close all positions manually via Alpaca
from trader.execution.broker_api import AlpacaBroker

async def close_all():
    broker = AlpacaBroker()
    await broker.connect()
    positions = await broker.get_positions()
    for pos in positions:
        await broker.close_position(pos.symbol)
        print(f"Closed {pos.symbol}")

asyncio.run(close_all())
