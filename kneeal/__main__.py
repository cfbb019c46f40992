"""`python -m kneeal`."""

import sys
from pathlib import Path

import kneeal

# Python searches the working directory first: pydicom would take a folder `gdcm` in it for a decoder.
if Path(kneeal.__path__[0]).parent != Path.cwd() and sys.path[0] in ("", str(Path.cwd())):
    del sys.path[0]

from kneeal.cli import main

if __name__ == "__main__":
    main()
