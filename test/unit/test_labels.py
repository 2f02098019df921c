"""Label sets: ids keep their meaning when labels change."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import (
    IdRules,
    LabelError,
    LabelSet,
    LabelSpec,
    as_specs,
    assign,
    palette_color,
)

RULES = IdRules()


def change(
    before: LabelSet,
    labels: Sequence[str | LabelSpec],
    class_ids: Sequence[int] | None = None,
    rules: IdRules = RULES,
    now: float = 0.0,
    force: bool = False,
) -> LabelSet:
    return assign(before, as_specs(labels, class_ids), rules, now=now, force=force)


def ids(labels: LabelSet) -> dict[str, int]:
    return {label.name: label.class_id for label in labels.labels}


def test_automatic_ids_start_at_one_and_survivors_keep_theirs() -> None:
    first = change(LabelSet(), ["road", "grass", "car"])
    assert ids(first) == {"road": 1, "grass": 2, "car": 3}
    second = change(first, ["car", "tree", "road"])
    assert ids(second) == {"car": 3, "tree": 4, "road": 1}
    assert second.version == first.version + 1
    assert [(r.name, r.class_id) for r in second.retired] == [("grass", 2)]


def test_a_label_that_comes_back_gets_its_id_back() -> None:
    first = change(LabelSet(), ["road", "grass", "car"])
    labels = change(change(first, ["car", "tree"]), ["grass", "car", "tree", "road"])
    assert ids(labels) == {"grass": 2, "car": 3, "tree": 4, "road": 1}
    assert labels.retired == ()


def test_a_retired_id_is_used_again_only_when_no_other_is_free_longest_retired_first() -> None:
    rules = IdRules(max_id=4, unknown_id=4)
    labels = change(LabelSet(), ["a", "b", "c"], rules=rules, now=0)
    labels = change(labels, ["a", "c"], rules=rules, now=1)
    labels = change(labels, ["a"], rules=rules, now=2)
    labels = change(labels, ["a", "d"], rules=rules, now=3)
    assert ids(labels) == {"a": 1, "d": 2}  # b left before c
    assert [r.name for r in labels.retired] == ["c"]


def test_more_labels_than_ids_are_refused() -> None:
    rules = IdRules(max_id=4, unknown_id=4)
    assert len(change(LabelSet(), ["a", "b", "c"], rules=rules).labels) == 3
    with pytest.raises(LabelError, match="the mask encoding has 3"):
        change(LabelSet(), ["a", "b", "c", "d"], rules=rules)


def test_no_automatic_id_is_zero_even_when_it_was_used() -> None:
    labels = change(change(LabelSet(), ["sky"], [0]), ["a"])
    assert [(r.name, r.class_id) for r in labels.retired] == [("sky", 0)]
    with pytest.raises(LabelError, match="has 254"):
        change(labels, [f"label {i}" for i in range(255)])
    assert ids(change(labels, ["sky"])) == {"sky": 0}  # only its own label gets it back


def test_254_labels_fit_mono8() -> None:
    names = [f"label {i}" for i in range(254)]
    assert sorted(ids(change(LabelSet(), names)).values()) == list(range(1, 255))


def test_chosen_ids() -> None:
    labels = change(LabelSet(), ["a", "b"], [7, 0])
    assert ids(labels) == {"a": 7, "b": 0}
    labels = change(labels, [LabelSpec("a"), LabelSpec("c", class_id=1), LabelSpec("d")])
    assert ids(labels) == {"a": 7, "c": 1, "d": 2}


def test_moving_a_survivor_needs_force() -> None:
    labels = change(LabelSet(), ["a", "b"])
    with pytest.raises(LabelError, match="'a' has id 1 and the request moves it to 2"):
        change(labels, ["a", "b"], [2, 1])
    swapped = change(labels, ["a", "b"], [2, 1], force=True)
    assert ids(swapped) == {"a": 2, "b": 1}
    assert swapped.retired == ()  # both ids have an owner again


def test_an_id_of_a_label_that_stays_cannot_be_taken() -> None:
    labels = change(LabelSet(), ["a", "b"])
    with pytest.raises(LabelError, match="id 1 belongs to the label 'a'"):
        change(labels, [LabelSpec("a"), LabelSpec("c", class_id=1)])


def test_quarantine() -> None:
    labels = change(change(LabelSet(), ["a", "b"]), ["a"], now=100.0)
    with pytest.raises(LabelError, match="id 2 belonged to 'b' until 29 s ago"):
        change(labels, ["a", "c"], [1, 2], now=129.0)
    assert ids(change(labels, ["a", "b"], [1, 2], now=101.0)) == {"a": 1, "b": 2}  # it means the same again
    assert ids(change(labels, ["a", "c"], [1, 2], now=101.0, force=True)) == {"a": 1, "c": 2}
    after = change(labels, ["a", "c"], [1, 2], now=131.0)
    assert ids(after) == {"a": 1, "c": 2} and after.retired == ()


def test_a_label_does_not_come_back_under_another_id_while_its_old_one_is_remembered() -> None:
    rules = IdRules(quarantine=30)
    first = assign(LabelSet(), as_specs(["red", "green"]), rules, now=0)
    second = assign(first, as_specs(["green"]), rules, now=10)
    back = as_specs(["green", "red"], [2, 7])
    with pytest.raises(LabelError, match="'red' had id 1 until 5 s ago"):
        assign(second, back, rules, now=15)
    assert assign(second, back, rules, now=15, force=True).labels[1].class_id == 7
    assert assign(second, back, rules, now=41).labels[1].class_id == 7
    assert assign(second, as_specs(["green", "red"], [2, 1]), rules, now=15).labels[1].class_id == 1


def test_ids_that_were_forced_may_be_asked_for_again() -> None:
    labels = change(change(LabelSet(), ["a", "b"], [1, 3]), ["a", "b"], [2, 3], force=True)
    again = change(labels, ["a", "b"], [2, 3])
    assert ids(again) == {"a": 2, "b": 3} and again.retired == labels.retired


def test_a_retired_id_never_has_two_meanings() -> None:
    labels = LabelSet()
    for i in range(40):
        labels = change(labels, [f"x{i}", f"y{i % 7}", f"z{i % 3}"], now=float(i))
        owned = [label.class_id for label in labels.labels] + [r.class_id for r in labels.retired]
        assert len(set(owned)) == len(owned)


def test_background_labels_have_the_unknown_id() -> None:
    labels = change(LabelSet(), [LabelSpec("a"), LabelSpec("other", background=True)])
    assert ids(labels) == {"a": 1, "other": 255}
    promoted = change(labels, ["a", "other"])
    assert ids(promoted) == {"a": 1, "other": 2}
    demoted = change(promoted, [LabelSpec("a"), LabelSpec("other", background=True, class_id=255)])
    assert [(r.name, r.class_id) for r in demoted.retired] == [("other", 2)]


@pytest.mark.parametrize(
    ("labels", "class_ids", "reason"),
    [
        ([], None, "empty"),
        (["a", ""], None, "label 2 of 2 is empty or blank"),
        ([" \t "], None, "empty or blank"),
        (["a", "b", " a"], None, "'a' is there more than once"),
        (["a\x00b"], None, r"'\\x00'"),
        (["a\nb"], None, "control character"),
        ([LabelSpec("a", prompts=("b", " "))], None, "a prompt of the label 'a' is empty"),
        ([LabelSpec("a", threshold=-0.1)], None, "-0.1"),
        ([LabelSpec("a", threshold=float("nan"))], None, "nan"),
        ([LabelSpec("a", background=True)], None, "all labels are background"),
        ([LabelSpec("a"), LabelSpec("b", background=True, class_id=4)], None, "no id of its own"),
        (["a", "b"], [1], "2 labels and 1 class ids"),
        (["a", "b"], [3, 3], "'a' and 'b' both ask for id 3"),
        (["a"], [255], "id 255, which means unknown"),
        (["a"], [256], "holds 0 to 255"),
        (["a"], [-1], "holds 0 to 255"),
    ],
)
def test_refused_with_a_reason(labels: list[str | LabelSpec], class_ids: list[int] | None, reason: str) -> None:
    before = change(LabelSet(), ["kept"])
    with pytest.raises(LabelError, match=reason) as caught:
        change(before, labels, class_ids)
    assert "\n" not in str(caught.value)


def test_names_are_trimmed_and_otherwise_kept_byte_for_byte() -> None:
    labels = change(LabelSet(), ["  Person, dog, or Cat ", "道路"])
    assert labels.names == ["Person, dog, or Cat", "道路"]
    assert labels.labels[0].prompts == ("Person, dog, or Cat",)


def test_palette_is_that_of_pascal_voc() -> None:
    assert [palette_color(i) for i in (0, 1, 2, 3, 15, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (192, 128, 128),
        (224, 224, 192),
    ]


def test_label_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text(
        "labels:\n- sky\n- {name: plant, prompts: [bush, tree], class_id: 7, threshold: 0.4, color: [0, 200, 0]}\n"
        "- {name: other, background: true}\n"
    )
    assert read_label_file(path) == [
        LabelSpec("sky"),
        LabelSpec("plant", 7, ("bush", "tree"), 0.4, False, (0, 200, 0)),
        replace(LabelSpec("other"), background=True),
    ]


def test_an_empty_key_counts_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text("labels:\n- {name: sky, prompts: , class_id: , threshold: , background: , color: }\n")
    assert read_label_file(path) == [LabelSpec("sky")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("labels: [", "cannot be read"),
        ("- sky", "needs a list under 'labels'"),
        ("labels: [sky, 2024-02-30]", "cannot be read: day is out of range"),
        ("labels: [{name: sky, class_id: !!int ''}]", "cannot be read"),
        ("labels: [{prompt: sky}]", "with 'name'"),
        ("labels: [{name: sky, id: 3}]", "unknown key 'id'"),
        ("labels: [{name: sky, class_id: three}]", "cannot be used"),
        ("labels: [{name: sky, class_id: 3.7}]", "3.7 is not a whole number"),
        ("labels: [{name: sky, class_id: true}]", "True is not a whole number"),
        ("labels: [{name: sky, prompts: blue}]", "'blue' is not a list of texts"),
        ("labels: [{name: sky, background: 'no'}]", "'no' is not true or false"),
        ("labels: " + 3000 * "[" + 3000 * "]", "cannot be read"),
        ("labels: [{name: sky, color: [1, 2]}]", "cannot be used"),
        ("labels: [{name: sky, color: [1, 2, 256]}]", "0 to 255"),
    ],
)
def test_bad_label_files(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    with pytest.raises(LabelError, match=reason) as caught:
        read_label_file(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
