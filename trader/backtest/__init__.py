"""The engine over stored bars and an in-process venue; may import all rooms below system."""
