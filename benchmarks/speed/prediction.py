"""Pool prediction by Monte-Carlo dropout, against plain passes and against other packages."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from parts import AS_WRITTEN, Setting, as_the_runner_does, as_written, plainly_written
from timing import Candidate, Row, overhead, rates, ratio, take_turns
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kneeal.acquisition import Needs, Posterior
from kneeal.nn.mc_dropout import MonteCarloDropout

#: Makes a candidate of a network and the knees.
Rival = Callable[[Setting, nn.Module, Tensor], Candidate]


class _Logits(nn.Module):
    """The network as the other packages want it: a tensor out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x).logits
        return logits


def rows(s: Setting, *, peers: bool = True, over_ours: bool = True, runner_knees: int | None = None) -> list[Row]:
    """One row for each rival, and what the runner adds.

    Args:
        s: The size of the problem.
        peers: Whether other packages are measured.
        over_ours: Whether they are measured over our network, too.
        runner_knees: Knees with which the runner is compared, if others than those of `s`.
    """
    network = s.network().to(s.device)
    images = s.images()
    # Before the rivals come: what these two differ by is less than what such neighbors do to them.
    many = replace(s, n_knees=runner_knees or s.n_knees)
    pair = take_turns({"ours": ours(many), "batched": batched(many)}, rounds=s.rounds, seconds=s.seconds)
    candidates: dict[str, Candidate] = {"ours": ours(s)}
    labels: dict[str, str] = {}
    refused: list[Row] = []
    rivals = {f"{s.n_samples} plain passes": (_plain, "1.5x" if s.bf16 else "1.6x")}
    rivals |= {name: (make, "5x" if s.bf16 else "3x") for name, make in _peers(s).items()} if peers else {}
    with ExitStack() as stack:
        for name, (make, aim) in rivals.items():
            for whose, given in (", same network", network), (AS_WRITTEN, None):
                if given and make is not _plain and not over_ours:
                    continue
                label = name + whose
                try:
                    candidates[label] = make(s, given, images) if given else as_written(stack, _written, s, make)
                    if s.bf16:  # a rival may not fit into a GPU's memory
                        candidates[label]()
                except Exception as error:  # a rival that does not run with these versions is a result too
                    first = (str(error).splitlines() or [""])[0][:100]
                    refused.append(
                        Row(f"MCD pool prediction, {s}", "", f"{label}, does not run: {type(error).__name__}: {first}")
                    )
                    candidates.pop(label, None)
                else:
                    labels[label] = aim
        best = take_turns(candidates, rounds=s.rounds, seconds=s.seconds)
    rate, alone = rates(best, s.n_knees), rates(pair, many.n_knees)
    found = [
        Row(f"MCD pool prediction, {s}", rate["ours"], f"{name}: {rate[name]}", ratio(best["ours"], best[name]), aim)
        for name, aim in labels.items()
    ]
    found.append(
        Row(
            f"overhead of the runner in pool prediction of {many.n_knees} knees, {s}",
            alone["ours"],
            f"the same batches by `MonteCarloDropout` alone: {alone['batched']}",
            overhead(pair["ours"], pair["batched"]),
            "under 5 %",
        )
    )
    return found + refused


def _peers(s: Setting) -> dict[str, Rival]:
    """Other packages by what they are called in the table."""
    theirs = f"torch-uncertainty's `mc_dropout(num_estimators={s.n_samples}"
    return {
        f"baal's `predict_on_dataset(iterations={s.n_samples})`": _baal,
        f"{theirs})`": partial(_torch_uncertainty, on_batch=True),
        f"{theirs}, on_batch=False)`": partial(_torch_uncertainty, on_batch=False),
    }


def ours(s: Setting) -> Candidate:
    """Pool prediction by the runner."""
    runner, checkpoint = s.runner(), s.checkpoint(s.network())

    def predict() -> None:
        runner.predict(checkpoint, 0, s.ids, Needs(Posterior.SAMPLES, n_samples=s.n_samples))

    return predict


def batched(s: Setting) -> Candidate:
    """The same batches by `MonteCarloDropout` alone."""
    network, images = s.network().to(s.device), s.images()

    @torch.inference_mode()
    def predict() -> None:
        as_the_runner_does()
        sampler = MonteCarloDropout(network, s.n_samples, output=lambda output: output.logits)
        with s.autocast():
            torch.cat([sampler(batch).float().log_softmax(-1).cpu() for batch in images.split(s.batch)])

    return predict


def _written(s: Setting, make: Rival) -> Candidate:
    """A rival over the network as one would write it."""
    return make(s, plainly_written(s.network()).to(s.device), s.images())


def _plain(s: Setting, network: nn.Module, images: Tensor) -> Candidate:
    @torch.inference_mode()
    def passes() -> None:
        network.train()  # has dropout and no batch normalization
        with s.autocast():
            for batch in images.split(s.batch):
                logits = torch.stack([network(batch).logits for _ in range(s.n_samples)], dim=1)
                logits.float().log_softmax(-1).cpu()

    return passes


def _baal(s: Setting, network: nn.Module, images: Tensor) -> Candidate:
    from baal.bayesian.dropout import patch_module
    from baal.modelwrapper import ModelWrapper, TrainingArgs

    patched = patch_module(_Logits(network), inplace=False).to(s.device)
    arguments = TrainingArgs(batch_size=max(1, s.batch // 8), use_cuda=s.bf16, workers=0)
    wrapper = ModelWrapper(patched, arguments)
    data = TensorDataset(images.cpu(), torch.zeros(len(images)))

    def predict() -> None:
        with s.autocast():
            wrapper.predict_on_dataset(data, iterations=s.n_samples, verbose=False)

    return predict


def _torch_uncertainty(s: Setting, network: nn.Module, images: Tensor, *, on_batch: bool) -> Candidate:
    wrapper = _mc_dropout()(_Logits(network), num_estimators=s.n_samples, on_batch=on_batch).eval()

    @torch.inference_mode()
    def predict() -> None:
        wrapper.eval()
        with s.autocast():
            for batch in images.split(s.batch):
                wrapper(batch).float().cpu()

    return predict


def _mc_dropout() -> Callable[..., Any]:
    """torch-uncertainty's wrapper; its module alone where the package wants another Lightning than there is."""
    try:
        from torch_uncertainty.methods import mc_dropout
    except ImportError:
        found = importlib.util.find_spec("torch_uncertainty")
        if found is None or found.origin is None:
            raise
        path = Path(found.origin).parent / "methods" / "mc_dropout.py"
        spec = importlib.util.spec_from_file_location("mc_dropout_alone", path)
        if spec is None or spec.loader is None:
            raise
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        mc_dropout = module.mc_dropout
    return mc_dropout  # type: ignore[no-any-return]
