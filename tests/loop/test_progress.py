"""The progress line: redrawn by time on a terminal, rare plain lines elsewhere, or nothing."""

import os
import termios

import pytest

from taut.loop import progress
from taut.loop.progress import PLAIN_LINE_EVERY, REDRAW_EVERY, Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands at zero until it is moved."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def terminal(monkeypatch):
    """Let standard error be a terminal."""
    monkeypatch.setattr(progress, "_is_terminal", lambda stream: True)


def _never_writes(clock, capfd):
    line = Progress(False)
    for _ in range(3):
        clock[0] += 100.0
        line.update("fit", elbo=1.0)
    line.interrupt()
    line.finish("trusted")
    assert capfd.readouterr().err == ""


def test_switched_off_nothing_is_written(clock, capfd):
    _never_writes(clock, capfd)


def test_switched_off_nothing_is_written_to_a_terminal_either(clock, capfd, terminal):
    _never_writes(clock, capfd)


def test_a_quick_fit_on_no_terminal_writes_its_last_line_only(clock, capfd):
    line = Progress(True)
    for _ in range(30):
        clock[0] += 0.1
        line.update("fit", elbo=1.0)
    line.finish("trusted", gradients=12345)
    assert capfd.readouterr().err == "taut   3.0 s | trusted | gradients 12,345\n"


def test_a_long_fit_on_no_terminal_writes_now_and_then(clock, capfd):
    line = Progress(True)
    for _ in range(100):
        clock[0] += PLAIN_LINE_EVERY / 8  # exact in binary
        line.update("fit", elbo=-1.23456)
    line.interrupt()
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 100 // 8
    assert all(text.endswith(" s | fit | elbo -1.235") for text in lines)


def test_on_a_terminal_one_line_is_redrawn_in_place(clock, capfd, terminal):
    line = Progress(True)
    for i in range(1000):
        line.update("fit", expected_gap=0.5, gradients=i)
        clock[0] += REDRAW_EVERY / 100
    line.finish("usable")
    text = capfd.readouterr().err
    drawn = text.split("\r")[1:]
    # Every tenth of a second of one second, and the last; rounding of the clock may lose a tenth.
    assert 10 <= len(drawn) <= 11
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert drawn[0].rstrip() == "taut   0.0 s | fit | expected gap 0.5 | gradients 0"


@pytest.mark.parametrize("columns", [1, 12, 20, 33, 34, 80, 200])
def test_a_line_has_as_many_whole_parts_as_the_terminal_is_wide(
    clock, capfd, terminal, monkeypatch, columns
):
    monkeypatch.setattr(progress, "_columns", lambda stream: columns)
    parts = ["taut   0.0 s", "fit", "elbo -1234", *(f"gradients {i} 123,456" for i in range(5))]
    numbers = {f"gradients_{i}": 123456 for i in range(5)}
    Progress(True).update("fit", elbo=-1234.5, **numbers)
    line = capfd.readouterr().err.lstrip("\r")
    lengths = [len(" | ".join(parts[:n])) for n in range(len(parts) + 1)]
    assert line == " | ".join(parts[: sum(length < columns for length in lengths) - 1])


def test_a_shorter_line_leaves_nothing_of_the_longer_one(clock, capfd, terminal, monkeypatch):
    width = [40]
    monkeypatch.setattr(progress, "_columns", lambda stream: width[0])
    line = Progress(True)
    line.update("a longer look at a tail")
    clock[0] += 1.0
    line.update("fit")
    clock[0] += 1.0
    line.update("a longer look at a tail")
    width[0] = 20
    line.finish("usable")
    first, shorter, _, narrow = capfd.readouterr().err.split("\r")[1:]
    assert shorter == "taut   1.0 s | fit".ljust(len(first))
    # Padding past the end of a terminal that was made narrower would wrap.
    assert narrow == "taut   2.0 s".ljust(19) + "\n"


def test_the_width_is_that_of_the_terminal(monkeypatch, tmp_path):
    keyboard, screen = os.openpty()
    with open(keyboard, "rb", buffering=0), open(screen, "w") as stream:
        for columns in (57, 131):
            termios.tcsetwinsize(screen, (24, columns))
            assert progress._columns(stream) == columns
    monkeypatch.setenv("COLUMNS", "66")
    with open(tmp_path / "log", "w") as file:
        assert progress._columns(file) == 66


def test_other_text_gets_a_line_of_its_own(clock, capfd, terminal):
    line = Progress(True)
    line.interrupt()
    assert capfd.readouterr().err == ""
    line.update("fit")
    line.interrupt()
    assert capfd.readouterr().err.endswith("\n")
