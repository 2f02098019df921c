"""The label files that come with the package."""

import re
from pathlib import Path

import pytest

from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import IdRules, LabelSet, LabelSpec, assign

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config" / "labels"
FILES = {path.stem: path for path in FOLDER.glob("*.yaml")}
# Made for robots that change between them on the way, unlike ade20k.
INTERCHANGEABLE = ["driving", "indoor", "outdoor"]
BACKGROUND = {
    "ade20k": set[str](),
    "driving": set[str](),
    "indoor": {"ceiling", "lamp", "other"},
    "outdoor": {"sky", "other"},
}


def read(name: str) -> list[LabelSpec]:
    return read_label_file(FILES[name])


def in_force(name: str) -> LabelSet:
    return assign(LabelSet(), read(name), IdRules())


def test_these_files_are_there() -> None:
    assert sorted(FILES) == sorted(BACKGROUND)


@pytest.mark.parametrize("name", BACKGROUND)
def test_ids_and_colors_are_fixed_and_unlike(name: str) -> None:
    visible = [label for label in in_force(name).labels if not label.background]
    asked = {spec.name: spec.class_id for spec in read(name) if not spec.background}
    assert {label.name: label.class_id for label in visible} == asked  # none is left to chance
    assert len({label.class_id for label in visible}) == len(visible)
    assert len({label.color for label in visible}) == len(visible)
    assert min(label.class_id for label in visible) >= 1  # 0 is "nothing" elsewhere
    assert max(label.class_id for label in visible) < 255  # a byte holds them beside the unknown id


@pytest.mark.parametrize("name", BACKGROUND)
def test_background_labels(name: str) -> None:
    assert {label.name for label in in_force(name).labels if label.background} == BACKGROUND[name]


@pytest.mark.parametrize("name", BACKGROUND)
def test_no_phrase_stands_for_two_labels(name: str) -> None:
    phrases = [phrase for label in in_force(name).labels for phrase in label.prompts]
    assert len(set(phrases)) == len(phrases)


@pytest.mark.parametrize("before", INTERCHANGEABLE)
@pytest.mark.parametrize("after", INTERCHANGEABLE)
def test_these_change_into_one_another_at_once_without_force(before: str, after: str) -> None:
    labels = assign(in_force(before), read(after), IdRules(), now=0.0)
    assert {x.name: x.class_id for x in labels.labels} == {x.name: x.class_id for x in in_force(after).labels}


def test_these_have_the_same_colors() -> None:
    meanings: dict[int, set[tuple[str, tuple[int, int, int]]]] = {}
    for name in INTERCHANGEABLE:
        for label in in_force(name).labels:
            if not label.background:
                meanings.setdefault(label.class_id, set()).add((label.name, label.color))
    assert [found for found in meanings.values() if len(found) > 1] == []
    colors = [color for found in meanings.values() for _, color in found]
    assert len(set(colors)) == len(colors)


def test_ade20k_has_the_names_of_the_benchmark_in_its_order() -> None:
    lines = (ROOT / "lseg_ros" / "data" / "labels" / "ade20k.txt").read_text().splitlines()
    specs = read("ade20k")
    assert [(spec.class_id, spec.name) for spec in specs] == [(i, x.split(";")[0]) for i, x in enumerate(lines, 1)]
    for spec, line in zip(specs, lines, strict=True):
        assert set(spec.prompts) <= set(line.split(";"))
        assert not spec.prompts or spec.prompts[0] == spec.name


def test_driving_has_the_ids_of_cityscapes_plus_one() -> None:
    names = (
        "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, "
        "rider, car, truck, bus, train, motorcycle, bicycle"
    )
    assert [(spec.class_id, spec.name) for spec in read("driving")] == list(enumerate(names.split(", "), 1))


def test_the_docs_show_a_label_file_and_files_that_exist(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "labels.md").read_text()
    example = tmp_path / "example.yaml"
    example.write_text(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    assert [spec.name for spec in read_label_file(example)] == ["sky", "plant", "other"]
    for page in ("labels", "mapping", "nav2"):
        text = (ROOT / "docs" / f"{page}.md").read_text()
        for path in re.findall(r"config/[\w/.]+[\w]", text) + [
            f"docs/{x}" for x in re.findall(r"\]\((\w+\.md)\)", text)
        ]:
            assert (ROOT / path).exists(), f"docs/{page}.md names {path}"


def test_the_docs_count_the_labels_of_each_file() -> None:
    rows = re.findall(
        r"\| `(\w+)\.yaml` \| (\d+)(?: and (\d+) background)? \|", (ROOT / "docs" / "labels.md").read_text()
    )
    counted = {name: (int(visible), int(background or 0)) for name, visible, background in rows}
    for name, background in BACKGROUND.items():
        assert counted[name] == (len(read(name)) - len(background), len(background))
