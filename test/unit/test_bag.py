"""`lseg bag`: recordings segmented offline, stopped, resumed and shared."""

import errno
import importlib
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from processes import PATIENCE
from tiny import HashText, tiny_net

import lseg_ros
from lseg_ros import Segmenter
from lseg_ros.cli import bag
from lseg_ros.cli.main import main
from lseg_ros.inference.labels import IdRules
from lseg_ros.inference.lessons import Marks
from lseg_ros.inference.render import color_mask, overlay
from lseg_ros.model import weights
from lseg_ros.model.weights import save_model

rosbags = pytest.importorskip("rosbags", reason="bags need the library rosbags")

from rosbags.interfaces import ConnectionExtRosbag2, QosDurability, QosReliability  # noqa: E402
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_types_from_msg, get_typestore  # noqa: E402

from lseg_ros.recording import partial  # noqa: E402
from lseg_ros.recording.messages import DEFINITIONS, camera_names, label_messages, typestore  # noqa: E402

ROOT = Path(lseg_ros.__file__).parent.parent
TYPES = get_typestore(Stores.LATEST)
RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
START = 1_700_000_000 * 10**9
STEP = 10**8  # nanoseconds from frame to frame
RGB = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "test"), *sys.path])}


def make(kind: str, **fields: Any) -> Any:
    return TYPES.types[kind](**fields)


def header(i: int, frame: str = "camera") -> Any:
    """A header with its own stamp, which is not the time of the recording."""
    stamp = make("builtin_interfaces/msg/Time", sec=i - 5, nanosec=i * 1000 + 7)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)


def picture(i: int) -> NDArray[np.uint8]:
    return np.roll(RGB, 3 * i, axis=1)


def image(i: int, encoding: str = "rgb8", pixels: Any = None, padding: int = 0, big: int = 0, **other: Any) -> Any:
    """A sensor_msgs/Image with [H,W] or [H,W,C] pixels as they are in the buffer."""
    pixels = picture(i) if pixels is None else pixels
    rows = pixels.reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    fields = {
        "header": header(i),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": big,
        "step": rows.shape[1],
        "data": rows.reshape(-1),
    }
    return make(RAW, **(fields | other))


def compressed(i: int, suffix: str = ".png") -> Any:
    data = cv2.imencode(suffix, picture(i)[..., ::-1])[1].reshape(-1)
    return make(COMPRESSED, header=header(i), format=f"rgb8; {suffix[1:]} compressed bgr8", data=data)


def text(words: str) -> Any:
    return make("std_msgs/msg/String", data=words)


def record(
    path: Path, messages: list[tuple[str, int, Any]], mode: CompressionMode = CompressionMode.NONE, big: bool = False
) -> Path:
    """Writes a bag of (topic, time, message): a folder, or one file if the name ends in .mcap or .db3."""
    plugin = StoragePlugin.SQLITE3 if ".db3" in path.name else StoragePlugin.MCAP
    folder = path.with_name(f"{path.stem}_folder") if path.suffix in (".mcap", ".db3") else path
    writer = Writer(folder, version=8, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        known: dict[str, Any] = {}
        for topic, when, message in messages:
            kind = message.__msgtype__
            if topic not in known:
                known[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(known[topic], when, TYPES.serialize_cdr(message, kind, little_endian=not big))
    if folder != path:
        (found,) = folder.glob(f"*{path.suffix}")
        found.rename(path)
    return path


def film(count: int, topic: str = "/camera/image_raw") -> list[tuple[str, int, Any]]:
    return [(topic, START + i * STEP, image(i)) for i in range(count)]


class Read(NamedTuple):
    """A message of a bag."""

    topic: str
    time: int
    data: bytes

    @property
    def message(self) -> Any:
        kind = "lseg_ros/msg/FrameInfo" if self.topic.endswith("frame_info") else RAW
        kind = {"/lseg/labels": "lseg_ros/msg/LabelSet", "/lseg/label_info": "vision_msgs/msg/LabelInfo"}.get(
            self.topic, kind
        )
        return typestore().deserialize_cdr(self.data, kind)


def contents(path: Path) -> list[Read]:
    with Reader(path) as reader:
        return [Read(connection.topic, when, bytes(data)) for connection, when, data in reader.messages()]


def images(path: Path, topic: str) -> list[tuple[int, Any, NDArray[np.uint8]]]:
    """Returns time, header and pixels of each image with one byte per sample."""
    found = []
    for read in contents(path):
        if read.topic == topic:
            message = read.message
            pixels = message.data.reshape(message.height, message.step)
            channels = {"mono8": 1, "rgb8": 3}[message.encoding]
            assert message.step == message.width * channels
            found.append((read.time, message.header, pixels.reshape(message.height, message.width, channels).squeeze()))
    return found


@dataclass
class Result:
    """The exit status and output of a command."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(tiny_net(), path, "MIT")
    return path


@pytest.fixture
def lseg(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_file: Path, tmp_path: Path) -> Any:
    """Runs `lseg bag` in this process and this folder, with the tiny network."""
    monkeypatch.setattr(weights, "build_text_encoder", lambda variant: HashText())
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, labels: str = "road, sky") -> Result:
        common = ["bag", "--model", tiny_file, "--device", "cpu", "--labels", labels]
        status = main([str(argument) for argument in (*common, *arguments)])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run


@lru_cache(maxsize=1)
def segmenter() -> Segmenter:
    found = Segmenter(tiny_net(), "cpu")
    found.set_labels(["road", "sky"])
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_definitions_are_those_of_the_message_files() -> None:
    folders = {"lseg_ros": ROOT / "msg", "vision_msgs": ROOT / "tools" / "vision_msgs" / "msg"}
    for name, fields in DEFINITIONS.items():
        file = folders[name.split("/")[0]] / f"{name.split('/')[-1]}.msg"
        assert get_types_from_msg(fields, name) == get_types_from_msg(file.read_text(), name)


def test_the_messages_are_those_of_ros(lseg: Any, tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="the interfaces are built only where ROS 2 is")
    import lseg_ros.msg
    from ament_index_python.packages import get_package_share_directory
    from rclpy.serialization import deserialize_message, serialize_message

    from lseg_ros.ros.label_msgs import label_spec

    record(tmp_path / "in.mcap", film(2))
    assert lseg("in.mcap", "out.mcap", "--topic", "/camera/image_raw", "--outputs", "mask,overlay").status == 0
    kinds = set()
    with Reader(Path("out.mcap")) as reader:
        for connection, _, data in reader.messages():
            package, _, kind = connection.msgtype.split("/")
            real = deserialize_message(bytes(data), getattr(importlib.import_module(f"{package}.msg"), kind))
            # Read and written by ROS, it is the same but for the gaps, which ROS leaves as they are.
            returned: Any = typestore().deserialize_cdr(serialize_message(real), connection.msgtype)
            assert typestore().serialize_cdr(returned, connection.msgtype) == bytes(data)
            kinds.add(connection.msgtype)
            if kind == "LabelSet":
                assert [(x.name, x.class_id, x.color.a) for x in real.labels] == [("road", 1, 1.0), ("sky", 2, 1.0)]
            elif kind == "LabelInfo":
                assert [(x.class_id, x.class_name) for x in real.class_map] == [(1, "road"), (2, "sky")]
            else:
                assert (real.header.frame_id, real.header.stamp.nanosec % 1000) == ("camera", 7)
    assert kinds == {RAW, "lseg_ros/msg/FrameInfo", "lseg_ros/msg/LabelSet", "vision_msgs/msg/LabelInfo"}

    labels = Segmenter(tiny_net(), "cpu")
    labels.set_labels(["road", "sky"])
    taught = labels.teach(labels.embed(RGB), "road", Marks([(5, 5)]))
    real = deserialize_message(bytes(label_messages(taught, 0.0, 0)["labels"]), lseg_ros.msg.LabelSet)
    assert label_spec(real.labels[0]).taught == taught.labels[0].taught is not None

    for name in DEFINITIONS:
        package, _, kind = name.split("/")
        described = Path(get_package_share_directory(package), "msg", f"{kind}.json")
        if described.is_file():  # since ROS 2 Iron
            (type_hash,) = (
                entry["hash_string"]
                for entry in json.loads(described.read_text())["type_hashes"]
                if entry["type_name"] == name
            )
            assert typestore().hash_rihs01(name) == type_hash


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (["/camera/image_raw"], [""]),
        (["/front/image_raw", "/rear/image_raw/compressed"], ["front", "rear"]),
        (["/rig/left/image", "/rig/right/image"], ["rig/left", "rig/right"]),
        (["/rig/left_image", "/rig/right_image"], ["rig/left_image", "rig/right_image"]),
        (["/image", "/front/image"], ["image", "front/image"]),
        (["/a/image", "/a/image/compressed"], ["a/image", "a/image/compressed"]),
    ],
)
def test_camera_names(topics: list[str], expected: list[str]) -> None:
    assert camera_names(topics) == dict(zip(topics, expected, strict=True))


@pytest.mark.parametrize(
    ("source", "out"),
    [("in.mcap", "new/out.mcap"), ("in.db3", "out.mcap"), ("in.mcap", "out.db3"), ("in", "out"), ("in.db3s", "out")],
)
def test_every_frame_with_its_header_and_time(lseg: Any, tmp_path: Path, source: str, out: str) -> None:
    count = 5
    record(tmp_path / source, [*film(count), ("/chatter", START, text("hello"))])
    done = lseg(source, out, "--topic", "/camera/image_raw", "--outputs", "mask,confidence,overlay,color")
    assert (done.status, done.err) == (0, "")
    assert done.out == f"{out}: 5 of 5 frames segmented\n"
    assert names(Path(out).parent) >= {Path(out).name}
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob(".*"))

    expected = segmenter()
    results = [expected.segment(picture(i)) for i in range(count)]
    assert len(np.unique(results[0].mask)) > 1
    wanted: dict[str, list[NDArray[Any]]] = {
        "mask": [r.mask for r in results],
        "confidence": [np.maximum(np.round(r.confidence * 255), 1) for r in results],
        "overlay": [overlay(picture(i), r.mask, r.labels) for i, r in enumerate(results)],
        "color": [color_mask(r.mask, r.labels) for r in results],
    }
    for name, pictures in wanted.items():
        found = images(Path(out), f"/lseg/{name}")
        assert len(found) == count
        for i, (when, head, pixels) in enumerate(found):
            assert when == START + i * STEP
            assert TYPES.serialize_cdr(head, head.__msgtype__) == TYPES.serialize_cdr(header(i), head.__msgtype__)
            np.testing.assert_allclose(pixels, pictures[i], atol=1 if name == "confidence" else 0)

    read = contents(Path(out))
    assert [r.topic for r in read[:4]] == ["/lseg/label_info", "/lseg/labels", "/lseg/frame_info", "/lseg/mask"]
    info, labels, frame = (r.message for r in read[:3])
    assert [(c.class_id, c.class_name) for c in info.class_map] == [(1, "road"), (2, "sky")]
    assert (info.header.stamp.sec, info.header.stamp.nanosec) == (START // 10**9, START % 10**9)
    assert [(x.name, x.class_id, x.prompts) for x in labels.labels] == [("road", 1, ["road"]), ("sky", 2, ["sky"])]
    assert frame.label_version == labels.version == 1
    assert sum(r.topic == "/lseg/frame_info" for r in read) == count
    with Reader(Path(out)) as reader:
        assert len({connection.topic for connection in reader.connections}) == 7
        for connection in reader.connections:
            assert isinstance(connection.ext, ConnectionExtRosbag2)
            (qos,) = connection.ext.offered_qos_profiles
            latched = connection.topic in ("/lseg/label_info", "/lseg/labels")
            assert qos.durability == (QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE)
            assert qos.reliability == QosReliability.RELIABLE


GRAY = RGB[..., 0].copy()
STORED = {
    "padded rows": image(1, "bgr8", picture(1)[..., ::-1].copy(), padding=7),
    "big-endian": image(1, "mono16", (GRAY.astype(np.uint16) << 8 | 5).astype(">u2"), big=1),
    "bayer": image(1, "bayer_rggb8", GRAY),
    "compressed": compressed(1),
    "compressed, with loss": compressed(1, ".jpg"),
}


@pytest.mark.parametrize(("name", "big"), [*((name, False) for name in STORED), ("padded rows", True)])
def test_how_images_are_stored(lseg: Any, tmp_path: Path, name: str, big: bool) -> None:
    message = STORED[name]
    record(tmp_path / "in.mcap", [("/a/image", START, message)], CompressionMode.STORAGE, big)
    assert lseg("in.mcap", "out.mcap", "--topic", "/a/image").status == 0
    rgb: Any
    if name == "compressed, with loss":
        rgb = np.asarray(cv2.imdecode(message.data, cv2.IMREAD_COLOR))[..., ::-1].copy()
    elif name == "big-endian":
        rgb = np.repeat(GRAY[..., None], 3, axis=2)
    elif name == "bayer":
        rgb = cv2.cvtColor(GRAY, cv2.COLOR_BayerRGGB2RGB)
    else:
        rgb = picture(1)
    ((_, head, mask),) = images(Path("out.mcap"), "/lseg/mask")
    assert (head.stamp.nanosec, head.frame_id) == (1007, "camera")
    np.testing.assert_array_equal(mask, segmenter().segment(rgb).mask)


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_recordings(lseg: Any, tmp_path: Path, mode: CompressionMode) -> None:
    record(tmp_path / "in.db3s", film(3), mode)
    assert lseg("in.db3s", "out.mcap", "--topic", "/camera/image_raw").status == 0
    assert len(images(Path("out.mcap"), "/lseg/mask")) == 3


def test_several_cameras_and_the_rest_of_the_recording(lseg: Any, tmp_path: Path) -> None:
    front = [("/front/image_raw", START + i * STEP, image(i)) for i in range(3)]
    rear = [("/rear/image_raw/compressed", START + i * STEP + 5, compressed(i + 7)) for i in range(3)]
    other = [("/chatter", START - 1, text("before")), ("/chatter", START + STEP + 1, text("between"))]
    recorded = sorted([*front, *rear, *other], key=lambda item: item[1])
    record(tmp_path / "in", recorded)
    topics = ("--topic", "/front/image_raw", "--topic", "/rear/image_raw/compressed")
    assert lseg("in", "out", *topics, "--copy", "--outputs", "mask").status == 0
    found = contents(Path("out"))
    assert [r.time for r in found] == sorted(r.time for r in found)
    assert [r for r in found if not r.topic.startswith("/lseg/")] == contents(Path("in"))
    assert sum(r.topic in ("/lseg/labels", "/lseg/label_info") for r in found) == 2
    for camera, first, shift in (("front", 0, 0), ("rear", 7, 5)):
        masks = images(Path("out"), f"/lseg/{camera}/mask")
        assert [when for when, _, _ in masks] == [START + i * STEP + shift for i in range(3)]
        for i, (_, _, mask) in enumerate(masks):
            np.testing.assert_array_equal(mask, segmenter().segment(picture(first + i)).mask)
    again = lseg("out", "twice.mcap", "--topic", "/front/image_raw", "--copy")
    assert again.err == "lseg: out has /lseg/label_info already, which would be mixed; leave out --copy\n"


def test_recordings_without_definitions(lseg: Any, tmp_path: Path) -> None:
    record(tmp_path / "in.db3", [*film(2), ("/chatter", START, text("hello"))])
    with sqlite3.connect(tmp_path / "in.db3") as database:  # as ROS 2 Humble writes it
        for table in ("schema", "message_definitions"):
            database.execute(f"DROP TABLE {table}")
        database.execute("ALTER TABLE topics DROP COLUMN type_description_hash")
    database.close()
    assert lseg("in.db3", "out.mcap", "--topic", "/camera/image_raw", "--copy").status == 0
    with Reader(Path("out.mcap")) as reader:
        found = {connection.topic: connection.msgdef.data for connection in reader.connections}
    assert found["/chatter"].strip() == "string data"
    with sqlite3.connect(tmp_path / "in.db3") as database:
        database.execute("UPDATE topics SET type = 'my_msgs/msg/Own' WHERE name = '/chatter'")
    database.close()
    done = lseg("in.db3", "out.db3", "--topic", "/camera/image_raw", "--copy")
    assert done.err == (
        "lseg: in.db3 does not say how my_msgs/msg/Own is made up, the type of /chatter; leave out --copy\n"
    )
    assert lseg("in.db3", "out.db3", "--topic", "/camera/image_raw").status == 0


def test_too_little_memory(lseg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(self: Segmenter, rgb: Any) -> Any:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    record(tmp_path / "in.mcap", film(1))
    monkeypatch.setattr(Segmenter, "embed", embed)
    done = lseg("in.mcap", "out.mcap", "--topic", "/camera/image_raw")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("lseg: there is too little memory")


def test_frames_that_cannot_be_read_are_counted_and_left_out(lseg: Any, tmp_path: Path) -> None:
    frames = film(30)
    for i in (2, 25):
        frames[i] = (*frames[i][:2], image(i, "32FC1", RGB[..., 0].astype(np.float32)))
    frames[9] = (*frames[9][:2], image(9, step=7))
    record(tmp_path / "in.mcap", frames)
    done = lseg("in.mcap", "out.mcap", "--topic", "/camera/image_raw")
    assert (done.status, done.out) == (1, "out.mcap: 27 of 30 frames segmented\n")
    lines = done.err.splitlines()
    assert lines[0].startswith("lseg: 2 frames left out, /camera/image_raw: image encoding '32FC1' is not supported")
    assert lines[1].startswith("lseg: 1 frame left out, /camera/image_raw: image step 7 is too small")
    kept = [START + i * STEP for i in range(30) if i not in (2, 9, 25)]
    assert [when for when, _, _ in images(Path("out.mcap"), "/lseg/mask")] == kept


def test_nothing_is_written_where_no_frame_can_be_read(lseg: Any, tmp_path: Path) -> None:
    broken = make(COMPRESSED, header=header(1), format="16UC1; compressedDepth", data=np.arange(50, dtype=np.uint8))
    empty = make(COMPRESSED, header=header(1), format="jpeg", data=np.empty(0, np.uint8))
    record(tmp_path / "in.mcap", [("/a/image", START + i, m) for i, m in enumerate([broken, empty])])
    done = lseg("in.mcap", "out.mcap", "--topic", "/a/image")
    assert done.status == 1
    assert "holds numbers such as depth" in done.err and "has no data" in done.err
    assert done.err.splitlines()[-1] == "lseg: in.mcap has no frame that can be segmented; nothing was written"
    assert names(tmp_path) == {"in.mcap", "in_folder"}


def test_many_labels_take_16_bits(lseg: Any, tmp_path: Path) -> None:
    record(tmp_path / "in.mcap", film(1))
    labels = [f"label {i}" for i in range(260)]
    assert lseg("in.mcap", "out.db3", "--topic", "/camera/image_raw", labels=",".join(labels)).status == 0
    (mask,) = (r.message for r in contents(Path("out.db3")) if r.topic == "/lseg/mask")
    assert (mask.encoding, mask.step) == ("16UC1", 2 * mask.width)
    expected = Segmenter(tiny_net(), "cpu", rules=IdRules(max_id=65535, unknown_id=65535))
    expected.set_labels(labels)
    np.testing.assert_array_equal(mask.data.view(np.uint16).reshape(24, 40), expected.segment(picture(0)).mask)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["in.mcap", "--topic", "/nothing"], "in.mcap has no /nothing; the image topics there are: /camera/image_raw"),
        (["in.mcap", "--topic", "/chatter"], "in in.mcap, /chatter is std_msgs/msg/String; the image topics there are"),
        (["words.mcap", "--topic", "/a"], "words.mcap has no /a; it has no image topics"),
        (["no.mcap", "--topic", "/a"], "no.mcap: No such file or directory"),
        (["a.txt", "--topic", "/a"], "a.txt is no rosbag2 recording; give a .mcap or .db3 file, or"),
        (["empty", "--topic", "/a"], "empty has no metadata.yaml; write one with `ros2 bag reindex empty`"),
        (
            ["cut.mcap", "--topic", "/a"],
            "cut.mcap is damaged or was cut short (it has no end); `mcap recover`",
        ),
        (["short.mcap", "--topic", "/a"], "short.mcap is damaged or was cut short"),
        (["bad.mcap", "--topic", "/camera/image_raw"], "bad.mcap is damaged ("),
        (["cut.db3", "--topic", "/a"], "cut.db3 is damaged ("),
        (["in.mcap", "--topic", "/camera/image_raw", "--outputs", "mask,depth"], "there is no output 'depth'"),
        (["in.mcap", "--topic", "/camera/image_raw", "--labels", "a,,b"], "label 2 of 3 is empty or blank"),
    ],
)
def test_errors(lseg: Any, tmp_path: Path, arguments: list[str], reason: str) -> None:
    record(tmp_path / "in.mcap", [*film(2), ("/chatter", START, text("hello"))])
    record(tmp_path / "words.mcap", [("/chatter", START, text("hello"))])
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    whole = (tmp_path / "in.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[:-500])
    (tmp_path / "short.mcap").write_bytes(whole[:20])
    record(tmp_path / "zip.mcap", film(3), CompressionMode.STORAGE)
    zstd = bytes.fromhex("28b52ffd")  # how compressed chunks begin
    (tmp_path / "bad.mcap").write_bytes((tmp_path / "zip.mcap").read_bytes().replace(zstd, bytes(4)))
    (tmp_path / "cut.db3").write_bytes(b"nothing of the kind")
    before = names(tmp_path)
    done = lseg(arguments[0], "out.mcap", *arguments[1:])
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"lseg: {reason}")
    assert done.err.count("\n") == 1
    assert names(tmp_path) - {"out.mcap.part"} == before


def test_an_output_that_is_there(lseg: Any, tmp_path: Path) -> None:
    record(tmp_path / "in.mcap", film(2))
    topic = ("--topic", "/camera/image_raw")
    for out in ("out.mcap", "out"):
        assert lseg("in.mcap", out, *topic).status == 0
        before = contents(Path(out))
        done = lseg("in.mcap", out, *topic)
        assert done.err == f"lseg: {out} is there already; choose another name, or give --overwrite\n"
        done = lseg("in.mcap", out, *topic, "--resume")
        assert (done.status, done.out) == (0, f"{out} was finished before\n")
        assert lseg("in.mcap", out, *topic, "--overwrite", labels="sky, road").status == 0
        assert len(contents(Path(out))) == len(before)
        assert contents(Path(out)) != before
    done = lseg("in.mcap", "in.mcap", *topic, "--overwrite")
    assert done.err == "lseg: in.mcap is the recording itself; choose another name\n"
    (tmp_path / "drives").mkdir()
    record(tmp_path / "drives" / "in", film(2))
    for output in ("drives", "drives/in/in.mcap"):
        done = lseg("drives/in", output, *topic, "--overwrite")
        assert done.err == f"lseg: {output} and drives/in lie within each other; choose another name\n"
    done = lseg("in.mcap", "drives", *topic, "--overwrite")
    assert done.err == "lseg: drives is a folder and no bag, and is not replaced; choose a name that is free\n"
    shutil.rmtree("drives")
    assert names(tmp_path) == {"in.mcap", "in_folder", "out.mcap", "out"}


def test_a_full_disk_keeps_what_is_finished(lseg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "in.mcap", film(partial.FRAMES + 5))
    topic = ("--topic", "/camera/image_raw")
    assert lseg("in.mcap", "whole.mcap", *topic).status == 0
    write, calls = Writer.write, itertools.count()

    def full(self: Writer, *arguments: Any) -> None:
        if next(calls) > 3 * partial.FRAMES + 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "write", full)
        done = lseg("in.mcap", "out.mcap", *topic)
    assert (done.status, done.err) == (1, "lseg: out.mcap.part/000001.mcap: No space left on device\n")
    assert names(tmp_path / "out.mcap.part") == {"made_with.json", "000000.mcap", "000000.json"}
    other = lseg("in.mcap", "out.mcap", *topic, labels="sky")
    assert other.err == (
        "lseg: out.mcap.part was begun with another list of labels; "
        "repeat the earlier command to finish it, or remove the folder to start anew\n"
    )
    assert lseg("in.mcap", "out.mcap", *topic).status == 0
    assert contents(Path("out.mcap")) == contents(Path("whole.mcap"))


def test_the_output_of_before_stays_until_the_new_one_is_whole(
    lseg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "in.mcap", film(2))
    arguments = ("in.mcap", "out", "--topic", "/camera/image_raw")
    assert lseg(*arguments).status == 0
    before, close = contents(Path("out")), Writer.close

    def full(self: Writer) -> None:
        if self.path.name == "out":
            raise OSError(errno.ENOSPC, "No space left on device")
        close(self)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "close", full)
        assert lseg(*arguments, "--overwrite", labels="sky, road").err == "lseg: out: No space left on device\n"
    assert contents(Path("out")) == before
    assert lseg(*arguments, "--overwrite", labels="sky, road").status == 0
    assert contents(Path("out")) != before


def test_a_folder_of_somebody_else_is_left_alone(lseg: Any, tmp_path: Path) -> None:
    record(tmp_path / "in.mcap", film(2))
    (tmp_path / "out.mcap.part").mkdir()
    (tmp_path / "out.mcap.part" / "mine.txt").write_text("hello")
    done = lseg("in.mcap", "out.mcap", "--topic", "/camera/image_raw")
    assert done.err == "lseg: out.mcap.part is in the way: it is not what an earlier run has left\n"
    assert names(tmp_path / "out.mcap.part") == {"mine.txt"}


# What a process runs: `lseg bag` without ROS, and with a segmenter that needs no network, so that it starts at once.
PROGRAM = """
import os, sys, time
for name in ("rclpy", "builtin_interfaces", "sensor_msgs", "std_msgs", "vision_msgs", "lseg_ros.msg"):
    sys.modules[name] = None
from types import SimpleNamespace
import numpy as np
from lseg_ros.cli import bag
from lseg_ros.cli.main import main
from lseg_ros.inference.labels import IdRules, LabelSet, as_specs, assign


class Fake:
    threshold, precision, input_size, device = 0.0, "float32", 480, SimpleNamespace(type="cpu")

    def __init__(self, options, device):
        self.labels = assign(LabelSet(), as_specs(options.labels.split(",")), IdRules())

    def embed(self, rgb):
        with open(os.environ.get("EMBEDDED", os.devnull), "a") as seen:
            seen.write(".")
        time.sleep(PAUSE)
        return rgb

    def score(self, rgb):
        mask, confidence = (rgb[..., 1] > 99).astype(np.uint8) + 1, np.maximum(rgb[..., 0], 1)
        return SimpleNamespace(mask=mask, confidence_bytes=confidence, labels=self.labels)


bag.segmenter_of, bag.sha256, bag._device = Fake, lambda path: "fake", lambda wanted, worker: wanted
assert "torch" not in sys.modules
sys.exit(main())
"""


def start(folder: Path, *arguments: str, pause: float = 0.0, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("PAUSE", str(pause)), "bag", "in.mcap", "out.mcap"]
        + ["--topic", "/camera/image_raw", "--labels", "road,sky", "--copy", *arguments],
        cwd=folder,
        env=ENV | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A recording, and the result of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    record(folder / "in.mcap", [*film(4 * partial.FRAMES + 3), ("/chatter", START, text("hello"))])
    assert ends(start(folder)) == (0, "out.mcap: 83 of 83 frames segmented\n", "")
    return (folder / "in.mcap").read_bytes(), (folder / "out.mcap").read_bytes()


def test_a_run_that_is_killed_goes_on(tmp_path: Path, uninterrupted: tuple[bytes, bytes]) -> None:
    (tmp_path / "in.mcap").write_bytes(uninterrupted[0])
    part, seen = tmp_path / "out.mcap.part", tmp_path.parent / f"{tmp_path.name}-embedded"
    for number, (end, status) in enumerate(((signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, -15))):
        process = start(tmp_path, pause=0.1)  # long enough that it is not done before the signal, on a busy machine too
        wait_for(part / f"00000{number}.json", process)
        process.send_signal(end)
        stopped = "lseg: stopped; the same command goes on from there\n" if end == signal.SIGINT else ""
        assert ends(process) == (status, "", stopped)
        assert not (tmp_path / "out.mcap").exists()
    finished = len([*part.glob("00*.json")])
    assert finished >= 3
    assert ends(start(tmp_path, EMBEDDED=str(seen))) == (0, "out.mcap: 83 of 83 frames segmented\n", "")
    assert len(seen.read_text()) == 83 - partial.FRAMES * finished, "what was finished is not done again"
    assert (tmp_path / "out.mcap").read_bytes() == uninterrupted[1]
    assert names(tmp_path) == {"in.mcap", "out.mcap"}


def test_several_processes_share_a_recording(tmp_path: Path, uninterrupted: tuple[bytes, bytes]) -> None:
    (tmp_path / "in.mcap").write_bytes(uninterrupted[0])
    first = start(tmp_path, RANK="0", WORLD_SIZE="2")
    wait_for(tmp_path / "out.mcap.part" / "000004.json", first)
    second = start(tmp_path, pause=0.02, RANK="1", WORLD_SIZE="2")
    wait_for(tmp_path / "out.mcap.part" / "000001.json", second)
    second.kill()
    assert ends(second)[0] == -9
    assert first.poll() is None  # it waits for what is missing, whoever brings it
    assert not (tmp_path / "out.mcap.part" / "000003.json").exists()
    assert ends(start(tmp_path, RANK="1", WORLD_SIZE="2")) == (0, "", "")
    waiting = "lseg: waiting for the other processes, which have 2 of 5 parts left\n"
    assert ends(first) == (0, "out.mcap: 83 of 83 frames segmented\n", waiting)
    assert (tmp_path / "out.mcap").read_bytes() == uninterrupted[1]
    assert names(tmp_path) == {"in.mcap", "out.mcap"}


def test_an_inconsistent_environment(lseg: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    assert lseg("in.mcap", "out.mcap", "--topic", "/a").err.startswith("lseg: RANK is 2 and WORLD_SIZE is 1")


@pytest.mark.parametrize(
    ("device", "size", "expected"), [("auto", 4, "cuda:1"), ("cpu", 4, "cpu"), ("auto", 1, "auto")]
)
def test_each_process_on_a_machine_takes_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, size: int, expected: str
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert bag._device(device, bag._Worker(rank=3, size=size, local_rank=3)) == expected
