import tiny
import torch

from plait.core.component import find
from plait.core.meter import Meter
from plait.core.outputs import Pass
from plait.core.part import Clock
from plait.core.random import generator

ModalityDropout = find("missing", "modality_dropout")


def test_hides_the_asked_share_of_present_cells_and_no_other() -> None:
    present = torch.rand(5000, 4, generator=generator("present")) < 0.5
    hidden = ModalityDropout(rate=0.3).hide(present, None, generator(0))
    assert not (hidden & ~present).any()
    assert abs(float(hidden[present].float().mean()) - 0.3) < 0.02


def test_equal_generators_hide_the_same() -> None:
    present = torch.ones(50, 3, dtype=torch.bool)
    part = ModalityDropout(rate=0.5)
    assert torch.equal(part.hide(present, None, generator(1)), part.hide(present, None, generator(1)))
    assert not torch.equal(part.hide(present, None, generator(1)), part.hide(present, None, generator(2)))


def test_a_step_keeps_one_cell_a_sample_and_encodes_no_hidden_one() -> None:
    net = tiny.network("abc", missing={"modality_dropout": ModalityDropout(rate=1.0)})
    rows = tiny.batch(60, "abc")
    step = tiny.step(net).train()
    out = step.run(rows, Pass(), Clock(), Meter(net.names))
    assert sum(len(part) for part in out.pieces.values()) == 60
    kept = torch.stack([part.present(60) for part in out.pieces.values()], 1)
    assert (kept.sum(1) == 1).all()
    out = step.eval().run(rows, Pass(), Clock(), Meter(net.names))
    assert all(len(part) == len(rows.modalities[name]) for name, part in out.pieces.items())
