"""Workers of a run: processes of this machine, of a Ray cluster or of SLURM."""
