import logging

# For debugging - verbose output
logging.getLogger('alphatrade').setLevel(logging.DEBUG)

# For production - important events only
logging.getLogger('alphatrade').setLevel(logging.INFO)

# Log locations:
# - logs/trading.log    (main trading logs)
# - logs/execution.log  (order execution)
# - logs/risk.log       (risk events)
