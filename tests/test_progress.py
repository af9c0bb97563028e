import io
import sys

from tfopt.progress import bar, shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_drawn_on_a_terminal_only(monkeypatch):
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert shown() is drawn
        assert list(bar(iter("abc"), "Reading", total=3, unit="file")) == ["a", "b", "c"]
        assert ("Reading" in stream.getvalue()) is drawn


def test_no_stderr_at_all_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert not shown()
    assert list(bar([1, 2], "Reading")) == [1, 2]
