"""The entries of a training configuration. `lseg_ros.training.config_reader` reads them from YAML."""

from dataclasses import dataclass
from typing import Any

from lseg_ros.model.net import SIZE_STEP
from lseg_ros.training.rules import (
    ABOVE_ZERO,
    ANYTHING,
    CLASSES,
    DATA_SETS,
    DECAY,
    FACTORS,
    FILE_OR_FILES,
    PIXEL_RANGE,
    STEPS,
    TEXT,
    TEXT_OR_TEXTS,
    TEXTS,
    WHOLE_OR_ALL,
    Rule,
    at_least,
    between,
    entry,
    is_whole,
    one_of,
    whole,
)

_CROP = Rule(lambda value: is_whole(value, 1) and value % SIZE_STEP == 0, f"a multiple of {SIZE_STEP} pixels")


@dataclass(frozen=True)
class SourceConfig:
    """One data set of a run.

    Attributes:
        data: The entries that describe it, as for `open_dataset`.
        weight: Relative number of samples that are drawn from it.
    """

    data: dict[str, Any]
    weight: float = 1.0


@dataclass(frozen=True)
class ValidationConfig:
    """The validation of a run.

    Attributes:
        data: The entries that describe the data set, as for `open_dataset`.
        every: Number of steps between two validations.
        images: Number of images to measure, evenly spread; 0 for all.
    """

    data: dict[str, Any]
    every: int
    images: int = 0


@dataclass(frozen=True)
class Run:
    """A run that another run starts from.

    Attributes:
        name: Name of its file, without the suffix.
        config: Its configuration.
    """

    name: str
    config: "TrainConfig"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The content of `config/train/*.yaml`. The table in docs/training.md is made from these fields.

    `read_config` makes and checks it. A run has either `steps` or `epochs`, and either `base_lr` or both `lr` and
    `backbone_lr`.
    """

    variant: str = entry(
        TEXT, "The network: one of `lseg models`, with a head block if wanted (`lseg_vit_l16+bottleneck2`)."
    )
    licence: str = entry(TEXT, "Licence of the weights. It is written into them.")
    seed: int = entry(whole(0), "Seed of everything random.")
    batch: int = entry(whole(1), "Images, or episodes, that one process draws at a time.")
    crop: int = entry(_CROP, "Side of the square crops that the run learns from; a multiple of 32 pixels.")
    sources: dict[str, SourceConfig] = entry(
        DATA_SETS, "The data sets by name. Each has a `weight` (default 1) and the entries that describe it."
    )

    init: tuple[str | Run, ...] = entry(
        TEXT_OR_TEXTS,
        "The first weights. A list: the mean of several. A name that ends in `.yaml`: the result of that "
        "configuration, which lies beside this one.",
        default=(),
        shown="random",
    )
    text_init: str | None = entry(TEXT, "Weights of CLIP's text tower, where `init` has none.", default=None, shown="")
    second_init: str | None = entry(
        TEXT,
        "First weights of the second network, under timm's names; where `init` has none. Its own stages are fitted to "
        "those of `init` that it shares.",
        default=None,
        shown="",
    )
    classifier: dict[int, str] = entry(
        CLASSES,
        "Labels for outputs of the classifier in the weights of `init`, by their number. The head then scores them as "
        "that classifier does, before the first step. For variants with DeepLab's decoder.",
        factory=dict,
        shown="none",
    )
    second_classifier: dict[int, str] = entry(
        CLASSES,
        "Labels for outputs of the classifier in the weights of `second_init`, by their number; 0 stands for none of "
        "the others. Evidence for one of these classes adds to its label from the first step on.",
        factory=dict,
        shown="none",
    )
    frozen: tuple[str, ...] = entry(
        TEXTS, "Names of parts that do not learn, such as `encoder.cnn.blocks.0`.", default=(), shown="none"
    )
    batch_norm: str = entry(
        one_of("frozen", "trained"),
        "BatchNorm of the image encoder: `frozen` keeps the statistics of `init`, `trained` updates them.",
        default="frozen",
    )

    steps: int = entry(whole(1), "Length of the run in steps. Each batch is drawn anew.", default=0, shown="")
    epochs: int = entry(whole(1), "Length of the run in epochs. Each epoch has every image once.", default=0, shown="")
    stop_after: int = entry(
        whole(1), "Epochs after which the run ends. The schedule still counts all `epochs`.", default=0, shown="all"
    )
    accumulate: int = entry(whole(1), "Batches in a step. The step takes the mean of their gradients.", default=1)

    optimizer: str = entry(
        one_of("adamw", "adam", "sgd"), "`adamw`, `adam`, or `sgd` with momentum 0.9.", default="adamw"
    )
    schedule: str = entry(
        one_of("cosine", "poly"),
        "How the learning rates fall: `cosine` to zero, or `poly`, (1 - epoch / epochs) ^ 0.9.",
        default="cosine",
    )
    restarts: tuple[int, ...] = entry(
        STEPS, "Steps at which `cosine` starts again, in ascending order.", default=(), shown="none"
    )
    warmup: int = entry(
        whole(0), "Steps in which the rates rise from 0, at the start and after each restart. For `cosine`.", default=0
    )
    lr: float = entry(ABOVE_ZERO, "Learning rate of the decoder and the head block.", default=0.0, shown="")
    backbone_lr: float | None = entry(
        at_least(0), "Learning rate of the image encoder. 0: it does not learn.", default=None, shown=""
    )
    base_lr: float = entry(
        ABOVE_ZERO,
        "Replaces both: base_lr / 16 x batch for the image encoder, ten times that for the rest.",
        default=0.0,
        shown="",
    )
    text_lr: float = entry(
        at_least(0), "Learning rate of the linear map behind the text encoder, where the network has one.", default=0.0
    )
    weight_decay: float = entry(at_least(0), "Weight decay of all parameters.", default=0.0)
    clip: float = entry(at_least(0), "Largest length of the gradient. Longer ones are cut. 0: no limit.", default=1.0)
    precision: str = entry(
        one_of("float32", "bfloat16", "float16"),
        "Of products and convolutions. `float16` scales its gradients and needs a CUDA device.",
        default="bfloat16",
    )
    ema: float = entry(
        DECAY, "Share that the averaged weights keep in each step, such as 0.999. 0: no averaging.", default=0.0
    )

    augmentation: str = entry(
        one_of("ours", "original"),
        "`ours`: resize by `scale`, crop, mirror, `color`. `original`: mirror, resize to `long_side`, crop.",
        default="ours",
    )
    scale: tuple[float, float] = entry(FACTORS, "Smallest and largest factor of the random resize.", default=(0.5, 2.0))
    color: float = entry(between(0, 2), "Strength of the random changes of light and color, 0 to 2.", default=1.0)
    paste: float = entry(
        between(0, 1),
        "Share of crops that get small things of the crop before pasted in, at the same place. Small things are "
        "labels that cover less than a tenth of that crop.",
        default=0.0,
    )
    long_side: tuple[int, int] = entry(
        PIXEL_RANGE, "Smallest and largest long side in pixels, for `original`.", default=(260, 1040)
    )

    negatives: int | str = entry(
        WHOLE_OR_ALL, "Labels that are absent from a batch and still compete in its softmax.", default="all"
    )
    words: dict[str, list[str]] = entry(
        FILE_OR_FILES,
        "File with more phrases for labels, beside the configuration, or a list of files. The last file that has a "
        "label decides.",
        factory=dict,
        shown="none",
    )
    without: tuple[str, ...] = entry(
        TEXTS,
        "Labels whose pixels are ignored, to measure unseen labels. For sources of `images` and `layers`.",
        default=(),
        shown="none",
    )
    text_noise: float = entry(
        at_least(0),
        "Standard deviation of the noise on each text feature. It makes close phrases count as equal.",
        default=0.0,
    )
    balance: float = entry(between(0, 2), "0: every pixel counts the same. 1: every label does.", default=0.0)
    jaccard: float = entry(at_least(0), "Weight of a second loss, 1 - the mean IoU of the probabilities.", default=0.0)
    pixel_step: int = entry(
        whole(1), "The loss takes every n-th pixel in both directions, from a random corner.", default=1
    )

    validation: ValidationConfig | None = entry(
        ANYTHING,
        "`data` (a data set), `every` (steps) and `images` (at most so many, evenly spread; default all).",
        default=None,
        shown="none",
    )
    broken_files: str = entry(
        one_of("stop", "skip"),
        "`stop` ends the run at a file that cannot be read, and names it. `skip` names it once and takes another "
        "image. It stops when more than a tenth of a source is broken.",
        default="stop",
    )
    workers: int = entry(
        whole(1),
        "Threads that prepare batches in advance. Beside a GPU: processes, up to 8 without being asked.",
        default=1,
    )
    save_every: int = entry(whole(1), "Steps between two saved states.", default=100)

    @property
    def rates(self) -> tuple[float, float]:
        """Learning rates of the image encoder and of the new parts: the decoder and any head block.

        With `base_lr` they are as in the original: base_lr / 16 * batch, and ten times that.
        """
        if self.base_lr:
            encoder = self.base_lr / 16 * self.batch
            return encoder, 10 * encoder
        return self.backbone_lr or 0.0, self.lr
