"""The original's multi-scale evaluation."""

import numpy as np
import pytest
import torch
from reference import REFERENCE, TINY_VIT
from tiny import tiny_net
from torch import Tensor

from lseg_ros import Segmenter, load_model
from lseg_ros.inference.multiscale import CROP, multiscale_logits, passes

pytestmark = pytest.mark.numeric

BLACK = torch.full((3,), -1.0)


def position_dependent(window: Tensor) -> Tensor:
    """Replaces a network: it is fast, and differs for the mirror image and for other places of a window."""
    ramp = torch.linspace(0, 1, CROP)
    field = 1 + 0.5 * ramp[None, :] + 0.25 * ramp[:, None]
    weights = torch.tensor([[1.0, 0.5, -0.5], [-1.0, 0.25, 2.0]])
    assert window.shape == (1, 3, CROP, CROP)
    return torch.einsum("nc,bchw->bnhw", weights, window) * field


def photo(height: int, width: int) -> Tensor:
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None, :]
    return torch.stack([rows.sin() + columns, columns.cos() * rows, (3 * rows * columns).sin()])[None]


@pytest.mark.parametrize(("size", "forwards"), [((360, 480), 18), ((480, 640), 18), ((480, 360), 18), ((200, 200), 23)])
def test_number_of_forwards(size: tuple[int, int], forwards: int) -> None:
    calls = []

    def count(window: Tensor) -> Tensor:
        calls.append(window.shape)
        return window[:, :1]

    assert multiscale_logits(count, photo(*size), BLACK).shape == (1, 1, *size)
    assert len(calls) == 2 * forwards


def test_a_constant_stays_constant() -> None:
    logits = multiscale_logits(lambda window: torch.ones_like(window[:, :2]), photo(300, 500), BLACK)
    torch.testing.assert_close(logits / passes(), torch.ones(1, 2, 300, 500))


# Held once the evaluation below agreed with the original's outputs to 1e-4.
PINNED = {
    (360, 480): [-34.272217, 5.255835, 34.169682, -12.523635],
    (500, 333): [-34.526279, 5.320954, 34.672489, -12.346215],
}


@pytest.mark.parametrize("size", PINNED)
def test_pinned_numbers(size: tuple[int, int]) -> None:
    logits = multiscale_logits(position_dependent, photo(*size), BLACK)[0]
    found = [logits[0, 10, 20], logits[1, size[0] // 2, size[1] // 3], logits[0, -1, -1], logits[1, 5, -5]]
    assert [x.item() for x in found] == pytest.approx(PINNED[size], abs=1e-4)


def test_segmenter_gives_the_same_kind_of_result() -> None:
    segmenter = Segmenter(tiny_net(), "cpu")
    segmenter.set_labels(["road", "grass"])
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    result = segmenter.segment_multiscale(rgb)
    assert result.mask.shape == (40, 60) and set(np.unique(result.mask)) <= {1, 2}
    assert result.labels is segmenter.labels
    assert segmenter.segment_multiscale(np.zeros((1, 700, 3), np.uint8)).mask.shape == (1, 700)
    np.testing.assert_allclose(result.scores("road") + result.scores("grass"), 1, atol=1e-5)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="needs the original's outputs beside the project")
def test_against_the_original() -> None:
    reference = torch.load(REFERENCE / "tiny_multieval_reference.pt", weights_only=True)
    net = load_model(REFERENCE / "tiny.ckpt", variant=TINY_VIT)
    text = net.encode_text(reference["labels"])
    image = (reference["photo_u8"].float() / 255 - 0.5) / 0.5
    image = torch.nn.functional.interpolate(image, size=(360, 480), mode="bilinear", align_corners=False)
    torch.testing.assert_close(image[..., ::4, ::4], reference["app_input_noantialias_s4"])

    def score(window: Tensor) -> Tensor:
        return net.score(net.encode_image(window), text, (CROP, CROP))

    case = reference["cases"]["app_360x480"]
    with torch.inference_mode():
        logits = multiscale_logits(score, image, BLACK)
        torch.testing.assert_close(logits[..., ::4, ::4], case["scores_s4"], rtol=0, atol=1e-4)
    top = logits.topk(2, dim=1).values
    decided = top[:, 0] - top[:, 1] > 1e-3
    assert torch.equal(logits.argmax(1)[decided].byte(), case["argmax_u8"][decided])
