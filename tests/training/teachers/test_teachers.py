"""Other networks that objectives may ask: ema and saved."""

import copy

import pytest
import tiny
import torch
from safetensors.torch import save_file

from plait.core.component import find
from plait.core.errors import RunError

Ema, Saved = find("teachers", "ema"), find("teachers", "saved")


def moved(net):
    other = copy.deepcopy(net)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1.0)
    return other


def test_ema_moves_by_one_minus_momentum() -> None:
    net = tiny.network("ab")
    rule = Ema(momentum=0.75)
    teacher = rule.start(net)
    before = copy.deepcopy(teacher.state_dict())
    rule.update(teacher, moved(net), 0)
    for name, p in teacher.named_parameters():
        assert torch.allclose(p, before[name] + 0.25, atol=1e-6)


def test_ema_limits() -> None:
    net = tiny.network("ab")
    for momentum, expected in ((1.0, net), (0.0, moved(net))):
        rule = Ema(momentum=momentum)
        teacher = rule.start(net)
        rule.update(teacher, moved(net), 0)
        assert all(torch.allclose(p, q) for p, q in zip(teacher.parameters(), expected.parameters(), strict=True))


def test_ema_takes_statistics_that_came_later() -> None:
    net, rule = tiny.network("ab"), Ema()
    teacher = rule.start(net)
    net.prepare(tiny.Rows(net, tiny.batch(30, "ab")))
    rule.update(teacher, net, 0)
    assert torch.equal(teacher.heads["number"].mean, net.heads["number"].mean)
    net.heads["number"].mean.zero_()
    assert teacher.heads["number"].mean != 0


def test_saved_says_what_the_run_said(tmp_path) -> None:
    run, rows = tiny.network("ab", seed=3), tiny.batch(10, "ab")
    run.prepare(tiny.Rows(run, rows))
    save_file(run.state_dict(), tmp_path / "model.safetensors")
    online = tiny.network("ab", seed=4)
    teacher = Saved(run=str(tmp_path)).start(online)
    said = run.eval()(rows).predictions["class"].values
    assert torch.equal(teacher.eval()(rows).predictions["class"].values, said)
    assert not torch.equal(online.eval()(rows).predictions["class"].values, said)


def test_saved_refuses_what_does_not_fit(tmp_path) -> None:
    with pytest.raises(RunError, match="cannot be read as saved weights"):
        Saved(run=str(tmp_path)).start(tiny.network("ab"))
    save_file(tiny.network("abc").state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(RunError, match="cannot teach this one"):
        Saved(run=str(tmp_path)).start(tiny.network("ab"))
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(RunError, match="cannot be read as saved weights"):
        Saved(run=str(tmp_path)).start(tiny.network("ab"))
