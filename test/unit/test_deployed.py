"""The deployed network is the same one: folded BatchNorm, types by precision, TF32 only on request."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from reference import TINY_VIT
from tiny import TINY, HashText, tiny_net
from torch import nn
from torch.nn import functional

from lseg_ros.inference.backends.base import BackendError
from lseg_ros.inference.backends.names import PRECISIONS
from lseg_ros.inference.numerics import AUTO_ON_GPU, ON_GPU, float32_products, numerics_on_gpu
from lseg_ros.model.deployed import DeployedEncoderDecoder
from lseg_ros.model.folding import fold_batch_norm
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
from lseg_ros.model.net import LSegNet
from lseg_ros.model.variants import CnnBackbone, Decoder

pytestmark = pytest.mark.numeric

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
CUDA = torch.device("cuda")  # a name is all that is needed of it here


def with_statistics(net: LSegNet) -> LSegNet:
    """Gives BatchNorms statistics that have an effect."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor += 0.2 * torch.randn(tensor.shape)
            module.running_var *= torch.rand(module.running_var.shape) + 0.5
    return net.eval()


def vit() -> LSegNet:
    torch.manual_seed(0)
    return with_statistics(LSegNet(TINY_VIT, HashText()))


def resnet() -> LSegNet:
    """A network like lseg_rn101 with fewer layers."""
    torch.manual_seed(0)
    backbone = CnnBackbone("resnet26", taps=(1, 2, 3, 4), output_stride=32)
    return with_statistics(
        LSegNet(replace(TINY, backbone=backbone, decoder=Decoder(8, upsample=(1, 2, 2, 2))), HashText())
    )


def fused(net: LSegNet) -> FusedEncoderDecoder:
    return FusedEncoderDecoder(net).eval()


@pytest.mark.parametrize("make", [tiny_net, vit, resnet])
def test_folding_changes_no_number_and_leaves_no_batch_norm(make: Callable[[], LSegNet]) -> None:
    encoder = fused(make())
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    assert any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    with torch.inference_mode():
        expected = encoder(IMAGES)
        found = DeployedEncoderDecoder(encoder, torch.float32, torch.float32)
        torch.testing.assert_close(found(IMAGES), expected, rtol=0, atol=3e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in found.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())


def test_what_needs_no_change_is_in_memory_once() -> None:
    encoder = fused(vit())
    deployed = DeployedEncoderDecoder(encoder, torch.float32, torch.float32)
    shared = {t.data_ptr() for t in encoder.parameters()} & {t.data_ptr() for t in deployed.parameters()}
    linear = [m.weight.data_ptr() for m in encoder.modules() if isinstance(m, nn.Linear)]
    assert linear and shared.issuperset(linear)


def test_a_batch_norm_of_other_channels_stays() -> None:
    """It does not belong to the convolution before it."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(3)).eval()
    fold_batch_norm(net)
    assert isinstance(net[1], nn.BatchNorm2d)


@pytest.mark.parametrize("make", [tiny_net, vit])
@pytest.mark.parametrize(("name", "least"), [("float16", 0.9999), ("bfloat16", 0.995)])
def test_half_precision_keeps_directions(make: Callable[[], LSegNet], *, name: str, least: float) -> None:
    encoder, numerics = fused(make()), numerics_on_gpu(name)
    deployed = DeployedEncoderDecoder(encoder, numerics.encoder, numerics.decoder)
    assert {p.dtype for p in deployed.parameters()} == {numerics.encoder}
    try:
        with torch.inference_mode():
            found, expected = deployed(IMAGES), encoder(IMAGES)
    except RuntimeError as error:  # older PyTorch lacks some of these layers on CPUs
        pytest.skip(f"no {name} on this CPU: {error}")
    assert found.dtype == torch.float32
    cosine = functional.cosine_similarity(found, expected, dim=1)
    assert cosine.mean() > least and cosine.min() > 0.98
    torch.testing.assert_close(torch.linalg.vector_norm(found, dim=1), torch.ones(cosine.shape))


def test_the_decoder_may_have_a_type_of_its_own() -> None:
    deployed = DeployedEncoderDecoder(fused(vit()), torch.float16, torch.float32)
    assert {p.dtype for p in deployed.encoder.parameters()} == {torch.float16}
    assert {p.dtype for p in [*deployed.decoder.parameters(), *deployed.head.parameters()]} == {torch.float32}


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="must be multiples of 32"):
        DeployedEncoderDecoder(fused(tiny_net()), torch.float32, torch.float32)(IMAGES[..., :90])


def switches() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, cudnn.benchmark


@pytest.mark.parametrize("before", [(True, False, False), (False, True, True)])
def test_tf32_is_switched_in_a_block_and_put_back(before: tuple[bool, bool, bool]) -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    original = switches()
    try:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before
        with float32_products(CUDA, tf32=False, search=True):
            assert switches() == (False, False, True)
            with float32_products(CUDA, tf32=True):
                assert switches() == (True, True, False)
            assert switches() == (False, False, True)
        assert switches() == before
        with pytest.raises(KeyError), float32_products(CUDA, tf32=True):
            raise KeyError
        assert switches() == before
        with float32_products(torch.device("cpu"), tf32=not before[0]):
            assert switches() == before
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = original


def test_switches_of_newer_pytorch_are_understood() -> None:
    """A process that has used the newer switches cannot read the older ones any more."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("PyTorch before 2.9 has none")
    original = switches()
    try:
        matmul.fp32_precision, cudnn.conv.fp32_precision = "tf32", "ieee"  # type: ignore[attr-defined]
        with float32_products(CUDA, tf32=True):
            assert (matmul.fp32_precision, cudnn.conv.fp32_precision) == ("tf32", "tf32")  # type: ignore[attr-defined]
        with float32_products(CUDA, tf32=False):
            assert (matmul.fp32_precision, cudnn.conv.fp32_precision) == ("ieee", "ieee")  # type: ignore[attr-defined]
        assert (matmul.fp32_precision, cudnn.conv.fp32_precision) == ("tf32", "ieee")  # type: ignore[attr-defined]
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, _ = original


def test_precisions_on_a_gpu() -> None:
    assert set(ON_GPU) < set(PRECISIONS) and AUTO_ON_GPU in ON_GPU
    assert not ON_GPU["float32"].tf32 and ON_GPU["tf32"].tf32
    with pytest.raises(BackendError, match="torch runs in float32, tf32, float16, bfloat16 on a GPU, not in int8"):
        numerics_on_gpu("int8")


def test_a_copy_is_independent() -> None:
    encoder = fused(tiny_net())
    deployed = DeployedEncoderDecoder(encoder, torch.float32, torch.float32)
    again = copy.deepcopy(deployed)
    with torch.inference_mode():
        assert torch.equal(again(IMAGES), deployed(IMAGES))
