"""The executable `image_player`, which publishes photos, folders of photos and videos like a camera."""

import math
import sys
from collections.abc import Iterator
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.exceptions import NotInitializedException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, Image

from lseg_ros.images.photos import RGB, SourceError
from lseg_ros.images.playback import Playback, frames
from lseg_ros.images.sources import expand
from lseg_ros.ros.given_parameters import Entry, ParameterError, declare_given, unread
from lseg_ros.ros.image_msgs import image_msg
from lseg_ros.ros.logs import loggable
from lseg_ros.ros.parameter_files import files_for_others
from lseg_ros.ros.startup import StartError, initialise
from lseg_ros.ros.usage import parse_no_arguments

# Reliable, because that also serves best-effort subscribers. Depth 1, because nobody needs an old frame.
_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)

_CAMERA = (
    Entry("rate", Playback.rate, "Frames per second, of videos too.", limits=(0.01, 1000.0), changes="never"),
    Entry(
        "hold",
        Playback.hold,
        "Seconds for which each photo is shown, at least one frame.",
        limits=(0.0, 86400.0),
        changes="never",
    ),
    Entry(
        "width",
        Playback.width,
        "Width of the frames in pixels; 0: the picture's own, or as its aspect ratio and `height` give it.",
        limits=(0, 16384),
        changes="never",
    ),
    Entry(
        "height",
        Playback.height,
        "Height of the frames in pixels; 0: the picture's own, or as its aspect ratio and `width` give it.",
        limits=(0, 16384),
        changes="never",
    ),
    Entry(
        "loop",
        Playback.loop,
        "Start again after the last picture; false: play once and exit.",
        changes="never",
    ),
)
TABLE = (
    Entry(
        "sources",
        [],
        "What to play: photos, folders of photos (in the order of their names) and videos.",
        changes="never",
    ),
    *_CAMERA,
    Entry("frame_id", "camera", "The frame_id of all messages.", changes="never"),
    Entry(
        "fov_deg",
        60.0,
        "Horizontal field of view in degrees, for camera_info.",
        limits=(1.0, 179.0),
        changes="never",
    ),
)


class ImagePlayer(Node):
    """Publishes `image` (rgb8) and `camera_info` at a steady rate. Headers carry the time of publishing.

    Attributes:
        finished: Done when everything was played once (`loop` off). It holds the SourceError if one ended the player.
    """

    def __init__(self, **node_options: Any) -> None:
        """Starts to play.

        Args:
            node_options: Arguments of rclpy's Node, such as `context` or `parameter_overrides`.

        Raises:
            SourceError: Nothing can be played.
            ParameterError: A parameter has the wrong type or is out of range.
        """
        super().__init__("image_player", **node_options)
        self.finished: Future = Future()
        values = {entry.name: declare_given(self, entry) for entry in TABLE}
        self._frame_id: str = values["frame_id"]
        self._fov: float = math.radians(values["fov_deg"])
        camera = Playback(**{entry.name: values[entry.name] for entry in _CAMERA})
        for sentence in unread(self, overrides=False):
            self._warn(sentence)

        self._images = self.create_publisher(Image, "image", _QOS)
        self._infos = self.create_publisher(CameraInfo, "camera_info", _QOS)
        files = expand(values["sources"], self._warn)
        self._frames: Iterator[RGB] = frames(files, camera, self._warn)
        # One frame is read ahead. So unreadable files are reported at once, and publishing does not wait for a decoder.
        self._next: RGB | None = next(self._frames)
        self._shown: RGB | None = None
        self._image = Image()
        self._timer = self.create_timer(1.0 / camera.rate, self._publish)
        self.get_logger().info(f"playing {len(files)} files at {camera.rate:g} Hz on {self._images.topic_name}")

    def _warn(self, text: str) -> None:
        self.get_logger().warning(loggable(text))

    def _publish(self) -> None:
        if self._next is None:
            self._timer.cancel()
            for publisher in (self._images, self._infos):
                publisher.wait_for_all_acked(Duration(seconds=1))
            self.finished.set_result(None)
            return
        info = self._camera_info(*self._next.shape[:2])
        if self._next is self._shown:
            self._image.header = info.header
        else:
            self._shown = self._next
            image_msg(self._next, "rgb8", info.header, into=self._image)
        self._images.publish(self._image)
        self._infos.publish(info)
        try:
            self._next = next(self._frames, None)
        except SourceError as error:
            self._timer.cancel()
            self.finished.set_exception(error)

    def _camera_info(self, height: int, width: int) -> CameraInfo:
        """Returns an ideal pinhole camera that looks through the middle of the picture, stamped now."""
        focal = width / 2 / math.tan(self._fov / 2)
        u, v = (width - 1) / 2, (height - 1) / 2
        info = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
        info.header.stamp = self.get_clock().now().to_msg()
        info.header.frame_id = self._frame_id
        info.k = [focal, 0.0, u, 0.0, focal, v, 0.0, 0.0, 1.0]
        info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.p = [focal, 0.0, u, 0.0, 0.0, focal, v, 0.0, 0.0, 0.0, 1.0, 0.0]
        return info


def main(args: list[str] | None = None) -> int:
    """Runs until interrupted, or until everything was played once. Returns the exit status."""
    parse_no_arguments(
        "image_player",
        "Publishes photos, folders of photos and videos as a camera would: `image` and `camera_info`.",
        'sources:="[photos/, clip.mp4]"',
        TABLE,
        args,
    )
    try:
        initialise(args)
        player = ImagePlayer()
        for sentence in files_for_others(sys.argv if args is None else args, player.get_fully_qualified_name()):
            player.get_logger().warning(sentence)
        rclpy.spin_until_future_complete(player, player.finished)
        if player.finished.done():
            player.finished.result()
    except (SourceError, StartError, ParameterError) as error:
        rclpy.logging.get_logger("image_player").fatal(loggable(str(error)))
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (RuntimeError, NotInitializedException):
        # A signal shuts the context down while a call of rclpy may be using it. That call then fails with one of these
        # errors; rclpy's compiled half raises a RuntimeError.
        if rclpy.ok():
            raise
    finally:
        if rclpy.ok():
            rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
