"""Writes the report: report.json for programs and report.html for people."""

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
"""Version of report.json. It increases when an entry is removed or changes its meaning."""


def package_version() -> str | None:
    """Returns the installed package's version, or None where it runs from source."""
    try:
        return version("lseg_ros")
    except PackageNotFoundError:
        return None


def as_record(subject: Subject, config: EvalConfig, result: DenseResult | EpisodeResult) -> dict[str, Any]:
    """Returns the content of report.json in JSON's own types. A figure that could not be measured is None.

    Args:
        subject: What was measured on what.
        config: The measurement.
        result: Its result.
    """
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
    """Writes report.json and report.html into an existing folder.

    Args:
        folder: The folder.
        subject: What was measured on what.
        config: The measurement.
        result: Its result.

    Raises:
        OSError: A file cannot be written. The file that was there before stays.
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
