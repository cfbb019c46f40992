"""Small tables of knees for the tests of this folder."""

from __future__ import annotations

import numpy as np
import pandas as pd


def table(n_patients: int = 60, seed: int = 0, sites: str = "ABCDE") -> pd.DataFrame:
    """Both knees of each patient, grades 0 to 4 with falling frequency."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(n_patients):
        grades = rng.choice(5, 2, p=[0.35, 0.2, 0.2, 0.15, 0.1])
        for side, kl in zip("LR", grades, strict=True):
            rows.append(
                {
                    "knee_id": f"{9000000 + k}_{side}",
                    "patient_id": str(9000000 + k),
                    "side": side,
                    "site": sites[k % len(sites)] if sites else "",
                    "kl": str(kl),
                    "path": f"{k}.png",
                    "split": "",
                }
            )
    return pd.DataFrame(rows)


def pairs(n: int, px: int = 128) -> np.ndarray:
    """n patch pairs that differ."""
    return (np.arange(n)[:, None, None, None] + np.zeros((n, 2, px, px))).astype(np.uint8)
