"""`kneeal report`: tables, figures and one page from any set of run folders."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from kneeal.cli.program import app
from kneeal.errors import UserError


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
        labels=[int(n) for n in _numbers(labels, "--labels")],
        targets=_numbers(targets, "--targets"),
        data=data,
        title=title,
        n_thumbnails=thumbnails,
    )
    print(main.text())
    print(f"report: {out / 'report.html'}")


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UserError(f"{option} {text!r}", "numbers with commas between them", "correct the option") from error
