"""The node: its states, parameters and services.

Callbacks only take requests in; what they start is the pipeline's.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future as WorkerFuture
from functools import partial
from typing import Any, TypeVar

from diagnostic_msgs.msg import DiagnosticArray, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import SetBool

from lseg_ros import msg as lseg_msgs
from lseg_ros.images.messages import color_backend
from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import LabelError, as_specs, check_phrases
from lseg_ros.inference.protocol import SegmenterLike
from lseg_ros.ros import qos
from lseg_ros.ros.diagnostics import failed_status
from lseg_ros.ros.label_memory import LabelMemory
from lseg_ros.ros.label_msgs import specs_from_request
from lseg_ros.ros.logs import forward_logs
from lseg_ros.ros.parameters import NodeParams, declare, on_change, problems_of_change, read, was_given
from lseg_ros.ros.pipeline import Pipeline
from lseg_ros.ros.query_msgs import fill_answer
from lseg_ros.ros.worker import WorkerStopped
from lseg_ros.srv import GetLabels, Query, SetLabels

Result = TypeVar("Result")
_CHANGE_TIMEOUT = 60.0  # seconds for which a parameter change waits until it is in force
_POLL_PERIOD = 0.1  # seconds; Humble has no event for "somebody subscribed"
_DIAGNOSTICS_PERIOD = 1.0


class NotNow(RuntimeError):
    """What was asked for needs another state of the node, or an image; one sentence."""


class LsegNode(LifecycleNode):
    """The ROS interface of a segmenter; docs/node.md lists topics, services, parameters and states."""

    def __init__(self, make_segmenter: Callable[[NodeParams], SegmenterLike], **node_arguments: Any) -> None:
        """
        Args:
            make_segmenter: builds the segmenter from the parameters, in `configure`; may take seconds.
            node_arguments: for rclpy's Node, such as `context` or `parameter_overrides`.

        Raises:
            ValueError: parameters that the node cannot start with, in one sentence.
        """
        super().__init__("lseg", **node_arguments)
        forward_logs(self.get_logger())
        self._make_segmenter = make_segmenter
        self._pipeline: Pipeline | None = None
        try:
            self._params = declare(self)
        except ValueError:
            self.close()
            raise
        self._state = "unconfigured"
        self._enabled = True
        self.failure = ""  # why the last transition failed
        self._storing = False  # while the parameters follow the labels in force
        self._memory = LabelMemory(was_given(self, "labels"))
        on_change(self, self._validate, self._apply)
        # Of their own: while a change or an image is awaited, images and parameters go on.
        self.create_service(
            SetLabels, "set_labels", self._on_set_labels, callback_group=MutuallyExclusiveCallbackGroup()
        )
        self.create_service(GetLabels, "get_labels", self._on_get_labels)
        self.create_service(SetBool, "~/enable", self._on_enable)
        for i, name in enumerate(self._params.cameras or [""]):
            self.create_service(
                Query,
                f"~/{name}/query" if name else "~/query",
                partial(self._on_query, i),
                callback_group=MutuallyExclusiveCallbackGroup(),
            )
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", qos.OUTPUT)
        # Of the wall clock: a paused simulation still has subscribers that come and go.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        self.create_timer(_POLL_PERIOD, self._poll, clock=steady)

    def start(self) -> bool:
        """Configures and activates the node if `autostart` is set; False if that failed, and `failure` says why."""
        if not self._params.autostart:
            return True
        steps = (self.trigger_configure, self.trigger_activate)
        return all(step() == TransitionCallbackReturn.SUCCESS for step in steps)

    def close(self) -> None:
        """Ends what is running, after the frame in flight, and destroys the node."""
        self._drop_pipeline()
        self.destroy_node()
        # It holds the lifecycle services, which else answer nobody, but are seen, until Python collects garbage.
        self._state_machine.destroy_when_not_in_use()

    # States

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the model, creates the topics and puts labels in force; FAILURE says why and leaves nothing behind."""
        self.failure = ""
        try:
            self._params = read(self)
            specs, label_file = self._memory.first_labels(self._params, self.get_logger())
            # Found out before the first image, and beside the model's loading: either may take seconds.
            finding = threading.Thread(target=color_backend, name="color_backend", daemon=True)
            finding.start()
            segmenter = self._make_segmenter(self._params)
            finding.join()
            self._memory.recall(segmenter, self._params)
            self._pipeline = Pipeline(self, segmenter, self._params, specs, label_file)
        except Exception as error:
            expected = isinstance(error, (ValueError, FileNotFoundError))
            self.failure = " ".join(str(error).split()) if expected else f"{type(error).__name__}: {error}"
            self.get_logger().fatal(f"cannot start: {self.failure}")
            return TransitionCallbackReturn.FAILURE
        self._state = "inactive"
        self._store_labels()
        self.get_logger().info(f"segmenting into {', '.join(segmenter.labels.names)}")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Takes images."""
        self._state = "active"
        self._run()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Takes no more images, and waits for the one in flight. The model and the labels stay."""
        self._state = "inactive"
        self._run()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model and its memory, and removes the topics."""
        self._drop_pipeline()
        self._state = "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As cleanup, for good."""
        self._drop_pipeline()
        self._state = "shut down"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As cleanup."""
        self._drop_pipeline()
        self._state = "unconfigured"
        return super().on_error(state)

    def _run(self) -> None:
        if self._pipeline is not None:
            self._pipeline.run(active=self._state == "active", enabled=self._enabled)

    def _drop_pipeline(self) -> None:
        if self._pipeline is None:
            return
        pipeline, self._pipeline = self._pipeline, None
        pipeline.close()  # a change under way ends first, and is answered
        self._memory.remember(pipeline.segmenter.labels, self._params)

    def _ready(self, *, active: bool = False) -> Pipeline:
        """The pipeline, or NotNow saying which transition it takes."""
        if self._state == "shut down":
            raise NotNow("the node is shut down; start it again")
        if self._pipeline is None:
            raise NotNow("the node is unconfigured; configure it first")
        if active and self._state != "active":
            raise NotNow("the node is inactive; activate it first")
        return self._pipeline

    def _poll(self) -> None:
        if self._pipeline is not None:
            self._pipeline.poll()

    # Services

    async def _on_set_labels(self, request: SetLabels.Request, response: SetLabels.Response) -> SetLabels.Response:
        try:
            pipeline = self._ready()
            specs, path = specs_from_request(request), request.label_file
            # The set that this request made: another one may be in force by the time this goes on.
            change = pipeline.submit(partial(pipeline.change_labels, specs, path, force=request.force))
            response.label_set = await self._done(change)
            response.success, response.message = True, f"{len(specs)} labels in force"
        except Exception as error:
            response.success, response.message = False, self._refusal(error, "a change of labels")
            response.label_set = self._label_set
        self._store_labels()
        return response

    def _on_get_labels(self, request: GetLabels.Request, response: GetLabels.Response) -> GetLabels.Response:
        response.label_set = self._label_set
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if self._state == "shut down":
            response.success, response.message = False, "the node is shut down; start it again"
            return response
        self._enabled = request.data
        self._run()
        response.success, response.message = True, "enabled" if request.data else "disabled"
        if self._state != "active":
            response.message += f"; that takes effect once the node is active, and it is {self._state}"
        return response

    async def _on_query(self, camera: int, request: Query.Request, response: Query.Response) -> Query.Response:
        try:
            pipeline = self._ready(active=True)
            source = pipeline.cameras[camera]
            phrases = [phrase.strip() for phrase in request.phrases]
            check_phrases(phrases)
            seen = source.last() or await self._done(source.fetch())
            if seen is None:
                raise NotNow(f"no image yet: {source.why_no_image()}")
            matches = await self._done(pipeline.submit(partial(source.query, seen, phrases)))
            fill_answer(response, seen.header, matches, with_scores=not request.without_scores)
        except Exception as error:
            response.success, response.message = False, self._refusal(error, "a query")
        return response

    @property
    def _label_set(self) -> lseg_msgs.LabelSet:
        return lseg_msgs.LabelSet() if self._pipeline is None else self._pipeline.label_set

    def _refusal(self, error: Exception, what: str) -> str:
        """The sentence for the caller; what is no fault of the caller's is logged too."""
        if not isinstance(error, (LabelError, NotNow, WorkerStopped)):
            self.get_logger().error(f"{what} failed: {type(error).__name__}: {error}")
        return " ".join(str(error).split())

    async def _done(self, running: "WorkerFuture[Result]") -> Result:
        """Waits without blocking the executor; returns or raises what the worker's job does."""
        executor = self.executor
        done: Future = Future(executor=executor)

        def finish(_: object) -> None:
            done.set_result(None)
            if executor is not None:
                executor.wake()

        running.add_done_callback(finish)
        await done
        return running.result()

    # Parameters

    def _store_labels(self) -> None:
        """Makes the parameters say what is in force, which changes nothing else."""
        if self._pipeline is None:
            return
        self._storing = True
        try:
            labels = Parameter("labels", Parameter.Type.STRING_ARRAY, self._pipeline.segmenter.labels.names)
            label_file = Parameter("label_file", Parameter.Type.STRING, self._pipeline.label_file)
            self.set_parameters([labels, label_file])
        finally:
            self._storing = False

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        """Refuses what cannot be; changes nothing, and never waits for the worker."""
        if self._storing:
            return SetParametersResult(successful=True)
        reasons = problems_of_change(self, parameters, configured=self._pipeline is not None)
        values = {parameter.name: parameter.value for parameter in parameters}
        if "labels" in values and values.get("label_file"):
            reasons.append("labels and label_file are set together; set one of them")
        if not reasons:
            try:
                self._plan(values)
            except LabelError as error:
                reasons.append(str(error))
        return SetParametersResult(successful=not reasons, reason="; ".join(reasons))

    def _plan(self, values: dict[str, Any]) -> None:
        """Raises LabelError if labels or a label file among these values cannot be put in force."""
        specs = read_label_file(values["label_file"]) if values.get("label_file") else None
        if self._pipeline is None:
            return
        if "labels" in values and self._is_new(self._pipeline, values["labels"]):
            specs = as_specs(values["labels"])
        if specs is not None:
            self._pipeline.segmenter.plan(specs)

    @staticmethod
    def _is_new(pipeline: Pipeline, names: list[str]) -> bool:
        """Whether a list of names asks for something else than what is in force, prompts and all."""
        labels = pipeline.segmenter.labels
        plain = all(x.prompts == (x.name,) and not x.threshold and not x.background for x in labels.labels)
        return not (plain and list(names) == labels.names)

    def _apply(self, parameters: list[Parameter]) -> None:
        """Puts changed parameters in force before the caller that set them gets its answer."""
        if self._storing:
            return
        self._params = read(self)
        values = {parameter.name: parameter.value for parameter in parameters}
        pipeline = self._pipeline
        if pipeline is None:
            self._memory.parameters_changed(values)
            return
        pipeline.set_params(self._params)
        change: Callable[[], object] | None = None
        if "labels" in values and self._is_new(pipeline, values["labels"]):
            change = partial(pipeline.change_labels, as_specs(values["labels"]))
        if values.get("label_file"):
            change = partial(pipeline.load_labels, values["label_file"])
        if "threshold" in values and values["threshold"] != pipeline.segmenter.threshold:
            change = partial(pipeline.change_threshold, values["threshold"], change)
        if change is not None:
            self._wait_for(pipeline.submit(change))
        if "labels" in values or "label_file" in values:
            self._store_labels()  # with blanks removed; or, had it failed, what is still in force

    def _wait_for(self, running: "WorkerFuture[Any]") -> None:
        try:
            running.result(_CHANGE_TIMEOUT)
        except Exception as error:
            self.get_logger().error(f"the change of parameters did not take effect: {type(error).__name__}: {error}")

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        name, model = self.get_name(), self._params.model
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        if self._pipeline is None:
            message.status = [failed_status(f"{name}: segmentation", model, self._state, self.failure)]
        else:
            message.status = self._pipeline.statuses(name, {"state": self._state, "enabled": self._enabled})
        # Status names have no namespace, so this tells the robots apart that share a domain.
        for status in message.status:
            status.values.insert(0, KeyValue(key="node", value=self.get_fully_qualified_name()))
        self._diagnostics_publisher.publish(message)
