import tiny
import torch
from torch import nn

from plait.core.attention import SelfAttention, braid
from plait.core.cost import multiply_adds, parameters
from plait.core.packed import tokens_of


def test_a_linear_layer_costs_its_product() -> None:
    assert multiply_adds(lambda: nn.Linear(5, 7)(torch.zeros(3, 5))) == 3 * 5 * 7


def test_attention_is_counted() -> None:
    tokens = tokens_of(torch.randn(4, 6, 8), torch.arange(4))
    attention, layout = SelfAttention(8, 2), braid({"a": tokens}, 4)
    projections, mixing = 24 * 8 * (24 + 8), 4 * 2 * (6 * 6 * 4) * 2
    assert multiply_adds(lambda: attention(layout.values, layout)) == projections + mixing


def test_absent_cells_cost_nothing() -> None:
    net = tiny.network("ac", ("class",)).eval()
    full = multiply_adds(lambda: net(tiny.batch(40, "ac", ("class",), missing=0.0)).tokens)
    alone = multiply_adds(lambda: net(tiny.batch(40, "a", ("class",), missing=0.0)).tokens)
    assert full == 40 * 16 * (5 + 4)
    assert alone == 40 * 16 * 5


def test_shared_parameters_count_once() -> None:
    linear = nn.Linear(3, 2)
    assert parameters(nn.ModuleList([linear, linear])) == 8
    linear.bias.requires_grad_(False)
    assert parameters(linear, trainable=True) == 6
