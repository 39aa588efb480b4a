"""Sites: this process, local clusters, Slurm jobs, running schedulers, any cluster class."""
