"""LSegNet: pixels and phrases in one space (Li et al., "Language-driven Semantic Segmentation", ICLR 2022).

Shapes: B images, H x W input pixels, D embedding width, h x w decoder resolution, N texts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.backbone import CnnEncoder, VitEncoder
from lseg_ros.model.decoder import FusionDecoder, upsample
from lseg_ros.model.head_block import LogitBlock
from lseg_ros.model.text import TextEncoder
from lseg_ros.model.variants import Variant, VitBackbone

LOGIT_SCALE = 1 / 0.07  # fixed by the paper; not a weight
SIZE_STEP = 32
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TextProjection(nn.Module):
    """A linear map close to the identity, which it is before training: x + Ax + b, unit length."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim, dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, features: Tensor) -> Tensor:
        """[N,D] -> [N,D] unit rows."""
        with torch.autocast(features.device.type, enabled=False):
            return functional.normalize(features + functional.linear(features, self.weight, self.bias), dim=-1)


class LSegNet(nn.Module):
    """An image encoder that gives every pixel a unit vector, and a frozen text encoder that gives one to a phrase."""

    def __init__(self, variant: Variant, text_encoder: TextEncoder) -> None:
        """Random weights; the text encoder is taken as it is."""
        super().__init__()
        self.variant = variant
        self.licence = "unknown"
        backbone = variant.backbone
        self.encoder = VitEncoder(backbone) if isinstance(backbone, VitBackbone) else CnnEncoder(backbone)
        self.decoder = FusionDecoder(variant.decoder, self.encoder.channels, variant.embed_dim)
        self.head_block = None if variant.head_block is None else LogitBlock(variant.head_block)
        self.text_encoder = text_encoder
        self.text_projection = TextProjection(variant.embed_dim) if variant.text_projection else None

    @property
    def device(self) -> torch.device:
        """Where the image encoder's weights are."""
        return self.decoder.head.weight.device

    @torch.no_grad()
    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """N phrases, each in all templates of the variant -> [N,D] float32 with unit rows.

        Raises:
            ValueError: a phrase is longer than the text encoder reads; it is never cut. Or a single text was given
                where a list of them belongs.
        """
        return self.project_text(self.embed_text(phrases))

    @torch.no_grad()
    def embed_text(self, phrases: Sequence[str]) -> Tensor:
        """N phrases -> [N,D] float32 unit rows of the frozen text encoder; raises ValueError as `encode_text` does."""
        if isinstance(phrases, str):
            raise ValueError(f"encode_text takes a list of phrases; put {phrases!r} into one")
        templates = self.variant.templates
        sentences = [template.replace("{}", phrase) for phrase in phrases for template in templates]
        with torch.autocast(self.device.type, enabled=False):
            features = self.text_encoder(sentences)
        if len(templates) == 1:
            return features
        return functional.normalize(features.unflatten(0, (len(phrases), len(templates))).sum(1), dim=-1)

    def project_text(self, features: Tensor) -> Tensor:
        """[N,D] rows of the text encoder -> [N,D] unit rows in the space of the pixels."""
        return features if self.text_projection is None else self.text_projection(features)

    def check_phrase(self, phrase: str) -> None:
        """Raises ValueError where `phrase` has, in one of the templates, more tokens than the text encoder reads."""
        for template in self.variant.templates:
            self.text_encoder.check(template.replace("{}", phrase))

    def encode_image(self, images: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
        """[B,3,H,W] normalised with the variant's mean and std -> [B,D,h,w] float32 unit vectors.

        Args:
            images: float32.
            precision: of the image encoder, where most of the time goes. The decoder keeps to float32: in half
                precision it would cost more accuracy than the original's own half precision does.

        Raises:
            ValueError: H or W is not a multiple of 32.
        """
        check_size(images.shape[-2], images.shape[-1])
        return functional.normalize(self.decoder(encode_pyramid(self.encoder, images, precision)).float(), dim=1)

    def logits(self, embedding: Tensor, text: Tensor) -> Tensor:
        """[B,D,h,w] and [N,D] -> [B,N,h,w] at decoder resolution: cosine times 1/0.07, then any head block."""
        # Not a product of matrices, which takes half the time: there, equal texts may differ in the last bit, and which
        # of them wins would be left to chance.
        logits = functional.conv2d(embedding, (LOGIT_SCALE * text.to(embedding.dtype))[:, :, None, None])
        return logits if self.head_block is None else self.head_block(logits)

    def score(self, embedding: Tensor, text: Tensor, size: tuple[int, int]) -> Tensor:
        """[B,D,h,w], [N,D] and the network's input size (H, W) -> [B,N,H,W] float32 logits."""
        return upsample(self.logits(embedding, text).float(), size)

    def forward(self, images: Tensor, text: Tensor) -> Tensor:
        """[B,3,H,W] normalised and [N,D] unit rows -> [B,N,H,W] float32 logits."""
        return self.score(self.encode_image(images), text, (images.shape[-2], images.shape[-1]))


def encode_pyramid(encoder: nn.Module, images: Tensor, precision: torch.dtype) -> list[Tensor]:
    """[B,3,H,W] normalised -> the encoder's float32 maps, finest first, computed in `precision`."""
    if precision == torch.float32:
        return encoder(images)
    with torch.autocast(images.device.type, precision):
        return [level.float() for level in encoder(images)]


def check_size(height: int, width: int) -> None:
    """Raises ValueError naming the nearest usable sizes unless both sides are positive multiples of 32."""
    if height > 0 and width > 0 and height % SIZE_STEP == 0 and width % SIZE_STEP == 0:
        return
    options = [
        sorted({max(SIZE_STEP, n // SIZE_STEP * SIZE_STEP), -(-max(n, 1) // SIZE_STEP) * SIZE_STEP})
        for n in (height, width)
    ]
    raise ValueError(
        f"images of {height}x{width} pixels do not fit the network; height and width must be multiples of {SIZE_STEP}. "
        f"Nearest: height {' or '.join(map(str, options[0]))}, width {' or '.join(map(str, options[1]))}. "
        "Segmenter resizes and pads for you"
    )
