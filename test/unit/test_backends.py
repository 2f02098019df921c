"""Every installed backend is compared with PyTorch on a photograph. Missing and broken backends are reported."""

import builtins
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from openvino_cpu import has_bfloat16
from processes import PATIENCE
from tiny import tiny_net
from torch import Tensor

from lseg_ros import Segmenter, load_model
from lseg_ros.inference.backends import choose
from lseg_ros.inference.backends.base import BackendError, PerShape, Request
from lseg_ros.inference.backends.cache import cache_folder
from lseg_ros.inference.backends.choose import FastestBackend, backend_for, candidates, precision_for
from lseg_ros.inference.backends.onnx_files import onnx_of
from lseg_ros.inference.numerics import AUTO_ON_GPU
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
from lseg_ros.model.net import LSegNet

CPU = torch.device("cpu")
LABELS = ["person", "space suit", "flag", "rocket", "sky", "floor", "wall", "tree", "table", "dog", "other"]
# backend, precision -> least share of pixels with PyTorch's label; largest difference of coordinates, and the share of
# pixels that it holds for. A difference of 1e-4 moves a logit by 1.4e-3; on this photograph one pixel in a thousand has
# a second label that near to its best. Where features nearly cancel out, the rounding of bfloat16 turns the direction
# of what is left: with PyTorch's own bfloat16, that is one pixel in 200.
FAST = {
    ("openvino", "float32"): (0.999, 1e-4, 1.0),
    ("onnxruntime", "float32"): (0.999, 1e-4, 1.0),
    ("openvino", "bfloat16"): (0.98, 0.1, 0.98),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def mini() -> LSegNet:
    return load_model("lseg_mini")


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut()[:384])


def request_of(net: LSegNet, **changes: Any) -> Request:
    return replace(Request(FusedEncoderDecoder(net).eval(), CPU), **changes)


@pytest.mark.numeric
@pytest.mark.parametrize(("backend", "precision"), FAST)
def test_backends_give_pytorchs_masks(mini: LSegNet, photo: NDArray[np.uint8], *, backend: str, precision: str) -> None:
    module = pytest.importorskip(backend)
    if precision == "bfloat16" and not has_bfloat16(module):
        pytest.skip("a CPU without bfloat16")
    least_share, largest, of_pixels = FAST[backend, precision]
    plain, fast = Segmenter(mini, "cpu"), Segmenter(mini, "cpu", precision, backend=backend)
    assert fast.usage()["backend"] == f"{backend} {precision}"
    for rgb in (photo, photo[:, :320]):  # two shapes, one after the other
        images = plain.embed(rgb), fast.embed(rgb)
        assert images[1].coordinates.shape == images[0].coordinates.shape
        differences = (images[1].coordinates - images[0].coordinates).abs().amax(1)  # [1,h,w]
        assert differences.flatten().quantile(of_pixels) <= largest
        masks = []
        for segmenter, image in zip((plain, fast), images, strict=True):
            segmenter.set_labels(LABELS)
            masks.append(segmenter.score(image).mask)
        assert np.mean(masks[0] == masks[1]) >= least_share


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_an_embedding_outlives_the_next_image(photo: NDArray[np.uint8], *, backend: str) -> None:
    pytest.importorskip(backend)
    segmenter = Segmenter(tiny_net(), "cpu", backend=backend)
    first = segmenter.embed(photo).coordinates
    before = first.clone()
    segmenter.embed(255 - photo)
    assert torch.equal(first, before)


# OpenVINO's plugin puts a stack for signals in place when it starts, and the one before back when it goes.
AFTER_TWO = """
import gc, os, signal
import torch
from test_backends import CPU, FusedEncoderDecoder, Request, backend_for, tiny_net

first, second = (backend_for("openvino", Request(FusedEncoderDecoder(tiny_net()).eval(), CPU)) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
heard = []
signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
filling = [bytearray(1 << 16) for _ in range(1000)]  # so that what was freed is somebody else's
for _ in range(3):
    os.kill(os.getpid(), signal.SIGUSR1)
print(len(heard))
"""


def test_signals_arrive_after_backends_have_gone() -> None:
    pytest.importorskip("openvino")
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    ran = subprocess.run(
        [sys.executable, "-c", AFTER_TWO],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (ran.returncode, ran.stdout) == (0, "3\n"), ran.stderr


@pytest.mark.parametrize(
    ("backend", "module", "extra"), [("openvino", "openvino", "openvino"), ("onnxruntime", "onnxruntime", "onnx")]
)
def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, *, backend: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match=rf"{module} does not import .*pip install '\.\[{extra}\]'"):
        backend_for(backend, request_of(tiny_net()))


def test_torch_imports_no_other_library(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    original = builtins.__import__

    def record(name: str, *arguments: Any, **more: Any) -> Any:
        imported.append(name)
        return original(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", record)
    Segmenter(tiny_net(), "cpu", backend="torch")
    assert not [name for name in imported if name.startswith(("openvino", "onnx"))]


@pytest.mark.parametrize(
    ("backend", "changes", "sentence"),
    [
        ("fast", {}, "backend 'fast' is not known; use auto, torch"),
        ("tensorrt", {}, "tensorrt needs a GPU"),
        ("onnxruntime", {"precision": "bfloat16"}, "onnxruntime runs in float32, int8 here, not in bfloat16"),
        ("torch", {"precision": "int8"}, "torch runs in"),
        ("openvino", {"precision": "int8"}, "int8 needs a file that was calibrated"),
        ("openvino", {"exported": Path("nowhere.onnx")}, "nowhere.onnx is not there"),
        ("auto", {"exported": Path("nowhere.onnx")}, "nowhere.onnx is not there"),
        ("torch", {"exported": Path("x.onnx")}, "torch does not run x.onnx; choose the backend openvino"),
    ],
)
def test_impossible_requests_are_reported(*, backend: str, changes: dict[str, Any], sentence: str) -> None:
    if backend in ("openvino", "onnxruntime"):
        pytest.importorskip(backend)
    with pytest.raises(BackendError, match=sentence):
        backend_for(backend, request_of(tiny_net(), **changes))


@pytest.mark.parametrize(
    ("backend", "exported", "precision"),
    [
        ("torch", False, AUTO_ON_GPU),
        ("auto", False, AUTO_ON_GPU),
        ("auto", True, "float32"),  # else nothing installed may run the file
        ("onnxruntime", True, "float32"),
        ("tensorrt", True, "float16"),
    ],
)
def test_what_auto_means_on_a_gpu(tmp_path: Path, *, backend: str, exported: bool, precision: str) -> None:
    path = onnx_of(request_of(tiny_net())).rename(tmp_path / "x.onnx") if exported else None
    assert precision_for("auto", backend, torch.device("cuda"), path) == precision
    assert precision_for("auto", backend, CPU, path) == "float32"


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_damaged_file_in_the_cache_is_made_anew(*, backend: str, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip(backend)
    request = request_of(tiny_net())
    stored = onnx_of(request)
    whole = stored.stat().st_size
    stored.write_bytes(stored.read_bytes()[: whole // 2])
    backend_for(backend, request)
    assert "it is made again" in caplog.text
    assert stored.stat().st_size == whole


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_file_of_other_weights_is_refused(tmp_path: Path, *, backend: str) -> None:
    pytest.importorskip(backend)
    other = onnx_of(request_of(tiny_net(seed=1))).rename(tmp_path / "other.onnx")
    with pytest.raises(BackendError, match="other.onnx does not run: .*is the file of other weights"):
        backend_for(backend, request_of(tiny_net(seed=0), exported=other))
    assert other.is_file()


def test_auto_says_why_nothing_runs_and_does_not_try_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    other = onnx_of(request_of(tiny_net(seed=1))).rename(tmp_path / "other.onnx")
    request = request_of(tiny_net(seed=0), exported=other)
    monkeypatch.setattr(choose, "candidates", lambda request: ["onnxruntime"])
    backend = backend_for("auto", request)
    for _ in range(2):
        with pytest.raises(BackendError, match="nothing here runs float32 on cpu: .*is the file of other weights"):
            backend(IMAGES)
    assert caplog.text.count("left out") == 1


def test_what_killed_processes_left_in_the_cache_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = cache_folder() / ".part-old", cache_folder() / ".part-new"
    for left in (old, new):
        left.mkdir(parents=True)
        (left / "half.onnx").write_bytes(b"x")
    os.utime(old, (0, 0))
    onnx_of(request_of(tiny_net()))
    assert not old.exists() and new.exists(), "another process may be writing the new one"


class Fake:
    """A backend that gives PyTorch's numbers, changed by `spoil`, without taking time."""

    def __init__(self, name: str, request: Request, spoil: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        self.name, self._encoder, self._spoil = name, request.encoder, spoil

    def __call__(self, images: Tensor) -> Tensor:
        return self._spoil(self._encoder(images))


def fail(x: Tensor) -> Tensor:
    raise RuntimeError("no such instruction")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[Tensor], Tensor]]:
    """The changes of fake backends to PyTorch's numbers, by name. Each backend is 1 ms slower than the one before."""
    spoils: dict[str, Callable[[Tensor], Tensor]] = {}
    monkeypatch.setattr(choose, "_new", lambda name, request: Fake(name, request, spoils[name]))
    monkeypatch.setattr(choose, "candidates", lambda request: list(spoils))
    monkeypatch.setattr(choose, "_measure", lambda backend, images: 1e-3 * (1 + list(spoils).index(backend.name)))
    return spoils


IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_auto_takes_the_fastest_says_so_and_remembers(
    fakes: dict[str, Callable[[Tensor], Tensor]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    fakes |= {"quick": lambda x: x, "torch": lambda x: x}
    request = request_of(tiny_net())
    with torch.no_grad():
        backend = FastestBackend(request)
        assert backend.name == "auto, not measured yet"
        assert torch.equal(backend(IMAGES), request.encoder(IMAGES))
        assert backend.name == "quick"
        assert "backend quick, the fastest here at 64x64: quick 1 ms, torch 2 ms" in caplog.text
        monkeypatch.setattr(choose, "_measure", lambda backend, images: pytest.fail("measured again"))
        again = FastestBackend(request)
        again(IMAGES)
    assert again.name == "quick"
    assert "the fastest when it was measured here" in caplog.text


@pytest.mark.parametrize("spoil", [fail, lambda x: x + 0.01, lambda x: x[..., 1:], lambda x: x * torch.nan])
def test_auto_leaves_out_what_fails_or_differs(
    fakes: dict[str, Callable[[Tensor], Tensor]], caplog: pytest.LogCaptureFixture, *, spoil: Callable[[Tensor], Tensor]
) -> None:
    fakes |= {"quick": spoil, "torch": lambda x: x}
    request = request_of(tiny_net())
    with torch.no_grad():
        backend = FastestBackend(request)
        assert torch.equal(backend(IMAGES), request.encoder(IMAGES))
    assert backend.name == "torch"
    assert "quick does not run" in caplog.text and "left out" in caplog.text


def test_auto_measures_again_where_what_it_remembers_fails(
    fakes: dict[str, Callable[[Tensor], Tensor]], cache: Path
) -> None:
    fakes |= {"quick": lambda x: x, "torch": lambda x: x}
    request = request_of(tiny_net())
    with torch.no_grad():
        FastestBackend(request)(IMAGES)
        fakes["quick"] = fail
        backend = FastestBackend(request)
        backend(IMAGES)
        assert backend.name == "torch"
        (verdict,) = cache_folder().glob("*.json")
        assert json.loads(verdict.read_text())["backend"] == "torch"
        for damaged in ("", "[]", '{"backend": 3}', '{"backend": "gone", "figures": ""}'):
            verdict.write_text(damaged)
            FastestBackend(request)(IMAGES)


def test_auto_without_any_that_runs(fakes: dict[str, Callable[[Tensor], Tensor]]) -> None:
    fakes["quick"] = fail
    with torch.no_grad(), pytest.raises(BackendError, match="nothing here runs float32 on cpu"):
        FastestBackend(request_of(tiny_net()))(IMAGES)


def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that even root cannot write, and a folder for temporary files for this test."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def test_a_cache_that_cannot_be_written_costs_no_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocked(tmp_path, monkeypatch)
    request = request_of(tiny_net())
    path = onnx_of(request)
    assert path.parent.parent == tmp_path / "temporary"
    assert f"the cache {tmp_path}/file/lseg_ros/backends cannot be written" in caplog.text
    assert "set XDG_CACHE_HOME to a folder that can be written" in caplog.text
    written = path.stat().st_mtime_ns
    assert onnx_of(request) == path
    assert path.stat().st_mtime_ns == written
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    path.parent.chmod(0o777)  # somebody else may have put the file there
    with pytest.raises(BackendError, match=r"cannot be written: somebody else can write to it; set XDG_CACHE_HOME"):
        onnx_of(request)


def test_a_cache_that_can_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    request = request_of(tiny_net())
    path = onnx_of(request)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as where the file system is read-only, for root too
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert onnx_of(request) == path
    path.unlink()
    assert onnx_of(request).parent == tmp_path / f"lseg_ros-{os.getuid()}"


@pytest.mark.usefixtures("homeless")
def test_auto_works_without_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    segmenter = Segmenter(tiny_net(), "cpu", backend="auto")
    segmenter.embed(photo)
    assert "set HOME or XDG_CACHE_HOME to a folder that can be written" in caplog.text
    assert list(tmp_path.glob("lseg_ros-*/*.json"))


def test_candidates_keep_the_precision(tmp_path: Path) -> None:
    request = request_of(tiny_net())
    assert candidates(request)[-1] == "torch"
    assert "onnxruntime" not in candidates(replace(request, precision="bfloat16"))
    assert "torch" not in candidates(replace(request, precision="int8", exported=tmp_path / "x.onnx"))
    assert "openvino" not in candidates(replace(request, device=torch.device("cuda")))


def test_only_the_last_shapes_are_kept() -> None:
    made: list[tuple[int, ...]] = []

    def compile_for(shape: tuple[int, ...]) -> int:
        made.append(shape)
        return len(made)

    compiled = PerShape(compile_for)
    assert [compiled((n,)) for n in (1, 2, 3, 1, 4, 1, 2)] == [1, 2, 3, 1, 4, 1, 5]
    assert made == [(1,), (2,), (3,), (4,), (2,)]
