# Method 1: From running system
# The system has an emergency_halt() method that:
# - Cancels ALL pending orders
# - Closes ALL positions at market
# - Disables trading until manual reset

# Method 2: Via Python console
import asyncio
from trader.system import AlphaTradeSystem

async def emergency_stop():
    system = AlphaTradeSystem()
    await system.initialize()
    results = await system.emergency_halt()
    print(f"Cancelled orders: {results['orders_cancelled']}")
    print(f"Closed positions: {results['positions_closed']}")

asyncio.run(emergency_stop())
