"""Feature vectors: `Segmenter.features_at`, `encode_text`, `embed_multiscale`, and the files of `lseg features`."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import HashText, tiny_net
from torch.nn import functional

from lseg_ros import Segmenter
from lseg_ros.cli import feature_files
from lseg_ros.cli.main import main
from lseg_ros.files import sha256
from lseg_ros.inference import multiscale
from lseg_ros.inference.features import feature_map
from lseg_ros.inference.labels import LabelError
from lseg_ros.inference.preprocess import Geometry
from lseg_ros.inference.segmenter import ImageEmbedding
from lseg_ros.model import weights
from lseg_ros.model.net import LOGIT_SCALE
from lseg_ros.model.weights import save_model

pytestmark = pytest.mark.numeric

RGB = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
PIXELS = [(0, 0), (99, 59), (50, 30)]  # column and row
POINTS = np.array([*PIXELS, (12.5, 7.25)])


def resized(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resizes an image to (width, height)."""
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(tiny_net(), "cpu")


def ramp(sizes: Geometry, cells: tuple[int, int]) -> ImageEmbedding:
    """Returns two channels: the row and the column of each cell's place, in padded pixels."""
    rows, columns = (torch.arange(n) * (side - 1) / (n - 1) for n, side in zip(cells, sizes.padded, strict=True))
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
    return ImageEmbedding(grid, torch.eye(2), sizes)


@pytest.mark.parametrize(
    ("sizes", "cells"),
    [
        (Geometry((60, 100), (58, 96), (64, 96)), (16, 24)),
        (Geometry((480, 640), (360, 480), (384, 480)), (192, 240)),
        (Geometry((30, 40), (360, 480), (384, 480)), (96, 120)),
        (Geometry((60, 100), (60, 100), (60, 100)), (30, 50)),
    ],
)
def test_a_pixel_is_read_where_it_lies(sizes: Geometry, cells: tuple[int, int]) -> None:
    image = ramp(sizes, cells)
    height, width = sizes.image
    points = np.array([[width // 2, height // 3], [width // 5 + 0.5, height // 2]])
    rows, columns = feature_map(image).at(points).T
    for places, pixels, side in ((rows, points[:, 1], 0), (columns, points[:, 0], 1)):
        # Half a pixel is half a resized pixel: they have their borders in common, not their centers.
        expected = (pixels + 0.5) * sizes.resized[side] / sizes.image[side] - 0.5
        np.testing.assert_allclose(places, expected, atol=1e-3)


def test_the_grid_leaves_out_the_padding_and_says_where_its_cells_are() -> None:
    sizes = Geometry((480, 640), (360, 480), (384, 480))
    grid = feature_map(ramp(sizes, (192, 240)))
    assert grid.coordinates.shape == (
        2,
        181,
        240,
    )  # 180 cells of two pixels each, and one behind the last pixel
    row = 479 * grid.scale[0] + grid.offset[0]
    assert 179 < row < 180


def test_features_are_what_query_compares(segmenter: Segmenter) -> None:
    segmenter.set_labels(["road", "sky"])
    image = segmenter.embed(RGB)
    features, text = segmenter.features_at(image, POINTS), segmenter.encode_text(["car", " tree "])
    assert features.dtype == text.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-6)
    assert np.linalg.norm(features, axis=1).max() <= 1 + 1e-5
    matches = segmenter.query(image, ["car", "tree"], (60, 100))
    for i, (u, v) in enumerate(PIXELS):
        expected = [match.cosine[v, u] for match in matches]
        # The masks' interpolation goes by whole pixels of the network, so the two may differ a little.
        np.testing.assert_allclose(features[i] @ text.T, expected, atol=0.02)


def test_encoding_text_leaves_the_labels(segmenter: Segmenter) -> None:
    labels = segmenter.set_labels(["road", "sky"])
    segmenter.encode_text(["car"])
    assert segmenter.labels is labels
    for phrases, reason in (([], "empty"), ([" "], "blank"), (["x" * 100], "too long")):
        with pytest.raises(LabelError, match=reason):
            segmenter.encode_text(phrases)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([[0, 0], [100, 5]], r"point 1 is \(100, 5\), outside of the image, which has 100 columns and 60 rows"),
        ([[0, float("nan")]], "outside"),
        ([[-0.5, 3]], "outside"),
        ([1, 2], "N x 2"),
        ([["a", "b"]], "numbers"),
    ],
)
def test_wrong_points_are_refused(segmenter: Segmenter, points: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        segmenter.features_at(segmenter.embed(RGB), points)


def test_multiscale_vectors_give_the_multiscale_logits(segmenter: Segmenter) -> None:
    segmenter.set_labels(["road", "sky", "car"])
    rgb = resized(RGB[:3, :5], (100, 60))  # smooth, as the grid is a coarse one
    image = segmenter.embed_multiscale(rgb)
    assert image.coordinates.shape[2:] == (78, 130)  # 520 pixels, of which the network makes a quarter
    slow = segmenter.segment_multiscale(rgb)
    text = segmenter.encode_text(["road", "sky", "car"])
    vectors = segmenter.features_at(image, PIXELS)
    shares = functional.softmax(torch.from_numpy(LOGIT_SCALE * vectors @ text.T), dim=1)
    for i, (u, v) in enumerate(PIXELS):
        expected = [slow.scores(name)[v, u] for name in ("road", "sky", "car")]
        np.testing.assert_allclose(shares[i].numpy(), expected, atol=0.02)


@dataclass
class Result:
    status: int
    out: str
    err: str


@pytest.fixture
def lseg(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs `lseg features` with the tiny network in this process."""
    monkeypatch.setattr(weights, "build_text_encoder", lambda variant: HashText())
    model = tmp_path / "tiny.safetensors"
    save_model(tiny_net(), model, "MIT")

    def run(*arguments: object) -> Result:
        status = main(["features", *map(str, arguments), "--model", str(model)])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run


def photo(path: Path, rgb: NDArray[np.uint8] = RGB) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path


def test_npz_holds_coordinates_basis_and_places(lseg: Any, tmp_path: Path, segmenter: Segmenter) -> None:
    done = lseg(photo(tmp_path / "a.png"), "-o", tmp_path / "out")
    assert (done.status, done.err) == (0, "")
    assert "1 files written" in done.out
    with np.load(tmp_path / "out" / "a.npz") as file:
        assert file["coordinates"].dtype == np.float16
        assert file["basis"].dtype == np.float32
        assert file["image_size"].tolist() == [60, 100]
        assert str(file["model"]) == "tiny"
        assert str(file["weights_sha256"]) == sha256(tmp_path / "tiny.safetensors")
        grid = feature_map(segmenter.embed(RGB))
        np.testing.assert_allclose(file["coordinates"], grid.coordinates.numpy(), atol=1e-3)
        np.testing.assert_allclose([file["scale"], file["offset"]], [grid.scale, grid.offset])


def test_dense_and_points(lseg: Any, tmp_path: Path, segmenter: Segmenter) -> None:
    source = photo(tmp_path / "a.png")
    np.save(tmp_path / "points.npy", POINTS)
    image = segmenter.embed(RGB)
    assert lseg(source, "-o", tmp_path / "dense", "--dense").status == 0
    with np.load(tmp_path / "dense" / "a.npz") as file:
        assert file["features"].dtype == np.float16
        np.testing.assert_allclose(file["features"], feature_map(image).vectors().numpy(), atol=1e-3)
        assert "basis" not in file
    assert lseg(source, "-o", tmp_path / "points", "--at", tmp_path / "points.npy").status == 0
    with np.load(tmp_path / "points" / "a.npz") as file:
        vectors = file["coordinates"].astype(np.float32) @ file["basis"].T
        np.testing.assert_allclose(vectors, segmenter.features_at(image, POINTS), atol=2e-3)
        np.testing.assert_allclose(file["points"], POINTS)


def test_feature_3dgs(lseg: Any, tmp_path: Path) -> None:
    large = resized(RGB, (960, 480))
    assert lseg(photo(tmp_path / "frame.0001.png", large), "-o", tmp_path / "o", "--format", "feature-3dgs").status == 0
    # What is before the first dot, as its loader looks for it.
    found = torch.load(tmp_path / "o" / "frame_fmap_CxHxW.pt")
    assert (found.dtype, tuple(found.shape)) == (torch.float16, (16, 240, 480))
    net, segmenter = tiny_net(), Segmenter(tiny_net(), "cpu")
    image = segmenter.embed(large)
    unit = functional.normalize(found.float(), dim=0)
    length = found.float().norm(dim=0)
    assert length.std() > 0.01 * length.mean()  # no unit vectors
    # At a place where the enlarged map and the network's grid have a sample in common, the lengths are the network's.
    with torch.no_grad():
        x = torch.zeros(1, 3, 96, 96)
        torch.testing.assert_close(functional.normalize(net.pixel_vectors(x), dim=1), net.encode_image(x))
    assert found[:, 120, 240].float().dot(torch.from_numpy(segmenter.features_at(image, [[480, 240]])[0])) > 0
    cosine = (unit[:, 120, 240] @ torch.from_numpy(segmenter.features_at(image, [[480.5, 240.5]])[0])).item()
    assert cosine > 0.99 * np.linalg.norm(segmenter.features_at(image, [[480.5, 240.5]]))


def test_openscene_is_as_large_as_the_picture_and_sums_its_mirror_image(lseg: Any, tmp_path: Path) -> None:
    assert lseg(photo(tmp_path / "7.png"), "-o", tmp_path / "o", "--format", "openscene").status == 0
    found = torch.load(tmp_path / "o" / "7.pt")
    assert (found.dtype, tuple(found.shape)) == (torch.float16, (16, 60, 100))
    assert (
        lseg(photo(tmp_path / "m" / "7.png", RGB[:, ::-1]), "-o", tmp_path / "p", "--format", "openscene").status == 0
    )
    torch.testing.assert_close(torch.load(tmp_path / "p" / "7.pt").flip(-1), found, rtol=0, atol=4e-3)
    segmenter = Segmenter(tiny_net(), "cpu", input_size=200)  # twice the picture
    one = segmenter.features_at(segmenter.embed(RGB), [[40, 20]])[0]
    two = segmenter.features_at(segmenter.embed(np.ascontiguousarray(RGB[:, ::-1])), [[59, 20]])[0]
    np.testing.assert_allclose(found[:, 20, 40], one + two, atol=0.03)
    assert lseg(tmp_path / "7.png", "-o", tmp_path / "q", "--format", "openscene", "--input-size", 32).status == 0
    assert not torch.allclose(torch.load(tmp_path / "q" / "7.pt"), found, atol=1e-2)


def test_multiscale_files_of_every_format(lseg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiscale, "SCALES", (0.75,))  # time
    source = photo(tmp_path / "a.png")
    lengths = {}
    for name in ("npz", "feature-3dgs", "openscene"):
        assert lseg(source, "-o", tmp_path / name, "--format", name, "--multiscale").status == 0
    with np.load(tmp_path / "npz" / "a.npz") as file:
        assert file["coordinates"].shape[1:] == (78, 130)
        lengths["npz"] = np.linalg.norm(file["coordinates"].astype(np.float32), axis=0).mean()
    openscene = torch.load(tmp_path / "openscene" / "a.pt").float()
    assert openscene.norm(dim=0).mean() == pytest.approx(2 * lengths["npz"], rel=0.05)
    assert torch.load(tmp_path / "feature-3dgs" / "a_fmap_CxHxW.pt").shape == (16, 60, 100)  # never enlarged


def test_a_run_goes_on_where_it_was_stopped(lseg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        photo(tmp_path / "photos" / f"{name}.png")
    write, calls = feature_files.Npz.write, []

    def stopped(self: feature_files.Npz, path: Path, *rest: Any) -> None:
        calls.append(path.name)
        if path.name == "b.npz" and calls.count("b.npz") == 1:
            raise KeyboardInterrupt
        write(self, path, *rest)

    monkeypatch.setattr(feature_files.Npz, "write", stopped)
    done = lseg(tmp_path / "photos", "-o", tmp_path / "out")
    assert done.status == 130
    assert "the same command goes on from there" in done.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.npz", "features.json"]
    done = lseg(tmp_path / "photos", "-o", tmp_path / "out")
    assert "2 files written, 1 were there already" in done.out
    assert calls == ["a.npz", "b.npz", "b.npz", "c.npz"]
    os.utime(tmp_path / "photos" / "a.png", (4e9, 4e9))  # a photo that has changed since is done again
    assert "1 files written, 2 were there already" in lseg(tmp_path / "photos", "-o", tmp_path / "out").out


def test_files_made_with_other_options_are_not_mixed(lseg: Any, tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    assert lseg(source, "-o", tmp_path / "out").status == 0
    done = lseg(source, "-o", tmp_path / "out", "--dense", "--input-size", 64)
    assert done.status == 1
    assert "was begun with another choice of --dense and another input size" in done.err
    (tmp_path / "out" / "features.json").write_text("[]")
    assert "is in the way" in lseg(source, "-o", tmp_path / "out").err


def test_video_frames_get_a_folder(lseg: Any, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 8, (64, 48))
    for i in range(3):
        writer.write(np.ascontiguousarray(RGB[:48, 8 * i : 8 * i + 64]))
    writer.release()
    assert lseg(tmp_path / "v.mp4", "-o", tmp_path / "out").status == 0
    assert sorted(p.name for p in (tmp_path / "out" / "v").iterdir()) == ["000000.npz", "000001.npz", "000002.npz"]


def test_pictures_that_cannot_be_read_are_named_and_left_out(lseg: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    done = lseg(tmp_path / "bad.png", photo(tmp_path / "a.png"), "-o", tmp_path / "out")
    assert done.status == 1
    assert "bad.png cannot be read" in done.err
    assert (tmp_path / "out" / "a.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--dense", "--format", "openscene"], "--dense is for --format npz"),
        (["--format", "feature-3dgs", "--backend", "onnxruntime"], "needs --backend torch"),
        (["--topic", "/camera"], "--topic is for recordings"),
        (["--at", "none.npy"], "none.npy: No such file"),
        (["--at", "text.npy"], "is no array"),
        (["--at", "shape.npy"], "must hold one array of numbers, N x 2"),
        (["--at", "far.npy"], "a.png: point 0 is (1000, 0), outside of the image"),
    ],
)
def test_errors(lseg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.npy").write_text("no array")
    np.save("shape.npy", np.zeros(3))
    np.save("far.npy", np.array([[1000, 0]]))
    done = lseg(photo(Path("a.png")), "-o", "out", *arguments)
    assert done.status == 1
    assert reason in done.err
    assert not list(Path().glob("out/*.npz"))


def test_two_photos_of_one_name_are_refused(lseg: Any, tmp_path: Path) -> None:
    done = lseg(photo(tmp_path / "a.png"), photo(tmp_path / "a.jpg"), "-o", tmp_path / "out")
    assert done.status == 1
    assert "would both become" in done.err


def test_recordings(lseg: Any, tmp_path: Path) -> None:
    pytest.importorskip("rosbags", reason="recordings need the library rosbags")
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.LATEST)
    header = types.types["std_msgs/msg/Header"](types.types["builtin_interfaces/msg/Time"](5, 7), "camera")
    image = types.types["sensor_msgs/msg/Image"]
    with Writer(tmp_path / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {name: writer.add_connection(name, image.__msgtype__, typestore=types) for name in ("/l/i", "/r/i")}
        for time in (10, 20):
            for connection in topics.values():
                message = image(header, 60, 100, "rgb8" if time == 10 else "nonsense", 0, 300, RGB.reshape(-1))
                writer.write(connection, time, types.serialize_cdr(message, image.__msgtype__))
    done = lseg(tmp_path / "run", "-o", tmp_path / "out")
    assert done.status == 1
    assert "has several image topics; choose with --topic: /l/i, /r/i" in done.err
    done = lseg(tmp_path / "run", "-o", tmp_path / "out", "--topic", "/l/i", "--topic", "/r/i")
    assert done.status == 1
    assert "/l/i: " in done.err
    assert "nonsense" in done.err
    files = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.npz"))
    assert files == ["run/l/000000.npz", "run/r/000000.npz"]
    with np.load(tmp_path / "out" / files[0]) as file:
        assert (int(file["stamp"]), str(file["frame_id"])) == (5_000_000_007, "camera")


def test_what_the_files_were_made_with_is_beside_them(lseg: Any, tmp_path: Path) -> None:
    lseg(photo(tmp_path / "a.png"), "-o", tmp_path / "out", "--format", "openscene")
    note = json.loads((tmp_path / "out" / "features.json").read_text())
    assert note["format"] == "openscene"
    assert note["model"] == sha256(tmp_path / "tiny.safetensors")
