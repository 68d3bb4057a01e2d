"""A model on several GPUs: whole layers to each, and nothing left to the CPU or the disk."""

import families
import pytest
import torch
from transformers import AutoModelForImageTextToText

from frankenstein.core.errors import InputError
from frankenstein.models import gpu, loading


def meta(family):
    config = families.build(family).config
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)


def nbytes(model, places, gpu):
    """Bytes of a device map's parts on one GPU; a tied weight counts once."""
    return sum(
        weight.nbytes
        for name, weight in model.named_parameters()
        if next(place for part, place in places.items() if f"{name}.".startswith(f"{part}." * bool(part))) == gpu
    )


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("gpus", [2, 3])
def test_layers_are_spread_evenly_and_never_divided(family, gpus):
    model = meta(family)
    size = sum(weight.nbytes for weight in model.parameters())
    places = loading.spread(model, dict.fromkeys(range(gpus), size))
    assert set(places.values()) == set(range(gpus))
    assert max(nbytes(model, places, number) for number in range(gpus)) < 0.7 * size
    layers = [name for name, module in model.named_modules() if type(module).__name__ in model._no_split_modules]
    assert len(layers) > families.LAYERS
    assert not [part for part in places for layer in layers if part.startswith(f"{layer}.")]


def test_a_model_that_fits_one_gpu_stays_there():
    model = meta("qwen2_5_vl")
    assert loading.spread(model, {0: 10 * sum(weight.nbytes for weight in model.parameters())}) == {"": 0}


def test_nothing_is_left_to_the_cpu_or_the_disk():
    model = meta("qwen2_5_vl")
    size = sum(weight.nbytes for weight in model.parameters())
    with pytest.raises(InputError, match=r"weights do not fit 2 GPUs with .*give the job more GPUs \(evaluation.gpus"):
        loading.spread(model, {0: size // 4, 1: size // 4})


def test_gpus_that_are_too_small_are_found_before_any_weight_is_read(tiny, monkeypatch):
    monkeypatch.setattr(gpu, "device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (40_000, 50_000))
    with pytest.raises(InputError, match="3 GPUs are wanted, and this process sees 2"):
        loading.load_model(tiny, gpus=3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(InputError, match=r"do not fit 3 GPUs with 0\.0 GB"):
        loading.load_model(tiny, gpus=3)


def test_without_gpus_a_model_is_on_the_cpu_however_many_are_asked_for(tiny):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    model, _ = loading.load_model(tiny, gpus=2)
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}
    assert gpu.count() == 0


@pytest.mark.gpu
def test_a_model_on_two_gpus_answers_as_on_one(tiny):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    one, two = (loading.load_model(tiny, gpus=gpus)[0] for gpus in (1, 2))
    assert {weight.device.index for weight in two.parameters()} == {0, 1}
    ids = torch.arange(5, 40, device="cuda:0")[None]
    with torch.inference_mode():
        torch.testing.assert_close(one(input_ids=ids).logits.cpu(), two(input_ids=ids).logits.cpu())
