import pytest
import tiny
import torch
from torch import nn

from plait.core.component import find
from plait.core.packed import tokens_of

Linear, Mlp = find("projection", "linear"), find("projection", "mlp")


def built(part, names="ab"):
    torch.manual_seed(0)
    part.build(tiny.spec(names), None)
    return part


def test_linear_is_the_map_of_the_mean_of_visible_tokens() -> None:
    part = built(Linear())
    values = torch.randn(3, 4, 16)
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    found = part("b", tokens_of(values, torch.arange(3), mask)).values
    means = torch.stack([values[i][mask[i]].mean(0) for i in range(3)])
    assert torch.allclose(found, part.maps["b"](means), atol=1e-6)
    assert found.shape == (3, 8)


def test_mlp_has_the_asked_width_between() -> None:
    part = built(Mlp(hidden=5))
    assert [m.weight.shape for m in part.maps["a"] if isinstance(m, nn.Linear)] == [(5, 16), (8, 5)]
    assert [m.weight.shape for m in built(Mlp()).maps["a"] if isinstance(m, nn.Linear)] == [(16, 16), (8, 16)]


def test_mlp_is_two_layers_with_a_gelu_between_on_the_mean_of_visible_tokens() -> None:
    part = built(Mlp(hidden=5))
    values, mask = torch.randn(3, 4, 16), torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    found = part("b", tokens_of(values, torch.arange(3), mask)).values
    inner, outer = (m for m in part.maps["b"] if isinstance(m, nn.Linear))
    for i in range(3):
        h = inner.weight @ values[i][mask[i]].mean(0) + inner.bias
        gelu = h * 0.5 * (1 + torch.special.erf(h / 2**0.5))
        assert torch.allclose(found[i], outer.weight @ gelu + outer.bias, atol=1e-5)


@pytest.mark.parametrize("cls", [Linear, Mlp])
def test_the_maps_and_what_made_the_tokens_learn(cls) -> None:
    part, values = built(cls()), torch.randn(3, 4, 16, requires_grad=True)
    part("b", tokens_of(values, torch.arange(3))).values.square().sum().backward()
    assert (values.grad != 0).all()
    assert all((p.grad != 0).any() for p in part.maps["b"].parameters())
    assert all(p.grad is None for p in part.maps["a"].parameters())


def test_growing_keeps_the_bits_and_equals_having_been_there_from_the_start() -> None:
    for cls in (Linear, Mlp):
        part = built(cls())
        before = {name: value.clone() for name, value in part.state_dict().items()}
        torch.manual_seed(0)
        part.build(tiny.spec("abc"), None)
        assert all(torch.equal(part.state_dict()[name], value) for name, value in before.items())
        assert tiny.equal(part.state_dict(), built(cls(), "abc").state_dict())
