"""Teaches a label by marked pixels: computes vectors of the pixels, and moves the label's rows with them.

The cosine of a pixel with the vector of a similar pixel is far higher than with the right word. If a label simply used
the mean of its marks, it would win almost everywhere against labels with words. So the marks do not replace a label's
rows but move them: just far enough to win at the marks for the label and to lose at those against it. A ridge
regression on top of the words computes the move.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from lseg_ros.inference.features import FeatureMap
from lseg_ros.inference.labels import LabelError
from lseg_ros.inference.lessons import Marks
from lseg_ros.inference.preprocess import Size
from lseg_ros.inference.taught import Taught

# Both were chosen on CamVid's frames; docs/labels.md has the figures.
_MARGIN = 0.1  # cosine by which a label should win or lose at a marked pixel
_RIDGE = 0.25  # relative to a mark's own product; the larger, the less a row moves
_ALIKE = 0.95  # least cosine at which marks of one request share a vector
_MOST_PIXELS = 4096  # most pixels of an area that its mean is computed from


def vectors_of(grid: FeatureMap, marks: Marks, size: Size) -> NDArray[np.float32]:
    """Computes vectors of marked pixels.

    Args:
        grid: The vectors of the image.
        marks: The marked pixels.
        size: Height and width of the picture in which they are marked, such as a mask of the image.

    Returns:
        [n,D] unit rows: one for each mark that differs enough from the others.

    Raises:
        LabelError: A mark is outside of the picture or is empty.
    """
    areas = [_points(marks.points, size)[:, None]]
    areas += [_box(box, size)[None] for box in marks.boxes]
    areas += [_area(mask, size)[None] for mask in marks.masks]
    found = [_mean(grid, pixels, size) for group in areas for pixels in group]
    return _grouped(np.array(found, np.float32)) if found else np.empty((0, len(grid.basis)), np.float32)


def _points(points: ArrayLike, size: Size) -> NDArray[np.int64]:
    """Returns [n,2] of (u, v); raises LabelError for points outside of the picture."""
    found = np.asarray(points)
    if found.size == 0:
        return np.empty((0, 2), np.int64)
    if found.ndim != 2 or found.shape[1] != 2 or found.dtype.kind not in "iu":
        raise LabelError(f"marked points have the shape {found.shape} and the type {found.dtype}; give whole (u, v)")
    outside = ((found < 0) | (found >= np.array(size[::-1]))).any(1)
    if outside.any():
        u, v = found[outside.argmax()]
        raise LabelError(f"there is no pixel ({u}, {v}) in {size[1]}x{size[0]}; count columns and rows from 0")
    return found.astype(np.int64)


def _box(box: tuple[int, int, int, int], size: Size) -> NDArray[np.int64]:
    left, top, width, height = box
    if min(left, top) < 0 or min(width, height) < 1 or left + width > size[1] or top + height > size[0]:
        raise LabelError(f"the box {width}x{height} at ({left}, {top}) is not within {size[1]}x{size[0]} pixels")
    step = max(1, int(np.ceil(np.sqrt(width * height / _MOST_PIXELS))))
    v, u = np.mgrid[top : top + height : step, left : left + width : step]
    return np.stack([u.reshape(-1), v.reshape(-1)], axis=1)


def _area(mask: NDArray[np.bool_], size: Size) -> NDArray[np.int64]:
    if mask.shape != size:
        raise LabelError(
            f"a mask of marked pixels has {'x'.join(map(str, mask.shape[::-1]))} pixels, and the picture "
            f"{size[1]}x{size[0]}; both must be of one size"
        )
    v, u = np.nonzero(mask)
    if not len(u):
        raise LabelError("a mask marks no pixel; mark some")
    step = -(-len(u) // _MOST_PIXELS)
    return np.stack([u[::step], v[::step]], axis=1)


def _mean(grid: FeatureMap, pixels: NDArray[np.int64], size: Size) -> NDArray[np.float32]:
    """Returns [D], the unit vector of the mean of some pixels."""
    scale = np.array(grid.image[::-1]) / np.array(size[::-1])
    places = np.clip((pixels + 0.5) * scale - 0.5, 0, np.array(grid.image[::-1]) - 1)
    mean = grid.at(places).mean(0) @ grid.basis.cpu().numpy().T
    length = float(np.linalg.norm(mean))
    if not length > 1e-3:
        raise LabelError("the marked pixels have nothing in common; mark them one by one")
    return mean / np.float32(length)


def _grouped(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the mean of each group of vectors that are similar to its first one."""
    groups: list[list[NDArray[np.float32]]] = []
    for vector in vectors:
        group = next((group for group in groups if float(group[0] @ vector) >= _ALIKE), None)
        if group is None:
            groups.append([vector])
        else:
            group.append(vector)
    means = np.array([np.mean(group, axis=0) for group in groups], np.float32)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def rows_of(words: Sequence[Tensor], taught: Sequence[Taught | None], basis: Tensor) -> list[Tensor]:
    """Computes the rows of competitors from words and lessons.

    Args:
        words: [k,R] unit rows of the phrases of each competitor; none for one that competes without words.
        taught: What each was taught.
        basis: [D,R], leads from coordinates to the space of the vectors.

    Returns:
        [k,R] rows of each. Those of a taught one may have any length, and one without words has a single row.
    """
    if not any(taught):
        return list(words)
    # Always on the CPU, because the numbers are few and not every device has float64.
    own, device = [rows.cpu() for rows in words], basis.device
    basis = basis.cpu()
    lessons = [None if x is None else (_coordinates(x.toward, basis), _coordinates(x.against, basis)) for x in taught]
    start = [_first(i, own, lessons) for i in range(len(own))]
    return [words[i] if lesson is None else _moved(i, start, lesson).to(device) for i, lesson in enumerate(lessons)]


_Lesson = tuple[Tensor, Tensor] | None


def _coordinates(vectors: NDArray[np.float32], basis: Tensor) -> Tensor:
    """Returns [n,R] unit rows."""
    return functional.normalize(torch.tensor(vectors) @ basis, dim=-1)


def _first(place: int, words: Sequence[Tensor], lessons: Sequence[_Lesson]) -> Tensor:
    """Returns a competitor's words. Without words it is the mean of its marks, scaled to be level with the others."""
    lesson = lessons[place]
    if len(words[place]) or lesson is None:
        return words[place]
    toward = lesson[0]
    mean = functional.normalize(toward.mean(0, keepdim=True), dim=-1)
    rivals = torch.cat([rows for i, rows in enumerate(words) if i != place])
    if not len(rivals):
        return mean
    level = (toward @ rivals.T).amax(1).mean() / (toward @ mean.T).mean()
    return level.clamp(min=0) * mean


def _moved(place: int, start: Sequence[Tensor], lesson: tuple[Tensor, Tensor]) -> Tensor:
    """Returns a competitor's rows, moved to win at its marks and to lose at those against it."""
    toward, against = lesson
    rows = start[place]
    others = [other for i, other in enumerate(start) if i != place]
    if not others:
        return rows
    rivals = torch.cat(others)
    nearest = (toward @ rows.T).argmax(1)
    moved = []
    for i, row in enumerate(rows):
        own = toward[nearest == i]
        wins = ((own @ rivals.T).amax(1) + _MARGIN - own @ row).clamp(min=0)
        loses = ((against @ rivals.T).amax(1) - _MARGIN - against @ row).clamp(max=0)
        marks = torch.cat([own, against])
        if not len(marks):
            moved.append(row)
            continue
        ridge = torch.tensor([_RIDGE * len(toward)] * len(own) + [_RIDGE * len(against)] * len(against))
        products = (marks @ marks.T).double() + ridge.double().diag()
        weights = torch.linalg.solve(products, torch.cat([wins, loses]).double())
        moved.append(row + (weights @ marks.double()).to(row.dtype))
    return torch.stack(moved)
