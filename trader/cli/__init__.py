"""The alphatrade command: one file per command group; may import every room, lazily."""
