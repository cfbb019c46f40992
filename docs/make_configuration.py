"""Write docs/configuration.md from the models in kneeal.config."""

from __future__ import annotations

import typing
from pathlib import Path

from kneeal.config import RunConfig

HEAD = """# Settings

Defaults, then the YAML file or name given by `--config`, then `--set section.key=value`, then flags; the later wins.
`--config paper` is the published experiment, whose values are also the defaults; `--config demo` is small. An unknown
key is refused and the nearest suggested. A file may build on another one and change its settings key by key:

```yaml
base: frozen            # a name, or a file beside this one
active: {n_query: 20}
```

This table is made by `python docs/make_configuration.py`.

| key | default | meaning |
| --- | --- | --- |
| `seed` | 0 | of everything random |
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
