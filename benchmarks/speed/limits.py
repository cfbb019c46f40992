"""How much of the device's matrix rate is reached at full width, and what the paper's schedule takes at that rate."""

from __future__ import annotations

from dataclasses import replace

import torch
from parts import Setting
from prediction import batched, ours
from timing import Candidate, Row, Turn, take_turns
from torch.utils.flop_counter import FlopCounterMode
from training import _bare, _lightning, state

#: Table 2: 9 rows, of which 4 with and 5 without consistency, 5 seeds, 16 fits of 500 epochs, 15 predictions.
_WITH, _WITHOUT, _SEEDS, _FITS, _EPOCHS, _POOL = 4, 5, 5, 16, 500, 7000


def rows(s: Setting, *, matrix: int = 8192) -> list[Row]:
    """Shares of the measured rate, and the forecast."""
    dtype = torch.bfloat16 if s.bf16 else torch.float32
    a, b = (torch.randn(matrix, matrix, device=s.device, dtype=dtype) for _ in range(2))
    network = s.network().to(s.device)
    images = s.images()
    candidates: dict[str, Candidate] = {
        "matrix": lambda: a @ b,
        "training": _bare(s),
        "fit": _lightning(s),
        "prediction": batched(s),
        "predict": ours(s),
    }
    best = take_turns(candidates, rounds=max(2, s.rounds), seconds=s.seconds)
    peak = 2 * matrix**3 / best["matrix"].clock
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(images[:1])
    forward = counter.get_total_flops()
    # Backward costs twice the forward pass; two views of each knee.
    trained = 2 * 3 * forward * 2 * (s.n_knees // 2)
    # What prediction needs at least: the first group once, the rest for every sample.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.branch[0](images[:1].reshape(2, 1, s.size, s.size))
    prefix = counter.get_total_flops()
    predicted = s.n_knees * (prefix + s.n_samples * (forward - prefix))
    unit = 1e12
    found = [
        Row(
            f"share of the matrix rate in {what}, {s}",
            f"{work / best[key].clock / unit:.3g} TFLOP/s",
            f"product of two {matrix} x {matrix} matrices: {peak / unit:.3g} TFLOP/s",
            f"{work / best[key].clock / peak:.1%} of it",
            aim,
        )
        for what, key, work, aim in (
            ("training", "training", trained, "40 %"),
            ("prediction", "prediction", predicted, "50 %"),
        )
    ]
    return found + _forecast(s, best, len(state(s).labeled))


def _forecast(s: Setting, best: dict[str, Turn], n_labeled: int) -> list[Row]:
    """From rates to one round and to Table 2; both parts as the runner does them, and as bare as possible."""

    def one_round(train: float, predict: float, labels: float) -> float:
        return _EPOCHS * labels * train / n_labeled + _POOL * predict / s.n_knees

    mean_labels = sum(50 * (k + 1) for k in range(_FITS)) / _FITS
    real = one_round(best["fit"].clock, best["predict"].clock, mean_labels)
    limit = one_round(best["training"].clock, best["prediction"].clock, mean_labels)
    # Without consistency there is one view and no pseudo pool: a quarter of the work.
    hours = _SEEDS * _FITS * (_WITH * real + _WITHOUT * one_round(
        best["fit"].clock / 4, best["predict"].clock, mean_labels
    )) / 3600  # fmt: skip
    return [
        Row(
            f"one mean round of the paper, {s}, computed from rates",
            f"{real:.0f} s as the runner does it",
            f"its two parts bare: {limit:.0f} s",
            f"{real / limit:.2f}x their sum",
            "under 1.3x",
        ),
        Row(
            f"all of Table 2 on this one device, {s}, computed from rates (validation not counted)",
            f"{hours:,.1f} h",
            aim="8 h" if s.bf16 else "",
        ),
    ]


def full(device: torch.device) -> Setting:
    """The paper's network."""
    return Setting(device, size=128, width=32, dropout=0.35, n_knees=512, batch=128, rounds=2, seconds=60.0)


def few(device: torch.device) -> Setting:
    """The paper's network with as few knees as a CPU does in a minute."""
    return replace(full(device), n_knees=2, batch=2, rounds=1)
