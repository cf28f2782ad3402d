"""evaluate, predict, embed, index, search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .screen import Screen

Out = Annotated[Path, typer.Option(metavar="FILE", help="The Parquet file to write; of predictions also .csv.")]


def evaluate(
    run: options.Run,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Rows to evaluate on; the run's own test rows by default.")
    ] = None,
    single: Annotated[bool, typer.Option(help="Also train a model on each modality alone, once.")] = True,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """What a model is worth: in every missing pattern, from each modality alone, across modalities."""
    from plait.workflow.evaluate import evaluate as assess
    from plait.workflow.model import Model

    from . import show

    with Screen(as_json) as screen:
        model = Model.load(run)
        found = assess(model, data, singles=single, seed=seed, progress=screen.progress, watch=screen.watch)
        account = found.account()
    screen.show(account, *show.evaluation(account), show.where(run) if found.own else None)


def predict(run: options.Run, data: options.Data, out: Out, as_json: options.Json = False) -> None:
    """Write what a model predicts for each row."""
    _apply("predict_to", run, data, out, as_json)


def embed(run: options.Run, data: options.Data, out: Out, as_json: options.Json = False) -> None:
    """Write the embeddings of each row: of each modality, and of all together."""
    _apply("embed_to", run, data, out, as_json)


def _apply(what: str, run: Path, data: str, out: Path, as_json: bool) -> None:
    from plait.workflow import apply
    from plait.workflow.model import Model

    from . import show

    with Screen(as_json) as screen:
        table, columns = getattr(apply, what)(out, Model.load(run), data, screen.progress)
        account = {
            "out": str(out),
            "rows": len(table),
            "columns": columns,
            "quarantined": [vars(cell) for cell in table.quarantine],
        }
    screen.show(account, *show.written(account))


def index(
    run: options.Run,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="The rows to find; by default those that the run was fitted on."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="milvus://HOST:PORT/NAME",
            help="A collection of a Milvus server, for more rows than this machine holds; its token, if it wants one, "
            "is in the environment variable MILVUS_TOKEN. In the run folder by default.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make the index that `search` looks in anew: of other rows, or on a server."""
    from plait.workflow.indexing import index as make

    from . import show

    with Screen(as_json) as screen:
        account = make(run, data, to=to, progress=screen.progress)
    screen.show(account, *show.indexed(account))


def search(
    run: options.Run,
    text: Annotated[str | None, typer.Option(metavar="TEXT", help="Text to search with.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="An image file to search with.")] = None,
    audio: Annotated[Path | None, typer.Option(metavar="FILE", help="A sound file to search with.")] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(metavar="MODALITY=VALUE", help="A cell to search with; may be repeated."),
    ] = None,
    among: Annotated[
        list[str] | None, typer.Option(metavar="MODALITY", help="Search in it alone; may be repeated.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, metavar="N", help="Rows to find.")] = 10,
    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="RANKER", help="Look at the best rows again: a name or {name: {argument: value}}, of rankers."
        ),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, metavar="N", help="Rows that --rerank looks at.")] = 100,
    as_json: options.Json = False,
) -> None:
    """Find the rows of a run that are nearest to a text, an image, a sound, or several of them together."""
    said = options.pairs(query, "--query")
    ranker: Any = rerank
    if rerank is not None and rerank.startswith("{"):
        ranker = _mapping(rerank, "{name: {argument: value, ...}}", "--rerank")

    from plait.workflow.search import search as find

    from . import show

    with Screen(as_json) as screen:
        asked = _cells(run, {"text": text, "image": image, "audio": audio}, said)
        hits = find(run, asked, k=k, among=among, rerank=ranker, depth=depth)
    screen.show({"hits": hits}, *show.hits(hits))


def _cells(run: Path, by_kind: dict[str, Any], said: dict[str, str]) -> dict[str, Any]:
    """{modality: cell} of a query; one that goes by kind means the first modality of that kind."""
    from plait.core.errors import DataError
    from plait.workflow.search import loaded

    model, _, _ = loaded(run)
    kinds = {name: model.schema.modalities[name].kind for name in model.names}
    asked: dict[str, Any] = {}
    for kind, value in by_kind.items():
        if value is None:
            continue
        name = next((name for name, of in kinds.items() if of == kind), None)
        if name is None:
            raise DataError(f"The model in {run} has no {kind} modality, only {', '.join(kinds)}.")
        asked[name] = value
    asked |= said
    if not asked:
        raise typer.BadParameter("nothing to search with; give --text, --image, --audio or --query")
    for name, value in asked.items():
        if kinds.get(name) == "tabular":
            asked[name] = _mapping(value, f"{name}={{column: value, ...}}", "--query")
        elif kinds.get(name) in ("image", "audio"):
            # A path in a cell starts from the data's folder; one on the command line from here.
            if not Path(value).is_file():
                raise DataError(f"There is no file {value}.")
            asked[name] = str(Path(value).absolute())
    return asked


def _mapping(said: str, form: str, option: str) -> dict[str, Any]:
    """'{size: 2, city: Bern}' as a mapping."""
    import yaml

    try:
        found = yaml.safe_load(said)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{said!r}: expected '{form}'", param_hint=option)
    return found
