"""Tables as SAS files, which is how the archives hand them out."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.archive import write_test_archive
from helpers.sas_file import write_sas

from kneeal.errors import UserError
from kneeal.prepare.oai import plan_oai
from kneeal.prepare.tables import read_rows


def test_numbers_and_texts_come_out_as_text(tmp_path: Path) -> None:
    path = tmp_path / "t.sas7bdat"
    write_sas(path, ("ID", "SIDE", "V00XRKL", "READPRJ"), [(9000099.0, 1.0, 2.0, "15"), (9000296.0, 2.0, 1.9, "é")])
    assert read_rows(path, ("id", "side")) == [
        {"id": "9000099", "side": "1", "v00xrkl": "2", "readprj": "15"},
        {"id": "9000296", "side": "2", "v00xrkl": "1.9", "readprj": "é"},
    ]
    missing = float("nan")
    write_sas(path, ("ID", "V00XRKL"), [(9000099.0, missing)])
    assert read_rows(path) == [{"id": "9000099", "v00xrkl": ""}]
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="cannot be read"):
        read_rows(path)


def test_the_archive_is_the_same_with_its_tables_as_sas_files(tmp_path: Path) -> None:
    write_test_archive(tmp_path, patients=4, seed=2, mm_per_px=1.5)
    as_text = plan_oai(tmp_path)
    for name in ("kxr_sq_bu00", "enrollees"):
        lines = [line.split("|") for line in (tmp_path / f"{name}.txt").read_text().splitlines()]
        # SAS holds numbers as numbers: the id, the side without its label, the grade.
        rows = [[float(cell.split(":")[0]) if cell.split(":")[0].isdigit() else cell for cell in row]
                for row in lines[1:]]  # fmt: skip
        write_sas(tmp_path / f"{name}.sas7bdat", lines[0], rows)
        (tmp_path / f"{name}.txt").unlink()
    assert plan_oai(tmp_path) == as_text
