import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

transformers = pytest.importorskip("transformers")

from plait.core.errors import RecipeError  # noqa: E402
from plait.encoders._hub import HubModel  # noqa: E402

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "bird", "sings"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TEXTS = ["a red bird", "a bird sings", "blue", "a blue bird sings a red bird"]


def saved(folder, *parts):
    for part in parts:
        part.save_pretrained(folder)
    return folder


def seeded(build, config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(config).eval()


@pytest.fixture
def tokenizer(tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS))
    return transformers.BertTokenizerFast(str(vocabulary), model_max_length=32)


@pytest.fixture
def bert(tmp_path, tokenizer):
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=12, **SMALL)
    return saved(tmp_path / "bert", seeded(transformers.BertModel, config), tokenizer)


def image_processor(size=16, **options):
    return transformers.ViTImageProcessor(size={"height": size, "width": size}, **options)


def pictures(count, seed=0):
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, 3, 20, 28), dtype=np.uint8))


def with_sentence_files(folder, pooling, normalise, extra=()):
    stages = [("Transformer", ""), ("Pooling", "1_Pooling"), *[("Normalize", "2_Normalize")] * normalise, *extra]
    modules = [{"path": path, "type": f"sentence_transformers.models.{name}"} for name, path in stages]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **pooling}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6}))


def test_text_is_the_mean_over_its_own_tokens(bert, tokenizer):
    encoded = HubModel(str(bert), "text").encode(TEXTS, batch=1)
    model = transformers.AutoModel.from_pretrained(bert).eval()
    for row, text in enumerate(TEXTS):
        with torch.inference_mode():
            tokens = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(encoded.tokens[row][encoded.mask[row]], tokens)
        torch.testing.assert_close(encoded.pooled[row], tokens.mean(0))


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_batching_changes_nothing(bert, batch):
    model = HubModel(str(bert), "text")
    whole, parts = model.encode(TEXTS), model.encode(TEXTS, batch=batch)
    assert torch.equal(whole.mask, parts.mask)
    torch.testing.assert_close(whole.pooled, parts.pooled)
    torch.testing.assert_close(whole.tokens, parts.tokens)


def test_text_is_cut_at_what_the_model_has_positions_for(bert):
    encoded = HubModel(str(bert), "text").encode(["bird " * 50])
    assert encoded.mask.sum().item() == 12


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(
    ("pooling", "reduce"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, lambda tokens: tokens[0]),
        ({"pooling_mode_max_tokens": True}, lambda tokens: tokens.amax(0)),
        ({"pooling_mode_mean_tokens": True}, lambda tokens: tokens.mean(0)),
        ({"pooling_mode": "cls"}, lambda tokens: tokens[0]),
    ],
)
def test_a_sentence_transformers_folder_pools_its_own_way(bert, pooling, reduce, normalise):
    with_sentence_files(bert, pooling, normalise)
    encoded = HubModel(str(bert), "text").encode(TEXTS)
    assert encoded.mask.sum(1).max() == 6
    vectors = torch.stack([reduce(row[mask]) for row, mask in zip(encoded.tokens, encoded.mask, strict=True)])
    torch.testing.assert_close(encoded.pooled, F.normalize(vectors, dim=1) if normalise else vectors)


@pytest.mark.parametrize(
    ("pooling", "extra", "found"),
    [
        ({"pooling_mode_mean_sqrt_len_tokens": True}, (), "mean_sqrt_len"),
        ({"pooling_mode_mean_tokens": True}, [("Dense", "2_Dense")], "Dense"),
    ],
)
def test_unknown_pooling_is_refused(bert, pooling, extra, found):
    with_sentence_files(bert, pooling, False, extra)
    with pytest.raises(RecipeError, match=found):
        HubModel(str(bert), "text")


def test_image_transformer_gives_its_pooler_and_patches(tmp_path):
    config = transformers.ViTConfig(image_size=16, patch_size=8, **SMALL)
    folder = saved(tmp_path / "vit", seeded(transformers.ViTModel, config), image_processor())
    cells = pictures(3)
    encoded = HubModel(str(folder), "image").encode(cells, batch=2)
    pixels = image_processor()(cells, input_data_format="channels_first", return_tensors="pt")
    with torch.inference_mode():
        output = transformers.AutoModel.from_pretrained(folder).eval()(**pixels)
    torch.testing.assert_close(encoded.pooled, output.pooler_output)
    torch.testing.assert_close(encoded.tokens, output.last_hidden_state)
    assert encoded.mask.shape == (3, 5)
    assert encoded.mask.all()


def test_a_convolutional_map_becomes_tokens(tmp_path):
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    folder = saved(tmp_path / "resnet", seeded(transformers.ResNetModel, config), image_processor(32))
    encoded = HubModel(str(folder), "image").encode(pictures(2))
    assert encoded.tokens.shape == (2, 16, 12)
    torch.testing.assert_close(encoded.pooled, encoded.tokens.mean(1))


def test_clip_gives_projected_features_of_both_towers(tmp_path, tokenizer):
    config = transformers.CLIPConfig(
        text_config={**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 12, "eos_token_id": 3},
        vision_config={**SMALL, "image_size": 16, "patch_size": 8},
        projection_dim=10,
    )
    folder = saved(tmp_path / "clip", seeded(transformers.CLIPModel, config), tokenizer, image_processor())
    texts = HubModel(str(folder), "text").encode(TEXTS)
    images = HubModel(str(folder), "image").encode(pictures(2))
    assert texts.pooled.shape == (4, 10)
    assert images.pooled.shape == (2, 10)
    assert images.tokens.shape == (2, 5, 16)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    pixels = image_processor()(pictures(2), input_data_format="channels_first", return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    torch.testing.assert_close(images.pooled, expected)


@pytest.fixture
def wav2vec(tmp_path):
    config = transformers.Wav2Vec2Config(
        **SMALL, conv_dim=(8, 8), conv_kernel=(10, 8), conv_stride=(5, 4), num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, num_feat_extract_layers=2,
    )  # fmt: skip
    return saved(tmp_path / "w2v", seeded(transformers.Wav2Vec2Model, config), transformers.Wav2Vec2FeatureExtractor())


def test_sounds_of_different_length_keep_their_own_features(wav2vec):
    rng = np.random.default_rng(0)
    sounds = [rng.standard_normal(n).astype(np.float32) for n in (800, 1600, 800)]
    model = HubModel(str(wav2vec), "audio")
    together = model.encode(sounds)
    assert together.mask.sum(1)[0] == together.mask.sum(1)[2] < together.mask.sum(1)[1]
    for row, sound in enumerate(sounds):
        alone = model.encode([sound])
        torch.testing.assert_close(together.pooled[row], alone.pooled[0])
        torch.testing.assert_close(together.tokens[row][together.mask[row]], alone.tokens[0])
        torch.testing.assert_close(together.pooled[row], alone.tokens[0].mean(0))


def test_sound_is_resampled_to_what_the_model_was_trained_on(wav2vec):
    pytest.importorskip("soxr")
    sound = np.random.default_rng(0).standard_normal(1600).astype(np.float32)
    at_16k = HubModel(str(wav2vec), "audio").encode([sound]).mask.sum()
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=48_000).save_pretrained(wav2vec)
    at_48k = HubModel(str(wav2vec), "audio").encode([sound]).mask.sum()
    assert at_48k > 2.5 * at_16k


def test_whisper_is_read_through_its_encoder(tmp_path):
    config = transformers.WhisperConfig(
        vocab_size=20, num_mel_bins=8, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_source_positions=50, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    listener = transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    folder = saved(tmp_path / "whisper", seeded(transformers.WhisperModel, config), listener)
    encoded = HubModel(str(folder), "audio").encode([np.zeros(4000, np.float32)])
    assert encoded.tokens.shape == (1, 50, 16)
    torch.testing.assert_close(encoded.pooled, encoded.tokens.mean(1))


def test_the_model_is_frozen_and_its_fingerprint_follows_weights_and_settings(bert):
    model = HubModel(str(bert), "text")
    assert not model.model.training
    assert not any(p.requires_grad for p in model.model.parameters())
    before = model.fingerprint()
    assert before == HubModel(str(bert), "text").fingerprint()
    next(model.model.parameters())[0, 0] += 1
    assert model.fingerprint() != before
    with_sentence_files(bert, {"pooling_mode_cls_token": True}, True)
    assert HubModel(str(bert), "text").fingerprint() != before


def test_bfloat16_weights_still_give_float32(bert):
    full = HubModel(str(bert), "text").encode(TEXTS)
    half = HubModel(str(bert), "text", torch.bfloat16).encode(TEXTS)
    assert half.pooled.dtype == half.tokens.dtype == torch.float32
    assert F.cosine_similarity(full.pooled, half.pooled).min() > 0.99


def test_what_cannot_be_loaded_is_the_users_to_mend(tmp_path, bert):
    with pytest.raises(RecipeError, match="cannot be loaded as an encoder of text cells"):
        HubModel(str(tmp_path / "nothing"), "text")
    with pytest.raises(RecipeError, match="image cells"):
        HubModel(str(bert), "image")


def test_no_cells_is_a_fault_of_the_caller(bert):
    with pytest.raises(ValueError, match="no cells"):
        HubModel(str(bert), "text").encode([])
