"""Training runs: a recipe with several becomes one entry per run, and a number of runs becomes checkpoints to train."""

from __future__ import annotations

from ..core.errors import InputError
from ..core.roles import Run
from .schema import Finetuned, Recipe, Reinforced, RunOf, Source, Study

SEED_STEP = 1000  # between the seeds of a checkpoint's runs


def expand(study: Study) -> Study:
    """The study with one recipe per run. Raises InputError that names the key.

    The first run keeps its recipe's name and checkpoints, so that adding runs leaves all its results valid; run k is called
    RECIPE-k. A run without `retrained` has the IN of the next run in its place (the last run that of the first).
    """
    checkpoints, recipes, runs = dict(study.checkpoints), {}, {}
    for name, recipe in study.recipes.items():
        listed = isinstance(recipe.runs, list)
        if listed and len(recipe.runs) > 1 and recipe.frozen:
            raise InputError(
                f"config: recipes.{name}.frozen: with several runs, list them under each of recipes.{name}.runs"
            )
        members = recipe.runs if listed else _trained(name, recipe, study, checkpoints)
        of_runs = [_merged(name, recipe, member, number) for number, member in enumerate(members, 1)]
        for number, (one, following) in enumerate(zip(of_runs, [*of_runs[1:], of_runs[0]], strict=True), 1):
            label = name if number == 1 else f"{name}-{number}"
            if label in recipes or (number > 1 and label in study.recipes):
                raise InputError(f"config: recipes.{label}: is also the name of run {number} of {name}: rename one")
            if one.retrained is None and following.instruct != one.instruct:
                one = one.model_copy(update={"retrained": following.instruct})
            recipes[label], runs[label] = one, Run(name, number)
    expanded = study.model_copy(update={"checkpoints": checkpoints, "recipes": recipes})
    expanded._runs = runs
    return expanded


def _merged(name: str, recipe: Recipe, run: RunOf, number: int) -> Recipe:
    """The recipe of one run: what the run leaves out is the recipe's."""
    given = {
        key: value for key in ("instruct", "rl", "frozen", "retrained") if (value := getattr(run, key)) is not None
    }
    one = recipe.model_copy(update={"runs": 1, **given})
    for key, value in (("in", one.instruct), ("rl", one.rl)):
        if value is None:
            where = f"recipes.{name}.runs.{number - 1}" if isinstance(recipe.runs, list) else f"recipes.{name}"
            raise InputError(f"config: {where}.{key}: missing: the checkpoint name of this run's {key.upper()}")
    return one


def _trained(name: str, recipe: Recipe, study: Study, checkpoints: dict[str, Source]) -> list[RunOf]:
    """The runs of a recipe with a number of them; adds the checkpoints to be trained to `checkpoints`."""
    members = [RunOf()]
    for number in range(2, recipe.runs + 1):

        def copied(checkpoint: str | None, key: str, number: int = number) -> str | None:
            source = study.checkpoints.get(checkpoint)
            if not isinstance(source, Finetuned | Reinforced):
                if key != "in" and source is not None:
                    raise InputError(
                        f"config: recipes.{name}.runs: {checkpoint!r} ({key}) is not trained by this study, so it has one "
                        "run; list the checkpoints of each run instead of a number"
                    )
                return checkpoint
            label = f"{checkpoint}-{number}"
            changes = {"seed": source.seed + SEED_STEP * (number - 1)}
            if isinstance(source, Reinforced) and source.start == recipe.instruct:
                changes["start"] = copied(source.start, "in")
            copy = source.model_copy(update=changes)
            if checkpoints.setdefault(label, copy) != copy:
                raise InputError(
                    f"config: checkpoints.{label}: is also the name of run {number} of {checkpoint}: rename it"
                )
            return label

        members.append(
            RunOf(
                instruct=copied(recipe.instruct, "in"),
                rl=copied(recipe.rl, "rl"),
                frozen={region: copied(one, f"frozen.{region}") for region, one in recipe.frozen.items()},
            )
        )
    return members
