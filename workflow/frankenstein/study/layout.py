"""Where every file of a study lies: templates below results/{study}/, wildcards in braces."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """Paths of the study that is called `study`, as Snakemake's rules want them."""

    study: str
    results: str = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "results", f"results/{self.study}")

    def __getattr__(self, name: str) -> str:
        if name not in _PATHS:
            raise AttributeError(f"no path {name!r}; there are {', '.join(_PATHS)}")
        return f"{self.results}/{_PATHS[name]}"


_PATHS = {
    "report": "report.html",
    "partial_report": "report.partial.html",
    "regions": "regions.json",
    # A checkpoint: its account, and its weights where they are made here (one file, or a directory as a hybrid has it).
    "manifest": "checkpoints/{checkpoint}/manifest.json",
    "weights": "checkpoints/{checkpoint}/model.safetensors",
    "model": "checkpoints/{checkpoint}/model",
    "shards": "shards/{checkpoint}",
    "fetched": "downloads/checkpoints/{checkpoint}.json",
    "training_log": "training/{checkpoint}.csv",
    "training_state": "training/{checkpoint}.state",
    # What is asked.
    "prompt": "prompts/{recipe}.json",
    "examples": "data/{task}.jsonl",
    "images": "data/{task}",
    "download": "downloads/{task}.json",
    "descriptions": "data/{task}.descriptions.jsonl",
    "pairs": "pairs/{function}.jsonl",
    "pair_images": "pairs/{function}",
    "published_pairs": "downloads/pairs",
    # What is answered. `answers` is kept as it is made: a job that was stopped goes on there, and a new task costs only itself.
    "responses": "responses/{checkpoint}.{shard}.jsonl",
    "answers": "answers/{checkpoint}/{shard}.jsonl",
    "grades": "grades/{checkpoint}.csv",
    "judged": "judged/{checkpoint}.csv",
    # What is measured by layer.
    "attention": "attention/{checkpoint}.{shard}.csv",
    "heads": "attention/{checkpoint}.{shard}.heads.csv",
    "swap_records": "localization/swap.{checkpoint}.{function}.{shard}.jsonl",
    "skip_records": "localization/skip.{checkpoint}.{shard}.jsonl",
    "swaps": "localization/{checkpoint}.swap.csv",
    "skips": "localization/{checkpoint}.skip.csv",
    "updates": "updates/{recipe}.{shard}.csv",
    "spectra": "updates/{recipe}.{shard}.spectra.parquet",
    "subspaces": "updates/{recipe}.{shard}.subspaces.safetensors",
    # What is shown.
    "figure": "figures/{figure}.{kind}",
    "table": "tables/{table}.csv",
}
