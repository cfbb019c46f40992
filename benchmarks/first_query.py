"""The grades that the first labels cover, by who asks for them: writes docs/first-query.md.

    python benchmarks/first_query.py --data KNEES [--init FILE --set KEY=VALUE ...] [--seeds 20] [--knees 50]

Features are the patches at 16 px and, where FILE is given, in a second table those of its weights. With pixels every
seed splits the data set anew, as a run does; with weights all seeds keep the split of their training (--set
data.split_seed=N), so that they have seen no validation or test knee.
The grades of the manifest are looked at after the query is made, never before.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

NAMES = ("random", "typiclust", "probcover", "kmeans")
PAGE = Path(__file__).parents[1] / "docs" / "first-query.md"


def first_grades(
    data: Path, name: str, *, seeds: int, knees: int, init: Path | None, settings: Sequence[str] = ()
) -> Iterator[list[int]]:
    """The grades of the first query of each seed, exactly the query that `kneeal fit` would make."""
    from kneeal.build.dataset import split
    from kneeal.build.loop import make_parts
    from kneeal.config import resolve
    from kneeal.data.prepared import PreparedDataset
    from kneeal.jobs.process import set_up_process
    from kneeal.seeds import derive_seed

    set_up_process()
    dataset = PreparedDataset.open(data)
    for seed in range(seeds):
        flags = {
            "data.dir": str(data),
            "seed": seed,
            "active.first_query": name,
            "active.first_features": "pixels" if init is None else "init",
            "training.init": init and str(init),
            "active.n_init": knees,
            "active.budget": knees,
        }
        config = resolve(None, settings, flags)
        cohort = split(config, dataset)
        query = make_parts(config, cohort).first_query(cohort.splits.train, knees, derive_seed(seed, "first query"))
        yield [cohort.grades[i] for i in query]


def summarize(queries: Sequence[Sequence[int]], n_grades: int = 5) -> dict[str, float]:
    """How well queries cover the grades.

    Args:
        queries: The grades of each query.
        n_grades: Number of grades.

    Returns:
        `covered`: mean number of grades present; `all`: share of queries with every grade; `rarest`: mean number of
        labels of the grade with the fewest; `g0`, `g1`, ...: mean number of labels of each grade.
    """
    counts = [Counter(query) for query in queries]
    n = len(counts)
    return {
        "covered": sum(len(c) for c in counts) / n,
        "all": sum(len(c) == n_grades for c in counts) / n,
        "rarest": sum(min(c[g] for g in range(n_grades)) for c in counts) / n,
        **{f"g{g}": sum(c[g] for c in counts) / n for g in range(n_grades)},
    }


def against(queries: Sequence[Sequence[int]], baseline: Sequence[Sequence[int]], n_grades: int = 5) -> tuple[int, int]:
    """Of paired seeds, in how many the rarest grade has more labels than by the baseline, and in how many fewer."""

    def rarest(query: Sequence[int]) -> int:
        return min(Counter(query)[g] for g in range(n_grades))

    pairs = [(rarest(a), rarest(b)) for a, b in zip(queries, baseline, strict=True)]
    return sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)


def section(found: Mapping[str, Sequence[Sequence[int]]]) -> list[str]:
    """The table of one kind of features."""
    lines = [
        "| first query | grades covered | queries with all five | labels of the rarest grade | more : fewer than "
        "random | KL 0 | KL 1 | KL 2 | KL 3 | KL 4 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, queries in found.items():
        s = summarize(queries)
        versus = (
            "" if name == "random" or "random" not in found else "{} : {}".format(*against(queries, found["random"]))
        )
        grades = " | ".join(f"{s[f'g{g}']:.1f}" for g in range(5))
        lines.append(f"| `{name}` | {s['covered']:.2f} | {s['all']:.0%} | {s['rarest']:.2f} | {versus} | {grades} |")
    return lines


def page(sections: Mapping[str, Mapping[str, Sequence[Sequence[int]]]], *, data: str, knees: int) -> str:
    """The page.

    Args:
        sections: Heading of each kind of features, and its queries.
        data: The data set in words.
        knees: Number of first labels.
    """
    seeds = len(next(iter(next(iter(sections.values())).values())))
    lines = [
        "# Grades covered by the first labels",
        "",
        f"The first {knees} labels over {seeds} seeds on {data}. Written by `make bench-first-query DATA=knees`, with "
        "`INIT=start.ckpt` for the features of weights too.",
    ]
    for heading, found in sections.items():
        lines += ["", f"## {heading}", "", *section(found)]
    lines += [
        "",
        "Means over the seeds. `more : fewer` counts the seeds in which the rarest grade has more and fewer labels "
        "than in the random query of the same seed.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--init", type=Path, help="weights whose features are used too")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--knees", type=int, default=50)
    parser.add_argument("--only", nargs="*", default=NAMES)
    parser.add_argument("--set", action="append", default=[], help="section.key=value, what --init was trained with")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    kinds: list[tuple[str, Path | None, Sequence[str]]] = [
        ("Features: the patches at 16 px; each seed splits the data set anew", None, ())
    ]
    if arguments.init is not None:
        heading = "Features: of self-supervised weights; all seeds keep the split that those were trained on"
        kinds.append((heading, arguments.init, arguments.set))
    sections: dict[str, dict[str, list[list[int]]]] = {}
    for heading, init, settings in kinds:
        print(heading)
        found = sections[heading] = {}
        for name in arguments.only:
            start = time.perf_counter()
            found[name] = list(
                first_grades(
                    arguments.data, name, seeds=arguments.seeds, knees=arguments.knees, init=init, settings=settings
                )
            )
            s = summarize(found[name])
            print(
                f"{name:12s} covered {s['covered']:.2f}  all {s['all']:.0%}  rarest {s['rarest']:.2f}  "
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )
    from kneeal.data.prepared import PreparedDataset

    n = len(PreparedDataset.open(arguments.data).manifest)
    text = page(sections, data=f"a data set of {n:,} knees", knees=arguments.knees)
    arguments.out.write_text(text, encoding="utf-8")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
