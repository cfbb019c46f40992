"""The threshold above which a knee is flagged for a person, chosen on the validation set."""

import torch
from torch import Tensor

from kneeal.errors import UserError
from kneeal.exchange.model_file import Threshold


def choose_threshold(probs: Tensor, uncertainty: Tensor, kl: Tensor, *, flag_share: float) -> Threshold:
    """Flag the most uncertain share of the validation knees.

    Args:
        probs: [N, C] probabilities.
        uncertainty: [N] total uncertainty in nats.
        kl: [N] grades; -1 where they are not known, and then the accuracies are NaN.
        flag_share: Share of the validation knees to flag, in [0, 1).

    Returns:
        The threshold and the accuracy on what is left.
    """
    if not 0 <= flag_share < 1:
        raise UserError(f"--flag-share {flag_share}", "a share from 0, below 1", "correct the option")
    n = len(kl)
    n_left = n - round(flag_share * n)
    if n_left < 1:
        raise UserError(f"--flag-share {flag_share} of {n} validation knees", "at least one knee left", "lower it")
    threshold = float(uncertainty.sort().values[n_left - 1])
    left = uncertainty <= threshold  # ties stay unflagged, as they will in use
    right = torch.where(kl >= 0, (probs.argmax(dim=1) == kl).float(), torch.nan)
    recalls = [float(right[left & (kl == grade)].mean()) for grade in sorted(set(kl[left].tolist()))]
    return Threshold(
        uncertainty=threshold,
        share=float((~left).float().mean()),
        accuracy_all=float(right.mean()),
        accuracy_left=float(right[left].mean()),
        balanced_left=float(torch.tensor(recalls).mean()),
        n_val=int((kl >= 0).sum()),
    )
