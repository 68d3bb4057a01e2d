#!/bin/sh
# Prints a job's state as one word that Snakemake understands. A controller that does not respond now may respond later, so the job counts
# as running; a job that the controller no longer knows (MinJobAge) counts as failed.
state=$(squeue --noheader --states=all --format=%T --jobs "$1" 2>&1) || case $state in
*"Invalid job id"*) state="" ;;
*) echo running; exit 0 ;;
esac
case $state in
COMPLETED) echo success ;;
"" | BOOT_FAIL | CANCELLED | DEADLINE | FAILED | NODE_FAIL | OUT_OF_MEMORY | TIMEOUT) echo failed ;;
*) echo running ;;
esac
