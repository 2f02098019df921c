"""Strips of enlarged logits, compared with two whole interpolations one after the other."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from lseg_ros.inference import upsampling, winners
from lseg_ros.inference.preprocess import Geometry, Size, geometry
from lseg_ros.inference.upsampling import resized, strips
from lseg_ros.inference.winners import best_labels, shares

pytestmark = pytest.mark.numeric

SIZES = [
    ((360, 480), 480, None),  # as the network sees it, but for padding
    ((480, 640), 480, None),
    ((33, 190), 96, None),
    ((60, 100), 96, (17, 23)),  # smaller than the network's
    ((60, 100), 96, (58, 250)),  # only one side changes
    ((1, 500), 96, None),
]


def plain(logits: Tensor, sizes: Geometry, output: Size) -> Tensor:
    """Maps [1,N,h,w] to [N,*output]."""
    logits = functional.interpolate(logits, size=sizes.padded, mode="bilinear", align_corners=True)
    logits = logits[:, :, : sizes.resized[0], : sizes.resized[1]]
    return functional.interpolate(logits, size=output, mode="bilinear", align_corners=False)[0]


def case(image: Size, input_size: int, count: int) -> tuple[Tensor, Geometry]:
    sizes = geometry(image, input_size, 32)
    generator = torch.Generator().manual_seed(count)
    return 4 * torch.randn(1, count, sizes.padded[0] // 4, sizes.padded[1] // 4, generator=generator), sizes


@pytest.mark.parametrize(("image", "input_size", "output"), SIZES)
@pytest.mark.parametrize("strip", [1, 5000, 2**19])  # numbers in a strip: rows one by one, some, and many
def test_enlarged_as_by_interpolation(
    image: Size, input_size: int, output: Size | None, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(upsampling._STRIP, "cpu", strip)
    logits, sizes = case(image, input_size, 5)
    output = output or image
    expected = plain(logits.double(), sizes, output).float()
    torch.testing.assert_close(resized(logits, sizes, output), expected, rtol=0, atol=2e-5)

    best = best_labels(logits, sizes, output)
    torch.testing.assert_close(best.share, expected.softmax(0).amax(0), rtol=0, atol=1e-5)
    share = shares(logits[:, 3:4], best, sizes, output)
    torch.testing.assert_close(share[0], expected.softmax(0)[3], rtol=0, atol=1e-5)
    top = expected.topk(2, dim=0).values
    clear = top[0] - top[1] > 1e-4
    assert clear.float().mean() > 0.95
    assert (best.index == expected.argmax(0))[clear].all()


def test_the_first_of_equal_labels_wins() -> None:
    logits, sizes = case((60, 100), 96, 4)
    logits = torch.cat([logits - 50, logits, logits], dim=1)  # 4 to 7 and 8 to 11 are the same
    index = best_labels(logits, sizes, (60, 100)).index
    assert sorted(index.unique().tolist()) == [4, 5, 6, 7]


def test_more_labels_than_a_byte_counts() -> None:
    logits, sizes = case((60, 100), 96, 300)
    best = best_labels(logits, sizes, (60, 100))
    expected = resized(logits, sizes, (60, 100))
    top = expected.topk(2, dim=0).values
    clear = top[0] - top[1] > 1e-4  # the two enlarge in different units, and so round differently
    assert clear.float().mean() > 0.99
    assert torch.equal(best.index.long()[clear], expected.argmax(0)[clear])
    assert best.index.max() > 255


def test_no_strip_holds_labels_times_pixels() -> None:
    logits, sizes = case((480, 640), 480, 150)
    assert max(strip.numel() for _, _, strip in strips(logits, sizes, (480, 640))) < 150 * 480 * 640 / 40


def many(image: Size, input_size: int, *, smooth: bool) -> tuple[Tensor, Geometry]:
    """Logits of 120 labels: with few that may win in a part of the image, or with all of them everywhere."""
    logits, sizes = case(image, input_size, 120)
    if smooth:
        grid = 2 * logits[:, :, :2, :3]
        logits = functional.interpolate(grid, size=logits.shape[2:], mode="bilinear", align_corners=True)
    return logits, sizes


@pytest.mark.parametrize(("image", "input_size", "output"), [((130, 150), 150, None), *SIZES[2:]])
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("tile", [1, 2**19])  # eight rows of each tile at once, and many
def test_many_labels_by_tiles(
    monkeypatch: pytest.MonkeyPatch, image: Size, input_size: int, output: Size | None, *, smooth: bool, tile: int
) -> None:
    monkeypatch.setattr(winners, "_TILE", tile)
    monkeypatch.setattr(winners, "_best_by_strips", None)  # not called
    logits, sizes = many(image, input_size, smooth=smooth)
    output = output or image
    expected = plain(logits.double(), sizes, output)
    best = best_labels(logits, sizes, output)
    torch.testing.assert_close(best.share, expected.softmax(0).amax(0).float(), rtol=0, atol=1e-5)
    torch.testing.assert_close(best.logit, (expected.amax(0) / np.log(2)).float(), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        shares(logits[:, 3:4], best, sizes, output)[0], expected.softmax(0)[3].float(), rtol=0, atol=1e-5
    )
    top = expected.topk(2, dim=0).values
    clear = top[0] - top[1] > 1e-4
    assert clear.float().mean() > 0.95
    assert (best.index == expected.argmax(0))[clear].all()


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects how many labels each tile compares."""
    counts: list[int] = []
    may_win = winners._may_win

    def counted(cells: Tensor, windows: Tensor) -> Tensor:
        found = may_win(cells, windows)
        counts.extend(found.sum(1).tolist())
        return found

    monkeypatch.setattr(winners, "_may_win", counted)
    return counts


def test_tiles_compare_few_labels(monkeypatch: pytest.MonkeyPatch, compared: list[int]) -> None:
    """All labels are compared where that is allowed to be many, and the result is the same."""
    logits, sizes = many((120, 160), 160, smooth=True)
    pruned = best_labels(logits, sizes, (120, 160))
    assert min(compared) >= 1 and sum(compared) / len(compared) < 120 / winners._FEW
    monkeypatch.setattr(winners, "_FEW", 1000)
    for one, other in zip(vars(pruned).values(), vars(best_labels(logits, sizes, (120, 160))).values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_an_edge_between_two_labels_leaves_two_to_compare(compared: list[int], layout: torch.memory_format) -> None:
    """Both are far above all others. Where they meet, the others are as far below the better one as elsewhere."""
    logits, sizes = case((120, 160), 160, 120)
    logits = (logits / 100).contiguous(memory_format=layout)
    logits[:, 7, :, :20] += 10
    logits[:, 8] += 5
    best = best_labels(logits, sizes, (120, 160))
    assert set(compared) == {1, 2}
    expected = plain(logits.double(), sizes, (120, 160))
    assert (best.index == expected.argmax(0)).float().mean() > 0.999
    torch.testing.assert_close(best.share, expected.softmax(0).amax(0).float(), rtol=0, atol=1e-5)


def test_of_equal_labels_in_tiles_the_first_wins() -> None:
    logits, sizes = many((60, 100), 96, smooth=True)
    logits = torch.cat([logits - 50, logits, logits], dim=1)
    index = best_labels(logits, sizes, (60, 100)).index
    assert index.min() >= 120 and index.max() < 240 and index.dtype == torch.int32


@pytest.mark.parametrize("spread", [30.0, 1e4])
def test_logits_too_far_apart_for_tiles(spread: float) -> None:
    """Powers of two of the differences alone would be 0 for every label at some pixels."""
    logits, sizes = many((60, 100), 96, smooth=False)
    expected = plain(spread * logits.double(), sizes, (60, 100))
    best = best_labels(spread * logits, sizes, (60, 100))
    torch.testing.assert_close(best.share, expected.softmax(0).amax(0).float(), rtol=0, atol=2e-6 * spread)
    assert torch.isfinite(best.share).all()


class Largest(TorchDispatchMode):
    """Notes the largest piece of memory that results lie in, in bytes, but for those given."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.bytes, self._known = 0, {x.untyped_storage().data_ptr() for x in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.untyped_storage().data_ptr() not in self._known:
            self.bytes = max(self.bytes, found.untyped_storage().nbytes())
        return found


def test_no_tile_holds_labels_times_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    logits, sizes = case((480, 640), 480, 150)
    with Largest(logits) as largest:
        best_labels(logits, sizes, (480, 640))
    assert 480 * 640 < largest.bytes < 4 * 150 * 480 * 640 / 40
