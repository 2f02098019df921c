"""Recordings with contents other than topics of ROS 2: these are read, copied, or named in a message."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import HashText, tiny_net

from lseg_ros.cli.main import main
from lseg_ros.model import weights
from lseg_ros.model.weights import save_model

pytest.importorskip("rosbags", reason="bags need the library rosbags")

from rosbags.rosbag2 import Reader, StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402

from lseg_ros.recording.bags import Recording  # noqa: E402
from lseg_ros.recording.mcap_files import MAGIC, extras, profile  # noqa: E402

TYPES = get_typestore(Stores.ROS2_HUMBLE)
IMAGE = "sensor_msgs/msg/Image"
START = 1_700_000_000 * 10**9
TOPIC = "/cam/image_raw"


def packed(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return len(data).to_bytes(4, "little") + data


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def record(operation: int, content: bytes) -> bytes:
    return bytes([operation]) + number(len(content), 8) + content


def image(i: int) -> bytes:
    stamp = TYPES.types["builtin_interfaces/msg/Time"](sec=i, nanosec=0)
    header = TYPES.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    pixels = np.full(12 * 16 * 3, 10 * i, np.uint8)
    message = TYPES.types[IMAGE](
        header=header, height=12, width=16, encoding="rgb8", is_bigendian=0, step=48, data=pixels
    )
    return bytes(TYPES.serialize_cdr(message, IMAGE))


def mcap(path: Path, *, encoding: str = "", schema: str = "jsonschema", extra: bytes = b"", made: str = "ros2") -> Path:
    """Writes an MCAP by the format's own rules, without chunks and summary.

    Args:
        path: Of the file.
        encoding: Of the messages of a second topic, /events; empty for none.
        schema: The language of the second topic's definition.
        extra: Further records.
        made: The profile.
    """
    definition = TYPES.generate_msgdef(IMAGE, ros_version=2)[0]
    parts = [
        MAGIC,
        record(0x01, packed(made) + packed("test")),
        record(0x03, number(1, 2) + packed(IMAGE) + packed("ros2msg") + packed(definition)),
        record(0x04, number(1, 2) + number(1, 2) + packed(TOPIC) + packed("cdr") + packed(b"")),
    ]
    if encoding:
        parts += [
            record(0x03, number(2, 2) + packed("foxglove.Log") + packed(schema) + packed(b"\x0a\x04test")),
            record(0x04, number(2, 2) + number(2, 2) + packed("/events") + packed(encoding) + packed(b"")),
        ]
    for i in range(3):
        time = number(START + i * 10**8, 8)
        parts.append(record(0x05, number(1, 2) + number(i, 4) + time + time + image(i)))
        if encoding:
            event = json.dumps({"message": f"e{i}"}).encode()
            parts.append(record(0x05, number(2, 2) + number(i, 4) + time + time + event))
    parts += [extra, record(0x0F, bytes(4)), record(0x02, bytes(20)), MAGIC]
    path.write_bytes(b"".join(parts))
    return path


ATTACHMENT = record(
    0x09,
    number(START, 8) * 2 + packed("calibration.yaml") + packed("text/yaml") + number(10, 8) + b"camera: 1\n" + bytes(4),
)
METADATA = record(0x0C, packed("vehicle") + packed(packed("robot") + packed("r1") + packed("operator") + packed("x")))


@pytest.fixture
def lseg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `lseg bag` in a folder with a small network. Returns the exit status and the text on standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "build_text_encoder", lambda variant: HashText())
    save_model(tiny_net(), tmp_path / "tiny.safetensors", "MIT")

    def run(source: Path | str, out: str, *more: str, topic: str = TOPIC) -> tuple[int, str]:
        arguments = ["bag", str(source), out, "--topic", topic, "--labels", "sky, tree", "--device", "cpu"]
        status = main([*arguments, "--model", "tiny.safetensors", *more])
        return status, capsys.readouterr().err

    return run


def topics(path: str) -> dict[str, int]:
    with Reader(Path(path)) as reader:
        for connection, _, data in reader.messages():
            assert len(data), connection
        return {connection.topic: connection.msgcount for connection in reader.connections}


@pytest.mark.parametrize(("encoding", "schema"), [("json", "jsonschema"), ("protobuf", "protobuf"), ("json", "")])
def test_topics_in_other_encodings_are_left_out(lseg: Any, tmp_path: Path, encoding: str, schema: str) -> None:
    source = mcap(tmp_path / "in.mcap", encoding=encoding, schema=schema)
    assert lseg(source, "out.mcap") == (0, "")
    assert topics("out.mcap")["/lseg/mask"] == 3
    status, said = lseg(source, "copy.mcap", "--copy")
    assert (status, said) == (0, f"lseg: not copied, because only messages of ROS 2 are: /events ({encoding})\n")
    assert topics("copy.mcap") == {TOPIC: 3, "/lseg/label_info": 1, "/lseg/labels": 1} | {
        f"/lseg/{name}": 3 for name in ("frame_info", "mask", "confidence")
    }
    status, said = lseg(source, "none.mcap", topic="/events")
    assert status == 1 and f"in {source}, /events is in {encoding}, which is not read; the image topics there" in said


def test_attachments_and_metadata_are_copied(lseg: Any, tmp_path: Path) -> None:
    source = mcap(tmp_path / "in.mcap", extra=ATTACHMENT + METADATA)
    assert lseg(source, "out.mcap", "--copy") == (0, "")
    out = Path("out.mcap")
    found, own = extras(out)
    assert [(extra.kind, extra.name) for extra in found] == [
        ("attachment", "calibration.yaml"),
        ("metadata", "vehicle"),
    ]
    assert "rosbag2" in own or "version" in own
    assert out.read_bytes().count(ATTACHMENT) == 1 and out.read_bytes().count(METADATA) == 1
    assert topics("out.mcap")[TOPIC] == 3 and topics("out.mcap")["/lseg/mask"] == 3
    assert profile(out) == "ros2"
    # A copy of the copy: what has an index and a summary is read as what has not.
    assert lseg("out.mcap", "plain.mcap")[0] == 0
    assert not extras(Path("plain.mcap"))[0]

    status, said = lseg(source, "out.db3", "--copy")
    assert status == 0
    assert said == (
        "lseg: not copied, because only MCAP files have a place for it: attachment calibration.yaml, metadata vehicle\n"
    )


def test_the_indexes_lead_to_what_was_copied(lseg: Any, tmp_path: Path) -> None:
    lseg(mcap(tmp_path / "in.mcap", extra=ATTACHMENT + METADATA), "out.mcap", "--copy")
    data = Path("out.mcap").read_bytes()
    found: dict[int, list[bytes]] = {}
    at = int.from_bytes(data[-28:-20], "little")
    while data[at] != 0x02:
        size = int.from_bytes(data[at + 1 : at + 9], "little")
        found.setdefault(data[at], []).append(data[at + 9 : at + 9 + size])
        at += 9 + size
    for content, operation in ((found[0x0A][0], 0x09), (found[0x0D][-1], 0x0C)):
        offset, length = (int.from_bytes(content[i : i + 8], "little") for i in (0, 8))
        assert data[offset] == operation
        assert data[offset : offset + length] in (ATTACHMENT, METADATA)
    (statistics,) = found[0x0B]
    assert [int.from_bytes(statistics[i : i + 4], "little") for i in (14, 18)] == [1, 2]  # rosbag2's own is one


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_custom_data_are_copied(lseg: Any, tmp_path: Path, plugin: StoragePlugin) -> None:
    writer = Writer(tmp_path / "in", version=8, storage_plugin=plugin)
    writer.set_custom_data("operator", "x")
    with writer:
        connection = writer.add_connection(TOPIC, IMAGE, typestore=TYPES)
        writer.write(connection, START, image(0))
    assert lseg("in", "out", "--copy") == (0, "")
    assert "operator: x" in Path("out", "metadata.yaml").read_text()
    if plugin == StoragePlugin.MCAP:  # a file alone has them, too
        assert lseg("in/in.mcap", "out.mcap", "--copy") == (0, "")
        with Recording(Path("out.mcap")) as recording:
            assert recording.extras().custom == {"operator": "x"}


def test_complete_files_that_are_no_recording_of_ros2(lseg: Any, tmp_path: Path) -> None:
    def said(name: str) -> str:
        status, text = lseg(name, "out.mcap")
        assert status == 1 and text.count("\n") == 1 and "recover" not in text and "damaged" not in text
        return text

    mcap(tmp_path / "one.mcap", made="ros1")
    assert said("one.mcap") == "lseg: one.mcap is a ROS 1 recording; convert it with `rosbags-convert`\n"
    mcap(tmp_path / "other.mcap", made="")
    assert "other.mcap is an MCAP file of the profile ''; only those of ROS 2 are read" in said("other.mcap")
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    assert "old.bag is a ROS 1 recording" in said("old.bag")
    (tmp_path / "renamed.mcap").write_bytes(b"#ROSBAG V2.0\n" + bytes(99))
    assert "renamed.mcap is a ROS 1 recording" in said("renamed.mcap")
    (tmp_path / "empty.mcap").touch()
    assert said("empty.mcap") == "lseg: empty.mcap is empty\n"
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        writer.write(writer.add_connection(TOPIC, IMAGE, typestore=TYPES), START, image(0))
    (tmp_path / "wrong.mcap").write_bytes((tmp_path / "bag" / "bag.db3").read_bytes())
    assert "wrong.mcap is an SQLite file, whatever its name says; call it wrong.db3" in said("wrong.mcap")
    (tmp_path / "bag" / "bag.db3").unlink()
    assert "bag/bag.db3, which bag/metadata.yaml names, is missing; put it there again" in said("bag")
