"""The table of the node's parameters.

`make tables` writes `config/lseg.yaml` and the table in docs/node.md from it.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from lseg_ros.inference.backends.names import BACKENDS, PRECISIONS
from lseg_ros.ros.given_parameters import Entry

DEFAULT_MODEL = "lseg_mini"
# mask_encoding -> (largest id, default unknown id)
MASK_ENCODINGS = {"mono8": (255, 255), "16UC1": (65535, 65535), "16SC1": (32767, 32767), "32SC1": (65535, 65535)}
LARGEST_SIDE = 16384  # pixels
_DEFAULT_LABELS = ["sky", "building", "tree", "grass", "road", "sidewalk", "floor", "wall", "person", "car"]
_SIZE = {"items": int, "kind": f"[width, height], each from 1 to {LARGEST_SIDE}"}

Size = tuple[int, int] | None


def _parameter(default: Any, description: str, **rest: Any) -> Any:
    """Declares a parameter. The other arguments are those of `Entry`."""
    return field(metadata={"default": default, "description": description, **rest})


@dataclass(frozen=True)
class NodeParams:
    """The values of all parameters at one moment, each with its description.

    Sizes are (height, width), or None for an empty list.
    """

    autostart: bool = _parameter(
        True,
        "The node configures and activates itself; false where a lifecycle manager does that, such as Nav2's.",
        changes="never",
    )

    model: str = _parameter(
        DEFAULT_MODEL, "Name of the network. `lseg models` lists the names, and where each one's weights are expected."
    )
    checkpoint: str = _parameter(
        "",
        "Weights file to use instead of the model's own: one of this package, or a checkpoint of the original LSeg. If "
        "the file does not say which network it is for, `model` says it.",
    )
    device: str = _parameter("auto", "`auto` (a GPU if there is one), `cpu`, or a CUDA device such as `cuda:0`.")
    precision: str = _parameter(
        "auto",
        "Precision of the image encoder. `auto` is float16 on a GPU, and float32 on a CPU and with onnxruntime; if "
        "`exported` is set, it is the precision of that file, unless that is float32. `tf32` needs a GPU.",
        choices=PRECISIONS,
    )
    backend: str = _parameter(
        "auto",
        "What runs the image encoder. `auto` measures those that are installed with the first image and remembers the "
        "fastest. docs/backends.md says how to install them.",
        choices=BACKENDS,
    )
    exported: str = _parameter(
        "",
        "File of `lseg export` for the backend to run, such as one in int8. Empty: a backend that needs such a file "
        "makes it from the model.",
    )
    build_only: bool = _parameter(
        False,
        "The node makes what the backend keeps on disk (ONNX, TensorRT's engine, the measurement of `auto`) and ends.",
        changes="never",
    )
    build_size: Size = _parameter(
        [640, 480], "[width, height] in pixels of the images for which `build_only` does that.", **_SIZE
    )
    input_size: int = _parameter(
        0,
        "Longest side in pixels of the image that the network sees; 0: the model's own. Smaller is faster and coarser.",
        limits=(0, 4096),
    )
    window: int = _parameter(
        0,
        "Side in pixels of overlapping windows in which the network sees an image of `input_size`; 0: as a whole. For "
        "encoders that were trained with images of one size, see docs/encoders.md.",
        limits=(0, 4096),
    )

    cameras: list[str] = _parameter(
        [],
        "Names of several cameras that share one model: with [front, rear] the node reads `front/image` and publishes "
        "`~/front/mask`, and so on. Empty: one camera, whose topics have no such prefix.",
        changes="never",
    )
    image_transport: str = _parameter(
        "auto",
        "`raw` (sensor_msgs/Image on `image`), `compressed` (CompressedImage, JPEG or PNG, on `image/compressed`), or "
        "`auto`: whichever is published, raw if both are.",
        choices=("auto", "raw", "compressed"),
    )
    camera_info_topic: str = _parameter(
        "",
        "Topic of the camera's CameraInfo. Empty: `camera_info` beside the image, wherever the image is remapped to. "
        "With several cameras: a name relative to each camera's own.",
    )
    max_rate: float = _parameter(
        0.0,
        "Largest number of images per second that are segmented, of each camera; 0: as many as possible.",
        limits=(0.0, 1000.0),
        changes="live",
    )
    feature_rate: float = _parameter(
        1.0,
        "Largest number of images per second, of each camera, whose vectors are published in `~/features`; 0: all. A "
        "message has some megabytes. It is made only while somebody listens.",
        limits=(0.0, 1000.0),
        changes="live",
    )
    cache_max_age: float = _parameter(
        10.0,
        "Seconds for which the last image is kept. It is scored again when labels change, and `~/query` uses it.",
        limits=(0.0, 86400.0),
        changes="live",
    )
    no_image_warning: float = _parameter(
        5.0,
        "Seconds without a mask, while somebody listens, after which a warning says why; 0: no warning.",
        limits=(0.0, 3600.0),
        changes="live",
    )

    labels: list[str] = _parameter(
        _DEFAULT_LABELS, "What to look for. The service set_labels changes the same list.", changes="live"
    )
    label_file: str = _parameter(
        "",
        "YAML file with labels: prompts, ids, thresholds and colors for each. To start with a file, leave out "
        "`labels`: where both are set at the start, `labels` is used. Set later, it loads the file. It becomes empty "
        "when other labels come into force.",
        changes="live",
    )
    threshold: float = _parameter(
        0.0,
        "Pixels with less confidence than this are unknown. Confidence is shared out among all labels, so the right "
        "value depends on the list.",
        limits=(0.0, 1.0),
        changes="live",
    )
    contrast: list[str] = _parameter(
        ["other"],
        "Phrases that compete, without a mask of their own, with a label that is the only one, and with each phrase of "
        "a query. Empty: nothing competes, and a single label wins everywhere.",
    )
    id_quarantine: float = _parameter(
        30.0,
        "Seconds for which the id of a removed label is refused to another, unless forced. Costmaps hold old ids.",
        limits=(0.0, 3600.0),
    )

    output_size: Size = _parameter(
        [],
        "[width, height] in pixels of the images that are published. Empty: the size of the camera's image. Ids are "
        "never interpolated.",
        changes="live",
        **_SIZE,
    )
    mask_encoding: str = _parameter(
        "mono8",
        "Encoding of `~/mask`. Nav2's semantic segmentation layer reads only mono8.",
        choices=tuple(MASK_ENCODINGS),
    )
    unknown_id: int = _parameter(
        -1,
        "Value of unknown pixels in `~/mask`; -1: 255 (mono8), 65535 (16UC1, 32SC1) or 32767 (16SC1).",
        limits=(-1, 65535),
    )
    confidence_encoding: str = _parameter(
        "mono8",
        "Encoding of `~/confidence`: mono8 (1 to 255) or 32FC1 (0 to 1). Nav2's semantic segmentation layer reads only "
        "mono8.",
        choices=("mono8", "32FC1"),
    )
    score_encoding: str = _parameter(
        "32FC1", "Encoding of `~/score/<label>`: mono8 (0 to 255) or 32FC1 (0 to 1).", choices=("mono8", "32FC1")
    )
    score_labels: list[str] = _parameter(
        [],
        "Labels that have a channel in `~/scores`, in the order of the labels in force. Empty: all of them.",
        changes="live",
    )
    score_size: Size = _parameter(
        [],
        "[width, height] in pixels of `~/scores`. Empty: the size of the mask. 10 labels at 640x480 make 12 MB for "
        "each image.",
        changes="live",
        **_SIZE,
    )

    @property
    def max_id(self) -> int:
        """The largest id that the mask's encoding can hold."""
        return MASK_ENCODINGS[self.mask_encoding][0]


TABLE = tuple(Entry(name=field.name, **field.metadata) for field in fields(NodeParams))
ENTRIES = {entry.name: entry for entry in TABLE}
SIZES = tuple(entry.name for entry in TABLE if entry.items is int)
