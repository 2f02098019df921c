"""Named variants of the network, as numbers without modules.

A variant describes a network completely. Our weights files carry theirs as JSON.
"""

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class CnnBackbone:
    """A CNN of timm whose maps are read at several depths.

    Attributes:
        name: timm's name of the network.
        taps: timm's `out_indices`, finest first.
        output_stride: Stride of the deepest stage. Later stages are dilated instead.
        pad_type: Padding of the convolutions, where the architecture offers a choice.
        widened: `out_indices` of stages whose last block also gives the wide map inside it. For networks of inverted
            residual blocks.
        second_from: The first stage that a second network has of its own. Both networks share the stages before it. The
            second one has stride 32, which makes it cheap. Its deepest map comes last, and the decoder's
            `second_classes` are what it finds. 0: there is no second network. For networks of inverted residual blocks.
    """

    name: str
    taps: tuple[int, ...]
    output_stride: int = 32
    pad_type: str | None = None
    widened: tuple[int, ...] = ()
    second_from: int = 0


@dataclass(frozen=True)
class VitBackbone:
    """A vision transformer whose tokens are reassembled into maps.

    Attributes:
        width: Width of the tokens.
        depth: Number of blocks.
        heads: Attention heads in a block.
        patch: Side of a patch in pixels.
        grid: Side of the square grid that the stored position embeddings are for.
        taps: Indices of the blocks whose tokens are read, for the finest level first.
        channels: Channels of each level.
        scale: Size of each level's map relative to the patch grid.
    """

    width: int
    depth: int
    heads: int
    patch: int
    grid: int
    taps: tuple[int, ...]
    channels: tuple[int, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True)
class HubBackbone:
    """An image encoder of the library transformers, which comes with its text encoder.

    Attributes:
        kind: What the library calls this architecture: "tipsv2" or "siglip".
        repository: Where its weights are on the Hub.
        patch: Side of a patch in pixels.
        licence: Of the weights.
        size: Of what is fetched, in bytes.
    """

    kind: str
    repository: str
    patch: int
    licence: str
    size: int


@dataclass(frozen=True)
class Decoder:
    """Fusion decoder after DPT (Ranftl et al., ICCV 2021), finest level first.

    Attributes:
        features: Channels of every level.
        upsample: Factor by which each level enlarges its result. Together they take the coarsest map to the
            embedding's size.
        separable: Whether the residual units use depthwise-separable 3x3 convolutions instead of full ones.
    """

    features: int
    upsample: tuple[int, ...]
    separable: bool = False


@dataclass(frozen=True)
class DeepLab:
    """Decoder of DeepLabV3+ (Chen et al., ECCV 2018).

    Where the backbone has a second network, its deepest map takes part.

    Attributes:
        width: Channels inside it.
        skip: Channels that it takes from the finest map.
        features: Channels in front of the embedding.
        second_classes: Number of classes that the backbone's second network finds. 0 where it has none.
    """

    width: int
    skip: int
    features: int
    second_classes: int = 0


@dataclass(frozen=True)
class ClipText:
    """The text tower of a CLIP with QuickGELU. Its weights are part of the checkpoint.

    Attributes:
        width: Width of the tokens.
        layers: Number of layers.
        heads: Attention heads in a layer.
    """

    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class HeadBlock:
    """Smoothing of the logits over neighboring pixels.

    Attributes:
        kind: "bottleneck" or "depthwise".
        depth: How often the block is applied.
        activation: "relu", "lrelu" or "tanh", between two applications.
    """

    kind: str
    depth: int
    activation: str = "lrelu"


@dataclass(frozen=True)
class Variant:
    """One member of the LSeg family.

    Attributes:
        name: Name of the variant.
        backbone: The image encoder.
        decoder: The decoder behind it, or None where the encoder's patches are used as they are.
        text: The text tower of a CLIP, "minilm_l6_v2", or the kind of a `HubBackbone`.
        embed_dim: Width of the space that texts and pixels share.
        templates: Sentences with "{}" for the phrase. A phrase's vector is the mean over them.
        text_projection: Whether a trained linear map follows the frozen text encoder.
        mean: Mean of each color channel, for normalization of RGB in [0, 1].
        std: Standard deviation of each color channel.
        input_size: Default longest side of the network's input, in pixels.
        size_step: Both sides of the network's input are multiples of this number of pixels.
        logit_scale: What cosines are multiplied with before the softmax; the paper's constant, or a model's own.
        head_block: Smoothing of the logits, or None.
        weights: File in `lseg_ros/weights` and its SHA-256, or None where users bring a checkpoint.
    """

    name: str
    backbone: CnnBackbone | VitBackbone | HubBackbone
    decoder: Decoder | DeepLab | None
    text: ClipText | str
    embed_dim: int
    templates: tuple[str, ...] = ("{}",)
    text_projection: bool = False
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    input_size: int = 480
    size_step: int = 32
    logit_scale: float = 1 / 0.07
    head_block: HeadBlock | None = None
    weights: tuple[str, str] | None = None


_VIT_L16 = VitBackbone(
    width=1024,
    depth=24,
    heads=16,
    patch=16,
    grid=24,
    taps=(5, 11, 17, 23),
    channels=(256, 512, 1024, 1024),
    scale=(4, 2, 1, 0.5),
)
_VIT_B32 = VitBackbone(
    width=768,
    depth=12,
    heads=12,
    patch=32,
    grid=12,
    taps=(2, 5, 8, 11),
    channels=(96, 192, 384, 768),
    scale=(8, 4, 2, 1),
)
_DPT = Decoder(features=256, upsample=(2, 2, 2, 2))
_CLIP_VIT_B32 = ClipText(width=512, layers=12, heads=8)
_CLIP_RN50X16 = ClipText(width=768, layers=12, heads=12)

LSEG_MINI = Variant(
    name="lseg_mini",
    backbone=CnnBackbone(
        "mobilenetv2_100", taps=(1, 4), output_stride=16, pad_type="same", widened=(1,), second_from=3
    ),
    decoder=DeepLab(width=256, skip=48, features=96, second_classes=19),
    text="minilm_l6_v2",
    embed_dim=384,
    templates=("{}", "a photo of a {}", "a picture of the {}", "there is a {} in the scene"),
    text_projection=True,
    weights=("lseg_mini.safetensors", "d85afcda0138b503e841c423b1e6cbe4005269bc92b5c03a9bd183599860c6ec"),
)
LSEG_MINI_STREET = replace(
    LSEG_MINI,
    name="lseg_mini_street",
    backbone=CnnBackbone("mobilenetv2_100", taps=(1, 2, 3, 4), output_stride=16, pad_type="same"),
    decoder=Decoder(features=96, upsample=(1, 2, 2, 1), separable=True),
    weights=("lseg_mini_street.safetensors", "e810b84826f579f7ab63584f39203f7d8fb58e176968e474bb7ded56632d95b8"),
)
LSEG_VIT_L16 = Variant("lseg_vit_l16", _VIT_L16, _DPT, _CLIP_VIT_B32, 512)
LSEG_VIT_L16_RN50X16 = Variant("lseg_vit_l16_rn50x16", _VIT_L16, _DPT, _CLIP_RN50X16, 768)
LSEG_VIT_B32 = Variant("lseg_vit_b32", _VIT_B32, _DPT, _CLIP_VIT_B32, 512)
LSEG_RN101 = Variant(
    "lseg_rn101",
    CnnBackbone("resnet101", taps=(1, 2, 3, 4)),
    _DPT,
    _CLIP_VIT_B32,
    512,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
VARIANTS = {
    v.name: v for v in (LSEG_MINI, LSEG_MINI_STREET, LSEG_VIT_L16, LSEG_VIT_L16_RN50X16, LSEG_VIT_B32, LSEG_RN101)
}

# The templates with which the authors measure segmentation (they are those of TCL, Cha et al., CVPR 2023).
_TCL_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    "a photo of many {}.",
    "a photo of {}s.",
)
_TIPS_B14 = HubBackbone("tipsv2", "google/tipsv2-b14", 14, "Apache-2.0", 781_000_000)
TIPSV2_B14 = Variant(
    "tipsv2_b14",
    _TIPS_B14,
    None,
    "tipsv2",
    768,
    templates=_TCL_TEMPLATES,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    input_size=448,  # as it was trained
    size_step=14,
    logit_scale=1 / 0.005065968260169029,
)
TIPSV2_L14 = replace(
    TIPSV2_B14,
    name="tipsv2_l14",
    backbone=replace(_TIPS_B14, repository="google/tipsv2-l14", size=1_948_000_000),
    embed_dim=1024,
)
_SIGLIP2_B16 = HubBackbone("siglip", "google/siglip2-base-patch16-512", 16, "Apache-2.0", 1_503_000_000)
# The weights hold the scale of the cosines.
SIGLIP2_B16 = Variant(
    "siglip2_b16",
    _SIGLIP2_B16,
    None,
    "siglip",
    768,
    templates=("this is a photo of {}.",),
    input_size=512,
    size_step=16,
)
SIGLIP2_L16 = replace(
    SIGLIP2_B16,
    name="siglip2_l16",
    backbone=replace(_SIGLIP2_B16, repository="google/siglip2-large-patch16-512", size=3_529_000_000),
    embed_dim=1024,
)
# Run by the library transformers; their weights are fetched from the Hub.
HUB_VARIANTS = {v.name: v for v in (TIPSV2_B14, TIPSV2_L14, SIGLIP2_B16, SIGLIP2_L16)}

_SUFFIX = re.compile(
    r"(?P<name>\w+)\+(?P<kind>bottleneck|depthwise)(?P<depth>[1-9]\d?)(-(?P<activation>relu|lrelu|tanh))?"
)


def variant_named(name: str) -> Variant:
    """Returns a variant by its name.

    Args:
        name: The name, with a head block if wanted: `+bottleneck2`, `+depthwise3-tanh` and so on.

    Raises:
        ValueError: There is no variant of that name.
    """
    if name in HUB_VARIANTS:
        return HUB_VARIANTS[name]
    match = _SUFFIX.fullmatch(name)
    base = match["name"] if match else name
    if base not in VARIANTS:
        raise ValueError(
            f"there is no variant {name!r}; known: {', '.join(VARIANTS)}, each also with a head block, as in "
            f"lseg_vit_l16+bottleneck2 or lseg_vit_l16+depthwise1-tanh, and {', '.join(HUB_VARIANTS)}"
        )
    if match is None:
        return VARIANTS[base]
    block = HeadBlock(match["kind"], int(match["depth"]), match["activation"] or "lrelu")
    return replace(VARIANTS[base], name=name, head_block=block, weights=None)


def to_json(variant: Variant) -> str:
    """Writes a variant as JSON, without its weights file."""
    raw = asdict(replace(variant, weights=None))
    for name in ("logit_scale", "size_step"):
        if raw[name] == getattr(Variant, name):
            del raw[name]  # as in files from before there was another
    return json.dumps(raw)


def from_json(text: str) -> Variant:
    """Reads a variant that `to_json` wrote.

    Raises:
        ValueError: The text describes no variant.
    """
    try:
        raw: dict[str, Any] = _tuples(json.loads(text))
        backbone = VitBackbone if "patch" in raw["backbone"] else CnnBackbone
        raw["backbone"] = backbone(**raw["backbone"])
        decoder = DeepLab if "skip" in raw["decoder"] else Decoder
        raw["decoder"] = decoder(**raw["decoder"])
        if isinstance(raw["text"], dict):
            raw["text"] = ClipText(**raw["text"])
        if raw["head_block"] is not None:
            raw["head_block"] = HeadBlock(**raw["head_block"])
        variant = Variant(**raw)
        _check_numbers(raw)
        if not variant.templates or not all(isinstance(t, str) and "{}" in t for t in variant.templates):
            raise ValueError(f"templates {variant.templates!r} are not sentences with {{}} for the phrase")
        return variant
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not the description of a variant: {error}") from error


def _check_numbers(value: Any) -> None:
    """Raises ValueError for a number that no network has. A damaged file could otherwise use up all memory."""
    if isinstance(value, (VitBackbone, CnnBackbone, Decoder, DeepLab, ClipText, HeadBlock)):
        value = vars(value)
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        for part in value:
            _check_numbers(part)
    elif isinstance(value, (int, float)) and not 0 <= value <= 65536:
        raise ValueError(f"{value} is out of range")


def _tuples(value: Any) -> Any:
    """Turns JSON's lists into tuples, so that variants compare equal."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
