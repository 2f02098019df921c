"""Named variants: numbers only, no modules.

A variant says everything needed to build a network; the weights file says which variant it belongs to.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Decoder:
    """Fusion decoder after DPT (Ranftl et al., ICCV 2021), finest level first.

    features: channels of every level.
    upsample: factor by which each level enlarges its result. The product of a level and all coarser
        ones takes the coarsest tap to the embedding's size.
    separable: depthwise-separable instead of full 3x3 convolutions in the residual units.
    """

    features: int
    upsample: tuple[int, ...]
    separable: bool = False


@dataclass(frozen=True)
class CnnBackbone:
    """A timm CNN read at several depths.

    taps: timm `out_indices`, finest first. output_stride: of the deepest stage; stages beyond are dilated.
    pad_type: padding of the convolutions, where the architecture has a choice.
    """

    name: str
    taps: tuple[int, ...]
    output_stride: int
    pad_type: str


@dataclass(frozen=True)
class Variant:
    """One member of the LSeg family.

    text: key of a text encoder in `lseg_ros.model.text`. embed_dim: width of the space shared by text and pixels.
    mean, std: normalisation of RGB in [0, 1]. input_size: default longest side in pixels.
    weights: file in `lseg_ros/weights` and its SHA-256, or None where users bring their own checkpoint.
    """

    name: str
    backbone: CnnBackbone
    decoder: Decoder
    text: str
    embed_dim: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_size: int
    weights: tuple[str, str] | None = None


LSEG_MINI = Variant(
    name="lseg_mini",
    backbone=CnnBackbone("mobilenetv2_100", taps=(1, 2, 3, 4), output_stride=16, pad_type="same"),
    decoder=Decoder(features=96, upsample=(1, 2, 2, 1), separable=True),
    text="minilm_l6_v2",
    embed_dim=384,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    input_size=480,
    weights=("lseg_mini.safetensors", "adea2cca40a5007238684aa283a2980bec2f959bfb1767b3d6baf9237717e7e1"),
)

VARIANTS = {v.name: v for v in (LSEG_MINI,)}
