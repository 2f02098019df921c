"""Data, schedules and initial weights of the original's recipes and ours, on tiny networks."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny import BACKBONE, TINY, TINY_SECOND, tiny_net, without_counts
from torch.nn import functional
from training_run import BLOCKS, CONFIG, write_data

from lseg_ros.data import pascal5i
from lseg_ros.data.ade20k import original_labels
from lseg_ros.data.augmentation import augment_as_original, paste, random_view
from lseg_ros.data.common import IGNORE, Sample, package_lines
from lseg_ros.model import weights
from lseg_ros.model.backbone import network, stages, stem
from lseg_ros.model.deeplab import Context
from lseg_ros.model.text import Clip, build_text_encoder
from lseg_ros.model.variants import VARIANTS, ClipText, Decoder, HeadBlock, VitBackbone
from lseg_ros.model.weights import own_state
from lseg_ros.training import batches, trainer
from lseg_ros.training.config import SourceConfig, TrainConfig
from lseg_ros.training.config_reader import read_config
from lseg_ros.training.optimise import build_optimizer, lr_factor
from lseg_ros.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_is_known")

CONFIGS = Path(__file__).parents[2] / "config" / "train"
TEXT = ClipText(width=16, layers=1, heads=2)
TINY_CLIP = replace(TINY, name="tiny_clip", text=TEXT)
assert isinstance(TINY.decoder, Decoder)
TINY_VIT = replace(
    TINY_CLIP,
    name="tiny_vit",
    backbone=VitBackbone(
        width=16, depth=4, heads=2, patch=16, grid=4, taps=(0, 1, 2, 3), channels=(8, 8, 8, 8), scale=(4, 2, 1, 0.5)
    ),
    decoder=replace(TINY.decoder, upsample=(2, 2, 2, 2), separable=False),
)


@pytest.fixture(autouse=True)
def more_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for variant in (TINY_CLIP, TINY_VIT, TINY_SECOND):
        monkeypatch.setitem(VARIANTS, variant.name, variant)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The colored blocks; a CLIP with OpenAI's names; a vision transformer and a CNN with timm's."""
    folder = write_data(tmp_path / "data")
    torch.manual_seed(5)
    clip = {key: tensor.half() for key, tensor in Clip(TEXT, 16).tower.state_dict().items()}
    save_file(clip | {"visual.proj": torch.zeros(3), "logit_scale": torch.zeros(1)}, folder / "clip.safetensors")
    save_file({f"text.{key}": tensor for key, tensor in clip.items()}, folder / "open_clip.safetensors")
    save_file(timm_vit(), folder / "vit.safetensors")
    return folder


def timm_vit() -> dict[str, torch.Tensor]:
    """A checkpoint of timm's VisionTransformer with seeded values."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(6)
    return VisionTransformer(
        img_size=64, patch_size=16, embed_dim=16, depth=4, num_heads=2, num_classes=10, qkv_bias=True
    ).state_dict()


def recipe(name: str, **changes: Any) -> TrainConfig:
    """A shipped configuration with a tiny network."""
    return replace(read_config(CONFIGS / f"{name}.yaml"), validation=None, workers=1, **changes)


# --- the schedule and the optimisers


def test_the_originals_rates() -> None:
    config = recipe("original_ade20k")
    assert config.rates == pytest.approx((2.5e-4, 2.5e-3))
    assert recipe("original_pascal5i").rates == pytest.approx((5e-3, 5e-2))
    steps = 240 * 50
    factors = [lr_factor(config, step, steps) for step in (0, 49, 50, 99, 6000, steps - 1)]
    assert factors == pytest.approx([1, 1, (239 / 240) ** 0.9, (239 / 240) ** 0.9, 0.5**0.9, (1 / 240) ** 0.9])


def test_cosine_with_warm_up() -> None:
    config = replace(CONFIG, steps=110, warmup=10)
    factors = [lr_factor(config, step, 110) for step in (0, 4, 9, 10, 60, 110)]
    assert factors == pytest.approx([0.1, 0.5, 1, 1, 0.5, 0])


def test_cosine_that_restarts() -> None:
    config = replace(CONFIG, steps=310, warmup=10, restarts=(110, 200))
    first = replace(config, steps=110, restarts=())
    assert [lr_factor(config, step, 310) for step in range(110)] == [lr_factor(first, step, 110) for step in range(110)]
    factors = [lr_factor(config, step, 310) for step in (110, 119, 120, 160, 199, 200, 210, 260, 310)]
    assert factors == pytest.approx([0.1, 1, 1, 0.5, 0.0004, 0.1, 1, 0.5, 0], abs=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("sgd", {"momentum": 0.9, "dampening": 0, "nesterov": False, "weight_decay": 1e-4}),
        ("adam", {"betas": (0.9, 0.999), "weight_decay": 1e-4}),
        ("adamw", {"betas": (0.9, 0.999), "weight_decay": 1e-4}),
    ],
)
def test_what_is_trained_at_which_rate(optimizer: str, expected: dict[str, object]) -> None:
    variant = replace(TINY_VIT, head_block=HeadBlock("bottleneck", 1), text_projection=True)
    net = weights.LSegNet(variant, build_text_encoder(variant))
    config = recipe("original_ade20k", optimizer=optimizer, text_lr=0.5)
    groups = build_optimizer(net, config).param_groups
    names = {parameter: name for name, parameter in net.named_parameters()}
    found = [({names[p].split(".")[0] for p in group["params"]}, group["lr"]) for group in groups]
    parts = [({"encoder"}, 2.5e-4), ({"decoder"}, 2.5e-3), ({"head_block"}, 2.5e-3), ({"text_projection"}, 0.5)]
    assert found == [(part, pytest.approx(rate)) for part, rate in parts]
    for group in groups:
        assert group.items() >= expected.items()
    trained = {names[p] for group in groups for p in group["params"]}
    assert {name for name in names.values() if name not in trained} == {
        name for name in names.values() if name.startswith("text_encoder.")
    }


@pytest.mark.numeric
def test_accumulation_is_the_mean_over_batches(data: Path, tmp_path: Path) -> None:
    """One step of plain SGD, computed from the losses of its two batches."""
    config = replace(CONFIG, optimizer="sgd", precision="float32", accumulate=2, steps=1, warmup=0, clip=0.0)
    run, other = (Trainer(config, data, tmp_path / name) for name in ("a", "b"))
    before = {name: p.detach().clone() for name, p in run.net.named_parameters()}
    trainer.set_modes(other.net, "frozen")
    loss = (other.objective(other.batches.batch(0)) + other.objective(other.batches.batch(1))) / 2
    loss.backward()
    run.run()
    for name, p in run.net.named_parameters():
        rate = config.rates[name.startswith("decoder")]
        gradient = other.net.get_parameter(name).grad
        assert gradient is not None
        torch.testing.assert_close(p.detach(), before[name] - rate * gradient)


@pytest.mark.parametrize("mode", ["frozen", "trained"])
def test_batch_norm_of_the_backbone(data: Path, tmp_path: Path, mode: str) -> None:
    run = Trainer(replace(CONFIG, batch_norm=mode, steps=1, warmup=0), data, tmp_path)
    before = {k: v.clone() for k, v in run.net.state_dict().items() if k.endswith("running_mean")}
    run.run()
    moved = {k.split(".")[0] for k, v in before.items() if not torch.equal(v, run.net.state_dict()[k])}
    assert moved == ({"decoder"} if mode == "frozen" else {"encoder", "decoder"})


@pytest.mark.numeric
def test_float32_is_the_papers_loss(data: Path, tmp_path: Path) -> None:
    run = Trainer(replace(CONFIG, precision="float32", negatives="all", pixel_step=1), data, tmp_path)
    run.net.eval()
    batch = run.batches.batch(0)
    (part,) = batch.parts
    expected = functional.cross_entropy(run.net(batch.images, part.text), part.target, ignore_index=IGNORE)
    torch.testing.assert_close(run.objective(batch), expected, rtol=1e-5, atol=1e-6)


# --- what batches are made of


def test_each_epoch_has_every_image_once(data: Path, tmp_path: Path) -> None:
    """This also holds if two processes with two batches each share a step."""
    sources = {"one": SourceConfig(BLOCKS), "two": SourceConfig({**BLOCKS, "leave_out": ["0.png"]})}
    config = replace(CONFIG, steps=0, epochs=3, batch=3, sources=sources, stop_after=2)
    run = Trainer(config, data, tmp_path)
    assert (run.steps, run.last) == (12, 8)  # 11 images in batches of three
    for together, numbers in ((1, 4), (4, 4)):
        orders = []
        for epoch in (0, 1):
            drawn = []
            for number in range(epoch * numbers, (epoch + 1) * numbers):
                parts = run.batches._drawn(number, together, np.random.default_rng(0))
                drawn += [(name, index) for name, places in parts for index in places]
            assert len(drawn) == 12 and len(set(drawn)) == 11, "the last batch is filled up with one that was there"
            orders.append(drawn)
        assert orders[0] != orders[1]


def picture(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A ramp to the right, and a mask that shows where the ramp is above its middle."""
    ramp = np.linspace(40, 250, size[1]).astype(np.uint8)[None].repeat(size[0], 0)
    return ramp[..., None].repeat(3, -1), (ramp > 145).astype(np.uint8)


@pytest.mark.parametrize("kind", ["ours", "original"])
def test_crops_and_their_masks_stay_together(kind: str) -> None:
    sample = picture((50, 70))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        if kind == "ours":
            image, mask = random_view(sample, rng, 64, (0.5, 1.5))
        else:
            image, mask = augment_as_original(sample, rng, 64, (40, 120))
        assert image.shape == (64, 64, 3) and mask.shape == (64, 64)
        known = mask != IGNORE
        assert ((image[..., 0] > 145)[known] == (mask[known] == 1)).mean() > 0.95
        assert (image[~known] == 0).all() and (image[known] > 0).all()


def test_a_network_may_begin_with_the_mean_of_others(data: Path, tmp_path: Path) -> None:
    states = {name: tiny_net(seed).state_dict() for name, seed in (("one", 1), ("two", 2))}
    for name, state in states.items():
        save_file(state, data / f"{name}.safetensors")
    net = Trainer(replace(CONFIG, init=("one.safetensors", "two.safetensors")), data, tmp_path).net
    for key, tensor in own_state(net).items():
        torch.testing.assert_close(tensor.float(), (states["one"][key].float() + states["two"][key].float()) / 2)
    save_file({key: t for key, t in states["two"].items() if key != "decoder.head.bias"}, data / "two.safetensors")
    with pytest.raises(ValueError, match=r"one\.safetensors and .*two\.safetensors hold other tensors, so they"):
        Trainer(replace(CONFIG, init=("one.safetensors", "two.safetensors")), data, tmp_path)


def test_small_things_are_pasted_where_they_were() -> None:
    onto = np.full((20, 20, 3), 10, np.uint8), np.full((20, 20), 1, np.uint8)
    other = np.full((20, 20, 3), 200, np.uint8), np.full((20, 20), 2, np.uint8)
    other[1][:3, :5], other[1][5:8, :5], other[1][10:12, 10:12] = 3, 4, IGNORE
    seen = set()
    for seed in range(40):
        image, mask = paste(onto, other, np.random.default_rng(seed))
        assert ((image == 200).all(-1) == (mask != 1)).all() and ((image == 10).all(-1) == (mask == 1)).all()
        assert (mask[mask != 1] == other[1][mask != 1]).all()
        seen.add(tuple(np.unique(mask).tolist()))
    assert seen == {(1,), (1, 3), (1, 4), (1, 3, 4)}, "neither what is large nor what is ignored"
    assert (onto[1] == 1).all() and (onto[0] == 10).all(), "it is pasted onto a copy"


def test_crops_are_pasted_from_the_one_before(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pasted: list[tuple[Sample, Sample]] = []

    def note(onto: Sample, of: Sample, rng: np.random.Generator) -> Sample:
        pasted.append((onto, of))
        return onto

    monkeypatch.setattr(batches, "paste", note)
    for share, expected in ((0.0, 0), (1.0, 3)):
        Trainer(replace(CONFIG, batch=4, paste=share), data, tmp_path).batches.batch(0)
        assert len(pasted) == expected
    for (view, _), (_, before) in pairwise(pasted):
        assert before is view, "what was seen, before anything was pasted onto it"


def test_the_originals_crops() -> None:
    image, mask = picture((50, 70))
    grown, _ = augment_as_original((image, mask), np.random.default_rng(0), 160, (140, 140))
    inside = grown[:100, :140]
    assert (grown[100:] == 0).all() and (grown[:, 140:] == 0).all(), "padding is at the right and below"
    expected = np.array(Image.fromarray(image).resize((140, 100), Image.Resampling.BILINEAR))
    mirrored = [
        bool((augment_as_original((image, mask), np.random.default_rng(s), 160, (140, 140))[0][0, 0] > 145).all())
        for s in range(200)
    ]
    assert 70 < sum(mirrored) < 130
    np.testing.assert_array_equal(inside, expected[:, ::-1] if mirrored[0] else expected)
    sides = [
        int((augment_as_original((image, mask), np.random.default_rng(s), 64, (20, 40))[0] > 0).any((0, 2)).sum())
        for s in range(400)
    ]
    assert set(sides) == set(range(20, 41)), "every long side, the limits too"


# --- whole recipes


def ade20k(folder: Path) -> None:
    root = folder / "ADEChallengeData2016"
    for part in ("images", "annotations"):
        (root / part / "training").mkdir(parents=True)
    rng = np.random.default_rng(1)
    for i in range(4):
        mask = rng.integers(0, 151, (4, 6)).astype(np.uint8).repeat(80, 0).repeat(80, 1)
        Image.fromarray(mask).save(root / "annotations" / "training" / f"{i}.png")
        Image.fromarray(mask[..., None].repeat(3, -1)).save(root / "images" / "training" / f"{i}.jpg")


def test_the_original_on_ade20k(data: Path, tmp_path: Path) -> None:
    """The shipped recipe with a tiny network of the same kind: a ViT, and CLIP's text tower."""
    ade20k(data)
    changes = {"variant": "tiny_vit", "init": ("vit.safetensors",), "text_init": "clip.safetensors"}
    config = recipe("original_ade20k", epochs=2, crop=64, batch=2, long_side=(64, 128), **changes)
    run = Trainer(config, data, tmp_path / "out")
    text_before = {k: v.clone() for k, v in run.net.text_encoder.state_dict().items()}
    batch = run.batches.batch(0)
    (part,) = batch.parts
    assert batch.images.shape == (2, 3, 64, 64) and part.target.shape == (2, 64, 64) and part.text.shape == (150, 16)
    texts = run.net.encode_text([phrase for (phrase,) in original_labels()])
    assert len(texts.unique(dim=0)) == 149, "'screen' is there twice"
    distances = torch.cdist(texts, part.text, compute_mode="donot_use_mm_for_euclid_dist")
    assert max(distances.min(0).values.max(), distances.min(1).values.max()) < 1e-5, "all labels compete"
    assert run.last == 2 and run.ema is None  # two epochs of four images, two times two in a step
    run.run()
    assert all(torch.equal(v, text_before[k]) for k, v in run.net.text_encoder.state_dict().items())
    assert run.optimizer.param_groups[1]["lr"] == pytest.approx(0.04 / 16 * 2 * 0.5**0.9)


EPISODE = np.array([[0, 0, 255, 6], [0, 6, 6, 7]], np.uint8)


def pascal(folder: Path) -> list[str]:
    """Writes three pictures of PASCAL VOC, of the class 'bus'. Returns their lines in the lists."""
    lines = [line for line in package_lines("splits/pascal/trn/fold1.txt") if line.endswith("__06")][:3]
    for part in ("JPEGImages", "SegmentationClassAug"):
        (folder / "VOC2012" / part).mkdir(parents=True)
    for line in lines:
        name, mask = line.split("__")[0], EPISODE.repeat(10, 0).repeat(10, 1)
        Image.fromarray(mask[..., None].repeat(3, -1)).save(folder / "VOC2012" / "JPEGImages" / f"{name}.jpg")
        Image.fromarray(mask).save(folder / "VOC2012" / "SegmentationClassAug" / f"{name}.png")
    return lines


@pytest.mark.numeric
def test_the_originals_episodes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped recipe with a tiny network of the same kind, on the episodes whose pictures exist."""
    lines = pascal(data)
    changes = {"variant": "tiny_clip", "init": ("init.safetensors",), "text_init": "open_clip.safetensors"}
    run = Trainer(recipe("original_pascal5i", crop=64, batch=2, **changes), data, tmp_path / "out")
    assert (run.steps, run.last) == (200 * 5697, 4 * 5697)  # 11394 episodes
    monkeypatch.setattr(pascal5i, "package_lines", lambda path: lines if "splits" in path else package_lines(path))
    run = Trainer(recipe("original_pascal5i", crop=64, batch=2, **changes), data, tmp_path / "out")
    assert len(run.batches.sources["episodes"]) == 9 and run.last == 4 * 5
    batch = run.batches.batch(0)
    assert batch.images.shape == (4, 3, 64, 64) and len(batch.parts) == 2
    for part in batch.parts:
        assert part.target.shape == (2, 64, 64) and set(part.target.unique().tolist()) <= {0, 1}, "no 255"
        torch.testing.assert_close(part.text, run.net.encode_text(["others", "bus"]))
        for target in part.target:  # nothing is cropped or mirrored
            np.testing.assert_array_equal(target, (EPISODE == 6).repeat(32, 0).repeat(16, 1))
    logits = [run.net.eval()(batch.images[i : i + 2], batch.parts[i // 2].text) for i in (0, 2)]
    expected = functional.cross_entropy(torch.cat(logits), torch.cat([part.target for part in batch.parts]))
    torch.testing.assert_close(run.objective(batch), expected, rtol=1e-4, atol=1e-5)
    run.run()


# --- initial weights


def test_a_vision_transformer_under_timms_names(data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, variant="tiny_vit", crop=64, init=("vit.safetensors",), text_init="clip.safetensors")
    state, net = timm_vit(), Trainer(config, data, tmp_path).net
    own = net.encoder.state_dict()
    for key in own:
        theirs = key.replace("patch_embed.", "patch_embed.proj.")
        assert key.startswith("reassemble.") or torch.equal(own[key], state[theirs]), key
    one, other = (Trainer(replace(config, seed=s), data, tmp_path).net.encoder.state_dict() for s in (1, 2))
    same = {key.split(".")[0] for key in one if torch.equal(one[key], other[key])}
    assert {"blocks", "pos_embed", "cls_token", "patch_embed"} <= same, "and the reassembly begins at random"
    save_file({k: v for k, v in state.items() if "blocks.2" not in k}, data / "part.safetensors")
    with pytest.raises(ValueError, match=r"part\.safetensors lacks encoder\.blocks\.2\.\S+ and 11 more tensors of the"):
        Trainer(replace(config, init=("part.safetensors",)), data, tmp_path)
    save_file(state | {"pos_embed": torch.zeros(1, 10, 16)}, data / "other.safetensors")
    with pytest.raises(ValueError, match=r"encoder\.pos_embed has the shape \(1, 10, 16\) instead of \(1, 17, 16\)"):
        Trainer(replace(config, init=("other.safetensors",)), data, tmp_path)


def test_a_text_encoder_from_clip(data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, variant="tiny_clip")
    with pytest.raises(ValueError, match="the text encoder of tiny_clip stays as it is in training, and so needs"):
        Trainer(config, data, tmp_path)
    nets = [
        Trainer(replace(config, text_init=f"{name}.safetensors"), data, tmp_path).net for name in ("clip", "open_clip")
    ]
    one, other = (net.text_encoder.state_dict() for net in nets)
    torch.manual_seed(5)
    expected = Clip(TEXT, 16).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert all(torch.equal(one[key], expected[key].half().float()) for key in one)
    save_file({"ln_final.weight": torch.ones(16)}, data / "part.safetensors")
    with pytest.raises(
        ValueError, match=r"part\.safetensors lacks text_encoder\.tower\.\S+ and \d+ more tensors of the"
    ):
        Trainer(replace(config, text_init="part.safetensors"), data, tmp_path)
    # A run goes on from the weights of another, which bring their text encoder along.
    path = Trainer(replace(config, text_init="clip.safetensors", steps=1, warmup=0), data, tmp_path / "out").run()
    again = Trainer(replace(config, init=(str(path),)), data, tmp_path).net
    assert torch.equal(again.text_encoder.state_dict()["tower.ln_final.weight"], one["tower.ln_final.weight"])
    torch.save({"state_dict": {f"net.{k}": v for k, v in original_names(again).items()}}, data / "lseg.ckpt")
    text_only = Trainer(replace(config, text_init="lseg.ckpt"), data, tmp_path).net
    assert all(torch.equal(text_only.text_encoder.state_dict()[key], one[key]) for key in one)
    assert not torch.equal(text_only.decoder.head.weight, again.decoder.head.weight)


def original_names(net: Any) -> dict[str, torch.Tensor]:
    """Returns the text tower with the original's names, and a tensor by which these are recognized."""
    tower = {f"clip_pretrained.{k}": v for k, v in net.text_encoder.tower.state_dict().items()}
    return tower | {"scratch.head1.weight": net.decoder.head.weight.detach()}


def test_other_initial_weights(data: Path, tmp_path: Path) -> None:
    assert not torch.equal(
        Trainer(replace(CONFIG, init=()), data, tmp_path).net.encoder.state_dict()["cnn.conv_stem.weight"],
        tiny_net().encoder.state_dict()["cnn.conv_stem.weight"],
    )
    save_file({"head.weight": torch.zeros(1)}, data / "init.safetensors")
    with pytest.raises(ValueError, match=r"init\.safetensors lacks encoder\.cnn\.conv_stem\.weight and"):
        Trainer(CONFIG, data, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no weights file at .*nowhere\.pt"):
        Trainer(replace(CONFIG, init=("nowhere.pt",)), data, tmp_path)
    with pytest.raises(ValueError, match="'frozen' holds 'encoder.nothing'"):
        Trainer(replace(CONFIG, init=(), frozen=("encoder.nothing",)), data, tmp_path)


def test_a_run_with_a_second_network(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(data))
    torch.manual_seed(7)
    networks = {name: network(BACKBONE).eval() for name in ("first", "second")}
    for name, net in networks.items():
        context = Context(stages(net)[-1][-1].conv_pwl.out_channels, 12).state_dict()
        logits = {"logits.weight": torch.randn(4, 12, 1, 1), "logits.bias": torch.zeros(4)}
        tensors = {f"deeplab.{key}": tensor for key, tensor in (context | logits).items()}
        save_file(without_counts(net) | tensors, data / f"{name}.safetensors")
    config = replace(
        CONFIG,
        variant=TINY_SECOND.name,
        init=("first.safetensors",),
        second_init="~/second.safetensors",
        second_classifier={1: "red thing", 2: "green thing", 3: "blue thing"},
        steps=3,
        ema=0,
    )
    run = Trainer(config, data, tmp_path / "run")
    monkeypatch.setattr(trainer, "join_second", lambda *_: None)
    apart = Trainer(config, data, tmp_path / "apart")
    images = run.batches.batch(0).images
    errors = []
    with torch.no_grad():
        former = stages(networks["second"])[:3](stem(networks["second"], images))
        for own in (run.net, apart.net):
            encoder: Any = own.encoder
            shared = stages(encoder.cnn)[:3](stem(encoder.cnn, images))
            error = encoder.second[0](shared) - stages(networks["second"])[3](former)
            errors.append(float(error.square().mean()))
    assert errors[0] < 0.7 * errors[1]
    assert run.run().is_file()
    monkeypatch.delattr(trainer, "join_second")
    monkeypatch.delattr(trainer, "begin_with_evidence")
    continued = Trainer(config, data, tmp_path / "run")
    continued.resume()
    assert continued.finished
    for name, tensor in own_state(run.net).items():
        assert torch.equal(tensor, own_state(continued.net)[name]), name
