"""The reduced twin of the original network, and the folder of the original's outputs."""

from beside import SHARED

from lseg_ros.model.variants import ClipText, Decoder, Variant, VitBackbone

REFERENCE = SHARED / "reference"
TINY_VIT = Variant(
    "tiny_vit",
    VitBackbone(32, 8, 4, 16, 24, taps=(1, 3, 5, 7), channels=(8, 16, 32, 32), scale=(4, 2, 1, 0.5)),
    Decoder(16, upsample=(2, 2, 2, 2)),
    ClipText(16, 2, 2),
    512,
)
