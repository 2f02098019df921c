"""The LSeg network (Li et al., "Language-driven Semantic Segmentation", ICLR 2022).

It puts pixels and phrases into one space. Shapes: B images, H x W input pixels, D embedding width, h x w decoder
resolution, N texts.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.backbone import CnnEncoder, VitEncoder
from lseg_ros.model.decoder import FusionDecoder, upsample
from lseg_ros.model.deeplab import DeepLabDecoder
from lseg_ros.model.head_block import LogitBlock
from lseg_ros.model.patches import PatchMap
from lseg_ros.model.text import TextEncoder
from lseg_ros.model.variants import CnnBackbone, DeepLab, Variant, VitBackbone

LOGIT_SCALE = Variant.logit_scale  # a constant of the paper, no weight
SIZE_STEP = Variant.size_step  # of all networks that are trained here
TORCH_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TextProjection(nn.Module):
    """A trained linear map behind the text encoder: x + Ax + b, scaled to length 1. Before training A and b are 0."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim, dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, features: Tensor) -> Tensor:
        """Maps [N,D] to [N,D] rows of length 1."""
        with torch.autocast(features.device.type, enabled=False):
            return functional.normalize(features + functional.linear(features, self.weight, self.bias), dim=-1)


class LSegNet(nn.Module):
    """The image encoder gives each pixel a unit vector; the frozen text encoder gives each phrase one."""

    def __init__(self, variant: Variant, text_encoder: TextEncoder, encoder: nn.Module | None = None) -> None:
        """Builds a network with random weights around a text encoder.

        Args:
            variant: The network.
            text_encoder: Turns phrases into vectors.
            encoder: An image encoder from elsewhere, with its weights; where the variant says so.
        """
        super().__init__()
        self.variant = variant
        self.licence = "unknown"
        self.encoder, self.decoder = _image_side(variant, encoder)
        self.head_block = None if variant.head_block is None else LogitBlock(variant.head_block)
        self.text_encoder = text_encoder
        self.text_projection = TextProjection(variant.embed_dim) if variant.text_projection else None

    @property
    def device(self) -> torch.device:
        """The device of the image encoder's weights."""
        return self.decoder.head.weight.device

    @torch.no_grad()
    def encode_text(self, phrases: Sequence[str]) -> Tensor:
        """Encodes phrases, each as the mean over the variant's templates.

        Args:
            phrases: N phrases.

        Returns:
            [N,D] float32, rows of length 1.

        Raises:
            ValueError: A phrase is longer than the text encoder reads (it is never cut), or `phrases` is a text
                instead of a list.
        """
        return self.project_text(self.embed_text(phrases))

    @torch.no_grad()
    def embed_text(self, phrases: Sequence[str]) -> Tensor:
        """Encodes phrases like `encode_text`, without the trained map behind the text encoder."""
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
        """Maps [N,D] rows of the text encoder to [N,D] rows of length 1 in the space of the pixels."""
        return features if self.text_projection is None else self.text_projection(features)

    def check_phrase(self, phrase: str) -> None:
        """Checks the length of a phrase in each template.

        Raises:
            ValueError: It has more tokens than the text encoder reads.
        """
        for template in self.variant.templates:
            self.text_encoder.check(template.replace("{}", phrase))

    def encode_image(self, images: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
        """Encodes images.

        Args:
            images: [B,3,H,W] float32, normalized with the variant's mean and std.
            precision: Type of the image encoder's products and convolutions. The decoder computes in float32, because
                half precision there would deviate more than the original's own half precision does.

        Returns:
            [B,D,h,w] float32 unit vectors.

        Raises:
            ValueError: H or W is no multiple of the variant's `size_step`.
        """
        return functional.normalize(self.pixel_vectors(images, precision).float(), dim=1)

    def pixel_vectors(self, images: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
        """As `encode_image`, before the vectors are normalized."""
        check_size(images.shape[-2], images.shape[-1], self.variant.size_step)
        return self.decoder(encode_pyramid(self.encoder, images, precision))

    def logits(self, embedding: Tensor, text: Tensor) -> Tensor:
        """Scores texts at decoder resolution: cosine times the variant's scale, then the head block if there is one.

        Args:
            embedding: [B,D,h,w] unit vectors.
            text: [N,D] unit rows.

        Returns:
            [B,N,h,w].
        """
        # A matrix product takes half the time, but gives equal texts results that differ in the last bit. Which of
        # them wins would then be random.
        logits = functional.conv2d(embedding, (self.variant.logit_scale * text.to(embedding.dtype))[:, :, None, None])
        return logits if self.head_block is None else self.head_block(logits)

    def score(self, embedding: Tensor, text: Tensor, size: tuple[int, int]) -> Tensor:
        """Scores texts at the network's input size.

        Args:
            embedding: [B,D,h,w] unit vectors.
            text: [N,D] unit rows.
            size: (H, W) of the images.

        Returns:
            [B,N,H,W] float32 logits.
        """
        return upsample(self.logits(embedding, text).float(), size)

    def forward(self, images: Tensor, text: Tensor) -> Tensor:
        """Computes the [B,N,H,W] float32 logits of normalized [B,3,H,W] images for [N,D] texts."""
        return self.score(self.encode_image(images), text, (images.shape[-2], images.shape[-1]))


def _image_side(variant: Variant, encoder: nn.Module | None) -> tuple[nn.Module, FusionDecoder]:
    """Builds image encoder and decoder. `DeepLabDecoder` and `PatchMap` have the used interface of `FusionDecoder`."""
    backbone = variant.backbone
    if variant.decoder is None or not isinstance(backbone, VitBackbone | CnnBackbone):
        if encoder is None:
            raise ValueError(f"{variant.name} comes with weights only; load it with load_model")
        return encoder, cast(FusionDecoder, PatchMap(variant.embed_dim))
    own = VitEncoder(backbone) if isinstance(backbone, VitBackbone) else CnnEncoder(backbone)
    if isinstance(variant.decoder, DeepLab):
        return own, cast(FusionDecoder, DeepLabDecoder(variant.decoder, own.channels, variant.embed_dim))
    return own, FusionDecoder(variant.decoder, own.channels, variant.embed_dim)


def encode_pyramid(encoder: nn.Module, images: Tensor, precision: torch.dtype) -> list[Tensor]:
    """Runs an image encoder in a given precision.

    Args:
        encoder: The image encoder.
        images: [B,3,H,W], normalized.
        precision: Type of products and convolutions.

    Returns:
        The encoder's maps as float32, finest first.
    """
    if precision == torch.float32:
        return encoder(images)
    with torch.autocast(images.device.type, precision):
        return [level.float() for level in encoder(images)]


def check_size(height: int, width: int, step: int) -> None:
    """Checks that an image's sides are positive multiples of a number of pixels.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        step: The number of pixels.

    Raises:
        ValueError: They are not. The message names the nearest sizes that are.
    """
    if height > 0 and width > 0 and height % step == 0 and width % step == 0:
        return
    options = [sorted({max(step, n // step * step), -(-max(n, 1) // step) * step}) for n in (height, width)]
    raise ValueError(
        f"images of {height}x{width} pixels do not fit the network; height and width must be multiples of {step}. "
        f"Nearest: height {' or '.join(map(str, options[0]))}, width {' or '.join(map(str, options[1]))}. "
        "Segmenter resizes and pads for you"
    )
