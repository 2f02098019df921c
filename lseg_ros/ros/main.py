"""The executable `lseg_node`."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.signals import (
    SignalHandlerOptions,
    get_current_signal_handlers_options,
    install_signal_handlers,
    uninstall_signal_handlers,
)
from rclpy.task import Future

from lseg_ros.inference.protocol import SegmenterLike
from lseg_ros.ros.logs import loggable
from lseg_ros.ros.node import LsegNode
from lseg_ros.ros.parameter_files import files_for_others
from lseg_ros.ros.parameter_table import DEFAULT_MODEL, TABLE, NodeParams
from lseg_ros.ros.parameters import read
from lseg_ros.ros.remaps import remaps_without_effect
from lseg_ros.ros.standstill import StandstillWatch
from lseg_ros.ros.startup import initialise
from lseg_ros.ros.usage import parse_no_arguments


def build_segmenter(params: NodeParams) -> SegmenterLike:
    """Builds the segmenter from the node's parameters.

    Raises:
        ValueError: A parameter cannot be used.
        FileNotFoundError: A file does not exist.
    """
    with _interruptible():
        # Imported here, because torch takes seconds, and a wrong parameter should be reported at once.
        from lseg_ros.inference.labels import IdRules
        from lseg_ros.inference.segmenter import Segmenter
        from lseg_ros.model.weights import load_model

        if params.checkpoint:
            # The default model says nothing about a user's file. A file of this package names its variant itself.
            net = load_model(params.checkpoint, variant=None if params.model == DEFAULT_MODEL else params.model)
        else:
            net = load_model(params.model)
        return Segmenter(
            net,
            params.device,
            params.precision,
            params.input_size or None,
            window=params.window or None,
            backend=params.backend,
            exported=params.exported or None,
            threshold=params.threshold,
            contrast=params.contrast,
            rules=IdRules(params.max_id, params.unknown_id, params.id_quarantine),
        )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets a signal interrupt the block. rclpy's handlers would wait until the executor is done."""
    options = get_current_signal_handlers_options()
    uninstall_signal_handlers()  # leaves those of `main`
    try:
        yield
    finally:
        if options != SignalHandlerOptions.NO:
            install_signal_handlers(options)


def _build_only(node: LsegNode) -> int:
    """Writes the backend's files to disk by segmenting one empty image. Returns the exit status."""
    params = read(node)
    try:
        segmenter = build_segmenter(params)
        segmenter.embed(np.zeros((*(params.build_size or (480, 640)), 3), np.uint8))
    except (ValueError, FileNotFoundError) as error:
        node.get_logger().fatal(f"cannot build: {error}")
        return 1
    node.get_logger().info(f"built; the backend is {segmenter.usage()['backend']}")
    return 0


def _spin(node: LsegNode) -> float | None:
    """Runs the node. Returns for how many seconds the process stood still, or None after a signal.

    Fast DDS does not survive a standstill: even subscriptions made afterwards get nothing from some of the others,
    and some of the others do not see the node's topics any more. A new participant is seen by all.
    """
    stood_still: Future = Future()
    with StandstillWatch(stood_still.set_result):
        rclpy.spin_until_future_complete(node, stood_still)
    return stood_still.result() if stood_still.done() else None


def main(args: list[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM. Returns the exit status."""
    parse_no_arguments(
        "lseg_node",
        "Segments camera images by words. docs/node.md has its topics and services; `lseg labels`, `lseg query` and\n"
        "`lseg status` talk to it while it runs, and `lseg watch` shows what it makes.",
        'labels:="[path, grass, door]"',
        TABLE,
        args,
    )
    ending: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        if not ending:  # a second Ctrl-C would interrupt the clean-up after the first one
            ending.append(number)
            raise KeyboardInterrupt

    # rclpy's handlers only end spinning. Before that, these handlers interrupt the loading of torch and weights.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    node = None
    try:
        initialise(args, signal_handler_options=SignalHandlerOptions.NO)
        node = LsegNode(build_segmenter)
        for sentence in files_for_others(sys.argv if args is None else args, node.get_fully_qualified_name()):
            node.get_logger().warning(sentence)
        if node.get_parameter("build_only").value:
            return _build_only(node)
        if not node.start():
            return 1
        if node.pipeline is not None:
            for sentence in remaps_without_effect(sys.argv if args is None else args, node, node.pipeline.input_topics):
                node.get_logger().warning(sentence)
        install_signal_handlers()
        while (seconds := _spin(node)) is not None:
            node.get_logger().warning(
                f"the process stood still for {seconds:.0f} s, and others may have given it up: joining the network "
                "again as a new participant; labels and parameters stay"
            )
            uninstall_signal_handlers()
            kept = node.keep()
            node.close()
            rclpy.shutdown()
            initialise(args, signal_handler_options=SignalHandlerOptions.NO)
            node = LsegNode(build_segmenter, parameter_overrides=kept.parameters)
            if not node.resume(kept):
                return 1
            install_signal_handlers()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, FileNotFoundError) as error:
        if node is not None:
            raise
        get_logger("lseg").fatal(loggable(f"cannot start: {error}"))
        return 1
    finally:
        ending.append(0)
        uninstall_signal_handlers()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0
