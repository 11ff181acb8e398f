from trader.features.institutional import InstitutionalFeatureEngine

engine = InstitutionalFeatureEngine()

# Generate AFML features
features = engine.generate_all_features(df)

# Generated features include:
# - Fractional Differentiation (for stationarity)
# - VPIN (Volume-Synchronized Probability of Informed Trading)
# - Kyle's Lambda (market impact coefficient)
# - HMM Regime (Hidden Markov Model states)
# - Microstructure features (spread, depth, etc.)

print(f"Generated {len(features.columns)} features")
print(features.columns.tolist())
