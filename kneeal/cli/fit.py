"""The commands that train, and `kneeal strategies`: `kneeal fit`, `kneeal ask`, `kneeal tell` and `kneeal pretrain`."""

import shutil
import textwrap
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from kneeal.cli.program import Accelerator, Data, RunArguments, Seed, Settings, app, with_option_groups


@app.command(epilog="Example: kneeal fit --config frozen --data knees --set active.budget=300")
@with_option_groups
def fit(
    given: RunArguments,
    config: Annotated[str | None, Option(help="A YAML file, or a name: frozen, demo, paper.")] = None,
    data: Data = None,
    out: Annotated[Path | None, Option(help="Run folder; by default under runs/, named by the settings.")] = None,
    devices: Annotated[int | None, Option(help="Number of devices.")] = None,
    init: Annotated[Path | None, Option(help="File of weights that every fit starts from.")] = None,
    resume: Annotated[bool, Option("--resume", help="Continue the run in the run folder.")] = False,
    settings: Settings = None,
) -> None:
    """Run active learning, with the manifest's grades as answers."""
    from kneeal import config as configuration

    flags = {**given.flags(data), "training.init": None if init is None else str(init), "compute.devices": devices}
    resolved = configuration.resolve(config, settings or (), flags)

    from kneeal.jobs.fit import run_fit

    run_fit(resolved, out, resume=resume)


@app.command(epilog="Example: kneeal ask RUN --data knees --strategy max_herding")
@with_option_groups
def ask(
    run: Annotated[Path, Argument(help="Run folder; created if needed.", metavar="RUN")],
    given: RunArguments,
    data: Annotated[Path | None, Option(help="Prepared data set; needed to begin a run.")] = None,
    config: Annotated[str | None, Option(help="A YAML file, or a name: frozen (the default), paper.")] = None,
    images: Annotated[Path | None, Option(help="Folder that the data set was prepared from.")] = None,
    xlsx: Annotated[bool, Option("--xlsx", help="Also write a spreadsheet.")] = False,
    settings: Settings = None,
) -> None:
    """Train on the answers so far and write the next query."""
    from kneeal.jobs.ask import run_ask

    run_ask(run, source=config, settings=settings or (), flags=given.flags(data), images=images, xlsx=xlsx)


@app.command(epilog="Example: kneeal tell RUN RUN/ask/start/answers.csv")
def tell(
    run: Annotated[Path, Argument(help="Run folder.", metavar="RUN")],
    answers: Annotated[
        Path | None,
        Argument(
            help="CSV, XLSX or Label Studio JSON; by default the readings of `kneeal annotate`.", metavar="ANSWERS"
        ),
    ] = None,
    data: Annotated[Path | None, Option(help="The data set, if it has moved.")] = None,
    as_written: Annotated[bool, Option("--as-written", help="Also read grades such as II, KL 2, 2+ and 2,0.")] = False,
    replace: Annotated[bool, Option("--replace", help="Let answers correct earlier ones.")] = False,
    close: Annotated[bool, Option("--close", help="Leave the rest open; the next query begins with it.")] = False,
) -> None:
    """Take a person's answers. All or some, in any order."""
    if answers is None:
        from kneeal.annotate.next_round import tell_readings

        tell_readings(run, data=data, close=close)
        return

    from kneeal.jobs.ask import run_tell

    run_tell(run, answers, data=data, as_written=as_written, replace=replace, close=close)


@app.command()
def pretrain(
    out: Annotated[Path, Option(help="File for the weights, for `fit --init`.")],
    data: Data = None,
    method: Annotated[str, Option(help="simsiam or vicreg.")] = "simsiam",
    epochs: Annotated[int, Option(min=1, help="How often each knee is seen.")] = 100,
    batch_size: Annotated[int, Option(min=2, help="Knees per step.")] = 128,
    learning_rate: Annotated[float, Option(min=0, help="Adam's initial learning rate, falling along a cosine.")] = 1e-3,
    config: Annotated[str | None, Option(help="A YAML file, or a name: paper.")] = None,
    seed: Seed = None,
    accelerator: Accelerator = None,
    settings: Settings = None,
) -> None:
    """Train the network on knees without grades. This needs the extra `pretrain`."""
    from kneeal import config as configuration

    flags = {"data.dir": None if data is None else str(data), "seed": seed, "compute.accelerator": accelerator}
    resolved = configuration.resolve(config, settings or (), flags)

    from kneeal.jobs.pretrain import run_pretrain

    run_pretrain(resolved, out, method=method, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)


@app.command()
def strategies(
    name: Annotated[
        str | None, Argument(help="One strategy, in full: a name, or file.py:Class.", metavar="NAME")
    ] = None,
) -> None:
    """List the acquisition strategies, or describe one."""
    from kneeal import acquisition

    if name is not None:
        info = acquisition.describe(name)
        options = ", ".join(f"{key}={value}" for key, value in info.options.items())
        print(f"{info.name}: {info.summary}\n  kind: {info.kind}\n  needs: {info.needs}")
        print(f"  options: {options or 'none'}\n  source: {info.strategy.source or 'not stated'}")
        return
    infos = list(acquisition.describe_all())
    wide = [max(len(text) for text in column) for column in zip(*((i.name, i.needs) for i in infos), strict=True)]
    width = max(80, shutil.get_terminal_size(fallback=(120, 24)).columns)
    for kind in dict.fromkeys(i.kind for i in sorted(infos, key=lambda i: (i.kind != "Baseline", i.kind))):
        print(f"\n{kind}")
        for i in (i for i in infos if i.kind == kind):
            start = f"  {i.name:<{wide[0]}}  {i.needs:<{wide[1]}}  "
            print(textwrap.fill(i.summary, width, initial_indent=start, subsequent_indent=" " * len(start)))
    note = (
        "The second column is what a strategy needs: point is one prediction per knee, samples are several from an "
        "approximate posterior such as Monte-Carlo dropout. `kneeal strategies NAME` shows its options and source."
    )
    print(f"\n{textwrap.fill(note, width)}")
