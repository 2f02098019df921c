"""The fused image side gives the numbers of the network's own definition."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from reference import TINY_VIT
from tiny import HashText, tiny_net
from torch import nn

from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
from lseg_ros.model.net import LSegNet
from lseg_ros.model.variants import Variant, VitBackbone

pytestmark = pytest.mark.numeric

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def tiny_vit(variant: Variant) -> LSegNet:
    """A network whose biases have an effect. With the small initial ones, an error in them would not show."""
    torch.manual_seed(0)
    net = LSegNet(variant, HashText()).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
            nn.init.normal_(module.bias)
    return net


@pytest.mark.parametrize("wide", [True, False])  # whether the text has more dimensions than the decoder has features
def test_coordinates_have_the_cosines_of_the_embedding(*, wide: bool) -> None:
    net = tiny_net()
    if not wide:
        net.decoder.head = nn.Conv2d(8, 4, 1).eval()
    dim = net.decoder.head.out_channels
    text = torch.nn.functional.normalize(torch.randn(5, dim, generator=torch.Generator().manual_seed(1)), dim=1)
    with torch.no_grad():
        encoder = FusedEncoderDecoder(net)
        coordinates, embedding = encoder(IMAGES), net.encode_image(IMAGES)
        assert coordinates.shape[1] == encoder.basis.shape[1] == min(9, dim)
        ours = torch.einsum("brhw,nr->bnhw", coordinates, text @ encoder.basis)
        plain = torch.einsum("bdhw,nd->bnhw", embedding, text)
    torch.testing.assert_close(ours, plain, rtol=0, atol=2e-6)
    torch.testing.assert_close(torch.linalg.vector_norm(coordinates, dim=1), torch.ones(2, *coordinates.shape[2:]))


@pytest.mark.parametrize("scale", [(4, 2, 1, 0.5), (8, 4, 2, 1)])
def test_the_enlarging_of_tokens_takes_the_next_convolution_with_it(scale: tuple[float, ...]) -> None:
    assert isinstance(TINY_VIT.backbone, VitBackbone)
    backbone = replace(TINY_VIT.backbone, patch=int(8 * scale[0]), scale=scale)
    net = tiny_vit(replace(TINY_VIT, backbone=backbone))
    images = torch.randn(2, 3, 64, 192, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        encoder = FusedEncoderDecoder(net)
        found = torch.einsum("brhw,dr->bdhw", encoder(images), encoder.basis)
        torch.testing.assert_close(found, net.encode_image(images), rtol=0, atol=2e-6)
    enlarged = sum(n > 1 for n in scale)
    assert sum(isinstance(m, nn.ConvTranspose2d) for m in encoder.decoder.project) == enlarged
    assert not any(isinstance(m, nn.ConvTranspose2d) for m in encoder.encoder.modules())


@pytest.mark.parametrize("make", [tiny_net, lambda: tiny_vit(TINY_VIT)])
def test_the_network_stays_as_it_is(make: Callable[[], LSegNet]) -> None:
    net = make()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    encoder = FusedEncoderDecoder(net)
    shared = {id(parameter) for parameter in net.parameters()} & {id(parameter) for parameter in encoder.parameters()}
    assert len(shared) > 0.9 * len(list(encoder.parameters())), "large networks are in memory once"
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
