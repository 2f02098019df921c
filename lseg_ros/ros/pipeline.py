"""Everything that exists from configure to cleanup: the segmenter, its worker, the cameras, the labels."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError  # before Python 3.11 not the built-in one
from functools import partial
from typing import TypeVar

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.duration import Duration
from rclpy.node import Node

from lseg_ros import msg as lseg_msgs
from lseg_ros.inference.labels import listed
from lseg_ros.inference.lessons import with_lesson
from lseg_ros.inference.protocol import SegmenterLike
from lseg_ros.ros import qos
from lseg_ros.ros.camera import Camera, Incoming, Seen
from lseg_ros.ros.diagnostics import status
from lseg_ros.ros.feature_topics import FeatureBasis
from lseg_ros.ros.given_parameters import nearest
from lseg_ros.ros.label_msgs import label_info_msg, label_set_msg
from lseg_ros.ros.label_parameters import LabelChange
from lseg_ros.ros.labels_first import LabelInfoTopic
from lseg_ros.ros.parameter_table import NodeParams
from lseg_ros.ros.teach_msgs import TeachRequest
from lseg_ros.ros.worker import Worker, WorkerStopped

Result = TypeVar("Result")
_ACK_TIMEOUT = Duration(seconds=0, nanoseconds=300_000_000)
_STOP_TIMEOUT = 10.0  # most seconds to wait for the current frame


class Pipeline:
    """Segments the images of all cameras under shared labels.

    Only the worker's thread uses the model. Label changes and frames follow one another there, so no frame mixes two
    label sets.
    """

    def __init__(self, node: Node, segmenter: SegmenterLike, params: NodeParams, first: LabelChange) -> None:
        """Creates the topics and puts the first labels in force.

        Args:
            node: The node that has the topics.
            segmenter: Segments the images. It may already have a history of labels and their ids.
            params: The node's parameters.
            first: The first labels.

        Raises:
            ValueError: The labels or QoS overrides cannot be used. All topics were removed.
        """
        self._node, self.segmenter, self.params = node, segmenter, params
        self.label_set, self.label_file = lseg_msgs.LabelSet(), ""
        self.cameras: list[Camera] = []
        self._active = self._enabled = False
        # Plain publishers, because lifecycle publishers drop messages while the node is inactive.
        self._labels_publisher = node.create_publisher(lseg_msgs.LabelSet, "~/labels", qos.LATCHED)
        self._label_info = LabelInfoTopic(node)
        self.features = FeatureBasis(node, segmenter.basis, params.checkpoint or params.model)
        self._worker: Worker[Camera, Incoming] = Worker(Camera.process, Camera.failed)
        try:
            for name in params.cameras or [""]:
                version, offer = self.features.version, self._worker.offer
                self.cameras.append(Camera(node, name, params, segmenter, self._label_info, version, offer))
            self.change(first).result()
        except BaseException:
            self.close()
            raise

    # The executor's thread

    def run(self, *, active: bool, enabled: bool) -> None:
        """Starts or stops taking images. A stop waits for the current frame.

        Args:
            active: Whether the node is active.
            enabled: Whether segmentation is switched on.
        """
        stopping = self._active and self._enabled and not (active and enabled)
        self._active, self._enabled = active, enabled
        self.poll()
        if stopping:
            try:
                self.submit(lambda: None).result(_STOP_TIMEOUT)
            except FutureTimeoutError:
                self._node.get_logger().warning(f"the frame in flight takes longer than {_STOP_TIMEOUT:g} s")

    def poll(self) -> None:
        """Lets the cameras subscribe or unsubscribe. Called several times a second."""
        for camera in self.cameras:
            camera.poll(active=self._active, enabled=self._enabled)

    def statuses(self, node_name: str, shown: Mapping[str, object]) -> list[DiagnosticStatus]:
        """Returns the diagnostics of each camera.

        Args:
            node_name: The node's name.
            shown: The node's values to show with each camera's.
        """
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

    @property
    def input_topics(self) -> set[str]:
        """Full names of the topics that the cameras subscribe to while somebody listens."""
        return {topic for camera in self.cameras for topic in camera.input_topics}

    def set_params(self, params: NodeParams) -> None:
        """Puts changed live parameters in force, except for labels and threshold, which only the worker changes."""
        score_labels = self.params.score_labels
        self.params = params
        for camera in self.cameras:
            camera.outputs.params = params
        if params.score_labels != score_labels:
            self._check_score_labels()

    def change(self, change: LabelChange) -> "Future[lseg_msgs.LabelSet]":
        """Puts labels, a threshold or both in force before the next frame, all or none.

        The last images are then scored again.

        Args:
            change: The change.

        Returns:
            A future of the label set in force afterwards, or of the LabelError that says why it is refused.
        """
        return self.submit(partial(self._change, change))

    def teach(
        self, camera: Camera, seen: Seen | None, request: TeachRequest
    ) -> "Future[tuple[lseg_msgs.LabelSet, lseg_msgs.LabelSet]]":
        """Teaches a label by marks on an image of a camera, and puts it in force as `change` does.

        Args:
            camera: The camera.
            seen: Its image; None if nothing is marked.
            request: The request.

        Returns:
            A future of the sets before and after, or of the LabelError that says why it is refused.
        """

        def job() -> tuple[lseg_msgs.LabelSet, lseg_msgs.LabelSet]:
            # In one job, because otherwise labels that change meanwhile would be put back.
            before = self.label_set
            specs = with_lesson(self.segmenter.labels, request.label, camera.lesson(seen, request))
            return before, self._change(LabelChange(specs))

        return self.submit(job)

    def submit(self, job: Callable[[], Result]) -> "Future[Result]":
        """Runs a job on the worker before the next frame."""
        return self._worker.submit(job)

    def close(self) -> None:
        """Ends the worker after its current work, and removes the topics and the model."""
        if not self._worker.stop(_STOP_TIMEOUT):
            self._node.get_logger().warning(f"the frame in flight takes longer than {_STOP_TIMEOUT:g} s; leaving it")
        for camera in self.cameras:
            camera.close()
        for publisher in (self._labels_publisher, self._label_info.publisher, self.features.publisher):
            self._node.destroy_publisher(publisher)
        self.segmenter.release()

    # The worker's thread

    def _change(self, change: LabelChange) -> lseg_msgs.LabelSet:
        # Steps that can fail come before steps that cannot be undone.
        if change.specs is not None:
            planned = self.segmenter.plan(change.specs, force=change.force)
            try:
                for camera in self.cameras:
                    camera.outputs.add_topics(planned)
                self.segmenter.commit(planned)
            finally:
                for camera in self.cameras:
                    camera.outputs.drop_topics(self.segmenter.labels)
            self.label_file = change.label_file
            names = listed(planned.names)
            self._node.get_logger().info(f"segmenting into {names} (label set {planned.version})")
            self._check_score_labels()
        if change.threshold is not None:
            self.segmenter.threshold = change.threshold
        self._announce()
        for camera in self.cameras:
            self.submit(camera.rescore).add_done_callback(partial(self._report, camera))
        return self.label_set

    def _check_score_labels(self) -> None:
        """Warns about names in `score_labels` that no label has. Their channels are left out."""
        names = self.segmenter.labels.names
        for name in self.params.score_labels:
            if name not in names:
                self._node.get_logger().warning(
                    f"score_labels has {name!r}, and no label in force has this name, so ~/scores has no channel for "
                    f"it{nearest(name, names)}"
                )

    def _announce(self) -> None:
        """Publishes the labels in force, and gives readers a moment to receive them before any mask that needs them."""
        stamp = self._node.get_clock().now().to_msg()
        labels = self.segmenter.labels
        self.label_set = label_set_msg(labels, self.cameras[0].outputs.score_topics, stamp)
        self._labels_publisher.publish(self.label_set)
        self._label_info.publish(label_info_msg(labels, self.segmenter.threshold, stamp))
        for publisher in (self._labels_publisher, self._label_info.publisher):
            if publisher.get_subscription_count():
                publisher.wait_for_all_acked(_ACK_TIMEOUT)

    @staticmethod
    def _report(camera: Camera, done: "Future[None]") -> None:
        error = done.exception()
        if error is not None and not isinstance(error, WorkerStopped):
            camera.failed(error)
