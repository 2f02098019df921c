"""The command `lseg bag`."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lseg_ros.cli.options import add_segmenter_options, segmenter_of, user_path
from lseg_ros.files import sha256

if TYPE_CHECKING:
    from lseg_ros.recording.segmenting import Job

_SHOWN = 5  # most reasons for refused frames that are printed
# PyTorch has its own error class only for a GPU's memory, and it is not imported here.
_TOO_LARGE = ("out of memory", "can't allocate memory", "not enough memory")

_DESCRIPTION = """\
Segments every frame of recorded image topics, and writes the topics that the node would publish into a new bag:
/lseg/mask and so on, or /lseg/CAMERA/mask where there are several image topics. Each output has the header and the
time of its image. IN is a rosbag2 recording: a .mcap file, a .db3 file, or a folder. So is OUT, according to its name.
The files of a folder have the format of IN.

You can stop it at any moment. Finished frames are kept in OUT.part, and the same command continues from there.
Several processes share the frames under torchrun: torchrun --nproc_per_node=2 -m lseg_ros.cli bag ...; see
docs/recording.md.
Frames that cannot be read are counted and named at the end, and the exit status is 1.
"""


def add_to(commands: Any) -> None:
    """Adds the command to argparse's subparsers."""
    parser = commands.add_parser(
        "bag",
        help="segment the image topics of a recorded bag",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", type=user_path, metavar="IN", help="the recording: .mcap, .db3, or a folder")
    parser.add_argument("output", type=user_path, metavar="OUT", help="the bag to write: .mcap, .db3, or a folder")
    parser.add_argument(
        "--topic", action="append", required=True, help="image topic, raw or compressed; several: --topic A --topic B"
    )
    add_segmenter_options(parser)
    parser.add_argument(
        "--outputs",
        default="mask,confidence",
        help="of mask, confidence, overlay and color, separated by commas (default: mask,confidence)",
    )
    parser.add_argument("--copy", action="store_true", help="also copy everything in IN to OUT")
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    there.add_argument("--resume", action="store_true", help="do nothing if OUT exists, because it is then complete")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class _Worker:
    """The number of this process, the number of processes, and the number of this process on its machine."""

    rank: int
    size: int
    local_rank: int


def run(options: argparse.Namespace) -> int:
    """Segments this process's share of the frames. The first process joins all shares. Returns the exit status."""
    if find_spec("rosbags") is None:
        raise ValueError("bags need the library rosbags; run in the folder of lseg_ros: pip install '.[bag]'")
    from lseg_ros.model.weight_files import weights_path
    from lseg_ros.recording.bags import Recording
    from lseg_ros.recording.partial import PartialBag
    from lseg_ros.recording.segmenting import Job, OutputTopics, what_is_copied

    worker = _worker()
    if options.output.exists():
        if options.resume:
            print(f"{options.output} was finished before")
            return 0
        _check_output(options)
    with Recording(options.input) as recording:
        topics = list(dict.fromkeys(options.topic))
        connections = recording.images(topics)
        outputs = OutputTopics(topics, _outputs(options.outputs))
        copied = what_is_copied(recording, outputs) if options.copy else None
        segmenter = segmenter_of(options, _device(options.device, worker))
        # All that the messages depend on, except what is the same in every run.
        made_with = {
            "recording": recording.facts,
            "topic": topics,
            "list of outputs": outputs.wanted,
            "list of labels": [asdict(label) for label in segmenter.labels.labels],
            "model": sha256(weights_path(options.model)),
            "kind of device": segmenter.device.type,
            "precision": segmenter.precision,
            "backend": options.backend,
            "exported file": sha256(options.exported) if options.exported else None,
            "input size": segmenter.input_size,
            "size of windows": options.window,
            "threshold": segmenter.threshold,
        }
        partial = PartialBag(options.output, outputs.topics(), made_with)
        try:
            return _segment(Job(recording, connections, outputs, partial, segmenter), options.output, copied, worker)
        except KeyboardInterrupt:
            print("lseg: stopped; the same command goes on from there", file=sys.stderr)
            raise
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in _TOO_LARGE):
                raise
            raise ValueError("there is too little memory; try fewer labels, or another --device") from error


def _worker() -> _Worker:
    """Reads torchrun's environment variables. Without them this is the only process."""
    try:
        rank, size, local = (
            int(os.environ.get(name, alone)) for name, alone in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
        )
    except ValueError as error:
        raise ValueError(f"RANK, WORLD_SIZE and LOCAL_RANK are numbers, as torchrun sets them ({error})") from error
    if not 0 <= rank < size:
        raise ValueError(f"RANK is {rank} and WORLD_SIZE is {size}; ranks count from 0")
    return _Worker(rank, size, local)


def _check_output(options: argparse.Namespace) -> None:
    """Raises ValueError unless the existing output can be replaced."""
    there, recording = options.output.resolve(), options.input.resolve()
    if there == recording:
        raise ValueError(f"{options.output} is the recording itself; choose another name")
    if there in recording.parents or recording in there.parents:
        raise ValueError(f"{options.output} and {options.input} lie within each other; choose another name")
    if options.output.is_dir() and not (options.output / "metadata.yaml").is_file():
        raise ValueError(f"{options.output} is a folder and no bag, and is not replaced; choose a name that is free")
    if not options.overwrite:
        raise ValueError(f"{options.output} is there already; choose another name, or give --overwrite")


def _outputs(text: str) -> list[str]:
    """Returns the requested outputs in their usual order."""
    from lseg_ros.recording.messages import OUTPUTS

    requested = [name.strip() for name in text.split(",")]
    for name in requested:
        if name not in OUTPUTS:
            raise ValueError(f"there is no output {name!r}; --outputs takes {', '.join(OUTPUTS)}")
    return [name for name in OUTPUTS if name in requested]


def _device(name: str, worker: _Worker) -> str:
    """Returns the device to use. With several GPUs, each process on a machine takes another one."""
    import torch

    gpus = torch.cuda.device_count()
    return f"cuda:{worker.local_rank % gpus}" if name in ("auto", "cuda") and worker.size > 1 and gpus else name


def _segment(job: "Job", out: Path, copied: Any, worker: _Worker) -> int:
    """Segments this process's share of the frames. The first process joins all shares. Returns the exit status."""
    from tqdm import tqdm

    from lseg_ros.recording.segmenting import join, segment_sizes

    sizes = segment_sizes(sum(connection.msgcount for connection in job.connections))
    share = range(worker.rank, len(sizes), worker.size)
    bar = tqdm(
        total=sum(sizes[i] for i in share),
        initial=sum(sizes[i] for i in share if job.partial.has(i)),
        unit="frame",
        desc=out.name,
        disable=None if worker.rank == 0 else True,
    )
    with bar:
        frames = job.work(worker.rank, worker.size, bar.update)
    if worker.rank:
        return 0
    segments = len(segment_sizes(frames))
    _wait(job, segments)
    refused = job.partial.refused(segments)
    _name_refused(refused.most_common())
    if refused.total() == frames:
        job.partial.remove()
        raise ValueError(f"{job.recording.path} has no frame that can be segmented; nothing was written")
    for sentence in join(job, frames, out, copied):
        print(f"lseg: {sentence}", file=sys.stderr)
    print(f"{out}: {frames - refused.total()} of {frames} frames segmented")
    return 1 if refused else 0


def _wait(job: "Job", segments: int) -> None:
    """Waits until all segments are finished, by any process."""
    announced = False
    while missing := sum(not job.partial.has(segment) for segment in range(segments)):
        if not announced:
            print(
                f"lseg: waiting for the other processes, which have {missing} of {segments} parts left", file=sys.stderr
            )
            announced = True
        time.sleep(0.2)


def _name_refused(refused: Sequence[tuple[str, int]]) -> None:
    for reason, count in refused[:_SHOWN]:
        print(f"lseg: {count} frame{'s' if count > 1 else ''} left out, {reason}", file=sys.stderr)
    if len(refused) > _SHOWN:
        rest = sum(count for _, count in refused[_SHOWN:])
        print(f"lseg: {rest} frames left out for {len(refused) - _SHOWN} more reasons", file=sys.stderr)
