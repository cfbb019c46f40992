"""`kneeal strategies`: the registered strategies."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(strategies)


def strategies() -> None:
    """List the strategies, what they need, and where they come from."""
    from kneeal import acquisition

    for info in acquisition.describe_all():
        options = ", ".join(f"{key}={value}" for key, value in info.options.items())
        needs = [info.posterior.name.lower(), *(["features"] if info.needs_features else [])]
        together = "   chooses knees together" if info.batch_aware else ""
        print(
            f"{info.name}\n    {info.summary}\n    needs: {', '.join(needs)}   options: {options or 'none'}{together}\n"
            f"    source: {info.source}"
        )
