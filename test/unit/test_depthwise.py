"""The faster depthwise convolutions give the same results."""

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from lseg_ros.model.backbone import CnnEncoder
from lseg_ros.model.variants import VARIANTS, CnnBackbone
from lseg_ros.training.depthwise import quicken

pytestmark = pytest.mark.numeric


def step(net: nn.Module, x: Tensor, *, autocast: bool = False) -> tuple[Tensor, ...]:
    """Returns output, and gradients of input and parameters."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = net(x).float()
    gradients = torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), [x, *net.parameters()])
    return y.detach(), *gradients


@pytest.mark.parametrize("conv", [
    nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6),
    nn.Conv2d(6, 6, 3, padding=3, dilation=3, groups=6, bias=False),
    Conv2dSame(6, 6, 3, stride=2, groups=6),
    Conv2dSame(6, 6, 5, stride=(2, 1), groups=6, bias=False),
])  # fmt: skip
@pytest.mark.parametrize("size", [(12, 18), (7, 12), (12, 9)])
def test_results_and_gradients_are_the_same(conv: nn.Module, size: tuple[int, int]) -> None:
    quick = copy.deepcopy(conv)
    quicken(quick)
    assert type(quick) is not type(conv)
    x = torch.randn(2, 6, *size).contiguous(memory_format=torch.channels_last)
    for expected, found in zip(step(conv, x), step(quick, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    # Only the rounding of bfloat16 may differ: 0.4 % for each of two factors, and for a sum, that some processors round
    # after every term.
    for exact, found in zip(step(conv, x), step(quick, x, autocast=True), strict=True):
        assert (found - exact).abs().max() <= 0.03 * exact.abs().max()


@pytest.mark.parametrize("conv", [
    nn.Conv2d(6, 6, 3, padding=1, groups=6),
    nn.Conv2d(6, 6, 3, padding=2, dilation=2),
    nn.Conv2d(6, 6, 3, padding=1, dilation=2, groups=6),
    nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6, padding_mode="reflect"),
    Conv2dSame(6, 6, 3, stride=2),
])  # fmt: skip
def test_others_stay_as_they_are(conv: nn.Module) -> None:
    kind = type(conv)
    quicken(conv)
    assert type(conv) is kind


def test_lseg_mini_has_what_is_slow() -> None:
    backbone = VARIANTS["lseg_mini"].backbone
    assert isinstance(backbone, CnnBackbone)
    encoder = CnnEncoder(backbone)
    names, kinds = list(encoder.state_dict()), [type(module) for module in encoder.modules()]
    quicken(encoder)
    changed = [
        type(module).__name__ for module, kind in zip(encoder.modules(), kinds, strict=True) if type(module) is not kind
    ]
    # The first network has three of each. The second one is not dilated, and two of its own stages have strides.
    assert sorted(changed) == 3 * ["_Dilated"] + 5 * ["_Strided"]
    assert list(encoder.state_dict()) == names
