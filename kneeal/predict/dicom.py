"""Predictions as DICOM: a Structured Report on a DICOM radiograph, else a Secondary Capture, both by highdicom."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom.sr.codedict import codes

from kneeal import __version__
from kneeal.data.grades import N_GRADES
from kneeal.data.prepared import PreparedDataset
from kneeal.errors import extra, readable
from kneeal.exchange.model_file import Card
from kneeal.exchange.pictures import DICOM_SUFFIXES, KneePicture, Pictures
from kneeal.files import atomic_folder
from kneeal.predict.predicting import Grading
from kneeal.radiograph.dicom import quiet_pydicom

_NOT_FOR_USE = "Research only, not for clinical decisions"
_SCHEME = "99KNEEAL"
#: Attributes of a radiograph by which a report names it (type 1), and those of its patient and study that a report
#: takes over and that may be empty (type 2).
_REFERRED_BY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def read_reference(source: Path) -> Any | None:
    """The header of a DICOM radiograph for a report to refer to; None where it does not name its study and series."""
    # Of a damaged file, pydicom raises many kinds.
    with readable(source, "a DICOM radiograph", "replace it", Exception), quiet_pydicom():
        image = pydicom.dcmread(source, stop_before_pixels=True)
    if not all(image.get(name) for name in _REFERRED_BY):
        return None
    for name in _MAY_BE_EMPTY:  # anonymized radiographs often lack them
        if name not in image:
            setattr(image, name, "")
    return image


def structured_report(image: Any, side: str, grading: Grading, row: int, card: Card) -> Any:
    """A comprehensive SR (TID 1500) on a row of the predictions, which refers to the radiograph of `image`."""
    import highdicom as hd

    device = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(), manufacturer_name="kneeal", model_name=f"kneeal {__version__}"
        ),
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=device),
        procedure_reported=codes.SCT.PlainRadiography,
        imaging_measurements=[_findings(image, side, grading, row, card)],
    )
    with quiet_pydicom():  # the name of the patient is as the radiograph has it; a warning about its form would show it
        written = hd.sr.ComprehensiveSR(
            evidence=[image], content=report[0], series_instance_uid=hd.UID(), series_number=900,
            sop_instance_uid=hd.UID(), instance_number=1, manufacturer="kneeal", is_complete=True, is_verified=False,
        )  # fmt: skip
    scheme = pydicom.Dataset()
    scheme.CodingSchemeDesignator = _SCHEME
    scheme.CodingSchemeName = "kneeal: Kellgren-Lawrence grades and their predictions"
    scheme.CodingSchemeVersion = __version__
    scheme.CodingSchemeResponsibleOrganization = "kneeal"
    written.CodingSchemeIdentificationSequence = [scheme]
    return written


def _findings(image: Any, side: str, grading: Grading, row: int, card: Card) -> Any:
    """Probabilities, uncertainties, the grade and the flag of a knee, as a group of measurements."""
    import highdicom as hd

    def code(value: str, meaning: str) -> Any:
        return hd.sr.CodedConcept(value=value, scheme_designator=_SCHEME, meaning=meaning)

    def measurement(name: Any, value: float, unit: Any) -> Any:
        return hd.sr.Measurement(name=name, value=round(float(value), 6), unit=unit)

    probs, total = grading.probs[row], float(grading.total[row])
    kl, flag = int(probs.argmax()), total > card.threshold.uncertainty
    one, nats = codes.UCUM.NoUnits, hd.sr.CodedConcept(value="{nat}", scheme_designator="UCUM", meaning="nat")
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier="knee"),
        finding_sites=[
            hd.sr.FindingSite(
                anatomic_location=codes.SCT.KneeJoint, laterality=codes.SCT.Left if side == "L" else codes.SCT.Right
            )
        ],
        algorithm_id=hd.sr.AlgorithmIdentification(name="kneeal", version=__version__, parameters=[_NOT_FOR_USE]),
        source_images=[hd.sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
        measurements=[
            *(measurement(code(f"P{g}", f"Probability of Kellgren-Lawrence grade {g}"), float(probs[g]), one)
              for g in range(N_GRADES)),
            measurement(code("UT", "Total uncertainty"), total, nats),
            measurement(code("UE", "Epistemic uncertainty"), float(grading.epistemic[row]), nats),
        ],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(
                name=code("KL", "Kellgren-Lawrence grade"), value=code(f"KL{kl}", f"Kellgren-Lawrence grade {kl}")
            ),
            hd.sr.QualitativeEvaluation(
                name=code("FLAG", "Review by a reader"),
                value=code("FLAG1", "Needed") if flag else code("FLAG0", "Not asked for"),
            ),
        ],
    )  # fmt: skip


def secondary_capture(picture: KneePicture, patient: str, side: str, grading: Grading, row: int, card: Card) -> Any:
    """The picture with a row of the predictions written beneath, for sources that are not DICOM."""
    import highdicom as hd

    scale = max(1, 512 // max(picture.pixels.shape))
    shown = cv2.resize(picture.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    width = max(shown.shape[1], 512)
    shown = cv2.copyMakeBorder(shown, 0, 130, 0, width - shown.shape[1], cv2.BORDER_CONSTANT, value=0)
    probs, total = grading.probs[row], float(grading.total[row])
    lines = [
        f"{'Left' if side == 'L' else 'Right'} knee: KL {int(probs.argmax())}"
        + ("  REVIEW" if total > card.threshold.uncertainty else ""),
        "p " + "  ".join(f"{g}: {float(p):.2f}" for g, p in enumerate(probs)),
        f"uncertainty total {total:.2f}, epistemic {float(grading.epistemic[row]):.2f} nat",
        f"kneeal {__version__}. {_NOT_FOR_USE}",
    ]
    for k, line in enumerate(lines):
        place = (8, shown.shape[0] - 130 + 28 * (k + 1))
        cv2.putText(shown, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1, cv2.LINE_AA)
    return hd.sc.SCImage(
        pixel_array=np.asarray(shown, np.uint8), photometric_interpretation="MONOCHROME2", bits_allocated=8,
        coordinate_system="PATIENT", study_instance_uid=hd.UID(), series_instance_uid=hd.UID(), series_number=900,
        sop_instance_uid=hd.UID(), instance_number=1, manufacturer="kneeal", patient_id=patient, laterality=side,
        patient_orientation=("L", "F"),
    )  # fmt: skip


def write_dicom(folder: Path, grading: Grading, card: Card, dataset: PreparedDataset, images: Path | None) -> int:
    """Write one DICOM object per knee into a new or empty folder, numbered as predictions.csv: all of them or none.

    Returns:
        How many of them are structured reports; the others are secondary captures.
    """
    with extra("dicom", "--dicom"):
        import highdicom  # noqa: F401 - if it is missing, nothing is written
    pictures, n_reports = Pictures(dataset, images), 0
    with atomic_folder(folder) as work:
        for row, i in enumerate(grading.ids):
            source, side = pictures.source(i), pictures.sides[i]
            is_dicom = source is not None and source.suffix.lower() in DICOM_SUFFIXES
            reference = read_reference(source) if source is not None and is_dicom else None
            if reference is not None:
                written = structured_report(reference, side, grading, row, card)
                n_reports += 1
            else:
                written = secondary_capture(pictures[i], dataset.manifest.patients[i], side, grading, row, card)
            written.save_as(work / f"{row + 1:05d}.dcm", enforce_file_format=True)
    return n_reports
