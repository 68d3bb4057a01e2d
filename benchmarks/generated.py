"""Random seeded checkpoints with Qwen2.5-VL-7B's widths and any number of layers: Base, IN and RL, bfloat16, sharded.

    python benchmarks/generated.py DIRECTORY --layers 4 --blocks 4

IN is Base plus a dense update (rank 64 plus noise); RL is IN plus a sparse update (five of six entries unchanged), as
produced by supervised and reinforcement learning. The weights are random, so outputs are meaningless, but costs are
realistic.
"""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path

STAGES = ("base", "in", "rl")


def config(layers: int, blocks: int, vocabulary: int = 152064, scale: int = 1):
    """Qwen2.5-VL-7B's own configuration, except for the numbers of layers and vision blocks; widths divided by scale."""
    from transformers import Qwen2_5_VLConfig

    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": 3584 // scale,
            "intermediate_size": 18944 // scale,
            "num_hidden_layers": layers,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [n // scale for n in (16, 24, 24)],
            },
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
        vision_config={
            "depth": blocks,
            "hidden_size": 1280 // scale,
            "intermediate_size": 3420 // scale,
            "num_heads": 16,
            "out_hidden_size": 3584 // scale,
            "fullatt_block_indexes": [block for block in (7, 15, 23, 31) if block < blocks],
        },
        image_token_id=2,
        video_token_id=3,
        vision_start_token_id=4,
        vision_end_token_id=5,
        tie_word_embeddings=False,
        architectures=["Qwen2_5_VLForConditionalGeneration"],
        dtype="bfloat16",
    )


def _tensors(name: str, shape, stages: int):
    """One parameter at each stage, as bfloat16."""
    import torch

    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if len(shape) < 2:
        return [torch.ones(shape, dtype=torch.bfloat16)] * stages
    rows, columns = shape[0], torch.Size(shape[1:]).numel()
    noise = torch.empty(rows, columns)
    weight = 0.02 * torch.randn(rows, columns, generator=generator)
    made = [weight.bfloat16()]
    if stages > 1:
        rank = min(64, rows, columns)
        right = torch.randn(rank, columns, generator=generator) * torch.logspace(0, -2, rank)[:, None]
        weight = weight.addmm_(torch.randn(rows, rank, generator=generator), right, alpha=1e-4)
        made.append(weight.add_(noise.normal_(generator=generator), alpha=2e-4).bfloat16())
    if stages > 2:
        moved = torch.rand(rows, columns, generator=generator) < 1 / 6
        made.append(weight.add_(noise.normal_(generator=generator).mul_(moved), alpha=3e-4).bfloat16())
    return [tensor.reshape(shape) for tensor in made]


def write(folder: Path, configuration, stages=STAGES) -> list[Path]:
    """Write checkpoint directories for the first stages, one shard per layer and one for the rest; existing ones are kept."""
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2_5_VLForConditionalGeneration

    paths = [Path(folder) / stage for stage in stages]
    if all((path / "model.safetensors.index.json").exists() for path in paths):
        return paths
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(configuration)
    # Parameter names as in the Hub's files.
    shapes = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): tensor.shape
        for name, tensor in model.state_dict().items()
    }
    shards: dict[str, list[str]] = {}
    for name in shapes:
        layer = name.split(".")[2] if name.startswith("model.layers.") else "rest"
        shards.setdefault(f"model-{layer}.safetensors", []).append(name)
    for path in paths:
        path.mkdir(parents=True, exist_ok=True)
        configuration.save_pretrained(path)
    for file, names in shards.items():
        made = {name: _tensors(name, shapes[name], len(paths)) for name in names}
        for number, path in enumerate(paths):
            save_file({name: tensors[number] for name, tensors in made.items()}, path / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, names in shards.items() for name in names}}
    for path in paths:
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=152064)
    parser.add_argument("--scale", type=int, default=1, help="factor that divides the widths (default: 1)")
    parser.add_argument("--stages", nargs="+", default=STAGES, help="names of up to three output directories")
    parsed = parser.parse_args()
    shape = config(parsed.layers, parsed.blocks, parsed.vocabulary, parsed.scale)
    print(*write(parsed.directory, shape, parsed.stages), sep="\n")
