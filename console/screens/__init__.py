"""Whole screens; may import panes and widgets."""
