"""The command `lseg watch`, which shows an output of a running node in a window, or writes its images to files."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.node_options import EXIT_STATUS, add_node_options, warn, with_node
from lseg_ros.cli.options import user_path
from lseg_ros.files import from_home

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lseg_ros.cli.window import Window
    from lseg_ros.ros.client import Newest, RemoteNode, StatusWatch

_LOOK_EVERY = 0.05  # seconds between two updates of the window, which has to react to its user
_SILENT_FOR = 5.0  # seconds without an image until the reason is printed
_DESCRIPTION = f"""\
Shows an output of a running node in a window, or writes its images to files; until Ctrl-C:

  lseg watch                         the overlay in a window
  lseg watch overlay -o pictures/    each image as a file, pictures/overlay_000001_STAMP.png and so on
  lseg watch score/door -o pictures/ --count 1

Outputs: overlay, color, mask, confidence, and score/LABEL for a label's scores (`lseg labels` has the labels; topic
names have _ for all that is no letter or digit). A file has the message's content: colors, or ids of 8 or 16 bits;
shares of 0 to 1 become 0 to 255. While an image is being written, only the newest of those that arrive is kept.

{EXIT_STATUS}"""


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "watch",
        help="show an output of a running node, or write its images to files",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", nargs="?", default="overlay", help="what to show (default: overlay)")
    parser.add_argument("-o", "--out", type=user_path, metavar="DIR", help="write files there, and show no window")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many images")
    parser.add_argument("--every", type=float, default=0.0, metavar="SECONDS", help="at most one image in this time")
    add_node_options(parser, camera=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Shows images, or writes them. Returns the exit status."""
    if options.count is not None and options.count < 1:
        raise ValueError(f"--count is {options.count}; it must be at least 1")
    show: Callable[[Any], bool]
    if options.out is None:
        from lseg_ros.cli.window import Window

        show = Screen(Window(f"lseg watch {options.output}")).show
    else:
        folder = from_home(options.out)
        folder.mkdir(parents=True, exist_ok=True)
        show = Files(folder, options.output).write

    def work(node: "RemoteNode") -> int:
        from lseg_ros.ros.client import StatusWatch

        with node.images(options.output, camera=options.camera) as images:
            _follow(images, StatusWatch(node.session, node.name), show, options.count, options.every)
        return 0

    try:
        return with_node(options, work)
    except KeyboardInterrupt:
        return 0


def _follow(
    images: "Newest[Any]", status: "StatusWatch", show: Callable[[Any], bool], count: int | None, every: float
) -> None:
    """Passes images on until there were `count`, or `show` returns False.

    Args:
        images: The subscription.
        status: The node's status, which says why no image arrives.
        show: Called with each image, or with None several times a second while none arrives.
        count: Number of images; None for no end.
        every: Least seconds between two images.
    """
    shown, next_time, heard = 0, 0.0, time.monotonic()
    while count is None or shown < count:
        message = images.take(_LOOK_EVERY) if time.monotonic() >= next_time else None
        now = time.monotonic()
        if message is not None:
            heard, next_time, shown = now, now + every, shown + 1
        elif now < next_time:
            time.sleep(min(_LOOK_EVERY, next_time - now))
        elif now - heard > _SILENT_FOR:
            heard = now
            why = "; ".join(entry.message for entry in status.statuses()) or "the node sends no diagnostics either"
            warn(f"no image on {images.topic} for {_SILENT_FOR:g} s: {why}")
        if not show(message):
            return


class Files:
    """Writes images into a folder."""

    def __init__(self, folder: Path, output: str) -> None:
        self._folder, self._name, self._count = folder, output.replace("/", "_"), 0

    def write(self, message: Any) -> bool:
        """Writes an image if there is one, and returns True, because more may come."""
        if message is None:
            return True
        from lseg_ros.cli.outputs import write_png
        from lseg_ros.ros.client import to_array

        self._count += 1
        stamp = f"{message.header.stamp.sec}.{message.header.stamp.nanosec:09d}"
        path = self._folder / f"{self._name}_{self._count:06d}_{stamp}.png"
        write_png(path, _storable(to_array(message)))
        print(path, flush=True)
        return True


class Screen:
    """Shows images in a window."""

    def __init__(self, window: "Window") -> None:
        self._window = window

    def show(self, message: Any) -> bool:
        """Shows an image if there is one, and updates the window. Returns whether the window is still open."""
        if message is not None:
            from lseg_ros.ros.client import to_array

            self._window.show(_visible(to_array(message)))
        return self._window.update()


def _storable(pixels: "NDArray[Any]") -> "NDArray[np.uint8 | np.uint16]":
    """Converts pixels for a PNG: shares to 8 bits, wide ids to 16."""
    import numpy as np

    if pixels.dtype == np.float32:
        return np.clip(255 * pixels + 0.5, 0, 255).astype(np.uint8)
    return pixels if pixels.dtype == np.uint8 else np.clip(pixels, 0, 65535).astype(np.uint16)


def _visible(pixels: "NDArray[Any]") -> "NDArray[np.uint8]":
    """Converts pixels to [H,W,3]. Colors stay as they are; shares and ids become grey."""
    import numpy as np

    if pixels.ndim == 3:
        return pixels
    return np.repeat(_storable(pixels).astype(np.uint8)[..., None], 3, axis=2)
