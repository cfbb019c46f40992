"""Which decoder reads which transfer syntax: one each, by name, never whatever is left when the first has failed.

pydicom tries every decoder that it finds. GDCM ends the whole process on damaged JPEG streams, so it is given nothing
that another decoder reads.
"""

import contextlib

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from kneeal.radiograph.errors import RadiographError

_EXTENDED = "1.2.840.10008.1.2.4.51"
_GDCM, _JPEG_LS, _JPEG_2000 = "python-gdcm", "pyjpegls", "pylibjpeg pylibjpeg-openjpeg"
#: Transfer syntax: pydicom's names of decoders, the better first; and what to install where none of them is there.
_DECODERS: dict[str, tuple[tuple[str, ...], str]] = {
    "1.2.840.10008.1.2.5": (("pydicom",), ""),
    "1.2.840.10008.1.2.4.50": (("pillow",), ""),
    _EXTENDED: (("pillow",), ""),
    "1.2.840.10008.1.2.4.57": (("gdcm", "pylibjpeg"), _GDCM),
    "1.2.840.10008.1.2.4.70": (("gdcm", "pylibjpeg"), _GDCM),
    "1.2.840.10008.1.2.4.80": (("pyjpegls",), _JPEG_LS),
    "1.2.840.10008.1.2.4.81": (("pyjpegls",), _JPEG_LS),
    "1.2.840.10008.1.2.4.90": (("pylibjpeg", "pillow"), _JPEG_2000),
    "1.2.840.10008.1.2.4.91": (("pylibjpeg", "pillow"), _JPEG_2000),
    "1.2.840.10008.1.2.4.201": (("pylibjpeg",), _JPEG_2000),
    "1.2.840.10008.1.2.4.202": (("pylibjpeg",), _JPEG_2000),
    "1.2.840.10008.1.2.4.203": (("pylibjpeg",), _JPEG_2000),
}


def choose_decoder(syntax: UID, *, deep: bool) -> str:
    """The name by which pydicom calls the decoder; `deep` pixels have more than 8 bits.

    Raises:
        RadiographError: With the reason "codec", where none of the decoders is installed.
    """
    names, install = _DECODERS.get(str(syntax), ((), ""))
    if syntax == _EXTENDED and deep:
        names = ("pylibjpeg",)
    decoder = None
    with contextlib.suppress(NotImplementedError):
        decoder = get_decoder(syntax)
    for name in names:
        if decoder is not None and name in decoder.available_plugins:
            return name
    if syntax == _EXTENDED and deep:
        raise RadiographError(
            "codec",
            f"{syntax.name} of more than 8 bit, which neither GDCM nor Pillow decodes for pydicom",
            "JPEG baseline, lossless, JPEG-LS, JPEG 2000, RLE or no compression",
            "convert the file, for example with dcmtk's dcmdjpeg",
        )
    cure = (
        f"pip install {install} (or '.[dicom]' in the checkout)"
        if install
        else "convert the file to an uncompressed one"
    )
    raise RadiographError("codec", f"no decoder for {syntax.name}", "a plugin of pydicom that reads it", cure)
