"""The network's arithmetic, on a small one with random weights."""

import copy

import pytest
import torch
from tiny import TINY, tiny_net
from torch.nn import functional

from lseg_ros.model.decoder import FusionBlock, ResidualConvUnit
from lseg_ros.model.net import LOGIT_SCALE, check_size

pytestmark = pytest.mark.numeric

TEXT = ["road", "grass", "sky"]


def test_shapes_and_unit_vectors() -> None:
    net = tiny_net()
    text = net.encode_text(TEXT)
    assert text.shape == (3, 16) and text.dtype == torch.float32
    embedding = net.encode_image(torch.randn(2, 3, 64, 96))
    assert embedding.shape == (2, 16, 16, 24)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2, 16, 24))
    assert net.score(embedding, text, (64, 96)).shape == (2, 3, 64, 96)


def test_logits_are_cosines_over_the_temperature() -> None:
    net = tiny_net()
    text, embedding = net.encode_text(TEXT), net.encode_image(torch.randn(1, 3, 32, 32))
    expected = torch.einsum("bdhw,nd->bnhw", embedding, text) / 0.07
    torch.testing.assert_close(net.logits(embedding, text), expected, rtol=0, atol=1e-5)
    assert pytest.approx(14.2857, abs=1e-4) == LOGIT_SCALE


def test_forward_is_encode_then_score() -> None:
    net, images = tiny_net(), torch.randn(1, 3, 64, 32)
    text = net.encode_text(TEXT)
    logits = net(images, text)
    torch.testing.assert_close(logits, net.score(net.encode_image(images), text, (64, 32)), rtol=0, atol=0)
    small = net.logits(net.encode_image(images), text)
    expected = functional.interpolate(small, size=(64, 32), mode="bilinear", align_corners=True)
    torch.testing.assert_close(logits, expected)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(("size", "nearest"), [((33, 64), "height 32 or 64, width 64"), ((10, 100), "width 96 or 128")])
def test_odd_sizes_are_refused_with_the_nearest_good_ones(size: tuple[int, int], nearest: str) -> None:
    with pytest.raises(ValueError, match=nearest):
        tiny_net().encode_image(torch.zeros(1, 3, *size))
    check_size(64, 96, 32)


def test_two_networks_and_a_copy_do_not_disturb_one_another() -> None:
    first, second = tiny_net(1), tiny_net(2)
    images, text = torch.randn(1, 3, 32, 32), first.encode_text(TEXT)
    alone = first(images, text)
    twin = copy.deepcopy(first)
    second(images, text)
    torch.testing.assert_close(first(images, text), alone, rtol=0, atol=0)
    torch.testing.assert_close(twin(images, text), alone, rtol=0, atol=0)


def test_backward_works_twice_and_leaves_text_alone() -> None:
    net = tiny_net().train()
    text = net.encode_text(TEXT)
    for _ in range(2):
        net(torch.randn(2, 3, 32, 32), text).square().mean().backward()
    assert not text.requires_grad
    assert all(p.grad is not None for p in net.decoder.parameters())


def test_residual_unit_keeps_its_skip_unactivated() -> None:
    unit = ResidualConvUnit(4, separable=False).eval()
    torch.nn.init.zeros_(unit.bn2.weight)  # nothing comes out of the branch
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(unit(x.clone()), x)


def test_fusion_block_is_the_published_order_up_to_rounding() -> None:
    block = FusionBlock(4, scale=2, separable=False, has_skip=True).eval()
    x, skip = torch.randn(1, 4, 6, 5), torch.randn(1, 4, 6, 5)
    assert block.skip_unit is not None
    y = block.unit(x + block.skip_unit(skip))
    y = block.out_conv(functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True))
    torch.testing.assert_close(block(x, skip), y, rtol=0, atol=1e-5)


def test_a_pinned_number() -> None:
    """A change of the arithmetic changes this number."""
    net = tiny_net(3)
    images = torch.linspace(-1, 1, 3 * 32 * 64).reshape(1, 3, 32, 64)
    logits = net(images, net.encode_text(TEXT))
    found = [logits[0, 0, 0, 0].item(), logits[0, 1, 16, 32].item(), logits[0, 2, 31, 63].item()]
    assert found == pytest.approx(PINNED, abs=1e-4)
    assert TINY.embed_dim == 16


def test_text_is_a_list_of_phrases() -> None:
    net = tiny_net()
    with pytest.raises(ValueError, match="takes a list of phrases"):
        net.encode_text("road")


def test_unit_vectors_also_under_autocast() -> None:
    net = tiny_net()
    with torch.autocast("cpu", torch.bfloat16):
        embedding, text = net.encode_image(torch.randn(1, 3, 32, 32)), net.encode_text(TEXT)
    for vectors in (embedding.movedim(1, -1), text):
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]))


PINNED = [1.875627, -6.679339, -2.417020]
