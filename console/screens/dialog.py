"""A box in front of a screen; what is behind stays visible and goes on painting."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, cast

from textual.binding import BindingType
from textual.screen import ModalScreen, ScreenResultType

from console.bindings import bindings

if TYPE_CHECKING:
    from console.app import AlphaTradeApp


class Dialog(ModalScreen[ScreenResultType], Generic[ScreenResultType]):
    """Escape closes it; halt works through it."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("close")

    @property
    def owner(self) -> AlphaTradeApp:
        """The app, by its own type."""
        return cast("AlphaTradeApp", self.app)

    def action_close(self) -> None:
        self.dismiss(None)
