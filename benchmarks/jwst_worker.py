"""Calibrate files one after another with jwst's pipeline: jwst_worker.py FOLDER STEPS FILE...

STEPS are the parameters of steps as JSON, {step: {parameter: value}}.
"""

import json
import sys

from jwst.pipeline import Detector1Pipeline

_, folder, steps, *paths = sys.argv
for path in paths:
    Detector1Pipeline.call(path, output_dir=folder, save_results=True, steps=json.loads(steps))
