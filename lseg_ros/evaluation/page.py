"""Makes the report for people: one HTML file that needs no other files. Needs jinja2 and matplotlib."""

import base64
import math
from importlib.resources import files
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lseg_ros.evaluation import plots
from lseg_ros.evaluation.config import EvalConfig
from lseg_ros.evaluation.dense import DenseResult
from lseg_ros.evaluation.few_shot import EpisodeResult
from lseg_ros.evaluation.gallery import Picture
from lseg_ros.evaluation.plots import class_color
from lseg_ros.evaluation.subject import Subject


def page(subject: Subject, config: EvalConfig, result: DenseResult | EpisodeResult) -> str:
    """Returns a report as HTML.

    Args:
        subject: What was measured on what.
        config: The measurement.
        result: Its result.
    """
    from jinja2 import Environment, StrictUndefined

    dense = result if isinstance(result, DenseResult) else None
    source = (files("lseg_ros.evaluation") / "report.html.jinja").read_text(encoding="utf-8")
    # Labels and other texts of users are escaped, so they never become markup.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = percent
    return environment.from_string(source).render(
        subject=subject,
        config=config,
        result=result,
        dense=dense,
        measured=result.episodes if isinstance(result, EpisodeResult) else len(result.images),
        plots=_episode_plots(result) if isinstance(result, EpisodeResult) else _dense_plots(result),
        galleries=[("Worst images", _rows(result.worst)), ("Best images", _rows(result.best))],
    )


def percent(value: float, digits: int = 1) -> str:
    """Writes a share in [0, 1] in per cent, without the sign. NaN becomes a dash."""
    return "–" if math.isnan(value) else f"{100 * value:.{digits}f}"


def _dense_plots(result: DenseResult) -> dict[str, str]:
    images = {
        "iou": plots.iou_bars(result.words, result.metrics.iou, result.metrics.mean_iou),
        "confusion": plots.confusion_matrix(result.words, result.counts),
        "reliability": plots.reliability(result.calibration),
    }
    if result.atlas is not None:
        images["atlas"] = plots.atlas_map(result.atlas, result.words)
    return {name: _uri(png, "png") for name, png in images.items()}


def _episode_plots(result: EpisodeResult) -> dict[str, str]:
    iou = list(result.metrics.iou.values())
    labels = [result.labels[class_id] for class_id in result.metrics.iou]
    return {
        "iou": _uri(plots.iou_bars(labels, iou, result.metrics.mean_iou), "png"),
        "reliability": _uri(plots.reliability(result.calibration), "png"),
    }


def _rows(pictures: list[Picture]) -> list[dict[str, Any]]:
    """Returns for each picture its four views, and its classes with their colors."""
    return [
        {
            "name": picture.name,
            "mean_iou": picture.mean_iou,
            "views": [
                ("image", _picture(picture.image, "JPEG")),
                ("truth", _picture(_colored(picture.target, len(picture.labels)), "PNG")),
                ("prediction", _picture(_colored(picture.predicted, len(picture.labels)), "PNG")),
                ("confidence, dark 0 to yellow 1", _picture(_heat(picture.confidence), "JPEG")),
            ],
            "classes": [
                (picture.labels[i], "#{:02x}{:02x}{:02x}".format(*class_color(i)))
                for i in np.union1d(picture.target, picture.predicted)
                if i < len(picture.labels)
            ],
        }
        for picture in pictures
    ]


def _colored(ids: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
    """Colors [H,W] ids as [H,W,3] RGB. Ids of no class become black."""
    table = np.zeros((256, 3), np.uint8)
    table[:classes] = [class_color(i) for i in range(classes)]
    return table[ids]


def _heat(confidence: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colors [H,W] values in [0, 1] as [H,W,3] RGB, from dark blue to yellow."""
    grey = (255 * np.clip(confidence, 0, 1)).round().astype(np.uint8)
    return cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[..., ::-1].astype(np.uint8, copy=False)


def _picture(rgb: NDArray[np.uint8], kind: str) -> str:
    file = BytesIO()
    Image.fromarray(rgb).save(file, kind, quality=85, optimize=True)
    return _uri(file.getvalue(), kind.lower())


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
