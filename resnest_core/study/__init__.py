"""The study's runner: profile -> plan -> Snakemake -> papermill; `./run_all.sh` is its door."""
