"""A line of the label file for each class, whatever it is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfopt.shipping.labels import clean


@given(names=st.lists(st.text(), min_size=1, max_size=5))
def test_as_many_lines_as_classes(names):
    labels, _ = clean(names)
    text = "".join(f"{label}\n" for label in labels)
    assert text.encode().decode().splitlines() == list(labels)
    assert len(labels) == len(names) and all(labels)


@pytest.mark.parametrize("name", ["cat", "quote \" ' \\", "<script>", "\U0001f600", "x" * 10_000])
def test_names_that_break_nothing_stay_as_they_are(name):
    assert clean([name]) == ((name,), ())


def test_what_was_changed_is_told():
    labels, told = clean(["hot\ndog", "", "fine"])
    assert labels == ("hot dog", "class 1", "fine")
    assert told == ("class 0, 'hot\\ndog', is 'hot dog'", "class 1, '', is 'class 1'")
