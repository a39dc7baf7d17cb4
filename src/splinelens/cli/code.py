"""``splinelens code``: does code use what does not exist, and which functions mean the same?"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import OURS, STOPPED, exit_with, require_stdout
from splinelens.cli.progress import trial_bar

IndexFile = Annotated[Path, typer.Option("--index", "-i", metavar="PARQUET", help="What code index wrote.")]


def check(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE|-", help="Python files or folders; - is a diff or code on stdin."),
    ],
    context: Annotated[
        Path | None,
        typer.Option(
            "--context",
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="The file that the code is for: it replaces the line <PLACEHOLDER>, or the function of "
            "the same name, or is added at the end.",
        ),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(
            "--project",
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="Folder of the project: where imports are looked up, and names that may be meant. "
            "Of a diff, default: the current folder.",
        ),
    ] = None,
    wrong: Annotated[
        bool,
        typer.Option("--likely-wrong", help="Also say how likely each function of the files is wrong."),
    ] = False,
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence",
            metavar="SHARE",
            help="With --likely-wrong: the share of your functions that are wrong. "
            "Default: that of the functions it was fitted on, four in five.",
        ),
    ] = None,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print one SARIF 2.1.0 log.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Find names, imports, attributes and arguments that do not exist.

    The code is never run or imported. A finding has a line, a column and a category: knowledge (it does not
    parse, or something does not exist), context (the project has it elsewhere) or requirement (an unused
    parameter, a promise of the docstring that is not kept). Findings of the category requirement are doubts,
    and do not fail. What cannot be resolved, such as a module that is not installed, is undetermined and no
    finding.

    Exit code 1: a finding of the categories knowledge or context, or a file that cannot be read. With --json
    a line for each file: "path", "verdict" (pass, fail, undetermined), "findings", "undetermined", "unread",
    and with --likely-wrong "functions".

    Examples:
      splinelens code check answer.py
      splinelens code check answer.py --context module.py --project .
      splinelens code check answer.py --likely-wrong --prevalence 0.3
      git diff | splinelens code check - --sarif
    """
    if sarif and as_json:
        raise typer.BadParameter("give --sarif or --json", param_hint="--sarif")
    if "-" in files and len(files) > 1:
        raise typer.BadParameter("- stands alone", param_hint="FILE")
    if "" in files:
        raise typer.BadParameter("an empty path names no file", param_hint="FILE")
    if prevalence is not None and not wrong:
        raise typer.BadParameter("it changes --likely-wrong, which is missing", param_hint="--prevalence")
    if wrong and (sarif or files == ["-"]):
        raise typer.BadParameter("it needs files, and no SARIF", param_hint="--likely-wrong")
    require_stdout("")

    from splinelens.apps.code import check_files, check_stdin, read_surroundings
    from splinelens.detect.code_head import CodeHead
    from splinelens.report.code import file_lines, file_record
    from splinelens.report.code import sarif as sarif_log

    around = read_surroundings(context, project)
    if files == ["-"]:
        reports = check_stdin(sys.stdin.buffer.read(), around, project)
    else:
        head = CodeHead.load() if wrong else None
        if head is not None and prevalence is None:
            share = f"{100 * head.record['share']:.0f} %"
            typer.echo(f"of functions of which {share} are wrong; give --prevalence for yours", err=True)
        reports = list(check_files(files, around, head=head, prevalence=prevalence))
    if sarif:
        print(json.dumps(sarif_log(reports, project or ""), ensure_ascii=False, indent=2))
    for file in [] if sarif else reports:
        lines = [json.dumps(file_record(file), ensure_ascii=False)] if as_json else file_lines(file)
        print("\n".join(lines), end="\n" if lines else "")
    if not (sarif or as_json):
        verdicts = [file.verdict for file in reports]
        counts = ", ".join(f"{verdicts.count(name)} {name}" for name in ("pass", "fail", "undetermined"))
        typer.echo(f"verdicts: {counts}", err=True)
    if any(file.fails for file in reports):
        raise typer.Exit(OURS)


def index(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the source files.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PARQUET", help="The index.")
    ] = options.CODE_INDEX,
    overwrite: options.Overwrite = False,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="NAME",
            help="A sentence-transformers model by hub id or folder; none leaves it out.",
        ),
    ] = options.SENTENCE_ENCODER,
    geometry: Annotated[
        str | None,
        typer.Option(
            "--geometry",
            metavar="NAME",
            help="Also read the geometry of a model, such as smollm2-135m. Its cosines are reported; its "
            "weight is 0, since nothing was gained by it.",
        ),
    ] = None,
    summaries: Annotated[
        str | None,
        typer.Option(
            "--summaries",
            metavar="NAME",
            help="Also compare one sentence on each function, which this model writes: an alias, a folder, "
            "or with --url its name there.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="Base URL of OpenAI's chat completions, which gets the functions; its key is that of the "
            "environment variable OPENAI_API_KEY.",
        ),
    ] = None,
    device: options.Device = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Index the functions of a folder, for similar and clusters.

    Python, Java and JavaScript are read; nothing is run. A stopped run continues with the same command. Files
    and functions that cannot be read are listed with their reason.

    With --json one object: "functions", "views", "left_out" (reasons by place), "output".

    Examples:
      splinelens code index src -o code.parquet
      splinelens code index src --summaries qwen2.5-coder-0.5b
    """
    if url is not None and summaries is None:
        raise typer.BadParameter("name the model there with --summaries", param_hint="--url")
    require_stdout("")

    from splinelens.apps.code_index import Embedder, index_code, unfinished
    from splinelens.generate.summaries import chat_writer, local_writer

    write, summary_model = None, summaries
    if summaries is not None and url is not None:
        write = chat_writer(url, summaries, key=os.environ.get("OPENAI_API_KEY"))
        summary_model = f"{summaries} at {url}"
    elif summaries is not None:
        write = local_writer(summaries, device)
    embedder = Embedder(None if encoder == "none" else encoder, geometry, write, summary_model, device)
    try:
        with trial_bar(not quiet, "functions") as progress:
            code_index = index_code(folder, output, embedder, overwrite=overwrite, progress=progress)
    except KeyboardInterrupt as stop:
        done, total = unfinished(output) or (0, None)
        count = (
            "before the first rows were kept" if total is None else f"after {done:,} of {total:,} functions"
        )
        raise exit_with(f"Stopped {count}; the same command continues.", STOPPED) from stop
    record = {
        "functions": len(code_index),
        "views": list(code_index.views),
        "left_out": code_index.left_out,
        "output": str(output),
    }
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
        return
    show = options.stderr_printer(quiet)
    for location, reason in code_index.left_out.items():
        show(f"left out {location}: {reason}")
    print(
        f"{len(code_index):,} functions by {', '.join(code_index.views)}; "
        f"{len(code_index.left_out):,} places left out"
    )
    print(f"unchanged: {output}" if code_index.unchanged else f"wrote {output}")


def similar(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A source file.")],
    index: IndexFile = options.CODE_INDEX,
    function: Annotated[
        str | None,
        typer.Option("--function", metavar="NAME", help="Only this function, such as Stack.push."),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Functions that are shown.")] = 5,
    device: options.Device = None,
    as_json: options.AsJson = False,
) -> None:
    """Find functions of an index that resemble those of a file.

    The first number ranks. It is the score less half of how near the function is to all others of the index,
    so that one that resembles everything is not the answer to every query. The score is a mean of cosines, 1
    for equal functions, and no probability. The reason is the same structure, or what contributes most:
    shared words, similar characters, near in the encoder, similar summaries. A function that is
    itself in the index is looked up without a model.

    With --json a line for each function: "function", "line", "similar", a list of "path", "name", "language",
    "line", "last_line", "summary", "rank_score", "score", "cosines" (by view), "reason", "shared" (words).

    Examples:
      splinelens code similar new.py --index code.parquet
      splinelens code similar new.py --function median --json
    """
    require_stdout("")

    from splinelens.apps.code_index import CodeIndex, named_functions
    from splinelens.report.code_index import match_lines

    queries = named_functions(file, function)
    texts, languages = [query.text for query in queries], [query.language for query in queries]
    answers = CodeIndex(index).similar(texts, languages, top, device)
    for query, matches in zip(queries, answers, strict=True):
        if as_json:
            record = {
                "function": query.name,
                "line": query.line,
                "similar": [match.to_dict() for match in matches],
            }
            print(json.dumps(record, ensure_ascii=False))
        else:
            print("\n".join(match_lines(f"{file}:{query.line} {query.name}", matches)))


def clusters(
    index: IndexFile = options.CODE_INDEX,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="HTML", help="Write a page with the sources, readable offline."
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    min_size: Annotated[
        int, typer.Option("--min-size", metavar="N", min=2, help="Fewest functions of a cluster.")
    ] = 2,
    as_json: options.AsJson = False,
) -> None:
    """Find groups of functions that may mean the same.

    HDBSCAN on the scores of all pairs. The most similar come first; read from the top, for functions of a
    cluster with a low score are only nearer to one another than to the others.

    With --json a line for each cluster: "score", "reason", "shared" (words), "functions".

    Examples:
      splinelens code clusters --index code.parquet
      splinelens code clusters -o clusters.html
    """
    if output is not None:
        options.page_path(output, "--output", overwrite=overwrite, source=str(index))
    require_stdout("")

    from splinelens.apps.code_index import CodeIndex
    from splinelens.report.code_index import cluster_lines

    code_index = CodeIndex(index)
    groups = code_index.clusters(min_size)
    if output is not None:  # before printing: a reader such as head may close standard output
        from splinelens.files import write_text
        from splinelens.report.code_clusters_page import clusters_html

        page = clusters_html(groups, code_index.record["folder"], len(code_index))
        write_text(output, page, overwrite=overwrite)
    if as_json:
        for cluster in groups:
            print(json.dumps(cluster.to_dict(), ensure_ascii=False))
    else:
        counts = f"{len(groups):,} clusters of {len(code_index):,} functions"
        print("\n".join([*cluster_lines(groups), counts]))
