"""`kneeal strategies`: the acquisition strategies there are."""

import shutil
import textwrap
from typing import Annotated

from typer import Argument

from kneeal.cli.program import app


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
