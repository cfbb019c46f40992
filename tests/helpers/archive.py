"""An archive to test on: the tree, tables and tags of OAI's, with synthetic radiographs and invented patients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from kneeal.data.prepared import refuse_occupied
from kneeal.data.synthetic.cohort import patient_site
from tools.radiographs import RadiographOptions, SyntheticRadiograph, draw_radiograph

_FIRST_PATIENT = 9_000_000
_UID = "1.2.826.0.1.3680043.10.1562."
#: Identifiers in every radiograph, so that a search of the outputs finds them if they leak.
PLANTED = {"PatientName": "PLANTED^NAME", "PatientBirthDate": "19470203", "AccessionNumber": "PLANTEDACC"}


@dataclass(frozen=True)
class Made:
    """A patient of the archive, to compare with."""

    patient: str  #: Id.
    folder: str  #: Folder of the radiograph below the archive.
    site: str  #: Site.
    radiograph: SyntheticRadiograph  #: The truth about the radiograph.


def write_test_archive(
    out: Path, *, patients: int, seed: int = 0, mm_per_px: float = 0.2, options: RadiographOptions | None = None
) -> list[Made]:
    """Write contents.csv, kxr_sq_bu00.txt, enrollees.txt and one bilateral PA radiograph of each patient.

    Besides: a second reading project of every fifth knee that disagrees, and a series of another kind for every third
    patient, neither of which may be used.

    Args:
        out: Folder to make.
        patients: How many.
        seed: Seed of everything.
        mm_per_px: Pixel size; 0.2 gives radiographs of about 2,160 x 1,780 px.
        options: What radiographs are like; the pixel size here counts.

    Returns:
        The truth.
    """
    refuse_occupied(out)
    out.mkdir(parents=True, exist_ok=True)
    options = options or RadiographOptions()
    options = RadiographOptions(**{**vars(options), "mm_per_px": mm_per_px})
    made: list[Made] = []
    contents = ["Folder,ParticipantID,StudyDate,Barcode,StudyDescription,SeriesDescription"]
    readings = ["ID|SIDE|READPRJ|VERSION|V00BARCDBU|V00XRKL"]
    enrollees = ["ID|VERSION|V00SITE"]
    for k in range(patients):
        patient, site = str(_FIRST_PATIENT + 37 * k + 99), patient_site(k, seed)
        radiograph = draw_radiograph(k, seed, options)
        release = ("0.C.2", "0.E.1")[k % 2]
        folder = f"{release}/{patient}/20050{1 + k % 9}07/{10_000_000 + k}"
        barcode = f"0166{10_000_000 + k}"
        write_radiograph(out / folder / "001", radiograph, patient=patient, number=k)
        contents.append(
            f'"{folder}","{patient}","20050{1 + k % 9}07","{barcode}","OAI^XR","Bilateral PA Fixed Flexion Knee"'
        )
        if k % 3 == 0:
            contents.append(f'"{folder}9","{patient}","2005010{1 + k % 9}","{barcode}9","OAI^XR","PA Right Hand"')
        for knee in radiograph.knees:
            side = "1: Right" if knee.side == "R" else "2: Left"
            if k % 5 == 0:
                readings.append(f"{patient}|{side}|37|0.9|{barcode}|{(knee.kl or 0) % 4 + 1}")
            readings.append(f"{patient}|{side}|15|0.9|{barcode}|{knee.kl}")
        enrollees.append(f"{patient}|3|{site}")
        made.append(Made(patient, folder, site, radiograph))
    for name, lines in (("contents.csv", contents), ("kxr_sq_bu00.txt", readings), ("enrollees.txt", enrollees)):
        (out / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return made


def write_radiograph(path: Path, radiograph: SyntheticRadiograph, *, patient: str, number: int = 0) -> None:
    """Write a radiograph as a CR image of 12 bit; every second one is MONOCHROME1."""
    header = radiograph_header(radiograph.gray, radiograph.mm_per_px, patient=patient, number=number)
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)


def radiograph_header(gray: NDArray[np.float32], mm_per_px: float, *, patient: str, number: int = 0) -> FileDataset:
    """The DICOM data set of a radiograph with gray values 0 to 1."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(f"{_UID}{number + 1}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    for name, value in PLANTED.items():
        setattr(header, name, value)
    header.Modality, header.ViewPosition, header.PatientID = "CR", "PA", patient
    header.SeriesDescription = "Bilateral PA Fixed Flexion Knee"
    inverted = number % 2 == 1
    stored = np.rint((1 - gray if inverted else gray) * 3600 + 200).astype("<u2")
    header.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    header.Rows, header.Columns = stored.shape
    header.SamplesPerPixel, header.PixelRepresentation = 1, 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PixelSpacing = [mm_per_px, mm_per_px]
    header.WindowCenter, header.WindowWidth = 2048, 4096
    header.PixelData = stored.tobytes()
    return header
