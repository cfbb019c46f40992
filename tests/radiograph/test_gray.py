"""What headers make of stored values, on a synthetic radiograph whose gray values are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from helpers.archive import radiograph_header

from kneeal.radiograph import Radiograph, RadiographError, ReadOptions, read_radiograph
from tools.radiographs import RadiographOptions, draw_radiograph

GRAY = draw_radiograph(1, 1, RadiographOptions(mm_per_px=0.8, texts=0, max_rotation_deg=5, max_shift_mm=10)).gray
RAW = {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationshipSign": 1}


def read(folder: Path, gray: np.ndarray = GRAY, options: ReadOptions | None = None, **tags: Any) -> Radiograph:
    header = radiograph_header(gray, 0.8, patient="p")
    for name, value in tags.items():
        setattr(header, name, value)
    header.save_as(folder / "r.dcm", enforce_file_format=True)
    return read_radiograph(folder / "r.dcm", options)


def off(found: Radiograph, expected: Radiograph) -> float:
    return float(np.abs(found.gray.astype(int) - expected.gray).mean())


def test_raw_data_become_attenuation(tmp_path: Path) -> None:
    plain = read(tmp_path)
    intensity = np.exp(-3 * GRAY)
    for sign, picture in ((1, intensity), (-1, intensity.max() - intensity)):
        tags = {**RAW, "PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": sign}
        # As it is stored, it is some 60 levels off; the header's window is for presentation and does not count.
        assert off(read(tmp_path, picture, PhotometricInterpretation="MONOCHROME1"), plain) > 15
        assert off(read(tmp_path, picture, WindowCenter=-5000, **tags), plain) < 12
    logarithm = read(tmp_path, 1 - GRAY, PixelIntensityRelationship="LOG", **RAW)
    assert off(logarithm, plain) < 1
    # The unit of an intensity is the header's.
    lin = {**RAW, "PixelIntensityRelationship": "LIN"}
    signs = {**lin, "PixelRepresentation": 1, "BitsStored": 16, "HighBit": 15}
    assert off(read(tmp_path, intensity, RescaleSlope="0.0001", RescaleIntercept="0", **lin), plain) < 12
    signed = np.rint(intensity * 3600).astype("<i2")
    dark = np.where(np.arange(GRAY.shape[1]) % 200, signed, -5)
    assert off(read(tmp_path, PixelData=dark.tobytes(), **signs), plain) < 12
    with pytest.raises(RadiographError, match="whose meaning") as caught:
        read(tmp_path, PixelData=(signed - 1800).tobytes(), **signs)
    assert caught.value.reason == "processing"
    # What is proportional to the beam is raw, unless the header says that it is for presentation.
    beam = {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1}
    assert off(read(tmp_path, intensity, PhotometricInterpretation="MONOCHROME1", **beam), plain) < 12
    assert off(read(tmp_path, PresentationIntentType="FOR PRESENTATION", **beam), plain) == 0
    # The class of the object says that they are raw where the tag is missing.
    storage = {"SOPClassUID": pydicom.uid.DigitalXRayImageStorageForProcessing}
    for raw in (RAW, storage):
        for relationship in ("", "DISP"):
            with pytest.raises(RadiographError) as caught:
                read(tmp_path, intensity, PixelIntensityRelationship=relationship, **raw)
            assert caught.value.reason == "processing"


def test_a_window_that_shows_nothing_is_not_applied_and_told(tmp_path: Path) -> None:
    plain = read(tmp_path)
    assert plain.notes == ()
    for center, width in (("-5000", "10"), ("2000", "0"), ("2000", "1"), ("90000", "100")):
        found = read(tmp_path, WindowCenter=center, WindowWidth=width)
        assert off(found, plain) < 0.01 and "window" in found.notes[0]
    item = pydicom.Dataset()
    item.add_new(0x00283002, "US", [3, 0, 16])
    item.add_new(0x00283006, "US", [7, 7, 7])
    for lut in (item, pydicom.Dataset()):
        found = read(tmp_path, VOILUTSequence=pydicom.Sequence([lut]), WindowCenter=None, WindowWidth=None)
        assert off(found, plain) < 0.01 and len(found.notes) == 1
    # A sigmoid never quite reaches its ends.
    for center in ("-5000", "9000"):
        found = read(tmp_path, WindowCenter=center, WindowWidth="2000", VOILUTFunction="SIGMOID")
        assert off(found, plain) < 0.01 and "window" in found.notes[0]
    assert read(tmp_path, WindowCenter="1800", WindowWidth="900", VOILUTFunction="SIGMOID").notes == ()
    # A LUT is of whole numbers: of values that are rescaled to a handful, it would leave steps.
    ramp = pydicom.Dataset()
    ramp.add_new(0x00283002, "US", [4096, 0, 16])
    ramp.add_new(0x00283006, "US", list(range(0, 65536, 16)))
    tags = {"VOILUTSequence": pydicom.Sequence([ramp]), "WindowWidth": None, "RescaleIntercept": "0"}
    assert read(tmp_path, RescaleSlope="1", **tags).notes == ()
    found = read(tmp_path, RescaleSlope="0.001", **tags)
    assert off(found, plain) < 0.01 and len(found.notes) == 1
    # One that shows half of it is applied.
    assert read(tmp_path, WindowCenter="1800", WindowWidth="900").notes == ()


def test_a_rescale_or_modality_lut_that_is_no_such_is_not_applied_and_told(tmp_path: Path) -> None:
    plain, short = read(tmp_path), pydicom.Dataset()
    short.add_new(0x00283002, "US", [4096, 0, 16])
    luts: list[dict[str, Any]] = [
        {"ModalityLUTSequence": pydicom.Sequence([lut])} for lut in (short, pydicom.Dataset())
    ]
    for tags in (*luts, *({"RescaleSlope": slope, "RescaleIntercept": "0"} for slope in ("0", "nan", None))):
        found = read(tmp_path, **tags)
        assert off(found, plain) < 0.01 and "rescale" in found.notes[0]
    header = radiograph_header(GRAY, 0.8, patient="p")
    header.RescaleIntercept = 0
    header.add_new(0x00281053, "LO", "one")
    header.save_as(tmp_path / "r.dcm", enforce_file_format=True)
    assert off(read_radiograph(tmp_path / "r.dcm"), plain) < 0.01
    assert read(tmp_path, RescaleSlope="2", RescaleIntercept="-1000").notes == ()


def test_a_modality_lut_is_applied_whatever_bits_its_entries_have(tmp_path: Path) -> None:
    plain, header = read(tmp_path), radiograph_header(GRAY, 0.8, patient="p")
    inverted = 4095 - np.frombuffer(header.PixelData, "<u2")
    for bits in (12, 16):
        lut = pydicom.Dataset()
        lut.add_new(0x00283002, "US", [4096, 0, bits])
        lut.add_new(0x00283004, "LO", "US")
        lut.add_new(0x00283006, "OW", np.arange(4095, -1, -1, dtype="<u2").tobytes())
        found = read(tmp_path, PixelData=inverted.tobytes(), ModalityLUTSequence=pydicom.Sequence([lut]))
        assert off(found, plain) < 0.01 and found.notes == ()


def test_padding_is_no_part_of_the_radiograph(tmp_path: Path) -> None:
    plain, header = read(tmp_path), radiograph_header(GRAY, 0.8, patient="p")
    stored = np.frombuffer(header.PixelData, "<u2").reshape(GRAY.shape).copy()
    stored[:, :36] = 4095
    assert off(read(tmp_path, PixelData=stored.tobytes()), plain) > 20
    padded = read(tmp_path, PixelData=stored.tobytes(), PixelPaddingValue=4095)
    assert np.abs(padded.gray[:, 36:].astype(int) - plain.gray[:, 36:]).mean() < 2 and padded.gray[:, :36].max() == 0
    stored[:, :36] = np.arange(4000, 4036)
    ranged = read(tmp_path, PixelData=stored.tobytes(), PixelPaddingValue=4095, PixelPaddingRangeLimit=4000)
    assert np.array_equal(ranged.gray, padded.gray)
    # A range of signed values may hold 0.
    signed = stored.astype("<i2")
    signed[:, :36] = np.arange(-30, 6)
    ends = {"PixelPaddingValue": -30, "PixelPaddingRangeLimit": 5}
    crossing = read(tmp_path, PixelData=signed.tobytes(), PixelRepresentation=1, BitsStored=16, HighBit=15, **ends)
    assert np.abs(crossing.gray[:, 36:].astype(int) - padded.gray[:, 36:]).mean() < 1
    # What is no number says nothing.
    for tag, vr, value in ((0x00280120, "US", [4095, 0]), (0x00280120, "LO", "none"), (0x00280121, "US", None)):
        odd = radiograph_header(GRAY, 0.8, patient="p")
        odd.PixelPaddingValue = 4095
        odd.add_new(tag, vr, value)
        odd.save_as(tmp_path / "r.dcm", enforce_file_format=True)
        assert off(read_radiograph(tmp_path / "r.dcm"), plain) < 0.01


def test_a_spacing_that_repeats_the_detectors_is_divided_by_the_magnification(tmp_path: Path) -> None:
    equal = {"ImagerPixelSpacing": [0.8, 0.8], "EstimatedRadiographicMagnificationFactor": 1.25}
    assert read(tmp_path, **equal).mm_per_px == pytest.approx((0.64, 0.64))
    assert read(tmp_path, options=ReadOptions(magnification=1.1), **equal).mm_per_px[0] == pytest.approx(0.8 / 1.1)
    calibrated = {**equal, "PixelSpacingCalibrationType": "FIDUCIAL"}
    assert read(tmp_path, **calibrated).mm_per_px == (0.8, 0.8)
    assert read(tmp_path, **{**equal, "ImagerPixelSpacing": [0.9, 0.9]}).mm_per_px == (0.8, 0.8)
    # One that is rounded is repeated all the same.
    assert read(tmp_path, **{**equal, "ImagerPixelSpacing": [0.799, 0.799]}).mm_per_px[0] == pytest.approx(0.799 / 1.25)
    assert read(tmp_path, EstimatedRadiographicMagnificationFactor=1.25).mm_per_px == (0.8, 0.8)
    # Some systems write 0 where they know none.
    assert read(tmp_path, PixelSpacing=[0, 0], ImagerPixelSpacing=[0.9, 0.9]).mm_per_px == (0.9, 0.9)
    assert read(tmp_path, options=ReadOptions(mm_per_px=0.5), PixelSpacing=[0, 0]).mm_per_px == (0.5, 0.5)
    # So is one that cannot be: what the message proposes must help.
    for spacing in ([0.001, 0.001], [400, 400], ["nan", "nan"], [0.4, 0], [0.4], [-0.4, -0.4]):
        with pytest.raises(RadiographError, match="no usable pixel spacing") as caught:
            read(tmp_path, PixelSpacing=spacing)
        assert caught.value.reason == "spacing" and "--mm-per-px" in caught.value.cure
        assert read(tmp_path, options=ReadOptions(mm_per_px=0.5), PixelSpacing=spacing).mm_per_px == (0.5, 0.5)
        assert read(tmp_path, PixelSpacing=spacing, ImagerPixelSpacing=[0.9, 0.9]).mm_per_px == (0.9, 0.9)


def test_the_header_tells_side_and_flip(tmp_path: Path) -> None:
    found = read(tmp_path, ImageLaterality="R", PatientOrientation=["R", "F"])
    assert (found.sides, found.flipped) == ({"R"}, True)
    found = read(tmp_path, Laterality="L", PatientOrientation=["L", "F"])
    assert (found.sides, found.flipped) == ({"L"}, False)
    # One tag may contradict the other, or say nothing.
    assert read(tmp_path, ImageLaterality="R", Laterality="L").sides == {"R", "L"}
    assert read(tmp_path, ImageLaterality="U", Laterality="L").sides == {"L"}
    assert read(tmp_path, ImageLaterality="B", Laterality="").sides == {"B"}
    assert (read(tmp_path).sides, read(tmp_path).flipped, read(tmp_path).lateral) == (set(), False, False)
    assert read(tmp_path, PatientOrientation=["L", "H"]).flipped
    assert [read(tmp_path, PatientOrientation=[way, "F"]).lateral for way in ("A", "P", "L")] == [True, True, False]
    # A text that names no direction says nothing.
    assert not read(tmp_path, PatientOrientation="POSTERIOR").lateral


@pytest.mark.parametrize("view", ["LL", "RLO", "Lateral", "ML", "LM", "MEDIO-LATERAL", "XTABLE LAT"])
def test_a_lateral_view_is_told_by_its_position_or_code(view: str, tmp_path: Path) -> None:
    assert read(tmp_path, ViewPosition=view).lateral
    code = pydicom.Dataset()
    code.CodeMeaning = view
    assert read(tmp_path, ViewPosition="", ViewCodeSequence=pydicom.Sequence([code])).lateral


@pytest.mark.parametrize("view", ["AP", "PA", "BILAT AP", "BILATERAL", "UNILATERAL PA", "AXIAL", "", "L", "R"])
def test_another_view_is_not_lateral(view: str, tmp_path: Path) -> None:
    assert not read(tmp_path, ViewPosition=view, ViewCodeSequence=pydicom.Sequence([])).lateral


def test_a_block_that_is_filled_up_is_read_and_a_cut_one_is_truncated(tmp_path: Path) -> None:
    header = radiograph_header(GRAY, 0.8, patient="p")
    assert off(read(tmp_path, PixelData=header.PixelData + bytes(100)), read(tmp_path)) == 0
    header.compress(pydicom.uid.RLELossless)
    header.save_as(tmp_path / "whole.dcm", enforce_file_format=True)
    whole = (tmp_path / "whole.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RadiographError) as caught:
        read_radiograph(tmp_path / "cut.dcm")
    assert caught.value.reason == "truncated"
