"""`kneeal stopping`: when a run could have stopped."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from kneeal.cli.program import app


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
