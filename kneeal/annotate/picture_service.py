"""Pictures for the page, read in threads of their own: a share that hangs delays neither answers nor other readers."""

import asyncio
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from kneeal.annotate.tasks import RefusedError
from kneeal.exchange.pictures import Box, KneePicture, Pictures, to_png

logger = logging.getLogger("kneeal.annotate")
#: Encoded pictures that are kept; the other knee of a patient is often asked for next.
_KEPT = 24


@dataclass(frozen=True)
class EncodedPicture:
    """A picture as it is sent."""

    png: bytes  #: Gray of 8 bits; or, of 16 bits, red the high and green the low byte.
    metadata: Mapping[str, Any]  #: Size, side, scale and boxes, for the page.

    def header(self, **more: Any) -> str:
        """The metadata as one header."""
        return json.dumps({**self.metadata, **more})


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
        self._timeout = timeout
        self._slots = threading.BoundedSemaphore(readers)
        self._reading: dict[str, asyncio.Future[EncodedPicture]] = {}
        self._kept: OrderedDict[str, EncodedPicture] = OrderedDict()
        self._knees: dict[str, list[str]] = {}
        for knee_id, patient in patients.items():
            self._knees.setdefault(patient, []).append(knee_id)
        self._patients = patients

    def other_knee(self, knee_id: str) -> str | None:
        """The other knee of the patient, None where the data set has none."""
        return next((i for i in self._knees.get(self._patients.get(knee_id, ""), []) if i != knee_id), None)

    async def get(self, knee_id: str) -> EncodedPicture:
        """The picture of a knee.

        Raises:
            RefusedError: It cannot be read just now. The log says why, without the knee.
        """
        if knee_id in self._kept:
            self._kept.move_to_end(knee_id)
            return self._kept[knee_id]
        reading = self._reading.get(knee_id)
        if reading is None:
            reading = self._reading[knee_id] = self._read(knee_id)
            reading.add_done_callback(lambda done: self._finish(knee_id, done))
        try:
            return await asyncio.wait_for(asyncio.shield(reading), self._timeout)
        except TimeoutError:
            raise _unavailable("it takes too long to read") from None
        except Exception as error:
            raise _unavailable(type(error).__name__) from None

    def forget(self, knee_id: str) -> None:
        """Read a picture from disk the next time: a silent repeat that came faster than a new knee would be noticed."""
        self._kept.pop(knee_id, None)

    def _read(self, knee_id: str) -> asyncio.Future[EncodedPicture]:
        future: Future[EncodedPicture] = Future()

        def work() -> None:
            with self._slots:
                try:
                    future.set_result(encode(self._pictures[knee_id], self._pictures.side(knee_id)))
                except Exception as error:
                    future.set_exception(error)

        # Not from a pool: a thread that hangs in a system call would keep the server from stopping.
        threading.Thread(target=work, name="picture", daemon=True).start()
        return asyncio.wrap_future(future)

    def _finish(self, knee_id: str, done: asyncio.Future[EncodedPicture]) -> None:
        del self._reading[knee_id]
        error = done.exception()
        if error is not None:
            logger.warning("a picture cannot be read: %s", type(error).__name__)
        elif done.result().metadata["full"] or not self._pictures.from_sources:
            # A radiograph that is missing now may be there the next time.
            self._kept[knee_id] = done.result()
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)


def encode(picture: KneePicture, side: str) -> EncodedPicture:
    """A picture for the page."""

    def box(box: Box | None) -> dict[str, float] | None:
        return None if box is None else vars(box)

    metadata = {
        "side": side, "height": picture.pixels.shape[0], "width": picture.pixels.shape[1], "full": picture.full,
        "mm_per_px": picture.mm_per_px, "medial": box(picture.medial), "lateral": box(picture.lateral),
        "bits": 8 * picture.pixels.dtype.itemsize,
    }  # fmt: skip
    return EncodedPicture(to_png(picture.pixels), metadata)


def _unavailable(why: str) -> RefusedError:
    return RefusedError(
        503,
        f"the picture of this knee cannot be read at the moment ({why})",
        "a radiograph that the server can read",
        "the page tries again by itself; you can put the knee off until later",
    )
