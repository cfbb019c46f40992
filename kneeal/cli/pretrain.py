"""`kneeal pretrain`: weights from knees without grades."""

from pathlib import Path
from typing import Annotated

from typer import Option

from kneeal.cli.program import Accelerator, Data, Seed, Settings, app


@app.command()
def pretrain(
    out: Annotated[Path, Option(help="File for the weights, for `fit --init`.")],
    data: Data = None,
    method: Annotated[str, Option(help="simsiam or vicreg.")] = "simsiam",
    epochs: Annotated[int, Option(min=1, help="How often each knee is seen.")] = 100,
    batch_size: Annotated[int, Option(min=2, help="Knees per step.")] = 128,
    learning_rate: Annotated[float, Option(help="Adam's initial learning rate; it falls along a cosine.")] = 1e-3,
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
