"""Nothing of a header but what is needed reaches any output: identifiers planted in every text tag there is."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from pathlib import Path

import pydicom
import pytest
from helpers.archive import radiograph_header
from helpers.commands import kneeal
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from tools.radiographs import RadiographOptions, draw_radiograph

#: Every VR of text, and what is planted there: found by a search for one word each.
SECRETS = {
    "AE": "PLANTEDAE", "AS": "077Y", "CS": "PLANTEDCS", "DA": "19470203", "DS": "7194.71947", "DT": "19470203070707",
    "IS": "719471947", "LO": "PLANTEDLO", "LT": "PLANTEDLT", "PN": "PLANTED^PN", "SH": "PLANTEDSH", "ST": "PLANTEDST",
    "TM": "071947", "UC": "PLANTEDUC", "UI": "1.2.19470203.7", "UR": "PLANTED.UR", "UT": "PLANTEDUT",
}  # fmt: skip
WORDS = (b"PLANTED", b"19470203", b"071947", b"719471947", b"7194.71947")
#: Without these the picture cannot be read; their values are no identifiers. Group 0002 belongs to the file.
NEEDED = {
    "SOPClassUID", "PhotometricInterpretation", "PixelSpacing", "WindowCenter", "WindowWidth", "PatientID",
    "SpecificCharacterSet", "NumberOfFrames", "ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "VOILUTFunction", "DistanceSourceToDetector",
    "DistanceSourceToPatient", "NominalScannedPixelSpacing",
}  # fmt: skip


def planted_radiograph(path: Path, patient: int) -> int:
    """Write a radiograph full of secrets; how many tags hold one."""
    radiograph = draw_radiograph(patient, 31, RadiographOptions(mm_per_px=0.6))
    header = radiograph_header(radiograph.gray, radiograph.mm_per_px, patient=f"PLANTEDID{patient}")
    n = 0
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if vr in SECRETS and keyword and not retired and keyword not in NEEDED and tag >> 16 > 2:
            header.add_new(tag, vr, SECRETS[vr])
            n += 1
    inner = Dataset()
    inner.PatientName, inner.OtherPatientIDs = "PLANTED^INNER", "PLANTEDOTHER"
    header.OtherPatientIDsSequence = [inner]
    block = header.private_block(0x0011, "PLANTEDMAKER", create=True)
    block.add_new(0x01, "LO", "PLANTEDPRIVATE")
    # What is no date, name or number of its kind makes pydicom warn, and print it.
    header.add_new("StudyDate", "DA", "PLANTEDDATE")
    header.file_meta.SourceApplicationEntityTitle = "PLANTEDAE"
    header.save_as(path)
    return n


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("radiographs")
    assert min(planted_radiograph(folder / f"{k}.dcm", k) for k in range(2)) > 1500
    whole = (folder / "0.dcm").read_bytes()
    (folder / "short.dcm").write_bytes(whole[: len(whole) // 2])
    header = pydicom.dcmread(folder / "0.dcm")
    for name, change in (("color", {"PhotometricInterpretation": "PLANTEDCOLOUR"}),
                         ("spacing", {"PixelSpacing": [0, 0]}), ("frames", {"NumberOfFrames": 3})):  # fmt: skip
        damaged = pydicom.dcmread(folder / "0.dcm")
        for keyword, value in change.items():
            setattr(damaged, keyword, value)
        damaged.PatientID = f"PLANTEDID{name}"
        damaged.save_as(folder / f"{name}.dcm")
    header.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    header.PatientID, header.PixelData = "PLANTEDIDcodec", pydicom.encaps.encapsulate([b"\xff\xd8PLANTED"])
    header["PixelData"].VR = "OB"
    header.save_as(folder / "codec.dcm")
    return folder


def unpacked(data: bytes) -> bytes:
    """The bytes, and whatever is packed in them: arrays of .npz, pictures in base64."""
    more = [base64.b64decode(code) for code in re.findall(rb"base64,([A-Za-z0-9+/=]+)", data)]
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            more += [archive.read(name) for name in archive.namelist()]
    return b"\n".join([data, *more])


def test_no_text_of_any_tag_reaches_any_output(radiographs: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    said = kneeal(
        "prepare", "dicom", radiographs, "--out", tmp_path / "out", "--work", tmp_path / "work", "--pseudonymize",
        tmp_path / "key", "--markers", "ignore", "--workers", "0",
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    outputs = [path for folder in ("out", "work") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert {"manifest.csv", "rejected.csv", "sheet.html", "dataset.json", "patches.npy"} <= {p.name for p in outputs}
    reasons = (tmp_path / "out" / "rejected.csv").read_text()
    assert {"mismatch", "spacing", "frames"} <= set(re.split(r"[,\n]", reasons))
    texts = [(path.name, path.name.encode() + unpacked(path.read_bytes())) for path in outputs]
    texts += [("stdout", said.stdout.encode()), ("stderr", said.stderr.encode())]
    for name, data in texts:
        for word in WORDS:
            assert word not in data, (name, word)
    # The pictures of the sheet hold pixels and nothing else: no EXIF, no comment.
    for code in re.findall(r"base64,([A-Za-z0-9+/=]+)", (tmp_path / "out" / "sheet.html").read_text()):
        jpeg = base64.b64decode(code)
        assert b"\xff\xe1" not in jpeg[:64] and b"\xff\xfe" not in jpeg[:64]


def test_without_a_key_the_patient_id_alone_is_kept(radiographs: Path, tmp_path: Path) -> None:
    said = kneeal("prepare", "dicom", radiographs, "--out", tmp_path / "out", "--markers", "ignore", "--workers", "0")
    assert said.returncode == 0, said.stderr
    for path in (tmp_path / "out").iterdir():
        rest = re.sub(rb"PLANTEDID\w+?(?=[_,\s<&(\"])", b"", unpacked(path.read_bytes()))
        for word in WORDS:
            assert word not in rest, (path.name, word)


def test_a_message_that_ends_the_command_holds_none(radiographs: Path, tmp_path: Path) -> None:
    only_bad = tmp_path / "bad.txt"
    for name in ("short", "color", "codec"):
        (tmp_path / f"{name}.dcm").write_bytes((radiographs / f"{name}.dcm").read_bytes())
    only_bad.write_text("short.dcm\ncolor.dcm\ncodec.dcm\n")
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    said = kneeal("prepare", "dicom", only_bad, "--out", tmp_path / "out", "--pseudonymize", tmp_path / "key",
                  "--workers", "0")  # fmt: skip
    assert said.returncode == 2 and "no knee could be used" in said.stderr
    assert not any(word.decode() in said.stderr + said.stdout for word in WORDS)
    reports = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(reports) == {"rejected.csv", "sheet.html"}
    assert not any(word in text for word in WORDS for text in reports.values())
