"""A segmenter for tests: real labels and post-processing, with colors in place of a network."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from processes import PATIENCE

from lseg_ros.inference.labels import IdRules, LabelError, LabelSet, LabelSpec, as_specs, assign, check_phrases
from lseg_ros.inference.lessons import Marks, check_taught
from lseg_ros.inference.postprocess import Segmentation, segmentation_of
from lseg_ros.inference.preprocess import Geometry
from lseg_ros.inference.protocol import FeatureGrid, PhraseMatch, PixelShares

# A label wins where the image has its color. Other labels are far from every color in use.
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0)}


@dataclass
class FakeEmbedding:
    """The image itself."""

    rgb: NDArray[np.uint8]
    stage_ms: dict[str, float] = field(default_factory=dict)


class FakeSegmenter:
    """Labels pixels by the nearest color name, at once. Tests can clear `gate` to hold a frame."""

    weights = "fa" * 32

    def __init__(self, rules: IdRules | None = None, threshold: float = 0.0) -> None:
        self.labels = LabelSet()
        self.rules, self.threshold = rules or IdRules(), threshold
        self.embedded = 0
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.fail_next: Exception | None = None
        self.releases = 0

    def plan(
        self, labels: Sequence[str | LabelSpec], class_ids: Sequence[int] | None = None, *, force: bool = False
    ) -> LabelSet:
        planned = assign(self.labels, as_specs(labels, class_ids), self.rules, now=0.0, force=force)
        check_taught(planned, self.weights, 3)
        for label in planned.labels:
            if len(label.name) > 256:
                raise LabelError(f"the label {label.name[:20]!r} is too long")
        return planned

    def commit(self, planned: LabelSet) -> None:
        self.threads.add(threading.get_ident())
        assert planned.version == self.labels.version + 1
        self.labels = planned

    def embed(self, rgb: NDArray[np.uint8]) -> FakeEmbedding:
        self.threads.add(threading.get_ident())
        self.embedded += 1
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        return FakeEmbedding(rgb, {"preprocess": 0.0, "encode": 0.0})

    def score(self, image: FakeEmbedding) -> Segmentation:
        self.threads.add(threading.get_ident())
        size = image.rgb.shape[0], image.rgb.shape[1]
        pixels = torch.from_numpy(image.rgb.astype(np.float32))
        targets = torch.tensor([COLORS.get(name, (999, 999, 999)) for name in self.labels.names]).float()
        logits = -(pixels[None] - targets[:, None, None]).norm(dim=-1)[None] / 50
        for place, label in enumerate(self.labels.labels):
            if label.taught is not None:  # 10 where a pixel has a color for it, and -10 where it has one against it
                for vectors, logit in ((label.taught.toward, 10.0), (label.taught.against, -10.0)):
                    rows = torch.nn.functional.normalize(pixels, dim=-1) @ torch.tensor(vectors).T
                    logits[0, place][(rows > 0.99).any(-1)] = logit
        return segmentation_of(logits, self.labels, Geometry(size, size, size), size, self.rules, self.threshold)

    def query(self, image: FakeEmbedding, phrases: Sequence[str], output: tuple[int, int]) -> list[PhraseMatch]:
        """A phrase scores 1 where the image has its color and 0 elsewhere, at the image's size."""
        self.threads.add(threading.get_ident())
        found = [(image.rgb == COLORS.get(phrase, (999, 999, 999))).all(-1).astype(np.float32) for phrase in phrases]
        return [PhraseMatch(score, score - 0.5) for score in found]

    def probe(self, image: FakeEmbedding, u: int, v: int, output: tuple[int, int]) -> PixelShares:
        """Returns the shares of `score`. A cosine is 1 where the image has the label's color."""
        if not (0 <= u < output[1] and 0 <= v < output[0]):
            raise LabelError(f"there is no pixel ({u}, {v}) in {output[1]}x{output[0]}; count columns and rows from 0")
        segmentation = self.score(image)
        shares = tuple(float(segmentation.scores(name)[v, u]) for name in self.labels.names)
        rgb = tuple(int(c) for c in image.rgb[v, u])
        return PixelShares(
            tuple(self.labels.names), shares, tuple(float(COLORS.get(n) == rgb) for n in self.labels.names)
        )

    def marked(self, image: FakeEmbedding, marks: Marks, output: tuple[int, int]) -> NDArray[np.float32]:
        """The color of each point and of the first pixel of each box and mask."""
        self.threads.add(threading.get_ident())
        pixels = [*np.asarray(marks.points, np.int64).reshape(-1, 2), *((box[0], box[1]) for box in marks.boxes)]
        pixels += [np.argwhere(mask)[0][::-1] for mask in marks.masks]
        if any(u >= output[1] or v >= output[0] for u, v in pixels):
            raise LabelError("there is no such pixel")
        colors = np.array([image.rgb[v, u] for u, v in pixels], np.float32).reshape(-1, 3)
        return colors / np.linalg.norm(colors, axis=1, keepdims=True)

    @property
    def basis(self) -> NDArray[np.float32]:
        """Coordinates are red and blue, out of three colors."""
        return np.array([[1, 0], [0, 0], [0, 1]], np.float32)

    def feature_grid(self, image: FakeEmbedding) -> FeatureGrid:
        """Returns a cell for each second pixel."""
        self.threads.add(threading.get_ident())
        cells = image.rgb[::2, ::2, ::2].transpose(2, 0, 1).astype(np.float16)
        return FeatureGrid(cells, (image.rgb.shape[0], image.rgb.shape[1]), (0.5, 0.5), (0.0, 0.0))

    def encode_text(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        self.threads.add(threading.get_ident())
        check_phrases(phrases)
        return np.array([COLORS.get(phrase, (9, 9, 9)) for phrase in phrases], np.float32) / np.float32(255)

    def usage(self) -> dict[str, str]:
        return {"device": "none"}

    def release(self) -> None:
        self.releases += 1
