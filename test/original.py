"""Makes checkpoints of the original LSeg by rule: names and shapes of their tensors, and seeded values."""

import math
import sys
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from lseg_ros.model.variants import ClipText, Decoder, Variant, VitBackbone

Shapes = dict[str, tuple[int, ...]]
RESNET101 = (3, 4, 23, 3)
VOCABULARY, CONTEXT, IMAGENET = 49408, 77, 1000


def original_shapes(variant: Variant, visual: tuple[int, int] | None = (768, 12)) -> Shapes:
    """Returns names (without Lightning's prefix) and shapes of all tensors in a checkpoint of a variant.

    Args:
        variant: The variant.
        visual: Width and layers of CLIP's image tower, a ViT with patches of 32; None leaves it out.
    """
    assert isinstance(variant.text, ClipText)
    shapes = _clip(variant.text, variant.embed_dim, visual)
    if isinstance(variant.backbone, VitBackbone):
        shapes |= _vit(variant.backbone)
        channels = variant.backbone.channels
    else:
        shapes |= _resnet()
        channels = (256, 512, 1024, 2048)
    assert isinstance(variant.decoder, Decoder)
    features = variant.decoder.features
    for i, width in enumerate(channels, 1):
        shapes[f"scratch.layer{i}_rn.weight"] = (features, width, 3, 3)
        for j in (1, 2):
            for k in (1, 2):
                unit = f"scratch.refinenet{i}.resConfUnit{j}"
                shapes[f"{unit}.conv{k}.weight"] = (features, features, 3, 3)
                shapes |= _batch_norm(f"{unit}.bn{k}", features)
        shapes |= _affine(f"scratch.refinenet{i}.out_conv", (features, features, 1, 1))
    shapes |= _affine("scratch.head1", (variant.embed_dim, features, 1, 1))
    if variant.head_block is not None:
        shapes |= _affine("scratch.head_block.depthwise.depthwise", (1, 1, 3, 3))
    return shapes


def original_state(shapes: Shapes) -> dict[str, Tensor]:
    """Returns values that depend only on a tensor's name and shape.

    As published, CLIP's matrices are in half precision.
    """
    return {name: _seeded(name, shape) for name, shape in shapes.items()}


def seeded(name: str, shape: Iterable[int]) -> Tensor:
    """Returns float32 in [-1, 1) that depend only on name and shape. NumPy never changes this generator's numbers."""
    uniform = np.random.RandomState(zlib.crc32(name.encode())).random_sample(tuple(shape))
    return torch.from_numpy(np.asarray(uniform * 2 - 1, dtype=np.float32))


def _seeded(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(100)
    x = seeded(name, shape)
    if name.endswith("running_var"):
        # The decoder's values are small for some channels, so that the epsilon has an effect.
        x = 10 ** (1.5 * (x - 1)) if name.startswith("scratch.") else 1 + 0.5 * x
    elif name.endswith("bn3.weight"):
        x = 0.2 + 0.05 * x  # the end of a ResNet's branch: small, or 33 branches add up to too much
    elif name.endswith(".weight") and len(shape) == 1:
        x = 1 + 0.25 * x
    elif len(shape) < 2:
        x = 0.2 * x
    elif not name.endswith(("cls_token", "pos_embed", "positional_embedding", "token_embedding.weight")):
        x = x * math.sqrt(6 / math.prod(shape[1:]))  # keeps the variance through a ReLU
    return x.to(torch.float16) if is_half(name) else x


def is_half(name: str) -> bool:
    """Returns whether the published checkpoints have this tensor in half precision."""
    return name.startswith("clip_pretrained.") and any(
        part in name for part in ("attn.", "mlp.", "text_projection", "visual.proj", "conv1")
    )


def save_lightning(path: Path, state: Mapping[str, Tensor], **others: object) -> None:
    """Writes a checkpoint as Lightning 1.4 does: with a class that does not exist when the file is read."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = ModuleType(name)
    callback = type("ModelCheckpoint", (), {"__module__": name})
    vars(module)["ModelCheckpoint"] = callback
    parents = {parent: ModuleType(parent) for parent in ("pytorch_lightning", "pytorch_lightning.callbacks")}
    content = {
        "epoch": 200,
        "global_step": 1000,
        "pytorch-lightning_version": "1.4.9",
        "state_dict": {f"net.{key}": tensor for key, tensor in state.items()},
        "callbacks": {callback: {"best_model_score": torch.tensor(0.8), "best_model_path": "a.ckpt"}},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [{"base_lrs": [0.1], "last_epoch": 200, "lr_lambdas": [None]}],
    }
    with mock.patch.dict(sys.modules, {name: module, **parents}):
        torch.save(content | others, path)


def _affine(name: str, weight: tuple[int, ...], bias: int | None = None) -> Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": (bias or weight[0],)}


def _batch_norm(name: str, width: int) -> Shapes:
    statistics = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,), f"{name}.num_batches_tracked": ()}
    return _affine(name, (width,)) | statistics


def _clip(text: ClipText, embed_dim: int, visual: tuple[int, int] | None) -> Shapes:
    root, width = "clip_pretrained", text.width
    shapes: Shapes = {
        f"{root}.positional_embedding": (CONTEXT, width),
        f"{root}.token_embedding.weight": (VOCABULARY, width),
        f"{root}.text_projection": (width, embed_dim),
        f"{root}.logit_scale": (),
    }
    shapes |= _affine(f"{root}.ln_final", (width,)) | _clip_blocks(root, width, text.layers)
    if visual is not None:
        root, (width, layers) = f"{root}.visual", visual
        shapes |= {
            f"{root}.class_embedding": (width,),
            f"{root}.positional_embedding": (50, width),
            f"{root}.proj": (width, embed_dim),
            f"{root}.conv1.weight": (width, 3, 32, 32),
        }
        shapes |= _affine(f"{root}.ln_pre", (width,)) | _affine(f"{root}.ln_post", (width,))
        shapes |= _clip_blocks(root, width, layers)
    return shapes


def _clip_blocks(root: str, width: int, layers: int) -> Shapes:
    shapes: Shapes = {}
    for i in range(layers):
        block = f"{root}.transformer.resblocks.{i}"
        shapes |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
        shapes |= _affine(f"{block}.attn.out_proj", (width, width))
        shapes |= _affine(f"{block}.ln_1", (width,)) | _affine(f"{block}.ln_2", (width,))
        shapes |= _affine(f"{block}.mlp.c_fc", (4 * width, width)) | _affine(f"{block}.mlp.c_proj", (width, 4 * width))
    return shapes


def _vit(vit: VitBackbone) -> Shapes:
    root, width = "pretrained.model", vit.width
    shapes: Shapes = {f"{root}.cls_token": (1, 1, width), f"{root}.pos_embed": (1, 1 + vit.grid**2, width)}
    shapes |= _affine(f"{root}.patch_embed.proj", (width, 3, vit.patch, vit.patch))
    for i in range(vit.depth):
        block = f"{root}.blocks.{i}"
        shapes |= _affine(f"{block}.norm1", (width,)) | _affine(f"{block}.norm2", (width,))
        shapes |= _affine(f"{block}.attn.qkv", (3 * width, width)) | _affine(f"{block}.attn.proj", (width, width))
        shapes |= _affine(f"{block}.mlp.fc1", (4 * width, width)) | _affine(f"{block}.mlp.fc2", (width, 4 * width))
    shapes |= _affine(f"{root}.norm", (width,)) | _affine(f"{root}.head", (IMAGENET, width))
    for i, (channels, scale) in enumerate(zip(vit.channels, vit.scale, strict=True), 1):
        level = f"pretrained.act_postprocess{i}"
        shapes |= _affine(f"{level}.0.project.0", (width, 2 * width))
        shapes |= _affine(f"{level}.3", (channels, width, 1, 1))
        if scale != 1:
            kernel = int(scale) if scale > 1 else 3
            shapes |= _affine(f"{level}.4", (channels, channels, kernel, kernel))
    return shapes


def _resnet() -> Shapes:
    """Returns the four stages of torchvision's ResNet-101 as the original uses them."""
    shapes: Shapes = {"pretrained.layer1.0.weight": (64, 3, 7, 7)} | _batch_norm("pretrained.layer1.1", 64)
    width_in = 64
    for stage, blocks in enumerate(RESNET101, 1):
        root = "pretrained.layer1.4" if stage == 1 else f"pretrained.layer{stage}"
        inner = 32 * 2**stage
        for i in range(blocks):
            block = f"{root}.{i}"
            convolutions = ((inner, width_in, 1), (inner, inner, 3), (4 * inner, inner, 1))
            for j, (out, into, kernel) in enumerate(convolutions, 1):
                shapes[f"{block}.conv{j}.weight"] = (out, into, kernel, kernel)
                shapes |= _batch_norm(f"{block}.bn{j}", out)
            if i == 0:
                shapes[f"{block}.downsample.0.weight"] = (4 * inner, width_in, 1, 1)
                shapes |= _batch_norm(f"{block}.downsample.1", 4 * inner)
            width_in = 4 * inner
    return shapes
