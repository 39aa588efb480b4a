"""Places to run: this process, local clusters, schedulers, Slurm, any cluster class."""
