"""Calibrate files one after another with jwst's own pipeline: jwst_worker.py FOLDER FILE..."""

import sys

from jwst.pipeline import Detector1Pipeline

for path in sys.argv[2:]:
    Detector1Pipeline.call(path, output_dir=sys.argv[1], save_results=True)
