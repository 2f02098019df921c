"""The two references that every speed is compared with. They were written once and are never made faster.

`Plain` does what the original LSeg does: it encodes the labels for every frame, and the decoder enlarges before its 1x1
convolutions. `Baseline` is `Segmenter` before any tuning: labels encoded once, convolutions first, channels last. Both
compute every label at full resolution in float32. They contain copies of the library's code at that time, so that later
changes do not affect them. Only the network's modules are the library's own.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.backbone import VitEncoder
from lseg_ros.model.decoder import FusionBlock, FusionDecoder
from lseg_ros.model.net import LSegNet
from lseg_ros.model.text import Clip, MiniLm

Size = tuple[int, int]  # height, width
Result = tuple[NDArray[np.uint8], NDArray[np.float32], dict[str, float]]
"""HxW class ids, 1 for the first label; HxW confidence; milliseconds by stage."""
_STEP = 32


class Plain:
    """The straightforward network in float32."""

    def __init__(self, net: LSegNet, labels: Sequence[str]) -> None:
        """Prepares the network.

        Args:
            net: The network, on its device. Nobody else may use it.
            labels: The labels. Each is its own prompt.
        """
        self.net, self.labels = net.eval().float().to(memory_format=self.memory_format), list(labels)

    memory_format = torch.contiguous_format
    upsample_first = True

    def segment(self, rgb: NDArray[np.uint8]) -> Result:
        """Maps [H,W,3] uint8 RGB to ids, confidence and times."""
        clock = _Clock(self.net.device)
        size = (rgb.shape[0], rgb.shape[1])
        resized, padded = _sizes(size, self.net.variant.input_size)
        with torch.inference_mode():
            images = self._input(rgb, resized, padded)
            clock.lap("preprocess")
            text = self.text()
            clock.lap("text")
            embedding = functional.normalize(self._decode(_encode(self.net.encoder, images)), dim=1)
            clock.lap("encode")
            logits = functional.conv2d(embedding, (text / 0.07)[:, :, None, None])
            if self.net.head_block is not None:
                logits = self.net.head_block(logits)
            logits = _upsample(logits, padded)[:, :, : resized[0], : resized[1]]
            if size != resized:
                logits = functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            share, index = logits[0].softmax(0).max(0)
            ids = torch.arange(1, len(self.labels) + 1, device=index.device, dtype=torch.int32)[index]
            result = ids.cpu().numpy().astype(np.uint8), share.cpu().numpy()
        clock.lap("score")
        return *result, clock.stage_ms

    def text(self) -> Tensor:
        """Returns the labels' vectors, [N,D] unit rows."""
        return encode_text(self.net, self.labels)

    def _input(self, rgb: NDArray[np.uint8], resized: Size, padded: Size) -> Tensor:
        """Maps [H,W,3] uint8 RGB to normalized [1,3,*padded], black in the padding."""
        variant, device = self.net.variant, self.net.device
        x = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).to(device).permute(2, 0, 1)[None].float()
        if resized != rgb.shape[:2]:
            x = functional.interpolate(x, size=resized, mode="bilinear", align_corners=False)
        x = functional.pad(x, (0, padded[1] - resized[1], 0, padded[0] - resized[0]))
        mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (variant.mean, variant.std))
        return ((x / 255 - mean) / std).contiguous(memory_format=self.memory_format)

    def _decode(self, pyramid: list[Tensor]) -> Tensor:
        """Maps the levels of the encoder, finest first, to [1,D,h,w]."""
        decoder: nn.Module = self.net.decoder
        if not isinstance(decoder, FusionDecoder):
            return decoder(pyramid)
        levels = [project(x) for project, x in zip(decoder.project, pyramid, strict=True)]
        x: Tensor | None = None
        for block, level in zip(reversed(decoder.fuse), reversed(levels), strict=True):
            x = self._fuse(block, level, x)
        return decoder.head(x)

    def _fuse(self, block: nn.Module, level: Tensor, below: Tensor | None) -> Tensor:
        assert isinstance(block, FusionBlock)
        x = level
        if below is not None:
            assert block.skip_unit is not None
            x = below + _residual(block.skip_unit, level)
        x = _residual(block.unit, x)
        size = (x.shape[-2] * block.scale, x.shape[-1] * block.scale)
        return block.out_conv(_upsample(x, size)) if self.upsample_first else _upsample(block.out_conv(x), size)


class Baseline(Plain):
    """`Segmenter` before it was tuned."""

    memory_format = torch.channels_last
    upsample_first = False

    def __init__(self, net: LSegNet, labels: Sequence[str]) -> None:
        super().__init__(net, labels)
        with torch.inference_mode():
            self._text = super().text()

    def text(self) -> Tensor:
        return self._text


class _Clock:
    """Measures milliseconds between laps."""

    def __init__(self, device: torch.device) -> None:
        self._device, self.stage_ms, self._last = device, dict[str, float](), time.perf_counter()

    def lap(self, stage: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.stage_ms[stage], self._last = 1e3 * (now - self._last), now


def _sizes(image: Size, input_size: int) -> tuple[Size, Size]:
    """Returns the image's size with its longest side at `input_size`, and the next multiples of 32."""
    height, width = (max(1, round(n * input_size / max(image))) for n in image)
    return (height, width), (-(-height // _STEP) * _STEP, -(-width // _STEP) * _STEP)


def _upsample(x: Tensor, size: Size) -> Tensor:
    return x if x.shape[-2:] == size else functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _residual(unit: nn.Module, x: Tensor) -> Tensor:
    y = unit.get_submodule("bn1")(unit.get_submodule("conv1")(functional.relu(x)))
    return x + unit.get_submodule("bn2")(unit.get_submodule("conv2")(functional.relu(y)))


def _encode(encoder: nn.Module, images: Tensor) -> list[Tensor]:
    """Maps [1,3,H,W] to the levels of the pyramid, finest first."""
    if not isinstance(encoder, VitEncoder):
        return encoder.get_submodule("cnn")(images)
    x = encoder.patch_embed(images)
    grid, stored = (x.shape[2], x.shape[3]), encoder.config.grid
    positions: Tensor = encoder.pos_embed
    if grid != (stored, stored):
        patches = positions[:, 1:].unflatten(1, (stored, stored)).permute(0, 3, 1, 2)
        patches = functional.interpolate(patches, size=grid, mode="bilinear", align_corners=False)
        positions = torch.cat([positions[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)
    x = torch.cat([encoder.cls_token, x.flatten(2).transpose(1, 2)], dim=1) + positions
    tokens = []
    for i, block in enumerate(encoder.blocks):
        x = block(x)
        if i in encoder.config.taps:
            tokens.append(x)
    return [_reassemble(part, x, grid) for part, x in zip(encoder.reassemble, tokens, strict=True)]


def _reassemble(part: nn.Module, tokens: Tensor, grid: Size) -> Tensor:
    patches = tokens[:, 1:]
    x = torch.cat([patches, tokens[:, :1].expand_as(patches)], dim=-1)
    x = functional.gelu(part.get_submodule("readout")(x))
    x = part.get_submodule("project")(x.transpose(1, 2).unflatten(2, grid))
    return x if part.resample is None else part.get_submodule("resample")(x)


def encode_text(net: LSegNet, phrases: Sequence[str]) -> Tensor:
    """Encodes N phrases as [N,D] unit rows, with all templates and all tokens of the context."""
    templates = net.variant.templates
    sentences = [template.replace("{}", phrase) for phrase in phrases for template in templates]
    x = _features(net.text_encoder, sentences).to(net.device)
    if len(templates) > 1:
        x = functional.normalize(x.unflatten(0, (len(phrases), len(templates))).sum(1), dim=-1)
    if net.text_projection is not None:
        x = x + functional.linear(x, net.text_projection.weight, net.text_projection.bias)
        x = functional.normalize(x, dim=-1)
    return x


def _features(encoder: nn.Module, sentences: list[str]) -> Tensor:
    if isinstance(encoder, Clip):
        tokens = encoder.tokenize(sentences).to(encoder.tower.positional_embedding.device)
        return functional.normalize(encoder.tower(tokens), dim=-1)
    if not isinstance(encoder, MiniLm):
        return encoder(sentences)
    ids = [torch.tensor(encoding.ids) for encoding in encoder.tokenizer.encode_batch(sentences)]
    tokens = nn.utils.rnn.pad_sequence(ids, batch_first=True).to(encoder.words.weight.device)
    mask = tokens != 0  # 0 is the padding's id
    x = encoder.words(tokens) + encoder.positions.weight[: tokens.shape[1]] + encoder.token_type.weight[0]
    x = encoder.layers(encoder.norm(x), src_key_padding_mask=~mask)
    return functional.normalize(x.masked_fill(~mask[..., None], 0.0).sum(1), dim=-1)
