"""CUDA graphs of whole frames give the numbers of the plain path, and leave nothing behind."""

import copy
import gc
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import tiny_net

from lseg_ros import Segmenter, load_model
from lseg_ros.inference.cuda_graphs import Body, Recorder, free_cached
from lseg_ros.inference.frame_programs import ImageProgram
from lseg_ros.inference.gpu_frames import GpuFrames
from lseg_ros.inference.labels import LabelSpec
from lseg_ros.model.net import LSegNet

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (60, 100, 3), dtype=np.uint8)
WIDE = RNG.integers(0, 256, (72, 96, 3), dtype=np.uint8)
LABELS = [
    LabelSpec("road", prompts=("road", "street")),
    LabelSpec("sky", threshold=0.4),
    LabelSpec("x", background=True),
]


@pytest.fixture(autouse=True)
def programs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image of a size has a program."""
    monkeypatch.setattr("lseg_ros.inference.gpu_frames._OFTEN", 1)


class Counted(Recorder):
    """Notes which functions were recorded, and whether that worked."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.recorded: list[tuple[str, bool]] = []

    def record(self, body: Body, what: str) -> tuple[Body, bool]:
        run, captured = super().record(body, what)
        self.recorded.append((what, captured))
        return run, captured


def pair(net: LSegNet, cuda: torch.device, precision: str = "float32") -> tuple[Segmenter, Segmenter, Counted]:
    """Returns a segmenter on the CPU, one on the GPU, and the recorder of the latter."""
    plain = Segmenter(copy.deepcopy(net), "cpu", "float32")
    fast = Segmenter(copy.deepcopy(net), cuda, precision)
    recorder = Counted(cuda)
    fast._frames = GpuFrames(fast._net, fast._backend, recorder, tf32=precision == "tf32", capture=True)
    return plain, fast, recorder


def agree(one: Segmenter, other: Segmenter, rgb: NDArray[np.uint8], least: float = 0.999, atol: float = 1e-4) -> None:
    results = [segmenter.segment(rgb) for segmenter in (one, other)]
    assert np.mean(results[0].mask == results[1].mask) >= least
    np.testing.assert_allclose(results[0].confidence, results[1].confidence, atol=atol)
    difference = results[0].confidence_bytes.astype(int) - results[1].confidence_bytes
    assert abs(difference).max() <= 1 + 255 * atol
    for label in one.labels.names[:3]:
        np.testing.assert_allclose(results[0].scores(label), results[1].scores(label), atol=atol)


def test_graphs_give_what_the_cpu_gives(cuda: torch.device) -> None:
    plain, fast, recorder = pair(tiny_net(), cuda)
    for labels in (LABELS, ["road", "grass", "sky"], ["road"], [f"label {i}" for i in range(150)], LABELS):
        for segmenter in (plain, fast):
            segmenter.set_labels(labels)
        for rgb in (RGB, WIDE, 255 - RGB):
            agree(plain, fast, rgb)
    assert all(captured for _, captured in recorder.recorded), recorder.recorded


def test_label_changes_replay_the_same_graph(cuda: torch.device) -> None:
    plain, fast, recorder = pair(tiny_net(), cuda)
    for labels in (["a", "b", "c"], ["d", "e", "f", "g"], ["a"], ["sky", "road"]):
        for segmenter in (plain, fast):
            segmenter.set_labels(labels)
            segmenter.threshold = 0.3
        agree(plain, fast, RGB)
    assert len(recorder.recorded) == 3


def test_the_first_of_equal_labels_wins(cuda: torch.device) -> None:
    _, fast, _ = pair(tiny_net(), cuda)
    fast.set_labels(["road", "sky"])
    competition = fast._competition
    fast._competition = replace(competition, text=competition.text[[0, 0]])
    assert np.unique(fast.segment(RGB).mask).tolist() == [1]


def test_results_outlive_the_next_images(cuda: torch.device) -> None:
    plain, fast, _ = pair(tiny_net(), cuda)
    for segmenter in (plain, fast):
        segmenter.set_labels(["road", "grass", "sky"])
    images = [RGB, 255 - RGB, RGB[::-1], WIDE]
    expected, found = ([s.segment(rgb) for rgb in images] for s in (plain, fast))
    masks = [result.mask for result in found]
    copies = [mask.copy() for mask in masks]
    for _ in range(3):
        fast.segment(RGB).mask  # noqa: B018
    for one, other, mask, before in zip(expected, found, masks, copies, strict=True):
        np.testing.assert_array_equal(mask, before)
        assert np.mean(one.mask == mask) > 0.999
        np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-4)
        np.testing.assert_allclose(one.scores("sky"), other.scores("sky"), atol=1e-4)


def test_an_earlier_image_is_scored_again(cuda: torch.device) -> None:
    plain, fast, _ = pair(tiny_net(), cuda)
    found = []
    for segmenter in (plain, fast):
        segmenter.set_labels(["road", "grass"])
        first = segmenter.embed(RGB)
        segmenter.score(segmenter.embed(255 - RGB)).mask  # noqa: B018
        segmenter.set_labels(["sky", "road", "tree"])
        found.append((segmenter.score(first).mask, segmenter.query(first, ["door"], (60, 100))[0].score))
    assert np.mean(found[0][0] == found[1][0]) > 0.999
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-4)


@pytest.mark.parametrize(
    ("precision", "least", "atol"), [("tf32", 0.99, 0.05), ("float16", 0.99, 0.05), ("bfloat16", 0.97, 0.3)]
)
def test_other_precisions_keep_the_masks(cuda: torch.device, *, precision: str, least: float, atol: float) -> None:
    plain, fast, recorder = pair(load_model("lseg_mini"), cuda, precision)
    for segmenter in (plain, fast):
        segmenter.set_labels(["sky", "road", "tree", "car", "person"])
    smooth = np.linspace(0, 255, 320 * 240 * 3).reshape(240, 320, 3).astype(np.uint8)
    agree(plain, fast, smooth, least, atol)
    assert all(captured for _, captured in recorder.recorded)


def test_float32_is_exact_whatever_the_process_allows(cuda: torch.device) -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        plain, fast, _ = pair(load_model("lseg_mini"), cuda)
        rgb = RNG.integers(0, 256, (240, 320, 3), dtype=np.uint8)
        difference = (fast.embed(rgb).coordinates.cpu() - plain.embed(rgb).coordinates).abs().max()
        assert difference < 1e-4
        assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_stage_times_are_the_cards(cuda: torch.device) -> None:
    _, fast, _ = pair(load_model("lseg_mini"), cuda)
    rgb = RNG.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for _ in range(3):
        image = fast.embed(rgb)
        stages = image.stage_ms
    assert list(stages) == ["preprocess", "encode"] and stages["encode"] > 0.05


def spoiled(fast: Segmenter, spoil: Callable[[torch.Tensor], torch.Tensor], recorder: Recorder) -> None:
    encode = fast._backend
    fast._frames = GpuFrames(fast._net, lambda x: spoil(encode(x)), recorder, tf32=False, capture=True)


def test_what_cannot_be_recorded_runs_step_by_step(cuda: torch.device, caplog: pytest.LogCaptureFixture) -> None:
    """A failed recording does not disturb later ones."""

    def waits(x: torch.Tensor) -> torch.Tensor:
        return x * float(x.sum().isfinite().item())

    plain, fast, recorder = pair(tiny_net(), cuda)
    spoiled(fast, waits, recorder)
    for segmenter in (plain, fast):
        segmenter.set_labels(["road", "grass"])
    stream = torch.cuda.current_stream(cuda)
    for rgb in (RGB, WIDE):
        agree(plain, fast, rgb)
    assert torch.cuda.current_stream(cuda) == stream
    assert caplog.text.count("it runs step by step, which is slower") == 1
    encoders = [captured for what, captured in recorder.recorded if what.startswith("encoder")]
    others = [captured for what, captured in recorder.recorded if not what.startswith("encoder")]
    assert encoders == [False, False] and all(others)
    again = pair(tiny_net(), cuda)
    for segmenter in again[:2]:
        segmenter.set_labels(["road", "grass"])
    agree(again[0], again[1], RGB)
    assert all(captured for _, captured in again[2].recorded)


def test_several_segmenters_in_several_threads(cuda: torch.device) -> None:
    """They are recorded at the same time, while others compute and allocate memory."""
    nets = [tiny_net(seed) for seed in range(3)]
    plains = [Segmenter(copy.deepcopy(net), "cpu", "float32") for net in nets]
    images = [RNG.integers(0, 256, (40 + 20 * i, 100, 3), dtype=np.uint8) for i in range(4)]
    expected, found = [], {}
    for plain in plains:
        plain.set_labels(["road", "grass", "sky"])
        expected.append([plain.segment(rgb).mask for rgb in images])
    start = threading.Barrier(len(nets) + 1)
    stop = threading.Event()

    def work(number: int) -> None:
        segmenter = Segmenter(nets[number], cuda, "float32")
        segmenter.set_labels(["road", "grass", "sky"])
        start.wait(60)
        found[number] = [[segmenter.segment(rgb).mask for rgb in images] for _ in range(20)]

    def disturb() -> None:
        start.wait(60)
        size = 0
        while not stop.is_set():
            size = (size + 12345) % 5_000_000
            torch.ones(size + 1, device=cuda).sum().item()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(nets))]
    disturber = threading.Thread(target=disturb)
    for thread in (*threads, disturber):
        thread.start()
    for thread in threads:
        thread.join(120)
    stop.set()
    disturber.join(60)
    for number, masks in enumerate(expected):
        for turn in found[number]:
            for one, other in zip(masks, turn, strict=True):
                assert np.mean(one == other) > 0.999


def test_strips_in_a_graph(cuda: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU computes in strips if labels x pixels do not fit into its memory."""
    monkeypatch.setattr("lseg_ros.inference.upsampling._whole_limit", lambda device: 0)
    plain, fast, recorder = pair(tiny_net(), cuda)
    for segmenter in (plain, fast):
        segmenter.set_labels(["road", "grass", "sky"])
    for rgb in (RGB, WIDE, RGB):
        agree(plain, fast, rgb)
    assert all(captured for _, captured in recorder.recorded)


def test_a_full_card_is_one_sentence_and_freed_memory_is_used(cuda: torch.device) -> None:
    segmenter = Segmenter(load_model("lseg_mini"), cuda)
    segmenter.set_labels(["road", "grass"])
    rgb = RNG.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    expected = segmenter.segment(rgb).mask
    segmenter._frames.clear()  # type: ignore[union-attr]
    free_cached(cuda)
    filler = []
    size = 2**30
    while size > 2**20:
        try:
            filler.append(torch.empty(size, dtype=torch.uint8, device=cuda))
        except torch.cuda.OutOfMemoryError:
            size //= 2
    for _ in range(2):
        with pytest.raises(torch.cuda.OutOfMemoryError, match="too little memory for 1280x720 pixels: .* MB are free"):
            segmenter.segment(rgb).mask  # noqa: B018
    filler.clear()
    free_cached(cuda)
    assert np.mean(segmenter.segment(rgb).mask == expected) > 0.999


def test_nothing_is_left_behind_by_twenty_segmenters(cuda: torch.device) -> None:
    rgb = RNG.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    held, net = [], load_model("lseg_mini")
    for _ in range(20):
        segmenter = Segmenter(copy.deepcopy(net), cuda)
        segmenter.set_labels(["road", "grass"])
        segmenter.segment(rgb).mask  # noqa: B018
        segmenter.release()
        del segmenter
        gc.collect()
        torch.cuda.empty_cache()
        held.append((torch.cuda.memory_allocated(cuda), torch.cuda.memory_reserved(cuda)))
    assert held[-1][0] <= held[2][0] + 2**20 and held[-1][1] <= held[2][1] + 2**21, held


def test_memory_stays_the_same_while_sizes_and_labels_change(cuda: torch.device) -> None:
    segmenter = Segmenter(load_model("lseg_mini"), cuda)
    sizes = [(240, 320), (240, 300), (200, 320), (160, 320), (320, 240), (300, 300)]
    images = [RNG.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    held = []
    for frame in range(300):
        if frame % 10 == 0:
            segmenter.set_labels([f"label {i}" for i in range(2 + frame % 40)])
        segmenter.segment(images[frame % len(images)]).mask  # noqa: B018
        held.append(torch.cuda.memory_reserved(cuda))
    assert max(held[150:]) <= 1.1 * max(held[:150]) + 2**24


def test_the_encoder_is_recorded(cuda: torch.device) -> None:
    _, fast, _ = pair(tiny_net(), cuda)
    fast.embed(RGB)
    assert fast._frames is not None
    programs = [entry.program for entry in fast._frames._images._entries.values()]
    assert [isinstance(program, ImageProgram) and program.captured for program in programs] == [True]


def test_multiscale_runs_on_the_card(cuda: torch.device) -> None:
    plain, fast, _ = pair(tiny_net(), cuda)
    for segmenter in (plain, fast):
        segmenter.set_labels(["road", "grass", "sky"])
    masks = [segmenter.segment_multiscale(RGB).mask for segmenter in (plain, fast)]
    assert np.mean(masks[0] == masks[1]) > 0.995


def test_a_size_is_recorded_at_its_third_image(cuda: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lseg_ros.inference.gpu_frames._OFTEN", 3)
    plain, fast, recorder = pair(tiny_net(), cuda)
    for segmenter in (plain, fast):
        segmenter.set_labels(["road", "grass", "sky"])
    for count in (0, 0, 3, 3):
        agree(plain, fast, RGB)
        assert len(recorder.recorded) == count
