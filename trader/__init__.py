"""The trading engine and everything it needs; never imports the console, Textual or Rich at engine start."""

__version__ = "0.1.0"
