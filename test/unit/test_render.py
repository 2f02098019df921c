"""Color masks, overlays and legends."""

import numpy as np

from lseg_ros.inference.labels import IdRules, LabelSet, LabelSpec, as_specs, assign
from lseg_ros.inference.render import color_mask, overlay


def labels(*names: str) -> LabelSet:
    return assign(LabelSet(), as_specs(names), IdRules())


def test_color_mask() -> None:
    mask = np.array([[1, 2, 255]], np.uint8)
    assert color_mask(mask, labels("a", "b")).tolist() == [[[128, 0, 0], [0, 128, 0], [0, 0, 0]]]


def test_own_colors() -> None:
    chosen = assign(LabelSet(), [LabelSpec("a", color=(1, 2, 3))], IdRules())
    assert color_mask(np.array([[1]], np.uint16), chosen).tolist() == [[[1, 2, 3]]]


def test_unknown_pixels_stay_as_they_are() -> None:
    rgb = np.full((40, 60, 3), 200, np.uint8)
    mask = np.full((40, 60), 255, np.uint8)
    mask[-1, -1] = 1
    out = overlay(rgb, mask, labels("a"))
    assert out[-1, 0].tolist() == [200, 200, 200] and out[-1, -1].tolist() == [164, 100, 100]


def test_legend_is_there_and_never_larger_than_the_picture() -> None:
    for size in ((8, 6), (48, 64), (480, 640)):
        rgb = np.full((*size, 3), 255, np.uint8)
        out = overlay(rgb, np.full(size, 255, np.uint8), labels(*(f"a rather long label {i}" for i in range(90))))
        assert out.shape == rgb.shape and (out != 255).any()


def test_legend_shows_the_colors() -> None:
    out = overlay(np.zeros((200, 200, 3), np.uint8), np.full((200, 200), 255, np.uint8), labels("a", "b"))
    found = {tuple(c) for c in out[:40, :14].reshape(-1, 3).tolist()}
    assert {(128, 0, 0), (0, 128, 0)} <= found
