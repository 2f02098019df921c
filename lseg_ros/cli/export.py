"""The command `lseg export`."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.describe import warn
from lseg_ros.cli.options import VARIANT_HELP, user_path, variant_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lseg_ros.images.photos import RGB
    from lseg_ros.inference.segmenter import Segmenter
    from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
    from lseg_ros.model.net import LSegNet

_PICTURES = 100  # most pictures for calibration
_HELD_OUT = 5  # one of so many pictures is not used for calibration, but for measuring
_LEAST_COSINE = 0.99  # least cosine of coordinates in float16 and in float32, mean over pixels
_LARGEST = 1e-3  # largest error of an export's coordinates, which are at most 1
_LABELS = "sky, building, tree, grass, road, sidewalk, floor, wall, person, car"

_DESCRIPTION = """\
Writes the image encoder as ONNX, for the backends onnxruntime, openvino and tensorrt, or for your own programs.
Labels are not part of it, because they can change at any time.

  input   images       [1,3,height,width] float32, RGB, normalised as `lseg info` says; sides as it says, too
  output  coordinates  [1,R,rows,columns] float32, unit vectors; the model's own basis
                       (lseg_ros.model.fused_encoder_decoder) leads from there to the text's vectors

With --precision float16 the numbers in the file are float16, except in layer norms and softmax. TensorRT needs this.
The file is then for one image size, that of --image.

With --calibrate the file is in int8. Some of the pictures are not used for calibration; on these the loss is measured.
Give the file to the node as `exported`, or to `lseg segment --backend auto` as --exported.
"""


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "export",
        help="write the image encoder as ONNX, in float32 or calibrated in int8",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="variant or weights file")
    parser.add_argument("output", type=user_path, help="the file to write, *.onnx")
    parser.add_argument("--variant", help=VARIANT_HELP)
    parser.add_argument(
        "--precision", default="float32", choices=("float32", "float16"), help="type of the numbers (default: float32)"
    )
    parser.add_argument(
        "--image",
        type=_image_size,
        metavar="WIDTHxHEIGHT",
        help="size of the camera's images, for float16 (default: a square)",
    )
    parser.add_argument(
        "--calibrate", nargs="+", metavar="PHOTO", help="photos, or folders of them, like those that will be segmented"
    )
    parser.add_argument("--labels", default=_LABELS, help=f"for measuring what int8 costs (default: {_LABELS})")
    parser.add_argument("--input-size", type=int, help="longest side in pixels that the network will see")
    parser.add_argument("--picture", type=user_path, help="photo to check the file with (default: a drawn one)")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Exports a model, checks the file and prints how far it is from PyTorch. Returns the exit status."""
    from lseg_ros.images.sources import expand, is_video

    if options.output.suffix != ".onnx":
        raise ValueError(f"{options.output} must end in .onnx, the format that is written")
    if options.output.exists() and not options.force:
        raise ValueError(f"{options.output} is there already; choose another name, or give --force")
    if options.precision == "float16" and options.calibrate:
        raise ValueError("--calibrate makes int8; leave out --precision")
    if options.image is not None and options.precision != "float16":
        raise ValueError("--image is for --precision float16; a float32 file takes images of any size")
    photos = [path for path in expand(options.calibrate, warn) if not is_video(path)] if options.calibrate else []
    if options.calibrate and len(photos) < 2:
        raise ValueError("calibration needs at least 2 photos, better 30 or more; give more of them, or folders")

    from lseg_ros.cli.describe import megabytes
    from lseg_ros.files import replacing
    from lseg_ros.inference.backends.base import library
    from lseg_ros.inference.backends.onnx_files import export_onnx, mark
    from lseg_ros.inference.segmenter import Segmenter
    from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
    from lseg_ros.model.weights import load_model

    for name in ("onnx", "onnxruntime"):
        library(name, "onnx")  # raises before anything slow begins
    net = load_model(options.model, variant_option(options.variant))
    encoder = FusedEncoderDecoder(net).eval()
    plain = Segmenter(net, "cpu", input_size=options.input_size)
    if options.precision == "float16":
        with replacing(options.output) as part:
            _float16(encoder, plain, part, options.image or (plain.input_size, plain.input_size))
            mark(part, encoder)
        print(f"{options.output}: {megabytes(options.output.stat().st_size)}")
        return 0
    with replacing(options.output) as part:
        export_onnx(encoder, part)
        exported = Segmenter(net, "cpu", input_size=options.input_size, backend="onnxruntime", exported=part)
        rgb = _picture(plain.input_size, options.picture)
        difference = float((exported.embed(rgb).coordinates - plain.embed(rgb).coordinates).abs().max())
        if not difference <= _LARGEST:
            raise ValueError(f"the ONNX is up to {difference:.2g} from PyTorch, of at most 1; please report this model")
        print(f"float32: coordinates, which are at most 1, differ from PyTorch's by {difference:.1g} or less")
        if photos:
            _quantise(net, plain, part, photos, options.labels.split(","))
        mark(part, encoder)
    print(f"{options.output}: {megabytes(options.output.stat().st_size)}")
    return 0


def _image_size(text: str) -> tuple[int, int]:
    """Parses WIDTHxHEIGHT as width and height."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 640x480")
    return int(width), int(height)


def _float16(encoder: "FusedEncoderDecoder", plain: "Segmenter", path: Path, image: tuple[int, int]) -> None:
    """Writes the file in float16 for images of a width and height, and prints how far it is from PyTorch."""
    import numpy as np

    from lseg_ros.inference.backends.onnx_float16 import export_float16
    from lseg_ros.inference.preprocess import geometry
    from lseg_ros.inference.segmenter import Segmenter

    width, height = image
    size = geometry((height, width), plain.input_size, encoder.size_step).padded
    export_float16(encoder, path, size)
    backend = {"backend": "onnxruntime", "exported": path, "input_size": plain.input_size}
    exported = Segmenter(plain._net, "cpu", **backend)  # type: ignore[arg-type]
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x % 256, y % 256, (x // 40 + y // 40) % 2 * 200], axis=-1).astype(np.uint8)
    one, other = (segmenter.embed(rgb).coordinates for segmenter in (plain, exported))
    cosine = float((one * other).sum(1).mean())
    if not cosine >= _LEAST_COSINE:
        raise ValueError(f"the ONNX in float16 has a cosine of {cosine:.3f} with PyTorch; please report this model")
    seen = f"{size[1]}x{size[0]} in the network"
    print(f"float16, for images of {width}x{height} ({seen}): cosine {cosine:.5f} with PyTorch")


def _picture(size: int, photo: Path | None) -> "RGB":
    """Returns [H,W,3] uint8: the photo, or a drawing with slopes and edges, `size` pixels wide."""
    import numpy as np

    from lseg_ros.images.photos import read_photo

    if photo is not None:
        return read_photo(photo)
    y, x = np.mgrid[: size * 3 // 4, :size]
    return np.stack([x % 256, y % 256, (x // 40 + y // 40) % 2 * 200], axis=-1).astype(np.uint8)


def _quantise(net: "LSegNet", plain: "Segmenter", path: Path, photos: Sequence[Path], labels: list[str]) -> None:
    """Converts the file to int8 and prints the loss."""
    import numpy as np
    import torch
    from tqdm import tqdm

    from lseg_ros.images.photos import read_photo
    from lseg_ros.inference.backends.quantise import quantise
    from lseg_ros.inference.preprocess import geometry, to_input
    from lseg_ros.inference.segmenter import Segmenter

    photos = photos[:: -(-len(photos) // _PICTURES)]
    held_out = photos[::_HELD_OUT]
    calibration = [photo for photo in photos if photo not in held_out]

    def inputs() -> "Iterator[NDArray[np.float32]]":
        for photo in tqdm(calibration, desc="calibration", unit="picture", disable=None):
            rgb = read_photo(photo)
            sizes = geometry((rgb.shape[0], rgb.shape[1]), plain.input_size, net.variant.size_step)
            yield np.ascontiguousarray(to_input(rgb, sizes, net.variant, plain.device).numpy())

    source = path.with_name("float32.onnx")  # its folder is removed at the end
    path.rename(source)
    layers = quantise(source, path, inputs())
    fast = Segmenter(net, "cpu", input_size=plain.input_size, backend="onnxruntime", exported=path)
    for segmenter in (plain, fast):
        segmenter.set_labels(labels)
    text = net.encode_text(plain.labels.names)
    same, errors = [], []
    for photo in tqdm(held_out, desc="measuring", unit="picture", disable=None):
        one, other = plain.embed(read_photo(photo)), fast.embed(read_photo(photo))
        same.append(np.mean(plain.score(one).mask == fast.score(other).mask))
        logits, inexact = (torch.einsum("bdhw,nd->bnhw", image.embedding, text) for image in (one, other))
        errors.append(float((inexact - logits).square().mean().sqrt() / (logits.max() - logits.min())))
    print(
        f"int8 in {layers} layers, calibrated on {len(calibration)} pictures: on {len(held_out)} others, "
        f"{np.mean(same):.2%} of the pixels keep their label; logits differ by {np.mean(errors):.2%} of their range "
        "(root mean square)"
    )
