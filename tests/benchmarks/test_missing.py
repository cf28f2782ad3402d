"""What the benchmark claims of costs, counted instead of timed."""

from __future__ import annotations

from collections import Counter

import pytest
import scripts
import torch

from plait.core.cost import multiply_adds

missing = scripts.load("benchmarks/missing.py")
SIZE = 32


@pytest.fixture(scope="module")
def counted() -> dict[str, dict[str, int]]:
    """{what is run: {table: multiply-adds, forward and backward}}."""

    def both_ways(forward):
        return multiply_adds(lambda: forward().square().sum().backward())

    runs = missing.runs(missing.network().train(), SIZE)
    return {what: {table: both_ways(run) for table, run in tables.items()} for what, tables in runs.items()}


def test_exactly_half_of_the_cells_of_every_modality_are_missing() -> None:
    present = missing.half(missing.complete(SIZE)).present
    assert present.sum(0).tolist() == [SIZE // 2] * len(missing.MODALITIES)
    assert len(set(present.sum(1).tolist())) > 2


def test_encoders_see_the_cells_that_are_there_and_no_other() -> None:
    net, whole = missing.network(), missing.complete(SIZE)
    seen: Counter[str] = Counter()
    for name, encoder in net.encoders.items():
        encoder.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: len(inputs[0])}))
    for batch, rows in ((whole, SIZE), (missing.half(whole), SIZE // 2)):
        seen.clear()
        _ = net(batch).fused.values
        assert seen == dict.fromkeys(missing.MODALITIES, rows)


def test_half_of_the_cells_cost_half(counted: dict[str, dict[str, int]]) -> None:
    for what, target in missing.TARGETS.items():
        of = counted[what]
        assert 0.4 < of["half"] / of["complete"] <= target


def test_the_padded_twin_pays_for_every_cell(counted: dict[str, dict[str, int]]) -> None:
    for of in counted.values():
        assert of["padded"] >= of["complete"]


def test_the_padded_twin_computes_the_same() -> None:
    net = missing.network().eval()
    whole = missing.complete(SIZE)
    some = missing.half(whole)
    tokens = net(missing.zeros_for_absent(some, whole)).tokens
    rows = some.present.any(1)
    twin = missing.padded(net, tokens, some.present)[rows]
    net.fusion.skip = False
    torch.testing.assert_close(net(some).fused.values, twin, rtol=1e-4, atol=1e-5)
