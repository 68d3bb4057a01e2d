"""Commands on checkpoints: updates, families, merge, verify, inspect, push."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..core.errors import InputError
from ..core.terminal import columns, paint
from .command import command

_NOTATION = """\
Write a hybrid of checkpoints that share an architecture: whole parts of them, byte for byte, with no
training. The result is a Hugging Face directory with a model card and a record of every tensor's donor
and sha256. Donors that differ in depth, shapes, dtype or config are refused before anything is written.

The notation of SPEC:
  IN:RL:RL            donors of Early, Mid and Late (three regions, cut by --cuts or into equal thirds);
                      any number of regions works: IN:RL halves the layers, RL is one checkpoint
  IN:0.5:IN           a number is an interpolation: IN + 0.5 (RL - IN)
  IN+RL@14-17         over what stands to the left: layers 14 to 17 from RL (0-based, inclusive)
  IN+RL@attention     its attention blocks in every layer (or mlp)
  IN:RL:RL+BASE@3.mlp the MLP of layer 3 from BASE
Donors are IN, RL and BASE, by the options below, and any others by --donor NAME=DIR. One may be a language
model alone, with the decoder's tensors: vision and config then stay with a VLM.

Outside the decoder layers are the parts vision_tower, projector, embeddings, final_norm and head. They
come from the donor of the Early region, unless --rest says otherwise: --rest IN, or
--rest vision_tower=RL,head=IN.
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this module."""
    made = command(
        commands,
        "updates",
        _updates,
        "where in the weights supervised fine-tuning and RL made their changes",
        """
        Measure what training did to every weight matrix, norm and bias: IN - Base and, with --rl, RL - IN.
        Prints a table by layer and stage, and what it shows in words. -o writes the numbers (.parquet, .csv) or
        a page to share (.html). Weights are streamed: a few matrices are in memory at a time, whatever the model.
        """,
        """
        frankenstein updates --base BASE --in SFT --rl RL
        frankenstein updates --base BASE --in SFT --rl RL -o updates.parquet -o updates.html
        """,
    )
    made.add_argument("--base", type=Path, required=True, metavar="DIR", help="the Base: a checkpoint directory")
    made.add_argument(
        "--in", type=Path, required=True, dest="instruct", metavar="DIR", help="after supervised fine-tuning"
    )
    made.add_argument("--rl", type=Path, metavar="DIR", help="after reinforcement learning")
    made.add_argument(
        "-o", "--out", type=Path, action="append", default=[], metavar="FILE",
        help=".parquet or .csv: every tensor's measurements; .html: a page; may be repeated",
    )  # fmt: skip
    made.add_argument(
        "--jobs", type=int, default=os.cpu_count(), metavar="N",
        help="single-threaded worker processes (default: all cores)",
    )  # fmt: skip

    made = command(
        commands,
        "families",
        _families,
        "what works with which model family",
        """
        List the model families that the tests cover and what is done with each: generation, the probes (swap, skip,
        attention), weight updates, merges and their verification, and RL, also with regions frozen. With DIR, what can be done
        with that checkpoint, of whichever family: decided from its config.json alone.
        """,
        """
        frankenstein families
        frankenstein families path/to/checkpoint
        """,
    )
    made.add_argument("directory", type=Path, nargs="?", metavar="DIR", help="a checkpoint (its config.json is enough)")

    made = command(
        commands,
        "merge",
        _merge,
        "merge checkpoints into a hybrid, byte for byte, with every tensor's donor on record",
        _NOTATION,
        """
        frankenstein merge --in SFT --rl RL IN:RL:RL hybrid                 Early from IN, Mid and Late from RL
        frankenstein merge --in SFT --rl RL --cuts 10,19 RL:IN:IN hybrid    regions of layers 0-9, 10-18, 19-
        frankenstein merge --in SFT --rl RL --dry-run IN+RL@14-17 hybrid    check, and write nothing
        """,
    )
    made.add_argument("--in", type=Path, dest="instruct", metavar="DIR", help="donor IN: after supervised fine-tuning")
    made.add_argument("--rl", type=Path, metavar="DIR", help="donor RL: after reinforcement learning")
    made.add_argument("--base", type=Path, metavar="DIR", help="donor BASE: the checkpoint before both")
    made.add_argument(
        "--donor",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="another donor, a VLM or its decoder's language model; may be repeated",
    )
    made.add_argument("--cuts", help="first layers of the second, third, ... region: 10,19 (default: equal regions)")
    made.add_argument(
        "--rest", default="early",
        help="donor of all outside the decoder layers: early (default), a donor, or part=donor,part=donor",
    )  # fmt: skip
    made.add_argument(
        "--config-from", metavar="NAME", help="donor of config, tokenizer and processor (default: the embeddings')"
    )
    made.add_argument(
        "--link", type=Path, metavar="DIR",
        help="hard-link weights kept in DIR, which holds each parent once, instead of copying: almost no disk",
    )  # fmt: skip
    made.add_argument("--dry-run", action="store_true", help="check the donors and say what would be written")
    made.add_argument("spec", help="the hybrid, in the notation above")
    made.add_argument("out", type=Path, help="output directory, which must not exist or be empty")

    made = command(
        commands,
        "verify",
        _verify,
        "check every tensor of a hybrid against its record and its parents",
        """
        Read a hybrid back: each tensor against the sha256 in its record and, where the parents still exist,
        against theirs. Exits with 1 at the first tensor that differs.
        """,
        "frankenstein verify hybrid",
    )
    made.add_argument("directory", type=Path)

    made = command(
        commands,
        "inspect",
        _inspect,
        "what a checkpoint is made of; of a hybrid, which donor gave what",
        """
        Family, depth, parameters by part and dtypes of a checkpoint, read from its headers; for a hybrid, also
        the donor of each layer and part.
        """,
        "frankenstein inspect hybrid",
    )
    made.add_argument("directory", type=Path)

    made = command(
        commands,
        "push",
        _push,
        "upload a hybrid to the Hub, with its card",
        """
        Verify a hybrid, then upload it to the Hub with its model card and the record of every tensor's donor. The
        repository is made private, unless --public; one that holds another model is left alone. A hybrid that does
        not verify is not uploaded. The card and the record name the parents' directories on this machine.
        """,
        "frankenstein push hybrid me/my-hybrid",
    )
    made.add_argument("directory", type=Path, help="the hybrid")
    made.add_argument("repo", help="the repository: owner/name")
    made.add_argument("--public", action="store_true", help="make the repository public, if it is a new one")


def _updates(parsed) -> None:
    for path in parsed.out:
        if path.suffix not in (".parquet", ".csv", ".html"):
            raise InputError(f"{path}: must end in .parquet, .csv or .html")
        if not path.parent.is_dir():
            raise InputError(f"{path}: no directory {path.parent}")
    if parsed.jobs < 1:
        raise InputError(f"--jobs {parsed.jobs}: must be at least 1")
    from ..core import progress
    from ..updates import summary
    from ..updates.table import updates_table

    progress.show("updates")
    table = updates_table(parsed.base, parsed.instruct, parsed.rl, parsed.jobs)
    print("\n".join([*columns(summary.rows(table)), "", *summary.findings(table)]))
    for path in parsed.out:
        if path.suffix == ".html":
            from .updates_page import page

            names = [str(found) for found in (parsed.base, parsed.instruct, parsed.rl) if found]
            path.write_text(page(table, names))
        elif path.suffix == ".csv":
            table.drop(columns="log_ratio").to_csv(path, index=False)
        else:
            table.to_parquet(path, index=False)
        print(f"{path}: written" if path.suffix == ".html" else f"{path}: {len(table)} rows")


def _donors(parsed) -> dict[str, Path]:
    given = [("IN", parsed.instruct), ("RL", parsed.rl), ("BASE", parsed.base)]
    for text in parsed.donor:
        name, equals, path = text.partition("=")
        if not equals:
            raise InputError(f"--donor {text}: not NAME=DIR")
        given.append((name, Path(path)))
    donors: dict[str, Path] = {}
    for name, path in given:
        if path is None:
            continue
        if name in donors:
            raise InputError(f"donor {name} is given twice: {donors[name]} and {path}")
        donors[name] = path
    if not donors:
        raise InputError("no donors: give --in and --rl, or --donor NAME=DIR")
    return donors


def _rest_of(text: str) -> str | dict[str, str]:
    if "=" not in text:
        return text
    parts = [part.partition("=") for part in text.split(",")]
    if odd := [part for part, equals, _ in parts if not equals]:
        raise InputError(f"--rest {text}: {odd[0]!r} should be part=donor")
    return {part: donor for part, _, donor in parts}


def _families(parsed) -> None:
    from ..models.family import ABILITIES, families

    if parsed.directory:
        print(_what_works(parsed.directory))
        return
    rows = [
        [name, *(f"{ability} {paint('no', 'note') if ability in family.refused else 'yes'}" for ability in ABILITIES)]
        for name, family in families().items()
    ]
    print("\n".join(columns(rows, left=len(rows[0]))))
    for name, family in families().items():
        for why in dict.fromkeys(family.refused.values()):
            which = ", ".join(ability for ability, reason in family.refused.items() if reason == why)
            print(f"\n{name}, {which}: {why}", end="")
    print(
        "\n\nOf any other family that transformers has, `frankenstein families DIR` tells what works; no test covers it."
    )


def _what_works(directory: Path) -> str:
    from ..models.architecture import empty_model, parts_of, read_config
    from ..models.family import ABILITIES, PROBES, families
    from ..probes.decoder import refusal

    model, kind = empty_model(directory), read_config(directory)["model_type"]
    layers = {part.layer for part in parts_of(model).values()} - {None}
    family = families().get(kind)
    refused = dict(family.refused) if family else dict.fromkeys(PROBES, why) if (why := refusal(model)) else {}
    lines = [
        f"{kind}: {len(layers)} decoder layers; {'covered by the tests' if family else 'no test covers this family'}"
    ]
    return "\n".join(
        [*lines, *(f"  {one:11} {'no: ' + refused[one] if one in refused else 'yes'}" for one in ABILITIES)]
    )


def _merge(parsed) -> None:
    from ..merging import hybrids, links, plan, summary

    donors = _donors(parsed)
    try:
        cuts = tuple(map(int, parsed.cuts.split(","))) if parsed.cuts else None
    except ValueError:
        raise InputError(f"--cuts {parsed.cuts}: not comma-separated layers, e.g. 10,19") from None
    options = {"cuts": cuts, "rest_from": _rest_of(parsed.rest), "config_from": parsed.config_from}
    made = plan.plan(donors, parsed.spec, **options)
    layout = "link" if parsed.link else "copy"
    print(summary.summary(made, layout))
    if parsed.dry_run:
        print(f"dry run: {parsed.out} was not written")
        return
    stores = {label: links.stored_in(parsed.link, donors[label]) for label in made.parents} if parsed.link else {}
    hybrids.merge(donors, parsed.spec, parsed.out, **options, layout=layout, stores=stores, command=parsed.command)
    print(f"{paint(str(parsed.out), 'strong')}: written; `frankenstein verify {parsed.out}` reads it back")


def _verify(parsed) -> None:
    from ..merging import verification

    _warn(verification.verify(parsed.directory))
    print(f"{parsed.directory}: every tensor is its donor's")


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"{paint('warning:', 'note', sys.stderr)} {warning}", file=sys.stderr)


def _push(parsed) -> None:
    from ..study import push

    address, warnings = push.push(parsed.directory, parsed.repo, parsed.public)
    _warn(warnings)
    print(f"{parsed.directory}: verified, and uploaded to {address}")


def _inspect(parsed) -> None:
    from ..merging import verification

    print(verification.describe(parsed.directory))
