# Check staleness detector
report = staleness_detector.check_staleness()

if report.retrain_urgency in ['high', 'critical']:
    # Options:
    # 1. Retrain model with recent data
    # 2. Reduce position sizes temporarily
    # 3. Switch to backup model

    # Check accuracy windows
    windows = staleness_detector.get_accuracy_windows()
    for w in windows:
        print(f"{w.window_name}: {w.accuracy:.1%}")
