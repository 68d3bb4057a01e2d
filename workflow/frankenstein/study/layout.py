"""Paths of all files of a study: templates below results/{study}/, with wildcards in braces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Paths of the study named `study`, in the form that Snakemake's rules need; results: its folder (default: results/{study})."""

    study: str
    results: str = ""

    def __post_init__(self):
        object.__setattr__(self, "results", self.results or f"results/{self.study}")

    def __getattr__(self, name: str) -> str:
        if name not in _PATHS:
            raise AttributeError(f"no path {name!r}; there are {', '.join(_PATHS)}")
        return f"{self.results}/{_PATHS[name]}"


_PATHS = {
    "report": "report.html",
    "partial_report": "report.partial.html",
    "regions": "regions.json",
    # Checkpoints: the manifest, and the weights if the study produces them (one file, or a directory for hybrids).
    "manifest": "checkpoints/{checkpoint}/manifest.json",
    "weights": "checkpoints/{checkpoint}/model.safetensors",
    "model": "checkpoints/{checkpoint}/model",
    "shards": "shards/{checkpoint}",
    "fetched": "downloads/checkpoints/{checkpoint}.json",
    "training_log": "training/{checkpoint}.csv",
    "training_state": "training/{checkpoint}.state",
    # Inputs of the evaluation and the probes.
    "prompt": "prompts/{recipe}.json",
    "examples": "data/{task}.jsonl",
    "images": "data/{task}",
    "download": "downloads/{task}.json",
    "descriptions": "data/{task}.descriptions.jsonl",
    "pairs": "pairs/{function}.jsonl",
    "pair_images": "pairs/{function}",
    "published_pairs": "downloads/pairs",
    # Responses. `answers` is appended to and kept: interrupted jobs resume from it, and a new task costs only its own requests.
    "responses": "responses/{checkpoint}.{shard}.jsonl",
    "answers": "answers/{checkpoint}/{shard}.jsonl",
    "grades": "grades/{checkpoint}.csv",
    "judged": "judged/{checkpoint}.csv",
    # Layerwise measurements.
    "attention": "attention/{checkpoint}.{shard}.csv",
    "heads": "attention/{checkpoint}.{shard}.heads.csv",
    "attention_on_text": "attention/{checkpoint}.on.{text}.{shard}.csv",
    "attention_maps": "attention/{checkpoint}.{shard}.maps.parquet",
    "attention_maps_on_text": "attention/{checkpoint}.on.{text}.{shard}.maps.parquet",
    "swap_records": "localization/swap.{checkpoint}.{function}.{shard}.jsonl",
    "skip_records": "localization/skip.{checkpoint}.{shard}.jsonl",
    "swaps": "localization/{checkpoint}.swap.csv",
    "skips": "localization/{checkpoint}.skip.csv",
    "updates": "updates/{recipe}.{shard}.csv",
    "spectra": "updates/{recipe}.{shard}.spectra.parquet",
    "subspaces": "updates/{recipe}.{shard}.subspaces.safetensors",
    # Figures and tables.
    "figure": "figures/{figure}.{kind}",
    "table": "tables/{table}.csv",
}
