"""DeepLab's decoder, the wide maps that it uses, and a head that starts as a classifier, on small random networks."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from tiny import BACKBONE, TINY, TINY_DEEPLAB, TINY_SECOND, HashText, without_counts
from torch import Tensor
from torch.nn import functional

from lseg_ros.model.backbone import network, stages, stem
from lseg_ros.model.deeplab import DeepLabDecoder, Evidence
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
from lseg_ros.model.net import LSegNet
from lseg_ros.model.reader import CheckpointError, read_weights
from lseg_ros.model.variants import from_json, to_json
from lseg_ros.training.closed_form import begin_as_classifier, begin_with_evidence, fit_head, join_second
from lseg_ros.training.initialise import initialise

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def tiny_deeplab() -> LSegNet:
    torch.manual_seed(0)
    return LSegNet(TINY_DEEPLAB, HashText()).eval()


def tiny_second() -> LSegNet:
    torch.manual_seed(0)
    return LSegNet(TINY_SECOND, HashText()).eval()


def decoder_of(net: LSegNet) -> DeepLabDecoder:
    return cast(DeepLabDecoder, net.decoder)


def evidence_of(net: LSegNet) -> Evidence:
    evidence = decoder_of(net).evidence
    assert evidence is not None
    return evidence


def test_a_variant_with_this_decoder_is_written_and_read() -> None:
    assert from_json(to_json(TINY_DEEPLAB)) == TINY_DEEPLAB


def test_the_wide_map_is_what_the_last_block_of_a_stage_narrows() -> None:
    net = tiny_deeplab()
    plain = LSegNet(replace(TINY, backbone=replace(BACKBONE, taps=(1, 4), widened=())), HashText()).encoder.eval()
    plain.load_state_dict(net.encoder.state_dict())
    seen: list[Tensor] = []
    cast(Any, plain.cnn).blocks[1][-1].conv_pwl.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        expected, found = [*plain(IMAGES), *seen], net.encoder(IMAGES)
    assert net.encoder.channels == [level.shape[1] for level in found]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_embedding_is_at_stride_4_and_the_refinement_adds_nothing_at_first() -> None:
    net = tiny_deeplab()
    decoder = decoder_of(net)
    with torch.no_grad():
        fine, deep, wide = net.encoder(IMAGES)
        found = decoder([fine, deep, wide])
        classified = decoder.classified(deep, wide)
        expected = functional.interpolate(
            decoder.head(decoder.reduce(classified)), scale_factor=2, mode="bilinear", align_corners=False
        )
    assert classified.shape == (2, 12, 8, 12) and found.shape == (2, 16, 16, 24)
    torch.testing.assert_close(found, expected)


def test_a_second_network_shares_the_first_stages() -> None:
    assert from_json(to_json(TINY_SECOND)) == TINY_SECOND
    net = tiny_second()
    encoder, decoder = cast(Any, net.encoder), decoder_of(net)
    with torch.no_grad():
        *maps, second = encoder(IMAGES)
        assert encoder.channels == [level.shape[1] for level in (*maps, second)] and second.shape[2:] == (2, 3)
        shared = encoder.cnn.blocks[:3](encoder.cnn.bn1(encoder.cnn.conv_stem(IMAGES)))
        torch.testing.assert_close(second, encoder.second(shared))
        before = decoder([*maps, second])
        torch.testing.assert_close(before, decoder([*maps, torch.zeros_like(second)]))  # it adds nothing at first
        for layer in (evidence_of(net).project, evidence_of(net).linear):
            torch.nn.init.normal_(layer.weight)
            assert not torch.allclose(before, decoder([*maps, second]), atol=1e-3)
            torch.nn.init.zeros_(layer.weight)
    with pytest.raises(ValueError, match="second_classes is 0; with a second network it is 1 or more"):
        LSegNet(replace(TINY_SECOND, decoder=TINY_DEEPLAB.decoder), HashText())


def test_only_evidence_for_a_class_adds_something() -> None:
    evidence = evidence_of(tiny_second())
    deep = torch.randn(1, evidence.context.aspp0.in_channels, 2, 3, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.nn.init.normal_(evidence.project.weight)
        scores = evidence.classifier(evidence.context(deep))
        evidence.classifier.bias -= scores.amax((0, 2, 3)) + 0.1  # every class is unlikely everywhere
        assert not evidence(deep).any()
        evidence.classifier.bias[1] += 1
        expected = functional.interpolate(
            evidence.classifier(evidence.context(deep))[:, 1:2], scale_factor=4, mode="bilinear", align_corners=False
        ).relu()
        assert expected.any()
        weight = evidence.project.weight[:, 1, 0, 0]
        torch.testing.assert_close(evidence(deep), expected * weight[:, None, None])


def test_coordinates_have_the_cosines_of_the_embedding() -> None:
    net = tiny_deeplab()
    torch.nn.init.normal_(decoder_of(net).unit.bn2.weight)
    text = net.encode_text(["road", "sky", "grass"])
    with torch.no_grad():
        encoder = FusedEncoderDecoder(net)
        ours = torch.einsum("brhw,nr->bnhw", encoder(IMAGES), text @ encoder.basis)
        plain = torch.einsum("bdhw,nd->bnhw", net.encode_image(IMAGES), text)
    torch.testing.assert_close(ours, plain, rtol=0, atol=2e-6)


def test_a_fitted_head_ranks_texts_as_the_classifier_ranks_classes() -> None:
    net = tiny_deeplab()
    texts = net.embed_text(["road", "sky", "grass", "car", "wall"])
    with torch.no_grad():
        _, deep, wide = net.encoder(IMAGES)
        features = decoder_of(net).classified(deep, wide)
        weight = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
        bias = -weight @ features.mean((0, 2, 3))  # each class wins somewhere
        fit_head(decoder_of(net), torch.cat([weight, bias[:, None]], dim=1), list(texts.split(1)))
        expected = functional.conv2d(features, weight[:, :, None, None], bias).argmax(1)
        found = torch.einsum("bdhw,nd->bnhw", net.decoder.head(decoder_of(net).reduce(features)), texts).argmax(1)
    assert len(expected.unique()) > 2
    assert (expected == found).float().mean() > 0.95


@pytest.fixture
def classifier_file(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.safetensors"
    weight = torch.randn(4, 12, 1, 1, generator=torch.Generator().manual_seed(2))
    save_file({"deeplab.logits.weight": weight, "deeplab.logits.bias": torch.zeros(4)}, path)
    return path


def test_phrases_of_a_label_are_fitted_with_it(classifier_file: Path) -> None:
    net = tiny_deeplab()
    begin_as_classifier(net, classifier_file, {1: "road", 3: "sky"}, {"sky": ["sky", "clouds"]})
    text = net.embed_text(["road", "sky", "clouds"])
    with torch.no_grad():
        _, deep, wide = net.encoder(IMAGES)
        embedding = net.decoder.head(decoder_of(net).reduce(decoder_of(net).classified(deep, wide)))
        road, sky, clouds = torch.einsum("bdhw,nd->nbhw", embedding, text)
    # Of two classes, less their mean, one has what the other lacks; the ridge takes a little of it.
    torch.testing.assert_close(sky, clouds, rtol=0.1, atol=0.1 * float(sky.abs().max()))
    torch.testing.assert_close(sky, -road, rtol=0.2, atol=0.2 * float(sky.abs().max()))


def test_what_has_no_classifier_is_refused(classifier_file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="4 classes; 'classifier' names the class 4"):
        begin_as_classifier(tiny_deeplab(), classifier_file, {4: "road"}, {})
    save_file({"deeplab.logits.bias": torch.zeros(4)}, tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match=r"none\.safetensors has no deeplab\.logits\.weight"):
        begin_as_classifier(tiny_deeplab(), tmp_path / "none.safetensors", {1: "road"}, {})
    other = LSegNet(TINY, HashText())
    with pytest.raises(ValueError, match="'classifier' is for variants with DeepLab's decoder, and tiny has another"):
        begin_as_classifier(other, classifier_file, {1: "road"}, {})


def test_evidence_for_a_class_adds_to_its_label_first(classifier_file: Path) -> None:
    net, words = tiny_second(), {"road": ["road"], "sky": ["sky"], "tree": ["tree"]}
    torch.nn.init.normal_(net.decoder.head.weight)
    begin_with_evidence(net, classifier_file, {1: "car", 2: "dog", 3: "cat"}, words)
    evidence = evidence_of(net)
    weight = read_weights(classifier_file)[0]["deeplab.logits.weight"]
    torch.testing.assert_close(evidence.classifier.weight, weight[1:] - weight[:1])
    torch.testing.assert_close(evidence.classifier.bias, torch.full((3,), 2.0))  # from log odds of -2 on
    labels = ["car", "dog", "cat", "road", "sky", "tree"]
    with torch.no_grad():
        of_label = net.encode_text(labels) @ net.decoder.head.weight[:, :, 0, 0] @ evidence.project.weight[:, :, 0, 0]
    assert of_label.argmax(0).tolist() == [0, 1, 2]


def test_evidence_that_does_not_fit_is_refused(classifier_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a second network, unlike tiny_deeplab"):
        begin_with_evidence(tiny_deeplab(), classifier_file, {1: "car", 2: "dog", 3: "cat"}, {})
    for wrong in ({1: "car", 3: "cat"}, {0: "none", 1: "car", 3: "cat"}):
        named = f"names the outputs {', '.join(map(str, wrong))}; tiny_deeplab needs 3, without 0"
        with pytest.raises(ValueError, match=named):
            begin_with_evidence(tiny_second(), classifier_file, wrong, {})
    save_file(
        {"deeplab.logits.weight": torch.ones(2, 12, 1, 1), "deeplab.logits.bias": torch.ones(2)}, tmp_path / "two"
    )
    with pytest.raises(CheckpointError, match="into 2 classes; 'second_classifier' names the class 3"):
        begin_with_evidence(tiny_second(), tmp_path / "two", {1: "car", 2: "dog", 3: "cat"}, {})


def test_the_second_network_begins_with_weights_of_its_own(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source, net = LSegNet(TINY_SECOND, HashText()), LSegNet(TINY_SECOND, HashText())
    other = network(BACKBONE)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    with torch.no_grad():
        cast(Any, source.encoder).second.load_state_dict(stages(other)[3:].state_dict())
    context = {f"deeplab.{name}": value for name, value in decoder_of(source).context.state_dict().items()}
    save_file({**cast(Any, source.encoder).cnn.state_dict(), **context}, first)
    context = {f"deeplab.{name}": value for name, value in evidence_of(source).context.state_dict().items()}
    save_file({**other.state_dict(), **context}, second)

    initialise(net, [first], second_init=second)
    for part in ("encoder", "decoder.context", "decoder.evidence.context"):
        torch.testing.assert_close(net.get_submodule(part).state_dict(), source.get_submodule(part).state_dict())
    with pytest.raises(CheckpointError, match=r"first\.safetensors lacks encoder\.second"):
        initialise(net, [first])
    with pytest.raises(ValueError, match="'second_init' is second.safetensors, and tiny_deeplab has no second network"):
        initialise(tiny_deeplab(), [], second_init=second)


def test_the_second_network_is_fitted_to_the_stages_that_it_shares(tmp_path: Path) -> None:
    """Its former stages give a linear map of what the shared stages give, so a fit can undo the difference."""
    net = tiny_second()
    encoder = cast(Any, net.encoder)
    former = network(BACKBONE).eval()
    with torch.no_grad():
        former.load_state_dict(encoder.cnn.state_dict())
        for block in stages(former)[2]:
            block.bn3.weight *= 1.5
        for block in stages(former)[2][1:]:
            block.conv_pw.weight /= 1.5
        encoder.second.load_state_dict(stages(former)[3:].state_dict())
        expected = encoder.second(stages(former)[:3](stem(former, IMAGES)))
        before = encoder(IMAGES)[-1]
        save_file(without_counts(former), tmp_path / "second.safetensors")
        join_second(net, tmp_path / "second.safetensors", [IMAGES])
        after = encoder(IMAGES)[-1]
    assert not torch.allclose(before, expected, rtol=0, atol=0.1 * float(expected.std()))
    torch.testing.assert_close(after, expected, rtol=0, atol=0.02 * float(expected.std()))


def test_a_second_network_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    save_file({"conv_stem.weight": torch.zeros(16, 3, 3, 3)}, tmp_path / "second.safetensors")
    with pytest.raises(CheckpointError, match="second.safetensors lacks bn1.weight, a part of mobilenetv2_035"):
        join_second(tiny_second(), tmp_path / "second.safetensors", [IMAGES])
    with pytest.raises(ValueError, match="tiny_deeplab has no second network"):
        join_second(tiny_deeplab(), tmp_path / "second.safetensors", [IMAGES])
