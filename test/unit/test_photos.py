"""Photos by name, content and EXIF: in folders, alone and in data sets."""

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lseg_ros.data.catalogue import open_dataset
from lseg_ros.data.common import read_image
from lseg_ros.data.folder import Folder
from lseg_ros.data.layers import Layers
from lseg_ros.images.photos import SourceError, exif_orientation, picture_count, read_photo
from lseg_ros.images.playback import Playback, frames
from lseg_ros.images.sources import expand, is_video
from lseg_ros.images.videos import read_video

PICTURE = np.random.default_rng(0).integers(0, 255, (40, 64, 3), np.uint8)
LATIN = os.fsdecode(b"caf\xe9")  # a name from before UTF-8


def encoded(format: str, orientation: int = 1, **options: Any) -> bytes:
    file, exif = BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PICTURE).save(file, format, exif=exif, **options)
    return file.getvalue()


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    """OpenCV would end the process if it got such a name."""
    folder = tmp_path / LATIN
    folder.mkdir()
    for name in ("a.png", f"{LATIN}.png"):
        (folder / name).write_bytes(encoded("PNG"))
    photos = expand([str(folder)], print)
    assert [photo.name for photo in photos] == ["a.png", f"{LATIN}.png"]
    for photo in photos:
        np.testing.assert_array_equal(read_photo(photo), PICTURE)
        np.testing.assert_array_equal(read_image(photo), PICTURE)
        assert picture_count(photo) == 1
    assert len(list(frames(photos, Playback(hold=0, loop=False), print))) == 2
    with pytest.raises(SourceError, match="it is damaged, or of a format that is not read here"):
        (folder / f"{LATIN}.jpg").write_bytes(b"nothing")
        read_photo(folder / f"{LATIN}.jpg")


def test_videos_whose_names_are_no_utf8(tmp_path: Path, lseg: Any, tiny: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 8, (64, 48))
    for _ in range(2):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    film = (tmp_path / "film.mp4").rename(tmp_path / f"{LATIN}.mp4")
    assert len(list(read_video(film))) == 2
    done = lseg("segment", film, "-o", tmp_path / "out", "--labels", "sky, tree", "--model", tiny, "--masks")
    assert done.status == 0, done.err
    assert len(list(read_video(tmp_path / "out" / f"{LATIN}_overlay.mp4"))) == 2
    assert len(list((tmp_path / "out" / f"{LATIN}_masks").glob("*.png"))) == 2


def test_a_folder_says_what_it_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").touch()
    for name, format in (("a.jpg", "JPEG"), ("scan.jfif", "JPEG"), ("sat.jp2", "JPEG2000"), ("plain", "PNG")):
        (tmp_path / name).write_bytes(encoded(format))
    (tmp_path / "b.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    (tmp_path / "notes.txt").write_text("none")
    told: list[str] = []
    assert [photo.name for photo in expand([str(tmp_path)], told.append)] == ["a.jpg", "plain", "sat.jp2", "scan.jfif"]
    assert told == [
        f"in {tmp_path} 2 files are no photos that can be read here (.heic 1, .txt 1) and 1 folder is not looked into; "
        "left out"
    ]
    with pytest.raises(SourceError, match=r"b\.HEIC cannot be read: it is HEIC, which is not read here; convert it"):
        read_photo(tmp_path / "b.HEIC")


def test_a_video_is_known_by_its_content_where_the_suffix_does_not_tell(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 8, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    film = (tmp_path / "film.mp4").rename(tmp_path / "film")
    assert is_video(film)
    assert len(list(read_video(film))) == 1
    (tmp_path / "photo").write_bytes(encoded("WEBP"))
    assert not is_video(tmp_path / "photo")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_orientation(tmp_path: Path, format: str) -> None:
    photo = tmp_path / "photo"
    photo.write_bytes(encoded(format, orientation=6))
    assert exif_orientation(photo) == 6
    assert read_photo(photo).shape == (64, 40, 3)
    assert read_photo(photo, upright=False).shape == (40, 64, 3)
    photo.write_bytes(encoded(format))
    assert exif_orientation(photo) == 1


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_mask_of_lseg_segment_fits_its_photo(
    lseg: Any, tiny: Path, tmp_path: Path, orientation: int, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    photo, mask = tmp_path / "images" / "photo.jpg", tmp_path / "masks" / "photo.png"
    photo.write_bytes(encoded("JPEG", orientation=orientation, quality=95))
    arguments = ("--labels", "void, sky, tree", "--model", tiny, "--device", "cpu")
    assert lseg("segment", photo, "-o", tmp_path / "out", *arguments).status == 0
    (tmp_path / "out" / "photo_mask.png").rename(mask)
    (tmp_path / "labels.txt").write_text("nothing\nvoid\nsky\ntree\n")

    image, _ = Folder(tmp_path).sample(0)
    np.testing.assert_array_equal(image, read_photo(photo))
    assert f"EXIF orientation is {orientation}" in caplog.text and "'upright: false'" in caplog.text
    entry = {"images": "images", "layers": [{"masks": "masks", "labels": {1: "void", 2: "sky", 3: "tree"}}]}
    layers = open_dataset(entry | {"upright": True}, tmp_path, "here")
    assert isinstance(layers, Layers)
    image, _ = layers.sample(0)
    np.testing.assert_array_equal(image, read_photo(photo))

    stored = open_dataset({"dataset": "folder", "upright": False}, tmp_path, "here")
    assert isinstance(stored, Folder)
    if orientation == 3:  # the size does not tell
        caplog.clear()
        stored.sample(0)
        assert "'upright: true'" in caplog.text
    else:
        with pytest.raises(ValueError, match=r"must be equal; the image's EXIF data turn it \(orientation 6\)"):
            stored.sample(0)


def test_a_data_set_takes_all_photos_and_says_what_it_leaves_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, format in (("a.webp", "WEBP"), ("b.JFIF", "JPEG")):
        (tmp_path / "images" / name).write_bytes(encoded(format))
        Image.fromarray(np.zeros((40, 64), np.uint8)).save(tmp_path / "masks" / f"{name[0]}.png")
    (tmp_path / "images" / "c.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "labels.txt").write_text("sky\n")
    assert len(Folder(tmp_path)) == 2
    assert "1 file is no photo that can be read here (.heic 1); left out" in caplog.text
