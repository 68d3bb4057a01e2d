"""`frankenstein push`: a verified hybrid to the Hub, with its card and the record of its tensors."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.errors import InputError
from ..merging import verification
from ..merging.plan import MERGE_MANIFEST
from ..models import hub


def push(directory: Path, repo: str, public: bool = False) -> tuple[str, list[str]]:
    """Verify a hybrid, then upload it to the model repository `repo`, which is made private unless `public`.

    Returns its address and the warnings of the verification. An existing repository keeps its visibility; one that holds other
    weights than a hybrid's is left alone. Of the directory, only what belongs to a checkpoint goes up (hub.CHECKPOINT). Raises
    InputError if the verification fails, without a token, and for a repository that may not be written to.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise InputError(f"{repo!r}: not a repository of the Hub (owner/name)")
    warnings = verification.verify(directory)
    from huggingface_hub import HfApi, errors, get_token

    if get_token() is None:
        raise InputError("no Hub token: log in (`hf auth login`, or HF_TOKEN), with a token that may write")
    api = HfApi()
    try:
        if api.repo_exists(repo):
            files = api.list_repo_files(repo)
            if MERGE_MANIFEST not in files and any(name.endswith((".safetensors", ".bin")) for name in files):
                raise InputError(f"{repo}: holds weights that are no hybrid's; choose another repository")
        else:
            api.create_repo(repo, private=not public)
        api.upload_folder(
            repo_id=repo, folder_path=directory, allow_patterns=hub.CHECKPOINT, commit_message="Hybrid by Frankenstein"
        )
    except errors.OfflineModeIsEnabled:
        raise InputError(f"{repo}: HF_HUB_OFFLINE is set; unset it to upload") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise InputError(
                f"{repo}: the Hub refuses it ({status}): is the token valid, and may it write to {repo.split('/')[0]}?"
            ) from None
        raise InputError(f"{repo}: the Hub answers {status}; finished uploads are kept, so run it again") from None
    return f"{api.endpoint}/{repo}", warnings
