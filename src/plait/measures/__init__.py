"""What a model, a table or a space is like, on arrays alone: numpy in, numbers out.

    plait.measures.modality_gap(images, texts).relative

Each measure is a file of its own name, with its equation and source, in a folder by question: worth, information,
space, trust.  The parts that it is made of are there too: `plait.measures.worth.shapley.leave_one_out`.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .information.interaction_bounds import interaction_bounds as interaction_bounds
    from .information.interaction_estimate import interaction_estimate as interaction_estimate
    from .information.partial_information import partial_information as partial_information
    from .space.alignment_uniformity import alignment_uniformity as alignment_uniformity
    from .space.blind_pairs import blind_pairs as blind_pairs
    from .space.cka import cka as cka
    from .space.cknna import cknna as cknna
    from .space.concept_dictionary import concept_dictionary as concept_dictionary
    from .space.concept_grounding import concept_grounding as concept_grounding
    from .space.effective_rank import effective_rank as effective_rank
    from .space.encoding_model import encoding_model as encoding_model
    from .space.gap_correction import gap_correction as gap_correction
    from .space.modality_gap import modality_gap as modality_gap
    from .space.representation_alignment import representation_alignment as representation_alignment
    from .space.unit_selectivity import unit_selectivity as unit_selectivity
    from .trust.auroc import auroc as auroc
    from .trust.balance import balance as balance
    from .trust.best_single import best_single as best_single
    from .trust.conflict import conflict as conflict
    from .trust.dependence import dependence as dependence
    from .trust.generative_integration import generative_integration as generative_integration
    from .trust.group_report import group_report as group_report
    from .trust.linear_probe import linear_probe as linear_probe
    from .trust.modality_attribution import modality_attribution as modality_attribution
    from .trust.out_of_distribution import out_of_distribution as out_of_distribution
    from .trust.robustness_curve import robustness_curve as robustness_curve
    from .trust.selective_prediction import selective_prediction as selective_prediction
    from .worth.concordance_rows import concordance_rows as concordance_rows
    from .worth.fusion_gain_test import fusion_gain_test as fusion_gain_test
    from .worth.inverse_probability_weighting import inverse_probability_weighting as inverse_probability_weighting
    from .worth.littles_test import littles_test as littles_test
    from .worth.missingness import missingness as missingness
    from .worth.modality_selection import modality_selection as modality_selection
    from .worth.sample_importance import sample_importance as sample_importance
    from .worth.sensitivity_bounds import sensitivity_bounds as sensitivity_bounds
    from .worth.shapley import shapley as shapley

ROOMS = ("worth", "information", "space", "trust")


def __getattr__(name: str) -> Any:
    for room in ROOMS if not name.startswith("_") else ():
        if importlib.util.find_spec(f"{__name__}.{room}.{name}") is not None:
            value = getattr(importlib.import_module(f"{__name__}.{room}.{name}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    import pkgutil

    found = [
        module.name
        for room in ROOMS
        for module in pkgutil.iter_modules(importlib.import_module(f"{__name__}.{room}").__path__)
    ]
    return sorted({*globals(), *(name for name in found if not name.startswith("_"))})
