"""The default fusion's trust, chosen on validation rows, is low in a modality that was only learned by heart."""

import numpy as np
import torch

from plait.workflow.fit import fit

SETTINGS = (
    "training.epochs=25",
    "training.optimizer.adamw.lr=0.01",
    "training.monitor=last",
    "width=32",
    "embedding=8",
    "objectives.info_nce.weight=0",
)


def table(size=360, seed=0):
    rng = np.random.default_rng(seed)
    code = np.arange(size) % 3
    centre = np.eye(3, 12) * 2
    signal = centre[code] + rng.normal(size=(size, 12))
    noise = rng.normal(size=(size, 200))
    part = np.where(np.arange(size) < 120, "train", np.where(np.arange(size) < 220, "validation", "test"))
    return {
        "signal": signal.tolist(),
        "noise": noise.tolist(),
        "label": [f"c{c}" for c in code],
        "split": part.tolist(),
    }


def trust(model):
    return {name: float(part.log.exp()) for name, part in model.network.fusion.trust.items()}


def test_a_memorised_modality_is_not_trusted():
    fitted = fit(table(), "label", settings=SETTINGS)
    found = trust(fitted.model)
    assert found["noise"] < 0.5 * found["signal"]

    test = fitted.encoded.dataset.take(fitted.splits["test"])
    settled = fitted.model.parameters(test)["label"]
    for part in fitted.model.network.fusion.trust.values():
        part.log = torch.zeros(())
    plain = fitted.model.parameters(test)["label"]
    truth = test.target("label").values.numpy()
    rows = np.arange(len(truth))
    assert -np.log(settled[rows, truth]).mean() < -np.log(plain[rows, truth]).mean() - 0.02


def test_without_validation_rows_all_are_trusted_alike():
    data = table()
    data["split"] = ["train" if part == "validation" else part for part in data["split"]]
    rows = {part: np.flatnonzero(np.array(data["split"]) == part) for part in ("train", "test")}
    fitted = fit(data, "label", settings=(*SETTINGS, "training.epochs=1"), splits=rows)
    assert set(trust(fitted.model).values()) == {1.0}


def test_trust_is_saved_with_the_model(tmp_path):
    from plait.workflow.model import Model

    fitted = fit(table(), "label", settings=(*SETTINGS, "training.epochs=3"), out=tmp_path / "run")
    again = Model.load(tmp_path / "run")
    assert trust(again) == trust(fitted.model)
    assert len(set(trust(again).values())) > 1
