"""Networks of torchvision as the branch, small ones where the size does not matter."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn

from kneeal.build.network import load_backbone
from kneeal.errors import UserError
from kneeal.nn.backbones import VGG_LIKE, Backbone, check_side, fetch_weights, published_weights
from kneeal.nn.mc_dropout import MonteCarloDropout
from kneeal.nn.network import SiameseKneeNet

SMALL = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def resnet() -> SiameseKneeNet:
    torch.manual_seed(0)
    return SiameseKneeNet(backbone="resnet18")


def knees(n: int = 3, side: int = 32) -> torch.Tensor:
    return torch.rand(n, 2, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_head_sees_both_patches_through_one_resnet18(resnet: SiameseKneeNet) -> None:
    x = knees()
    with torch.no_grad():
        output = resnet.eval()(x)
        # By torchvision's own parts, in the order of its paper.
        m, gray = resnet.branch.model, ((x[:, 1:] + 1) / 2).expand(-1, 3, -1, -1)
        rgb = (gray - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
            :, None, None
        ]
        y = m.maxpool(m.relu(m.bn1(m.conv1(rgb))))
        lateral = m.layer4(m.layer3(m.layer2(m.layer1(y)))).mean((2, 3))
    assert output.features.shape == (3, 1024) and output.logits.shape == (3, 5)
    torch.testing.assert_close(output.features[:, 512:], lateral)
    assert resnet.branch.classifier == ("fc",) and not any("fc" in name for name in resnet.state_dict())


@pytest.mark.parametrize(
    ("name", "classifier", "n_features"),
    [(SMALL, "fc", 1024), ("squeezenet1_1", "classifier.1", 512), ("mobilenet_v3_small", "classifier.3", 1024)],
)
def test_one_mechanism_finds_every_classifier(name: str, classifier: str, n_features: int) -> None:
    with torch.device("meta"):
        backbone = Backbone(name)
        assert backbone(torch.zeros(2, 1, 64, 64)).shape == (2, n_features)
    assert (backbone.classifier, backbone.n_features) == ((classifier,), n_features)


def test_dropout_samples_compute_the_backbone_once_and_leave_its_statistics(resnet: SiameseKneeNet) -> None:
    resnet.train()
    before = {name: b.clone() for name, b in resnet.named_buffers()}
    passes: list[tuple[bool, int]] = []
    handle = resnet.branch.model.conv1.register_forward_hook(
        lambda module, _, out: passes.append((module.training, len(out)))
    )
    plain = MonteCarloDropout(resnet, 4, output=lambda output: output.logits, reuse_prefix=False, samples_per_pass=1)
    clever = MonteCarloDropout(resnet, 4, output=lambda output: output.logits)
    samples = clever(knees())
    n = len(knees())
    # A look at the first knee in training mode, for dropout that cannot be drawn; then one pass for all samples.
    assert [training for training, _ in passes] == [True, False]
    assert passes[1][1] == n * passes[0][1]
    torch.testing.assert_close(plain(knees()), samples)
    handle.remove()
    assert len(passes) == 2 + 1 + 4
    assert samples.std(dim=1).max() > 0  # the masks differ
    assert all(torch.equal(b, before[name]) for name, b in resnet.named_buffers())
    assert resnet.training and resnet.branch.model.bn1.training


def test_one_knee_is_enough_for_a_training_step(resnet: SiameseKneeNet) -> None:
    resnet.train()(knees(1)).logits.sum().backward()
    assert all(p.grad is not None for p in resnet.parameters())
    resnet.zero_grad()


@pytest.mark.parametrize("kind", ["pth", "nested.pth", "safetensors"])
def test_weights_of_torchvision_are_taken_but_for_the_classifier(tmp_path: Path, kind: str) -> None:
    from safetensors.torch import save_file
    from torchvision.models import get_model

    torch.manual_seed(3)
    weights = get_model(SMALL, weights=None).state_dict()  # with the classifier of its 1,000 classes
    file = tmp_path / f"w.{kind}"
    if kind == "safetensors":
        save_file(weights, file)
    else:
        torch.save({"model": weights} if "nested" in kind else weights, file)
    network = SiameseKneeNet(backbone=SMALL)
    head = network.classifier.weight.clone()
    load_backbone(network, file)
    loaded = network.branch.model.state_dict()
    assert set(weights) - set(loaded) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(w, weights[name]) for name, w in loaded.items())
    assert torch.equal(network.classifier.weight, head)


def test_older_names_in_the_weights_that_torchvision_publishes_for_densenet() -> None:
    backbone = Backbone("densenet121")
    weights = {name: torch.full_like(w, 0.5) for name, w in backbone.model.state_dict().items()}
    backbone.load({re.sub(r"(denselayer\d+\.[a-z]+)([12]\.)", r"\1.\2", name): w for name, w in weights.items()})
    assert all(bool((w == 0.5).all()) for name, w in backbone.model.state_dict().items() if w.is_floating_point())


def test_files_that_do_not_fit_are_one_message(tmp_path: Path) -> None:
    network = SiameseKneeNet(backbone=SMALL)
    before = {name: w.clone() for name, w in network.state_dict().items()}
    weights = network.branch.model.state_dict()
    cut = {name: w for name, w in weights.items() if name != "conv1.0.weight"}
    wrong = {
        "cut.pth": (cut, "conv1.0.weight"),
        "more.pth": ({**weights, "odd": torch.zeros(1)}, "odd"),
        "shape.pth": ({**weights, "conv1.0.weight": torch.zeros(1)}, "size mismatch"),
        "list.pth": ([1, 2], "does not hold tensors by name"),
        "code.pth": (nn.Linear(1, 1), "torch did not write it, or it is damaged"),
    }
    for name, (content, message) in wrong.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(UserError, match=message):
            load_backbone(network, tmp_path / name)
    (tmp_path / "broken.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(UserError, match="holds no weights"):
        load_backbone(network, tmp_path / "broken.safetensors")
    with pytest.raises(UserError, match=r"model\.backbone = vgg_like"):
        load_backbone(SiameseKneeNet(width=1), tmp_path / "cut.pth")
    assert before.keys() == network.state_dict().keys()


def test_a_missing_file_names_the_one_to_fetch(tmp_path: Path) -> None:
    network = SiameseKneeNet(backbone=SMALL)
    with pytest.raises(UserError) as caught:
        load_backbone(network, tmp_path / "none.pth")
    address = published_weights(SMALL)
    assert address.endswith(".pth") and SMALL.rsplit("_", 1)[0].split("_")[0] in address
    assert address in caught.value.cure and str(tmp_path / "none.pth") in caught.value.found


@pytest.mark.filterwarnings("ignore:The default weight initialization")  # of torchvision's GoogLeNet
def test_a_name_that_torchvision_does_not_have() -> None:
    with pytest.raises(UserError) as caught:
        SiameseKneeNet(backbone="resnet_18")
    assert "resnet18" in caught.value.cure
    with pytest.raises(UserError, match="classifiers"), torch.device("meta"):
        Backbone("googlenet")


def test_the_patch_size_is_what_the_network_takes() -> None:
    check_side(VGG_LIKE, 8)
    state = torch.get_rng_state()
    check_side("regnet_y_400mf", 32)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(UserError) as caught:
        check_side("squeezenet1_1", 16)
    assert caught.value.cure == "set data.patch_size=24"


@pytest.mark.parametrize(
    ("name", "side", "n_features"), [("tf_efficientnet_lite0", 32, 1280), ("vit_tiny_patch16_224", 48, 192)]
)
def test_networks_of_timm_are_taken_by_name_and_by_timms_weights(name: str, side: int, n_features: int) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model(name).eval()
    backbone = Backbone(f"timm:{name}").eval()
    backbone.load(theirs.state_dict())
    x = knees(1, side).transpose(0, 1)
    with torch.no_grad():
        features = backbone(x)
        assert features.shape == (2, n_features) and backbone.n_features == n_features
        mean, std = (torch.tensor(theirs.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
        rgb = ((x + 1) / 2 - mean) / std
        if name.startswith("tf"):  # a transformer of another side is another network for timm itself
            torch.testing.assert_close(features, theirs.forward_head(theirs.forward_features(rgb), pre_logits=True))
    check_side(f"timm:{name}", side)


def test_timm_names_what_it_has_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match="no backbone of timm") as unknown:
        Backbone("timm:resnet_18")
    assert "timm:resnet18" in unknown.value.cure
    for name in ("resnet18", "vit_tiny_patch16_224", "vit_small_patch14_dinov2", "convnext_tiny"):
        # Its own names and a format that is read; the first publishers' are JAX's, or have other names.
        assert published_weights(f"timm:{name}").startswith(f"https://huggingface.co/timm/{name}.")
        assert published_weights(f"timm:{name}").endswith("/model.safetensors")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="timm") as missing:
        Backbone("timm:resnet18")
    assert ".[timm]" in missing.value.cure


def test_published_weights_come_from_the_librarys_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import get_model

    weights = get_model(SMALL, weights=None).state_dict()
    address = published_weights(SMALL)
    file = tmp_path / "hub" / "checkpoints" / address.rsplit("/", 1)[-1]
    file.parent.mkdir(parents=True)
    torch.save(weights, file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fetched = fetch_weights(SMALL)
    assert all(torch.equal(fetched[name], w) for name, w in weights.items())


def test_without_a_network_the_message_says_how_to_bring_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(UserError, match="no route to host") as caught:
        fetch_weights(SMALL)
    assert published_weights(SMALL) in caught.value.cure and "model.weights" in caught.value.cure
    with pytest.raises(UserError, match="none are published"):
        fetch_weights(VGG_LIKE)
