"""Few-shot episodes on data sets made by the tests in the layouts of their originals.

The pinned episodes are those of lang-seg's own fewshot_data/data/*.py after `np.random.seed(0)`.
"""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lseg_ros.data.coco20i import Coco20i, read_split
from lseg_ros.data.common import IGNORE, package_lines
from lseg_ros.data.episodes import Draw, EpisodeSet, Split
from lseg_ros.data.fss1000 import Fss1000
from lseg_ros.data.pascal5i import Pascal5i


def put(image: Path, mask: Path, ids: Any) -> None:
    """Writes a gray image and a mask with given ids."""
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.array(ids, np.uint8)
    Image.fromarray(np.full((*ids.shape[:2], 3), 90, np.uint8)).save(image)
    Image.fromarray(ids).save(mask)


@pytest.fixture
def pascal(tmp_path: Path) -> Path:
    voc = tmp_path / "VOC2012"
    for name in ("2007_000033", "2010_001174", "2007_000648"):
        put(voc / "JPEGImages" / f"{name}.jpg", voc / "SegmentationClassAug" / f"{name}.png", [[0, 1, 6, 255]])
    return tmp_path


def test_pascal_episodes_of_the_original(pascal: Path) -> None:
    episodes = Pascal5i(pascal, 0, "test", shots=1)
    assert len(episodes) == 1000 and episodes.class_ids == [0, 1, 2, 3, 4]
    assert [episodes.draw(i) for i in (0, 1, 346, 999)] == [
        Draw(0, "2007_000033", ("2010_001174",)),
        Draw(3, "2007_000061", ("2007_005705",)),
        Draw(0, "2007_000033", ("2010_003716",)),  # the list has 346 lines and begins again
        Draw(2, "2011_000185", ("2007_007084",)),
    ]
    assert Pascal5i(pascal, 3, "val", shots=1).draw(1) == Draw(18, "2007_000123", ("2007_003587",))
    assert Pascal5i(pascal, 0, "test", shots=1, seed=1).draw(0).shots != ("2010_001174",)


def test_a_split_of_another_name_is_refused(pascal: Path) -> None:
    """Any other name than 'trn' would select the held-out classes."""
    with pytest.raises(ValueError, match="there is no split 'train'; there are trn, val, test"):
        Pascal5i(pascal, 0, "train")  # type: ignore[arg-type]


def test_pascal_boundaries_are_ignored_in_tests_only(pascal: Path) -> None:
    test = Pascal5i(pascal, 0, "test", shots=1).episode(0)
    assert (test.class_id, test.class_name, test.labels) == (0, "aeroplane", ["others", "aeroplane"])
    assert test.image.shape == (1, 4, 3) and test.mask.tolist() == [[0, 1, 0, IGNORE]]
    assert [mask.tolist() for _, mask in test.shots] == [[[0, 1, 0, IGNORE]]]
    train = Pascal5i(pascal, 0, "trn").episode(0)
    assert (train.class_name, train.mask.tolist(), train.shots) == ("bus", [[0, 0, 1, 0]], ())


@pytest.mark.parametrize(("fold", "length"), [(0, 11394), (1, 10255), (2, 7797), (3, 11594)])
def test_pascal_trains_on_the_other_folds(pascal: Path, fold: int, length: int) -> None:
    episodes = Pascal5i(pascal, fold, "trn", shots=1)
    held_out = set(range(5 * fold, 5 * fold + 5))
    assert len(episodes) == length and set(episodes.class_ids) == set(range(20)) - held_out
    drawn = [episodes.draw(i) for i in range(0, length, 97)]
    assert not held_out & {draw.class_id for draw in drawn}
    assert all(draw.query not in draw.shots for draw in drawn)
    first, next_epoch = episodes.draw(0), episodes.draw(length)
    assert episodes.draw(0) == first and next_epoch.query == first.query and next_epoch.shots != first.shots


def coco_image(split: str, class_id: int, number: int) -> str:
    return f"{split}2014/COCO_{split}2014_{class_id:06}{number:06}.jpg"


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Class c has c + 2 images. The pictures of one class exist."""
    for fold in range(4):
        for name, split in (("trn", "train"), ("val", "val")):
            own = {c for c in range(80) if (c % 4 == fold) == (name == "val")}
            lists = {c: [coco_image(split, c, i) for i in range(c + 2)] if c in own else [] for c in range(80)}
            path = tmp_path / "splits" / "coco" / name / f"fold{fold}.pkl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(lists, protocol=2 + fold % 3))
    root = tmp_path / "COCO2014"
    for i in range(74):
        file = coco_image("val", 72, i)
        put(root / file, root / "annotations" / Path(file).with_suffix(".png"), [[0, 73, 72, 255]])
    return tmp_path


def original_coco_draws(fold: int, shots: int, count: int) -> list[Draw]:
    """Repeats the calls of `load_frame` in lang-seg's fewshot_data/data/coco.py on the lists of the fixture."""
    np.random.seed(0)
    class_ids = [fold + 4 * v for v in range(20)]
    files = {c: [coco_image("val", c, i) for i in range(c + 2)] for c in class_ids}
    draws = []
    for _ in range(count):
        class_sample = np.random.choice(class_ids, 1, replace=False)[0]
        query_name = np.random.choice(files[class_sample], 1, replace=False)[0]
        support_names: list[str] = []
        if shots:
            while True:
                support_name = np.random.choice(files[class_sample], 1, replace=False)[0]
                if query_name != support_name:
                    support_names.append(str(support_name))
                if len(support_names) == shots:
                    break
        draws.append(Draw(int(class_sample), str(query_name), tuple(support_names)))
    return draws


@pytest.mark.parametrize("fold", range(4))
@pytest.mark.parametrize("shots", [0, 1, 5])
def test_coco_episodes_of_the_original(coco: Path, fold: int, shots: int) -> None:
    episodes = Coco20i(coco, fold, "test", shots)
    assert len(episodes) == 1000 and episodes.class_ids == list(range(fold, 80, 4))
    assert [episodes.draw(i) for i in range(1000)] == original_coco_draws(fold, shots, 1000)


def test_coco_episodes_with_and_without_a_shot_differ(coco: Path) -> None:
    without, one = (Coco20i(coco, 0, "test", shots) for shots in (0, 1))
    assert without.draw(0).query == one.draw(0).query == coco_image("val", 72, 2)
    assert [without.draw(i).query for i in range(1, 9)] != [one.draw(i).query for i in range(1, 9)]


def test_coco_pictures(coco: Path) -> None:
    episode = Coco20i(coco, 0, "test", shots=1).episode(0)
    assert (episode.class_id, episode.labels) == (72, ["others", "refrigerator"])
    assert episode.mask.tolist() == [[0, 1, 0, 0]] and len(episode.shots) == 1
    train = Coco20i(coco, 0, "trn", shots=1)
    assert len(train) == sum(c + 2 for c in range(80) if c % 4)
    drawn = [train.draw(i) for i in range(400)]
    assert {draw.class_id for draw in drawn} == set(train.class_ids) == {c for c in range(80) if c % 4}
    assert train.draw(7) == drawn[7]
    with pytest.raises(FileNotFoundError, match=r"train2014.COCO_.*jpg is missing; expected is COCO2014/"):
        train.episode(0)


class Runs:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (Path("touched"),)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({0: Runs()}),
        pickle.dumps({0: [b"a"]}),
        b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".",  # a place in the memo that would take 32 GB
        b"\x80\x02}X" + struct.pack("<I", 2**31) + b"abc.",  # text longer than the file
        b"\x80\x02]q\x00h\x00a.",  # a list that holds itself
        pickle.dumps({0: ["../../val2014/a.jpg"]}),
        pickle.dumps({"0": ["val2014/a.jpg"]}),
        pickle.dumps([["val2014/a.jpg"]]),
        b"\x80\x02a.",
        b"\x80\x02h\x07.",
        b"",
        b"not a pickle",
    ],
)
def test_split_lists_of_another_kind_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fold0.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"fold0\.pkl is not one of HSNet's split lists: \w"):
        read_split(tmp_path / "fold0.pkl")
    assert not (tmp_path / "touched").exists()


def test_coco_split_lists_without_a_class(coco: Path) -> None:
    (coco / "splits" / "coco" / "val" / "fold0.pkl").write_bytes(pickle.dumps({0: [coco_image("val", 0, 0)], 4: []}))
    with pytest.raises(ValueError, match=r"fold0\.pkl lists no image of class 4 \(aeroplane\)"):
        Coco20i(coco, 0, "test")


def test_a_class_of_one_image_has_no_shots(coco: Path) -> None:
    lists = {c: [coco_image("val", c, 0)] for c in range(80)}
    (coco / "splits" / "coco" / "val" / "fold0.pkl").write_bytes(pickle.dumps(lists))
    assert Coco20i(coco, 0, "test").draw(0).query == coco_image("val", 72, 0)
    with pytest.raises(ValueError, match="is the only image of its class"):
        Coco20i(coco, 0, "test", shots=1).draw(0)


@pytest.fixture
def fss(tmp_path: Path) -> Path:
    """The test and validation classes. One has pictures, the others have empty files."""
    for label in package_lines("labels/fewshot_fss.txt")[520:]:
        folder = tmp_path / "FSS-1000" / label
        folder.mkdir(parents=True)
        for i in range(1, 11):
            for suffix in ("jpg", "png"):
                (folder / f"{i}.{suffix}").touch()
    folder = tmp_path / "FSS-1000" / "abe's_flyingfish"
    for i in (1, 10):
        put(folder / f"{i}.jpg", folder / f"{i}.png", [[[v] * 3 for v in (0, 127, 128, 255)]])
    return tmp_path


def test_fss_episodes_of_the_original(fss: Path) -> None:
    zero, one, two = (Fss1000(fss, "test", shots) for shots in (0, 1, 2))
    assert (len(zero), len(one), len(two)) == (2400, 2160, 2400)
    assert zero.class_ids == list(range(760, 1000))
    fish = "abe's_flyingfish"
    assert [zero.draw(i) for i in (0, 1)] == [Draw(760, f"{fish}/1.jpg", ()), Draw(760, f"{fish}/10.jpg", ())]
    assert [one.draw(i) for i in (0, 1)] == [Draw(760, f"{fish}/{q}.jpg", (f"{fish}/1.jpg",)) for q in (10, 2)]
    assert two.draw(0).shots == (f"{fish}/3.jpg", f"{fish}/4.jpg")
    validation = Fss1000(fss, "val", 1)
    assert [validation.draw(i) for i in (0, 1, 2399)] == [
        Draw(520, "ab_wheel/1.jpg", ("ab_wheel/3.jpg",)),
        Draw(520, "ab_wheel/10.jpg", ("ab_wheel/4.jpg",)),
        Draw(759, "yonex_icon/9.jpg", ("yonex_icon/5.jpg",)),
    ]


def test_fss_pictures(fss: Path) -> None:
    episode = Fss1000(fss, "test", 1).episode(0)
    assert episode.labels == ["others", "abe's_flyingfish"]
    assert episode.mask.tolist() == [[0, 0, 1, 1]] and episode.mask.dtype == np.uint8
    (_, shot_mask) = episode.shots[0]
    assert shot_mask.tolist() == [[0, 0, 1, 1]]
    folder = fss / "FSS-1000" / "abe's_flyingfish"
    (folder / "10.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"10\.png cannot be decoded as a mask"):
        Fss1000(fss, "test", 1).episode(0)
    (folder / "10.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"10\.png is missing; expected is FSS-1000/<class>"):
        Fss1000(fss, "test", 1).episode(0)
    put(folder / "10.jpg", folder / "10.png", [[0, 255]])
    put(folder / "10.jpg", folder / "other.png", [[0, 255, 0]])
    with pytest.raises(ValueError, match=r"10\.png is \(1, 2\) pixels and its image \(1, 3\)"):
        Fss1000(fss, "test", 1).episode(0)
    for path in folder.glob("*.jpg"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="flyingfish holds no images"):
        Fss1000(fss, "test")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: Pascal5i(root, 0, "trn"), r"VOC2012.JPEGImages is missing; expected is VOC2012/JPEGImages/"),
        (lambda root: Coco20i(root, 0, "trn"), r"COCO2014 is missing; expected is COCO2014/\{train2014,val2014\}"),
        (lambda root: Fss1000(root, "trn"), r"FSS-1000 is missing; expected is FSS-1000/<class>/\{1\.\.10\}\.jpg"),
    ],
)
def test_missing_sets_are_named_with_the_layout(
    tmp_path: Path, make: Callable[[Path], EpisodeSet], sentence: str
) -> None:
    with pytest.raises(FileNotFoundError, match=sentence):
        make(tmp_path)


@pytest.mark.parametrize("split", ["trn", "test"])
def test_there_are_four_folds(pascal: Path, coco: Path, split: Split) -> None:
    with pytest.raises(ValueError, match="there is no fold 4; there are 0, 1, 2 and 3"):
        Pascal5i(pascal, 4, split)
    with pytest.raises(ValueError, match="there is no fold -1"):
        Coco20i(coco, -1, split)
