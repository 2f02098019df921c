"""The image side as it runs, held to the network's own definition."""

import pytest
import torch
from tiny import tiny_net
from torch import nn

from lseg_ros.model.image_encoder import ImageEncoder

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("wide", [True, False])  # whether the text has more dimensions than the decoder has features
def test_coordinates_have_the_cosines_of_the_embedding(*, wide: bool) -> None:
    net = tiny_net()
    if not wide:
        net.decoder.head = nn.Conv2d(8, 4, 1).eval()
    dim = net.decoder.head.out_channels
    text = torch.nn.functional.normalize(torch.randn(5, dim, generator=torch.Generator().manual_seed(1)), dim=1)
    with torch.no_grad():
        encoder = ImageEncoder(net)
        coordinates, embedding = encoder(IMAGES), net.encode_image(IMAGES)
        assert coordinates.shape[1] == encoder.basis.shape[1] == min(9, dim)
        ours = torch.einsum("brhw,nr->bnhw", coordinates, text @ encoder.basis)
        plain = torch.einsum("bdhw,nd->bnhw", embedding, text)
    torch.testing.assert_close(ours, plain, rtol=0, atol=2e-6)
    torch.testing.assert_close(torch.linalg.vector_norm(coordinates, dim=1), torch.ones(2, *coordinates.shape[2:]))


def test_the_network_stays_as_it_is() -> None:
    net = tiny_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    ImageEncoder(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
