"""Keeps the labels, and the meaning of their ids, while the node is cleaned up and configured again."""

from typing import Any

from rclpy.impl.rcutils_logger import RcutilsLogger

from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import LabelSet, LabelSpec, as_specs
from lseg_ros.inference.protocol import SegmenterLike
from lseg_ros.ros.parameter_table import NodeParams


class LabelMemory:
    """The labels of the last configured state, unless parameters have changed them since."""

    def __init__(self, labels_given: bool) -> None:
        """Starts without labels.

        Args:
            labels_given: Whether the parameter `labels` was set at the start. Then it has precedence over `label_file`.
        """
        self._labels_given = labels_given
        self._kept: list[LabelSpec] | None = None
        self._history = LabelSet()
        self._history_ids: tuple[int, int] | None = None

    def remember(self, labels: LabelSet, params: NodeParams) -> None:
        """Keeps labels that were in force.

        Args:
            labels: The labels.
            params: The parameters under which they were in force.
        """
        self._history, self._history_ids = labels, (params.max_id, params.unknown_id)
        self._kept = [label.spec() for label in labels.labels]

    def parameters_changed(self, values: dict[str, Any]) -> None:
        """Notes which parameters were set while the node was unconfigured.

        Args:
            values: The new values by name.
        """
        if "labels" in values or values.get("label_file"):
            self._kept, self._labels_given = None, "labels" in values

    def first_labels(self, params: NodeParams, logger: RcutilsLogger) -> tuple[list[LabelSpec], str]:
        """Returns the labels to put in force first, and the file that they come from, or an empty text.

        Args:
            params: The node's parameters.
            logger: The node's logger.

        Raises:
            LabelError: The file cannot be read, or the labels cannot be used.
        """
        path = params.label_file
        if self._kept is not None:
            return self._kept, path
        if path and self._labels_given:
            logger.warning(f"both labels and label_file are set; labels is used and {path} is not read")
        elif path:
            return read_label_file(path), path
        return as_specs(params.labels), ""

    def recall(self, segmenter: SegmenterLike, params: NodeParams) -> None:
        """Lets a new segmenter continue the version of the labels, and the meaning of their ids.

        The meaning of ids is kept only if the id parameters are the same.

        Args:
            segmenter: A new segmenter.
            params: The node's parameters.
        """
        fits = self._history_ids == (params.max_id, params.unknown_id)
        segmenter.labels = self._history if fits else LabelSet(self._history.version)
