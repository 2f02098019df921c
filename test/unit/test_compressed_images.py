"""CompressedImage: the end of a JPEG or PNG, and the meaning of its samples."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from lseg_ros.images.containers import has_end
from lseg_ros.images.encodings import ImageError
from lseg_ros.images.messages import compressed_to_rgb, to_rgb

SMOOTH = np.indices((48, 64)).sum(0)
RGB = np.stack([SMOOTH * 2, 255 - SMOOTH * 2, SMOOTH + 60], axis=-1).astype(np.uint8)
ORDERS = {"rggb": "RGGB", "bggr": "BGGR", "gbrg": "GBRG", "grbg": "GRBG"}


def encode(pixels: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels, options)[1].tobytes()


def decode(data: bytes, format: str = "jpeg") -> np.ndarray:
    return compressed_to_rgb(SimpleNamespace(format=format, data=data))


def mosaic(order: str) -> np.ndarray:
    found = np.empty(RGB.shape[:2], np.uint8)
    for place, color in enumerate(ORDERS[order]):
        row, column = divmod(place, 2)
        found[row::2, column::2] = RGB[row::2, column::2, "RGB".index(color)]
    return found


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("behind", [bytes(100_000), b"\xff" * 5000, encode(RGB[::-1], ".jpg")[200:]])
def test_buffers_of_fixed_size(progressive: int, behind: bytes) -> None:
    """Zeros, noise or the rest of an older frame follow the end."""
    jpeg = encode(RGB, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    np.testing.assert_array_equal(decode(jpeg + behind), decode(jpeg))
    png = encode(RGB, ".png")
    np.testing.assert_array_equal(decode(png + behind, "png"), RGB)


@pytest.mark.parametrize("padding", [0, 100, 5000])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_was_cut_short_is_refused_whatever_fills_the_buffer(suffix: str, padding: int) -> None:
    data = encode(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8), suffix)
    for share in (0.1, 0.5, 0.95):
        with pytest.raises(ImageError, match="without its end: the message was cut short"):
            decode(data[: int(share * len(data))] + bytes(padding))


def test_the_end_of_a_thumbnail_is_not_the_end() -> None:
    jpeg, thumbnail = encode(RGB, ".jpg"), encode(RGB[:8, :8], ".jpg")
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = jpeg[:2] + segment + jpeg[2:]
    assert has_end(whole + bytes(9))
    assert not has_end(whole[: len(segment) + 200] + bytes(9))


@pytest.mark.parametrize("order", ORDERS)
def test_a_bayer_mosaic_gets_its_colors(order: str) -> None:
    pixels = mosaic(order)
    raw = SimpleNamespace(
        height=48, width=64, encoding=f"bayer_{order}8", is_bigendian=0, step=64, data=pixels.tobytes()
    )
    expected = to_rgb(raw)
    png = decode(encode(pixels, ".png"), f"bayer_{order}8; png compressed bayer_{order}8")
    np.testing.assert_array_equal(png, expected)
    deep = decode(encode(pixels.astype(np.uint16) * 256 + 17, ".png"), f"bayer_{order}16; png compressed ")
    np.testing.assert_array_equal(deep, expected)
    lossy = decode(encode(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 98), f"bayer_{order}8; jpeg compressed ")
    assert np.abs(lossy[4:-4, 4:-4].astype(int) - RGB[4:-4, 4:-4]).mean() < 6  # of grey it would be about 50


def test_colors_made_of_a_mosaic_before_compression_stay() -> None:
    np.testing.assert_array_equal(decode(encode(RGB, ".png"), "bayer_rggb8; png compressed bgr8"), RGB)


@pytest.mark.parametrize(
    "format", ["16UC1; compressedDepth png", "16UC1; png compressed 16UC1", "32FC1; compressedDepth"]
)
def test_depth_is_no_picture(format: str) -> None:
    data = encode(SMOOTH.astype(np.uint16), ".png")
    with pytest.raises(ImageError, match="holds numbers such as depth, not a picture: remap image"):
        decode(bytes(12) + data if "Depth" in format else data, format)


@pytest.mark.parametrize("format", ["png", "mono16; png compressed mono16", "image/png"])
def test_grey_of_16_bits_stays_grey(format: str) -> None:
    grey = decode(encode((SMOOTH * 2).astype(np.uint16) * 256, ".png"), format)
    np.testing.assert_allclose(grey[..., 0], SMOOTH * 2, atol=1)


def test_no_data() -> None:
    with pytest.raises(ImageError, match="format 'jpeg' has no data"):
        decode(b"")
