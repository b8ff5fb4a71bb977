"""Small tools, each with a defect, the inputs that it gets, and right repairs of the defect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from textwrap import indent
from typing import Any

Inputs = Callable[[Random], dict[str, Any]]
_CITIES = ("Oslo", "Lima", "Cairo", "Quito", "Hanoi", "Accra", "Dhaka", "Minsk", "Perth", "Turin", "Leeds", "Osaka")
_WORDS = ("red", "blue", "fast", "slow", "big", "tiny", "old", "new", "warm", "cold", "left", "right", "open", "shut")


@dataclass(frozen=True, slots=True)
class SmallTool:
    """A tool with a defect.

    Attributes:
        name: its name.
        parameters: the parameters of its function, as source.
        body: the body of its function.
        fixes: right repairs: lines that come before the body. All do the same.
        good, bad: make an input with which it succeeds, and one with which it fails.
        imports: what it imports.
    """

    name: str
    parameters: str
    body: str
    fixes: tuple[str, ...]
    good: Inputs
    bad: Inputs
    imports: str = ""

    def source(self, fix: str = "") -> str:
        """Return the source of the tool, with a repair."""
        lines = "\n".join(part for part in (fix.strip("\n"), self.body.strip("\n")) if part)
        return f"{self.imports}\n\n\ndef {self.name}({self.parameters}):\n{indent(lines, '    ')}\n".lstrip("\n")


def _money(chance: Random) -> str:
    return f"{chance.randrange(1, 99)},{chance.randrange(1000):03}.{chance.randrange(1, 100):02}"


def _numbers(chance: Random, least: int = 2) -> list[float]:
    return [round(chance.uniform(-50, 50), 1) for _ in range(chance.randrange(least, 9))]


def _words(chance: Random, least: int = 1) -> list[str]:
    return [chance.choice(_WORDS) for _ in range(chance.randrange(least, 8))]


def _date(chance: Random, sign: str = "-") -> str:
    return sign.join(
        (f"{chance.randrange(1990, 2030)}", f"{chance.randrange(1, 13):02}", f"{chance.randrange(1, 29):02}")
    )


def _holed(items: list[Any], chance: Random) -> list[Any]:
    found = list(items)
    found.insert(chance.randrange(len(found) + 1), None)
    return found


def _padded(text: str, chance: Random) -> str:
    return " " * chance.randrange(1, 4) + text + " " * chance.randrange(3)


_TEXT = "if isinstance({0}, str):\n    {0} = {1}"

TOOLS: tuple[SmallTool, ...] = (
    SmallTool(
        "invoice_total",
        "amount, quantity=1",
        "total = float(amount) * quantity\nreturn {'total': round(total, 2), 'vat': round(total * 0.2, 2)}",
        (
            _TEXT.format("amount", "amount.replace(',', '')"),
            "amount = str(amount).replace(',', '')",
            "amount = ''.join(part for part in str(amount).split(','))",
        ),
        lambda c: {"amount": f"{c.uniform(1, 900):.2f}", "quantity": c.randrange(1, 9)},
        lambda c: {"amount": _money(c), "quantity": c.randrange(1, 9)},
    ),
    SmallTool(
        "mean_of",
        "values",
        "return {'mean': round(sum(values) / len(values), 3), 'count': len(values)}",
        (
            "values = [value for value in values if value is not None]",
            "values = list(filter(lambda value: value is not None, values))",
            "kept = []\nfor value in values:\n    if value is not None:\n        kept.append(value)\nvalues = kept",
        ),
        lambda c: {"values": _numbers(c)},
        lambda c: {"values": _holed(_numbers(c), c)},
    ),
    SmallTool(
        "weekday_of",
        "day",
        "found = date.fromisoformat(day)\nreturn {'day': found.strftime('%A'), 'week': found.isocalendar()[1]}",
        ("day = day.strip()", "day = ''.join(day.split())", "day = day.replace(' ', '')"),
        lambda c: {"day": _date(c)},
        lambda c: {"day": _padded(_date(c), c)},
        "from datetime import date",
    ),
    SmallTool(
        "days_between",
        "start, end",
        "return (date.fromisoformat(end) - date.fromisoformat(start)).days",
        (
            "start, end = start.replace('/', '-'), end.replace('/', '-')",
            "start = '-'.join(start.split('/'))\nend = '-'.join(end.split('/'))",
            "start, end = (day.replace('/', '-') for day in (start, end))",
        ),
        lambda c: {"start": _date(c), "end": _date(c)},
        lambda c: {"start": _date(c, "/"), "end": _date(c, c.choice("/-"))},
        "from datetime import date",
    ),
    SmallTool(
        "population",
        "city",
        "known = {name: (number + 3) * 70_001 for number, name in enumerate(_CITIES)}\n"
        "return {'city': city, 'people': known[city]}",
        (
            "city = city.strip().title()",
            "city = city.title().strip()",
            "city = city.strip()\ncity = city[:1].upper() + city[1:].lower()",
        ),
        lambda c: {"city": c.choice(_CITIES)},
        lambda c: {"city": _padded(c.choice((str.upper, str.lower))(c.choice(_CITIES)), c)},
        f"_CITIES = {_CITIES!r}",
    ),
    SmallTool(
        "join_tags",
        "tags, separator=','",
        "return separator.join(sorted(set(tags)))",
        (
            "tags = [str(tag) for tag in tags]",
            "tags = list(map(str, tags))",
            "tags = [tag if isinstance(tag, str) else str(tag) for tag in tags]",
        ),
        lambda c: {"tags": _words(c), "separator": c.choice(",;|")},
        lambda c: {"tags": [*_words(c), c.randrange(3, 999)], "separator": c.choice(",;|")},
    ),
    SmallTool(
        "page_of",
        "items, page=1, size=3",
        "first = (page - 1) * size\nreturn {'items': items[first:first + size], 'pages': -(-len(items) // size)}",
        (
            "page, size = int(page), int(size)",
            "page = int(page)\nsize = int(size)",
            "page = page if isinstance(page, int) else int(page)\nsize = size if isinstance(size, int) else int(size)",
        ),
        lambda c: {"items": _words(c), "page": c.randrange(1, 4), "size": c.randrange(1, 4)},
        lambda c: {"items": _words(c), "page": str(c.randrange(1, 4)), "size": c.randrange(1, 4)},
    ),
    SmallTool(
        "word_counts",
        "text",
        "counts = {}\nfor word in text.lower().split():\n    counts[word] = counts.get(word, 0) + 1\n"
        "return {'words': sum(counts.values()), 'different': len(counts), 'longest': max(map(len, counts))}",
        (
            "if isinstance(text, list):\n    text = ' '.join(text)",
            "text = text if isinstance(text, str) else ' '.join(text)",
            "text = ' '.join(text) if isinstance(text, list) else text",
        ),
        lambda c: {"text": " ".join(_words(c))},
        lambda c: {"text": [" ".join(_words(c))]},
    ),
    SmallTool(
        "convert_length",
        "value, unit='m'",
        "factor = {'m': 1.0, 'km': 1000.0, 'cm': 0.01, 'mm': 0.001}[unit]\nreturn round(value * factor, 6)",
        (
            "unit = unit.lower()",
            "unit = unit.casefold()",
            "unit = ''.join(letter.lower() for letter in unit)",
        ),
        lambda c: {"value": round(c.uniform(1, 90), 2), "unit": c.choice(("m", "km", "cm", "mm"))},
        lambda c: {"value": round(c.uniform(1, 90), 2), "unit": c.choice(("M", "KM", "Cm", "MM", "Km"))},
    ),
    SmallTool(
        "clip",
        "value, low=0, high=100",
        "if value < low:\n    return low\nif value > high:\n    return high\nreturn value",
        (
            _TEXT.format("value", "float(value)"),
            "value = float(value) if isinstance(value, str) else value",
            "if type(value) is str:\n    value = float(value)",
        ),
        lambda c: {"value": round(c.uniform(-80, 180), 1), "high": c.choice((100, 120))},
        lambda c: {"value": f"{c.uniform(-80, 180):.1f}", "high": c.choice((100, 120))},
    ),
    SmallTool(
        "shipping_price",
        "weight, express=False",
        "price = 4.0 + 1.5 * weight\nif weight > 20:\n    price = price + 9.0\nif express:\n    price = price * 2\n"
        "return {'price': round(price, 2), 'days': 1 if express else 4}",
        (
            "if isinstance(weight, str):\n    weight = float(weight.replace('kg', ''))",
            "weight = float(str(weight).replace('kg', '').strip())",
            "if isinstance(weight, str):\n    weight = float(weight.strip().removesuffix('kg').strip())",
        ),
        lambda c: {"weight": round(c.uniform(0.5, 40), 1), "express": c.random() < 0.5},
        lambda c: {"weight": f"{c.uniform(0.5, 40):.1f}{c.choice(('kg', ' kg'))}", "express": c.random() < 0.5},
    ),
    SmallTool(
        "slug_of",
        "title, longest=30",
        "words = title.lower().split()\nreturn '-'.join(words)[:longest]",
        (
            "if title is None:\n    title = ''",
            "title = title or ''",
            "title = '' if title is None else title",
        ),
        lambda c: {"title": " ".join(_words(c)), "longest": c.choice((12, 30))},
        lambda c: {"title": None, "longest": c.randrange(5, 60)},
    ),
    SmallTool(
        "total_price",
        "items",
        "return round(sum(item['price'] * item['count'] for item in items), 2)",
        (
            "items = [item for item in items if item is not None]",
            "items = list(filter(None, items))",
            "items = [item for item in items if item]",
        ),
        lambda c: {"items": _items(c)},
        lambda c: {"items": _holed(_items(c), c)},
    ),
    SmallTool(
        "largest",
        "values, count=2",
        "return sorted(values, reverse=True)[:count]",
        (
            "values = [float(value) for value in values]",
            "values = list(map(float, values))",
            "values = [float(value) if isinstance(value, str) else value for value in values]",
        ),
        lambda c: {"values": _numbers(c), "count": c.randrange(1, 4)},
        lambda c: {"values": [str(_numbers(c)[0]), *_numbers(c)], "count": c.randrange(1, 4)},
    ),
    SmallTool(
        "initials",
        "name",
        "return ''.join(part[0].upper() + '.' for part in name.split(' '))",
        (
            "name = ' '.join(name.split())",
            "name = ' '.join(part for part in name.split(' ') if part)",
            "name = ' '.join(filter(None, name.split(' ')))",
        ),
        lambda c: {"name": " ".join(_words(c))},
        lambda c: {"name": "  ".join([*_words(c), c.choice(_WORDS)])},
    ),
    SmallTool(
        "version_key",
        "version",
        "parts = [int(part) for part in version.split('.')]\nreturn parts[0] * 10_000 + parts[1] * 100 + parts[2]",
        (
            "version = version.strip()\nversion = version.removeprefix('v').removeprefix('V')",
            "version = version.lstrip('vV')",
            "if version[0] in 'vV':\n    version = version[1:]",
        ),
        lambda c: {"version": ".".join(str(c.randrange(1, 30)) for _ in range(3))},
        lambda c: {"version": c.choice("vV") + ".".join(str(c.randrange(1, 30)) for _ in range(3))},
    ),
    SmallTool(
        "area",
        "width, height",
        "if width < 0 or height < 0:\n    raise ValueError('negative')\n"
        "return {'area': width * height, 'around': 2 * (width + height)}",
        (
            "width, height = int(width), int(height)",
            "width = int(width)\nheight = int(height)",
            "width, height = (int(side) for side in (width, height))",
        ),
        lambda c: {"width": c.randrange(3, 99), "height": c.randrange(3, 99)},
        lambda c: {"width": str(c.randrange(3, 99)), "height": c.randrange(3, 99)},
    ),
    SmallTool(
        "filter_by",
        "rows, field, least=0",
        "return [row for row in rows if row[field] >= least]",
        (
            "rows = [row for row in rows if row is not None]",
            "rows = list(filter(lambda row: row is not None, rows))",
            "rows = [row for row in rows if row]",
        ),
        lambda c: {"rows": _items(c), "field": c.choice(("price", "count")), "least": c.randrange(2, 30)},
        lambda c: {"rows": _holed(_items(c), c), "field": c.choice(("price", "count")), "least": c.randrange(2, 30)},
    ),
    SmallTool(
        "parse_flags",
        "flags",
        "names = ('read', 'write', 'list', 'admin')\nreturn {name: name in flags.split(',') for name in names}",
        (
            "if isinstance(flags, list):\n    flags = ','.join(flags)",
            "flags = flags if isinstance(flags, str) else ','.join(flags)",
            "flags = ','.join(flags) if isinstance(flags, list) else flags",
        ),
        lambda c: {"flags": ",".join(c.sample(("read", "write", "list", "admin"), c.randrange(1, 4)))},
        lambda c: {"flags": c.sample(("read", "write", "list", "admin"), c.randrange(1, 4))},
    ),
    SmallTool(
        "temperature",
        "value, unit='C'",
        "if unit == 'F':\n    value = (value - 32) * 5 / 9\nelif unit == 'K':\n    value = value - 273.15\n"
        "return {'celsius': round(value, 1), 'freezing': value < 0}",
        (
            _TEXT.format("value", "float(value.replace(',', '.'))"),
            "value = float(str(value).replace(',', '.'))",
            "value = float('.'.join(str(value).split(',')))",
        ),
        lambda c: {"value": round(c.uniform(-40, 120), 1), "unit": c.choice("CFK")},
        lambda c: {"value": f"{c.uniform(-40, 120):.1f}".replace(".", ","), "unit": c.choice("CFK")},
    ),
    SmallTool(
        "median_of",
        "values",
        "ordered = sorted(values)\nmiddle = len(ordered) // 2\n"
        "return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2",
        (
            "values = [value for value in values if value is not None]",
            "values = [*filter(lambda value: value is not None, values)]",
            "values = list(value for value in values if value is not None)",
        ),
        lambda c: {"values": _numbers(c)},
        lambda c: {"values": _holed(_numbers(c), c)},
    ),
    SmallTool(
        "discount",
        "price, percent",
        "if percent > 90:\n    percent = 90\nreturn round(price * (100 - percent) / 100, 2)",
        (
            _TEXT.format("percent", "float(percent.rstrip('%'))"),
            "percent = float(str(percent).replace('%', ''))",
            "percent = float(str(percent).strip('%'))",
        ),
        lambda c: {"price": round(c.uniform(5, 300), 2), "percent": c.randrange(3, 99)},
        lambda c: {"price": round(c.uniform(5, 300), 2), "percent": f"{c.randrange(3, 99)}%"},
    ),
    SmallTool(
        "merge",
        "base, extra",
        "merged = dict(base)\nmerged.update(extra)\nreturn {'keys': sorted(merged), 'sum': sum(merged.values())}",
        (
            "extra = extra or {}",
            "if extra is None:\n    extra = {}",
            "extra = {} if extra is None else extra",
        ),
        lambda c: {"base": _counts(c), "extra": _counts(c)},
        lambda c: {"base": _counts(c), "extra": None},
    ),
    SmallTool(
        "seconds_of",
        "duration",
        "hours, minutes, seconds = duration.split(':')\nreturn int(hours) * 3600 + int(minutes) * 60 + int(seconds)",
        (
            "duration = duration.replace('.', ':')",
            "duration = ':'.join(duration.split('.'))",
            "duration = duration.translate({ord('.'): ':'})",
        ),
        lambda c: {"duration": _clock(c, ":")},
        lambda c: {"duration": _clock(c, ".")},
    ),
    SmallTool(
        "mask_card",
        "number, shown=4",
        "if not number.isdigit():\n    raise ValueError('not a number')\n"
        "return '#' * (len(number) - shown) + number[-shown:]",
        (
            "number = number.replace(' ', '').replace('-', '')",
            "number = ''.join(sign for sign in number if sign not in ' -')",
            "number = number.translate({ord(' '): None, ord('-'): None})",
        ),
        lambda c: {"number": "".join(c.choices("0123456789", k=16)), "shown": c.choice((4, 6))},
        lambda c: {"number": c.choice(" -").join("".join(c.choices("0123456789", k=4)) for _ in range(4)), "shown": 4},
    ),
    SmallTool(
        "rank",
        "scores",
        "ordered = sorted(scores, key=lambda name: (-scores[name], name))\nreturn ordered[:3]",
        (
            "scores = {name: score for name, score in scores.items() if score is not None}",
            "scores = dict(pair for pair in scores.items() if pair[1] is not None)",
            "scores = {name: scores[name] for name in scores if scores[name] is not None}",
        ),
        lambda c: {"scores": _counts(c)},
        lambda c: {"scores": {**_counts(c), c.choice(_CITIES): None}},
    ),
    SmallTool(
        "split_name",
        "name",
        "first, last = name.split(' ')\nreturn {'first': first.title(), 'last': last.title()}",
        (
            "name = ' '.join(name.split())",
            "name = ' '.join(part for part in name.split(' ') if part)",
            "name = ' '.join(filter(None, name.split(' ')))",
        ),
        lambda c: {"name": f"{c.choice(_WORDS)} {c.choice(_WORDS)}"},
        lambda c: {"name": f"{c.choice(_WORDS)}{' ' * c.randrange(2, 5)}{c.choice(_WORDS)}"},
    ),
    SmallTool(
        "in_range",
        "value, low, high",
        "return {'inside': low <= value <= high, 'distance': max(low - value, value - high, 0)}",
        (
            "value, low, high = float(value), float(low), float(high)",
            "value = float(value)\nlow = float(low)\nhigh = float(high)",
            "value, low, high = map(float, (value, low, high))",
        ),
        lambda c: {"value": c.randrange(-30, 60), "low": c.randrange(-20, 5), "high": c.randrange(6, 40)},
        lambda c: {"value": str(c.randrange(-30, 60)), "low": c.randrange(-20, 5), "high": c.randrange(6, 40)},
    ),
    SmallTool(
        "chunks",
        "values, size=2",
        "return [values[at:at + size] for at in range(0, len(values), size)]",
        (
            "if isinstance(size, float):\n    size = int(size)",
            "size = int(size)",
            "size = size if isinstance(size, int) else int(size)",
        ),
        lambda c: {"values": _words(c, 3), "size": c.randrange(1, 4)},
        lambda c: {"values": _words(c, 3), "size": float(c.randrange(1, 4))},
    ),
    SmallTool(
        "growth",
        "before, after",
        "return {'change': round((after - before) / before * 100, 1), 'grew': after > before}",
        (
            _TEXT.format("before", "float(before)") + "\n" + _TEXT.format("after", "float(after)"),
            "before, after = float(before), float(after)",
            "before = float(before)\nafter = float(after)",
        ),
        lambda c: {"before": c.randrange(3, 90), "after": c.randrange(3, 90)},
        lambda c: {"before": c.randrange(3, 90), "after": str(c.randrange(3, 90))},
    ),
    SmallTool(
        "first_words",
        "text, count=3",
        "words = text.split()\nreturn {'start': ' '.join(words[:count]), 'more': len(words) > count}",
        (
            "if count is None:\n    count = 3",
            "count = 3 if count is None else count",
            "count = count if count is not None else 3",
        ),
        lambda c: {"text": " ".join(_words(c, 2)), "count": c.randrange(1, 5)},
        lambda c: {"text": " ".join(_words(c, 2)), "count": None},
    ),
    SmallTool(
        "vat_of",
        "price, country='DE'",
        "rate = {'DE': 19, 'FR': 20, 'IT': 22, 'ES': 21}[country]\nreturn round(price * rate / 100, 2)",
        (
            "country = country.strip().upper()",
            "country = country.upper().strip()",
            "country = ''.join(country.split()).upper()",
        ),
        lambda c: {"price": round(c.uniform(5, 900), 2), "country": c.choice(("DE", "FR", "IT", "ES"))},
        lambda c: {"price": round(c.uniform(5, 900), 2), "country": c.choice(("de", "fr", " IT", "es ", "It"))},
    ),
    SmallTool(
        "average_gap",
        "times",
        "gaps = [later - earlier for earlier, later in zip(times, times[1:])]\nreturn sum(gaps) / len(gaps)",
        (
            "if len(times) < 2:\n    return 0.0",
            "if not times[1:]:\n    return 0.0",
            "if len(times) <= 1:\n    return 0.0",
        ),
        lambda c: {"times": sorted(c.randrange(1000) for _ in range(c.randrange(2, 9)))},
        lambda c: {"times": [c.randrange(1000)]},
    ),
    SmallTool(
        "success_rate",
        "good, bad",
        "return {'rate': round(good / (good + bad), 3), 'calls': good + bad}",
        (
            "if good is None:\n    good = 0",
            "good = good or 0",
            "good = 0 if good is None else good",
        ),
        lambda c: {"good": c.randrange(1, 90), "bad": c.randrange(90)},
        lambda c: {"good": None, "bad": c.randrange(1, 900)},
    ),
)


def _items(chance: Random) -> list[Any]:
    return [
        {"price": round(chance.uniform(1, 60), 2), "count": chance.randrange(1, 40)}
        for _ in range(chance.randrange(1, 6))
    ]


def _counts(chance: Random) -> dict[str, int]:
    return {name: chance.randrange(1, 99) for name in chance.sample(_WORDS, chance.randrange(1, 5))}


def _clock(chance: Random, sign: str) -> str:
    return sign.join(f"{chance.randrange(24 if place == 0 else 60):02}" for place in range(3))
