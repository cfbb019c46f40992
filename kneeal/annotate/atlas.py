"""The site's own examples of the grades, beside their definitions on the page."""

import re
from pathlib import Path

from kneeal.annotate.tasks import RefusedError
from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError
from kneeal.exchange.pictures import read_picture, to_png

_NAME = re.compile(rf"[0-{N_GRADES - 1}][\w .-]*\.(?:png|jpe?g|bmp|tiff?)", re.IGNORECASE)
#: More than this many pictures make the column of grades unusable.
_MAX_PICTURES = 40


class Atlas:
    """Pictures whose file names begin with the grade that they show, such as `2 osteophytes.png`.

    Raises:
        UserError: The folder cannot be read or has no such picture, or too many.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._pictures: dict[str, bytes] = {}
        if folder is None:
            return
        try:
            paths = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
        except OSError as error:
            raise UserError(f"--atlas {folder}: {error.strerror}", "a folder of pictures", "check --atlas") from error
        if not 0 < len(paths) <= _MAX_PICTURES:
            raise UserError(
                f"{len(paths)} pictures of grades in {folder}",
                f"1 to {_MAX_PICTURES} PNG, JPEG, BMP or TIFF files whose names begin with the grade",
                "name them for example `2 osteophytes.png`",
            )
        self._pictures = {f"{k}": to_png(read_picture(path)) for k, path in enumerate(paths)}
        #: Grade and caption of each picture, by its name in addresses.
        self._captions = {f"{k}": (int(path.name[0]), path.stem[1:].strip(" .-_")) for k, path in enumerate(paths)}

    @property
    def names(self) -> list[tuple[str, int, str]]:
        """Name, grade and caption of each picture."""
        return [(name, *self._captions[name]) for name in self._pictures]

    def read(self, name: str) -> bytes:
        """A picture as PNG.

        Raises:
            RefusedError: No picture has that name.
        """
        if name not in self._pictures:
            raise RefusedError(404, "no such picture", "one of the atlas", "load the page again")
        return self._pictures[name]
