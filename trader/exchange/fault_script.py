"""Scripts of faults, read from YAML, JSON or a log of hits, with the line of every mistake.

A script is a list of faults, or an object with ``seed`` and ``faults``::

    seed: 7
    faults:
      - {kind: drop_response, method: POST, path: /v2/orders, symbol: AAPL}
      - {kind: rate_limit, count: 5, skip: 20}
      - {kind: omit, event: fill, probability: 0.1, count: 0}

``rules`` may change what the venue's broker allows (`trader.exchange.types.VenueRules`), like ``{slow_changes: true}``.
The log of a run is a script too: played again over the same traffic it hits the same things.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from trader.exchange.fault_rules import FAULTS, AnyFault, Fault, MarketFault
from trader.exchange.types import VenueRules
from trader.utils.errors import UserError

Seed = Annotated[int, Meta(ge=-(10**15), le=10**15)]
MOST = 1_000_000                    # of any number in the rules


class FaultScript(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A seed, the faults, and changes of the venue's rules."""

    faults: list[AnyFault] = []
    seed: Seed = 0
    rules: dict[str, Any] = {}

    def __post_init__(self) -> None:
        try:
            self.ruled(VenueRules())
        except ValueError as error:
            what, at, place = str(error).partition(" - at `$")
            raise ValueError(f"{what} - at `$.rules{place if at else '`'}") from None

    def ruled(self, rules: VenueRules) -> VenueRules:
        """The rules with the script's changes; ValueError for what is no rule."""
        return changed_rules(rules, self.rules)


def changed_rules(rules: VenueRules, changes: dict[str, Any]) -> VenueRules:
    """Rules with some of them changed; ValueError names the rule and what was expected."""
    known = VenueRules.__struct_fields__
    for name in changes:
        if name not in known:
            raise ValueError(f"there is no rule {name!r}; the rules are {', '.join(known)}")
    wanted = {name: str(value) if isinstance(value, float) else value for name, value in changes.items()}
    try:
        changed = msgspec.convert({**msgspec.structs.asdict(rules), **wanted}, VenueRules)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    for name in changes:
        value = getattr(changed, name)
        if isinstance(value, Decimal | int) and not (Decimal(value).is_finite() and 0 <= value < MOST):
            raise ValueError(f"{name} is {value}; expected a number from 0 to {MOST:,} - at `$.{name}`")
    return changed


def read_faults(value: Any) -> list[Fault]:
    """Faults from JSON values: one object or a list; ValueError names the field and what was expected."""
    wanted = value if isinstance(value, list) else [value]
    try:
        return list(msgspec.convert(wanted, list[AnyFault]))
    except msgspec.ValidationError as error:
        raise ValueError(_mended(str(error), wanted)) from None


def read_script(value: dict[str, Any]) -> FaultScript:
    """A script from JSON values: one with ``faults``, ``seed`` or ``rules``, or one fault; ValueError for others."""
    body = value if value.keys() & set(FaultScript.__struct_fields__) else {"faults": [value]}
    try:
        return msgspec.convert(body, FaultScript)
    except msgspec.ValidationError as error:
        raise ValueError(_mended(str(error), body)) from None


def script_of_log(lines: list[str]) -> FaultScript:
    """The script that hits again what a log says was hit: the same faults, each ``at`` the matches of its hits.

    Its rules are those of the first hit; what changed them later belongs to the traffic.

    ValueError for lines that are no hits.
    """
    hits = msgspec.json.decode(f"[{','.join(lines)}]", type=list[_Logged])
    struck: dict[int, tuple[dict[str, Any], set[int]]] = {}
    for hit in sorted(hits, key=lambda hit: hit.fault):
        struck.setdefault(hit.fault, (hit.rule, set()))[1].add(hit.match)
    return msgspec.convert({"rules": hits[0].rules if hits else {}, "faults": [
        {**{name: value for name, value in rule.items() if name not in _DRAWN}, "at": sorted(matches)}
        for rule, matches in struck.values()
    ]}, FaultScript)


_DRAWN = ("skip", "count", "probability")       # what decided then which matches were hit


class _Logged(msgspec.Struct, frozen=True):
    """What a replay needs of a line of the log."""

    fault: int
    match: Annotated[int, Meta(ge=1)]
    rule: dict[str, Any]
    rules: dict[str, Any] = {}


def _log_lines(text: str) -> list[str]:
    """The lines of a log of hits; none when the text is something else."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines if lines and lines[0].startswith('{"number":') else []


def changes_of(rules: VenueRules, since: VenueRules) -> dict[str, Any]:
    """What `changed_rules` would need to make one of the other, as JSON values."""
    if rules is since:
        return {}
    now, then = (msgspec.to_builtins(value, order="deterministic") for value in (rules, since))
    return {name: value for name, value in now.items() if value != then[name]}


def check_symbols(faults: Iterable[Fault], known: Collection[str]) -> None:
    """ValueError for a fault about a symbol that the venue does not have: it would never hit."""
    for number, fault in enumerate(faults):
        place = ".arguments" if isinstance(fault, MarketFault) else ""
        symbol = fault.arguments["symbol"] if isinstance(fault, MarketFault) else getattr(fault, "symbol", None)
        if symbol is not None and symbol not in known:
            raise ValueError(
                f"there is no {symbol!r} here; the symbols are {', '.join(known)} - at `$.faults[{number}]"
                f"{place}.symbol`"
            )


def load_fault_script(path: Path, symbols: Collection[str] | None = None) -> FaultScript:
    """A script from a YAML or JSON file, or from a log of hits; UserError with the line of what is wrong.

    With the venue's ``symbols`` a fault about another one is wrong, too.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        if lines := _log_lines(text):
            return script_of_log(lines)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"cannot read the faults in {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or str(error)
        raise UserError(f"{path}{line}: {what}; write the faults as YAML or JSON") from error
    except RecursionError:
        raise UserError(f"{path}: nested too deeply; a script is a list of faults") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}; a log of faults has one hit a line, as --fault-log writes it") from error
    body = {"faults": value} if isinstance(value, list) else value
    try:
        script = msgspec.convert(body, FaultScript)
        if symbols is not None:
            check_symbols(script.faults, symbols)
    except ValueError as error:                         # msgspec's are ValueErrors
        message = str(error)
        steps = _steps(message)
        if isinstance(value, list):
            steps = steps[1:]
        raise UserError(f"{path}:{_line_of(tree, steps)}: {_mended(message, body)}") from None
    return script


def _mended(message: str, body: Any) -> str:
    """msgspec's message, with what could stand there where a kind or a field is unknown."""
    if "Invalid value" in message and ".kind" in message:
        return f"{message}; the kinds are {', '.join(FAULTS)}"
    if message.startswith("Object contains unknown field"):
        kind = _kind_at(body, _steps(message))
        fields = FAULTS[kind].__struct_fields__ if kind in FAULTS else FaultScript.__struct_fields__
        return f"{message}; the fields are {', '.join(fields)}"
    if choice := re.search(r"`str` matching regex '\^\((?!\?)(.+)\)\$'", message):
        return message.replace(choice[0], f"one of {choice[1].replace('|', ', ')}")
    if "`object`" in message and not _steps(message):
        return f"{message}; a script is a list of faults, or an object with `faults`"
    return message


def _kind_at(body: Any, steps: list[str | int]) -> Any:
    """The kind of the fault at a place of a script; None elsewhere."""
    try:
        for step in steps:
            body = body[step]
        return body.get("kind")
    except (LookupError, TypeError, AttributeError):
        return None


def _steps(message: str) -> list[str | int]:
    """The path in a validation message: ``at `$.faults[2].seconds``` is faults, 2, seconds."""
    at = re.search(r"`(\$[^`]*)`$", message)
    if at is None:
        return []
    return [int(index) if index else name for index, name in re.findall(r"\[(\d+)\]|\.(\w+)", at[1])]


def _line_of(node: Any, steps: list[str | int]) -> int:
    """The line of a node, or of the nearest parent that is there."""
    import yaml

    line = node.start_mark.line + 1 if node is not None else 1
    for step in steps:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        elif isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == step), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
            continue
        else:
            break
        line = node.start_mark.line + 1
    return int(line)
