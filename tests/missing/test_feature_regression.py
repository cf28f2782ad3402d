import math

import pytest
import tiny
import torch

from plait.core.cost import multiply_adds
from plait.core.outputs import Outputs
from plait.missing.feature_regression import FeatureRegression

NAME = "feature_regression"


def made(names: str = "abc", fusion: str = "self_attention", **arguments):
    return tiny.network(names, ("class",), fusion=fusion, missing={NAME: FeatureRegression(**arguments)})


def slow(part: FeatureRegression, source: str, target: str, tokens: torch.Tensor) -> torch.Tensor:
    """A pair's prediction [D] for one sample, from the visible tokens [n, D], prompt by prompt and head by head."""
    own = part.sources[source]
    reader, seen, read = own.reader, own.reader.norm_context(tokens), []
    keys, values = (linear(seen).chunk(reader.heads, 1) for linear in (reader.key, reader.value))
    for prompt in own.prompts:
        asked = reader.query(reader.norm_query(prompt)).chunk(reader.heads)
        said = [((k @ q) / math.sqrt(len(q))).softmax(0) @ v for q, k, v in zip(asked, keys, values, strict=True)]
        x = prompt + reader.out(torch.cat(said))
        read.append(x + reader.feed(reader.norm_feed(x)))
    return own.predictors[target](torch.stack(read).mean(0))


@pytest.mark.parametrize("prompts", [1, 3])
def test_a_stand_in_is_the_mean_of_what_each_present_modality_predicts(prompts: int) -> None:
    net, rows = made("abcd", prompts=prompts).eval(), tiny.batch(30, "abcd", ("class",), missing=0.5)
    out, several = net(rows), 0
    for name, found in out.filled.items():
        for row, values in zip(found.rows[found.made].unsqueeze(1), found.values[found.made], strict=True):
            own = {a: part.on(row) for a, part in out.tokens.items() if row in part.rows}
            said = [slow(net.missing[NAME], a, name, part.values[part.mask]) for a, part in own.items()]
            several += len(said) > 1
            assert torch.allclose(values[0], torch.stack(said).mean(0), atol=1e-5)
    assert several > 10


def test_a_predictor_has_the_asked_width_between_and_is_what_the_formula_says() -> None:
    part = made("ab", expansion=3).missing[NAME]
    norm, up, _, down = part.sources["a"].predictors["b"]
    assert up.weight.shape == down.weight.T.shape == (3 * 16, 16)
    read = torch.randn(5, 16)
    standard = (read - read.mean(1, keepdim=True)) / (read.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    inner = standard * norm.weight + norm.bias
    expected = down(torch.nn.functional.gelu(up(inner)))
    assert torch.allclose(part.sources["a"].predictors["b"](read), expected, atol=1e-5)


def test_it_is_used_only_where_the_modality_is_absent() -> None:
    net, rows = made().train(), tiny.batch(30, "abc", ("class",), missing=0.4)
    out = net(rows)
    for name, part in out.filled.items():
        assert torch.equal(~part.made, rows.modalities[name].present(30)[part.rows])
        assert torch.equal(part.real().pooled().values, out.tokens[name].pooled().values)


def test_what_is_hidden_cannot_change_its_prediction() -> None:
    found = []
    for value in (0.0, 5.0):
        net, rows = made().train(), tiny.batch(20, "abc", ("class",), missing=0.1)
        rows.modalities["b"].values[:] += value
        keep = torch.ones(20, 3, dtype=torch.bool)
        keep[::2, 1] = False
        found.append(Outputs.of(net, rows, net.cut(rows), keep=keep).guesses["b"])
    assert len(found[0]) > 5
    assert torch.equal(found[0].values, found[1].values)


def test_complete_samples_are_left_as_they_are_and_pay_nothing() -> None:
    rows = tiny.batch(16, "abc", ("class",), missing=0.0)
    net, plain = made().eval(), tiny.network("abc", ("class",), fusion="self_attention").eval()
    assert torch.equal(net(rows).predictions["class"].values, plain(rows).predictions["class"].values)
    assert multiply_adds(lambda: net(rows).fused) == multiply_adds(lambda: plain(rows).fused)


def test_on_complete_rows_it_trains_as_without_it() -> None:
    silent = tiny.train(tiny.step(made()), missing=0.0, targets=("class",)).network.state_dict()
    plain = tiny.network("abc", ("class",), fusion="self_attention")
    absent = tiny.train(tiny.step(plain), missing=0.0, targets=("class",)).network.state_dict()
    assert all(torch.equal(value, silent[name]) for name, value in absent.items())
