"""YAML files into typed structs, with errors that name the file, the line, the key and what was expected.

The type guides the reading: where text is expected, the words of the file are taken as they stand, so that the
tickers ``ON``, ``NO`` and ``TRUE`` stay tickers and ``2012-06-01`` stays a date in letters; decimals keep every digit.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import msgspec.inspect as mi
import yaml

from trader.utils.errors import UserError

T = TypeVar("T")
KeyPath = tuple[str | int, ...]

_MAX_NODES = 200_000            # aliases of aliases can unfold without end
_MAX_DEPTH = 40
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "timestamp", "str")}
_NULL = "tag:yaml.org,2002:null"
_PLACE = re.compile(r" - at `(key in )?\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def load_typed(path: Path, cls: type[T]) -> T:
    """Read a YAML file into a msgspec Struct.

    Parameters
    ----------
    path : Path
        The file; an empty file gives the struct's defaults.
    cls : type
        A ``msgspec.Struct`` class, nested as deep as needed.

    Raises
    ------
    UserError
        One line ``file:line: key …``: missing or unreadable file, malformed YAML, unknown key (with the nearest
        known one), duplicate key, or a value of the wrong type or outside of what is allowed.
    """
    text = _read(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UserError(f"{path}{place}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    reader = _Reader(path)
    data = {} if root is None else reader.build(root, mi.type_info(cls), ())
    try:
        return msgspec.convert(data, cls)
    except msgspec.ValidationError as error:
        raise _explain(error, data, cls, reader) from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path, or leave it out to use the defaults") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


@dataclass
class _Reader:
    """Builds plain values out of YAML nodes, guided by a type, and remembers the line of every key."""

    path: Path
    lines: dict[KeyPath, int] = field(default_factory=dict)
    nodes: int = 0

    def build(self, node: yaml.Node, kind: mi.Type, at: KeyPath) -> Any:
        self.nodes += 1
        self.lines.setdefault(at, node.start_mark.line + 1)
        if self.nodes > _MAX_NODES or len(at) > _MAX_DEPTH:
            raise self.error(at, "too deep or too large; are there aliases (*name) that contain themselves?")
        kinds = kind.types if isinstance(kind, mi.UnionType) else (kind,)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, kinds, at)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, kinds, at)
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, kinds, at)

    def error(self, at: KeyPath, problem: str) -> UserError:
        line = self.lines.get(at)
        return UserError(f"{self.path}{f':{line}' if line else ''}: {problem}")

    def _mapping(self, node: yaml.MappingNode, kinds: tuple[mi.Type, ...], at: KeyPath) -> dict[str, Any]:
        struct = next((k for k in kinds if isinstance(k, mi.StructType)), None)
        known = {f.encode_name: f.type for f in struct.fields} if struct else None
        inner: mi.Type = next((k.value_type for k in kinds if isinstance(k, mi.DictType)), mi.AnyType())
        yaml.constructor.SafeConstructor().flatten_mapping(node)
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise UserError(f"{self.path}:{line}: a key must be a single word")
            key = str(key_node.value)
            here = (*at, key)
            if key in result:
                raise UserError(
                    f"{self.path}:{line}: {_dotted(here)} is given twice (first in line {self.lines[here]}); keep one")
            self.lines[here] = line
            if known is not None and key not in known:
                raise self.error(here, f"unknown key {_dotted(here)}{_nearest(key, known)}")
            result[key] = self.build(value_node, inner if known is None else known[key], here)
        return result

    def _sequence(self, node: yaml.SequenceNode, kinds: tuple[mi.Type, ...], at: KeyPath) -> list[Any]:
        listing = (mi.ListType, mi.VarTupleType, mi.SetType, mi.FrozenSetType)
        item: mi.Type = next((k.item_type for k in kinds if isinstance(k, listing)), mi.AnyType())
        fixed = next((k.item_types for k in kinds if isinstance(k, mi.TupleType)), ())
        return [
            self.build(child, fixed[i] if i < len(fixed) else item, (*at, i)) for i, child in enumerate(node.value)
        ]

    def _scalar(self, node: yaml.ScalarNode, kinds: tuple[mi.Type, ...], at: KeyPath) -> Any:
        if node.tag not in _PLAIN_TAGS and node.tag != _NULL:
            raise self.error(at, f"{_dotted(at)} carries the tag {node.tag.rpartition(':')[2]}; write a plain value")
        text = str(node.value)
        if node.tag == _NULL:
            optional = any(isinstance(k, mi.NoneType) for k in kinds)
            return {} if any(isinstance(k, mi.StructType) for k in kinds) and not optional else None
        if node.style is None:                          # not in quotes
            if any(isinstance(k, (mi.FloatType, mi.AnyType)) for k in kinds) and (number := _number(text)) is not None:
                return number
            if any(isinstance(k, (mi.StrType, mi.DecimalType, mi.LiteralType)) for k in kinds) and not _fits(
                    node.tag, kinds):
                return text
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self.error(at, f"{_dotted(at)} is {text!r}: {error}") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(at, f"{_dotted(at)} is {text!r}: expected a finite number")
        return value


def _fits(tag: str, kinds: tuple[mi.Type, ...]) -> bool:
    """Whether a bool or int of the file is wanted as such (``bool | str`` takes ``true`` as a bool)."""
    wanted = {"tag:yaml.org,2002:bool": mi.BoolType, "tag:yaml.org,2002:int": mi.IntType}.get(tag)
    return wanted is not None and any(isinstance(k, wanted) for k in kinds)


def _number(text: str) -> float | int | None:
    """Finite numbers as Python writes them: YAML 1.1 would read 1e-3 as text, 1:30 as ninety and 010 as eight."""
    try:
        return int(text)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            return None
        return number if math.isfinite(number) else None


def _explain(error: msgspec.ValidationError, data: Any, cls: type, reader: _Reader) -> UserError:
    """The one-line error for what msgspec refused."""
    message = str(error)
    place = _PLACE.search(message)
    at = _pin(_steps(place["path"]), message, data, cls) if place else ()
    reason = message[: place.start()] if place else message
    missing = re.fullmatch(r"Object missing required field `(.*)`", reason)
    if missing:
        return reader.error(at, f"{_dotted((*at, missing[1]))} is missing; it has no default")
    kind = _type_at(mi.type_info(cls), at)
    allowed = _allowed(kind)
    if reason.startswith("Invalid enum value"):
        expected = f"expected one of {allowed}"
    elif reason.startswith("Expected"):
        expected = _plain(re.sub(r", got .*$", "", reason)) + (f" (one of {allowed})" if allowed else "")
    elif reason == "Invalid decimal string":
        expected = "expected a number"
    else:
        return _from_check(reason, at, reader)
    value = _value_at(data, at)
    shown = "" if isinstance(value, dict) else f" is {'null' if value is None else repr(value)}"
    return reader.error(at, f"{_dotted(at)}{shown}: {expected}")


def _from_check(reason: str, at: KeyPath, reader: _Reader) -> UserError:
    """A struct's own check; by habit its message starts with the name of the field, which has the better line."""
    field_at = (*at, reason.split(" ", 1)[0])
    if field_at in reader.lines:
        return reader.error(field_at, f"{_dotted(at)}.{reason}" if at else reason)
    return reader.error(at, f"{_dotted(at)}: {reason}" if at else reason)


_WORDS = {
    "`object`": "a block of keys", "`array`": "a list", "`str`": "text", "`bool`": "true or false",
    "`int`": "a whole number", "`float`": "a number", "`decimal`": "a number", "`null`": "null",
}


def _plain(expected: str) -> str:
    """msgspec's ``Expected `int` <= 3`` in words."""
    expected = re.sub(r"`([a-z]+) \| ", r"`\1` | `", expected)
    for word, plain in _WORDS.items():
        expected = expected.replace(word, plain)
    return "e" + expected[1:].replace(" | ", " or ").replace("`", "")


def _steps(path: str) -> tuple[str | int, ...]:
    return tuple(
        m[1] if m[1] is not None else (int(m[2]) if m[2] != "..." else "...") for m in _STEP.finditer(path))


def _pin(steps: KeyPath, message: str, data: Any, cls: type) -> KeyPath:
    """msgspec writes ``[...]`` for the key of a dict; find the key by leaving out all others."""
    at: KeyPath = ()
    for step in steps:
        if step == "...":
            holder = _value_at(data, at)
            step = next((key for key in holder if _fails_alone(data, at, key, message, cls)), step)
            if step == "...":
                return at
        at = (*at, step)
    return at


def _fails_alone(data: Any, at: KeyPath, key: str, message: str, cls: type) -> bool:
    try:
        msgspec.convert(_with_only(data, at, key), cls)
    except msgspec.ValidationError as error:
        return str(error) == message
    return False


def _with_only(data: Any, at: KeyPath, key: str) -> Any:
    if not at:
        return {key: data[key]}
    copy = data.copy()
    copy[at[0]] = _with_only(data[at[0]], at[1:], key)
    return copy


def _value_at(data: Any, at: KeyPath) -> Any:
    for step in at:
        data = data[step]
    return data


def _type_at(kind: mi.Type, at: KeyPath) -> mi.Type:
    """The type that the struct declares at a path."""
    for step in at:
        kinds = kind.types if isinstance(kind, mi.UnionType) else (kind,)
        kind = next((_inside(k, step) for k in kinds if _inside(k, step) is not None), None) or mi.AnyType()
    return kind


def _inside(kind: mi.Type, step: str | int) -> mi.Type | None:
    if isinstance(kind, mi.StructType):
        return next((f.type for f in kind.fields if f.encode_name == step), None)
    if isinstance(kind, mi.DictType):
        return kind.value_type
    if isinstance(kind, mi.TupleType):
        return kind.item_types[step] if isinstance(step, int) and step < len(kind.item_types) else None
    return getattr(kind, "item_type", None)


def _allowed(kind: mi.Type) -> str:
    """The words that a Literal or Enum admits, else an empty string."""
    kinds = kind.types if isinstance(kind, mi.UnionType) else (kind,)
    words: list[str] = []
    for k in kinds:
        if isinstance(k, mi.LiteralType):
            words += [str(v) for v in k.values]
        elif isinstance(k, mi.EnumType):
            words += [str(v.value) for v in k.cls]
    return ", ".join(words)


def _nearest(key: str, known: dict[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _dotted(at: KeyPath) -> str:
    text = ""
    for step in at:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the file"
