"""Pictures for the page, read in threads of their own: a share that hangs delays neither answers nor other readers."""

import asyncio
import logging
import re
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kneeal.annotate.tasks import RefusedError
from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError
from kneeal.exchange.pictures import KneePicture, Pictures, read_source, to_png

logger = logging.getLogger("kneeal.annotate")
#: Encoded pictures that are kept; the other knee of a patient is often asked for next.
_KEPT = 24
_NAME = re.compile(rf"[0-{N_GRADES - 1}][\w .-]*\.(?:png|jpe?g|bmp|tiff?)", re.IGNORECASE)
#: More than this many pictures make the column of grades unusable.
_MAX_PICTURES = 40


@dataclass(frozen=True)
class EncodedPicture:
    """A picture as it is sent."""

    png: bytes  #: Gray of 8 bits; or, of 16 bits, red the high and green the low byte.
    metadata: Mapping[str, Any]  #: Size, side, scale and boxes, for the page.


class PictureService:
    """Reads pictures in threads that nothing else waits for.

    Args:
        pictures: The pictures.
        patients: Patient by knee, to find the other knee.
        timeout: Seconds after which a picture that is still being read counts as unavailable.
        readers: Pictures that are read at once.
    """

    def __init__(
        self, pictures: Pictures, patients: Mapping[str, str], *, timeout: float = 20.0, readers: int = 6
    ) -> None:
        self._pictures = pictures
        self.timeout = timeout
        self._slots = threading.BoundedSemaphore(readers)
        self._reading: dict[str, asyncio.Future[EncodedPicture]] = {}
        self._kept: dict[str, EncodedPicture] = {}
        self._patients = patients

    def other_knee(self, knee_id: str) -> str | None:
        """The other knee of the patient, None where the data set has none."""
        patient = self._patients.get(knee_id)
        return next((i for i, other in self._patients.items() if other == patient and i != knee_id), None)

    async def get(self, knee_id: str) -> EncodedPicture:
        """The picture of a knee.

        Raises:
            RefusedError: It cannot be read just now. The log says why, without the knee.
        """
        if kept := self._kept.get(knee_id):
            return kept
        reading = self._reading.get(knee_id)
        if reading is None:
            reading = self._reading[knee_id] = self._read(knee_id)
            reading.add_done_callback(lambda done: self._finish(knee_id, done))
        # Unlike a shielded future, a waited-for one is not logged with its error, which names the knee's file.
        finished, _ = await asyncio.wait([reading], timeout=self.timeout)
        try:
            if not finished:
                raise TimeoutError
            return reading.result()
        except Exception as error:  # of a file system, a decoder or the wait: the page asks again
            why = "it takes too long" if isinstance(error, TimeoutError) else type(error).__name__
            raise RefusedError(
                503,
                f"the picture of this knee cannot be read at the moment ({why})",
                "a radiograph that the server can read",
                "the page tries again by itself; you can put the knee off until later",
            ) from None

    def forget(self, knee_id: str) -> None:
        """Read a picture from disk the next time: a silent repeat that came faster than a new knee would be noticed."""
        self._kept.pop(knee_id, None)

    def _read(self, knee_id: str) -> asyncio.Future[EncodedPicture]:
        future: Future[EncodedPicture] = Future()

        def work() -> None:
            with self._slots:
                try:
                    future.set_result(encode(self._pictures[knee_id], self._pictures.sides[knee_id]))
                except Exception as error:  # given on to who waits for it
                    future.set_exception(error)

        # Not from a pool: a thread that hangs in a system call would keep the server from stopping.
        threading.Thread(target=work, name="picture", daemon=True).start()
        return asyncio.wrap_future(future)

    def _finish(self, knee_id: str, done: asyncio.Future[EncodedPicture]) -> None:
        del self._reading[knee_id]
        error = done.exception()
        if error is not None:
            logger.warning("a picture cannot be read: %s", type(error).__name__)
        elif done.result().metadata["full"] or self._pictures.images is None:
            # A radiograph that is missing now may be there the next time.
            self._kept[knee_id] = done.result()
            if len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]


def encode(picture: KneePicture, side: str) -> EncodedPicture:
    """A picture for the page."""
    pixels = picture.pixels
    metadata = {
        "side": side, "height": pixels.shape[0], "width": pixels.shape[1], "bits": 8 * pixels.dtype.itemsize,
        "full": picture.full, "mm_per_px": picture.mm_per_px,
        "medial": picture.medial and vars(picture.medial), "lateral": picture.lateral and vars(picture.lateral),
    }  # fmt: skip
    return EncodedPicture(to_png(pixels), metadata)


class Example(NamedTuple):
    """A picture of a grade."""

    grade: int  #: The KL grade that it shows.
    caption: str  #: The rest of its file name.
    png: bytes  #: The picture.


def read_atlas(folder: Path) -> list[Example]:
    """Pictures whose file names begin with the grade that they show, such as `2 osteophytes.png`.

    Raises:
        UserError: The folder cannot be read or has no such picture, or too many.
    """
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
    return [Example(int(path.name[0]), path.stem[1:].strip(" .-_"), to_png(read_source(path))) for path in paths]
