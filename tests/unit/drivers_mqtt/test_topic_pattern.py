"""Topic patterns: what they match, which MQTT filter takes them, where two of them overlap."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.mqtt.topic_pattern import TopicPatternError, parse_pattern


def matched(pattern: str, topic: str) -> dict[str, str] | None:
    return parse_pattern(pattern).match(topic.split("/"))


def test_names_stand_for_a_level_or_a_part_of_one() -> None:
    assert matched("tele/{device}/SENSOR", "tele/plug1/SENSOR") == {"device": "plug1"}
    assert matched("shelly-{mac}x/e:{n}", "shelly-abx/e:0") == {"mac": "ab", "n": "0"}
    assert matched("shelly-{mac}/e", "shelly-/e") is None  # a name is never empty
    assert matched("a{x}a/e", "a/e") is None  # nor do beginning and end share a letter
    assert matched("tele/{device}/SENSOR", "tele/a/b/SENSOR") is None
    assert matched("tele/{device}/SENSOR", "tele/a/STATE") is None


def test_the_filter_takes_whole_levels() -> None:
    assert parse_pattern("shelly-{mac}/status/em:{n}").filter == "+/status/+"
    assert parse_pattern("spBv1.0/{group}/DDATA/{node}/{device}").filter == "spBv1.0/+/DDATA/+/+"


@pytest.mark.parametrize(
    ("one", "other", "overlaps"),
    [
        ("a/{x}", "a/b", True),
        ("a/{x}", "a/b/c", False),
        ("a/{x}", "b/{x}", False),
        ("a/{x}/c", "{y}/b/c", True),
        ("shelly{x}/online", "zigbee/{y}", False),
        ("{x}/online", "zigbee/{y}", True),
        ("a/p{x}", "a/{y}q", True),
        ("a/p{x}", "a/q{y}", False),
        ("a/{x}s", "a/{y}t", False),
        ("a/p{x}", "a/p", False),
    ],
)
def test_overlaps(one: str, other: str, overlaps: bool) -> None:
    assert parse_pattern(one).overlaps(parse_pattern(other)) is overlaps
    assert parse_pattern(other).overlaps(parse_pattern(one)) is overlaps


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        ("a/{x}", "a/b", True),
        ("a/{x}", "a/{y}", True),
        ("a/b", "a/{x}", False),
        ("a/p{x}", "a/pq{y}", True),
        ("a/pq{x}", "a/p{y}", False),
        ("a/{x}s", "a/{y}ts", True),
        ("a/p{x}", "a/p", False),
        ("a/{x}", "a/b/c", False),
    ],
)
def test_covers(one: str, other: str, covers: bool) -> None:
    assert parse_pattern(one).covers(parse_pattern(other)) is covers


@pytest.mark.parametrize(
    "text",
    ["$SYS/{x}", "$share/g/{x}", "a//b", "", "a/+", "a/#", "{x}/{y}", "a/{x}{y}", "a/{X}", "a/{x}/{x}", "a/{x", "a/}"],
)
def test_a_pattern_that_cannot_be_read(text: str) -> None:
    with pytest.raises(TopicPatternError, match="wanted"):
        parse_pattern(text)


texts = st.text("ab", max_size=3)
levels = st.builds(
    lambda before, named, after: before + "{%s}" + after if named else before or "a", texts, st.booleans(), texts
)


def pattern_of(parts: list[str]) -> str:
    return "x/" + "/".join(part % f"n{i}" if "%" in part else part for i, part in enumerate(parts))


@settings(derandomize=True, deadline=None, max_examples=400)
@given(
    st.lists(levels, min_size=1, max_size=3),
    st.lists(levels, min_size=1, max_size=3),
    st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=3),
)
def test_patterns_that_match_one_topic_overlap(one: list[str], other: list[str], topic: list[str]) -> None:
    first, second = parse_pattern(pattern_of(one)), parse_pattern(pattern_of(other))
    split = ["x", *topic]
    if first.match(split) is not None and second.match(split) is not None:
        assert first.overlaps(second)
    if first.match(split) is not None:  # and what is matched is subscribed to
        wanted = first.filter.split("/")
        assert len(wanted) == len(split)
        assert all(f in ("+", t) for f, t in zip(wanted, split, strict=True))
