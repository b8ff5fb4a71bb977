"""Compare two JSON Schemas: what the second no longer accepts, and what it accepts in addition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollguard.compat.model import Schema

_DEPTH = 12  # a recursive type has no end

# The keywords for bounds of numbers, lengths and counts, with their phrases in sentences.
_LEAST = (
    ("minimum", "at least {}"),
    ("minLength", "at least {} characters"),
    ("minItems", "at least {} items"),
    ("minProperties", "at least {} entries"),
)
_MOST = (
    ("maximum", "at most {}"),
    ("maxLength", "at most {} characters"),
    ("maxItems", "at most {} items"),
    ("maxProperties", "at most {} entries"),
)
_TYPE_OF = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (type(None), "null"))


@dataclass(frozen=True, slots=True)
class Difference:
    """One kind of value that only one of two schemas accepts.

    Attributes:
        sentence: a predicate: "no longer takes null".
        narrower: True if the second schema accepts less, False if it accepts more.
        other_type: True if the second schema accepts none of the values that the first one accepted.
    """

    sentence: str
    narrower: bool
    other_type: bool = False


def differences(before: Schema, after: Schema) -> list[Difference]:
    """Return every difference of two schemas; empty if both accept the same values."""
    return list(dict.fromkeys(_compared(_Side(before, before), _Side(after, after), _DEPTH)))


@dataclass(frozen=True, slots=True)
class _Side:
    schema: Schema
    root: Schema  # the schema that its $refs refer to

    def at(self, schema: Any) -> _Side:
        return _Side(schema if isinstance(schema, Mapping) else {}, self.root)


def _compared(before: _Side, after: _Side, depth: int) -> Iterator[Difference]:
    if depth == 0:
        return
    old, new = _alternatives(before), _alternatives(after)
    if _anything(old) or _anything(new):
        if not _anything(new):
            yield Difference(f"takes only {_names(new)} now, and no longer anything", narrower=True)
        elif not _anything(old):
            yield Difference("takes anything now", narrower=False)
        return
    lost = []
    for one in old:
        fits = [list(_same_type(before.at(one), after.at(other), depth)) for other in new if _takes(other, one)]
        if fits:
            yield from min(fits, key=lambda found: (sum(d.narrower for d in found), len(found)))
        else:
            lost.append(one)
    gained = [other for other in new if not any(_takes(other, one) or _takes(one, other) for one in old)]
    if lost and len(lost) == len(old):
        yield Difference(f"takes {_names(new)} now, no longer {_names(old)}", narrower=True, other_type=True)
        return
    if lost:
        yield Difference(f"no longer takes {_names(lost)}", narrower=True)
    if gained:
        yield Difference(f"also takes {_names(gained)} now", narrower=False)


def _alternatives(side: _Side) -> list[Schema]:
    """Return the alternatives of a schema, each of one type; values of one type are one alternative."""
    found: list[Schema] = []
    for part in _parts(side.schema, side.root, _DEPTH):
        same = next((f for f in found if "enum" in f and "enum" in part and f.get("type") == part.get("type")), None)
        if same is not None:
            found[found.index(same)] = {**same, "enum": [*same["enum"], *part["enum"]]}
        elif part not in found:
            found.append(part)
    return found


def _parts(schema: Schema, root: Schema, depth: int) -> Iterator[Schema]:
    if depth == 0:
        yield {}
        return
    if isinstance(schema.get("$ref"), str):
        yield from _parts(_resolved(schema["$ref"], root), root, depth - 1)
        return
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf", "type", "const", "enum")}
    for choice in ("anyOf", "oneOf"):
        if isinstance(schema.get(choice), Sequence):
            for one in schema[choice]:
                yield from _parts(one if isinstance(one, Mapping) else {}, root, depth - 1)
            return
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, Sequence) and not isinstance(values, str):
        for value in values:
            kind = next((name for cls, name in _TYPE_OF if isinstance(value, cls)), "object")
            yield {"type": kind} if kind == "null" else {"type": kind, "enum": [value]}
        return
    types = schema.get("type")
    if isinstance(types, str):
        yield {**rest, "type": types}
    elif isinstance(types, Sequence):
        for one in types:
            yield {**rest, "type": one}
    else:
        yield rest if "properties" not in rest else {**rest, "type": "object"}


def _resolved(reference: str, root: Schema) -> Schema:
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def _anything(alternatives: Sequence[Schema]) -> bool:
    return any("type" not in one and "python" not in one for one in alternatives)


def _takes(other: Schema, one: Schema) -> bool:
    """Return whether they are of one type, or a number and an integer."""
    if "python" in other or "python" in one:
        return other.get("python") == one.get("python")
    return other["type"] == one["type"] or (other["type"], one["type"]) == ("number", "integer")


# --- of one type -----------------------------------------------------------------------------------------------------


def _same_type(before: _Side, after: _Side, depth: int) -> Iterator[Difference]:
    old, new = before.schema, after.schema
    if (old.get("type"), new.get("type")) == ("integer", "number"):
        yield Difference("takes any number now", narrower=False)
    yield from _values(old, new)
    yield from _bounds(old, new)
    for key, phrase in (("pattern", "matching {}"), ("format", "of the format {}"), ("multipleOf", "multiples of {}")):
        yield from _condition(old.get(key), new.get(key), phrase)
    if new.get("uniqueItems") and not old.get("uniqueItems"):
        yield Difference("takes no item twice now", narrower=True)
    if old.get("uniqueItems") and not new.get("uniqueItems"):
        yield Difference("takes an item twice now", narrower=False)
    if new.get("type") == "array":
        yield from _of("its items", _compared(before.at(old.get("items")), after.at(new.get("items")), depth - 1))
        pairs = zip(_list(old, "prefixItems"), _list(new, "prefixItems"), strict=False)
        for number, (one, other) in enumerate(pairs, 1):
            yield from _of(f"its item {number}", _compared(before.at(one), after.at(other), depth - 1))
    if new.get("type") == "object":
        yield from _properties(before, after, depth)


def _values(old: Schema, new: Schema) -> Iterator[Difference]:
    was, now = old.get("enum"), new.get("enum")
    if now is None:
        if was is not None:
            yield Difference("takes other values too now", narrower=False)
    elif was is None:
        yield Difference(f"takes only {_listed(now)} now", narrower=True)
    else:
        gone, come = [v for v in was if v not in now], [v for v in now if v not in was]
        if gone:
            yield Difference(f"no longer takes {_listed(gone)}", narrower=True, other_type=len(gone) == len(was))
        if come:
            yield Difference(f"also takes {_listed(come)} now", narrower=False)


def _bounds(old: Schema, new: Schema) -> Iterator[Difference]:
    for keys, sign in ((_LEAST, 1), (_MOST, -1)):
        for key, phrase in keys:
            was, now = _bound(old, key, sign), _bound(new, key, sign)
            if was == now:
                continue
            if was is None or (now is not None and now > was):
                yield Difference(
                    f"takes only {_at(phrase, now, sign, 'now')}{_instead(phrase, was, sign)}", narrower=True
                )
            else:
                yield Difference(
                    f"takes {_at(phrase, now, sign, 'too now')}{_instead(phrase, was, sign)}", narrower=False
                )


def _bound(schema: Schema, key: str, sign: int) -> tuple[float, bool] | None:
    """Return a bound as (value, whether it is exclusive); the greater of two bounds accepts less."""
    inclusive = schema.get(key)
    exclusive = schema.get(f"exclusive{key.capitalize()}") if key in ("minimum", "maximum") else None
    both = ((inclusive, False), (exclusive, True))
    found = [(sign * value, out) for value, out in both if isinstance(value, int | float) and value is not True]
    return max(found, default=None)


def _at(phrase: str, bound: tuple[float, bool] | None, sign: int, ending: str) -> str:
    if bound is None:
        return "values without that bound" if ending == "now" else f"any {ending}"
    value = phrase.format(f"{sign * bound[0]:g}")
    if bound[1]:
        value = f"{'more' if sign > 0 else 'less'} than {sign * bound[0]:g}"
    return f"{value} {ending}"


def _instead(phrase: str, bound: tuple[float, bool] | None, sign: int) -> str:
    return "" if bound is None else f", before {_at(phrase, bound, sign, '').strip()}"


def _condition(was: Any, now: Any, phrase: str) -> Iterator[Difference]:
    if was == now:
        return
    if now is None:
        yield Difference(f"takes more than those {phrase.format(was)} now", narrower=False)
    elif was is not None and phrase.startswith("multiples") and _is_number(was) and _is_number(now) and was % now == 0:
        yield Difference(f"takes {phrase.format(now)} now, before {phrase.format(was)}", narrower=False)
    else:
        yield Difference(f"takes only those {phrase.format(now)} now", narrower=True)


def _properties(before: _Side, after: _Side, depth: int) -> Iterator[Difference]:
    old, new = before.schema, after.schema
    known, knows = _mapping(old, "properties"), _mapping(new, "properties")
    needed, needs = _list(old, "required"), _list(new, "required")
    for name in needs:
        if name not in needed:
            yield Difference(f"needs {name!r} now", narrower=True)
    for name in needed:
        if name not in needs and name in knows:
            yield Difference(f"does without {name!r} now", narrower=False)
    closed = new.get("additionalProperties") is False
    for name, schema in known.items():
        if name in knows:
            yield from _of(f"its {name!r}", _compared(before.at(schema), after.at(knows[name]), depth - 1))
        else:
            yield Difference(f"{'no longer takes' if closed else 'no longer describes'} {name!r}", narrower=closed)
    for name in knows:
        if name not in known and name not in needs:
            yield Difference(f"also takes {name!r} now", narrower=False)
    if closed and old.get("additionalProperties") is not False:
        yield Difference("takes no other entries now", narrower=True)
    elif not closed and old.get("additionalProperties") is False:
        yield Difference("takes other entries too now", narrower=False)
    elif not closed:
        was, now = (side.at(side.schema.get("additionalProperties")) for side in (before, after))
        yield from _of("its values", _compared(was, now, depth - 1))


def _of(part: str, found: Iterator[Difference]) -> Iterator[Difference]:
    for difference in found:
        yield Difference(f"{difference.sentence} ({part})", narrower=difference.narrower)


# --- words -----------------------------------------------------------------------------------------------------------


def _names(alternatives: Sequence[Schema]) -> str:
    return " or ".join(dict.fromkeys(_listed(a["enum"]) if "enum" in a else _name(a) for a in alternatives))


def _name(one: Schema) -> str:
    return str(one.get("python") or one.get("type") or "anything")


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(repr(value) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mapping(schema: Schema, key: str) -> Mapping[str, Any]:
    value = schema.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(schema: Schema, key: str) -> Sequence[Any]:
    value = schema.get(key)
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()
