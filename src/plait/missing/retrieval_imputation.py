"""An absent cell is made from those of the training samples that are most alike in what is there.

    s_ij = 1/n_i sum_k cos(x_ik, x_jk)   over the modalities k that both i and j have, n_i of i's
    v = mean over the k nearest j that have m of their tokens of m
    tokens_m = v + W norm(v + F^-1(G * F(v))),   F the Fourier transform along the tokens, G a learned complex filter

x is the mean over tokens.  A sample never retrieves itself in training, also where its own cell is only hidden.  W = 0
at the start, so it begins as the plain mean; without `filter` it stays that.  What is retrieved from is the tokens of
training samples, brought up to date after each step with those of the batch, and saved with the network.
Source: Lang et al., "Retrieval-Augmented Dynamic Prompt Tuning for Incomplete Multimodal Learning", arXiv:2501.01120,
without its prompts.  Relatives: learned_tokens, the same for all samples; modality_dropout, for cells to learn from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plait.core.component import Count
from plait.core.named import Named
from plait.core.outputs import Outputs
from plait.core.packed import Tokens, merge, tokens_of
from plait.core.part import Filled, Missing, Place, Spec, Training
from plait.core.random import seeded, spawn


def slots(tokens: Tokens, count: int) -> Tensor:
    """Visible tokens [P, T, D] -> `count` means of consecutive ones, [P, count, D]; the tokens themselves if T = count.

    Slot i is the mean over places floor(i n / count) to ceil((i + 1) n / count) of the cell's n visible tokens.
    """
    visible = tokens.visible
    length = visible.sum(1, keepdim=True)
    place = visible.cumsum(1) - 1
    start = torch.arange(count, device=visible.device)
    low, high = start * length // count, ((start + 1) * length + count - 1) // count
    inside = (place.unsqueeze(1) >= low.unsqueeze(2)) & (place.unsqueeze(1) < high.unsqueeze(2)) & visible.unsqueeze(1)
    share = inside / inside.sum(2, keepdim=True).clamp_min(1)
    return share.to(tokens.values) @ tokens.values.masked_fill(~visible.unsqueeze(2), 0)


def filtered(values: Tensor, response: Tensor) -> Tensor:
    """values: [N, T, D].  response: [2, T // 2 + 1, D], real and imaginary part by frequency.  -> [N, T, D]."""
    spectrum = torch.fft.rfft(values, dim=1) * torch.complex(response[0], response[1])
    return torch.fft.irfft(spectrum, n=values.shape[1], dim=1)


def nearest_mean(similarity: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean of the most similar.  similarity: [R, N], -inf what may not be taken.  values: [N, ...].

    -> found [R] bool, whether there is any; values [found, ...].
    """
    top, index = similarity.topk(min(count, similarity.shape[1]), dim=1)  # same: the lesser of two
    taken = top.isfinite()
    found = taken.any(1)
    share = (taken / taken.sum(1, keepdim=True).clamp_min(1))[found]
    return found, torch.einsum("rk,rk...->r...", share.to(values), values[index[found]])


class RetrievalImputation(Missing):
    """neighbours: k.  tokens: how many stand for a cell of many.  filter: whether anything is learned about them.

    bank: how many training samples are retrieved from at most.
    """

    def __init__(self, neighbours: Count = 3, tokens: Count = 4, filter: bool = True, bank: Count = 10_000) -> None:
        super().__init__()
        self.neighbours, self.tokens, self.filter, self.limit = neighbours, tokens, filter, bank
        self.banks, self.restore = Named(), Named()

    def build(self, spec: Spec, place: Place) -> None:
        base = spawn()
        for name in spec.names:
            if name in self.banks:
                continue
            count = 1 if spec.pieces.get(name, (0, 0))[0] == 1 else self.tokens
            self.banks[name] = _Bank(count)
            if self.filter:
                with seeded(base, name):
                    self.restore[name] = _Restore(count, spec.width)

    @torch.no_grad()
    def prepare(self, train: Training) -> None:
        found: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in self.banks}
        for out in train.outputs(self.limit):
            for name, part in out.tokens.items():
                found[name].append(self._bank(name).of(part))
        for name, parts in found.items():
            if parts:
                self._bank(name).fill(*(torch.cat(each) for each in zip(*parts, strict=True)))

    @torch.no_grad()
    def keep(self, out: Outputs) -> None:
        for name, part in out.tokens.items():
            self._bank(name).renew(*self._bank(name).of(part.detach()))

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Filled:
        """tokens: values [P, T, D] each.  -> the same, and what was retrieved for absent cells, marked made."""
        out = dict(tokens)
        if not tokens:
            return Filled(out)
        anything = torch.stack([part.present(size) for part in tokens.values()]).any(0)
        for name in self.banks:
            bank = self._bank(name)
            absent = anything & ~tokens[name].present(size) if name in tokens else anything
            rows = absent.nonzero().squeeze(1)
            if bank.id is None or bank.value is None or not len(rows):
                continue
            found, values = nearest_mean(self._similarity(tokens, rows, bank.id), bank.value, self.neighbours)
            if not bool(found.any()):
                continue
            rows, values = rows[found], self.restore[name](values) if self.filter else values
            made = tokens_of(values, rows, made=torch.ones_like(rows, dtype=torch.bool))
            out[name] = merge(tokens[name], made) if name in tokens else made  # same: merged by row
        return Filled(out)

    def _similarity(self, tokens: dict[str, Tokens], rows: Tensor, ids: Tensor) -> Tensor:
        """Of samples `rows` and the training samples `ids` -> [R, N], -inf without a modality in common."""
        total = torch.zeros(len(rows), len(ids), device=rows.device)
        shared, own = torch.zeros_like(total), torch.zeros_like(total[:, :1])
        banned = torch.zeros_like(total, dtype=torch.bool)
        for name, part in tokens.items():
            bank = self._bank(name)
            if bank.id is None or bank.key is None:
                continue
            here = torch.isin(rows, part.rows)
            asking = part.at(rows[here])
            place = torch.searchsorted(bank.id, ids).clamp_max(len(bank.id) - 1)
            both = (bank.id[place] == ids).to(total)
            alike = asking.pooled().unit().values.detach() @ bank.key[place].T
            total[here] += alike * both
            shared[here] += both
            own[here] += 1
            if self.training and "id" in asking.notes:
                banned[here] |= asking.notes["id"].unsqueeze(1) == ids
        return (total / own.clamp_min(1)).masked_fill(banned | (shared == 0), -torch.inf)

    def _bank(self, name: str) -> _Bank:
        bank = self.banks[name]
        assert isinstance(bank, _Bank)
        return bank


class _Bank(nn.Module):
    """One modality of the training samples.  id: [N] ascending.  key: [N, D], unit length.  value: [N, count, D]."""

    id: Tensor | None
    key: Tensor | None
    value: Tensor | None

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        for name in ("id", "key", "value"):
            self.register_buffer(name, None)

    def of(self, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        return tokens.notes["id"], tokens.pooled().unit().values, slots(tokens, self.count)

    def fill(self, id: Tensor, key: Tensor, value: Tensor) -> None:
        order = id.argsort()
        self.id, self.key, self.value = id[order], key[order], value[order]

    def renew(self, id: Tensor, key: Tensor, value: Tensor) -> None:
        """Of what is in the bank."""
        if self.id is None or self.key is None or self.value is None:
            return
        place = torch.searchsorted(self.id, id).clamp_max(len(self.id) - 1)
        known = self.id[place] == id
        self.key[place[known]], self.value[place[known]] = key[known], value[known]


class _Restore(nn.Module):
    """What is learned about retrieved tokens [N, T, D]."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.response = nn.Parameter(0.02 * torch.randn(2, count // 2 + 1, width))  # same: any small start
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, values: Tensor) -> Tensor:
        changed: Tensor = values + self.linear(self.norm(values + filtered(values, self.response)))
        return changed
