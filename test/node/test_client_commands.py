"""`lseg labels`, `query`, `enable`, `status` and `watch` against a real node over DDS."""

import contextlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes import COLORS, FakeSegmenter
from graph import Graph, image, stripes
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from lseg_ros.cli import status, watch, window
from lseg_ros.cli.main import main
from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import IdRules

RED, GREEN, BLUE = COLORS["red"], COLORS["green"], COLORS["blue"]
SCENE = stripes(RED, GREEN, BLUE, height=8, width=5)


@dataclass
class Result:
    """The exit status and output of a command."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], domain: int) -> Callable[..., Result]:
    """Runs a command in this process, as another participant of the domain."""

    def command(*arguments: object) -> Result:
        capfd.readouterr()
        ended = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        # The node under test logs into the same stream.
        lines = [line for line in captured.err.splitlines(keepends=True) if line.startswith(("lseg: ", "usage: "))]
        return Result(ended, captured.out, "".join(lines))

    return command


@pytest.fixture
def seen(graph: Graph, lseg: Callable[..., None]) -> None:
    """A node that has seen an image of red, green and blue."""
    lseg()
    masks = graph.collect(Image, "lseg/mask")
    graph.send(image(SCENE, stamp=12))
    graph.next(masks)


def picture(path: Path) -> NDArray[Any]:
    """Returns the values in a file."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found


class Camera:
    """Publishes an image again and again, while a command waits for one."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._stop = graph, threading.Event()
        self._publisher = graph.client.create_publisher(Image, "image", 1)
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        stamp = 0
        while not self._stop.wait(0.05):
            stamp += 1
            self._publisher.publish(image(SCENE, stamp))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()


def test_labels_are_shown_as_a_table(lseg: Callable[..., None], run: Callable[..., Result]) -> None:
    lseg()
    shown = run("labels")
    assert shown.status == 0 and shown.err == ""
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[0] == ["/lseg,", "version", "1:"]
    assert lines[1] == ["label", "id", "color", "threshold"]
    assert [line[:2] for line in lines[2:]] == [["red", "1"], ["green", "2"], ["blue", "3"]]
    assert all(re.fullmatch("#[0-9a-f]{6}", line[2]) and line[3] == "-" for line in lines[2:])


def test_labels_are_set_by_words(lseg: Callable[..., None], run: Callable[..., Result]) -> None:
    lseg()
    after = run("labels", "blue", "person, standing", "--node", "lseg")
    assert after.status == 0 and "2 labels in force" in after.out
    assert re.search(r"blue +3 .*\nperson, standing +4 ", after.out)
    assert run("labels").out in after.out


def test_labels_are_set_by_a_file_that_is_read_here(
    lseg: Callable[..., None], run: Callable[..., Result], tmp_path: Path
) -> None:
    lseg()
    file = tmp_path / "list.yaml"
    file.write_text(
        "labels:\n  - {name: plant, prompts: [bush, tree], class_id: 7, threshold: 0.4, color: [0, 200, 16]}\n"
        "  - {name: other, background: true}\n"
    )
    after = run("labels", file)
    assert after.status == 0, after.err
    assert re.search(r"label +id +color +threshold +prompts\n", after.out)
    assert re.search(r"plant +7 +#00c810 +0\.40 +bush; tree\n", after.out)
    assert re.search(r"other +background ", after.out)


def test_bad_labels_are_one_sentence_and_change_nothing(
    lseg: Callable[..., None], run: Callable[..., Result], tmp_path: Path
) -> None:
    lseg()
    before = run("labels").out
    refused = run("labels", "red", "red")
    assert refused.status == 1 and refused.out == "" and refused.err.count("\n") == 1 and "red" in refused.err
    missing = run("labels", tmp_path / "none.yaml")
    assert missing.status == 1 and "none.yaml cannot be read" in missing.err
    assert "list.yaml is a label file, and there is more than that" in run("labels", "list.yaml", "sky").err
    assert "--force goes with labels to set" in run("labels", "--force").err
    assert run("labels").out == before


def test_force_moves_an_id(lseg: Callable[..., None], run: Callable[..., Result], tmp_path: Path) -> None:
    lseg()
    (tmp_path / "moved.yaml").write_text("labels: [{name: red, class_id: 9}]")
    refused = run("labels", tmp_path / "moved.yaml")
    assert refused.status == 1 and "id 1" in refused.err
    assert re.search(r"red +9 ", run("labels", tmp_path / "moved.yaml", "--force").out)


def test_without_a_node_every_command_says_so(run: Callable[..., Result], tmp_path: Path) -> None:
    for command in (["labels"], ["query", "red"], ["enable", "on"], ["status"], ["watch", "-o", tmp_path]):
        result = run(*command, "--wait", "0.1")
        assert result.status == 3 and result.out == ""
        assert "no node of lseg_ros was found within 0.1 s; start one with `lseg_node`" in result.err
    assert "no node /x of lseg_ros was found" in run("labels", "--node", "/x", "--wait", "0.1").err


def test_an_unconfigured_node(lseg: Callable[..., None], run: Callable[..., Result]) -> None:
    lseg(autostart=False)
    assert run("labels").out == "/lseg has no labels yet; it is not configured\n"
    refused = run("labels", "sky")
    assert refused.status == 1 and "the node is unconfigured" in refused.err
    assert "publishes no images; is it configured?" in run("watch", "-o", ".").err


def test_two_nodes_of_one_name_are_reported(
    graph: Graph, lseg: Callable[..., None], run: Callable[..., Result]
) -> None:
    lseg()
    with Graph(graph.context.get_domain_id()) as other:
        other.start(lambda params: FakeSegmenter())
        graph.until(lambda: graph.client.get_node_names().count("lseg") == 2, "both nodes")
        while "2 nodes are called /lseg, and any of them may answer" not in run("labels").err:
            pass  # each command searches again, and on a busy machine it may see the second node too late


def test_a_query_is_a_table(seen: None, run: Callable[..., Result], tmp_path: Path) -> None:
    asked = run("query", "green", "fire extinguisher", "--save", tmp_path / "maps")
    assert asked.status == 0, asked.err
    assert "image of camera_optical, of 12.123 s:" in asked.out
    assert re.search(r"green +1\.00 +0\.50 +5, 0 +5x8 at 5, 0\n", asked.out)
    assert re.search(r"fire extinguisher +0\.00 +-0\.50 ", asked.out)
    bright = picture(tmp_path / "maps" / "1_green.png")
    dark = picture(tmp_path / "maps" / "2_fire_extinguisher.png")
    assert bright.shape == dark.shape == SCENE.shape
    assert bright[0, 7].sum() > 500 and bright[0, 0].sum() < 20 and dark.sum(axis=-1).max() < 20


def test_a_refused_query(seen: None, run: Callable[..., Result]) -> None:
    refused = run("query", "red", " ")
    assert refused.status == 1 and "phrase 2 of 2 is empty" in refused.err
    assert "there are: (one without a name)" in run("query", "red", "--camera", "front").err


def test_enable_and_disable(lseg: Callable[..., None], run: Callable[..., Result]) -> None:
    lseg()
    assert run("enable", "off").out == "/lseg: disabled\n"
    shown = run("status", "--once")
    assert shown.status == 0 and "/lseg, segmentation: OK: disabled" in shown.out
    assert run("enable", "on").out == "/lseg: enabled\n"


def test_status_says_why_nothing_comes(graph: Graph, lseg: Callable[..., None], run: Callable[..., Result]) -> None:
    lseg(no_image_warning=0.2)
    graph.collect(Image, "lseg/mask")
    shown = run("status", "--once")
    while "nobody publishes /image" not in shown.out:  # the warning comes after a while
        shown = run("status", "--once")
    assert shown.status == 1 and "/lseg, segmentation: WARNING: nobody publishes /image" in shown.out
    assert re.search(r"\nlabel_version +1\n", shown.out)


def test_status_shows_times_of_stages(seen: None, run: Callable[..., Result]) -> None:
    shown = run("status")  # once, since this is no terminal
    assert shown.status == 0
    assert re.search(r"\nstage +half under \(ms\) +95 % under \(ms\)\n", shown.out)
    assert re.search(r"\nencode +[\d.]+ +[\d.]+\n", shown.out) and "_p50_ms" not in shown.out


def test_status_of_a_node_that_sends_none(
    graph: Graph, lseg: Callable[..., None], run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_PATIENCE", 0.2)
    lseg()
    assert graph.node is not None
    for timer in list(graph.node.timers):
        timer.cancel()
    silent = run("status")
    assert silent.status == 3 and "/lseg has sent no diagnostics for 0.2 s" in silent.err


@pytest.mark.parametrize(("output", "shape"), [("overlay", (8, 15, 3)), ("mask", (8, 15)), ("score/red", (8, 15))])
def test_watch_writes_images(
    graph: Graph,
    lseg: Callable[..., None],
    run: Callable[..., Result],
    tmp_path: Path,
    output: str,
    shape: tuple[int, ...],
) -> None:
    lseg()
    with Camera(graph):
        watched = run("watch", output, "-o", tmp_path / "new" / "folder", "--count", "3")
    assert watched.status == 0, watched.err
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert watched.out.splitlines() == [str(file) for file in files] and len(files) == 3
    name = output.replace("/", "_")
    assert all(re.fullmatch(rf"{name}_00000{i}_\d+\.123456789\.png", f.name) for i, f in enumerate(files, 1))
    pixels = picture(files[0])
    assert pixels.dtype == np.uint8 and pixels.shape == shape
    if output == "mask":
        np.testing.assert_array_equal(pixels[0], np.repeat([1, 2, 3], 5))
    if output.startswith("score/"):
        assert pixels[0, 0] > 200 > 50 > pixels[0, -1]


def test_wide_ids_keep_their_values_in_files(graph: Graph, run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("labels: [{name: red, class_id: 300}, {name: green, class_id: 40000}, blue]")
    graph.start(lambda params: FakeSegmenter(IdRules(65535, 65535)), mask_encoding="32SC1", labels=["else"])
    assert run("labels", tmp_path / "labels.yaml").status == 0
    with Camera(graph):
        assert run("watch", "mask", "-o", tmp_path / "out", "--count", "1").status == 0
    (file,) = (tmp_path / "out").iterdir()
    pixels = picture(file)
    assert pixels.dtype == np.uint16 and {300, 40000} <= set(pixels.ravel().tolist())


def test_watch_names_what_can_be_watched(lseg: Callable[..., None], run: Callable[..., Result], tmp_path: Path) -> None:
    lseg()
    wrong = run("watch", "ovrlay", "-o", tmp_path)
    assert wrong.status == 3 and "does not publish 'ovrlay'; there are: color, confidence, mask, overlay" in wrong.err
    assert "--count is 0; it must be at least 1" in run("watch", "--count", "0", "-o", tmp_path).err


def test_watch_says_why_no_image_comes(
    graph: Graph,
    lseg: Callable[..., None],
    run: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lseg(no_image_warning=0.2)
    said: list[str] = []
    camera = contextlib.ExitStack()

    def warn(text: str) -> None:
        said.append(text)
        if "nobody publishes /image" in text:
            camera.enter_context(Camera(graph))

    monkeypatch.setattr(watch, "warn", warn)
    monkeypatch.setattr(watch, "_SILENT_FOR", 1.0)
    with camera:
        assert run("watch", "-o", tmp_path, "--count", "1").status == 0
    assert said[-1].startswith("no image on /lseg/overlay for 1 s: ")


def test_watch_without_a_display_says_what_to_do(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    without = run("watch")
    assert without.status == 1 and "no window can be shown" in without.err and "-o" in without.err


def test_watch_shows_images_until_its_window_is_closed(
    graph: Graph, lseg: Callable[..., None], run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a window that only counts, because a real one needs a display (see test_window)."""
    shown: list[Any] = []

    class Counting:
        def __init__(self, title: str) -> None:
            assert title == "lseg watch overlay"

        def show(self, rgb: Any) -> None:
            shown.append(rgb.shape)

        def update(self) -> bool:
            return len(shown) < 2

    monkeypatch.setattr(window, "Window", Counting)
    lseg()
    with Camera(graph):
        assert run("watch").status == 0
    assert shown == [SCENE.shape] * 2


def test_the_commands_need_ros_and_say_so(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lseg_ros.ros.client", None)
    without = run("labels")
    assert without.status == 1 and "this command needs ROS 2" in without.err and "`. ./env.sh`" in without.err


def test_teach_and_keep_what_was_taught(
    graph: Graph, lseg: Callable[..., None], run: Callable[..., Result], tmp_path: Path
) -> None:
    lseg(cache_max_age=3600.0)
    masks = graph.collect(Image, "lseg/mask")
    graph.send(image(SCENE))
    graph.next(masks)
    result = run("teach", "gravel", "--at", "12,3", "--not", "0,0", "--alone")
    assert result.status == 0 and result.out == "gravel is taught (version 2)\n", result.err
    path = tmp_path / "robot.yaml"
    result = run("labels", "--save", path)
    assert result.status == 0 and f"wrote {path}" in result.out
    specs = read_label_file(path)
    assert [x.name for x in specs] == ["red", "green", "blue", "gravel"]
    taught = specs[3].taught
    assert taught is not None and taught.alone
    assert (taught.toward.tolist(), taught.against.tolist()) == ([[0, 0, 1]], [[1, 0, 0]])
    assert run("labels", "red", "green").status == 0
    result = run("labels", path)
    assert result.status == 0 and "gravel" in result.out, result.err
    result = run("teach", "gravel", "--forget")
    assert result.status == 0 and result.out == "gravel has forgotten what it was taught (version 5)\n"
    result = run("teach", "blue", "--box", "99,0,1,1")
    assert result.status == 1 and "no such pixel" in result.err


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        ((), 1, "nothing is marked; give --at"),
        (("--at", "1,2,3"), 2, "'1,2,3' is not 2 whole numbers"),
        (("--box", "1,2,-3,4"), 2, "is not 4 whole numbers"),
    ],
)
def test_teach_needs_marks(
    arguments: tuple[str, ...], status: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        ended = main(["teach", "gravel", *arguments])
    except SystemExit as error:
        ended = int(str(error.code))
    assert ended == status and reason in capsys.readouterr().err
