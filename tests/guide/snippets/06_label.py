# Programmatic usage
from trader.models.meta_labeling import TripleBarrierLabeler

labeler = TripleBarrierLabeler(
    profit_taking=0.02,      # 2% take profit
    stop_loss=0.01,          # 1% stop loss
    max_holding_periods=20   # Max 20 bars holding
)

labels = labeler.fit_transform(df)
# Labels: 0 (loss), 1 (neutral), 2 (profit)

print(f"Label distribution: {labels.value_counts()}")
