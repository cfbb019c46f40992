from __future__ import annotations

import os
import re
import shlex
import zlib
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from kneeal.data.patches import cut_patch_pair, scale_intensities
from kneeal.data.prepared import PreparedDataset
from kneeal.data.synthetic.cohort import draw_synthetic
from kneeal.errors import UserError
from kneeal.prepare.folder import prepare_folder, read_gray
from kneeal.prepare.notation import grade_names
from kneeal.prepare.pictures import FolderOptions
from kneeal.prepare.summary import FolderSummary

MM = 101.0


def picture(seed: int = 0, shape: tuple[int, ...] = (224, 224)) -> np.ndarray:
    return cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), (9, 9), 0)


def save(path: Path, image: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, picture(zlib.crc32(path.stem.encode())) if image is None else image)
    assert done
    path.write_bytes(data.tobytes())
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "knees"
    for name in ("train/0/001L", "train/3/001R", "train/2/002L", "val/4/003R", "val/0/003L"):
        save(root / f"{name}.png")
    return root


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_public_layout_becomes_a_prepared_data_set(source: Path, tmp_path: Path) -> None:
    done: list[int] = []
    summary = prepare_folder(source, tmp_path / "out", progress=done.append)
    assert sum(done) == 5
    dataset = PreparedDataset.open(tmp_path / "out", verify=True)
    manifest = dataset.manifest
    assert manifest.kl == {"001_L": 0, "002_L": 2, "001_R": 3, "003_L": 0, "003_R": 4}
    assert manifest.patients["001_R"] == "001"
    assert set(manifest.column("site").values()) == {""}
    assert manifest.column("split") == {
        "001_L": "train",
        "001_R": "train",
        "002_L": "train",
        "003_L": "test",
        "003_R": "test",
    }
    assert list(manifest.frame["side"]) == [i[-1] for i in manifest.ids]
    assert dataset.info["options"] == {"roi_mm": MM, "joint_offset_mm": 3.0, "test_split": "val"}
    assert summary.counts == {
        ("train", 0): 1, ("train", 2): 1, ("train", 3): 1, ("test", 0): 1, ("test", 4): 1,
    }  # fmt: skip
    for knee, path in zip(manifest.ids, manifest.frame["path"], strict=True):
        gray = scale_intensities(read_gray(source / path))
        expected = cut_patch_pair(gray, MM / 224, knee[-1], joint_offset_mm=3.0)
        np.testing.assert_array_equal(dataset.patches[dataset.row[knee]], expected)


def test_that_val_becomes_the_test_set_is_said(source: Path, tmp_path: Path) -> None:
    summary = prepare_folder(source, tmp_path / "out")
    assert any(note.startswith("val is the test set") for note in summary.notes)
    assert "val is the test set" in str(summary)


def test_with_a_test_folder_val_stays_val(source: Path, tmp_path: Path) -> None:
    save(source / "test/1/009L.png")
    summary = prepare_folder(source, tmp_path / "out")
    splits = PreparedDataset.open(tmp_path / "out").manifest.column("split")
    assert (splits["003_L"], splits["009_L"]) == ("val", "test")
    assert summary.notes == ()


def test_grade_folders_alone_leave_the_split_open(tmp_path: Path) -> None:
    for name in ("0/1L.png", "4/1_R.tif", "2/Ärztin 7膝L.jpg"):
        save(tmp_path / "knees" / name)
    summary = prepare_folder(tmp_path / "knees", tmp_path / "out")
    manifest = PreparedDataset.open(tmp_path / "out").manifest
    assert manifest.kl == {"1_L": 0, "1_R": 4, "Ärztin 7膝_L": 2}
    assert set(manifest.column("split").values()) == {""}
    assert "(open)" in str(summary)


def test_auto_test_and_other_folders_are_left_out_and_counted(source: Path, tmp_path: Path) -> None:
    for name in ("auto_test/0/001L_1", "auto_test/0/001L_2", "more/0/008L"):
        save(source / f"{name}.png")
    (source / "notes").mkdir()
    summary = prepare_folder(source, tmp_path / "out")
    assert len(PreparedDataset.open(tmp_path / "out").manifest) == 5
    assert any("auto_test" in note and "2 pictures" in note for note in summary.notes)
    assert any("more is left out: 1 " in note for note in summary.notes)
    assert not any("notes" in note for note in summary.notes)


def test_links_to_folders_are_not_followed(source: Path, tmp_path: Path) -> None:
    (source / "train/4").symlink_to(source / "train", target_is_directory=True)
    summary = prepare_folder(source, tmp_path / "out")
    assert len(PreparedDataset.open(tmp_path / "out").manifest) == 5
    assert any("train/4 is left out: a link" in note for note in summary.notes)


def test_hidden_and_other_files_are_no_pictures(source: Path, tmp_path: Path) -> None:
    (source / "train/0/._001L.png").write_bytes(b"AppleDouble")
    (source / "train/0/readme.txt").write_text("x")
    prepare_folder(source, tmp_path / "out")
    assert len(PreparedDataset.open(tmp_path / "out").manifest) == 5


@pytest.mark.parametrize("name", ["train/0/001.png", "train/7/008L.png", "train/008L.png", "train/0/deep/008L.png"])
def test_a_picture_outside_the_layout_is_named(source: Path, tmp_path: Path, name: str) -> None:
    save(source / name)
    with pytest.raises(UserError, match=f"{name}[^$]*patient><L"):
        prepare_folder(source, tmp_path / "out")


def test_bad_pictures_are_all_named_at_once_or_left_out(source: Path, tmp_path: Path) -> None:
    color = picture(1, (224, 224, 3))
    bad = {
        "color": save(source / "train/1/010L.png", color),
        "not square": save(source / "train/1/011L.png", picture(2, (224, 200))),
        "broken": source / "train/1/012L.png",
        "empty": source / "train/1/013L.png",
        "flat": save(source / "train/1/014L.png", np.full((224, 224), 9, np.uint8)),
    }
    bad["broken"].write_bytes((source / "train/0/001L.png").read_bytes()[:60])
    bad["empty"].touch()
    with pytest.raises(UserError) as caught:
        prepare_folder(source, tmp_path / "out")
    assert caught.value.found.startswith("5 of 10 pictures")
    for path in bad.values():
        assert str(path) in caught.value.found
    for reason in ("in color", "not square (200 x 224 px)", "damaged or of another format", "all of one gray"):
        assert reason in caught.value.found
    assert left(tmp_path) == ["knees", "out"] and left(tmp_path / "out") == ["rejected.csv"]
    named = (tmp_path / "out/rejected.csv").read_text().splitlines()
    assert len(named) == 6 and named[1].startswith("010,L,train/1/010L.png,unusable,") and "in color" in named[1]
    assert "--drop-unusable" in caught.value.cure
    summary = prepare_folder(source, tmp_path / "out", FolderOptions(drop_unusable=True))
    assert len(PreparedDataset.open(tmp_path / "out", verify=True).manifest) == 5
    assert "left out because unusable: 5 pictures, named in rejected.csv" in summary.notes
    assert (tmp_path / "out/rejected.csv").read_text().splitlines() == named


def test_a_scale_that_leaves_no_room_for_the_patches_is_refused(source: Path, tmp_path: Path) -> None:
    for drop in (False, True):
        with pytest.raises(UserError, match=r"5 of 5[^$]*50 mm[^$]*--roi-mm") as caught:
            prepare_folder(source, tmp_path / "out", FolderOptions(roi_mm=50.0, drop_unusable=drop))
        # That would leave nothing.
        assert "--drop-unusable" not in caught.value.cure and left(tmp_path / "out") == ["rejected.csv"]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_scale_is_refused(source: Path, tmp_path: Path, value: float) -> None:
    with pytest.raises(UserError, match="--roi-mm"):
        prepare_folder(source, tmp_path / "out", FolderOptions(roi_mm=value))


def test_an_impossible_offset_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--joint-offset-mm"):
        prepare_folder(source, tmp_path / "out", FolderOptions(joint_offset_mm=float("nan")))


def test_a_patient_in_two_splits_is_refused(source: Path, tmp_path: Path) -> None:
    save(source / "val/1/002R.png")
    with pytest.raises(UserError, match="two splits: 002"):
        prepare_folder(source, tmp_path / "out")


def test_a_knee_with_two_grades_is_refused_with_both_files(source: Path, tmp_path: Path) -> None:
    save(source / "train/4/001L.png")
    with pytest.raises(UserError, match=r"train/0/001L\.png.*train/4/001L\.png") as caught:
        prepare_folder(source, tmp_path / "out")
    assert "keep one row of each knee" in caught.value.cure


def test_a_folder_without_pictures_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no picture"):
        prepare_folder(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UserError, match=r"no folder .*: it does not exist"):
        prepare_folder(tmp_path / "gone", tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"no folder .*: it is a file"):
        prepare_folder(tmp_path / "file", tmp_path / "out")


def test_an_occupied_folder_is_refused_before_any_work(source: Path, tmp_path: Path) -> None:
    save(tmp_path / "out/kept.png")
    with pytest.raises(UserError, match="already exists"):
        prepare_folder(source, tmp_path / "out")
    assert left(tmp_path / "out") == ["kept.png"]


def test_a_folder_that_fails_while_it_is_read_is_not_passed_over(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def deny(path: str) -> object:
        if str(path).endswith("train/3"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(UserError, match="Permission denied"):
        prepare_folder(source, tmp_path / "out")


def test_gray_pictures_of_every_form_are_read(tmp_path: Path) -> None:
    gray = picture(3)
    forms = {
        "gray": gray,
        "three": np.dstack([gray] * 3),
        "alpha": np.dstack([gray] * 3 + [np.full_like(gray, 200)]),
    }
    for name, image in forms.items():
        np.testing.assert_array_equal(read_gray(save(tmp_path / f"{name}.png", image)), gray)
    deep = gray.astype(np.uint16) * 257 + np.arange(gray.size, dtype=np.uint16).reshape(gray.shape) % 97
    # Several channels of 16 bit keep their lower 8 bits as well.
    for name, image in {"deep": deep, "three": np.dstack([deep] * 3), "alpha": np.dstack([deep] * 3 + [deep])}.items():
        np.testing.assert_array_equal(read_gray(save(tmp_path / f"{name} 16.png", image)), deep)
    palette = Image.fromarray(gray).convert("P")  # its colors are grays
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_gray(tmp_path / "palette.png"), gray)
    Image.fromarray(gray > 99).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_gray(tmp_path / "bits.png"), np.where(gray > 99, 255, 0))


def test_a_damaged_or_colored_picture_is_refused_by_name(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png", ".bmp", ".tif"):
        path = save(tmp_path / f"cut{suffix}", picture(3))
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])  # OpenCV would read half a JPEG, and fill the rest with one gray
        with pytest.raises(UserError, match=rf"cut{suffix}: (its end is missing|the picture is damaged)"):
            read_gray(path)
    colors = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)).convert("P")
    colors.save(tmp_path / "colors.png")
    with pytest.raises(UserError, match=r"colors\.png: the picture is in color"):
        read_gray(tmp_path / "colors.png")


def test_a_picture_of_real_numbers_is_read_where_they_are_finite(tmp_path: Path) -> None:
    numbers = picture().astype(np.float32) / 1000
    read = read_gray(save(tmp_path / "a.tif", numbers))
    scaled = (numbers - numbers.min()) / (numbers.max() - numbers.min()) * 65535
    assert read.dtype == np.uint16 and np.abs(read - scaled).max() <= 0.51
    numbers[3, 4] = np.nan
    with pytest.raises(UserError, match="finite"):
        read_gray(save(tmp_path / "b.tif", numbers))


def test_a_summary_is_a_table() -> None:
    text = str(FolderSummary({("train", 0): 3, ("train", 4): 2, ("test", 1): 1}, ("a note",)))
    assert text.splitlines()[1:] == [
        "train           3      0      0      0      2      5",
        "test            0      1      0      0      0      1",
        "a note",
    ]


def test_the_real_knees(shared_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "few"
    for grade in "01234":
        for split in ("train", "val"):
            folder = root / split / grade
            folder.mkdir(parents=True)
            for path in sorted((shared_data / "oai_knees" / split / grade).iterdir())[:12]:
                (folder / path.name).symlink_to(path)
    summary = prepare_folder(root, tmp_path / "out")
    assert Counter(summary.counts) == {(s, g): 12 for s in ("train", "test") for g in range(5)}
    patches = PreparedDataset.open(tmp_path / "out").patches.astype(np.float32)
    # The joint space is the darkest band of the mean knee; it belongs near the center row.
    profile = np.median(patches, axis=0)[:, :, 30:90].mean(2)
    for rows in profile:
        trend = np.convolve(np.pad(rows, 20, mode="edge"), np.full(41, 1 / 41), mode="valid")
        assert abs(int(np.argmin((rows - trend)[30:98])) + 30 - 64) <= 12
    # Beyond the margin of the joint, on the left in both patches, there is soft tissue.
    assert (patches[..., :10].mean((0, 2, 3)) < patches[..., 60:].mean((0, 2, 3)) - 30).all()


def test_a_pattern_takes_any_layout_and_what_it_leaves_out_is_told(tmp_path: Path) -> None:
    for name in ("x/Train/KL 0/7_left", "x/Train/KL III/8_right", "x/Valid/KL 4/9_left", "more/notes"):
        save(tmp_path / f"in/{name}.jpg")
    pattern = r"(?P<split>\w+)/KL (?P<grade>\w+)/(?P<patient>\d)_(?P<side>\w+)\."
    summary = prepare_folder(tmp_path / "in", tmp_path / "out", FolderOptions(pattern=pattern))
    manifest = PreparedDataset.open(tmp_path / "out").manifest
    assert manifest.kl == {"7_L": 0, "8_R": 3, "9_L": 4}
    assert manifest.column("split") == {"7_L": "train", "8_R": "train", "9_L": "test"}
    assert summary.notes[0] == "left out by --pattern: 1 picture: more/notes.jpg"


def test_a_refused_layout_is_answered_with_options_that_take_it(tmp_path: Path) -> None:
    for k in range(12):
        save(tmp_path / f"in/{('Normal', 'Severe')[k % 2]}/{k // 2}-{'LR'[k % 2]}.png")
    with pytest.raises(UserError) as caught:
        prepare_folder(tmp_path / "in", tmp_path / "out")
    words = shlex.split(caught.value.cure)
    options = dict(pairwise(words))
    given = FolderOptions(pattern=options["--pattern"], grades=grade_names(options["--grades"]))
    prepare_folder(tmp_path / "in", tmp_path / "out", given)
    assert set(PreparedDataset.open(tmp_path / "out").manifest.kl.values()) == {0, 4}


def test_a_table_names_pictures_of_any_shape_and_side(tmp_path: Path) -> None:
    for k, name in enumerate(("a.png", "b.png", "sub/C.png", "d.png")):
        save(tmp_path / "in" / name, picture(k, (260, 300)))
    table = tmp_path / "t.csv"
    table.write_text("file,who,knee,kl,set\nA.PNG,p,R,2,train\nb,p,links,n/a,train\nsub/c.png,q,,1,test\nd.png,,L,0,\n")
    columns = {"path": "file", "patient": "who", "side": "knee", "grade": "kl", "split": "set"}
    options = FolderOptions(table=table, columns=columns, side="R", mm_per_px=0.4)
    summary = prepare_folder(tmp_path / "in", tmp_path / "out", options)
    data = PreparedDataset.open(tmp_path / "out")
    frame = data.manifest.frame
    assert list(frame["knee_id"] + " " + frame["path"] + " " + frame["kl"] + " " + frame["split"]) == [
        "p_R a.png 2 train", "q_R sub/C.png 1 test", "d_L d.png 0 ",
    ]  # fmt: skip
    assert any("left out without a grade: 1 knee;" in note for note in summary.notes)
    assert any("no patient is known" in note for note in summary.notes)
    assert not any("not name" in note for note in summary.notes)
    expected = cut_patch_pair(scale_intensities(picture(3, (260, 300))), 0.4, "L", joint_offset_mm=3.0)
    np.testing.assert_array_equal(data.patches[2], expected)
    assert data.info["options"]["mm_per_px"] == 0.4
    save(tmp_path / "in" / "e.png", picture(4, (260, 300)))
    options_of_all = replace(options, ungraded=True, roi_mm=120, mm_per_px=None)
    summary = prepare_folder(tmp_path / "in", tmp_path / "all", options_of_all)
    assert "left out, since the table does not name them: 1 picture: e.png" in summary.notes
    assert len(PreparedDataset.open(tmp_path / "all").manifest) == 4
    for wrong, said in (
        ({"side": ""}, "no side for 1 of 3"), ({"mm_per_px": None}, "not square"),
        ({"table": tmp_path / "gone.csv"}, "no file"), ({"roi_mm": 90.0}, "--roi-mm and --mm-per-px"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            prepare_folder(tmp_path / "in", tmp_path / "new", replace(options, **wrong))
    table.write_text("path,grade,side\nb.png,1,L\n\nnone.png,2,R\n")
    with pytest.raises(UserError, match=r"1 of 2 pictures are not below .*'none.png' in line 4"):
        prepare_folder(tmp_path / "in", tmp_path / "new", FolderOptions(table=table, mm_per_px=0.4))


def test_a_picture_that_a_table_names_twice_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name)
    table = tmp_path / "t.csv"
    for text, places in (
        ("path,patient,KL_R,KL_L\na.png,p,2,3\n", "a.png in line 2, a.png in line 2"),
        ("path,patient,side,grade\na.png,p,R,2\nb.png,p,L,1\nA,q,R,3\n", "a.png in line 2, a.png in line 4"),
    ):
        table.write_text(text)
        with pytest.raises(UserError, match=f"more than once: {places}"):
            prepare_folder(tmp_path / "in", tmp_path / "out", FolderOptions(table=table))
    table.write_text("path,patient,KL_R,KL_L\na.png,p,2,\nb.png,p,,3\n")
    prepare_folder(tmp_path / "in", tmp_path / "out", FolderOptions(table=table))
    assert PreparedDataset.open(tmp_path / "out").manifest.kl == {"p_R": 2, "p_L": 3}
    table.write_text("path,KL,Seite\na.png,2,R\n")
    with pytest.raises(UserError, match="without the column grade; it has path, KL, Seite"):
        prepare_folder(tmp_path / "in", tmp_path / "new", FolderOptions(table=table))
    with pytest.raises(UserError, match="no side for 1 of 1 knees") as caught:
        prepare_folder(tmp_path / "in", tmp_path / "new", FolderOptions(table=table, columns={"grade": "KL"}))
    assert "--side-column" in caught.value.cure


def test_a_split_is_the_same_in_every_form_of_its_name(tmp_path: Path) -> None:
    for name in ("Train/0/1L", "valid/1/2L", "Testing/4/3R", "auto_test/4/3R_1"):
        save(tmp_path / f"in/{name}.png")
    summary = prepare_folder(tmp_path / "in", tmp_path / "out")
    assert PreparedDataset.open(tmp_path / "out").manifest.column("split") == {
        "1_L": "train",
        "2_L": "val",
        "3_R": "test",
    }
    assert summary.notes == ("auto_test is left out: 1 picture",)


@pytest.mark.parametrize(("patient", "site"), [("=1+1", ""), ("@SUM", ""), ("p", "=cmd()")])
def test_no_cell_is_a_formula(tmp_path: Path, patient: str, site: str) -> None:
    save(tmp_path / "in/=a.png")
    table = tmp_path / "t.csv"
    table.write_text(f"path,patient,side,grade,site\n=a.png,{patient},R,1,{site}\n")
    with pytest.raises(UserError, match=f"{re.escape(site or patient)}.* in line 2"):
        prepare_folder(tmp_path / "in", tmp_path / "out", FolderOptions(table=table))
    table.write_text("path,patient,side,grade\n=a.png,p,R,1\n")
    prepare_folder(tmp_path / "in", tmp_path / "out", FolderOptions(table=table))
    assert list(PreparedDataset.open(tmp_path / "out").manifest.frame["path"]) == ["./=a.png"]


def test_unknown_sides_are_found_on_the_pictures(tmp_path: Path) -> None:
    for k in range(6):
        _, radiograph = draw_synthetic(k, "RL"[k % 2], 5)
        save(tmp_path / f"in/{k % 3}/picture {k}.png", radiograph[41:-41, 41:-41])
    options = FolderOptions(pattern=r"(?P<grade>\d)/", side="unknown", roi_mm=110.0, joint_offset_mm=0.0)
    summary = prepare_folder(tmp_path / "in", tmp_path / "out", options)
    sides = {Path(path).stem[-1]: side for path, side in PreparedDataset.open(tmp_path / "out").manifest.frame[
        ["path", "side"]].itertuples(index=False)}  # fmt: skip
    # They are drawn, not real, so that the rule for real ones may miss one.
    assert len(sides) == 6 and sum(sides[str(k)] == "RL"[k % 2] for k in range(6)) >= 5
    assert any("side of 6 knees was found" in note for note in summary.notes)


def test_identical_pictures_are_told_or_dropped(source: Path, tmp_path: Path) -> None:
    copy = picture(5)
    for name in ("train/1/010L", "train/1/011R"):
        save(source / f"{name}.png", copy)
    summary = prepare_folder(source, tmp_path / "out")
    note = next(note for note in summary.notes if "more than once" in note)
    assert "2 files hold 1 picture more than once" in note and "train/1/010L.png = train/1/011R.png" in note
    for name, told in (("val/1/012L", "1 of them in two splits"), ("train/4/013R", "1 under two grades")):
        path = save(source / f"{name}.png", copy)
        note = prepare_folder(source, tmp_path / f"all {name[-4:]}").notes[0]
        assert told in note and f"{name}.png" in note and "too good or wrong" in note and "--drop-duplicates" in note
        prepare_folder(source, tmp_path / name.replace("/", "-"), FolderOptions(drop_duplicates=True))
        kept = PreparedDataset.open(tmp_path / name.replace("/", "-")).manifest.ids
        assert len(kept) == 5 + (name == "val/1/012L") and ("012_L" in kept) == (name == "val/1/012L")
        path.unlink()
