"""The log of a run: log.jsonl, TensorBoard's curves and two plots."""

import json
import logging
from pathlib import Path
from types import TracebackType
from typing import Any

from lseg_ros.files import replacing

logger = logging.getLogger(__name__)


class RunLog:
    """Writes one line of JSON for each call of `add`, and the same figures to TensorBoard."""

    def __init__(self, folder: Path, step: int) -> None:
        """Opens the log of a run that starts or continues.

        Args:
            folder: The run's folder. It gets log.jsonl, tensorboard/, loss.png and miou.png.
            step: The step at which the run continues. Lines of later steps are dropped, because these steps come again.
        """
        self.folder, self.path = folder, folder / "log.jsonl"
        kept = [line for line in read_log(self.path) if line["step"] <= step]
        with replacing(self.path) as part:
            part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._board = _open_board(folder / "tensorboard", step)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.close()

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Logs figures of a step."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)

    def plot(self) -> None:
        """Draws loss.png, and miou.png where there was a validation."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            logger.warning(
                "no plots, because matplotlib is not installed; run in the folder of lseg_ros: pip install '.[train]'"
            )
            return
        lines = read_log(self.path)
        for name, keys, file in (("loss", ["loss"], "loss.png"), ("", ["mean_iou", "pixel_accuracy"], "miou.png")):
            figure = Figure(figsize=(8, 4.5), layout="constrained")
            axes = figure.add_subplot(xlabel="step", ylabel=name)
            for key in keys:
                points = [(line["step"], line[key]) for line in lines if key in line]
                if points:
                    axes.plot(*zip(*points, strict=True), label=key.replace("_", " "), marker="." if not name else "")
            if axes.lines:
                axes.legend()
                axes.grid(alpha=0.3)
                with replacing(self.folder / file) as part:
                    figure.savefig(part)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Reads the lines of a log. A line that was cut short is left out."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue  # a run was killed while it wrote this one
    return lines


def _open_board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.warning(
            "no TensorBoard, because it is not installed; run in the folder of lseg_ros: pip install '.[train]'"
        )
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
