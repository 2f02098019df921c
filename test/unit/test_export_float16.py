"""The ONNX for TensorRT: in float16 except for sums and exponentials, and for one image size."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import HashText, tiny_net

from lseg_ros import Segmenter
from lseg_ros.cli.main import main
from lseg_ros.inference.backends import engines
from lseg_ros.inference.backends.base import BackendError, Request
from lseg_ros.inference.backends.choose import backend_for, precision_for
from lseg_ros.inference.backends.engines import layer_types, say_precision
from lseg_ros.inference.backends.onnx_files import export_onnx, precision_of, size_of
from lseg_ros.inference.backends.onnx_float16 import export_float16
from lseg_ros.inference.backends.onnxruntime import OnnxRuntimeBackend
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
from lseg_ros.model.net import LSegNet
from lseg_ros.model.variants import Decoder, Variant, VitBackbone
from lseg_ros.model.weights import save_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIZE = (64, 96)
VIT = Variant(
    name="tiny_vit",
    backbone=VitBackbone(32, 4, 2, 16, 6, taps=(0, 1, 2, 3), channels=(8, 16, 32, 32), scale=(4, 2, 1, 0.5)),
    decoder=Decoder(16, upsample=(2, 2, 2, 2)),
    text="none",
    embed_dim=16,
)


def encoder_of(kind: str) -> FusedEncoderDecoder:
    torch.manual_seed(0)
    return FusedEncoderDecoder(tiny_net() if kind == "cnn" else LSegNet(VIT, HashText()).eval()).eval()


def types_of(path: Path) -> tuple[Any, dict[str, int]]:
    """Returns the graph, and the type of each of its values by name, as ONNX's number."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    graph = model.graph
    found = {tensor.name: tensor.data_type for tensor in graph.initializer}
    found |= {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    return graph, found


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_types_in_the_graph(tmp_path: Path, *, kind: str) -> None:
    path = tmp_path / "x.onnx"
    export_float16(encoder_of(kind), path, SIZE)
    graph, types = types_of(path)
    single, half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    assert {types[v.name] for v in (*graph.input, *graph.output)} == {single}
    wanted = {
        "Conv": half,
        "MatMul": half,
        "Gemm": half,
        "ConvTranspose": half,
        "LayerNormalization": single,
        "Softmax": single,
    }
    seen = set()
    for node in graph.node:
        if node.op_type in wanted:
            seen.add(node.op_type)
            assert {types[name] for name in node.input if name} == {wanted[node.op_type]}, node.name
    assert "Conv" in seen and (kind == "cnn" or {"LayerNormalization", "Softmax", "MatMul"} <= seen)
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.input]
    assert shapes == [[1, 3, *SIZE]]
    assert precision_of(path) == "float16" and size_of(path) == SIZE


@pytest.mark.numeric
@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_onnx_runtime_gives_what_torch_gives(tmp_path: Path, *, kind: str) -> None:
    encoder = encoder_of(kind)
    path = tmp_path / "x.onnx"
    export_float16(encoder, path, SIZE)
    backend = OnnxRuntimeBackend(Request(encoder, CPU, "float16", path))
    images = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, expected = backend(images), encoder(images)
    assert found.dtype == torch.float32
    cosine = (found * expected).sum(1)
    assert cosine.mean() > 0.9999 and 1e-6 < (found - expected).abs().max() < 0.1


def test_another_size_is_named(tmp_path: Path) -> None:
    encoder, path = encoder_of("cnn"), tmp_path / "x.onnx"
    export_float16(encoder, path, SIZE)
    with pytest.raises(BackendError, match="takes images of 96x64 as the network sees them, and these become 64x64"):
        OnnxRuntimeBackend(Request(encoder, CPU, "float16", path))(torch.zeros(1, 3, 64, 64))


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("lseg_ros.model.weights.build_text_encoder", lambda variant: HashText())
    weights, out = tmp_path / "tiny.safetensors", tmp_path / "out.onnx"
    save_model(tiny_net(), weights, "CC0-1.0")
    assert main(["export", str(weights), str(out), "--precision", "float16", "--image", "640x480"]) == 0
    assert "float16, for images of 640x480 (96x96 in the network): cosine 0.99" in capsys.readouterr().out
    assert precision_of(out) == "float16" and size_of(out) == (96, 96)
    segmenter = Segmenter(tiny_net(), "cpu", backend="onnxruntime", exported=out)
    assert segmenter.precision == "float16"
    segmenter.set_labels(["road", "grass"])
    assert segmenter.segment(np.zeros((480, 640, 3), np.uint8)).mask.shape == (480, 640)
    for arguments, sentence in (
        (("--image", "640x480"), "--image is for --precision float16"),
        (("--precision", "float16", "--calibrate", "x"), "--calibrate makes int8; leave out --precision"),
    ):
        assert main(["export", str(weights), str(tmp_path / "new.onnx"), *arguments]) == 1
        assert sentence in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", str(weights), str(out), "--image", "640"])
    assert "'640' is no size such as 640x480" in capsys.readouterr().err


def test_what_a_file_holds_decides(tmp_path: Path) -> None:
    encoder, half, single = encoder_of("cnn"), tmp_path / "half.onnx", tmp_path / "single.onnx"
    export_float16(encoder, half, SIZE)
    export_onnx(encoder, single)
    for backend in ("auto", "onnxruntime", "tensorrt"):
        assert precision_for("auto", backend, CUDA, half) == "float16"
    assert precision_for("auto", "onnxruntime", CPU, half) == "float16"
    assert precision_for("float16", "tensorrt", CUDA, single) == "float16"
    with pytest.raises(BackendError, match="half.onnx holds float16, and precision float32 was asked for"):
        precision_for("float32", "onnxruntime", CPU, half)
    with pytest.raises(BackendError, match="tensorrt runs in tf32, float16, int8 here, not in float32"):
        backend_for("tensorrt", Request(encoder, CUDA, "float32"))


def information(*types: str) -> str:
    return json.dumps(
        {"Layers": [{"Name": "x", "Outputs": [{"Name": "y", "Format/Datatype": text}]} for text in types]}
    )


def test_types_of_an_engine_are_read_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The text is what TensorRT's inspector writes. No real engine is used."""
    found = layer_types(
        information("Row major linear FP16 format", "Half", "Row major linear FP32", "Int8", "BFloat16")
    )
    assert found == {"float16": 2, "float32": 1, "int8": 1, "bfloat16": 1}
    assert layer_types(json.dumps({"Layers": ["a name", {"Name": "b"}]})) == {}
    caplog.set_level(logging.INFO)
    for text, level in ((("Half", "Half", "FP32"), "INFO"), (("FP32", "FP32", "Half"), "WARNING")):
        caplog.clear()
        monkeypatch.setattr(engines, "engine_types", lambda folder, text=text: layer_types(information(*text)))
        say_precision(Path(), "float16")
        assert [record.levelname for record in caplog.records] == [level]
        assert "TensorRT was asked for float16; of its engine's layers there are 2 in" in caplog.text
    for nothing, sentence in ((None, "tensorrt is not installed"), (layer_types("{}"), "without this information")):
        monkeypatch.setattr(engines, "engine_types", lambda folder, nothing=nothing: nothing)
        say_precision(Path(), "float16")
        assert sentence in caplog.text
