"""`lseg export`, and the files it writes in the backends that read them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from openvino_cpu import has_bfloat16
from tiny import HashText, tiny_net

from lseg_ros import Segmenter
from lseg_ros.cli.main import main
from lseg_ros.images.photos import read_photo
from lseg_ros.inference.backends.base import Request
from lseg_ros.inference.backends.onnx_files import export_onnx, precision_of
from lseg_ros.inference.backends.onnxruntime import OnnxRuntimeBackend
from lseg_ros.inference.backends.openvino import OpenVinoBackend
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
from lseg_ros.model.net import LSegNet
from lseg_ros.model.variants import Decoder, Variant, VitBackbone
from lseg_ros.model.weights import save_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

VIT = Variant(
    name="tiny_vit",
    backbone=VitBackbone(32, 4, 2, 16, 6, taps=(0, 1, 2, 3), channels=(8, 16, 32, 32), scale=(4, 2, 1, 0.5)),
    decoder=Decoder(16, upsample=(2, 2, 2, 2)),
    text="none",
    embed_dim=16,
)
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny network's weights file, which loads with the text encoder of tests."""
    monkeypatch.setattr("lseg_ros.model.weights.build_text_encoder", lambda variant: HashText())
    save_model(tiny_net(), tmp_path / "tiny.safetensors", "CC0-1.0")
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of seven pictures of two sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(7):
        small = RNG.integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(small, (96, 72 if number % 2 else 96)))
    return folder


def export(*arguments: object) -> int:
    return main(["export", *map(str, arguments)])


@pytest.mark.numeric
@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_one_file_takes_images_of_any_size(tmp_path: Path, *, kind: str) -> None:
    torch.manual_seed(0)
    net = tiny_net() if kind == "cnn" else LSegNet(VIT, HashText()).eval()
    encoder = FusedEncoderDecoder(net).eval()
    export_onnx(encoder, tmp_path / "x.onnx")
    request = Request(encoder, torch.device("cpu"), exported=tmp_path / "x.onnx")
    backend = OnnxRuntimeBackend(request)
    with torch.inference_mode():
        for size in ((96, 96), (64, 160), (256, 320)):
            images = torch.randn(1, 3, *size)
            torch.testing.assert_close(backend(images), encoder(images), rtol=0, atol=1e-4)


@pytest.mark.numeric
@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_openvino_runs_it_in_the_precision_asked_for(tmp_path: Path, *, kind: str) -> None:
    openvino = pytest.importorskip("openvino")
    if not has_bfloat16(openvino):
        pytest.skip("a CPU without bfloat16")
    torch.manual_seed(0)
    net = tiny_net() if kind == "cnn" else LSegNet(VIT, HashText()).eval()
    encoder = FusedEncoderDecoder(net).eval()
    export_onnx(encoder, tmp_path / "x.onnx")
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        plain = encoder(images)
        worst = [
            (OpenVinoBackend(Request(encoder, torch.device("cpu"), precision, tmp_path / "x.onnx"))(images) - plain)
            .abs()
            .max()
            for precision in ("float32", "bfloat16")
        ]
    assert worst[0] < 1e-4 < worst[1] < 0.2


def test_export_is_checked_and_says_so(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.onnx"
    assert export(weights, out) == 0
    said = capsys.readouterr().out
    assert "differ from PyTorch's by" in said and str(out) in said
    assert precision_of(out) == "float32"
    assert [path.name for path in tmp_path.glob("*.onnx")] == ["out.onnx"]
    segmenter = Segmenter(tiny_net(), "cpu", backend="onnxruntime", exported=out)
    assert segmenter.precision == "float32"


@pytest.mark.numeric
def test_int8_is_calibrated_and_its_loss_is_printed(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "int8.onnx"
    assert export(weights, out, "--calibrate", photos, "--labels", "sky, road, tree") == 0
    said = capsys.readouterr().out
    assert "calibrated on 5 pictures: on 2 others" in said
    assert "of the pixels keep their label" in said and "of their range" in said
    assert precision_of(out) == "int8"
    rgb = read_photo(photos / "0.png")
    plain = Segmenter(tiny_net(), "cpu").embed(rgb).coordinates
    for backend in ("onnxruntime", "openvino", "auto"):
        if backend != "auto":
            pytest.importorskip(backend)
        segmenter = Segmenter(tiny_net(), "cpu", backend=backend, exported=out)
        assert segmenter.precision == "int8"
        cosine = (segmenter.embed(rgb).coordinates * plain).sum(1).mean()
        assert cosine > 0.9


def test_the_precision_is_that_of_the_file(weights: Path, photos: Path, tmp_path: Path) -> None:
    plain, int8 = tmp_path / "plain.onnx", tmp_path / "int8.onnx"
    assert export(weights, plain) == export(weights, int8, "--calibrate", photos) == 0
    with pytest.raises(ValueError, match="plain.onnx holds float32, and precision int8 was asked for"):
        Segmenter(tiny_net(), "cpu", "int8", backend="onnxruntime", exported=plain)
    with pytest.raises(ValueError, match="int8.onnx holds int8, and precision float32 was asked for"):
        Segmenter(tiny_net(), "cpu", "float32", backend="onnxruntime", exported=int8)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "auto"])
def test_a_file_of_earlier_weights_is_refused(weights: Path, photos: Path, tmp_path: Path, *, backend: str) -> None:
    """The weights are so similar that no comparison of numbers in int8 would show the difference."""
    plain, int8 = tmp_path / "plain.onnx", tmp_path / "int8.onnx"
    assert export(weights, plain) == export(weights, int8, "--calibrate", photos) == 0
    later = tiny_net()
    with torch.no_grad():
        later.decoder.head.weight *= 1.0001
    for path in (plain, int8):
        assert Segmenter(tiny_net(), "cpu", backend=backend, exported=path).embed(read_photo(photos / "0.png"))
        with pytest.raises(ValueError, match=f"{path.name} was made of other weights than those of the model; run"):
            Segmenter(later, "cpu", backend=backend, exported=path)


def test_what_cannot_be_exported(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there.onnx"
    there.write_text("mine")
    for arguments, sentence in (
        ((weights, tmp_path / "x.pt"), "must end in .onnx"),
        ((weights, there), "is there already"),
        ((weights, tmp_path / "x.onnx", "--calibrate", photos / "0.png"), "at least 2 photos"),
        ((weights, tmp_path / "x.onnx", "--calibrate", tmp_path / "none"), "does not exist"),
    ):
        assert export(*arguments) == 1
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1
    assert there.read_text() == "mine"
    assert export(weights, there, "--force") == 0


def test_signs_of_the_basis_do_not_depend_on_the_library() -> None:
    """They do not depend on the library, because an exported file is used with the text vectors of any machine."""
    encoder = FusedEncoderDecoder(tiny_net())
    assert (encoder.head.weight[:, :, 0, 0].diagonal() >= 0).all()
