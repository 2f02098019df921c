"""Large images in overlapping windows."""

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny import TINY, tiny_net
from torch import Tensor
from torch.nn import functional

from lseg_ros import Segmenter
from lseg_ros.inference.cuda_graphs import Recorder
from lseg_ros.inference.gpu_frames import GpuFrames
from lseg_ros.inference.preprocess import geometry, to_input
from lseg_ros.inference.windows import check_window, in_windows

pytestmark = pytest.mark.numeric

RGB = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)


class Pooled:
    """Replaces a network: one cell for 7 pixels with their mean, and the number of the window as a second channel."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, images: Tensor) -> Tensor:
        cells = functional.avg_pool2d(images, 7).mean(1, keepdim=True)
        self.seen.append(tuple(images.shape[2:]))
        return torch.cat([cells, torch.full_like(cells, len(self.seen))], dim=1)


def photo(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(56, 56), (28, 56), (14, 14)])
def test_an_image_that_fits_one_window_is_seen_whole(size: tuple[int, int]) -> None:
    encode, images = Pooled(), photo(*size)
    torch.testing.assert_close(in_windows(encode, images, 56, 14), Pooled()(images), rtol=0, atol=0)
    assert encode.seen == [size]


def test_windows_cover_the_image_and_their_mean_is_taken_where_they_overlap() -> None:
    encode, images = Pooled(), photo(28, 126)
    found = in_windows(encode, images, 56, 14)
    assert encode.seen == [(28, 56)] * 3  # from 0, 42, and 70, which is moved back
    torch.testing.assert_close(found[:, :1], Pooled()(images)[:, :1])  # what depends on the place alone stays
    windows = [*[1] * 6, 1.5, 1.5, 2, 2, *[2.5] * 4, *[3] * 4]
    torch.testing.assert_close(found[0, 1], torch.tensor([windows] * 4, dtype=torch.float32))


def test_windows_go_down_too() -> None:
    encode, images = Pooled(), photo(84, 112)
    found = in_windows(encode, images, 56, 14)
    assert encode.seen == [(56, 56)] * 6
    torch.testing.assert_close(found[:, :1], Pooled()(images)[:, :1])
    assert found[0, 1, 0, 0] == 1 and found[0, 1, -1, -1] == 6
    assert found[0, 1, 6, 6] == (1 + 2 + 4 + 5) / 4


def test_what_cannot_be_used_is_said() -> None:
    check_window(448, 14, 896)
    for side in (450, 0, -14):
        with pytest.raises(ValueError, match=f"window is {side}; it must be a multiple of 14 pixels"):
            check_window(side, 14, 896)
    with pytest.raises(ValueError, match="window is 448 and input_size is 448, so that each image fits into one"):
        check_window(448, 14, 448)
    with pytest.raises(ValueError, match="multiple of 32 pixels for this model, such as 64"):
        Segmenter(tiny_net(), "cpu", input_size=96, window=60)


def test_the_segmenter_takes_the_mean_of_its_networks_windows() -> None:
    net = tiny_net()
    segmenter = Segmenter(copy.deepcopy(net), "cpu", input_size=96, window=64)
    image = segmenter.embed(RGB)
    plain = Segmenter(copy.deepcopy(net), "cpu", input_size=96).embed(RGB)
    assert image.sizes == plain.sizes and image.coordinates.shape == plain.coordinates.shape
    x = to_input(RGB, geometry((60, 100), 96, 32), TINY, torch.device("cpu"))  # 64 x 96
    with torch.no_grad():
        left, right = net.encode_image(x[..., :64]), net.encode_image(x[..., 32:])
    columns = left.shape[3]
    expected = torch.cat(
        [left[..., : columns // 2], (left[..., columns // 2 :] + right[..., : columns // 2]) / 2],
        dim=3,
    )
    torch.testing.assert_close(image.embedding[..., :columns], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(image.embedding[..., columns:], right[..., columns // 2 :], rtol=0, atol=1e-5)
    assert not torch.allclose(image.coordinates, plain.coordinates, atol=1e-2)


def test_programs_of_a_gpu_give_the_same() -> None:
    plain, by_programs = (Segmenter(tiny_net(), "cpu", input_size=96, window=64) for _ in range(2))
    frames = GpuFrames(by_programs.net, by_programs._encode, Recorder(torch.device("cpu")), tf32=False, capture=True)
    by_programs._frames = frames
    found, expected = by_programs.embed(RGB).coordinates, plain.embed(RGB).coordinates
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "a.png"), RGB[..., ::-1])
    return tmp_path / "a.png"


def test_on_the_command_line(lseg: Any, tiny: Path, picture: Path, tmp_path: Path) -> None:
    model = ("--model", tiny, "--device", "cpu", "--input-size", 96)
    assert lseg("features", picture, *model, "--window", 64, "-o", tmp_path / "f").status == 0
    with np.load(tmp_path / "f" / "a.npz") as file:
        found = file["coordinates"]
    expected = Segmenter(tiny_net(), "cpu", input_size=96, window=64)
    np.testing.assert_allclose(found, expected.feature_grid(expected.embed(RGB)).coordinates, atol=1e-3)
    done = lseg("features", picture, *model, "-o", tmp_path / "f")
    assert done.status == 1 and "was begun with another size of windows" in done.err
    # Vectors that are no unit vectors go through windows, too.
    options = (*model, "--format", "feature-3dgs", "--window")
    assert lseg("features", picture, *options, 64, "-o", tmp_path / "g").status == 0
    large = torch.load(tmp_path / "g" / "a_fmap_CxHxW.pt").float()
    at = expected.features_at(expected.embed(RGB), [[10, 30]])[0]
    assert functional.cosine_similarity(large[:, 30, 10], torch.from_numpy(at), dim=0) > 0.99
    labelled = ("segment", picture, *model, "--labels", "road, sky", "-o", tmp_path / "o.png", "--multiscale")
    done = lseg(*labelled, "--window", 64)
    assert done.status == 1 and "--multiscale has windows of its own; leave out --window" in done.err
