"""`Segmenter` computes a `Segmentation` of an RGB image and labels."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lseg_ros.files import from_home
from lseg_ros.inference.asking import match, pixel_shares
from lseg_ros.inference.backends.base import Backend, Request
from lseg_ros.inference.backends.choose import backend_for, precision_for
from lseg_ros.inference.competition import Competition
from lseg_ros.inference.cuda_graphs import Recorder, free_cached, full_memory_said
from lseg_ros.inference.devices import device_named, memory_of
from lseg_ros.inference.embedding import ImageEmbedding
from lseg_ros.inference.features import feature_map
from lseg_ros.inference.gpu_frames import GpuFrames, WinnersOfProgram
from lseg_ros.inference.labels import IdRules, LabelError, LabelSet, LabelSpec, as_specs, assign
from lseg_ros.inference.lessons import Lesson, Marks, check_taught, with_lesson
from lseg_ros.inference.multiscale import multiscale
from lseg_ros.inference.numerics import float32_products
from lseg_ros.inference.phrases import Phrases, checked_contrast
from lseg_ros.inference.postprocess import Segmentation, Winners, WinnersOfLogits, best_prompt, segmentation_of
from lseg_ros.inference.preprocess import Size, check_rgb, geometry, to_input
from lseg_ros.inference.protocol import FeatureGrid, PhraseMatch, PixelShares
from lseg_ros.inference.reading import reads_same, remarks
from lseg_ros.inference.stage_times import StageClock
from lseg_ros.inference.teaching import vectors_of
from lseg_ros.inference.windows import Windows, check_window
from lseg_ros.model.checksum import image_side_sha256
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
from lseg_ros.model.net import TORCH_TYPES, LSegNet

logger = logging.getLogger(__name__)


class Segmenter:
    """Segments images with a network under a list of labels. Only one thread may use it at a time."""

    def __init__(
        self,
        net: LSegNet,
        device: str | torch.device = "auto",
        precision: str = "auto",
        input_size: int | None = None,
        *,
        window: int | None = None,
        backend: str = "torch",
        exported: str | Path | None = None,
        output_size: Size | None = None,
        threshold: float = 0.0,
        contrast: Sequence[str] = ("other",),
        rules: IdRules | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares a network for images.

        Args:
            net: The network. The segmenter owns it from now on and moves it to the device.
            device: "auto" (a GPU if there is one), or a torch device.
            precision: Precision of the image encoder. "auto" is float32 on a CPU and with onnxruntime, float16 on a
                GPU, and int8 if `exported` is. "float32" is exact on a GPU too; "tf32" is not.
            input_size: Longest side in pixels that the network sees; None for the variant's own.
            window: Side in pixels of overlapping windows in which the network sees its input of `input_size`; None: as
                a whole. For encoders that were trained with images of one size.
            backend: The backend of the image encoder: torch, onnxruntime, openvino, tensorrt, or "auto" for the
                fastest.
            exported: The file of `lseg export` for the backend. None: one is exported from the network if needed.
            output_size: Height and width of masks; None for the image's.
            threshold: Confidence in [0, 1] below which a pixel is unknown, for labels without their own threshold.
            contrast: Phrases that compete as hidden background if fewer than two labels do.
            rules: The rules for class ids.
            clock: Returns seconds. It decides when a removed id may be used again on request.

        Raises:
            ValueError: An argument is out of range, or the device or the backend is not available.
        """
        self.device = device_named(str(device))
        exported = None if exported is None else from_home(exported)
        self.precision = precision_for(precision, backend, self.device, exported)
        self.input_size = net.variant.input_size if input_size is None else input_size
        if self.input_size < 1:
            raise ValueError(f"input_size is {self.input_size}; it must be at least 1 pixel")
        if window is not None:
            check_window(window, net.variant.size_step, self.input_size)
        self.window = window
        if output_size is not None and min(output_size) < 1:
            raise ValueError(f"output_size is {output_size}; both sides must be at least 1 pixel")
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold is {threshold}; it must be between 0 and 1")
        self.output_size = output_size
        self.threshold = threshold
        self.contrast = checked_contrast(net, contrast)
        self.rules = IdRules() if rules is None else rules
        self.labels = LabelSet()
        self._net = net.eval().to(self.device).to(memory_format=torch.channels_last)
        self._encoder = FusedEncoderDecoder(net).to(self.device).eval()
        self._basis = self._encoder.basis
        self._backend = backend_for(backend, Request(self._encoder, self.device, self.precision, exported))
        self._encode: Backend = self._backend
        if window is not None:
            self._encode = Windows(self._backend, window, net.variant.size_step)
        self._frames: GpuFrames | None = None
        if self.device.type == "cuda":
            tf32, recordable = self.precision == "tf32", self._backend.recordable
            self._frames = GpuFrames(net, self._encode, Recorder(self.device), tf32=tf32, capture=recordable)
            if recordable:  # then it has the image side's weights in a type of its own
                self._encoder.to("cpu")
        self._clock = clock
        self._phrases = Phrases(net, self._basis, self.contrast)
        self._competition = Competition(torch.empty(0), (), self.labels, self.rules, threshold)

    @property
    def net(self) -> LSegNet:
        """The network. On a GPU its weights may be in main memory, because the computation uses others."""
        return self._net

    def plan(
        self, labels: Sequence[str | LabelSpec], class_ids: Sequence[int] | None = None, *, force: bool = False
    ) -> LabelSet:
        """Returns the label set that `set_labels` would put in force, and changes nothing. `commit` puts it in force.

        Args:
            labels: As for `set_labels`.
            class_ids: As for `set_labels`.
            force: As for `set_labels`.

        Raises:
            LabelError: The list is refused.
        """
        planned = assign(self.labels, as_specs(labels, class_ids), self.rules, now=self._clock(), force=force)
        self._phrases.check_labels(planned)
        if any(label.taught for label in planned.labels):
            check_taught(planned, self.weights, len(self._basis))
        return planned

    def set_labels(
        self, labels: Sequence[str | LabelSpec], class_ids: Sequence[int] | None = None, *, force: bool = False
    ) -> LabelSet:
        """Replaces the labels, all or nothing, and returns the set now in force.

        Args:
            labels: Names or `LabelSpec`s.
            class_ids: One for each label, or None for automatic ones.
            force: Whether ids may move between labels, and be used again within the quarantine.

        Raises:
            LabelError: The list is refused; the old labels stay in force.
        """
        planned = self.plan(labels, class_ids, force=force)
        self.commit(planned)
        return planned

    def commit(self, planned: LabelSet) -> None:
        """Puts a planned label set in force. If that fails, the old labels stay.

        Args:
            planned: The result of `plan`.

        Raises:
            ValueError: Other labels came into force since it was planned.
        """
        if planned.version != self.labels.version + 1:
            raise ValueError(
                f"label set {planned.version} does not follow the one in force, {self.labels.version}; plan it again"
            )
        rows = self._phrases.rivals(planned)
        counts = [len(part) for part in rows]
        self._competition = Competition(torch.cat(rows), counts, planned, self.rules, self.threshold)
        self.labels = planned
        for sentence in remarks(planned, self._net.text_encoder):
            logger.warning("%s", sentence)

    def embed(self, rgb: NDArray[np.uint8]) -> ImageEmbedding:
        """Embeds an image. The result does not depend on the labels.

        Args:
            rgb: [H,W,3] uint8 RGB.

        Raises:
            ValueError: `rgb` is not such an array.
        """
        check_rgb(rgb)
        sizes = geometry((rgb.shape[0], rgb.shape[1]), self.input_size, self._net.variant.size_step)
        with torch.inference_mode(), self._said_if_full(rgb.shape[1], rgb.shape[0]):
            if self._frames is not None:
                coordinates, clock = self._frames.embed(rgb, sizes)
            else:
                clock = StageClock(self.device)
                images = to_input(rgb, sizes, self._net.variant, self.device)
                clock.mark("preprocess")
                coordinates = self._encode(images)
                clock.mark("encode")
        return ImageEmbedding(coordinates, self._basis, sizes, clock.milliseconds)

    def score(self, image: ImageEmbedding) -> Segmentation:
        """Scores an embedding under the labels in force. Results are computed when they are first read.

        Raises:
            LabelError: No labels were set.
        """
        self._check_labels()
        if self._competition.threshold != self.threshold:
            self._competition = replace(self._competition, threshold=self.threshold)
        winners = partial(self._winners, image, self._competition)
        return Segmentation(self._competition, image.sizes, self.output_size or image.sizes.image, winners)

    def _winners(self, image: ImageEmbedding, competition: Competition, output: Size) -> Winners:
        by_steps = WinnersOfLogits(
            lambda: self._logits(image.coordinates, competition), competition, image.sizes, output
        )
        if self._frames is None:
            return by_steps
        with torch.inference_mode(), self._said_if_full(output[1], output[0]):
            scored = self._frames.score(image.coordinates, image.sizes, competition, output)
        return by_steps if scored is None else WinnersOfProgram(scored, by_steps)

    def _said_if_full(self, width: int, height: int) -> AbstractContextManager[None]:
        """Returns the context for work on an image or a mask of that size, which reports a full memory."""
        if self._frames is None:
            return nullcontext()
        return full_memory_said(self.device, f"{width}x{height} pixels", self._frames.clear)

    def query(self, image: ImageEmbedding, phrases: Sequence[str], output: Size) -> list[PhraseMatch]:
        """Scores phrases on an embedding, each alone against the labels in force and the contrast phrases.

        A label or contrast phrase that is the same as a phrase does not compete with it. The labels do not change.

        Args:
            image: An embedding of this segmenter.
            phrases: At least one phrase.
            output: Height and width of the results.

        Returns:
            A match for each phrase.

        Raises:
            LabelError: No labels were set, or a phrase cannot be used.
        """
        self._check_labels()
        phrases = self._phrases.checked(phrases)
        rivals = list(zip((x.words for x in self.labels.labels), self._competition.rows, strict=False))
        rivals += [((contrast,), self._phrases.rows([contrast])) for contrast in self.contrast]
        found = []
        with torch.inference_mode(), float32_products(self.device, tf32=False), self._said_if_full(*output[::-1]):
            for phrase in phrases:
                others = [rows for words, rows in rivals if not reads_same(words, [phrase], self._net.text_encoder)]
                found.append(match(self._net, image, self._phrases.rows([phrase]), others, output))
        return found

    def probe(self, image: ImageEmbedding, u: int, v: int, output: Size) -> PixelShares:
        """Returns the labels that compete at one pixel under the labels in force.

        Args:
            image: An embedding of this segmenter.
            u: Column of the pixel.
            v: Row of the pixel.
            output: Height and width of the image that `u` and `v` refer to.

        Raises:
            LabelError: There is no such pixel, or no labels were set.
        """
        self._check_labels()
        names = (*self.labels.names, *self._phrases.hidden(self.labels))
        with torch.inference_mode(), float32_products(self.device, tf32=False):
            return pixel_shares(self._net, image, self._competition, names, (u, v), output)

    @cached_property
    def weights(self) -> str:
        """The checksum of the weights that make vectors of pixels; see `Taught`."""
        return image_side_sha256(self._net)

    def marked(self, image: ImageEmbedding, marks: Marks, output: Size) -> NDArray[np.float32]:
        """Computes vectors of marked pixels, for a `Lesson`.

        Args:
            image: An embedding of this segmenter.
            marks: The pixels.
            output: Height and width of the picture in which they are marked.

        Returns:
            [n,D] unit rows.

        Raises:
            LabelError: A mark is outside of the picture or is empty.
        """
        with torch.inference_mode():
            return vectors_of(feature_map(image), marks, output)

    def teach(self, image: ImageEmbedding, label: str, toward: Marks, against: Marks | None = None) -> LabelSet:
        """Teaches a label by marked pixels of an image, in addition to its words and what it was taught before.

        `with_lesson` and `set_labels` do the same in two steps, with more options.

        Args:
            image: An embedding of this segmenter.
            label: The label's name. The label is added if it is new.
            toward: Pixels of the image that belong to the label.
            against: Pixels of the image that do not.

        Returns:
            The label set now in force.

        Raises:
            LabelError: A mark or the label cannot be used. The old labels stay in force.
        """
        size = image.sizes.image
        own, other = self.marked(image, toward, size), self.marked(image, against or Marks(), size)
        return self.set_labels(with_lesson(self.labels, label, Lesson(self.weights, own, other)))

    def usage(self) -> dict[str, str]:
        """Returns the backend, the device and its memory in use (on a CPU the process's), as text by name."""
        return {"backend": self._backend.name, **memory_of(self.device)}

    def release(self) -> None:
        """Frees the network and the device's memory. The segmenter cannot be used afterwards."""
        self._net.to("cpu")
        self._encoder.to("cpu")
        del self._backend, self._encode, self._basis, self._phrases
        self._frames = None
        self._competition = replace(self._competition, text=torch.empty(0))
        free_cached(self.device)

    def segment(self, rgb: NDArray[np.uint8]) -> Segmentation:
        """Segments an image, [H,W,3] uint8 RGB; raises as `embed` and `score` do."""
        return self.score(self.embed(rgb))

    def segment_multiscale(self, rgb: NDArray[np.uint8]) -> Segmentation:
        """Segments an image by the original's evaluation: six scales, mirrored, in windows of 480 pixels.

        It takes about forty times as long as `segment`, and is better at borders and small things. It is for measuring,
        not for robots. Raises as `segment` does.
        """
        check_rgb(rgb)
        self._check_labels()
        height, width = rgb.shape[:2]
        with torch.inference_mode(), self._said_if_full(width, height):
            logits, sizes = multiscale(self._window_logits, rgb, self._net.variant, self.device)
        return segmentation_of(logits, self.labels, sizes, self.output_size or sizes.image, self.rules, self.threshold)

    def _window_logits(self, window: Tensor) -> Tensor:
        """Scores [1,3,H,W] as [1,N,h,w] under the labels in force."""
        return self._logits(self._window(window), self._competition)

    def embed_multiscale(self, rgb: NDArray[np.uint8]) -> ImageEmbedding:
        """Embeds an image by the passes of `segment_multiscale`, as the mean of their vectors.

        The vectors have lengths up to 1. Raises ValueError as `embed` does.
        """
        check_rgb(rgb)
        height, width = rgb.shape[:2]
        with torch.inference_mode(), self._said_if_full(width, height):
            coordinates, sizes = multiscale(self._window, rgb, self._net.variant, self.device, coarse=True)
        return ImageEmbedding(coordinates, self._basis, sizes)

    def features_at(self, image: ImageEmbedding, points: ArrayLike) -> NDArray[np.float32]:
        """Returns vectors of single pixels in the space of the text, interpolated between the embedding's cells.

        A vector's product with a row of `encode_text` is the cosine from which `query` and the labels' scores are
        computed.

        Args:
            image: An embedding of this segmenter.
            points: [N,2] of (u, v), column and row in pixels of the image.

        Returns:
            [N,D] float32, of lengths up to 1.

        Raises:
            ValueError: `points` is not such an array, or a point is outside of the image.
        """
        with torch.inference_mode():
            return feature_map(image).at(points) @ image.basis.cpu().numpy().T

    def feature_grid(self, image: ImageEmbedding) -> FeatureGrid:
        """Returns the vectors of an embedding of this segmenter, without the network's padding."""
        grid = feature_map(image)
        return FeatureGrid(grid.coordinates.half().cpu().numpy(), grid.image, grid.scale, grid.offset)

    @property
    def basis(self) -> NDArray[np.float32]:
        """[D,R] float32, leads from coordinates to the space of `encode_text`."""
        return self._basis.cpu().numpy()

    def encode_text(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """Encodes N phrases as [N,D] float32 unit rows in the space of the pixels. The labels do not change.

        Raises:
            LabelError: There is no phrase, or one cannot be used.
        """
        return self._net.encode_text(self._phrases.checked(phrases)).cpu().numpy()

    def _window(self, window: Tensor) -> Tensor:
        """Embeds [1,3,H,W] as [1,R,h,w] unit vectors; PyTorch runs the network."""
        with float32_products(self.device, tf32=self.precision == "tf32"):
            if self._backend.recordable:
                return self._backend(window)
            return self._encoder(window, TORCH_TYPES.get(self.precision, torch.float32))

    def _logits(self, coordinates: Tensor, competition: Competition) -> Tensor:
        """Scores [1,R,h,w] as [1,N,h,w] for a list of labels, the best prompt of each."""
        with float32_products(self.device, tf32=False):
            return best_prompt(self._net.logits(coordinates, competition.text), competition.counts)

    def _check_labels(self) -> None:
        if not self.labels.labels:
            raise LabelError("no labels are set; call set_labels first")
