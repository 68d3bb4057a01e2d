"""Probe pairs with their answers layer by layer, as the report's swap explorer reads them."""

from __future__ import annotations

import csv
from pathlib import Path

from ..data.tasks import read_pairs


def swaps(results: Path, table: Path) -> dict:
    """Probe pairs with the Base's answers by layer, from the table of judged swaps (localization/{base}.swap.csv).

    texts: the different answers; layers: number of decoder layers; functions: function -> pairs (id, prompt; target, source: image,
    gold; answers: mode -> said: position in texts by layer, and codes: c changed, s the same, f failed; the first of each is of
    nothing swapped), and rates: mode -> [layer, rate, low, high] of Figure 4, if it is there. Functions without pairs are left out.
    """
    texts: dict[str, int] = {}
    found: dict[str, dict[str, dict[str, dict[int, tuple[int, str]]]]] = {}
    with open(table, newline="") as file:
        for row in csv.DictReader(file):
            code = "f" if row["failed"] == "True" else "c" if row["changed"] == "True" else "s"
            answer = texts.setdefault(row["response"], len(texts)), code
            by_mode = found.setdefault(row["function"], {}).setdefault(row["id"], {})
            by_mode.setdefault(row["mode"], {})[int(row["layer"])] = answer
    rates = _rates(results / "figures" / "figure4.csv")
    functions, layers = {}, 0
    for function, of_pairs in found.items():
        path = results / "pairs" / f"{function}.jsonl"
        if not path.exists():
            continue
        pairs = []
        for pair in read_pairs(path):
            if pair.id not in of_pairs:
                continue
            by_mode = dict(of_pairs[pair.id])
            unswapped = by_mode.pop("none")
            answers = {}
            for mode, by_layer in by_mode.items():
                layers = max(layers, len(by_layer))
                said, codes = zip(*(value for _, value in sorted((unswapped | by_layer).items())), strict=True)
                answers[mode] = {"said": said, "codes": "".join(codes)}
            sides = {
                side: {"image": f"pairs/{image}", "gold": pair.answer(side)}
                for side, image in (("target", pair.target_image), ("source", pair.source_image))
            }
            pairs.append({"id": pair.id, "prompt": pair.prompt, **sides, "answers": answers})
        functions[function] = {"pairs": pairs, "rates": rates.get(function, {})}
    return {"texts": list(texts), "layers": layers, "functions": functions}


def _rates(path: Path) -> dict[str, dict[str, list[list[float | None]]]]:
    """function -> mode -> [layer, rate, low, high], from the table of Figure 4; empty if it is not there."""
    found: dict = {}
    if path.exists():
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                values = [float(row[name]) if row[name] else None for name in ("rate", "low", "high")]
                found.setdefault(row["function"], {}).setdefault(row["probe"], []).append([int(row["layer"]), *values])
    return found
