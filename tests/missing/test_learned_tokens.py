import pytest
import tiny
import torch

from plait.core.cost import multiply_adds


@pytest.fixture
def net():
    return tiny.network("abc", fusion="self_attention", missing={"learned_tokens": "learned_tokens"}).eval()


def test_every_sample_that_has_anything_gets_every_modality_and_made_says_which(net) -> None:
    rows = tiny.batch(30, "abc", missing=0.5)
    rows = rows.keep(torch.arange(30).unsqueeze(1).expand(-1, 3) != 7)
    out = net(rows)
    for name, part in out.filled.items():
        assert part.rows.tolist() == [i for i in range(30) if i != 7]
        assert torch.equal(~part.made, rows.modalities[name].present(30)[part.rows])
        assert torch.equal(part.real().rows, out.tokens[name].rows)
        stand_in = net.missing["learned_tokens"].tokens[name]
        assert (part.values[part.made][:, :1] == stand_in).all()
        assert (part.visible[part.made].sum(1) == 1).all()


def test_complete_rows_are_left_as_they_are(net) -> None:
    rows = tiny.batch(10, "abc", missing=0.0)
    plain = tiny.network("abc", fusion="self_attention").eval()
    assert torch.equal(net(rows).predictions["class"].values, plain(rows).predictions["class"].values)


def test_the_cost_of_stand_ins_shows(net) -> None:
    rows = tiny.batch(64, "abc", missing=0.6)
    plain = tiny.network("abc", fusion="self_attention").eval()
    assert multiply_adds(lambda: net(rows).fused) > 1.2 * multiply_adds(lambda: plain(rows).fused)


def test_a_modality_that_nobody_has(net) -> None:
    rows = tiny.batch(10, "ab", missing=0.0)
    assert net(rows).filled["c"].made.all()
    assert len(net(rows).filled["c"]) == 10
