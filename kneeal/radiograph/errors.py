"""Why a radiograph cannot be used."""

from kneeal.errors import UserError


class RadiographError(UserError):
    """A radiograph that cannot be read, with a word for tables as the `reason`.

    No message holds a value of the header's text tags: messages end up in files that leave the hospital.
    """

    def __init__(self, reason: str, found: str, expected: str, cure: str = "remove the file") -> None:
        super().__init__(found, expected, cure)
        self.reason = reason


def too_large(size: str, most: int) -> RadiographError:
    """The picture is beyond the limit; nothing of it was decoded."""
    return RadiographError("too_large", size, f"at most {most / 1e6:g} million px", "remove the file, or scale it down")


def no_memory() -> RadiographError:
    """Decoding needs more memory than there is."""
    return RadiographError("too_large", "not enough memory for its pixels", "a smaller file")


def unreadable(what: str) -> RadiographError:
    """A file that is damaged or is something else."""
    return RadiographError(
        "unreadable", what, "a whole DICOM, PNG, JPEG, TIFF or BMP file", "fetch the file again, or remove it"
    )
