"""Pictures for people: colour masks and overlays with a legend."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lseg_ros.inference.labels import Color, LabelSet

_ALPHA = 0.5


def color_mask(mask: NDArray[np.integer], labels: LabelSet) -> NDArray[np.uint8]:
    """HxW class ids -> HxWx3 RGB; ids of no label (unknown ones) are black."""
    table = np.zeros((int(mask.max(initial=0)) + 1, 3), np.uint8)
    for label in labels.labels:
        if not label.background and label.class_id < len(table):
            table[label.class_id] = label.color
    return table[mask]


def overlay(rgb: NDArray[np.uint8], mask: NDArray[np.integer], labels: LabelSet) -> NDArray[np.uint8]:
    """HxWx3 RGB and HxW ids of the same size -> HxWx3 RGB: the labels' colours over the image, with a legend.

    Unknown pixels stay as they are.
    """
    known = np.zeros(int(mask.max(initial=0)) + 1, np.uint16)
    for label in labels.labels:
        if not label.background and label.class_id < len(known):
            known[label.class_id] = round(256 * _ALPHA)
    alpha = known[mask][..., None]
    mixed = (rgb * (256 - alpha) + color_mask(mask, labels) * alpha) >> 8
    out = mixed.astype(np.uint8)
    entries = tuple((x.name, x.color) for x in labels.labels if not x.background)
    panel = _legend(entries, out.shape[0], out.shape[1])
    height, width = panel.shape[:2]
    corner = out[:height, :width]
    share = panel[..., 3:].astype(np.uint16)
    corner[:] = (corner * (255 - share) + panel[..., :3] * share) // 255
    return out


@lru_cache(maxsize=16)
def _legend(entries: tuple[tuple[str, Color], ...], height: int, width: int) -> NDArray[np.uint8]:
    """A hxwx4 panel for the top left corner, never larger than the picture; what does not fit is counted."""
    font_size = int(np.clip(height / 28, 9, 28))
    line = font_size + 6
    rows = max(1, (height - 8) // line)
    shown = entries
    if len(entries) > rows:
        shown = (*entries[: rows - 1], (f"+{len(entries) - rows + 1} more", (0, 0, 0)))
    font = ImageFont.load_default(font_size)
    names = [name if len(name) <= 32 else name[:31] + "…" for name, _ in shown]
    text_width = max(int(font.getlength(name)) for name in names)
    panel = Image.new("RGBA", (text_width + line + 12, line * len(shown) + 4), (20, 20, 20, 190))
    draw = ImageDraw.Draw(panel)
    for i, (name, (_, color)) in enumerate(zip(names, shown, strict=True)):
        top = 4 + i * line
        draw.rectangle((4, top, 4 + font_size, top + font_size), fill=(*color, 255), outline=(255, 255, 255, 255))
        draw.text((4 + line, top - 1), name, fill=(255, 255, 255, 255), font=font)
    return np.asarray(panel.crop((0, 0, min(panel.width, width), min(panel.height, height))))
