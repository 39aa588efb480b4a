"""One exposure's calibration: the job, its outcome, its log, and the policy after failures."""
