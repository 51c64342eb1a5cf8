"""Runs the engine over a set of labelled cases with one of its parts switched off, and measures its probabilities.

    python tests/bench/engine_cases.py CASES [--without PART …] [--n 60] [--jobs 2] [--kinds S1,S2] [--lack voltage]

CASES: a directory of labelled cases with `run.py` (``predict``), `scenarios.py` and `score.py` (``score``). Prints one
JSON object a part: detection, ranking, accusation, technical loss, CPU, and how reliable the stated probabilities are.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from reliability_plot import reliability_svg

BINS = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)
"""Edges of the stated probabilities that are compared with what was so."""


def _set(module: str, name: str, value: Any) -> Callable[[], None]:
    def do() -> None:
        setattr(importlib.import_module(f"reconciliation.{module}"), name, value)

    return do


def _white_excess() -> None:
    model = importlib.import_module("reconciliation.model")
    noise = importlib.import_module("reconciliation.noise")
    model.AreaModel.refit = lambda self, faults, *, coloured=False: noise.fit_from(self.fit.honest, faults)


PARTS: dict[str, tuple[Callable[[], None], ...]] = {
    "nothing": (),
    "meters' gains and clocks": tuple(_set("design", n, 1e-6) for n in ("GAIN_SD", "SKEW_SD", "CURVE_SD")),
    "voltages of all meters": (_set("engine", "voltage_field", lambda model: None),),
    "colour of the excess": (_white_excess,),
    "reactive power": (_set("technical_loss", "loss_ratio", lambda *_: 1.0),),
}
"""What is switched off → how."""


Stated = list[tuple[float, bool]]
"""A probability as it was stated, and whether it was so."""


def one(job: tuple[str, str, str, str, int]) -> tuple[str, dict[str, Any], float, int, bool, Stated, Stated]:
    """A case by its id, without a part: prediction, CPU, meters, alarm; what was stated of meters and of causes."""
    directory, part, case, lack, days = job
    sys.path[:0] = [directory]
    run, scenarios = importlib.import_module("run"), importlib.import_module("scenarios")
    for change in PARTS[part]:
        change()
    seen: list[Any] = []
    package = importlib.import_module("reconciliation")
    plain = package.analyse
    package.analyse = lambda windows: seen.append(plain(windows)) or seen[-1]  # type: ignore[func-returns-value]
    try:
        _, prediction, seconds, meters, alarm = run.predict((case, lack.split(","), days))
    finally:
        package.analyse = plain
    answers = scenarios.load_answers()[case]["answer"]
    bad = {meter for answer in answers.values() for meter in answer["bad_meters"]}
    moved = {m["meter"] for answer in answers.values() for m in answer["mismapped_listed_here"]}
    stated = [
        (float(finding.confidence), finding.meter in (moved if finding.kind == "wrong_area" else bad))
        for report in seen[-1].values()
        for finding in report.findings
        if finding.meter is not None and finding.kind != "missing_data"
    ]
    areas = {frozenset(w["meters"]): answers[g]["cause"] for g, w in scenarios.load_case(case)["areas"].items()}
    causes = [
        (float(p), areas[frozenset(report.suspicion)] == str(cause))
        for report in seen[-1].values()
        for cause, p in report.cause_probability.items()
    ]
    return case, prediction, seconds, meters, alarm, stated, causes


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cases")
    parser.add_argument("--without", action="append", choices=list(PARTS))
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kinds", default="")
    parser.add_argument("--lack", default="")
    parser.add_argument("--days", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="SVG of what was stated against what was so, of the last part")
    given = parser.parse_args()
    sys.path[:0] = [given.cases]
    scenarios, score = importlib.import_module("scenarios"), importlib.import_module("score")
    answers = scenarios.load_answers()
    wanted = [c for c in answers if not given.kinds or answers[c]["kind"].split("_")[0] in given.kinds.split(",")]
    chosen = [wanted[i] for i in np.linspace(0, len(wanted) - 1, min(given.n, len(wanted))).astype(int)]
    for part in given.without or list(PARTS):
        jobs = [(given.cases, part, case, given.lack, given.days) for case in chosen]
        with ProcessPoolExecutor(given.jobs) as pool:
            found = list(pool.map(one, jobs, chunksize=2))
        scored = score.score({f[0]: f[1] for f in found}, {c: answers[c] for c in chosen})
        kinds = (("meters", 5), ("causes", 6))
        stated = {name: _reliability([s for f in found for s in f[k]]) for name, k in kinds}
        if given.plot is not None:
            rows = {name: found_of["reliability"] for name, found_of in stated.items() if found_of}
            given.plot.write_text(reliability_svg(rows), encoding="utf-8")
        print(
            json.dumps({"without": part, "cases": len(chosen)} | _figures(scored, found) | {"stated": stated}),
            flush=True,
        )


def _figures(scored: dict[str, Any], found: list[Any]) -> dict[str, Any]:
    area, meter = scored["area"], scored["meter"]
    cost = {alarm: [100 * f[2] / f[3] for f in found if f[4] is alarm] for alarm in (False, True)}
    return {
        "area_auc": area["ALL"]["auc"],
        "area_tpr5": area["ALL"]["tpr5"],
        "top1": meter.get("ALL", {}).get("top1"),
        "map20_multi": meter.get("multi theft", {}).get("map20"),
        "accused": {k: scored["accused"][k] for k in ("precision", "recall", "tp", "fp")},
        "own_alarm_clean": scored["own_alarm_rate"].get("clean"),
        "technical_loss_pp": {k: (v["median"], v["p90"]) for k, v in scored.get("tech_loss_pp", {}).items()},
        "cpu_s_per_100_meters": {str(k): float(np.median(v)) for k, v in cost.items() if v},
    }


def _reliability(stated: Stated) -> dict[str, Any]:
    """How often what was stated with a probability was so, by bins; the Brier score [1]."""
    if not stated:
        return {}
    p, so = np.array([s[0] for s in stated]), np.array([s[1] for s in stated], dtype=float)
    which = np.clip(np.digitize(p, BINS) - 1, 0, len(BINS) - 2)
    rows = [
        {
            "stated": float(p[which == b].mean()),
            "was_so": float(so[which == b].mean()),
            "findings": int((which == b).sum()),
        }
        for b in range(len(BINS) - 1)
        if (which == b).any()
    ]
    return {"reliability": rows, "brier": float(np.mean(np.square(p - so)))}


if __name__ == "__main__":
    main()
