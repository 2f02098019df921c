"""Draws pictures for people: color masks, and overlays with a legend."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lseg_ros.inference.labels import Color, LabelSet

_ALPHA = 0.5


def picture(name: str, rgb: NDArray[np.uint8], mask: NDArray[np.integer], labels: LabelSet) -> NDArray[np.uint8]:
    """Draws the picture of one of the node's topics.

    Args:
        name: "color" or "overlay".
        rgb: [H,W,3], the input image.
        mask: [h,w] class ids. The input image is resized to its size where they differ.
        labels: The labels of the ids.

    Returns:
        [h,w,3] RGB.
    """
    if name == "color":
        return color_mask(mask, labels)
    if mask.shape != rgb.shape[:2]:
        rgb = np.asarray(cv2.resize(rgb, mask.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return overlay(rgb, mask, labels)


def color_mask(mask: NDArray[np.integer], labels: LabelSet) -> NDArray[np.uint8]:
    """Colors [H,W] class ids as [H,W,3] RGB. Unknown ids become black."""
    table = np.zeros((int(mask.max(initial=0)) + 1, 3), np.uint8)
    for label in labels.labels:
        if not label.background and label.class_id < len(table):
            table[label.class_id] = label.color
    return table[mask]


def overlay(rgb: NDArray[np.uint8], mask: NDArray[np.integer], labels: LabelSet) -> NDArray[np.uint8]:
    """Draws the labels' colors over an image, with a legend. Unknown pixels keep the image's color.

    Args:
        rgb: [H,W,3], the image.
        mask: [H,W] class ids.
        labels: The labels of the ids.

    Returns:
        [H,W,3] RGB.
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
    """Draws a legend as [h,w,4] RGBA, never larger than the picture. It counts the entries that do not fit."""
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
