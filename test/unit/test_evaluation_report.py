"""`lseg eval` from its arguments to its report, on a tiny data set made by the tests."""

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rounding import ties_of
from tiny import TINY, HashText, tiny_net

from lseg_ros import Segmenter, load_model
from lseg_ros.cli.evaluate import _training_words
from lseg_ros.cli.main import main
from lseg_ros.data.common import IGNORE, package_lines
from lseg_ros.model import weights
from lseg_ros.model.variants import VARIANTS
from lseg_ros.training.config_reader import read_config

# As nasty as labels get: markup, mathtext, and a name that matplotlib's legends leave out.
LABELS = ["<b>road</b>", "a $x^2$ & $", "_car", "sky", "nowhere"]
OTHERS = ["street", "$\\frac", "_auto", "heavens", "never"]


@pytest.fixture(autouse=True)
def tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "tiny", TINY)
    monkeypatch.setattr(weights, "build_text_encoder", lambda variant: HashText())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of noise with masks, a config and the weights of a network."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir()
    for i in range(10):
        mask = rng.integers(0, 4, (3, 4)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
        mask[:5] = IGNORE
        cv2.imwrite(str(root / "images" / f"{i}.png"), rng.integers(0, 256, (48, 64, 3)).astype(np.uint8))
        cv2.imwrite(str(root / "masks" / f"{i}.png"), mask)
    (root / "labels.txt").write_text("\n".join(LABELS) + "\n")
    config = {
        "data": {"dataset": "folder"},
        "words": {"<i>other</i>": OTHERS},
        "unseen": ["_car"],
        "vocabulary": ["tree", "<script>alert(1)</script>"],
        "templates": ["{}", "a {}"],
    }
    (root / "eval.yaml").write_text(json.dumps(config))  # JSON is YAML
    weights.save_model(tiny_net(), root / "net.safetensors", "CC0-1.0")
    return root


def arguments(folder: Path, *more: str) -> list[str]:
    model = ["--model", str(folder / "net.safetensors"), "--device", "cpu"]
    return ["eval", "--config", str(folder / "eval.yaml"), "--data", str(folder), *model, *more]


def by_segmenter(folder: Path, words: list[str]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Returns true ids, predicted ids, confidence, and ties between labels, computed with `Segmenter` as users do."""
    segmenter = Segmenter(load_model(folder / "net.safetensors"), "cpu")
    segmenter.set_labels(words, list(range(len(words))))
    found = []
    for i in range(10):
        bgr = cv2.imread(str(folder / "images" / f"{i}.png"))
        assert bgr is not None
        target = cv2.imread(str(folder / "masks" / f"{i}.png"), cv2.IMREAD_UNCHANGED)
        result = segmenter.segment(np.ascontiguousarray(bgr[..., ::-1], np.uint8))
        found.append((target, result.mask, result.confidence, ties_of(result)))
    target, mask, confidence, tied = (np.stack(arrays) for arrays in zip(*found, strict=True))
    return target, mask, confidence, tied


def ious(target: NDArray[Any], mask: NDArray[Any]) -> list[float | None]:
    known = target != IGNORE
    found: list[float | None] = []
    for i in range(len(LABELS)):
        true, guess = known & (target == i), known & (mask == i)
        found.append(float((true & guess).sum() / (true | guess).sum()) if (true | guess).any() else None)
    return found


@pytest.mark.numeric
def test_figures_of_the_report(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a" / "report"
    assert main(arguments(folder, "--out", str(out))) == 0

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    record = json.loads((out / "report.json").read_text(encoding="utf-8"), parse_constant=refuse)
    result = record["result"]
    target, mask, confidence, tied = by_segmenter(folder, LABELS)
    known, right = target != IGNORE, (target == mask)[target != IGNORE]
    smallest = np.bincount(target[known]).min()

    def slack(tied: NDArray[Any]) -> float:
        """A pixel without a clearly best label changes an IoU by the value of one pixel."""
        assert tied[known].sum() < 10
        return float(1e-6 + tied[known].sum() / smallest)

    expected = ious(target, mask)
    assert result["metrics"]["iou"] == pytest.approx(expected, abs=slack(tied))
    mean = np.mean([expected[i] for i in np.unique(target[known])])  # of those that occur in the masks
    assert result["metrics"]["mean_iou"] == pytest.approx(mean, abs=slack(tied))
    assert result["metrics"]["pixel_accuracy"] == pytest.approx(right.mean(), abs=slack(tied))
    _, others, _, others_tied = by_segmenter(folder, OTHERS)
    assert result["synonyms"][0]["metrics"]["iou"] == pytest.approx(ious(target, others), abs=slack(others_tied))
    sure = confidence[known]
    error = 0.0
    for i in range(15):
        within = (sure > i / 15) & (sure <= (i + 1) / 15)
        error += abs(sure[within].sum() - right[within].sum()) / len(sure)
    # A pixel whose confidence lies on the border of two bins may be counted in either.
    edges = (np.abs(sure * 15 - np.round(sure * 15)) < 1e-4).sum()
    assert edges < 20
    most = 1e-5 + (2 * edges + tied[known].sum()) / len(sure)
    assert result["calibration"]["error"] == pytest.approx(error, abs=most)
    assert result["calibration"]["over_confidence"] == pytest.approx(sure.mean() - right.mean(), abs=slack(tied) + 1e-5)
    assert any(b["accuracy"] is None for b in result["calibration"]["bins"])
    assert np.sum(result["counts"]) == known.sum() == sum(b["pixels"] for b in result["calibration"]["bins"])
    assert (record["schema"], record["kind"], record["measured"]) == (1, "masks", 10)
    assert record["subject"]["licence"] == "CC0-1.0" and len(record["subject"]["sha256"]) == 64
    assert record["config"]["unseen"] == ["_car"] and record["subject"]["config"] == "eval.yaml"
    printed = capsys.readouterr().out
    assert f"mIoU {100 * mean:.1f} %" in printed and f"the report is {out / 'report.html'}" in printed
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "report.json"]


class Page(HTMLParser):
    """The contents of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.sources += [values[key] or "" for key in ("src", "href") if key in values]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page(folder: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    assert main(arguments(folder, "--out", str(tmp_path))) == 0
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    sections = ["summary", "classes", "confusion", "calibration", "synonyms", "nearest", "ablation", "atlas", "images"]
    assert page.ids == [*sections, "about"]
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    assert page.tags.count("img") == 4 + 8 * 4  # the plots; four worst and four best, each in four views
    for text in [*LABELS, *OTHERS, "<i>other</i>", "<script>alert(1)</script>"]:
        assert text in page.text
    assert not {"b", "i", "script"} & set(page.tags)
    assert not [w for w in recwarn if "matplotlib" in str(w.filename)]


def test_multiscale_stands_beside_the_single_pass(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(folder, "--limit", "1", "--multiscale", "--out", str(tmp_path))) == 0
    result = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["result"]
    thorough = result["multiscale"]["pixel_accuracy"]
    assert thorough != result["metrics"]["pixel_accuracy"]
    assert f"multi-scale: mIoU {100 * result['multiscale']['mean_iou']:.1f} %" in capsys.readouterr().out
    assert main(arguments(folder, "--limit", "1", "--multiscale")) == 0
    told = capsys.readouterr().out
    assert f"pixel accuracy {100 * result['metrics']['pixel_accuracy']:.1f} %" in told, "the single pass, too"
    assert f"multi-scale: mIoU {100 * result['multiscale']['mean_iou']:.1f} %" in told
    assert f"{100 * thorough:.1f}pixel accuracy, multi-scale" in Page((tmp_path / "report.html").read_text()).text


def test_sizes_that_are_asked_for_are_used_and_stand_in_the_report(folder: Path, tmp_path: Path) -> None:
    sizes = ("--input-size", "64", "--window", "32")
    assert main(arguments(folder, "--limit", "1", *sizes, "--out", str(tmp_path))) == 0
    subject = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["subject"]
    assert (subject["input_size"], subject["window"]) == (64, 32)
    assert "longest side 64 pixels, in windows of 32" in Page((tmp_path / "report.html").read_text()).text


@pytest.fixture
def few_shot(folder: Path, tmp_path: Path) -> Path:
    """FSS-1000's test classes with one image each. Only the first and the middle one can be read."""
    labels = package_lines("labels/fewshot_fss.txt")[760:]
    for label in labels:
        (tmp_path / "FSS-1000" / label).mkdir(parents=True)
        (tmp_path / "FSS-1000" / label / "1.jpg").touch()
    for label in (labels[0], labels[120]):
        for picture, suffix in (("images", "jpg"), ("masks", "png")):
            pixels = cv2.imread(str(folder / picture / "0.png"), cv2.IMREAD_UNCHANGED)
            assert pixels is not None
            cv2.imwrite(str(tmp_path / "FSS-1000" / label / f"1.{suffix}"), pixels)
    (tmp_path / "eval.yaml").write_text("data: {dataset: fss1000, split: test}\n")
    weights.save_model(tiny_net(), tmp_path / "net.safetensors", "CC0-1.0")
    return tmp_path


def test_report_of_episodes(few_shot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(few_shot, "--limit", "2", "--out", str(few_shot / "out"))) == 0
    record = json.loads((few_shot / "out" / "report.json").read_text(encoding="utf-8"))
    assert (record["kind"], record["measured"], record["subject"]["size"]) == ("episodes", 2, 240)
    assert record["subject"]["input_size"] == 480
    assert list(record["result"]["metrics"]["iou"]) == ["760", "880"]
    page = Page((few_shot / "out" / "report.html").read_text(encoding="utf-8"))
    assert page.ids == ["summary", "classes", "calibration", "images", "about"]
    assert "2 of 240 episodes" in page.text and "Worst episodes" in page.text
    assert f"FB-IoU {100 * record['result']['metrics']['fb_iou']:.1f} %" in capsys.readouterr().out


def test_episodes_have_their_own_words(few_shot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in (("--labels", "a,b"), ("--input-size", "96"), ("--window", "64")):
        assert main(arguments(few_shot, *more)) == 1
        assert "holds episodes, which the original measures in one pass" in capsys.readouterr().err


def test_without_a_folder_it_only_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["street", "auto", "heavens", "nothing", "never"]
    assert main(arguments(folder, "--labels", ",".join(words), "--limit", "3")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*words, "mIoU"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--labels", "a,b"], "lseg: --labels has 2 words and the data 5 labels; give one for each of: <b>road</b>, "),
        (["--config", "nowhere.yaml"], "lseg: there is no configuration at nowhere.yaml; check the path"),
        (["--training", "nowhere.yaml"], "lseg: there is no configuration at nowhere.yaml; check the path"),
    ],
)
def test_bad_input_is_one_sentence(
    folder: Path, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(folder, *more)) == 1
    error = capsys.readouterr().err
    assert error.startswith(sentence) and error.count("\n") == 1


def test_words_of_the_runs_that_a_run_begins_with_were_met_too(folder: Path, tmp_path: Path) -> None:
    plain = {"variant": "tiny", "licence": "CC0-1.0", "seed": 1, "steps": 3, "batch": 2, "crop": 32, "lr": 0.1}
    plain |= {"backbone_lr": 0, "sources": {"one": {"dataset": "folder", "root": "."}}}
    (tmp_path / "words.yaml").write_text("{sky: [sky, air]}")
    (tmp_path / "first.yaml").write_text(json.dumps(plain | {"words": "words.yaml"}))
    (tmp_path / "later.yaml").write_text(json.dumps(plain | {"init": ["tiny", "first.yaml"]}))
    assert _training_words(read_config(tmp_path / "later.yaml"), folder, "later.yaml") == {*LABELS, "air"}


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_invalid_limits(folder: Path, limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments(folder, "--limit", limit))
    assert "is no number of images" in capsys.readouterr().err


def test_a_missing_extra_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("matplotlib", "jinja2"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(arguments(folder, "--out", str(tmp_path / "out"))) == 1
    expected = "lseg: --out needs jinja2 and matplotlib; run in the folder of lseg_ros: pip install '.[train]'\n"
    assert capsys.readouterr().err == expected and not (tmp_path / "out").exists()
