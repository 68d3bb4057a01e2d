import pandas as pd

from frankenstein import logs, papertables

logs.redirect(snakemake.log[0])
papertables.table2(pd.read_csv(snakemake.input.scores)).to_csv(snakemake.output.table, index=False)
