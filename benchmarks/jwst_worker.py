"""Calibrate files one after another with jwst's pipeline: jwst_worker.py FOLDER FILE..."""

import sys

from jwst.pipeline import Detector1Pipeline

_, folder, *paths = sys.argv
for path in paths:
    Detector1Pipeline.call(path, output_dir=folder, save_results=True)
