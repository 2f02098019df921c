"""How the text encoder reads labels: two as one phrase, nothing of one, or words of another language."""

import numpy as np
import pytest
from tiny import HashText, tiny_net

from lseg_ros import Segmenter
from lseg_ros.inference.labels import IdRules, LabelError, LabelSet, LabelSpec, as_specs, assign
from lseg_ros.inference.reading import check_told_apart, remarks
from lseg_ros.model.text import Clip, MiniLm, load_minilm
from lseg_ros.model.variants import ClipText


@pytest.fixture(scope="module")
def minilm() -> MiniLm:
    return load_minilm()


def planned(*labels: str | LabelSpec) -> LabelSet:
    return assign(LabelSet(), as_specs(labels), IdRules())


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["Sky", "sky"], "'Sky' and 'sky' are one phrase to the text encoder; keep one of them"),
        (["sky", "sky\u200b"], r"'sky' and 'sky\\u200b' are one phrase"),
        (["caf\u00e9", "cafe\u0301"], "are one phrase"),
        (["tree", LabelSpec("wood", prompts=("forest", "Tree"))], "'tree' and 'Tree' of 'wood' are one phrase"),
        (["\U0001f697", "\U0001f3e0"], "the text encoder knows neither .* use English words"),
        (["road", "\u200b"], "has nothing that the text encoder reads"),
    ],
)
def test_labels_that_the_encoder_reads_alike_are_refused(
    minilm: MiniLm, labels: list[str | LabelSpec], reason: str
) -> None:
    with pytest.raises(LabelError, match=reason):
        check_told_apart(planned(*labels), minilm)


def test_prompts_of_one_label_may_be_alike(minilm: MiniLm) -> None:
    check_told_apart(planned(LabelSpec("sky", prompts=("sky", "Sky")), "tree", "trees"), minilm)


def test_clip_reads_case_alike_too() -> None:
    clip = Clip(ClipText(16, 2, 2), 8)
    with pytest.raises(LabelError, match="are one phrase"):
        check_told_apart(planned("Sky", "sky"), clip)
    check_told_apart(planned("\U0001f697", "\U0001f3e0"), clip)


def test_words_that_are_not_english_are_remarked_on(minilm: MiniLm) -> None:
    found = remarks(
        planned("sky", "stra\u00dfe", "\U0001f697", "\u5929\u7a7a", "\u043d\u0435\u0431\u043e", "t-junction 2"), minilm
    )
    assert len(found) == 3
    assert "'\U0001f697' has characters that the text encoder does not know" in found[0]
    assert "'\u5929\u7a7a' is not English" in found[1] and "'\u043d\u0435\u0431\u043e'" in found[2]


class LowerCase(HashText):
    """A text encoder that ignores case, as the real ones do."""

    def tokens(self, phrase: str) -> tuple[int, ...]:
        return tuple(phrase.lower().encode())

    def knows(self, phrase: str) -> bool:
        return phrase.isascii()


def segmenter() -> Segmenter:
    net = tiny_net()
    net.text_encoder = LowerCase()
    return Segmenter(net, "cpu")


def test_the_segmenter_refuses_and_keeps_its_labels(caplog: pytest.LogCaptureFixture) -> None:
    one = segmenter()
    before = one.set_labels(["sky", "tree"])
    with pytest.raises(LabelError, match="one phrase"):
        one.set_labels(["Sky", "sky"])
    assert one.labels == before and not caplog.records
    one.set_labels(["sky", "b\u00e4ume"])
    assert "does not know" in caplog.text


def test_a_phrase_does_not_compete_with_itself_in_another_case() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    one = segmenter()
    one.set_labels(["sky", "tree"])
    image = one.embed(rgb)
    same, other = one.query(image, ["sky", "SKY"], (64, 96))
    # They have other vectors here, as they have not with a real encoder; but both leave out the label sky.
    assert same.score.mean() != other.score.mean()
    one.set_labels(["Other"])
    assert one.segment(rgb).confidence.min() == 1  # the contrast phrase "other" is left out
