"""A screen that draws frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.reactive import var
from textual.screen import Screen

from console.keymap import Key
from console.panes.status import Moment
from console.widgets.key_bar import KeyBar
from trader.frames import Frame

if TYPE_CHECKING:
    from console.app import AlphaTradeApp


class FrameScreen(Screen[Any]):
    """Holds the frame of the moment; hidden ones are not told and cost nothing."""

    SCOPES: ClassVar[tuple[str, ...]] = ()
    frame: var[Frame] = var(Frame(), init=False, always_update=True)
    moment: Moment = Moment()

    @property
    def owner(self) -> AlphaTradeApp:
        """The app, by its own type."""
        return cast("AlphaTradeApp", self.app)

    def take(self, frame: Frame, moment: Moment) -> None:
        """A tick: called five times a second while the screen can be seen."""
        self.moment = moment
        self.frame = frame

    def usable_keys(self) -> tuple[Key, ...]:
        """Keys that work here, for key bar, help and palette."""
        return tuple(key for key in self.owner.keys if key.scope in (*self.SCOPES, "app") and self.allows(key))

    def allows(self, key: Key) -> bool:
        """Whether the feed lets this key do anything."""
        return self.owner.allows(key)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of what the feed does not allow are absent."""
        called = [key for key in self.owner.keys if key.scope in self.SCOPES and key.action.split("(")[0] == action]
        return all(self.allows(key) for key in called)

    def on_screen_resume(self) -> None:
        for bar in self.query(KeyBar):
            bar.show_keys(self.usable_keys())
        self.owner.tick()
