"""The node: images in, masks out, labels changed while it runs.

Callbacks only take messages in; everything that touches the model happens on the worker's thread, where label changes
and frames follow one another. That is why no frame mixes two label sets.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo

from lseg_ros import msg as lseg_msgs
from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import LabelError, LabelSet, LabelSpec, as_specs
from lseg_ros.inference.protocol import SegmenterLike
from lseg_ros.ros import qos
from lseg_ros.ros.conversions import ImageError, colour_backend, to_rgb
from lseg_ros.ros.diagnostics import DiagnosticArray, Statistics, diagnostic_array
from lseg_ros.ros.label_msgs import label_info_msg, label_set_msg, specs_from_request
from lseg_ros.ros.logs import forward_logs
from lseg_ros.ros.outputs import Outputs
from lseg_ros.ros.parameters import NodeParams, check, declare, on_change, was_given
from lseg_ros.ros.worker import Worker, WorkerStopped
from lseg_ros.srv import GetLabels, SetLabels

Result = TypeVar("Result")
_ACK_TIMEOUT = Duration(seconds=0, nanoseconds=300_000_000)
_CHANGE_TIMEOUT = 60.0  # seconds for which a parameter change waits until it is in force
_STOP_TIMEOUT = 10.0  # seconds for the frame in flight
_THROTTLE = 5.0  # seconds between repeated error messages


class LsegNode(Node):
    """The ROS interface of a segmenter; topics, services and parameters are listed in the README."""

    def __init__(self, make_segmenter: Callable[[NodeParams], SegmenterLike], **node_arguments: Any) -> None:
        """
        Args:
            make_segmenter: builds the segmenter from the parameters; may take seconds.
            node_arguments: for rclpy's Node, such as `context` or `parameter_overrides`.

        Raises:
            ValueError: a parameter or a label that the node cannot start with, in one sentence.
        """
        super().__init__("lseg", **node_arguments)
        forward_logs(self.get_logger())
        self._params = declare(self)
        self._segmenter = make_segmenter(self._params)
        self.get_logger().debug(f"colours are converted by {colour_backend()}")  # found out before the first image
        self._statistics = Statistics()
        self._last: Image | None = None
        self._seen: tuple[Header, NDArray[np.uint8], Any] | None = None  # the last image, once it was embedded
        self._storing = False
        self._outputs = Outputs(self, self._params)
        # Plain publishers: a lifecycle node's own drop what is published while it is inactive.
        self._labels_publisher = self.create_publisher(lseg_msgs.LabelSet, "~/labels", qos.LATCHED)
        self._info_publisher = self.create_publisher(LabelInfo, "~/label_info", qos.LATCHED)
        self._label_set = lseg_msgs.LabelSet()
        # Labels are out before the first mask can be.
        self._put_in_force(self._first_labels(), force=False)
        self._store_labels()
        self._worker: Worker[tuple[Image, float]] = Worker(self._on_frame, self._on_failure)
        on_change(self, self._validate, self._apply)
        # Of their own: while a change of labels is awaited, images and parameters go on.
        group = MutuallyExclusiveCallbackGroup()
        self.create_service(SetLabels, "set_labels", self._on_set_labels, callback_group=group)
        self.create_service(GetLabels, "get_labels", self._on_get_labels)
        self.create_subscription(
            Image,
            "image",
            self._on_image,
            qos.IMAGE_IN,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", qos.OUTPUT)
        self.create_timer(1.0, self._publish_diagnostics)
        self.get_logger().info(f"segmenting into {', '.join(self._segmenter.labels.names)}")

    def close(self) -> None:
        """Ends the worker after the frame in flight and destroys the node."""
        if not self._worker.stop(_STOP_TIMEOUT):
            self.get_logger().warning(f"the frame in flight took longer than {_STOP_TIMEOUT:g} s; leaving it behind")
        self.destroy_node()

    # Frames

    def _on_image(self, message: Image) -> None:
        self._statistics.count("received")
        self._worker.offer((message, time.perf_counter()))

    def _on_frame(self, frame: tuple[Image, float]) -> None:
        message, received = frame
        if not self._outputs.wanted():
            self._last, self._seen = message, None
            return
        taken = time.perf_counter()
        try:
            rgb = to_rgb(message)
        except ImageError as error:
            self._statistics.error("refused", str(error))
            self.get_logger().error(f"image refused: {error}", throttle_duration_sec=_THROTTLE)
            return
        decoded = time.perf_counter()
        embedding = self._segmenter.embed(rgb)
        self._last, self._seen = message, (message.header, rgb, embedding)
        before = {"wait": 1e3 * (taken - received), "decode": 1e3 * (decoded - taken), **embedding.stage_ms}
        self._outputs.publish(message.header, rgb, self._segmenter.score(embedding), before, rescored=False)
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self._statistics.segmented((self.get_clock().now().nanoseconds - stamp) / 1e6)

    def _rescore(self) -> None:
        """Publishes the last image under the labels now in force."""
        if self._last is None or not self._outputs.wanted():
            return
        if self._seen is None:  # nobody listened when it came
            unseen, self._last = self._last, None
            self._on_frame((unseen, time.perf_counter()))
            return
        header, rgb, embedding = self._seen
        self._outputs.publish(header, rgb, self._segmenter.score(embedding), {}, rescored=True)
        self._statistics.count("rescored")

    def _on_failure(self, error: BaseException) -> None:
        if not self.context.ok():
            return  # the process is ending, and with it what a frame needs
        self._statistics.error("failed", f"{type(error).__name__}: {error}")
        self.get_logger().error(
            f"a frame failed and was skipped: {type(error).__name__}: {error}", throttle_duration_sec=_THROTTLE
        )

    # Labels: one path of change, on the worker's thread

    def _first_labels(self) -> list[LabelSpec]:
        path = self._params.label_file
        if not path:
            return as_specs(self._params.labels)
        if was_given(self, "labels"):
            self.get_logger().warning(f"both labels and label_file are set; labels is used and {path} is not read")
            return as_specs(self._params.labels)
        return read_label_file(Path(path))

    def _put_in_force(self, specs: list[LabelSpec], *, force: bool) -> LabelSet:
        # What can fail comes before what cannot be taken back.
        self._outputs.add_topics(self._segmenter.plan(specs, force=force))
        try:
            labels = self._segmenter.set_labels(specs, force=force)
        finally:
            self._outputs.drop_topics(self._segmenter.labels)
        self._announce()
        return labels

    def _announce(self) -> None:
        """Latches the labels in force, and gives readers a moment to take them before any mask that needs them."""
        stamp = self.get_clock().now().to_msg()
        labels = self._segmenter.labels
        self._label_set = label_set_msg(labels, self._outputs.score_topics, stamp)
        self._labels_publisher.publish(self._label_set)
        self._info_publisher.publish(label_info_msg(labels, self._segmenter.threshold, stamp))
        for publisher in (self._labels_publisher, self._info_publisher):
            if publisher.get_subscription_count():
                publisher.wait_for_all_acked(_ACK_TIMEOUT)

    def _change_labels(self, specs: list[LabelSpec], *, force: bool) -> lseg_msgs.LabelSet:
        labels = self._put_in_force(specs, force=force)
        self.get_logger().info(f"labels, version {labels.version}: {', '.join(labels.names)}")
        self._rescore_next()
        return self._label_set

    def _rescore_next(self) -> None:
        self._worker.submit(self._rescore).add_done_callback(self._report)

    def _report(self, done: Any) -> None:
        error = done.exception()
        if error is not None and not isinstance(error, WorkerStopped):
            self._on_failure(error)

    async def _on_set_labels(self, request: SetLabels.Request, response: SetLabels.Response) -> SetLabels.Response:
        try:
            specs = specs_from_request(request)
            # The set that this request made: another one may be in force by the time this goes on.
            response.label_set = await self._on_worker(partial(self._change_labels, specs, force=request.force))
            response.success, response.message = True, f"{len(specs)} labels in force"
        except Exception as error:
            if not isinstance(error, LabelError):
                self.get_logger().error(f"a change of labels failed: {type(error).__name__}: {error}")
            response.success, response.message = False, " ".join(str(error).split())
            response.label_set = self._label_set
        self._store_labels()
        return response

    def _on_get_labels(self, request: GetLabels.Request, response: GetLabels.Response) -> GetLabels.Response:
        response.label_set = self._label_set
        return response

    async def _on_worker(self, job: Callable[[], Result]) -> Result:
        """Runs a job on the worker without blocking the executor; returns or raises what the job does."""
        executor = self.executor
        done: Future = Future(executor=executor)

        def finish(_: object) -> None:
            done.set_result(None)
            if executor is not None:
                executor.wake()

        running = self._worker.submit(job)
        running.add_done_callback(finish)
        await done
        return running.result()

    # Parameters

    def _store_labels(self) -> None:
        """Makes the parameter say what is in force, which changes nothing else."""
        self._storing = True
        try:
            self.set_parameters([Parameter("labels", Parameter.Type.STRING_ARRAY, self._segmenter.labels.names)])
        finally:
            self._storing = False

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        reasons = [reason for reason in map(check, parameters) if reason]
        for parameter in parameters:
            if not reasons and parameter.name == "labels" and self._is_new(parameter):
                try:
                    self._segmenter.plan(as_specs(parameter.value))
                except LabelError as error:
                    reasons.append(str(error))
        return SetParametersResult(successful=not reasons, reason="; ".join(reasons))

    def _is_new(self, parameter: Parameter) -> bool:
        """Whether a list of names asks for something else than what is in force, prompts and all."""
        labels = self._segmenter.labels
        plain = all(x.prompts == (x.name,) and not x.threshold and not x.background for x in labels.labels)
        return not self._storing and not (plain and list(parameter.value) == labels.names)

    def _apply(self, parameters: list[Parameter]) -> None:
        """Puts changed parameters in force before the caller that set them gets its answer."""
        for parameter in parameters:
            if parameter.name == "labels" and self._is_new(parameter):
                self._wait_for(partial(self._change_labels, as_specs(parameter.value), force=False))
                self._store_labels()  # with blanks removed; or, had it failed, what is still in force
            elif parameter.name == "threshold" and parameter.value != self._segmenter.threshold:
                self._wait_for(partial(self._change_threshold, parameter.value))

    def _wait_for(self, job: Callable[[], object]) -> None:
        try:
            self._worker.submit(job).result(_CHANGE_TIMEOUT)
        except Exception as error:
            self.get_logger().error(f"the change of parameters did not take effect: {type(error).__name__}: {error}")

    def _change_threshold(self, threshold: float) -> None:
        self._segmenter.threshold = threshold
        self._announce()
        self._rescore_next()

    def _publish_diagnostics(self) -> None:
        message = diagnostic_array(
            self._statistics,
            name=self.get_name(),
            dropped=self._worker.dropped,
            label_version=self._segmenter.labels.version,
            model=self._params.model,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_publisher.publish(message)
