"""Write docs/configuration.md from the models in kneeal.config."""

from __future__ import annotations

import typing
from pathlib import Path

from kneeal.config import RunConfig

HEAD = """# Settings

Every setting of a run, with its default. The YAML file or name that `--config` gives overrides the defaults, `--set
section.key=value` overrides the file, and a flag such as `--seed` overrides both. `--config paper` is the published
experiment, whose values are also the defaults. An unknown key is refused and the nearest suggested. A file may build
on another one and change its settings key by key:

```yaml
base: frozen            # a name, or a file beside this one
active: {n_query: 20}
```

`python docs/make_configuration.py` writes this page.

| key | default | meaning |
| --- | --- | --- |
| `seed` | 0 | seed of everything random |
"""


def rows() -> typing.Iterator[str]:
    """One line of the table for each key."""
    for name, section in RunConfig():
        for key, field in type(section).model_fields.items() if name != "seed" else ():
            value = getattr(section, key)
            shown = "empty" if value is None else list(value) if isinstance(value, tuple) else value
            choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
            listed = f" ({', '.join(choices)})" if choices else ""
            yield f"| `{name}.{key}` | {shown} | {field.description or ''}{listed} |"


def text() -> str:
    """The whole page."""
    return HEAD + "\n".join(rows()) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("configuration.md").write_text(text(), encoding="utf-8")
