from frankenstein.core import logs
from frankenstein.data import tasks
from frankenstein.grading import verdicts

logs.redirect(snakemake.log[0])
examples = [example for path in snakemake.input.examples for example in tasks.read_examples(path)]
grades = verdicts.grade_all(snakemake.input.responses, snakemake.wildcards.checkpoint, examples, snakemake.threads)
grades.to_csv(snakemake.output.grades, index=False)
