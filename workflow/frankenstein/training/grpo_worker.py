"""Entry point for `accelerate launch`, run in every process: RL as specified in a file (prompt_files.run).

No heavy imports at module level, because the graders' worker processes re-import the main module.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    from accelerate import PartialState

    from . import prompt_files

    spec = json.loads(Path(sys.argv[1]).read_text())
    history = prompt_files.run(spec)
    if PartialState().is_main_process:
        history.to_csv(spec["history"], index=False)


if __name__ == "__main__":
    main()
