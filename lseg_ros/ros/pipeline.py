"""What exists from configure to cleanup: the segmenter, the worker that alone uses it, the cameras, the labels."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError  # before Python 3.11 not the built-in one
from functools import partial
from typing import TypeVar

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.duration import Duration
from rclpy.node import Node

from lseg_ros import msg as lseg_msgs
from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import LabelSpec
from lseg_ros.inference.protocol import SegmenterLike
from lseg_ros.ros import qos
from lseg_ros.ros.camera import Camera, Incoming
from lseg_ros.ros.diagnostics import status
from lseg_ros.ros.label_msgs import label_info_msg, label_set_msg
from lseg_ros.ros.labels_first import LabelInfoTopic
from lseg_ros.ros.parameters import NodeParams
from lseg_ros.ros.worker import Worker, WorkerStopped

Result = TypeVar("Result")
_ACK_TIMEOUT = Duration(seconds=0, nanoseconds=300_000_000)
_STOP_TIMEOUT = 10.0  # seconds for the frame in flight


class Pipeline:
    """Images in, masks out, under labels that all cameras share.

    Everything that touches the model happens on the worker's thread, where label changes and frames follow one another.
    That is why no frame mixes two label sets.
    """

    def __init__(
        self, node: Node, segmenter: SegmenterLike, params: NodeParams, specs: list[LabelSpec], label_file: str
    ) -> None:
        """Creates the topics, and puts the first labels in force.

        Args:
            specs: these labels.
            label_file: the file that they come from, or empty.

        Raises:
            ValueError: labels or overrides of quality of service that cannot be used; nothing is left behind.
        """
        self._node, self.segmenter, self.params = node, segmenter, params
        self.label_set, self.label_file = lseg_msgs.LabelSet(), ""
        self.cameras: list[Camera] = []
        self._active = self._enabled = False
        # Plain publishers: a lifecycle node's own drop what is published while it is inactive.
        self._labels_publisher = node.create_publisher(lseg_msgs.LabelSet, "~/labels", qos.LATCHED)
        self._label_info = LabelInfoTopic(node)
        self._worker: Worker[Camera, Incoming] = Worker(Camera.process, Camera.failed)
        try:
            for name in params.cameras or [""]:
                self.cameras.append(Camera(node, name, params, segmenter, self._label_info, self._worker.offer))
            self.submit(partial(self._put_in_force, specs, label_file, force=False)).result()
        except BaseException:
            self.close()
            raise

    # The executor's thread

    def run(self, *, active: bool, enabled: bool) -> None:
        """Starts or stops taking images; a stop waits for the frame in flight."""
        stopping = self._active and self._enabled and not (active and enabled)
        self._active, self._enabled = active, enabled
        self.poll()
        if stopping:
            try:
                self.submit(lambda: None).result(_STOP_TIMEOUT)
            except FutureTimeoutError:
                self._node.get_logger().warning(f"the frame in flight takes longer than {_STOP_TIMEOUT:g} s")

    def poll(self) -> None:
        """Called several times a second."""
        for camera in self.cameras:
            camera.poll(active=self._active, enabled=self._enabled)

    def statuses(self, node_name: str, shown: Mapping[str, object]) -> list[DiagnosticStatus]:
        """The diagnostics of each camera; `shown`: values of the node to show with each."""
        model, version = self.params.model, self.segmenter.labels.version
        shown = {**shown, "model": model, "label_version": version, **self.segmenter.usage()}
        return [
            status(
                f"{node_name}: {camera.name or 'segmentation'}",
                model,
                camera.activity,
                camera.statistics.snapshot(),
                {
                    "camera": camera.name,
                    "image_topic": camera.image_topic,
                    **shown,
                    "dropped": self._worker.dropped(camera),
                },
            )
            for camera in self.cameras
        ]

    def set_params(self, params: NodeParams) -> None:
        """Puts changed live parameters in force, but for labels and threshold, which are the worker's to change."""
        self.params = params
        for camera in self.cameras:
            camera.outputs.params = params

    def submit(self, job: Callable[[], Result]) -> "Future[Result]":
        """Runs a job on the worker, before the next frame."""
        return self._worker.submit(job)

    def close(self) -> None:
        """Ends the worker after what is in flight, and removes the topics and the model."""
        if not self._worker.stop(_STOP_TIMEOUT):
            self._node.get_logger().warning(f"the frame in flight takes longer than {_STOP_TIMEOUT:g} s; leaving it")
        for camera in self.cameras:
            camera.close()
        for publisher in (self._labels_publisher, self._label_info.publisher):
            self._node.destroy_publisher(publisher)
        self.segmenter.release()

    # The worker's thread

    def load_labels(self, path: str) -> None:
        """Puts the labels of a file in force; raises LabelError."""
        self.change_labels(read_label_file(path), path)

    def change_labels(self, specs: list[LabelSpec], label_file: str = "", *, force: bool = False) -> lseg_msgs.LabelSet:
        """Puts labels in force, all or nothing, and has the last images scored again; raises LabelError."""
        self._put_in_force(specs, label_file, force=force)
        labels = self.segmenter.labels
        self._node.get_logger().info(f"labels, version {labels.version}: {', '.join(labels.names)}")
        self._rescore_next()
        return self.label_set

    def change_threshold(self, threshold: float, change_labels: Callable[[], object] | None = None) -> None:
        """Puts another threshold in force, and has the last images scored again.

        Args:
            change_labels: changes the labels in the same step: both are announced at once. What it raises is raised;
                the threshold is in force all the same.
        """
        self.segmenter.threshold = threshold
        before = self.label_set
        try:
            if change_labels is not None:
                change_labels()
        finally:
            if self.label_set is before:  # nothing was announced
                self._announce()
                self._rescore_next()

    def _put_in_force(self, specs: list[LabelSpec], label_file: str, *, force: bool) -> None:
        # What can fail comes before what cannot be taken back.
        try:
            planned = self.segmenter.plan(specs, force=force)
            for camera in self.cameras:
                camera.outputs.add_topics(planned)
            self.segmenter.set_labels(specs, force=force)
        finally:
            for camera in self.cameras:
                camera.outputs.drop_topics(self.segmenter.labels)
        self.label_file = label_file
        self._announce()

    def _announce(self) -> None:
        """Latches the labels in force, and gives readers a moment to take them before any mask that needs them."""
        stamp = self._node.get_clock().now().to_msg()
        labels = self.segmenter.labels
        self.label_set = label_set_msg(labels, self.cameras[0].outputs.score_topics, stamp)
        self._labels_publisher.publish(self.label_set)
        self._label_info.publish(label_info_msg(labels, self.segmenter.threshold, stamp))
        for publisher in (self._labels_publisher, self._label_info.publisher):
            if publisher.get_subscription_count():
                publisher.wait_for_all_acked(_ACK_TIMEOUT)

    def _rescore_next(self) -> None:
        for camera in self.cameras:
            self.submit(camera.rescore).add_done_callback(partial(self._report, camera))

    @staticmethod
    def _report(camera: Camera, done: "Future[None]") -> None:
        error = done.exception()
        if error is not None and not isinstance(error, WorkerStopped):
            camera.failed(error)
