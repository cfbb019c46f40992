"""`kneeal export` and `kneeal predict`: the model of a run, and its predictions for new knees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(export)
    app.command()(predict)


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="The model file, for example model.safetensors.")],
    data: Annotated[Path | None, typer.Option(help="The data set, where it has moved.")] = None,
    flag_share: Annotated[float, typer.Option(help="Share of the validation knees to flag for a person.")] = 0.2,
    samples: Annotated[int, typer.Option(help="Monte-Carlo dropout samples of a prediction.", min=2)] = 50,
) -> None:
    """Write the network of a run's last fit as one file with a card; loading it runs no code."""
    from kneeal.predict.predicting import export_run

    card = export_run(run, out, data=data, flag_share=flag_share, n_samples=samples)
    flag = card.threshold
    print(f"wrote {out}: trained on {card.trained_on['knees']} knees of {card.trained_on['patients']} patients")
    print(
        f"validation accuracy {100 * flag.accuracy_all:.1f} %; {100 * flag.accuracy_left:.1f} % on the "
        f"{100 * (1 - flag.share):.0f} % of the knees that are not flagged "
        f"(total uncertainty up to {flag.uncertainty:.3f} nat)"
    )


def predict(
    model: Annotated[Path, typer.Argument(help="A model file.", metavar="MODEL")],
    data: Annotated[Path, typer.Option(help="Prepared data set.")],
    out: Annotated[Path, typer.Option(help="Folder of the predictions.")],
    knee: Annotated[list[str] | None, typer.Option(help="Only this knee, any number of times.")] = None,
    dicom: Annotated[bool, typer.Option("--dicom", help="Also write DICOM objects.")] = False,
    images: Annotated[Path | None, typer.Option(help="Folder that the data set was prepared from.")] = None,
    allow_preparation: Annotated[
        bool, typer.Option("--allow-preparation", help="Take data that were prepared differently.")
    ] = False,
) -> None:
    """Grade knees: grade, five probabilities, total and epistemic uncertainty, and a flag for review."""
    from kneeal.exchange.pictures import Pictures
    from kneeal.predict.predicting import predict_dataset

    grading, card, dataset = predict_dataset(model, data, out, only=knee, allow_preparation=allow_preparation)
    print(f"wrote {out / 'predictions.csv'}: {len(grading.ids)} knees")
    if dicom:
        from kneeal.predict.dicom import read_reference, secondary_capture, structured_report, write_dicom

        pictures, n_reports = Pictures(dataset, images), 0
        for row, i in enumerate(grading.ids):
            source = pictures.source(i)
            reference = None
            if source is not None and source.suffix.lower() in (".dcm", ".dicom", ""):
                reference = read_reference(source)
            if reference is not None:
                written = structured_report(reference, pictures.side(i), grading, row, card)
                n_reports += 1
            else:
                patient = dataset.manifest.patients[i]
                written = secondary_capture(pictures[i], patient, pictures.side(i), grading, row, card)
            write_dicom(out / "dicom" / f"{row + 1:05d}.dcm", written)
        n_captures = len(grading.ids) - n_reports
        print(f"wrote {n_reports} structured reports and {n_captures} secondary captures to {out / 'dicom'}")
