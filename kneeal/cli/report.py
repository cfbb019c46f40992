"""`kneeal report` and `kneeal stopping`: what runs have shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from typer import Argument, Option

from kneeal.cli.program import app
from kneeal.errors import UserError

T = TypeVar("T")


@app.command(epilog="Example: kneeal report runs/few_labels --out results")
def report(
    runs: Annotated[list[Path], Argument(help="Run folders, or study folders.", metavar="RUN...")],
    out: Annotated[Path, Option(help="Folder to write to.")],
    metric: Annotated[str, Option(help="Metric of the main table and the curves.")] = "balanced_accuracy",
    labels: Annotated[str, Option(help="Label counts of the table, for example 50,250,500,800.")] = "",
    targets: Annotated[str, Option(help="Values of the metric whose labels are counted, for example 0.4,0.5.")] = "",
    data: Annotated[Path | None, Option(help="Prepared data set; by default where the runs had it.")] = None,
    title: Annotated[str, Option(help="Heading of the page.")] = "Active learning for knee osteoarthritis",
    thumbnails: Annotated[int, Option(help="Pictures of knees kept in the page.", min=0)] = 2000,
) -> None:
    """Compare runs: tables, figures, statistics, one page."""
    from kneeal.report.write import write_report

    main = write_report(
        runs,
        out,
        metric=metric,
        labels=_numbers(labels, "--labels", int),
        targets=_numbers(targets, "--targets", float),
        data=data,
        title=title,
        n_thumbnails=thumbnails,
    )
    print(main.text())
    print(f"report: {out / 'report.html'}")


@app.command()
def stopping(
    run: Annotated[Path, Argument(help="A run folder.", metavar="RUN")],
    kappa: Annotated[float, Option(help="Agreement of successive rounds that is enough.")] = 0.99,
    uncertainty: Annotated[float, Option(help="Mean uncertainty in nats that is low enough.")] = 0.2,
    gain: Annotated[float, Option(help="Gain of a query that is too small.")] = 0.005,
    window: Annotated[int, Option(help="Rounds that agreement and gain are averaged over.")] = 3,
) -> None:
    """Report when a run could have stopped, and at what cost."""
    from kneeal.loop.stopping import stopping_points

    for point in stopping_points(run, kappa=kappa, uncertainty=uncertainty, smallest_gain=gain, window=window):
        if point.round is None or point.cost is None:
            why = "not met in this run" if point.known else "not known; the run keeps no numbers for it"
            print(f"{point.criterion}: {why}")
        else:
            print(
                f"{point.criterion}: after round {point.round + 1} with {point.n_labeled} labels, "
                f"saving {point.labels_saved}; "
                f"test balanced accuracy {100 * point.cost:+.1f} points by the end"
            )


def _numbers(text: str, option: str, kind: Callable[[str], T]) -> list[T]:
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        expected = f"{'whole ' * (kind is int)}numbers with commas between them"
        raise UserError(f"{option} {text!r}", expected, "correct the option") from error
