"""The programs of CUDA graphs give the numbers of the plain path, and a bounded number of them is kept."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference import TINY_VIT
from tiny import TINY, HashText, tiny_net

from lseg_ros import Segmenter
from lseg_ros.inference import frame_programs, gpu_frames, programs
from lseg_ros.inference.cuda_graphs import Body, Recorder
from lseg_ros.inference.frame_programs import padded
from lseg_ros.inference.gpu_frames import GpuFrames
from lseg_ros.inference.labels import IdRules, LabelSpec
from lseg_ros.inference.programs import Programs, Uses
from lseg_ros.model.net import LSegNet
from lseg_ros.model.variants import HeadBlock

pytestmark = pytest.mark.numeric

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (60, 100, 3), dtype=np.uint8)
WIDE = RNG.integers(0, 256, (72, 96, 3), dtype=np.uint8)
LABELS: list[LabelSpec] = [
    LabelSpec("road", prompts=("road", "street", "lane")),
    LabelSpec("sky", threshold=0.5),
    LabelSpec("grass", prompts=("grass", "lawn")),
    LabelSpec("x", background=True),
]


@pytest.fixture(autouse=True)
def programs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image of a size has a program."""
    monkeypatch.setattr(gpu_frames, "_OFTEN", 1)


def vit() -> LSegNet:
    torch.manual_seed(0)
    return LSegNet(replace(TINY_VIT, input_size=96, embed_dim=16), HashText()).eval()


def with_block(kind: str) -> LSegNet:
    net = tiny_net()
    torch.manual_seed(1)
    net.head_block = LSegNet(replace(TINY, head_block=HeadBlock(kind, 2, "lrelu")), HashText()).eval().head_block
    return net


class Counted(Recorder):
    """Notes what was recorded."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.recorded: list[str] = []

    def record(self, body: Body, what: str) -> tuple[Body, bool]:
        self.recorded.append(what)
        return super().record(body, what)


def pair(net: LSegNet, recorder: Recorder | None = None, **options: object) -> tuple[Segmenter, Segmenter]:
    """Returns the same network on the plain path and by programs that run step by step."""
    plain, by_programs = (Segmenter(copy.deepcopy(net), "cpu", **options) for _ in range(2))  # type: ignore[arg-type]
    frames = GpuFrames(by_programs._net, by_programs._backend, recorder or Recorder(CPU), tf32=False, capture=True)
    by_programs._frames = frames
    return plain, by_programs


def agree(one: Segmenter, other: Segmenter, rgb: NDArray[np.uint8]) -> None:
    results = [segmenter.segment(rgb) for segmenter in (one, other)]
    assert results[0].mask.dtype == results[1].mask.dtype and results[0].mask.shape == results[1].mask.shape
    np.testing.assert_allclose(results[0].confidence, results[1].confidence, atol=1e-5)
    assert np.mean(results[0].mask != results[1].mask) < 1e-3
    difference = results[0].confidence_bytes.astype(int) - results[1].confidence_bytes
    assert abs(difference).max() <= 1 and results[1].confidence_bytes.min() >= 1
    for label in one.labels.names:
        np.testing.assert_allclose(results[0].scores(label), results[1].scores(label), atol=1e-5)


@pytest.mark.parametrize("make", [tiny_net, vit, partial(with_block, "bottleneck"), partial(with_block, "depthwise")])
def test_programs_give_what_the_plain_path_gives(make: Callable[[], LSegNet]) -> None:
    plain, by_programs = pair(make(), threshold=0.3)
    for labels in (LABELS, ["road", "grass", "sky"], ["road"], [f"label {i}" for i in range(20)], LABELS):
        for segmenter in (plain, by_programs):
            segmenter.set_labels(labels)
        for rgb in (RGB, WIDE, RGB[:, ::-1]):
            agree(plain, by_programs, rgb)


def test_large_ids_and_many_labels() -> None:
    plain, by_programs = pair(tiny_net(), rules=IdRules(65535, 65535), threshold=0.02, output_size=(30, 50))
    names = [f"label {i}" for i in range(300)]
    for segmenter in (plain, by_programs):
        segmenter.set_labels(names, class_ids=range(40000, 40300))
    agree(plain, by_programs, RGB)
    mask = by_programs.segment(RGB).mask
    assert mask.dtype == np.uint16 and mask.shape == (30, 50) and mask.max() > 39999


@pytest.mark.parametrize("whole", [True, False])
def test_enlarged_whole_or_in_strips(monkeypatch: pytest.MonkeyPatch, *, whole: bool) -> None:
    monkeypatch.setattr("lseg_ros.inference.upsampling._whole_limit", lambda device: 10**9 if whole else 0)
    plain, by_programs = pair(tiny_net())
    for segmenter in (plain, by_programs):
        segmenter.set_labels(LABELS)
    agree(plain, by_programs, RGB)


def test_the_first_of_equal_labels_wins() -> None:
    _, by_programs = pair(tiny_net())
    by_programs.set_labels(["road", "sky"])
    competition = by_programs._competition
    by_programs._competition = replace(competition, text=competition.text[[0, 0]])
    assert np.unique(by_programs.segment(RGB).mask).tolist() == [1]


def test_labels_change_without_a_new_recording() -> None:
    recorder = Counted()
    plain, by_programs = pair(tiny_net(), recorder)
    for labels in (["a", "b", "c"], ["d", "e", "f", "g"], ["a"], ["sky", "road"]):
        for segmenter in (plain, by_programs):
            segmenter.set_labels(labels)
        agree(plain, by_programs, RGB)
        by_programs.threshold = plain.threshold = plain.threshold + 0.1
        agree(plain, by_programs, RGB)
    assert len(recorder.recorded) == 3, "preprocessing, encoder, and scoring of up to eight labels"


def test_results_outlive_the_next_images_and_labels() -> None:
    plain, by_programs = pair(tiny_net())
    for segmenter in (plain, by_programs):
        segmenter.set_labels(["road", "grass", "sky"])
    images = [RGB, 255 - RGB, RGB[::-1]]
    expected, found = ([s.segment(rgb) for rgb in images] for s in (plain, by_programs))
    masks = [result.mask for result in found]  # each run overwrites the buffers of the one before
    by_programs.set_labels(["door"])
    again = by_programs.segment(RGB)
    assert again.mask.shape == (60, 100)
    for one, other, mask in zip(expected, found, masks, strict=True):
        np.testing.assert_array_equal(other.mask, mask)
        assert np.mean(one.mask != mask) < 1e-3
        np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-5)
        np.testing.assert_allclose(one.scores("sky"), other.scores("sky"), atol=1e-5)


def test_an_earlier_image_is_scored_again_and_asked_about() -> None:
    plain, by_programs = pair(tiny_net())
    found = []
    for segmenter in (plain, by_programs):
        segmenter.set_labels(["road", "grass"])
        first = segmenter.embed(RGB)
        segmenter.score(segmenter.embed(255 - RGB)).mask  # noqa: B018  # another image comes between
        segmenter.set_labels(["sky", "road", "tree"])
        again = segmenter.score(first)
        found.append((again.mask, again.confidence, segmenter.query(first, ["door"], (60, 100))[0].score))
    assert np.mean(found[0][0] != found[1][0]) < 1e-3
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)
    np.testing.assert_allclose(found[0][2], found[1][2], atol=1e-5)


def test_stages_are_named() -> None:
    for segmenter in pair(tiny_net()):
        stages = segmenter.embed(RGB).stage_ms
        assert list(stages) == ["preprocess", "encode"] and all(ms > 0 for ms in stages.values())


def test_there_are_enough_places_and_few_sizes() -> None:
    for count in range(1, 1000):
        assert count <= padded(count) <= max(count + 7, count * 1.25)
    assert [padded(n) for n in (1, 8, 9, 20, 150, 257)] == [8, 8, 16, 24, 160, 320]
    assert len({padded(n) for n in range(1, 151)}) == 13


def test_too_many_prompts_run_step_by_step(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(frame_programs, "_MOST_ROWS", 8)
    plain, by_programs = pair(tiny_net())
    for segmenter in (plain, by_programs):
        segmenter.set_labels([f"label {i}" for i in range(9)])
    agree(plain, by_programs, RGB)
    assert caplog.text.count("9 prompts are too many for a CUDA graph; they run step by step") == 1


def test_a_bounded_number_of_sizes_is_kept(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(gpu_frames, "_IMAGES", 2)
    recorder = Counted()
    plain, by_programs = pair(tiny_net(), recorder)
    for segmenter in (plain, by_programs):
        segmenter.set_labels(["road", "grass"])
    for _ in range(2):
        for rgb in (RGB, WIDE, RGB[:40], RGB[:, :50]):
            agree(plain, by_programs, rgb)
    assert len(recorder.recorded) == 6, "two sizes, three programs each"
    assert caplog.text.count("images of more than 2 sizes come in turn") == 1


@pytest.mark.parametrize("sizes", ["one after the other", "in turn"])
def test_a_size_has_a_program_from_its_third_image_on(monkeypatch: pytest.MonkeyPatch, *, sizes: str) -> None:
    monkeypatch.setattr(gpu_frames, "_OFTEN", 3)
    recorder = Counted()
    plain, by_programs = pair(tiny_net(), recorder)
    for segmenter in (plain, by_programs):
        segmenter.set_labels(["road", "grass"])
    images = [RGB, RGB, WIDE, WIDE] if sizes == "one after the other" else [RGB, WIDE, RGB, WIDE]
    for rgb in (*images, RGB[:40], RGB[:, :50]):
        agree(plain, by_programs, rgb)
    assert recorder.recorded == []
    agree(plain, by_programs, WIDE)
    assert [what.split()[0] for what in recorder.recorded] == ["preprocessing", "encoder", "scoring"]
    by_programs._frames._uses = Uses(3)  # type: ignore[union-attr]  # as after a pause
    monkeypatch.setattr(GpuFrames, "_by_steps", None)  # not called
    agree(plain, by_programs, WIDE)
    assert len(recorder.recorded) == 3


def test_further_sizes_in_turn_are_encoded_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_frames, "_IMAGES", 1)
    encoded: list[int] = []
    _, by_programs = pair(tiny_net())
    encode = by_programs._backend
    by_programs._frames = GpuFrames(
        by_programs._net,
        lambda x: (encoded.append(1), encode(x))[1],  # type: ignore[func-returns-value]
        Recorder(CPU),
        tf32=False,
        capture=True,
    )
    by_programs.embed(RGB)
    encoded.clear()
    for _ in range(3):
        for rgb in (RGB, WIDE, RGB[:40]):
            by_programs.embed(rgb)
    assert len(encoded) == 9


def test_uses_are_counted_while_they_follow_each_other() -> None:
    now = [0.0]
    uses = Uses(3, lambda: now[0])
    assert [uses.often(key) for key in "abababb"] == [False, False, False, False, True, True, True]
    now[0] += programs._IN_USE
    assert [uses.often("a") for _ in range(3)] == [False, False, True], "after a pause they start anew"
    for key in range(programs._COUNTED):
        uses.often(key)
    assert not uses.often("a") and len(uses._counts) == programs._COUNTED


def test_programs_in_use_are_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    kept: Programs[str] = Programs(2, lambda: now[0])
    assert [kept.get(key, (key * 2).lower) for key in "abac"] == ["aa", "bb", "aa", None]
    now[0] = programs._IN_USE + 1
    kept.get("a", lambda: "new")
    assert kept.get("c", lambda: "cc") == "cc"
    assert kept.get("a", lambda: "new") == "aa", "the one that was not used for longest went"
    kept.drop("a")
    kept.drop("nothing")
    assert kept.get("a", lambda: "new") == "new"


@pytest.mark.parametrize("often", [1, 9])
def test_numbers_that_get_too_large_are_named(monkeypatch: pytest.MonkeyPatch, *, often: int) -> None:
    monkeypatch.setattr(gpu_frames, "_OFTEN", often)
    _, by_programs = pair(tiny_net())
    encode = by_programs._backend
    frames = GpuFrames(by_programs._net, lambda x: encode(x) * torch.inf, Recorder(CPU), tf32=False, capture=True)
    by_programs._frames = frames
    by_programs.set_labels(["road", "grass"])
    for _ in range(2):
        with pytest.raises(ValueError, match="too large for its precision.*set precision to tf32"):
            by_programs.segment(RGB)
