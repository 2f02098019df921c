"""Photos, folders and videos played like a camera, without ROS."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from lseg_ros.images.photos import SourceError, read_photo
from lseg_ros.images.playback import Playback, frames
from lseg_ros.images.sources import expand
from lseg_ros.images.videos import read_video, video_timing

RGB = npt.NDArray[np.uint8]


def save(path: Path, rgb: npt.NDArray[Any]) -> Path:
    assert cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., [2, 1, 0]]))
    return path


def plain(value: int, height: int = 4, width: int = 6) -> RGB:
    return np.full((height, width, 3), value, np.uint8)


def ramp(height: int, width: int) -> RGB:
    """Returns a picture whose pixels show their place: red is the row, green the column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def play(*files: Path, warnings: list[str] | None = None, **camera: Any) -> Iterator[RGB]:
    return frames(files, Playback(**camera), (warnings if warnings is not None else []).append)


def values(shown: Iterator[RGB]) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in shown]


def test_expand_sorts_the_photos_of_a_folder_and_keeps_the_order_of_sources(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    inside = [save(folder / name, plain(0)) for name in ("b.png", "a.JPG", "c.bmp")]
    (folder / "notes.txt").write_text("not a photo")
    single = save(tmp_path / "z.png", plain(0))
    assert expand([str(single), "", str(folder)], print) == [single, inside[1], inside[0], inside[2]]


def test_expand_refuses_in_words(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nothing to play, set sources"):
        expand([""], print)
    with pytest.raises(SourceError, match=r"missing\.png does not exist"):
        expand([str(tmp_path / "missing.png")], print)
    with pytest.raises(SourceError, match=f"folder {tmp_path} holds no photos"):
        expand([str(tmp_path)], print)


def test_names_that_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "~draft.png", plain(5))
    assert expand(["~draft.png"], print) == [Path("~draft.png")]


def test_a_video_with_a_colon_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("film.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 8, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    film = Path("film.mp4").rename("10:30.mp4")
    assert (video_timing(film).rate, video_timing(film).repeats) == (8, [1, 1, 1])
    assert len(list(read_video(film))) == 3


@pytest.mark.parametrize("progressive", [False, True])
def test_a_photo_without_its_end_is_refused(tmp_path: Path, *, progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    data = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])[1].tobytes()
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(data + b"a film in motion photos")
    assert read_photo(photo).shape == (64, 96, 3)
    photo.write_bytes(data[: len(data) // 3])
    with pytest.raises(SourceError, match=r"photo.jpg cannot be read: it is a JPEG without its end"):
        read_photo(photo)


def test_colors_come_as_rgb_whatever_the_file_holds(tmp_path: Path) -> None:
    orange = (250, 120, 10)
    rgb = np.broadcast_to(np.array(orange, np.uint8), (4, 6, 3))
    np.testing.assert_array_equal(read_photo(save(tmp_path / "rgb.png", rgb)), rgb)

    bgra = np.dstack([rgb[..., ::-1], np.full((4, 6), 255, np.uint8)])
    assert cv2.imwrite(str(tmp_path / "alpha.png"), bgra)
    np.testing.assert_array_equal(read_photo(tmp_path / "alpha.png"), rgb)

    assert cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 6), 77, np.uint8))
    np.testing.assert_array_equal(read_photo(tmp_path / "grey.png"), plain(77))

    assert cv2.imwrite(str(tmp_path / "grey16.png"), np.full((4, 6), 0x4D00, np.uint16))
    np.testing.assert_array_equal(read_photo(tmp_path / "grey16.png"), plain(0x4D))


def test_a_photo_taken_with_the_camera_on_its_side_comes_upright(tmp_path: Path) -> None:
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, :16] = 255
    encoded = cv2.imencode(".jpg", stored)[1].tobytes()
    # EXIF, big-endian, one entry: orientation (0x0112) = 6, to be turned clockwise.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    photo = tmp_path / "side.jpg"
    photo.write_bytes(encoded[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + encoded[2:])
    upright = read_photo(photo)
    assert upright.shape == (32, 16, 3)
    assert upright[:14].min() > 240
    assert upright[18:].max() < 15


def test_photos_are_held_and_repeated_as_the_same_array(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{value}.png", plain(value)) for value in (10, 20)]
    shown = list(islice(play(*files, rate=10, hold=0.3), 9))
    assert values(iter(shown)) == [10, 10, 10, 20, 20, 20, 10, 10, 10]
    assert shown[0] is shown[1] is shown[2] is shown[6]


def test_without_loop_everything_is_shown_once(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{value}.png", plain(value)) for value in (10, 20)]
    assert values(play(*files, hold=0, loop=False)) == [10, 20]
    assert values(play(*files, rate=2, hold=1.5, loop=False)) == [10, 10, 10, 20, 20, 20]


def test_broken_files_are_named_once_and_left_out(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png", plain(5))
    photo, video = tmp_path / "bad.jpg", tmp_path / "bad.mp4"
    for path in (photo, video):
        path.write_bytes(b"nothing of the kind")
    warnings: list[str] = []
    assert values(islice(play(photo, good, video, hold=0, warnings=warnings), 4)) == [5, 5, 5, 5]
    assert len(warnings) == 2
    assert f"photo {photo} cannot be read" in warnings[0]
    assert f"video {video} cannot be read" in warnings[1]

    for loop in (True, False):
        with pytest.raises(SourceError, match=r"none of the files can be read \(2 tried\)"):
            next(play(photo, video, loop=loop))


@pytest.mark.parametrize(
    ("size", "shape"),
    [((0, 0), (30, 60)), ((20, 0), (10, 20)), ((0, 15), (15, 30)), ((20, 20), (20, 20)), ((90, 90), (90, 90))],
)
def test_size_keeps_the_aspect_and_the_middle(tmp_path: Path, size: tuple[int, int], shape: tuple[int, int]) -> None:
    picture = plain(0, 30, 60)
    picture[:, 20:40] = 200
    photo = save(tmp_path / "wide.png", picture)
    frame = next(play(photo, width=size[0], height=size[1]))
    assert frame.shape == (*shape, 3)
    assert frame.flags.c_contiguous
    height, width = shape
    assert frame[height // 2, width // 2, 0] == 200
    # Stripes of a third of the full width: what is left of it at the sides shows how much was cut off.
    bright = (frame[height // 2, :, 0] > 100).sum()
    assert bright == pytest.approx(height * 2 / 3, abs=1)


def test_a_video_is_shown_frame_by_frame_and_again(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (32, 16))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG videos")
    for value in (20, 120, 220):
        writer.write(np.full((16, 32, 3), (0, 0, value), np.uint8))
    writer.release()
    shown = list(islice(play(path, width=16), 6))
    assert values(iter(shown)) == pytest.approx([20, 120, 220] * 2, abs=6)
    assert shown[0].shape == (8, 16, 3)
    assert shown[2][..., 2].max() < 20
    assert len(list(play(path, loop=False))) == 3
