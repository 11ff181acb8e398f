"""The embedded exchange: matching core and an Alpaca-compatible server; may import core, utils and the fill model."""
