"""The node: its states, parameters and diagnostics."""

import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError  # before Python 3.11 not the built-in one
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from lseg_ros.images.messages import color_backend
from lseg_ros.inference.labels import LabelError
from lseg_ros.inference.protocol import SegmenterLike
from lseg_ros.ros import qos
from lseg_ros.ros.diagnostics import failed_status, with_warning
from lseg_ros.ros.given_parameters import given_parameters, unread
from lseg_ros.ros.label_memory import LabelMemory
from lseg_ros.ros.label_parameters import LabelChange, change_of, specs_of, store_labels
from lseg_ros.ros.logs import forward_logs
from lseg_ros.ros.managed import ConfigureWatch
from lseg_ros.ros.neighbors import Neighbors
from lseg_ros.ros.parameter_table import NodeParams
from lseg_ros.ros.parameters import changed_parameters, declare, problems_of_change, read, with_decimals
from lseg_ros.ros.pipeline import Pipeline
from lseg_ros.ros.services import Services

_CHANGE_TIMEOUT = 60.0  # most seconds to wait until a parameter change is in force
_POLL_PERIOD = 0.1  # seconds; polling is needed because Humble has no event for a new subscriber
_DIAGNOSTICS_PERIOD = 1.0


class Kept(NamedTuple):
    """What stays of a node that another one continues.

    Attributes:
        parameters: The parameters that were changed since the start.
        memory: The labels, once the node is closed.
        state: The lifecycle state.
        enabled: Whether segmentation is switched on.
    """

    parameters: list[Parameter]
    memory: LabelMemory
    state: str
    enabled: bool


class LsegNode(LifecycleNode):
    """The ROS interface of a segmenter. docs/node.md lists topics, services, parameters and states.

    Attributes:
        failure: Why the last transition failed; empty if it did not.
    """

    def __init__(self, make_segmenter: Callable[[NodeParams], SegmenterLike], **node_arguments: Any) -> None:
        """Declares the parameters and creates the services.

        Args:
            make_segmenter: Builds the segmenter from the parameters, in `configure`. It may take seconds.
            node_arguments: Arguments of rclpy's Node, such as `context` or `parameter_overrides`.

        Raises:
            ValueError: The node cannot start with its parameters. The message is one sentence.
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
        self._warn_of_unread(overrides=False)
        self._state = "unconfigured"
        self._enabled = True
        self.failure = ""  # why the last transition failed
        self._memory = LabelMemory("labels" in given_parameters(self))
        Services(self, self, self._params.cameras)
        self._neighbors = Neighbors(self, ("set_labels", "get_labels"))
        self._configure_watch = ConfigureWatch(self)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", qos.OUTPUT)
        # By the wall clock, because subscribers also come and go while a simulation is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        self.create_timer(_POLL_PERIOD, self._poll, clock=steady)

    def start(self) -> bool:
        """Configures and activates the node if `autostart` is set. False if that failed; `failure` has the reason."""
        if not self._params.autostart:
            return True
        steps = (self.trigger_configure, self.trigger_activate)
        return all(step() == TransitionCallbackReturn.SUCCESS for step in steps)

    def keep(self) -> Kept:
        """Returns what a new node needs to continue. Close this one before `resume` of the new one."""
        return Kept(changed_parameters(self), self._memory, self._state, self._enabled)

    def resume(self, kept: Kept) -> bool:
        """Continues another node, instead of `start`. False if that failed; `failure` has the reason.

        Args:
            kept: From the other node. Its parameters were given to this one at the start.
        """
        self._memory, self._enabled = kept.memory, kept.enabled
        steps = {
            "inactive": (self.trigger_configure,),
            "active": (self.trigger_configure, self.trigger_activate),
            "shut down": (self.trigger_shutdown,),
        }
        return all(step() == TransitionCallbackReturn.SUCCESS for step in steps.get(kept.state, ()))

    def close(self) -> None:
        """Ends all work after the current frame, and destroys the node."""
        self._drop_pipeline()
        self.destroy_node()
        # Otherwise the lifecycle services stay visible, without answering, until Python collects garbage.
        self._state_machine.destroy_when_not_in_use()

    # States

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the model, creates the topics and puts labels in force. On FAILURE it logs why and undoes all of it."""
        self.failure = ""
        try:
            self._params = read(self)
            first = LabelChange(*self._memory.first_labels(self._params, self.get_logger()))
            # Runs while the model is loaded, because either may take seconds and the first image needs both.
            finding = threading.Thread(target=color_backend, name="color_backend", daemon=True)
            finding.start()
            segmenter = self._make_segmenter(self._params)
            finding.join()
            self._memory.recall(segmenter, self._params)
            self._pipeline = Pipeline(self, segmenter, self._params, first)
        except Exception as error:
            expected = isinstance(error, (ValueError, FileNotFoundError))
            self.failure = " ".join(str(error).split()) if expected else f"{type(error).__name__}: {error}"
            self.get_logger().fatal(f"cannot start: {self.failure}")
            return TransitionCallbackReturn.FAILURE
        self._state = "inactive"
        self.labels_changed()
        self._warn_of_unread(overrides=True)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts to take images."""
        self._state = "active"
        self._run()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops taking images, and waits for the current one. The model and the labels stay."""
        self._state = "inactive"
        self._run()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model's memory and removes the topics."""
        self._drop_pipeline()
        self._state = "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As `on_cleanup`, but the node cannot be configured again."""
        self._drop_pipeline()
        self._state = "shut down"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As `on_cleanup`."""
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
        pipeline.close()  # waits for a change under way, which is answered
        self._memory.remember(pipeline.segmenter.labels, self._params)

    def _poll(self) -> None:
        if self._pipeline is not None:
            self._pipeline.poll()

    # What the services need

    @property
    def state(self) -> str:
        """The lifecycle state: unconfigured, inactive, active or shut down."""
        return self._state

    @property
    def pipeline(self) -> Pipeline | None:
        """The running segmentation, from configure to cleanup; None otherwise."""
        return self._pipeline

    def enable(self, enabled: bool) -> None:
        """Switches segmentation on or off. Images are taken only while the node is active."""
        self._enabled = enabled
        self._run()

    def labels_changed(self) -> None:
        """Writes the labels in force into the parameters."""
        if self._pipeline is not None:
            store_labels(self, self._pipeline.segmenter.labels, self._pipeline.label_file)

    # Parameters

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Sets parameters and puts them in force, all or none, before the caller gets its answer.

        In all distributions, every change from outside comes through here. The node's own updates (`labels_changed`) do
        not, so the node never takes itself for a caller.

        Args:
            parameter_list: The changes.

        Returns:
            Whether they are in force, or the reason in one sentence.
        """
        changes = with_decimals(parameter_list)
        reasons = problems_of_change(self, changes, configured=self._pipeline is not None)
        values = {parameter.name: parameter.value for parameter in changes}
        try:
            change = self._label_change(values) if not reasons else None
        except LabelError as error:
            reasons.append(str(error))
        if reasons:
            return SetParametersResult(successful=False, reason="; ".join(reasons))
        if change is not None and self._pipeline is not None:
            try:
                self._pipeline.change(change).result(_CHANGE_TIMEOUT)
            except FutureTimeoutError:
                reason = f"the change takes longer than {_CHANGE_TIMEOUT:g} s, and may still come into force"
                return SetParametersResult(successful=False, reason=reason)
            except Exception as error:
                if not isinstance(error, LabelError):
                    self.get_logger().error(f"a change of parameters failed: {type(error).__name__}: {error}")
                return SetParametersResult(successful=False, reason=" ".join(str(error).split()))
        result = super().set_parameters_atomically(changes)
        if result.successful:
            self._params = read(self)
            if self._pipeline is None:
                self._memory.parameters_changed(values)
            else:
                self._pipeline.set_params(self._params)
        self.labels_changed()  # writes the names as they are in force, without blanks around them
        return result

    def _label_change(self, values: dict[str, Any]) -> LabelChange | None:
        """Returns the change of labels that new values request, or None; raises LabelError for unusable ones."""
        if self._pipeline is None:
            specs_of(values)  # only checks them; `configure` puts them in force
            return None
        segmenter = self._pipeline.segmenter
        change = change_of(values, segmenter.labels, segmenter.threshold)
        if change is not None and change.specs is not None:
            segmenter.plan(change.specs)  # refuses unusable labels at once, without waiting for the current frame
        return change

    def _warn_of_unread(self, *, overrides: bool) -> None:
        for sentence in unread(self, overrides=overrides):
            self.get_logger().warning(sentence)

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        name, model = self.get_name(), self._params.model
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        if self._pipeline is None:
            message.status = [failed_status(f"{name}: segmentation", model, self._state, self.failure)]
        else:
            message.status = self._pipeline.statuses(name, {"state": self._state, "enabled": self._enabled})
        # Status names have no namespace. This value distinguishes robots that share a domain.
        for status in message.status:
            status.values.insert(0, KeyValue(key="node", value=self.get_fully_qualified_name()))
        others_turn = self._state == "unconfigured" and not self._params.autostart and not self.failure
        for warning in (self._neighbors.check(), self._configure_watch.look(waiting=others_turn)):
            if warning:
                message.status = [with_warning(status, warning) for status in message.status]
        self._diagnostics_publisher.publish(message)
