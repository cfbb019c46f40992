"""`kneeal ask` and `kneeal tell`: the loop with a person."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from kneeal.cli.program import RunArguments, Settings, app, with_option_groups


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
