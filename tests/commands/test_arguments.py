"""The little languages of the command line: durations, and text that is safe on a terminal. No database."""

import unicodedata
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_workflow.management.durations import duration
from django_workflow.management.escaping import cut, escaped, padded, width


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
        ("1d12h", timedelta(days=1, hours=12)),
        ("1w2d3h4m5s", timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)),
        ("0s", timedelta(0)),
        ("1.5h", timedelta(minutes=90)),
        ("P30D", timedelta(days=30)),
        ("P2W", timedelta(weeks=2)),
        ("PT90S", timedelta(seconds=90)),
        ("p1dt12h", timedelta(days=1, hours=12)),
    ],
)
def test_a_duration(text: str, expected: timedelta) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "30", "d", "1M", "1y", "P", "PT", "P1M", "P1DT", "1d 12h", "1h1d", "1d1d"]
)
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration; write 90s"):
        duration(text)


@given(st.text())
def test_no_text_moves_the_cursor(text: str) -> None:
    shown = escaped(text)
    assert shown.isprintable()
    assert not any(unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in shown)


@given(st.text(), st.integers(2, 40))
def test_a_cell_is_as_wide_as_its_column(text: str, cells: int) -> None:
    shown = cut(escaped(text), cells)
    assert width(shown) <= cells
    assert width(padded(shown, cells)) == cells


def test_what_is_cut_says_so() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("日本語", 4) == "日…"
    assert cut("abcd", 4) == "abcd"
