"""What of the labels outlives a cleanup: which to put in force again, and what their ids meant."""

from typing import Any

from rclpy.impl.rcutils_logger import RcutilsLogger

from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import LabelSet, LabelSpec, as_specs
from lseg_ros.inference.protocol import SegmenterLike
from lseg_ros.ros.parameters import NodeParams


class LabelMemory:
    """The labels of the last configured state, unless the parameters ask for others since."""

    def __init__(self, labels_given: bool) -> None:
        """labels_given: whether the parameter `labels` was set at start, and so comes before `label_file`."""
        self._labels_given = labels_given
        self._kept: list[LabelSpec] | None = None
        self._history = LabelSet()
        self._history_ids: tuple[int, int] | None = None

    def remember(self, labels: LabelSet, params: NodeParams) -> None:
        """Keeps labels that were in force under these parameters."""
        self._history, self._history_ids = labels, (params.max_id, params.unknown_id)
        self._kept = [
            LabelSpec(x.name, None if x.background else x.class_id, x.prompts, x.threshold, x.background, x.color)
            for x in labels.labels
        ]

    def parameters_changed(self, values: dict[str, Any]) -> None:
        """Notes which parameters were set by hand while the node was unconfigured."""
        if "labels" in values or values.get("label_file"):
            self._kept, self._labels_given = None, "labels" in values

    def first_labels(self, params: NodeParams, logger: RcutilsLogger) -> tuple[list[LabelSpec], str]:
        """What to put in force first, and the file that it comes from, if any; raises LabelError."""
        path = params.label_file
        if self._kept is not None:
            return self._kept, path
        if path and self._labels_given:
            logger.warning(f"both labels and label_file are set; labels is used and {path} is not read")
        elif path:
            return read_label_file(path), path
        return as_specs(params.labels), ""

    def recall(self, segmenter: SegmenterLike, params: NodeParams) -> None:
        """Makes a new segmenter go on counting versions and, where the ids fit still, keep their meaning."""
        fits = self._history_ids == (params.max_id, params.unknown_id)
        segmenter.labels = self._history if fits else LabelSet(self._history.version)
