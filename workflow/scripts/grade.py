from frankenstein import grading, logs, tasks

logs.redirect(snakemake.log[0])
examples = [example for path in snakemake.input.examples for example in tasks.read_examples(path)]
grading.grade_all(snakemake.input.responses, examples).to_csv(snakemake.output.grades, index=False)
