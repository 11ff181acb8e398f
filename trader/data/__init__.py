"""Bars: sample, synthesis, import, store, checks, feeds; may import core and utils."""
