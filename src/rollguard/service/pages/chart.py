"""Draw charts as SVG. Pure: points in, markup out; no script, no style attribute, no font to load.

The picture has no fixed width: what is a line is drawn in a square that is stretched, and texts have their place in
percent, so they keep their size on every screen. A chart is an image with a title and a description; the figures are
in a table beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup, escape

from rollguard.model.text import one_line

HEIGHT = 190  # pixels, without the labels of the time
_TOP, _FOOT = 34, 18  # for the labels of the marks, and of the time
_ROWS = {"rollback": 24, "rollout": 24}  # where the labels of a kind of marks are; the others are above
_APART = 9.0  # percent of the width between two labels
_STRIP, _STRIP_WIDTH = 24, 120
_TICKS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Point:
    """The value of one interval.

    Attributes:
        value: None if there is none; the line has a gap.
        says: the interval and its value in words.
        calls, failures: the counts behind it.
    """

    at: datetime
    value: float | None
    says: str
    calls: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Band:
    """What a value is compared with, from `low` to `high`, between two moments."""

    start: datetime
    end: datetime
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Mark:
    """What happened at a moment: a `deployment`, a `rollback` or a `rollout`."""

    at: datetime
    label: str
    kind: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What a chart shows.

    Attributes:
        start, end: of the time.
        low, high: of the values.
        ticks: the values that have a line.
        unit: writes a value.
    """

    start: datetime
    end: datetime
    low: float
    high: float
    ticks: tuple[float, ...]
    unit: Callable[[float], str]

    def x(self, at: datetime) -> float:
        """Return where a moment is, in percent of the width."""
        share = (at - self.start) / (self.end - self.start)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def y(self, value: float) -> float:
        """Return where a value is, in pixels from the top."""
        share = (value - self.low) / (self.high - self.low)
        return round(_TOP + (1 - min(1.0, max(0.0, share))) * (HEIGHT - _TOP), 2)


def share_frame(start: datetime, end: datetime, values: Iterable[float | None], unit: Callable[[float], str]) -> Frame:
    """Return the frame of shares: from as far down as there are values, in steps, up to 1."""
    lowest = min((value for value in values if value is not None), default=1.0)
    low = next((edge for edge in (0.9, 0.8, 0.5) if lowest >= edge + (1 - edge) / 10), 0.0)
    return Frame(start, end, low, 1.0, (low, (1 + low) / 2, 1.0), unit)


def amount_frame(start: datetime, end: datetime, values: Iterable[float | None], unit: Callable[[float], str]) -> Frame:
    """Return the frame of amounts: from 0 to a round number above all of them."""
    highest = max((value for value in values if value is not None), default=0.0) * 1.08 or 1.0
    size = 10.0 ** (len(str(int(highest))) - 1) if highest >= 1 else 0.1
    high = next(step * size for step in (*_TICKS, 20) if step * size >= highest)
    return Frame(start, end, 0.0, high, (0.0, high / 2, high), unit)


def line_chart(
    frame: Frame,
    points: Sequence[Point],
    *,
    step: timedelta,
    bands: Sequence[Band],
    marks: Sequence[Mark],
    title: str,
    says: str,
) -> Markup:
    """Draw values over time as a line, with bands behind it and marks above.

    Args:
        step: the length of a point's interval; 0 if each point is a moment.
    """
    parts = [
        *_grid(frame),
        *(_band(frame, band) for band in bands),
        *(_volume(frame, points, step) if step else ()),
        *_ticks(frame),
        _line(frame, points, step),
        *_marks(frame, marks),
        *(_hover(frame, point, step) for point in points),
    ]
    return _image("chart", "100%", HEIGHT + _FOOT, title, says, parts)


def lines_chart(frame: Frame, lines: Sequence[tuple[str, Sequence[Point]]], *, title: str, says: str) -> Markup:
    """Draw several lines, each in a class of its own, such as the two arms of a rollout."""
    drawn = [_line(frame, points, timedelta(0), name) for name, points in lines]
    return _image("chart", "100%", HEIGHT + _FOOT, title, says, [*_grid(frame), *_ticks(frame), *drawn])


def strip(counts: Sequence[tuple[int, int] | None], *, title: str) -> Markup:
    """Draw calls and failures of the last hours as small bars: the height is the number, red is what failed.

    Args:
        counts: calls and failures of each hour, the oldest first; None for an hour without calls.
    """
    most = max((one[0] for one in counts if one), default=0)
    step = _STRIP_WIDTH / max(1, len(counts))
    bars: dict[str, list[str]] = {"none": [], "good": [], "bad": []}  # one path each: a list has many strips
    for place, one in enumerate(counts):
        calls, failures = one or (0, 0)
        height = max(2.0, _STRIP * calls / most) if calls else 1.0
        failed = max(2.0, height * failures / calls) if failures else 0.0
        for kind, low, high in (("good" if calls else "none", failed, height), ("bad", 0.0, failed)):
            if high > low:
                bars[kind].append(
                    f"M{place * step:.2f} {_STRIP - high:.2f}h{step - 1:.2f}v{high - low:.2f}h{1 - step:.2f}z"
                )
    parts = [_tag("path", d="".join(drawn), **{"class": kind}) for kind, drawn in bars.items() if drawn]
    return _image("strip", str(_STRIP_WIDTH), _STRIP, title, None, parts)


def bar(share: float, *, title: str) -> Markup:
    """Draw how much of something is done, as a bar."""
    done = round(100 * min(1.0, max(0.0, share)), 2)
    parts = [
        _tag("rect", width="100%", height=6, rx=3, **{"class": "rest"}),
        _tag("rect", width=f"{done}%", height=6, rx=3, **{"class": "done"}),
    ]
    return _image("bar", "100%", 6, title, None, parts)


# --- parts -----------------------------------------------------------------------------------------------------------


def _image(kind: str, width: str, height: float, title: str, says: str | None, parts: Iterable[Markup]) -> Markup:
    described = Markup("") if says is None else Markup("<desc>{}</desc>").format(one_line(says))
    return Markup('<svg class="{}" role="img" width="{}" height="{}"><title>{}</title>{}{}</svg>').format(
        kind, width, height, one_line(title), described, Markup("").join(parts)
    )


def _tag(name: str, text: str | None = None, **attributes: object) -> Markup:
    given = " ".join([f'{key}="{_attribute(value)}"' for key, value in attributes.items()])
    inner = "" if text is None else text if isinstance(text, Markup) else escape(one_line(text))
    return Markup(f"<{name} {given}>{inner}</{name}>")  # noqa: S704 - names are ours, and values are escaped


def _attribute(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value if isinstance(value, int) else escape(value)


def _grid(frame: Frame) -> Iterable[Markup]:
    for tick in frame.ticks:
        y = frame.y(tick)
        yield _tag("line", x1=0, x2="100%", y1=y, y2=y, **{"class": "grid"})


def _ticks(frame: Frame) -> Iterable[Markup]:
    for tick in frame.ticks:
        yield _tag("text", frame.unit(tick), x=2, y=frame.y(tick) - 4, **{"class": "tick"})
    length = frame.end - frame.start
    for part, anchor in ((0.0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1.0, "end")):
        at = frame.start + length * part
        short = "%H:%M:%S" if length < timedelta(minutes=10) else "%H:%M"
        text = at.strftime(short if length <= timedelta(days=1) else "%b %d") + ("" if part else " UTC")
        small = "tick time" if part in (0.0, 0.5, 1.0) else "tick time between"
        yield _tag("text", text, x=f"{100 * part:g}%", y=HEIGHT + 14, **{"class": small, "text-anchor": anchor})


def _band(frame: Frame, band: Band) -> Markup:
    left, right, top, bottom = frame.x(band.start), frame.x(band.end), frame.y(band.high), frame.y(band.low)
    area = _tag(
        "rect", x=f"{left}%", width=f"{right - left:g}%", y=top, height=max(1.0, bottom - top), **{"class": "band"}
    )
    edge = _tag("line", x1=f"{left}%", x2=f"{right}%", y1=top, y2=top, **{"class": "baseline"})
    return area + edge


def _volume(frame: Frame, points: Sequence[Point], width: timedelta) -> Iterable[Markup]:
    """Draw the number of calls at the foot, and red what failed of them."""
    most = max((point.calls for point in points), default=0)
    for point in points:
        if not point.calls:
            continue
        left, right = frame.x(point.at), frame.x(point.at + width)
        place = {"x": f"{left}%", "width": f"{max(0.1, (right - left) * 0.8):.3g}%"}
        height = max(1.0, 30.0 * point.calls / most)
        failed = max(1.5, height * point.failures / point.calls) if point.failures else 0.0
        yield _tag("rect", y=HEIGHT - height, height=height, **place, **{"class": "calls"})
        if failed:
            yield _tag("rect", y=HEIGHT - failed, height=failed, **place, **{"class": "failures"})


def _line(frame: Frame, points: Sequence[Point], width: timedelta, name: str = "value") -> Markup:
    """Draw the line in a square of 1000 by the height, stretched to the width; each gap begins a new part."""
    steps, pen, dots = [], "M", []
    for place, point in enumerate(points):
        if point.value is None:
            pen = "M"
            continue
        x, y = frame.x(point.at + width / 2), frame.y(point.value)
        steps.append(f"{pen}{10 * x:.1f} {y:g}")
        follows = place + 1 < len(points) and points[place + 1].value is not None
        if pen == "M" and not follows:  # a line of one point is not seen
            dots.append(_tag("circle", cx=f"{x}%", cy=y, r=2.5, **{"class": f"dot {name}"}))
        pen = "L"
    path = _tag("path", d=" ".join(steps) or "M0 0", **{"class": f"line {name}", "vector-effect": "non-scaling-stroke"})
    box = Markup('<svg viewBox="0 0 1000 {}" width="100%" height="{}" preserveAspectRatio="none">{}</svg>')
    return box.format(HEIGHT, HEIGHT, path) + Markup("").join(dots)


def _marks(frame: Frame, marks: Sequence[Mark]) -> Iterable[Markup]:
    """Draw a line for each mark, and its label unless that of the mark before would be under it."""
    last: dict[int, float] = {}
    for mark in sorted(marks, key=lambda mark: mark.at):
        x, row = frame.x(mark.at), _ROWS.get(mark.kind, 11)
        name = f"mark {mark.kind}"
        yield _tag("line", x1=f"{x}%", x2=f"{x}%", y1=row - 8, y2=HEIGHT, **{"class": name})
        if x - last.get(row, -_APART) < _APART:
            continue
        last[row] = x
        anchor, shift = ("end", -4) if x > 80 else ("start", 4)
        yield _tag("text", mark.label, x=f"{x}%", dx=shift, y=row, **{"class": name, "text-anchor": anchor})


def _hover(frame: Frame, point: Point, width: timedelta) -> Markup:
    left, right = frame.x(point.at), frame.x(point.at + width)
    title = Markup("<title>%s</title>") % one_line(point.says)
    return _tag(
        "rect", title, x=f"{left}%", width=f"{max(0.6, right - left):.3f}%", y=0, height=HEIGHT, **{"class": "hover"}
    )
