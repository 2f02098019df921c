"""Embeds and scores images on a GPU, by a bounded number of programs for the sizes in use."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lseg_ros.inference.competition import Competition
from lseg_ros.inference.cuda_graphs import Recorder, wait_for
from lseg_ros.inference.frame_programs import ImageProgram, Places, Scored, ScoreProgram, check_range
from lseg_ros.inference.numerics import float32_products
from lseg_ros.inference.postprocess import WinnersOfLogits
from lseg_ros.inference.preprocess import Geometry, Size, to_input
from lseg_ros.inference.programs import Programs, Uses
from lseg_ros.inference.stage_times import StageClock
from lseg_ros.inference.winners import Best
from lseg_ros.model.net import LSegNet

logger = logging.getLogger(__name__)

_IMAGES = 4  # most image sizes whose programs are kept
_OFTEN = 3  # images of a size from which on it has a program; making one takes as long as many images without


class GpuFrames:
    """Embeds and scores images for `Segmenter`. On a CPU the programs run step by step, which tests use."""

    def __init__(
        self, net: LSegNet, encode: Callable[[Tensor], Tensor], recorder: Recorder, *, tf32: bool, capture: bool
    ) -> None:
        """Prepares the programs. One is built as soon as a few images of a size have come.

        Args:
            net: The network. Its variant gives the normalization, its head block changes logits.
            encode: The image encoder, [1,3,H,W] to [1,R,h,w] float32.
            recorder: The device's recorder.
            tf32: Whether the encoder may compute in TF32. Scores never do.
            capture: Whether the encoder can be recorded.
        """
        self._net, self._encode, self._recorder, self._tf32, self._capture = net, encode, recorder, tf32, capture
        self._images: Programs[ImageProgram] = Programs(_IMAGES)
        self._uses = Uses(_OFTEN)
        self._finite = False  # whether numbers were in range, in an image that was encoded step by step
        self._said: set[str] = set()

    def embed(self, rgb: NDArray[np.uint8], sizes: Geometry) -> tuple[Tensor, StageClock]:
        """Encodes an image.

        Args:
            rgb: [H,W,3] uint8 RGB.
            sizes: The sizes of the image.

        Returns:
            [1,R,h,w] float32, and a clock with the time of each stage.
        """
        wanted = self._uses.often(sizes) or self._images.find(sizes) is not None
        program = self._image_program(sizes) if wanted else None
        clock = StageClock(self._recorder.device)
        with float32_products(self._recorder.device, tf32=self._tf32):
            return (self._by_steps(rgb, sizes, clock) if program is None else program(rgb, clock)), clock

    def _by_steps(self, rgb: NDArray[np.uint8], sizes: Geometry, clock: StageClock) -> Tensor:
        """Encodes an image without a program, as `ImageProgram` does."""
        images = to_input(rgb, sizes, self._net.variant, self._recorder.device)
        clock.mark("preprocess")
        coordinates = self._encode(images).clone()
        clock.mark("encode")
        if not self._finite:
            check_range(coordinates)
            self._finite = True
        return coordinates

    def score(self, coordinates: Tensor, sizes: Geometry, competition: Competition, output: Size) -> Scored | None:
        """Scores an image.

        Args:
            coordinates: [1,R,h,w], the result of `embed`.
            sizes: The sizes of the image.
            competition: The labels.
            output: Height and width of the result.

        Returns:
            The result, or None if there is no program for it. The caller then computes step by step.
        """
        block = self._net.head_block
        places = Places.of(competition, exact=block is not None)
        if not places.possible:
            self._say_once(f"{sum(competition.counts)} prompts are too many for a CUDA graph; they run step by step")
            return None
        image = self._images.find(sizes)
        if image is None:
            return None
        ids = competition.ids.dtype

        def make() -> ScoreProgram:
            with float32_products(self._recorder.device, tf32=False, search=True):
                scale = self._net.variant.logit_scale
                return ScoreProgram(image.coordinates, sizes, output, places, ids, block, scale, self._recorder)

        program = image.scores.get((output, places, ids), make)
        if program is None:
            self._say_once("lists or masks of many sizes are scored in turn; the further ones run step by step")
            return None
        with float32_products(self._recorder.device, tf32=False):
            image.hold(coordinates)
            return program(competition)

    def clear(self) -> None:
        """Frees the programs. They are built again when they are needed."""
        wait_for(self._recorder.device)  # a graph must not be freed while it runs
        self._images.clear()
        self._recorder.forget()

    def _image_program(self, sizes: Geometry) -> ImageProgram | None:
        """Returns the program for a size, or None if there is no room for another one."""

        def make() -> ImageProgram:
            with float32_products(self._recorder.device, tf32=self._tf32, search=True):
                return ImageProgram(sizes, self._net.variant, self._encode, self._recorder, self._capture)

        program = self._images.get(sizes, make)
        if program is not None and self._capture and not program.captured and self._recorder.worth_another_try():
            self._images.drop(sizes)
            program = self._images.get(sizes, make)
        if program is None:
            self._say_once(f"images of more than {_IMAGES} sizes come in turn; the further ones run step by step")
        return program

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            logger.warning("%s", sentence)


class WinnersOfProgram:
    """Reads the winners from a program's result. Implements `lseg_ros.inference.postprocess.Winners`."""

    def __init__(self, scored: Scored, by_steps: WinnersOfLogits) -> None:
        """Combines a program's result with a fallback.

        Args:
            scored: The program's result.
            by_steps: Computes what the program does not keep.
        """
        self._scored, self._by_steps = scored, by_steps

    def logits(self, labels: list[int]) -> Tensor:
        """As `Winners`."""
        return self._by_steps.logits(labels)

    def best(self) -> Best:
        """As `Winners`."""
        return self._scored.best() or self._by_steps.best()

    def mask(self) -> NDArray[Any]:
        """As `Winners`."""
        return self._scored.mask()

    def confidence(self) -> NDArray[np.float32]:
        """As `Winners`."""
        return self._scored.confidence()

    def confidence_bytes(self) -> NDArray[np.uint8]:
        """As `Winners`."""
        return self._scored.confidence_bytes()
