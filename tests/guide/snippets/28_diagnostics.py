# Run system diagnostics
async def run_diagnostics():
    results = {}

    # 1. Broker connection
    try:
        account = await broker_api.get_account()
        results['broker'] = f"OK - {account.status}"
    except Exception as e:
        results['broker'] = f"FAILED - {e}"

    # 2. Data feed
    try:
        bars = await data_feed.get_latest_bars(['AAPL'])
        results['data_feed'] = f"OK - {len(bars)} bars"
    except Exception as e:
        results['data_feed'] = f"FAILED - {e}"

    # 3. Model
    try:
        pred = model.predict(sample_features)
        results['model'] = "OK - predictions working"
    except Exception as e:
        results['model'] = f"FAILED - {e}"

    # 4. Redis
    try:
        pong = await state_manager._redis.ping()
        results['redis'] = "OK" if pong else "FAILED"
    except:
        results['redis'] = "FALLBACK - using in-memory"

    # Print results
    for component, status in results.items():
        symbol = "✓" if "OK" in status or "FALLBACK" in status else "✗"
        print(f"{symbol} {component}: {status}")

await run_diagnostics()
