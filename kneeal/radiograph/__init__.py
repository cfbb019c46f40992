"""Reading one radiograph: DICOM or picture, any gray encoding, at a known physical scale, within strict limits."""

from kneeal.radiograph.errors import RadiographError
from kneeal.radiograph.image import Radiograph
from kneeal.radiograph.options import ReadOptions
from kneeal.radiograph.reader import read_radiograph

__all__ = ["Radiograph", "RadiographError", "ReadOptions", "read_radiograph"]
