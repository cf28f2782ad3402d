"""An absent modality takes the latent of one that is there: by its decoder, one modality generates another.

    token_m of a sample without m = token_k, k drawn among those that the sample has (their mean, when not training)

Where tokens are draws from posteriors that lie in one space, as behind adapters/mixture_prior, this draws from the
mixture of the present posteriors.  It has no parameters; stand-ins are marked `made`, and who has nothing gets none.
Source: how Sutter et al., "Unity by Diversity", arXiv:2403.05300, generate one modality from another.
Relatives: learned_tokens, retrieval_imputation.
"""

from __future__ import annotations

import torch

from plait.core.packed import Packed, Tokens, mean_over, merge, stack, tokens_of
from plait.core.part import Filled, Missing, Place, Spec


class BorrowedLatent(Missing):
    def build(self, spec: Spec, place: Place) -> None:
        self.names = spec.names

    def forward(self, tokens: dict[str, Tokens], size: int, g: torch.Generator) -> Filled:
        """tokens: values [P, T, D] each; what stands in is one token, of the lender's mean over its tokens."""
        lenders = {name: part.take(part.visible.any(1)).pooled() for name, part in tokens.items()}
        lenders = {name: Packed(part.values, part.rows) for name, part in lenders.items() if len(part)}
        if not lenders:
            return Filled(tokens)
        values, there = stack(lenders, size)
        out = {}
        for name in self.names:
            # Drawn for every sample, so that what one lacks changes no other's draw.
            draw = torch.rand(size, len(lenders), generator=g).to(values.device).masked_fill(~there, -1).argmax(1)
            lent = values[torch.arange(size, device=draw.device), draw]
            if not self.training:
                mean = mean_over(lenders, size)
                lent = lent.index_copy(0, mean.rows, mean.values)
            absent = there.any(1)
            if name in tokens:
                absent = absent & ~tokens[name].present(size)
            rows = absent.nonzero().squeeze(1)
            made = tokens_of(lent[rows].unsqueeze(1), rows, made=torch.ones_like(rows, dtype=torch.bool))
            out[name] = merge(tokens[name], made) if name in tokens else made  # same: merged by row
        return Filled({name: part for name, part in out.items() if len(part)})
