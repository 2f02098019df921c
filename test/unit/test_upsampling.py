"""Strips of enlarged logits, compared with two whole interpolations one after the other."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lseg_ros.inference import upsampling
from lseg_ros.inference.preprocess import Geometry, Size, geometry
from lseg_ros.inference.upsampling import best_labels, resized, shares, strips

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
