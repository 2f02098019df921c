"""Programs that lead from an image to its mask, as functions of fixed buffers that a CUDA graph can hold.

Run step by step, which needs no GPU, they give the same numbers.

Shapes: H x W pixels of the image, R coordinates per pixel, h x w decoder resolution, P prompts, N competing labels, K
prompts of one label.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.inference.backends.base import BackendError
from lseg_ros.inference.competition import Competition
from lseg_ros.inference.cuda_graphs import Recorder, buffer, to_host
from lseg_ros.inference.postprocess import confidence_bytes
from lseg_ros.inference.preprocess import Geometry, Size, empty_input, fill_input
from lseg_ros.inference.programs import Programs
from lseg_ros.inference.stage_times import StageClock
from lseg_ros.inference.upsampling import enlarged_whole, strip_matrices
from lseg_ros.inference.winners import Best, best_labels
from lseg_ros.model.variants import Variant

_NEVER = -1e4  # the logit of an unused place: it wins nowhere and adds nothing to a softmax
_MOST_ROWS = 1024  # most prompts that one program scores
_SCORES = 4  # most scoring programs for each image size


class ImageProgram:
    """Encodes images of one size.

    Attributes:
        coordinates: [1,R,h,w] float32, the buffer of the result.
        scores: The scoring programs that read `coordinates`.
        captured: Whether the encoder runs as a CUDA graph.
    """

    def __init__(
        self, sizes: Geometry, variant: Variant, encode: Callable[[Tensor], Tensor], recorder: Recorder, capture: bool
    ) -> None:
        """Allocates the buffers and records the graphs.

        Args:
            sizes: The sizes of the images.
            variant: Gives the mean and std of the normalization.
            encode: Maps [1,3,*sizes.padded] to [1,R,h,w] float32.
            recorder: The device's recorder.
            capture: Whether `encode` can be recorded. A library's own session cannot.
        """
        self._sizes, self._variant, self._encode, self._device = sizes, variant, encode, recorder.device
        self._host = buffer((*sizes.image, 3), torch.uint8, self._device)
        self._rgb = torch.empty((*sizes.image, 3), dtype=torch.uint8, device=self._device)
        self._images = empty_input(sizes, variant, self._device)
        self._images[..., : sizes.resized[0], : sizes.resized[1]] = 0  # the first runs have no image yet
        self.coordinates = encode(self._images).clone()
        self._holds: ReferenceType[Tensor] | None = None  # the tensor whose numbers are in `coordinates`
        self._seen = False  # whether an image was encoded
        self.scores: Programs[ScoreProgram] = Programs(_SCORES)  # they read `coordinates`
        height, width = sizes.image
        self._preprocess, _ = recorder.record(self._fill, f"preprocessing of {width}x{height}")
        self._run, self.captured = self._embed, False
        if capture:
            self._run, self.captured = recorder.record(self._embed, f"encoder for images of {width}x{height}")

    def __call__(self, rgb: NDArray[np.uint8], clock: StageClock) -> Tensor:
        """Encodes an image and marks the stages "preprocess" and "encode".

        Args:
            rgb: [H,W,3] uint8 RGB.
            clock: The image's clock.

        Returns:
            [1,R,h,w] float32, a copy.

        Raises:
            BackendError: The first image overflows the network's precision.
        """
        if self._device.type == "cuda":
            # The GPU may still be copying the last image from this buffer.
            torch.cuda.current_stream(self._device).synchronize()
        self._host.numpy()[:] = rgb
        self._preprocess()
        clock.mark("preprocess")
        self._run()
        coordinates = self.coordinates.clone()
        self._holds = ref(coordinates)
        clock.mark("encode")
        if not self._seen:
            check_range(coordinates)
            self._seen = True
        return coordinates

    def hold(self, coordinates: Tensor) -> None:
        """Copies an earlier image's coordinates into the buffer, unless they are in it already."""
        if self._holds is None or self._holds() is not coordinates:
            self.coordinates.copy_(coordinates)
            self._holds = ref(coordinates)

    def _fill(self) -> None:
        self._rgb.copy_(self._host, non_blocking=True)
        fill_input(self._images, self._rgb, self._sizes, self._variant)

    def _embed(self) -> None:
        self.coordinates.copy_(self._encode(self._images))


def check_range(coordinates: Tensor) -> None:
    """Checks that the numbers of an image are in the range of the network's precision.

    Raises:
        BackendError: They are not.
    """
    if not bool(torch.isfinite(coordinates).all()):
        raise BackendError(
            "numbers in this network are too large for its precision (float16 ends at 65504); "
            "set precision to tf32, bfloat16 or float32"
        )


@dataclass(frozen=True)
class Places:
    """How many places a program has. A list of labels that needs fewer leaves some empty.

    Attributes:
        prompts: P, prompts of all labels.
        labels: N, competing labels.
        per_label: K, prompts of the label with the most.
    """

    prompts: int
    labels: int
    per_label: int

    @classmethod
    def of(cls, competition: Competition, *, exact: bool) -> "Places":
        """Returns the places for a list of labels. Most lists of a similar length get the same ones.

        Args:
            competition: The labels.
            exact: Whether no place may stay empty.
        """
        counts = competition.counts
        prompts, labels, most = sum(counts), len(counts), max(counts)
        if exact:
            return cls(prompts, labels, most)
        labels = padded(labels)
        return cls(labels if most == 1 else padded(prompts + 1), labels, 1 << (most - 1).bit_length())

    @property
    def possible(self) -> bool:
        """Whether a program can have so many."""
        return self.prompts <= _MOST_ROWS and self.labels <= _MOST_ROWS and self.per_label <= 32


def padded(count: int) -> int:
    """Rounds a count up, by 7 or a quarter at most. Each distinct count costs a recording and buffers."""
    step = max(8, 1 << max(0, (count - 1).bit_length() - 3))
    return -(-count // step) * step


class ScoreProgram:
    """Turns coordinates into mask and confidence, for one image size, one mask size and one number of places."""

    def __init__(
        self,
        coordinates: Tensor,
        sizes: Geometry,
        output: Size,
        places: Places,
        ids: np.dtype[Any],
        head_block: nn.Module | None,
        logit_scale: float,
        recorder: Recorder,
    ) -> None:
        """Allocates the buffers and records the graph.

        Args:
            coordinates: [1,R,h,w] float32, the buffer that is read.
            sizes: The sizes of the images.
            output: Height and width of masks.
            places: Number of prompts and labels. It is exact if there is a head block, which mixes all logits.
            ids: The type of class ids, uint8 or uint16.
            head_block: The network's module for logits, or None.
            logit_scale: The factor between cosines and logits.
            recorder: The device's recorder.
        """
        device = recorder.device
        self._coordinates, self._sizes, self._output, self._places = coordinates, sizes, output, places
        self._head_block, self._device, self._id_type = head_block, device, ids
        self._logit_scale = logit_scale
        # PyTorch has no arithmetic for uint16. The ids are only moved, so int16 with the same bits will do.
        id_type = torch.uint8 if ids == np.uint8 else torch.int16
        self._rows = torch.zeros((places.prompts, coordinates.shape[1], 1, 1), device=device)
        self._bias = torch.full((places.prompts,), 0.0 if head_block is not None else _NEVER, device=device)
        self._members = torch.zeros((places.per_label, places.labels), dtype=torch.int64, device=device)
        self._ids = torch.zeros(places.labels, dtype=id_type, device=device)
        self._limits = torch.zeros(places.labels, device=device)
        self._unknown = torch.zeros((), dtype=id_type, device=device)
        self._mask, self._confidence = (buffer(output, dtype, device) for dtype in (id_type, torch.uint8))
        index = torch.empty(output, dtype=torch.uint8 if places.labels <= 256 else torch.int32, device=device)
        self._best = Best(index, *(torch.empty(output, device=device) for _ in range(2)))
        self._loaded: Competition | None = None
        self._last: ReferenceType[Scored] | None = None
        self._matrices: object = None
        if not enlarged_whole(places.labels, output, device):
            shape = (places.labels, coordinates.shape[2], coordinates.shape[3])
            self._matrices = strip_matrices(shape, sizes, output, device)
        what = f"scoring of {places.labels} labels at {output[1]}x{output[0]}"
        self._run, self.captured = recorder.record(self._score, what)

    def __call__(self, competition: Competition) -> "Scored":
        """Scores the coordinates in the buffer. The result can be read at any time later."""
        before = None if self._last is None else self._last()
        if before is not None:
            before.keep()
        if competition is not self._loaded:
            self._load(competition)
        self._run()
        scored = Scored(self)
        self._last = ref(scored)
        return scored

    def _load(self, competition: Competition) -> None:
        """Writes the numbers of a list of labels into the buffers."""
        prompts, labels = len(competition.text), len(competition.counts)
        members = np.full((self._places.per_label, self._places.labels), self._places.prompts - 1, np.int64)
        first = 0
        for label, count in enumerate(competition.counts):
            members[:, label] = first  # a label with fewer prompts than others repeats its first one
            members[:count, label] = range(first, first + count)
            first += count
        ids = np.zeros(self._places.labels, self._id_type)
        limits = np.zeros(self._places.labels, np.float32)
        ids[:labels], limits[:labels] = competition.ids, competition.limits
        unknown = np.array(competition.rules.unknown_id, self._id_type)
        signed = np.uint8 if self._id_type == np.uint8 else np.int16
        self._rows[:prompts] = (self._logit_scale * competition.text)[:, :, None, None]
        if self._head_block is None:
            self._rows[prompts:], self._bias[:prompts], self._bias[prompts:] = 0, 0, _NEVER
        for buffer_, numbers in (
            (self._members, members),
            (self._ids, ids.view(signed)),
            (self._limits, limits),
            (self._unknown, unknown.view(signed)),
        ):
            buffer_.copy_(torch.from_numpy(numbers))
        self._loaded = competition

    def _score(self) -> None:
        logits = functional.conv2d(self._coordinates, self._rows, self._bias)
        if self._head_block is not None:
            logits = self._head_block(logits)
        if self._places.per_label > 1:
            every = [logits.index_select(1, members) for members in self._members]
            logits = every[0]
            for other in every[1:]:
                logits = torch.maximum(logits, other)
        best = best_labels(logits, self._sizes, self._output)
        place = best.index.flatten().int()
        ids = self._ids.index_select(0, place).view(self._output)
        below = best.share < self._limits.index_select(0, place).view(self._output)
        self._mask.copy_(torch.where(below, self._unknown, ids), non_blocking=True)
        self._confidence.copy_(confidence_bytes(best.share), non_blocking=True)
        # They are copied, because the next graph overwrites the shared memory of graphs.
        self._best.index.copy_(best.index)
        self._best.logit.copy_(best.logit)
        self._best.share.copy_(best.share)


class Scored:
    """The result of a run of a `ScoreProgram`. The next run moves it from the program's buffers to this object."""

    def __init__(self, program: ScoreProgram) -> None:
        self._program: ScoreProgram | None = program
        self._done = torch.cuda.Event() if program._device.type == "cuda" else None
        if self._done is not None:
            self._done.record(torch.cuda.current_stream(program._device))
        self._mask: NDArray[Any] | None = None
        self._bytes: NDArray[np.uint8] | None = None
        self._share: NDArray[np.float32] | None = None

    def keep(self) -> None:
        """Copies what the next run will overwrite out of the program's buffers."""
        if self._program is not None:
            self.mask(), self.confidence_bytes(), self.confidence()
            self._program = None

    def best(self) -> Best | None:
        """Returns the winners on the device, or None if the next run has overwritten them."""
        return None if self._program is None else self._program._best

    def mask(self) -> NDArray[Any]:
        """Returns [H,W] class ids."""
        if self._mask is None:
            self._mask = self._copy("_mask").view(self._owner._id_type)
        return self._mask

    def confidence_bytes(self) -> NDArray[np.uint8]:
        """Returns the confidence as [H,W] uint8 from 1 to 255."""
        if self._bytes is None:
            self._bytes = self._copy("_confidence")
        return self._bytes

    def confidence(self) -> NDArray[np.float32]:
        """Returns the confidence as [H,W] float32 in (0, 1]."""
        if self._share is None:
            self._share = np.array(to_host(self._owner._best.share))
        return self._share

    @property
    def _owner(self) -> ScoreProgram:
        assert self._program is not None
        return self._program

    def _copy(self, name: str) -> NDArray[Any]:
        if self._done is not None:
            self._done.synchronize()
        host: Tensor = getattr(self._owner, name)
        return host.numpy().copy()  # the next run overwrites the buffer
