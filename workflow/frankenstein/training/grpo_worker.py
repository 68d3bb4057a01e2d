"""What `accelerate launch` starts, in every process: RL as a file says (prompt_files.run).

Nothing heavy is imported here: the graders' processes import the main module again.
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
