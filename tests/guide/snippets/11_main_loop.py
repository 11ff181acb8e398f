# Simplified main.py structure

async def main():
    # 1. Initialize system components
    await initialize_system()

    # 2. Recover state after crash/restart
    recovered = await state_manager.recover_state()
    if recovered['previous_session']:
        logger.info(f"Recovered from session: {recovered['previous_session'].session_id}")

    # 3. Start new session
    await state_manager.start_session(session_id=generate_session_id())

    # 4. Main trading loop
    while market_is_open():
        try:
            # Get latest market data
            bars = await data_feed.get_latest_bars()

            # Validate data quality
            if not validator.validate(bars).is_valid:
                logger.warning("Data validation failed, skipping")
                continue

            # Generate features
            features = feature_engine.generate(bars)

            # Get model predictions
            predictions = model.predict(features)
            calibrated_probs = calibrator.calibrate(predictions)

            # Check risk limits
            risk_check = risk_manager.check_all_limits()
            if not risk_check.passed:
                logger.warning(f"Risk limit hit: {risk_check.reason}")
                continue

            # Generate trading signals
            signals = strategy.generate_signals(calibrated_probs)

            # Execute orders
            for signal in signals:
                # Pre-trade impact estimation
                impact = impact_model.estimate_impact(signal)

                if impact.should_execute:
                    await order_manager.submit(signal)

            # Update state
            await state_manager.heartbeat()

        except Exception as e:
            logger.error(f"Error in main loop: {e}")
            await graceful_degradation.handle_error(e)

        # Wait for next bar
        await asyncio.sleep(bar_interval)

    # 5. End session
    await state_manager.end_session()
