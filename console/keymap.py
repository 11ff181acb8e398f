"""Every key as data: bindings, key bar, help and palette come from this one table.

No Textual here, so that settings can be checked before a screen exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from trader.utils.errors import UserError


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that a key does.

    ``scope`` says where the key lives (a name in :data:`SCOPES`), ``kind`` under which heading help shows it,
    ``rank`` how long it stays in the key bar when the terminal is narrow (0: never shown there).
    """

    id: str
    keys: str                               # comma separated, Textual's names
    label: str                              # for the key bar: one or two words
    action: str
    scope: str
    kind: str
    about: str                              # for help and palette: a sentence
    rank: int = 0
    priority: bool = False
    palette: bool = True


SCOPES = ("app", "monitor", "live", "replay", "table", "charts", "next", "quit", "close")
KINDS = {
    "danger": "Safety",
    "session": "Session",
    "pane": "Panes",
    "row": "Rows",
    "time": "Time line",
    "view": "Screen",
}
PANES = ("positions", "orders", "risk", "breakers", "slippage", "models", "log")
HALT_ID = "halt"
HALT_KEYS = ("f12", "ctrl+backslash")

KEYS: tuple[Key, ...] = (
    Key(HALT_ID, ",".join(HALT_KEYS), "HALT", "halt", "app", "danger",
        "Stop trading at once: cancel every order, close positions by policy, latch", 100, priority=True),
    Key("help", "question_mark", "Help", "help", "app", "view", "This page", 95),
    Key("palette", "ctrl+p", "Commands", "command_palette", "app", "view", "Find any command by name", 60,
        palette=False),
    Key("quit", "q,ctrl+q", "Quit", "ask_quit", "app", "session", "Leave; asks first while anything is at stake", 90),
    Key("theme", "t", "Theme", "next_theme", "app", "view", "Next theme: dark, light, high contrast", 20),
    Key("back", "escape", "Back", "back", "monitor", "view", "Leave the filter, the maximised pane or the chart",
        palette=False),
    # panes
    *(Key(f"pane_{name}", str(place), name.capitalize(), f"pane('{name}')", "monitor", "pane", f"Go to {name}")
      for place, name in enumerate(PANES, 1)),
    Key("next_pane", "tab", "Pane", "next_pane(1)", "monitor", "pane", "Next pane", 55, palette=False),
    Key("previous_pane", "shift+tab", "Pane", "next_pane(-1)", "monitor", "pane", "Previous pane", palette=False),
    Key("maximise", "f", "Maximise", "maximise_pane", "monitor", "pane", "Give the whole screen to this pane", 45),
    Key("charts", "c", "Charts", "charts", "monitor", "view", "Candles with own fills, equity, drawdown", 65),
    Key("filter", "slash", "Filter", "filter", "monitor", "row", "Show only rows that contain a text", 75),
    Key("sort", "s", "Sort", "sort", "monitor", "row", "Sort by the next column; after the last, as they come", 50),
    Key("reverse", "S", "Reverse", "reverse", "monitor", "row", "Reverse the order of the sort"),
    Key("detail", "enter", "Detail", "detail", "monitor", "row", "All about the row: an order's life, a veto's numbers",
        70),
    Key("export", "e", "Export", "export", "monitor", "row", "Write this pane as CSV and JSON", 40),
    # a row up and down, inside any table
    Key("up", "up,k", "Up", "cursor(-1)", "table", "row", "Row up", palette=False),
    Key("down", "down,j", "Down", "cursor(1)", "table", "row", "Row down", palette=False),
    Key("page_up", "pageup", "Page up", "page(-1)", "table", "row", "Page up", palette=False),
    Key("page_down", "pagedown", "Page down", "page(1)", "table", "row", "Page down", palette=False),
    Key("top", "ctrl+home", "Top", "edge(-1)", "table", "row", "First row", palette=False),
    Key("bottom", "ctrl+end", "Bottom", "edge(1)", "table", "row", "Last row; the log follows again", palette=False),
    # a session
    Key("resume", "r", "Resume", "resume", "live", "danger", "Lift the halt: a typed word and a reason", 35),
    Key("pause", "space", "Freeze", "pause_paint", "live", "view",
        "Freeze the panes to read them; trading, halt state and P&L go on", 80),
    Key("sim_slower", "left_square_bracket", "Slower", "sim_speed(-1)", "live", "session",
        "Play the market slower (sim)"),
    Key("sim_faster", "right_square_bracket", "Faster", "sim_speed(1)", "live", "session",
        "Play the market faster (sim)"),
    Key("sim_pause", "p", "Hold market", "sim_pause", "live", "session", "Hold the market, or let it go on (sim)"),
    # a replay
    Key("play", "space", "Play", "play", "replay", "time", "Play or pause", 80),
    Key("step", "right", "Step", "step(1)", "replay", "time", "One slice on", 78),
    Key("step_back", "left", "Step back", "step(-1)", "replay", "time", "One slice back"),
    Key("leap", "shift+right", "Leap", "step(26)", "replay", "time", "26 slices on (a day of 15-minute bars)"),
    Key("leap_back", "shift+left", "Leap back", "step(-26)", "replay", "time", "26 slices back"),
    Key("slower", "left_square_bracket", "Slower", "speed(-1)", "replay", "time", "Slower: ×0.25 … max", 76),
    Key("faster", "right_square_bracket", "Faster", "speed(1)", "replay", "time", "Faster: ×0.25 … max", 76),
    Key("seek", "g", "Go to", "seek", "replay", "time", "Go to a time of day, a date or a share (34%)", 77),
    Key("next_event", "n", "Next …", "next_event", "replay", "time",
        "Run to the next fill, veto, breaker, error, halt", 79),
    Key("start", "home", "Start", "seek_fraction(0.0)", "replay", "time", "To the start"),
    Key("end", "end", "End", "seek_fraction(1.0)", "replay", "time", "To the end"),
    Key("next_fill", "f", "fill", "run_to('fill')", "next", "time", "After n: to the next fill", 5, palette=False),
    Key("next_veto", "v", "veto", "run_to('veto')", "next", "time", "After n: to the next veto", 5, palette=False),
    Key("next_breaker", "b", "breaker", "run_to('breaker')", "next", "time", "After n: to the next breaker", 5,
        palette=False),
    Key("next_error", "e", "error", "run_to('error')", "next", "time", "After n: to the next error", 5, palette=False),
    Key("next_halt", "h", "halt", "run_to('halt')", "next", "time", "After n: to the next halt", 5, palette=False),
    # charts
    Key("next_symbol", "right,n", "Symbol", "symbol(1)", "charts", "view", "Charts: next symbol", 80, palette=False),
    Key("previous_symbol", "left", "Symbol", "symbol(-1)", "charts", "view", "Charts: previous symbol", palette=False),
    Key("leave_charts", "escape,c", "Back", "leave", "charts", "view", "Charts: back to the panes", 85, palette=False),
    # leaving: never the key that asked
    Key("quit_halt", "h", "halt and quit", "choose('halt')", "quit", "danger",
        "On leaving: halt, wait until flat, quit", 5, palette=False),
    Key("quit_leave", "l", "leave it running", "choose('leave')", "quit", "session",
        "On leaving: the session goes on without the screen", 5, palette=False),
    Key("quit_stop", "s", "stop in order", "choose('stop')", "quit", "session",
        "On leaving: stop the session in order, positions keep their stops", 5, palette=False),
    Key("close", "escape", "back", "close", "close", "view", "Close a dialog", 5, palette=False),
)


def index(keys: Iterable[Key] = KEYS) -> dict[str, Key]:
    """The table by id."""
    return {key.id: key for key in keys}


# Scopes that are awake together: two keys of one group may not share a key.
TOGETHER = (
    ("app", "monitor", "live", "table"),
    ("app", "monitor", "replay", "table"),
    ("app", "charts"), ("app", "next", "close"), ("app", "quit", "close"),
)


def remap(overrides: Mapping[str, object], keys: tuple[Key, ...] = KEYS) -> tuple[Key, ...]:
    """The table with a user's keys (``console.keys`` of settings.yaml: id → keys).

    Halt keeps its own keys whatever is added to it.

    Raises
    ------
    UserError
        For an unknown id, an empty value, a key that halt owns, or two actions on one key.
    """
    known = index(keys)
    for name, value in overrides.items():
        if name not in known:
            raise UserError(f"console.keys: no action is called {name!r}; there are: {', '.join(sorted(known))}")
        if not isinstance(value, str) or not value.strip(" ,"):
            raise UserError(f"console.keys.{name}: expected keys such as \"f5\" or \"x,ctrl+x\", got {value!r}")
        pressed = [part.strip() for part in value.split(",") if part.strip()]
        if name == HALT_ID:
            pressed = list(dict.fromkeys((*HALT_KEYS, *pressed)))
        known[name] = replace(known[name], keys=",".join(pressed))
    changed = tuple(known.values())
    for group in TOGETHER:
        taken: dict[str, Key] = {}
        for key in changed:
            for pressed_key in key.keys.split(",") if key.scope in group else ():
                other = taken.setdefault(pressed_key, key)
                if other is not key:
                    raise UserError(f"console.keys: {pressed_key!r} would do both {other.id!r} and {key.id!r}; "
                                    f"give one of them another key")
    return changed


_SIGNS = {
    "ctrl+backslash": "^\\", "question_mark": "?", "slash": "/", "left_square_bracket": "[",
    "right_square_bracket": "]", "escape": "esc", "space": "space", "left": "←", "right": "→", "up": "↑", "down": "↓",
    "shift+left": "⇧←", "shift+right": "⇧→", "shift+tab": "⇧tab", "pageup": "pgup", "pagedown": "pgdn",
}


def display(keys: str, *, every: bool = False) -> str:
    """How keys are written for a person: the first one, or all of them."""
    names = [_SIGNS.get(name, name.replace("ctrl+", "^")) for name in keys.split(",")]
    return " ".join(names) if every else names[0]
