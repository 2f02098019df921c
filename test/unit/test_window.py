"""The window of `lseg watch`, on its own display."""

import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

from lseg_ros.cli.window import Window

tkinter = pytest.importorskip("tkinter", reason="Python was built without tkinter")


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An X server without a screen."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    # It chooses a free number and prints it.
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "640x480x24"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    monkeypatch.setenv("DISPLAY", f":{server.stdout.readline().strip()}")
    yield
    server.terminate()
    server.wait()


def test_a_window_shows_pictures_until_it_is_closed(display: None) -> None:
    window = Window("a title")
    assert window.update()
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[5, 7] = 10, 200, 255
    window.show(picture)
    assert window.update()
    shown = window._picture
    assert shown is not None and (shown.width(), shown.height()) == (30, 20)
    assert shown.get(7, 5) == (10, 200, 255) and shown.get(0, 0) == (0, 0, 0)
    assert window._root.title() == "a title"
    window._root.focus_force()
    window._root.event_generate("<Escape>")
    assert not window.update()
    window.show(picture)  # one that was on its way
    assert not window.update()


def test_without_a_display_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(ValueError, match="no window can be shown .*; write files with -o DIR"):
        Window("a title")
