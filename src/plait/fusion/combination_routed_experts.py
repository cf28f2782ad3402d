"""Sparse experts behind attention; a sample that lacks modalities is sent to the expert of what it has.

    y = x + attention(norm x),   z = y + sum_e g_e expert_e(norm y)
    g = softmax over the `top` largest of r = R norm y,   0 elsewhere
    fused = 1/sqrt(n) sum_m (U_m mean of norm(z_m) + b_m),   n = number of modalities in the sample
    own loss = assign * cross_entropy(r, expert of the sample's combination)    incomplete samples
             + balance * (cv^2 of the experts' weights + cv^2 of their loads)   complete and incomplete ones, apart

All tokens of a sample see each other, then each is sent to `top` of the experts.  In training r gets noise of a learned
size, so that gradients reach the load, an expert's chance to be among the top: Shazeer et al., arXiv:1701.06538.  cv^2
is variance over squared mean: 0 if all experts get as much, their number if one gets everything.  Incomplete samples
are not balanced over the expert of complete ones.  A combination is what was observed, not what a stand-in was made
for.  When predicting the router is free: what ties combinations to experts is the loss alone, and with assign 0 nothing
does.  Experts must be at least as many as combinations, 2^M - 1.
Source: Yun et al., "Flex-MoE", arXiv:2410.08245.
Relatives: self_attention, which has one feed-forward layer instead; missing: combination_bank is its other half.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.attention import Braid, SelfAttention, braid
from plait.core.component import Count, NonNegative, Positive, Rate
from plait.core.errors import RecipeError
from plait.core.named import Named, NamedParameters
from plait.core.outputs import Outputs
from plait.core.packed import Fused, Packed, Tokens, mean_over
from plait.core.part import Fusion, Place, Spec, Terms
from plait.core.random import seeded, spawn

from ._experts import chance_of_top, mixed, top_gates, unevenness
from ._pooled import nobody, pooled


class CombinationRoutedExperts(Fusion):
    """experts, top: how many there are, and how many a token is sent to.  assign, balance: weights of its own losses.

    heads, dropout, expansion: of the attention and the experts.
    """

    idle = {"experts.*": "experts that no token was sent to"}

    def __init__(
        self,
        experts: Count = 16,
        top: Count = 4,
        assign: NonNegative = 0.01,
        balance: NonNegative = 0.01,
        heads: Count = 4,
        dropout: Rate = 0.1,
        expansion: Positive = 2.0,
    ) -> None:
        super().__init__()
        if top > experts:
            raise ValueError(f"top is {top}, but there are only {experts} experts")
        self.count, self.top, self.assign, self.balance = experts, top, assign, balance
        self.heads, self.expansion = heads, expansion
        self.attention_dropout, self.drop = dropout, nn.Dropout(dropout)
        self.types, self.maps, self.experts = NamedParameters(), Named(), nn.ModuleList()

    def build(self, spec: Spec, place: Place) -> None:
        if (combinations := 2 ** len(spec.names) - 1) > self.count:
            raise RecipeError(
                f"{place}.experts: {len(spec.names)} modalities have {combinations} combinations, and every one needs "
                f"an expert; found {self.count}. Set experts to at least {combinations}, or leave columns out."
            )
        self.width = width = spec.width
        base = spawn()
        for name in spec.names:
            if name not in self.maps:
                with seeded(base, name):
                    self.types[name] = nn.Parameter(0.02 * torch.randn(width))  # same: any small start
                    self.maps[name] = nn.Linear(width, width)
        if not self.experts:
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
            self.attention = SelfAttention(width, self.heads, self.attention_dropout)
            self.router, self.noise = (nn.Linear(width, self.count, bias=False) for _ in range(2))
            inner = int(width * self.expansion)
            for _ in range(self.count):
                self.experts.append(nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width)))

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Fused:
        """tokens: values [P, T, D] each.  -> values [P, D]; as notes what `terms` is made from."""
        typed = {}
        for name, part in tokens.items():
            seen = part.take(part.visible.any(1))
            if len(seen):
                typed[name] = seen.with_(values=seen.values + self.types[name])
        observed = self._observed(typed, size)
        if not typed:
            none = nobody(self.width, observed.device)
            empty = none.values.new_zeros(0, self.count)
            notes = {"code": observed[:0], "missed": none.values.sum(1), "weight": empty, "load": empty}  # same: nobody
            return Fused(none.values, none.rows, notes=notes)
        layout = braid(typed, size)
        x = layout.values + self.drop(self.attention(self.norms[0](layout.values), layout))
        asking = self.norms[1](x)
        logits, gates, load = self._route(asking)
        x = x + self.drop(mixed(asking, gates, self.experts))
        layout = layout.with_values(self.norms[2](x))
        said = {n: part.with_(values=self.maps[n](part.values)) for n, part in pooled(layout.unbraid()).items()}
        mean = mean_over(said, size)
        notes = self._noted(layout, observed, logits, gates, load, mean.rows)
        context = layout.unbraid() if self.context else {}
        values = mean.values * mean.notes["count"].sqrt().unsqueeze(1)
        return Fused(values, mean.rows, notes=notes, tokens=context)

    def expert_of(self, code: Tensor) -> Tensor:
        """The expert of a combination.  code: bit i is whether the i-th modality is observed.  [P] int64 -> [P]."""
        return (code - 1).clamp_min(0)

    def _observed(self, tokens: Mapping[str, Tokens], size: int) -> Tensor:
        """Each sample's combination, [size] int64; what a Missing component made does not count."""
        code = torch.zeros(size, dtype=torch.long, device=next(self.parameters()).device)  # same: a device
        for i, name in enumerate(self.maps):
            if name in tokens:
                code = code + tokens[name].real().present(size).long() * 2**i
        return code

    def _route(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: [N, D].  -> logits, gates, chance to be used, [N, E] each."""
        logits = clean = self.router(x)
        if not self.training:
            gates = top_gates(logits, self.top)
            return logits, gates, (gates > 0).to(gates.dtype)
        deviation = F.softplus(self.noise(x)) + 1e-2
        logits = clean + deviation * torch.randn_like(clean)  # same: noise has no sign
        gates = top_gates(logits, self.top)
        if self.top >= self.count:
            return logits, gates, torch.ones_like(gates)
        return logits, gates, chance_of_top(clean, logits, deviation, self.top)

    def _noted(
        self, layout: Braid, code: Tensor, logits: Tensor, gates: Tensor, load: Tensor, rows: Tensor
    ) -> dict[str, Tensor]:
        """By sample: its combination, the router's cross-entropy (mean over tokens), weights and loads (sums)."""
        missed = F.cross_entropy(logits, self.expert_of(code)[layout.row], reduction="none").unsqueeze(1)
        each = torch.cat([missed, torch.ones_like(missed), gates, load], 1)
        total = each.new_zeros(layout.size, each.shape[1]).index_add(0, layout.row, each)[rows]
        missed, number, weight, load = torch.split(total, [1, 1, self.count, self.count], 1)
        return {"code": code[rows], "missed": (missed / number).squeeze(1), "weight": weight, "load": load}

    def terms(self, out: Outputs, g: torch.Generator) -> Terms:
        """assign, and balance/complete and balance/incomplete, which are the same for all samples of a process."""
        notes, rows = out.fused.notes, out.fused.rows
        everything = 2 ** len(self.maps) - 1
        whole = notes["code"] == everything
        terms: Terms = {}
        if self.assign:
            terms["assign"] = Packed(self.assign * notes["missed"][~whole], rows[~whole])
        if self.balance:
            others = torch.arange(self.count, device=rows.device) != everything - 1
            for name, which, used in (("complete", whole, others | True), ("incomplete", ~whole, others)):
                weight, load = (notes[note][which][:, used].sum(0) for note in ("weight", "load"))
                uneven = unevenness(weight) + unevenness(load)
                terms[f"balance/{name}"] = Packed((self.balance * uneven).expand(int(which.sum())), rows[which])
        return terms
