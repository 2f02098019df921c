"""The node's services: labels, queries, probes, teaching, and on and off."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future as WorkerFuture
from functools import partial
from typing import Protocol, TypeVar

from builtin_interfaces.msg import Time
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import SetBool

from lseg_ros import msg as lseg_msgs
from lseg_ros.inference.labels import LabelError, check_phrases, split_phrase
from lseg_ros.ros import qos
from lseg_ros.ros.camera import Camera, Seen
from lseg_ros.ros.label_msgs import specs_from_request
from lseg_ros.ros.label_parameters import LabelChange
from lseg_ros.ros.pipeline import Pipeline
from lseg_ros.ros.query_msgs import fill_answer
from lseg_ros.ros.teach_msgs import teach_request
from lseg_ros.ros.worker import WorkerStopped
from lseg_ros.srv import EncodeText, GetLabels, Probe, Query, SetLabels, Teach

Result = TypeVar("Result")


class NotNow(RuntimeError):
    """A request needs another state of the node, or an image. The message is one sentence."""


class Segmentation(Protocol):
    """The part of the node that the services use."""

    @property
    def state(self) -> str:
        """The lifecycle state: unconfigured, inactive, active or shut down."""

    @property
    def pipeline(self) -> Pipeline | None:
        """The running segmentation, from configure to cleanup; None otherwise."""

    def enable(self, enabled: bool) -> None:
        """Switches segmentation on or off. Images are taken only while the node is active."""

    def labels_changed(self) -> None:
        """Writes the labels in force into the parameters."""


class Services:
    """Answers requests. Every callback runs on the executor's thread and waits without blocking it."""

    def __init__(self, node: Node, segmentation: Segmentation, cameras: Sequence[str]) -> None:
        """Creates the services.

        Args:
            node: The node that has the services.
            segmentation: The node's segmentation.
            cameras: Names of the cameras; empty for a single one.
        """
        self._node, self._segmentation = node, segmentation
        self._told_how_to_keep_labels = False

        def create(kind: type, name: str, callback: Callable, *, waits: bool = False) -> None:
            # A callback that waits for a change or an image has its own group, so that images and parameters go on.
            group = MutuallyExclusiveCallbackGroup() if waits else None
            node.create_service(kind, name, callback, qos_profile=qos.SERVICE, callback_group=group)

        create(SetLabels, "set_labels", self._on_set_labels, waits=True)
        create(GetLabels, "get_labels", self._on_get_labels)
        create(EncodeText, "~/encode_text", self._on_encode_text, waits=True)
        create(SetBool, "~/enable", self._on_enable)
        for i, name in enumerate(cameras or [""]):
            prefix = f"~/{name}/" if name else "~/"
            create(Query, f"{prefix}query", partial(self._on_query, i), waits=True)
            create(Probe, f"{prefix}probe", partial(self._on_probe, i), waits=True)
            create(Teach, f"{prefix}teach", partial(self._on_teach, i), waits=True)

    async def _on_set_labels(self, request: SetLabels.Request, response: SetLabels.Response) -> SetLabels.Response:
        question = _question(request.labels, "labels")
        try:
            pipeline = self._ready()
            specs = specs_from_request(request)
            # The answer has the set of this request. By now another one may be in force.
            change = pipeline.change(LabelChange(specs, request.label_file, force=request.force))
            response.label_set = await self._done(change)
            response.success, response.message = True, f"{len(specs)} labels in force{question}"
            if not request.label_file:
                self._say_how_to_keep_labels()
        except Exception as error:
            response.success, response.message = False, self._refusal(error, "a change of labels") + question
            response.label_set = self._label_set
        self._segmentation.labels_changed()
        return response

    def _say_how_to_keep_labels(self) -> None:
        """Logs once that labels set by service are lost when the node ends."""
        if not self._told_how_to_keep_labels:
            self._told_how_to_keep_labels = True
            self._node.get_logger().info(
                "labels that are set by service end with the node; to keep them, start it with a label_file"
            )

    def _on_get_labels(self, request: GetLabels.Request, response: GetLabels.Response) -> GetLabels.Response:
        response.label_set = self._label_set
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if self._segmentation.state == "shut down":
            response.success, response.message = False, "the node is shut down; start it again"
            return response
        self._segmentation.enable(request.data)
        response.success, response.message = True, "enabled" if request.data else "disabled"
        if self._segmentation.state != "active":
            state = self._segmentation.state
            response.message += f"; that takes effect once the node is active, and it is {state}"
        return response

    async def _on_query(self, camera: int, request: Query.Request, response: Query.Response) -> Query.Response:
        question = _question(request.phrases, "phrases")
        try:
            pipeline = self._ready(active=True)
            source = pipeline.cameras[camera]
            phrases = [phrase.strip() for phrase in request.phrases]
            check_phrases(phrases)
            seen = await self._last_image(source)
            matches = await self._done(pipeline.submit(partial(source.query, seen, phrases)))
            fill_answer(response, seen.header, matches, with_scores=not request.without_scores)
            response.message += question
        except Exception as error:
            response.success, response.message = False, self._refusal(error, "a query") + question
        return response

    async def _on_probe(self, camera: int, request: Probe.Request, response: Probe.Response) -> Probe.Response:
        try:
            pipeline = self._ready(active=True)
            source = pipeline.cameras[camera]
            seen = await self._last_image(source)
            # In one job, so that the version belongs to the labels that competed.
            found, version = await self._done(
                pipeline.submit(lambda: (source.probe(seen, request.u, request.v), pipeline.label_set.version))
            )
            response.success, response.message = True, f"{len(found.names)} labels compete"
            response.header, response.label_version = seen.header, version
            response.names, response.shares, response.cosines = map(list, found)
        except Exception as error:
            response.success, response.message = False, self._refusal(error, "a probe")
        return response

    async def _on_teach(self, camera: int, request: Teach.Request, response: Teach.Response) -> Teach.Response:
        try:
            pipeline = self._ready(active=True)
            source = pipeline.cameras[camera]
            wanted = teach_request(request)
            seen = None
            if wanted.marks or not wanted.forget:
                seen = await self._image_of(source, request.stamp)
                source.hold(seen)
                response.header = seen.header
            if wanted.marks or wanted.forget:
                response.before, after = await self._done(pipeline.teach(source, seen, wanted))
                what = "is taught" if wanted.marks else "has forgotten what it was taught"
                response.label_version, response.message = after.version, f"{wanted.label} {what}"
            else:
                response.label_version, response.message = pipeline.label_set.version, "the image is kept for marks"
            response.success = True
        except Exception as error:
            response.success, response.message = False, self._refusal(error, "teaching")
        self._segmentation.labels_changed()
        return response

    async def _image_of(self, camera: Camera, stamp: Time) -> Seen:
        """Returns the image of a stamp, or the last one for stamp 0; raises NotNow if there is none."""
        if stamp == Time():
            return await self._last_image(camera)
        seen = camera.at(stamp)
        if seen is None:
            raise NotNow(
                f"the image of {stamp.sec}.{stamp.nanosec:09d} s is not kept any more; give stamp 0 for the last one"
            )
        return seen

    async def _last_image(self, camera: Camera) -> Seen:
        """Returns the last image, or fetches one; raises NotNow if none comes."""
        seen = camera.last() or await self._done(camera.fetch())
        if seen is None:
            raise NotNow(f"no image yet: {camera.why_no_image()}")
        return seen

    async def _on_encode_text(self, request: EncodeText.Request, response: EncodeText.Response) -> EncodeText.Response:
        question = _question(request.phrases, "phrases")
        try:
            pipeline = self._ready()
            phrases = [phrase.strip() for phrase in request.phrases]
            check_phrases(phrases)
            vectors = await self._done(pipeline.submit(partial(pipeline.segmenter.encode_text, phrases)))
            pipeline.features.fill_answer(response, vectors)
            response.message = f"{len(vectors)} phrases encoded{question}"
        except Exception as error:
            response.success, response.message = False, self._refusal(error, "an encoding of text") + question
        return response

    def _ready(self, *, active: bool = False) -> Pipeline:
        """Returns the pipeline, or raises NotNow, which says which transition is needed."""
        state, pipeline = self._segmentation.state, self._segmentation.pipeline
        if state == "shut down":
            raise NotNow("the node is shut down; start it again")
        if pipeline is None:
            raise NotNow("the node is unconfigured; configure it first")
        if active and state != "active":
            raise NotNow("the node is inactive; activate it first")
        return pipeline

    @property
    def _label_set(self) -> lseg_msgs.LabelSet:
        pipeline = self._segmentation.pipeline
        return lseg_msgs.LabelSet() if pipeline is None else pipeline.label_set

    def _refusal(self, error: Exception, what: str) -> str:
        """Returns the message for the caller, and logs errors that the caller has not caused."""
        if not isinstance(error, (LabelError, NotNow, WorkerStopped)):
            self._node.get_logger().error(f"{what} failed: {type(error).__name__}: {error}")
        return " ".join(str(error).split())

    async def _done(self, running: "WorkerFuture[Result]") -> Result:
        """Waits without blocking the executor. Returns the result of the worker's job, or raises its error."""
        executor = self._node.executor
        done: Future = Future(executor=executor)

        def finish(_: object) -> None:
            done.set_result(None)
            if executor is not None:
                executor.wake()

        running.add_done_callback(finish)
        await done
        return running.result()


def _question(texts: Sequence[str], field: str) -> str:
    """Returns the end of an answer if a phrase seems to have been split into its letters, else an empty text."""
    phrase = split_phrase(list(texts))
    return f"; each of them is one letter: did you mean {{{field}: [{phrase}]}}, with brackets?" if phrase else ""
