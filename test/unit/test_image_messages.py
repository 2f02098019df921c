"""Camera images of every encoding, compared with colors computed without the code under test."""

import sys
from array import array
from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lseg_ros.images import messages
from lseg_ros.images.encodings import LAYOUTS
from lseg_ros.images.messages import ImageError, to_rgb

pytestmark = pytest.mark.numeric

RGB = npt.NDArray[np.uint8]

BACKENDS = [
    name
    for name, usable in (
        ("cv_bridge", find_spec("cv_bridge") is not None and messages._cv_bridge_works()),
        ("rosbags-image", find_spec("rosbags") is not None),
    )
    if usable
]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes each library that works here the one that converts colors."""
    monkeypatch.setattr(messages, "color_backend", lambda: request.param)
    return str(request.param)


def scene(height: int, width: int) -> RGB:
    """A gradient, red downward and green to the right, under blocks of pure colors at even places and sizes."""
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[..., 0] = np.linspace(10, 200, height).astype(np.uint8)[:, None]
    rgb[..., 1] = np.linspace(30, 220, width).astype(np.uint8)
    rgb[..., 2] = 90
    blocks = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (255, 128, 0)]
    for index, color in enumerate(blocks):
        rgb[4:12, 8 * index : 8 * index + 8] = color
    return rgb


def message(rows: npt.NDArray[Any], height: int, width: int, encoding: str, padding: int = 0, big: bool = False) -> Any:
    """A message of `rows` [R, bytes of a row] with `padding` random bytes after each row."""
    padded = np.full((rows.shape[0], rows.shape[1] + padding), 0xA5, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big),
        step=padded.shape[1],
        data=array("B", padded.tobytes()),
    )


def rgb_rows(rgb: RGB, order: str) -> npt.NDArray[np.uint8]:
    channels = [rgb[..., "rgb".index(name)] if name in "rgb" else np.full(rgb.shape[:2], 7, np.uint8) for name in order]
    return np.stack(channels, axis=-1).reshape(rgb.shape[0], -1)


@pytest.mark.parametrize("padding", [0, 1, 5])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("rgb8", "rgb"), ("bgr8", "bgr"), ("8UC3", "bgr"), ("rgba8", "rgba"), ("bgra8", "bgra")],
)
def test_interleaved_colors(backend: str, encoding: str, order: str, padding: int) -> None:
    for height, width in [(1, 1), (1, 7), (5, 1), (13, 17), (24, 49)]:
        rgb = scene(height, width)
        result = to_rgb(message(rgb_rows(rgb, order), height, width, encoding, padding))
        assert result.dtype == np.uint8
        assert result.flags.c_contiguous
        np.testing.assert_array_equal(result, rgb)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey(backend: str, encoding: str, padding: int) -> None:
    for height, width in [(1, 1), (3, 11), (24, 49)]:
        grey = scene(height, width)[..., 1]
        result = to_rgb(message(grey, height, width, encoding, padding))
        np.testing.assert_array_equal(result, np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize("padding", [0, 2, 3])
@pytest.mark.parametrize("big", [False, True])
def test_mono16_keeps_the_high_byte_in_either_byte_order(backend: str, big: bool, padding: int) -> None:
    values = np.array([[0x0000, 0x00FF, 0x0100], [0x7FFF, 0x8000, 0xFFFF]], ">u2" if big else "<u2")
    result = to_rgb(message(values.view(np.uint8), 2, 3, "mono16", padding, big))
    expected = np.array([[0, 0, 1], [127, 128, 255]], np.uint8)
    np.testing.assert_array_equal(result, np.repeat(expected[..., None], 3, axis=-1))


def mosaic(rgb: RGB, order: str) -> npt.NDArray[np.uint8]:
    """Returns what a sensor sees behind a filter whose upper left 2x2 pixels are `order`, row by row."""
    seen = np.empty(rgb.shape[:2], np.uint8)
    for place, name in enumerate(order):
        row, column = divmod(place, 2)
        seen[row::2, column::2] = rgb[row::2, column::2, "rgb".index(name)]
    return seen


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer8(backend: str, order: str, padding: int) -> None:
    rgb = scene(24, 49)
    result = to_rgb(message(mosaic(rgb, order), 24, 49, f"bayer_{order}8", padding))
    check_mosaic(result, rgb)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer16(backend: str, order: str, big: bool, padding: int) -> None:
    rgb = scene(24, 49)
    # A low byte of 0xEE in every sample shows up at once if the wrong byte is taken.
    rows = (mosaic(rgb, order).astype(np.uint16) * 256 + 0xEE).astype(">u2" if big else "<u2").view(np.uint8)
    result = to_rgb(message(rows, 24, 49, f"bayer_{order}16", padding, big))
    check_mosaic(result, rgb)


def check_mosaic(result: RGB, rgb: RGB) -> None:
    """Compares exactly inside the blocks and loosely on the gradient, because interpolation blurs edges."""
    assert result.shape == rgb.shape
    for index in range(6):
        inner = np.s_[6:10, 8 * index + 2 : 8 * index + 6]
        np.testing.assert_array_equal(result[inner], rgb[inner])
    gradient = np.s_[15:23, 1:47]
    np.testing.assert_allclose(result[gradient].astype(int), rgb[gradient], atol=6)


def luma_and_chroma(rgb: RGB) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Computes BT.601 with limited range, as the standard defines it."""
    red, green, blue = (rgb[..., channel] / 255.0 for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return 16 + 219 * luma, 128 + 224 * (blue - luma) / 1.772, 128 + 224 * (red - luma) / 1.402


def mean_of_groups(plane: npt.NDArray[np.float64], high: int, wide: int) -> npt.NDArray[np.float64]:
    height, width = plane.shape
    return np.asarray(plane.reshape(height // high, high, width // wide, wide).mean(axis=(1, 3)))


def rows_422(rgb: RGB, order: str) -> npt.NDArray[np.uint8]:
    luma, u, v = luma_and_chroma(rgb)
    planes = {"0": luma[:, 0::2], "1": luma[:, 1::2], "u": mean_of_groups(u, 1, 2), "v": mean_of_groups(v, 1, 2)}
    packed = np.stack([planes[name] for name in order], axis=-1).reshape(rgb.shape[0], -1)
    return packed.round().astype(np.uint8)


def rows_420(rgb: RGB, order: str) -> npt.NDArray[np.uint8]:
    luma, u, v = luma_and_chroma(rgb)
    planes = {"u": mean_of_groups(u, 2, 2), "v": mean_of_groups(v, 2, 2)}
    chroma = np.stack([planes[name] for name in order], axis=-1).reshape(rgb.shape[0] // 2, -1)
    return np.concatenate([luma, chroma]).round().astype(np.uint8)


@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize(
    ("encoding", "rows", "order"),
    [
        ("uyvy", rows_422, "u0v1"),
        ("yuv422", rows_422, "u0v1"),
        ("yuyv", rows_422, "0u1v"),
        ("yuv422_yuy2", rows_422, "0u1v"),
        ("nv12", rows_420, "uv"),
        ("nv21", rows_420, "vu"),
    ],
)
def test_yuv(
    backend: str, encoding: str, rows: Callable[[RGB, str], npt.NDArray[np.uint8]], order: str, padding: int
) -> None:
    for height, width in [(2, 2), (6, 14), (24, 50)]:
        rgb = scene(height, width)
        result = to_rgb(message(rows(rgb, order), height, width, encoding, padding))
        assert result.shape == rgb.shape
        # Neighbours share color, and the steepest gradient here is 32 a pixel: blocks are near, the rest less so.
        difference = np.abs(result.astype(int) - rgb)
        assert difference[4:12, : min(width, 48)].max(initial=0) <= 4
        assert difference[16:, 2:].max(initial=0) <= 10


def test_yuv_with_an_odd_number_of_rows(backend: str) -> None:
    rgb = scene(7, 12)
    result = to_rgb(message(rows_422(rgb, "u0v1"), 7, 12, "uyvy"))
    assert np.abs(result[4:].astype(int) - rgb[4:]).max() <= 4


def test_cv_bridge_and_rosbags_image_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    if len(BACKENDS) < 2:
        pytest.skip(f"of cv_bridge and rosbags-image only {BACKENDS} works here")
    random = np.random.default_rng(0)
    for encoding, layout in LAYOUTS.items():
        for width in (4, 10, 38):
            rows = random.integers(0, 256, (18, width * layout.samples * layout.sample_bytes), np.uint8)
            msg = message(rows, 12 if encoding in ("nv12", "nv21") else 18, width, encoding, padding=1)
            results = []
            for name in BACKENDS:
                monkeypatch.setattr(messages, "color_backend", lambda name=name: name)
                results.append(to_rgb(msg).astype(int))
            np.testing.assert_allclose(results[0], results[1], atol=1, err_msg=encoding)


def test_the_padding_of_the_last_row_may_be_missing_but_no_pixel() -> None:
    for encoding, layout in LAYOUTS.items():
        rows = np.zeros((6 if encoding in ("nv12", "nv21") else 4, 4 * layout.samples * layout.sample_bytes), np.uint8)
        whole = message(rows, 4, 4, encoding, padding=3)
        to_rgb(whole)

        whole.data = whole.data[:-3]
        to_rgb(whole)

        needed = whole.step * rows.shape[0]
        whole.data = whole.data[:-1]
        with pytest.raises(ImageError, match=rf"data has {needed - 4} bytes, 4x4 {encoding} .* takes {needed}\b"):
            to_rgb(whole)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"encoding": "32FC1"}, r"encoding '32FC1' is not supported, publish one of these: .*bgr8.*rgb8.*yuyv"),
        ({"encoding": ""}, r"encoding '' is not supported"),
        ({"height": 0}, r"size 4x0 is impossible"),
        ({"width": 0}, r"size 0x4 is impossible"),
        ({"width": 2**31, "step": 2**32 - 1}, r"size 2147483648x4 is impossible, .* between 1 and 32767"),
        ({"height": 2**32 - 1}, r"size 4x4294967295 is impossible"),
        ({"height": 32767, "width": 32767, "step": 98301}, r"data has 48 bytes, 32767x32767 rgb8 .* takes 3221028867"),
        ({"step": 11}, r"step 11 is too small, a row of 4 rgb8 pixels takes 12 bytes"),
        ({"step": 0}, r"step 0 is too small"),
        ({"step": 13}, r"data has 48 bytes, 4x4 rgb8 at step 13 takes 52"),
        ({"data": b""}, r"data has 0 bytes"),
        ({"encoding": "uyvy", "width": 3}, r"width 3 is odd, uyvy .* crop to an even width"),
        ({"encoding": "yuyv", "width": 5}, r"width 5 is odd, yuyv"),
        ({"encoding": "nv12", "width": 3}, r"size 3x4 is odd, nv12 .* crop to even width and height"),
        ({"encoding": "nv21", "height": 3}, r"size 4x3 is odd, nv21"),
        ({"encoding": "bayer_rggb8", "width": 2}, r"size 2x4 is too small for bayer_rggb8, .* at least 3x3"),
    ],
)
def test_bad_messages_are_refused_in_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    msg = message(np.zeros((4, 12), np.uint8), 4, 4, "rgb8")
    to_rgb(msg)
    for name, value in changes.items():
        setattr(msg, name, value)
    with pytest.raises(ImageError, match=sentence) as refusal:
        to_rgb(msg)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_any_buffer_is_accepted(backend: str, wrap: Callable[[bytes], Any]) -> None:
    rgb = scene(13, 17)
    msg = message(rgb_rows(rgb, "bgr"), 13, 17, "bgr8")
    msg.data = wrap(msg.data.tobytes())
    np.testing.assert_array_equal(to_rgb(msg), rgb)


def test_rgb8_shares_the_memory_of_the_message_and_others_leave_it_alone(backend: str) -> None:
    rgb = scene(24, 49)
    msg = message(rgb_rows(rgb, "rgb"), 24, 49, "rgb8")
    assert np.shares_memory(to_rgb(msg), np.frombuffer(msg.data, np.uint8))

    for encoding, padding in [("bgr8", 0), ("bgr8", 4), ("rgb8", 4)]:
        msg = message(rgb_rows(rgb, encoding[:3]), 24, 49, encoding, padding)
        before = msg.data[:]
        assert not np.shares_memory(to_rgb(msg), np.frombuffer(msg.data, np.uint8))
        assert msg.data == before


@pytest.mark.parametrize(
    "source",
    [
        "raise AttributeError('_ARRAY_API not found')",
        "import os; os.abort()",
        "class CvBridge:\n    def imgmsg_to_cv2(self, msg, wanted): raise KeyError(msg.encoding)",
    ],
)
def test_a_broken_cv_bridge_is_not_used_and_harms_nobody(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], source: str
) -> None:
    (tmp_path / "cv_bridge.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    messages.color_backend.cache_clear()
    try:
        assert messages.color_backend() == "rosbags-image"
    finally:
        messages.color_backend.cache_clear()
    assert capfd.readouterr() == ("", "")


def test_a_working_cv_bridge_is_used(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv_bridge.py").write_text(
        "import numpy as np\n"
        "class CvBridge:\n"
        "    def imgmsg_to_cv2(self, msg, desired_encoding):\n"
        "        assert desired_encoding == 'rgb8'\n"
        "        samples = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, -1)\n"
        "        return samples[..., ::-1].copy() if msg.encoding == 'bgr8' else np.repeat(samples[..., :1], 3, -1)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    messages.color_backend.cache_clear()
    rgb = scene(13, 17)
    try:
        assert messages.color_backend() == "cv_bridge"
        np.testing.assert_array_equal(to_rgb(message(rgb_rows(rgb, "bgr"), 13, 17, "8UC3", padding=2)), rgb)
    finally:
        messages.color_backend.cache_clear()
        sys.modules.pop("cv_bridge", None)
