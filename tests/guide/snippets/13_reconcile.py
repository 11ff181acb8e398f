from trader.execution.reconciliation import ReconciliationEngine

reconciler = ReconciliationEngine(
    broker_api=broker_api,
    local_state=state_manager,
    reconcile_interval=30  # Every 30 seconds
)

# Manual reconciliation
report = await reconciler.reconcile()

if report.has_discrepancies:
    print(f"Found {len(report.discrepancies)} discrepancies:")
    for disc in report.discrepancies:
        print(f"  - {disc.type}: {disc.details}")

    # Auto-resolve
    await reconciler.resolve_discrepancies(report)
