"""The key table as Textual bindings."""

from __future__ import annotations

from textual.binding import Binding, BindingType

from console.keymap import KEYS


def bindings(*scopes: str) -> list[BindingType]:
    """Bindings of the given scopes; a user's keys are laid over them by id (``App.set_keymap``)."""
    return [Binding(key.keys, key.action, key.label, id=key.id, priority=key.priority, tooltip=key.about,
                    show=bool(key.rank))
            for key in KEYS if key.scope in scopes]
