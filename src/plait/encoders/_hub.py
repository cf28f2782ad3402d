"""Any pretrained image, text or audio model of the Hugging Face hub, or of a folder, as a frozen encoder.

Cells are prepared one by one and those of equal shape run together: nothing is padded, so no mask can be wrong
and a cell's features do not depend on what else is in the batch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from plait.core.errors import RecipeError
from plait.core.extras import need

from ._encoded import Encoded, fingerprint

Kind = Literal["image", "text", "audio"]
Pooling = Literal["model", "mean", "cls", "max"]

RATE = 16_000

_LOADERS = {"image": "AutoImageProcessor", "text": "AutoTokenizer", "audio": "AutoFeatureExtractor"}
_MODES: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}


class HubModel:
    """A pretrained model, frozen and in eval mode.

    name: hub id or folder.  Pooling follows a sentence-transformers folder's own configuration where there is one;
    else two-tower models (CLIP, CLAP) give their projected features, image and audio models their pooler's output,
    and everything else the mean over tokens (the pooler of a text model was trained for another purpose).
    RecipeError if the model cannot be loaded or pools in a way that is not known here.
    """

    def __init__(self, name: str, kind: Kind, dtype: torch.dtype = torch.float32) -> None:
        transformers = need("transformers", "text")
        self.kind, self.name = kind, name
        # Bars on stderr for what takes milliseconds, also where nobody watches.
        transformers.utils.logging.disable_progress_bar()
        try:
            self.processor: Any = getattr(transformers, _LOADERS[kind]).from_pretrained(name)
            self.model: nn.Module = transformers.AutoModel.from_pretrained(name, dtype=dtype)
            self.pooling, self.unit, self.longest = self._sentence_settings() if kind == "text" else ("model", False, 0)
        except (OSError, ValueError) as error:
            raise RecipeError(f"model: {name!r} cannot be loaded as an encoder of {kind} cells: {error}") from error
        self.model.eval().requires_grad_(False)
        self.dtype = dtype

    def fingerprint(self) -> str:
        """Changes when the weights or the preparation of the cells change."""
        if self.kind == "text":
            prepared = self.processor.backend_tokenizer.to_str() if self.processor.is_fast else repr(self.processor)
        else:
            prepared = self.processor.to_json_string()
        return fingerprint(self.model, f"{self.kind} {self.pooling} {self.unit} {self.longest} {prepared}")

    def encode(self, cells: Sequence[Any], batch: int = 32) -> Encoded:
        """Features of P cells: pooled [P, D] and tokens [P, T, E] with their mask.

        cells: uint8 images [3, H, W], texts, or float32 mono audio [S] at 16 kHz.  ValueError without cells.
        """
        if not cells:
            raise ValueError("no cells to encode")
        prepared = [self._prepare(cell) for cell in cells]
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for row, inputs in enumerate(prepared):
            groups.setdefault(tuple(tuple(value.shape) for value in inputs.values()), []).append(row)
        pooled: dict[int, Tensor] = {}
        tokens: dict[int, Tensor] = {}
        for group in groups.values():
            for rows in (group[start : start + batch] for start in range(0, len(group), batch)):
                inputs = {key: torch.cat([prepared[row][key] for row in rows]) for key in prepared[rows[0]]}
                vectors, sequences = self._run(inputs)
                pooled |= zip(rows, vectors.float(), strict=True)
                tokens |= zip(rows, sequences.float(), strict=True)
        order = range(len(cells))
        lengths = torch.tensor([len(tokens[row]) for row in order])
        return Encoded(
            torch.stack([pooled[row] for row in order]),
            nn.utils.rnn.pad_sequence([tokens[row] for row in order], batch_first=True),
            torch.arange(int(lengths.max())) < lengths[:, None],
        )

    def _prepare(self, cell: Any) -> dict[str, Tensor]:
        if self.kind == "image":
            inputs = self.processor(np.asarray(cell), input_data_format="channels_first", return_tensors="pt")
        elif self.kind == "text":
            inputs = self.processor(cell, truncation=True, max_length=self.longest, return_tensors="pt")
        else:
            audio: NDArray[np.float32] = np.asarray(cell, dtype=np.float32)
            rate = self.processor.sampling_rate
            if rate != RATE:
                audio = need("soxr", "audio").resample(audio, RATE, rate)
            inputs = self.processor(audio, sampling_rate=rate, return_tensors="pt")
        device = next(self.model.parameters()).device
        return {
            key: value.to(device, self.dtype if value.is_floating_point() else None) for key, value in inputs.items()
        }

    def _run(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        model: Any = self.model
        towers = hasattr(model, f"get_{self.kind}_features")
        if towers:
            output = getattr(model, f"get_{self.kind}_features")(**inputs)
        elif model.config.is_encoder_decoder:
            output = model.get_encoder()(**inputs)
        else:
            output = model(**inputs)
        tokens: Tensor = output.last_hidden_state
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)
        vector: Tensor | None = getattr(output, "pooler_output", None)
        if self.pooling == "cls":
            vector = tokens[:, 0]
        elif self.pooling == "max":
            vector = tokens.amax(1)
        elif self.pooling == "mean" or vector is None or (self.kind == "text" and not towers):
            vector = tokens.mean(1)
        vector = vector.flatten(1)
        return F.normalize(vector, dim=1) if self.unit else vector, tokens

    def _sentence_settings(self) -> tuple[Pooling, bool, int]:
        """(pooling, unit length?, most tokens), from the files sentence-transformers leaves beside a model."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        longest = min(self.processor.model_max_length, positions or self.processor.model_max_length, 1 << 16)
        modules = self._settings("modules.json")
        if modules is None:
            return "model", False, longest
        stages = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in modules}
        if unknown := set(stages) - {"Transformer", "Pooling", "Normalize"}:
            raise RecipeError(
                f"model: {self.name!r} has the stage {min(unknown)}; known: Transformer, Pooling, Normalize."
            )
        longest = (self._settings("sentence_bert_config.json") or {}).get("max_seq_length") or longest
        modes = self._settings(f"{stages['Pooling']}/config.json") or {} if "Pooling" in stages else {}
        chosen = {modes["pooling_mode"]} if "pooling_mode" in modes else {key for key in modes if modes[key] is True}
        chosen = {_MODES.get(mode, mode) for mode in chosen if mode != "include_prompt"}
        if not chosen:
            return "mean", "Normalize" in stages, longest
        if len(chosen) > 1 or not chosen <= set(_MODES.values()):
            raise RecipeError(
                f"model: {self.name!r} pools by {', '.join(sorted(chosen))}; known: one of mean, cls, max."
            )
        return chosen.pop(), "Normalize" in stages, longest

    def _settings(self, file: str) -> Any:
        hub = need("transformers.utils.hub", "text")
        path = hub.cached_file(self.name, file, _raise_exceptions_for_missing_entries=False)
        if path is None:
            return None
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
