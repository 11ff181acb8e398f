"""Three themes and the tones that every widget paints with."""

from __future__ import annotations

from rich.style import Style
from textual.theme import Theme

# A tone is a meaning; its colour is the theme's, its attributes hold without colour too.
TONES: dict[str, str] = {
    "": "",
    "muted": "",
    "faint": "",
    "good": "",
    "bad": "",
    "warn": "",
    "accent": "",
    "strong": "bold",
    "heading": "bold",
    "good_strong": "bold",
    "bad_strong": "bold",
    "warn_strong": "bold",
    "alarm": "bold reverse",
    "caution": "bold reverse",
    "badge": "bold reverse",
    "calm": "bold reverse",
}
_COLOUR_OF = {
    "": "tone-text", "strong": "tone-strong", "heading": "tone-muted", "good_strong": "tone-good",
    "bad_strong": "tone-bad", "warn_strong": "tone-warn", "alarm": "tone-bad", "caution": "tone-warn",
    "badge": "tone-accent", "calm": "tone-good",
}


def _theme(name: str, *, dark: bool, text: str, strong: str, muted: str, faint: str, good: str, bad: str, warn: str,
           accent: str, background: str, surface: str, panel: str, cursor: str, on_alarm: str) -> Theme:
    return Theme(
        name=name, dark=dark, primary=accent, secondary=muted, warning=warn, error=bad, success=good, accent=accent,
        foreground=text, background=background, surface=surface, panel=panel,
        variables={
            "tone-text": text, "tone-strong": strong, "tone-muted": muted, "tone-faint": faint, "tone-good": good,
            "tone-bad": bad, "tone-warn": warn, "tone-accent": accent, "tone-cursor": cursor, "on-alarm": on_alarm,
            "footer-background": surface, "block-cursor-foreground": strong, "block-cursor-background": cursor,
            "input-cursor-background": strong, "scrollbar": faint, "scrollbar-background": background,
            "scrollbar-hover": muted, "scrollbar-active": accent, "scrollbar-background-hover": background,
            "scrollbar-background-active": background, "scrollbar-corner-color": background,
        },
    )


THEMES = (
    _theme("alphatrade-dark", dark=True, text="#c3ccd6", strong="#f0f4f8", muted="#8592a1", faint="#343e4a",
           good="#4cc38a", bad="#ff6b6b", warn="#e5b454", accent="#62a8ea", background="#0d1117", surface="#141a22",
           panel="#1c2430", cursor="#1f3349", on_alarm="#1a0505"),
    _theme("alphatrade-light", dark=False, text="#2b3440", strong="#05080c", muted="#5c6773", faint="#c3cad2",
           good="#0b7a45", bad="#c02424", warn="#8f5a00", accent="#0b5cad", background="#fbfcfd", surface="#eef1f5",
           panel="#e3e8ee", cursor="#d3e4f7", on_alarm="#ffffff"),
    _theme("alphatrade-contrast", dark=True, text="#ffffff", strong="#ffffff", muted="#d8d8d8", faint="#8a8a8a",
           good="#00ff66", bad="#ff5555", warn="#ffff00", accent="#00e5ff", background="#000000", surface="#000000",
           panel="#1a1a1a", cursor="#003a8c", on_alarm="#000000"),
)
NAMES = tuple(theme.name for theme in THEMES)
DEFAULT = NAMES[0]


def full_name(name: str | None) -> str:
    """``dark``, ``light`` or ``contrast`` (or the full name) as a theme's name; unknown ones are the default."""
    wanted = f"alphatrade-{(name or 'dark').removeprefix('alphatrade-').replace('high-contrast', 'contrast')}"
    return wanted if wanted in NAMES else DEFAULT


def content_style(tone: str) -> str:
    """A tone for Textual's Content."""
    colour = _COLOUR_OF.get(tone, f"tone-{tone}")
    if "reverse" in TONES[tone]:
        return f"bold $on-alarm on ${colour}"
    return f"{TONES[tone]} ${colour}".strip()


def line_styles(variables: dict[str, str], base: Style) -> dict[str, Style]:
    """Every tone as a Rich style over ``base``, for widgets that paint their own lines."""
    styles = {}
    for tone, attributes in TONES.items():
        colour = variables[_COLOUR_OF.get(tone, f"tone-{tone}")]
        if "reverse" in attributes:
            styles[tone] = base + Style(color=variables["on-alarm"], bgcolor=colour, bold=True)
        else:
            styles[tone] = base + Style(color=colour, bold="bold" in attributes)
    return styles
