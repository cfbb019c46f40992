"""`kneeal export` and `kneeal predict`: the model of a run, and its predictions for new knees."""

import math
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from kneeal.cli.program import app
from kneeal.errors import UserError, count


@app.command(epilog="Example: kneeal export RUN --out model.safetensors")
def export(
    run: Annotated[Path, Argument(help="Run folder.", metavar="RUN")],
    out: Annotated[Path, Option(help="The model file, for example model.safetensors.")],
    data: Annotated[Path | None, Option(help="The data set, if it has moved.")] = None,
    flag_share: Annotated[float, Option(help="Share of the validation knees to flag for review.")] = 0.2,
    samples: Annotated[int, Option(help="Monte-Carlo dropout samples of a prediction.", min=2)] = 50,
) -> None:
    """Write the network of a run's last fit as one file. Loading it runs no code."""
    from kneeal.predict.predicting import export_run

    card = export_run(run, out, data=data, flag_share=flag_share, n_samples=samples)
    flag = card.threshold
    knees, patients = (count(card.trained_on[f"{what}s"], what) for what in ("knee", "patient"))
    print(f"wrote {out}: trained on {knees} of {patients}")
    unflagged = f"the {100 * (1 - flag.share):.0f} % of the knees that are not flagged (total uncertainty up to "
    unflagged += f"{flag.uncertainty:.3f} nat)"
    if math.isnan(flag.accuracy_all):
        print(f"no validation knees, so the accuracy is unknown, also on {unflagged}")
    else:
        print(f"validation accuracy {100 * flag.accuracy_all:.1f} %; {100 * flag.accuracy_left:.1f} % on {unflagged}")
    if card.members > 1:
        print(f"the file holds {card.members} networks, whose mean is the prediction")
    elif card.n_samples == 0:
        print("the network has no dropout: total uncertainty is that of one prediction, epistemic uncertainty is 0")


@app.command(epilog="Example: kneeal predict model.safetensors --data knees --out predictions")
def predict(
    model: Annotated[Path, Argument(help="A model file.", metavar="MODEL")],
    data: Annotated[Path, Option(help="Prepared data set.")],
    out: Annotated[Path, Option(help="Folder of the predictions.")],
    knee: Annotated[list[str] | None, Option(help="Only this knee, any number of times.", metavar="ID")] = None,
    dicom: Annotated[bool, Option("--dicom", help="Also write DICOM objects.")] = False,
    images: Annotated[Path | None, Option(help="Folder that the data set was prepared from.")] = None,
    allow_preparation: Annotated[
        bool, Option("--allow-preparation", help="Accept data that were prepared differently.")
    ] = False,
) -> None:
    """Grade knees with a model file. Each gets probabilities, uncertainties and a flag for review."""
    from kneeal.data.prepared import refuse_occupied
    from kneeal.predict.predicting import predict_dataset

    if images is not None and not dicom:
        raise UserError(
            f"--images {images} without --dicom",
            "both options, or neither: --images has the radiographs that the DICOM objects refer to",
            "add --dicom, or leave --images out",
        )
    if dicom:
        refuse_occupied(out / "dicom")  # or objects of an earlier prediction would be mixed with these
    grading, card, dataset = predict_dataset(model, data, out, only=knee, allow_preparation=allow_preparation)
    print(f"wrote {out / 'predictions.csv'}: {count(len(grading.ids), 'knee')}")
    if dicom:
        from kneeal.predict.dicom import write_dicom

        n_reports = write_dicom(out / "dicom", grading, card, dataset, images)
        n_captures = len(grading.ids) - n_reports
        written = f"{count(n_reports, 'structured report')} and {count(n_captures, 'secondary capture')}"
        print(f"wrote {written} to {out / 'dicom'}")
