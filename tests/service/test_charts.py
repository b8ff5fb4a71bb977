"""Charts are text: what is drawn can be read, and nothing from outside can become markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import timedelta

import pytest

from rollguard.model.formatting import milliseconds, percent
from rollguard.service.pages.chart import (
    HEIGHT,
    Band,
    Frame,
    Mark,
    Point,
    amount_frame,
    bar,
    line_chart,
    lines_chart,
    share_frame,
    strip,
)
from tests.conftest import NOW

MINUTE = timedelta(minutes=1)
HOUR = 60 * MINUTE


def points(*values: float | None, calls: int = 10) -> list[Point]:
    return [
        Point(NOW + place * MINUTE, value, f"minute {place}", calls if value is not None else 0)
        for place, value in enumerate(values)
    ]


def drawn(
    *values: float | None, marks: tuple[Mark, ...] = (), bands: tuple[Band, ...] = (), title: str = "Rate"
) -> ET.Element:
    frame = share_frame(NOW, NOW + len(values) * MINUTE, values, percent)
    text = line_chart(frame, points(*values), step=MINUTE, bands=bands, marks=marks, title=title, says="in words")
    return ET.fromstring(str(text))


def of_class(chart: ET.Element, name: str) -> list[ET.Element]:
    return [one for one in chart.iter() if name in one.get("class", "").split()]


def test_the_picture_is_described() -> None:
    """A chart is one image with a title and a description, which a screen reader says in its place."""
    chart = drawn(1.0, 0.9)
    assert chart.get("role") == "img"
    assert [one.tag for one in chart][:2] == ["title", "desc"]
    assert [one.text for one in chart][:2] == ["Rate", "in words"]


def test_a_gap_stays_a_gap() -> None:
    """The line is broken where there are no calls, and a single point between two gaps is a dot."""
    chart = drawn(1.0, 0.9, None, 0.8, None)
    (line,) = chart.iter("path")
    assert line.get("d", "").count("M") == 2
    assert len(of_class(chart, "dot")) == 1


def test_what_is_drawn_is_where_it_belongs() -> None:
    """The left edge is the start, the right one the end, the top the highest value, the foot the lowest."""
    frame = Frame(NOW, NOW + HOUR, 0.0, 1.0, (0.0, 1.0), percent)
    assert (frame.x(NOW), frame.x(NOW + HOUR / 2), frame.x(NOW + 2 * HOUR)) == (0.0, 50.0, 100.0)
    assert frame.y(0.0) == HEIGHT
    assert frame.y(0.5) < frame.y(0.25) < frame.y(-1.0) == HEIGHT


@pytest.mark.parametrize(("lowest", "edge"), [(1.0, 0.9), (0.95, 0.9), (0.85, 0.8), (0.6, 0.5), (0.2, 0.0)])
def test_shares_have_a_foot_that_shows_them(lowest: float, edge: float) -> None:
    """The scale of shares reaches so far down that the lowest value is above its foot."""
    frame = share_frame(NOW, NOW + HOUR, [1.0, lowest, None], percent)
    assert (frame.low, frame.high) == (edge, 1.0)


@pytest.mark.parametrize(("highest", "edge"), [(0.0, 1.0), (0.4, 0.5), (7.0, 10.0), (230.0, 250.0), (1_900.0, 2_500.0)])
def test_amounts_have_a_round_top(highest: float, edge: float) -> None:
    """The scale of amounts ends at a round number above all of them."""
    frame = amount_frame(NOW, NOW + HOUR, [highest], milliseconds)
    assert frame.low == 0.0
    assert frame.high == edge


def test_marks_and_bands() -> None:
    """Deployments and rollbacks are lines with their names, and a band is between its two values."""
    marks = (Mark(NOW, "version 2", "deployment"), Mark(NOW + MINUTE, "back to 1", "rollback"))
    chart = drawn(1.0, 0.7, marks=marks, bands=(Band(NOW, NOW + MINUTE, 0.6, 0.8),))
    assert [one.text for one in of_class(chart, "mark") if one.tag.endswith("text")] == ["version 2", "back to 1"]
    (band,) = of_class(chart, "band")
    assert (band.get("x"), band.get("width")) == ("0.0%", "50%")


def test_labels_do_not_cover_each_other() -> None:
    """Of marks that are close to each other each has its line, and only the first its label."""
    marks = tuple(Mark(NOW + number * timedelta(seconds=1), f"v{number}", "deployment") for number in range(5))
    chart = drawn(1.0, 0.7, marks=marks)
    found = of_class(chart, "mark")
    assert len([one for one in found if one.tag == "line"]) == 5
    assert [one.text for one in found if one.tag == "text"] == ["v0"]


def test_text_from_outside_is_text() -> None:
    """A tool's name or a label of any kind is shown as it is, and is no markup; what reorders text is escaped."""
    evil = "</title><script>alert(1)</script>\u202e"
    chart = drawn(1.0, 0.7, title=evil, marks=(Mark(NOW, evil, "deployment"),))
    assert not list(chart.iter("script"))
    assert chart[0].text == "</title><script>alert(1)</script>\\u202e"


def test_no_style_and_no_script() -> None:
    """Nothing is drawn that a policy of `default-src 'self'` would refuse."""
    for text in (
        str(ET.tostring(drawn(1.0, 0.5, None))),
        str(strip([(3, 1), None], title="t")),
        str(bar(0.4, title="t")),
    ):
        assert "style=" not in text
        assert "<script" not in text
        assert " on" not in text


def test_the_strip_shows_calls_and_failures() -> None:
    """Each hour is a bar as high as its calls are many, with what failed in red, however little that is."""
    found = ET.fromstring(str(strip([(10, 0), (1_000, 1), None], title="calls by the hour")))
    bars = {one.get("class"): re.findall(r"v([\d.]+)", one.get("d", "")) for one in found.iter("path")}
    assert bars == {"none": ["1.00"], "good": ["2.00", "22.00"], "bad": ["2.00"]}


def test_nothing_to_draw() -> None:
    """A tool without calls has an empty chart, not an error."""
    assert not of_class(drawn(None, None), "dot")
    assert ET.fromstring(str(strip([], title="none"))) is not None


def test_two_arms_are_two_lines() -> None:
    """Both arms of a rollout are in one picture, each with a class of its own."""
    frame = share_frame(NOW, NOW + HOUR, [0.5], percent)
    chart = ET.fromstring(
        str(lines_chart(frame, [("new", points(1.0, 0.5)), ("old", points(1.0, 1.0))], title="Arms", says="both"))
    )
    assert [one.get("class") for one in chart.iter("path")] == ["line new", "line old"]
