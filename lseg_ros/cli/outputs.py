"""Writes the files of `lseg segment`. A file appears only when it is complete."""

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
    """The output files of one input.

    Attributes:
        source: The photo or video.
        overlay: The overlay, a PNG or a video.
        masks: A PNG for a photo, a folder of PNGs for a video.
        scores: The npz with scores, for a photo.
    """

    source: Path
    overlay: Path
    masks: Path
    scores: Path


def targets(files: Sequence[Path], output: Path) -> list[Target]:
    """Plans the output files.

    Args:
        files: Photos and videos.
        output: A .png for one photo, an .mp4 for one video, or a folder.

    Raises:
        ValueError: The output does not fit the inputs, or an input would be overwritten.
    """
    if output.suffix.lower() in PHOTOS | VIDEOS and not output.is_dir():
        planned = [_single(files, output)]
    else:
        planned = [_in_folder(file, name, output) for file, name in zip(files, _names(files), strict=True)]
    inputs = {file.resolve() for file in files}
    for target in planned:
        for path in (target.overlay, target.masks, target.scores):
            if path.resolve() in inputs:
                raise ValueError(f"{path} is an input and would be overwritten; choose another output")
    return planned


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
    """Returns names without suffix, or with it if they would be equal; raises ValueError if they still are."""
    stems = [file.stem for file in files]
    names = [stem if stems.count(stem) == 1 else file.name for file, stem in zip(files, stems, strict=True)]
    seen: dict[str, Path] = {}
    for file, name in zip(files, names, strict=True):
        if name in seen:
            raise ValueError(f"{seen[name]} and {file} would be written to the same files; segment them separately")
        seen[name] = file
    return names


def write_png(path: Path, image: NDArray[np.integer]) -> None:
    """Writes [H,W] ids (uint8 or uint16) or [H,W,3] RGB; raises OSError if that fails."""
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    _, encoded = cv2.imencode(".png", stored)
    with replacing(path) as part:
        part.write_bytes(encoded.tobytes())


def write_scores(path: Path, result: "Segmentation") -> None:
    """Writes an npz with an array for each label under its name: [H,W] float16 in [0, 1]."""
    # Not by numpy.savez, where labels would be keyword arguments, some of which have a meaning.
    with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name in result.labels.names:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, result.scores(name).astype(np.float16), allow_pickle=False)


def write_times(path: Path, times: Sequence[float]) -> None:
    """Writes a CSV with the name of each frame's mask and the seconds at which the frame is shown."""
    lines = [f"{number:06d}.png,{time:.6g}" for number, time in enumerate(times)]
    path.write_text("\n".join(["mask,seconds", *lines, ""]), encoding="utf-8")


class VideoWriter:
    """Writes an mp4. The first frame sets its size."""

    def __init__(self, path: Path, rate: float) -> None:
        """Prepares the file.

        Args:
            path: The file. It ends in .mp4.
            rate: Frames per second.
        """
        self._path, self._rate = path, rate
        self._video: cv2.VideoWriter | None = None
        self._frames = 0

    def write(self, rgb: RGB, times: int = 1) -> None:
        """Adds a frame.

        Args:
            rgb: [H,W,3] uint8 RGB.
            times: How often it is written.

        Raises:
            OSError: The file cannot be written.
        """
        if self._video is None:
            height, width = rgb.shape[:2]
            codec = cv2.VideoWriter.fourcc(*"mp4v")  # every build of OpenCV can write it
            for rate in (self._rate, max(1, round(self._rate))):  # an mp4 cannot have all rates
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
        """Finishes the file and counts its frames, because OpenCV reports no error if some could not be written.

        Raises:
            OSError: Frames are missing.
        """
        if self._video is None:
            return
        self._video.release()
        count = frame_count(self._path)
        if count != self._frames:
            reason = f"only {count} of {self._frames} frames could be written; is the disk full?"
            raise OSError(errno.EIO, reason, str(self._path))
