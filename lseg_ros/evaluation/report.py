"""The report: report.json for programs and report.html for people."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from lseg_ros.evaluation.config import EvalConfig
from lseg_ros.evaluation.dense import DenseResult
from lseg_ros.evaluation.few_shot import EpisodeResult
from lseg_ros.evaluation.gallery import Picture
from lseg_ros.evaluation.page import page
from lseg_ros.evaluation.subject import Subject
from lseg_ros.files import replacing

SCHEMA = 1
"""Version of report.json; it goes up when an entry changes its meaning or goes away."""


def package_version() -> str | None:
    """The installed package's version; None where it runs from source."""
    try:
        return version("lseg_ros")
    except PackageNotFoundError:
        return None


def as_record(subject: Subject, config: EvalConfig, result: DenseResult | EpisodeResult) -> dict[str, Any]:
    """What report.json holds: nothing but what JSON has, so None where a figure could not be measured."""
    dense = isinstance(result, DenseResult)
    record = {
        "schema": SCHEMA,
        "kind": "masks" if dense else "episodes",
        "lseg_ros": package_version(),
        "subject": asdict(subject),
        "config": asdict(config),
        "measured": len(result.images) if isinstance(result, DenseResult) else result.episodes,
        "result": {f.name: getattr(result, f.name) for f in fields(result)},
    }
    plain = _plain(record)
    assert isinstance(plain, dict)
    return plain


def write_report(folder: Path, subject: Subject, config: EvalConfig, result: DenseResult | EpisodeResult) -> None:
    """Writes report.json and report.html into a folder that is there.

    Raises:
        OSError: something cannot be written; what was there before stays.
    """
    record = as_record(subject, config, result)
    contents = {
        "report.json": json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "report.html": page(subject, config, result),
    }
    for name, content in contents.items():
        with replacing(folder / name) as part:
            part.write_text(content, encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Picture):
        return {"name": value.name, "mean_iou": _plain(value.mean_iou)}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return round(value, 6) if isinstance(value, float) else value
