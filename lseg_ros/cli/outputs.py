"""What `lseg segment` writes. A file takes its name only when it is whole."""

import errno
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from lseg_ros.files import replacing
from lseg_ros.images.photos import RGB
from lseg_ros.images.sources import PHOTOS, VIDEOS, is_video
from lseg_ros.images.videos import frame_count, plain_name

if TYPE_CHECKING:
    from lseg_ros.inference.postprocess import Segmentation


@dataclass(frozen=True)
class Target:
    """Where the results for one input go. masks: a PNG for a photo, a folder of PNGs for a video."""

    source: Path
    overlay: Path
    masks: Path
    scores: Path


def targets(files: Sequence[Path], output: Path) -> list[Target]:
    """Where everything goes.

    Args:
        files: photos and videos.
        output: a .png for one photo, an .mp4 for one video, or a folder.

    Raises:
        ValueError: the output does not fit the inputs, or an input would be overwritten.
    """
    if output.suffix.lower() in PHOTOS | VIDEOS and not output.is_dir():
        found = [_single(files, output)]
    else:
        found = [_in_folder(file, name, output) for file, name in zip(files, _names(files), strict=True)]
    inputs = {file.resolve() for file in files}
    for target in found:
        for path in (target.overlay, target.masks, target.scores):
            if path.resolve() in inputs:
                raise ValueError(f"{path} is an input and would be overwritten; choose another output")
    return found


def _single(files: Sequence[Path], output: Path) -> Target:
    if len(files) > 1:
        raise ValueError(f"{output} is one file and there are {len(files)} inputs; give a folder")
    suffix = ".mp4" if is_video(files[0]) else ".png"
    if output.suffix.lower() != suffix:
        raise ValueError(f"{output} must end in {suffix}, which is what is written for {files[0].name}; or be a folder")
    masks = output.with_name(output.stem + ("_masks" if is_video(files[0]) else "_mask.png"))
    return Target(files[0], output, masks, output.with_name(output.stem + "_scores.npz"))


def _in_folder(file: Path, name: str, folder: Path) -> Target:
    overlay, masks = ("_overlay.mp4", "_masks") if is_video(file) else ("_overlay.png", "_mask.png")
    return Target(file, folder / (name + overlay), folder / (name + masks), folder / (name + "_scores.npz"))


def _names(files: Sequence[Path]) -> list[str]:
    """Names without suffix where that is enough to tell them apart, else with it; raises ValueError otherwise."""
    stems = [file.stem for file in files]
    names = [stem if stems.count(stem) == 1 else file.name for file, stem in zip(files, stems, strict=True)]
    seen: dict[str, Path] = {}
    for file, name in zip(files, names, strict=True):
        if name in seen:
            raise ValueError(f"{seen[name]} and {file} would be written to the same files; segment them separately")
        seen[name] = file
    return names


def write_png(path: Path, image: NDArray[np.integer]) -> None:
    """Writes HxW ids (uint8 or uint16) or HxWx3 RGB; raises OSError where that fails."""
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    _, encoded = cv2.imencode(".png", stored)
    with replacing(path) as part:
        part.write_bytes(encoded.tobytes())


def write_scores(path: Path, result: "Segmentation") -> None:
    """Writes an npz with an array for each label under its name: HxW float16 in [0, 1]."""
    # Not numpy.savez: labels would be its keyword arguments, and some of those have a meaning of their own.
    with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name in result.labels.names:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, result.scores(name).astype(np.float16), allow_pickle=False)


def write_times(path: Path, times: Sequence[float]) -> None:
    """Writes, as CSV, the seconds at which each frame of a video is shown, beside the name of its mask."""
    lines = [f"{number:06d}.png,{time:.6g}" for number, time in enumerate(times)]
    path.write_text("\n".join(["mask,seconds", *lines, ""]), encoding="utf-8")


class VideoWriter:
    """An mp4 that takes its size from its first frame."""

    def __init__(self, path: Path, rate: float) -> None:
        """path: ends in .mp4. rate: frames per second."""
        self._path, self._rate = path, rate
        self._video: cv2.VideoWriter | None = None
        self._frames = 0

    def write(self, rgb: RGB, times: int = 1) -> None:
        """Adds a frame, HxWx3, so many times; raises OSError where the file cannot be written."""
        if self._video is None:
            height, width = rgb.shape[:2]
            codec = cv2.VideoWriter.fourcc(*"mp4v")  # the one that every build of OpenCV can write
            for rate in (self._rate, max(1, round(self._rate))):  # an mp4 cannot have every rate
                with plain_name(self._path) as name:
                    self._video = cv2.VideoWriter(name, codec, rate, (width, height))
                if self._video.isOpened():
                    break
            else:
                raise OSError(errno.EIO, "OpenCV cannot write an mp4 video there", str(self._path))
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        for _ in range(times):
            self._video.write(bgr)
        self._frames += times

    def close(self) -> None:
        """Ends the file; raises OSError where frames are missing in it, of which OpenCV says nothing."""
        if self._video is None:
            return
        self._video.release()
        found = frame_count(self._path)
        if found != self._frames:
            reason = f"only {found} of {self._frames} frames could be written; is the disk full?"
            raise OSError(errno.EIO, reason, str(self._path))
