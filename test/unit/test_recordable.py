"""Functions that are recorded as CUDA graphs do nothing that cannot be recorded, checked without a GPU."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from reference import TINY_VIT
from tiny import TINY, HashText, tiny_net
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lseg_ros import Segmenter
from lseg_ros.inference import upsampling
from lseg_ros.inference.cuda_graphs import Body, Recorder
from lseg_ros.inference.gpu_frames import GpuFrames
from lseg_ros.inference.labels import LabelSpec
from lseg_ros.inference.preprocess import geometry
from lseg_ros.inference.winners import best_labels
from lseg_ros.model.deployed import DeployedEncoderDecoder
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
from lseg_ros.model.net import LSegNet
from lseg_ros.model.variants import VARIANTS, Variant

CPU = torch.device("cpu")
RGB = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
# Reading a number, sizes that depend on numbers, and tensors made of Python's numbers, which come from ordinary memory.
FORBIDDEN = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "unique",
    "lift_fresh",
    "lift_fresh_copy",
    "_pin_memory",
    "is_pinned",
    "equal",
    "repeat_interleave",
)


CALLS = ("item", "tolist", "cpu", "numpy", "tensor", "as_tensor", "from_numpy", "__bool__", "__float__", "__int__")


@pytest.fixture(autouse=True)
def programs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image of a size has a program."""
    monkeypatch.setattr("lseg_ros.inference.gpu_frames._OFTEN", 1)


class ForbidsCalls(TorchFunctionMode):
    """Raises if Python reads numbers of a tensor or makes a tensor of Python's numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        assert name not in CALLS, f"{name} cannot be part of a CUDA graph"
        return func(*args, **(kwargs or {}))


class Forbids(TorchDispatchMode):
    """Raises if an operation cannot be recorded."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in FORBIDDEN, f"{name} cannot be part of a CUDA graph"
        return func(*args, **(kwargs or {}))


class Strict(Recorder):
    """Runs a function as a recording does: once to warm up, and from then on in `Forbids`."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.checked: list[str] = []

    def record(self, body: Body, what: str) -> tuple[Body, bool]:
        body()
        with Forbids(), ForbidsCalls():
            body()
        self.checked.append(what)
        return body, True


def frames_of(net: LSegNet) -> tuple[Segmenter, Strict]:
    segmenter, strict = Segmenter(net, "cpu"), Strict()
    encode = DeployedEncoderDecoder(segmenter._encoder, torch.float32, torch.float32)
    segmenter._frames = GpuFrames(net, encode, strict, tf32=False, capture=True)
    return segmenter, strict


def vit() -> LSegNet:
    torch.manual_seed(0)
    return LSegNet(TINY_VIT, OfWidth(TINY_VIT)).eval()


class OfWidth(HashText):
    """A text encoder with the width of a variant."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.dim = variant.embed_dim


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("make", [tiny_net, vit])
def test_no_forbidden_operation(monkeypatch: pytest.MonkeyPatch, *, make: Callable[[], LSegNet], whole: bool) -> None:
    monkeypatch.setattr(upsampling, "_whole_limit", lambda device: 10**9 if whole else 0)
    segmenter, strict = frames_of(make())
    labels = [LabelSpec("road", prompts=("road", "street")), LabelSpec("sky", threshold=0.5), LabelSpec("x")]
    segmenter.set_labels(labels)
    assert segmenter.segment(RGB).mask.shape == (60, 100)
    assert [what.partition(" ")[0] for what in strict.checked] == ["preprocessing", "encoder", "scoring"]


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda x: x * float(x.sum().item() * 0 + 1), "item"),
        (lambda x: x * (1 if x.sum() < 1e9 else 2), "__bool__"),
        (lambda x: x + torch.tensor(0.0), "tensor"),
        (lambda x: x + len(x.nonzero()) * 0, "nonzero"),
    ],
)
def test_what_cannot_be_recorded_is_seen(*, spoil: Callable[[Tensor], Tensor], name: str) -> None:
    segmenter, strict = frames_of(tiny_net())
    encode = segmenter._backend
    frames = GpuFrames(segmenter._net, lambda x: spoil(encode(x)), strict, tf32=False, capture=True)
    segmenter._frames = frames
    with pytest.raises(AssertionError, match=f"{name} cannot be part of a CUDA graph"):
        segmenter.embed(RGB)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_variant_computes_where_its_weights_are(name: str) -> None:
    """The weights are on the device `meta`, which has shapes but no numbers. A tensor on the CPU raises an error."""
    variant = VARIANTS[name]
    with torch.device("meta"):
        net = LSegNet(variant, OfWidth(variant)).eval()
    # Folding two layers into one needs numbers; that is of no account here.
    for module in (net.encoder, net.decoder):
        assert all(parameter.is_meta for parameter in module.parameters())
    found = net.decoder.refine(net.encoder(torch.empty(1, 3, 96, 128, device="meta")))
    assert found.is_meta


def test_scoring_computes_where_logits_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upsampling, "_whole_limit", lambda device: 10**9)
    sizes = geometry((60, 100), TINY.input_size, 32)
    best = best_labels(torch.empty(1, 5, 16, 24, device="meta"), sizes, (60, 100))
    tensors: list[Tensor] = [best.index, best.logit, best.share]
    assert all(tensor.is_meta and tensor.shape == (60, 100) for tensor in tensors)


def test_deployed_networks_compute_where_their_weights_are() -> None:
    for net in (tiny_net(), vit()):
        deployed = DeployedEncoderDecoder(FusedEncoderDecoder(net).eval(), torch.float32, torch.float32).to("meta")
        assert deployed(torch.empty(1, 3, 96, 128, device="meta")).is_meta
